"""The `cure` command: one-off verbs beside the pipeline. Heavy imports wait until a verb needs them."""

from pathlib import Path
from typing import Annotated

import typer

from cure.errors import UserError
from cure.pipeline.grid.cli import grid
from cure.runtime.terminal import page, refuse, ruled
from cure.settings.base import SEEDS

app = typer.Typer(
    help="Evaluate robust networks, show their table. The pipeline is `dvc repro`, in quickstart/ or at the root.",
    rich_markup_mode="markdown",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Checkpoints = Annotated[
    list[Path] | None,
    typer.Argument(help="Files under weights/ or trajectories/, or anybody's: state dict, TorchScript, torch.export."),
]
ModelName = Annotated[str | None, typer.Option(help="An entry of cure/models that a state dict belongs to.")]
Factory = Annotated[str | None, typer.Option(help="package.module:function that returns the network.")]
Mean = Annotated[str | None, typer.Option(help="Input normalisation per channel: 0.49,0.48,0.45.")]
Std = Annotated[str | None, typer.Option(help="Its standard deviations.")]
DataName = Annotated[str | None, typer.Option(help="An entry of cure/datasets, or a prepared file; ours know theirs.")]
ParamsFile = Annotated[Path | None, typer.Option(help="Whose sections attack and threat count; default: the nearest.")]
Attacks = Annotated[str | None, typer.Option(help="Columns, by commas: clean,pgd20,cw20,aa. Default: all of params.")]
Surrogate = Annotated[Path | None, typer.Option(help="Another checkpoint, whose adversarial images are tried as well.")]
Images = Annotated[int | None, typer.Option("--n", "--images", min=1, help="Test images, evenly spread.")]
Out = Annotated[Path | None, typer.Option(help="Folder for results, and for finished batches: rerun to continue.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Images per batch; default: attack.batch.")]
EvalSeed = Annotated[int | None, typer.Option(min=0, max=SEEDS - 1, help="Of the attacks' noise; else attack.seed.")]
Budget = Annotated[str | None, typer.Option(help="Time to spend, 90s, 10m or 2h: chooses the number of images.")]
Force = Annotated[bool, typer.Option("--force", help="Go on although the preflight is red.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
RunName = Annotated[
    str, typer.Argument(help="A stage, update@digits-small-at-0, or a run, digits/small/at-s0.", metavar="RUN")
]
Published = Annotated[str, typer.Argument(help="cifar10-c or cifar100-c.")]
Folder = Annotated[Path, typer.Argument(help="A pipeline folder, such as quickstart.")]
Result = Annotated[Path, typer.Argument(help="A folder of `cure eval --out`, or results/...-attack.json.")]
Places = Annotated[
    list[str] | None,
    typer.Argument(help="A pipeline folder (default: .), then stages or runs (all).", metavar="[FOLDER] [RUN]..."),
]
Where = Annotated[str, typer.Option("--device", help="cpu, cuda, or auto: cuda where there is one.")]
Speed = Annotated[float | None, typer.Option(help="Time nothing here: hours at so many TFLOP/s, of any machine.")]
BootSeed = Annotated[int, typer.Option(min=0, max=SEEDS - 1, help="Of the bootstrap.")]


@app.command("eval")
def evaluate_files(
    checkpoints: Checkpoints = None,
    model: ModelName = None,
    factory: Factory = None,
    mean: Mean = None,
    std: Std = None,
    data: DataName = None,
    params: ParamsFile = None,
    attacks: Attacks = None,
    surrogate: Surrogate = None,
    images: Images = None,
    out: Out = None,
    batch: Batch = None,
    seed: EvalSeed = None,
    budget: Budget = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Clean and robust accuracy of networks on the test split: ours with no option, anybody's with --data.

    Looks first whether the network can be attacked at all, says what the run will cost, and doubts its own numbers
    afterwards. Weights only: pickled code is refused. Exit codes: 0; 2 refused, be it one network of several, whose
    table is printed all the same; 3 evaluated, but a doubt was raised; 130 interrupted (with --out, the same command
    continues).
    """
    from cure.evaluation.standalone import command, options
    from cure.evaluation.standalone.cases import Request
    from cure.evaluation.standalone.subject import Loading

    names = [name.strip() for name in attacks.split(",") if name.strip()] if attacks is not None else None
    code = command.evaluate_files(
        Request(
            paths=checkpoints or [],
            loading=Loading(model, factory, options.normalisation(mean, std)),
            data=data,
            settings=params,
            attacks=names,
            surrogate=surrogate,
            images=images,
            out=out,
            batch=batch,
            seed=seed,
            budget=options.seconds(budget),
            force=force,
            json=json,
        )
    )
    raise typer.Exit(code)


@app.command()
def compare(first: Result, second: Result, seed: BootSeed = 0, json: Json = False) -> None:
    """Which of two networks is better on the same images, and whether that can be claimed.

    Per column: exact McNemar test, paired bootstrap of accuracy and NRR, agreement.
    """
    from cure.evaluation.standalone.comparing import compare_files

    compare_files(first, second, seed, json)


@app.command()
def table(folder: Folder = Path()) -> None:
    """Print the table that the last `dvc repro` of FOLDER wrote to reports/table.md."""
    from cure.reporting.table import show

    path = folder / "reports" / "table.md"
    if not path.exists():
        raise UserError(f"{path}: not there yet; `dvc repro` in {folder.resolve()} makes it")
    show(path)


@app.command()
def report(folder: Folder = Path()) -> None:
    """Rebuild FOLDER/reports in seconds from what lies in its results/, or say which results are missing.

    The same as the stage report; open reports/index.html.
    """
    import contextlib

    from cure.reporting import build
    from cure.settings.check import load

    if not (folder / "params.yaml").exists():
        raise UserError(f"{folder / 'params.yaml'}: not found; name a pipeline folder, such as quickstart")
    with contextlib.chdir(folder):
        build.show(build.build(load(build.READS)))


@app.command()
def verify(run: RunName, folder: Folder = Path()) -> None:
    """Run a run of FOLDER's pipeline again, in a clean copy, and compare its files with dvc.lock byte for byte.

    Exit codes: 0 where all are equal, 3 where one is not.
    """
    from cure.pipeline.verify import verify as again

    found = again(run, folder)
    shown = ruled("out", "dvc.lock", "again", "equal")
    for line in found:
        shown.add_row(line.out, line.lock, line.again, "yes" if line.equal else "NO")
    page().print(shown)
    raise typer.Exit(0 if all(line.equal for line in found) else 3)


app.command()(grid)


@app.command()
def plan(places: Places = None, where: Where = "auto", tflops: Speed = None, json: Json = False) -> None:
    """What a pipeline will cost: passes, operations, hours, memory and disk of every stage of every run.

    Times a few steps of each row on this machine, on random images; finished stages are marked and not counted.
    """
    from cure.pipeline.planning.command import show

    show(places or [], where, tflops, json)


@app.command()
def download(name: Published) -> None:
    """Fetch corrupted test images as published (CIFAR-10-C, CIFAR-100-C), about 3 GB each, and verify them.

    They lie in $CURE_DOWNLOADS (default ~/.cache/cure/downloads), where `corrupt.source: auto` finds them. A download
    that broke off goes on where it stopped.
    """
    from cure.data import cifar_c

    wanted = cifar_c.archive(name)
    done = "downloaded and verified" if cifar_c.download(wanted) else "already there, and as published"
    print(f"{wanted.folder}: {done}")


def main() -> None:
    """The console script; a refusal is printed and exits with 2."""
    try:
        app()
    except UserError as refused:
        refuse(refused)
