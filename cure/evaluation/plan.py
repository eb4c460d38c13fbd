"""What an evaluation runs: columns of a params.yaml under its threat model, and what they will cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cure import catalogue
from cure.check import check
from cure.core.attack import Chain
from cure.engine import cost, probes, robustness
from cure.engine.cost import Pace, Work
from cure.errors import Refused, did_you_mean
from cure.params import FILE, Params, read
from cure.schema import AttackSuite, Masking, Threat

EVERYTHING = ["run", "threat", "attack", "masking"]


@dataclass(frozen=True)
class Plan:
    """Chains by column, and the settings that they share."""

    suite: AttackSuite
    threat: Threat
    masking: Masking
    chains: dict[str, Chain]

    def seconds(self, pace: Pace, images: int, clean: float, robust: float) -> float:
        """Expected seconds per image where these shares are right clean and after all attacks."""
        doubted = min(self.masking.images, images) / images if self.chains else 0.0
        probing = doubted * clean * pace.seconds(probes.work(list(self.chains), self.threat, self.masking))
        seen = {name: min(images, self.suite.subset.get(name, images)) / images for name in self.chains}
        columns = [
            cost.Column(list(works(chain).values()), chain.passes, chain.norm is None, seen[name])
            for name, chain in self.chains.items()
        ]
        return pace.forward + probing + cost.per_image(columns, pace, clean, robust)

    @property
    def random(self) -> bool:
        """Whether it is made for a network that draws at random."""
        return any(chain.passes > 1 for chain in self.chains.values())


def works(chain: Chain) -> dict[str, Work]:
    """The passes of each attack of a chain for an image that survives it."""
    return {name: cost.work(name, chain.facts | {"eot": chain.passes}) for name in chain.attacks}


def published() -> Path:
    """The params.yaml of the paper: beside the package in a checkout, inside it when installed from a wheel."""
    inside = catalogue.ROOT / "published.yaml"
    return inside if inside.exists() else catalogue.ROOT.parent / FILE


def nearest(path: Path | None) -> Path:
    """The params.yaml nearest above `path`, else nearest above the working folder, else the published one."""
    starts = [*([path.resolve()] if path else []), Path("here").resolve()]
    found = [folder / FILE for start in starts for folder in start.parents if (folder / FILE).exists()]
    return found[0] if found else published()


def opened(settings: Path, dataset: str, model: str) -> Params:
    """The checked file, with everything that an evaluation may read."""
    raw = read(settings)
    check(raw).refuse(settings)
    sections = [f"{folder}.{name}" for folder in ("datasets", "models") for name in raw[folder]]
    return Params(raw, [*EVERYTHING, *sections], dataset, model)


def plan(params: Params, attacks: list[str] | None, classes: int, changes: dict[str, Any]) -> Plan:
    """The named columns, by default those of the table. `changes` are laid over the sections attack and threat.

    A column that the file lacks may be one of the published file.
    """
    suite, threat = params.get("attack", AttackSuite), params.get("threat", Threat)
    threat = Threat.model_validate(threat.model_dump() | changes.get("threat", {}))
    section = read(published())["attack"]
    known = {**section["on_request"], **section["columns"], **suite.on_request, **suite.columns}
    names = [name for name in (attacks if attacks is not None else suite.columns) if name != "clean"]
    for name in names:
        if name not in known:
            raise Refused(f"--attacks: no column {name!r}{did_you_mean(name, ['clean', *known])}")
    columns = {name: known[name] for name in names}
    shown = [name for name in names if "norm" not in columns[name]]
    narrowed = suite.model_copy(
        update={"columns": columns, "table": shown, "subset": {k: n for k, n in suite.subset.items() if k in names}}
        | changes.get("attack", {})
    )
    rules = params.get("masking", Masking)
    return Plan(narrowed, threat, rules, robustness.chains(narrowed, threat, classes))
