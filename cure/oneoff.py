"""What `cure eval` does: the stage attack on any file of networks, printed instead of written."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from cure import paths
from cure.check import check
from cure.engine import checkpoint, data, device, evaluate, robustness
from cure.engine.outcomes import shares
from cure.engine.trajectory import networks
from cure.errors import Refused
from cure.params import FILE, Params, read
from cure.reporting.table import heading
from cure.schema import AttackSuite, Run, Threat
from cure.terminal import progress


def evaluate_all(
    path: Path, prepared: Path | None, settings: Path | None, images: int | None
) -> dict[str, dict[str, float]]:
    """Network -> clean, the table's columns, worst case, NRR in [0, 1]; a weight file's only one is `network`."""
    about, states = checkpoint.load(path)
    settings = settings or _nearest_params(path)
    raw = read(settings)
    check(raw).refuse(settings)
    params = Params(raw, ["run", "threat", "attack"], about.dataset, about.model)
    suite, threat = params.get("attack", AttackSuite), params.get("threat", Threat)
    where = device.set_up(params.get("run", Run).model_copy(update={"device": "auto"}))
    source = data.load(prepared or settings.parent / paths.data(about.dataset), ("test",), where)
    split = evaluate.test_split(about, source, images or suite.images)
    found, nets = {}, dict(sorted(networks(about, states, path).items()))
    chains = robustness.chains(suite, threat, len(about.classes))
    shown = ["clean", *suite.table, "worst", f"nrr_{suite.nrr}"]
    with progress(f"eval {path.name}", robustness.units(len(split), chains, suite) * len(nets)) as tick:
        for name, net in nets.items():
            columns = robustness.attacked(net.to(where), split, chains, suite, tick)
            measured = shares(robustness.result(columns, len(split), suite, threat.eps))
            found[name or "network"] = {column: measured[column] for column in shown}
    Console(stderr=True).print(
        f"{about.method} ({about.model}) on {len(split)} of the test images of {about.dataset}, "
        f"eps {raw['threat']['eps']}, device {where}",
        style="dim",
        highlight=False,
    )
    return found


def evaluate_and_print(path: Path, prepared: Path | None, settings: Path | None, images: int | None) -> None:
    """The same as a table in percent."""
    found = evaluate_all(path, prepared, settings, images)
    shown = Table("Network", title=str(path.name))
    columns = list(next(iter(found.values())))
    for name in columns:
        shown.add_column(heading(name), justify="right")
    for network, line in found.items():
        shown.add_row(network, *(f"{100 * line[name]:.2f}" for name in columns))
    Console().print(shown)


def _nearest_params(path: Path) -> Path:
    for folder in path.resolve().parents:
        if (folder / FILE).exists():
            return folder / FILE
    raise Refused(f"{path}: no params.yaml in any folder above it; name one with --params")
