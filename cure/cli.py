"""Run the `cure` command: verbs beside the pipeline. Heavy imports wait until a verb needs them."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cure.errors import UserError
from cure.evaluation.standalone import options
from cure.pipeline.grid.cli import grid
from cure.runtime.terminal import run, warn
from cure.runtime.version_option import version_option
from cure.settings.bounds import SEEDS

app = typer.Typer(
    help="Evaluate and compare robust networks. `dvc repro`, in quickstart/ or at the root, runs the pipeline.",
    rich_markup_mode="markdown",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.callback()(version_option)

RunName = Annotated[
    str,
    typer.Argument(
        help="A run, such as digits/small/at-s0, or a stage, such as update@digits-small-at-0.", metavar="RUN"
    ),
]
Published = Annotated[str, typer.Argument(help="cifar10-c or cifar100-c.")]
Folder = Annotated[Path, typer.Argument(help="A pipeline folder, such as quickstart.")]
Result = Annotated[Path, typer.Argument(help="Folder of `cure eval --out`, or results/...-attack.json.")]
Places = Annotated[
    list[str] | None,
    typer.Argument(
        help="A pipeline folder (default: .), then stages or runs (default: all).", metavar="[FOLDER] [RUN]..."
    ),
]
Where = Annotated[str, typer.Option("--device", help="cpu, cuda, or auto: cuda where there is one.")]
Speed = Annotated[float | None, typer.Option(help="Compute hours at this speed in TFLOP/s; nothing is timed.")]
BootSeed = Annotated[int, typer.Option(min=0, max=SEEDS - 1, help="Seed of the bootstrap.")]


@app.command("eval")
def evaluate_files(
    checkpoints: options.Checkpoints = None,
    model: options.ModelName = None,
    factory: options.Factory = None,
    factory_args: options.FactoryArgs = None,
    key: options.Key = None,
    trust_code: options.TrustCode = False,
    mean: options.Mean = None,
    std: options.Std = None,
    data: options.DataName = None,
    params: options.ParamsFile = None,
    attacks: options.Attacks = None,
    norm: options.NormName = "linf",
    eps: options.Eps = None,
    step: options.Step = None,
    corruptions: options.Corruptions = None,
    surrogate: options.Surrogate = None,
    images: options.Images = None,
    out: options.Out = None,
    batch: options.Batch = None,
    seed: options.EvalSeed = None,
    budget: options.Budget = None,
    force: options.Force = False,
    claim: options.ClaimText = None,
    json: options.Json = False,
) -> None:
    """Evaluate clean and robust accuracy on the test split: cure's own checkpoints as they are, others with --data.

    Preflight checks show whether the network can be attacked, an estimate shows the cost, and diagnostics show signs of
    gradient masking. Only weights are loaded: pickled code is refused, and a program (TorchScript, torch.export) runs
    with --trust-code alone. Exit codes: 0; 2: a network was refused, results of the others are printed; 3: evaluated,
    but a diagnostic was raised; 130: interrupted, rerun to resume (with --out).
    """
    from cure.evaluation.standalone import command
    from cure.evaluation.standalone.cases import Request
    from cure.storage.external_checkpoint import Loading

    given, normalisation = options.arguments(factory_args), options.normalisation(mean, std)
    loading, ball = Loading(model, factory, normalisation, key, trust_code, given), options.threat(norm, eps, step)
    request = Request(checkpoints or [], loading, data, params, options.names(attacks), ball)
    request = replace(request, severities=options.severities(corruptions), surrogate=surrogate, images=images, out=out)
    request = replace(request, batch=batch, seed=seed, budget=options.seconds(budget))
    request = replace(request, force=force, claim=claim, json=json)
    raise typer.Exit(command.evaluate_files(request))


@app.command()
def compare(first: Result, second: Result, seed: BootSeed = 0, json: options.Json = False) -> None:
    """Compare two networks on the same images, and tell whether one is significantly better.

    Each attack gets an exact McNemar test, a paired bootstrap of accuracy and NRR, and the networks' agreement.
    """
    from cure.evaluation.standalone.comparing import compare_files

    compare_files(first, second, seed, json)


@app.command()
def table(folder: Folder = Path()) -> None:
    """Print the table that the last `dvc repro` of FOLDER wrote to reports/table.md."""
    from cure.reporting.printed import show

    path = folder / "reports" / "table.md"
    if not path.exists():
        raise UserError(f"{path}: does not exist yet; run `dvc repro` in {folder.resolve()}")
    show(path)


@app.command()
def report(folder: Folder = Path()) -> None:
    """Rebuild FOLDER/reports from the files in its results/, in seconds; open reports/index.html.

    Rows that were not run have empty cells and an estimate of their cost. The stage report requires every row.
    """
    import contextlib

    from cure.reporting import build
    from cure.reporting.printed import show
    from cure.settings.check import load

    if not (folder / "params.yaml").exists():
        raise UserError(f"{folder / 'params.yaml'}: not found; name a pipeline folder, such as quickstart")
    with contextlib.chdir(folder):
        build.show(build.build(load(build.READS), whole=False))
        show(build.FOLDER / "table.md")


@app.command()
def check(folder: Folder = Path()) -> None:
    """Check FOLDER/params.yaml before any work. What its grid uses must be right; mistakes in the rest are warnings.

    The stage prepare does the same. Exit codes: 0: no stage will refuse these settings; 2: all mistakes are listed.
    """
    from cure.core.corruption import refuse_empty_mean
    from cure.settings.check import load, unused

    path = folder / "params.yaml"
    raw = load([], path=path).raw
    refuse_empty_mean(raw["corrupt"]["corruptions"])
    warn(path, unused(raw))
    print(f"{path}: what the grid uses is right")


@app.command()
def verify(run: RunName, folder: Folder = Path()) -> None:
    """Repeat a run of FOLDER's pipeline in a clean copy, and compare its files with dvc.lock byte for byte.

    Exit codes: 0: all files are equal; 3: at least one differs.
    """
    from cure.pipeline.verify import show

    raise typer.Exit(show(run, folder))


app.command()(grid)


@app.command()
def plan(places: Places = None, where: Where = "auto", tflops: Speed = None, json: options.Json = False) -> None:
    """Estimate what a pipeline will cost: passes, operations, hours, memory and disk of every stage of every run.

    A few steps of each run are timed on this machine, on random images. Finished stages are marked and not counted.
    """
    from cure.pipeline.planning.command import show

    show(places or [], where, tflops, json)


@app.command()
def download(name: Published) -> None:
    """Fetch the published corrupted test images (CIFAR-10-C, CIFAR-100-C), about 3 GB each, and verify them.

    They are kept in $CURE_DOWNLOADS (default ~/.cache/cure/downloads), where `corrupt.source: auto` finds them. An
    interrupted download resumes where it stopped.
    """
    from cure.data import cifar_c

    wanted = cifar_c.archive(name)
    done = "downloaded and verified" if cifar_c.download(wanted) else "already there, and as published"
    print(f"{wanted.folder}: {done}")


def main() -> None:
    """Run the console script."""
    run(app)
