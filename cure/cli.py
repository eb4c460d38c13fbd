"""The `cure` command: one-off verbs beside the pipeline. Heavy imports wait until a verb needs them."""

from pathlib import Path
from typing import Annotated

import typer

from cure.errors import Refused
from cure.terminal import refuse

app = typer.Typer(
    help="Evaluate robust networks, show their table. The pipeline is `dvc repro`, in quickstart/ or at the root.",
    rich_markup_mode="markdown",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Weights = Annotated[Path, typer.Argument(help="A .safetensors file under weights/ or trajectories/.")]
DataFile = Annotated[Path | None, typer.Option(help="Prepared data; by default what the pipeline of PATH prepared.")]
ParamsFile = Annotated[Path | None, typer.Option(help="Whose threat and attack sections count; by default PATH's own.")]
Images = Annotated[int | None, typer.Option(min=1, help="Test images, evenly spread; by default attack.images.")]
Published = Annotated[str, typer.Argument(help="cifar10-c or cifar100-c.")]
Folder = Annotated[Path, typer.Argument(help="A pipeline folder, such as quickstart.")]


@app.command("eval")
def evaluate_file(path: Weights, data: DataFile = None, params: ParamsFile = None, images: Images = None) -> None:
    """Clean, PGD-20, C&W and AutoAttack accuracy, worst case and NRR of every network in PATH, on the test split.

    The file says itself which model and data set it belongs to. The attacks are those of the section `attack` of the
    nearest params.yaml above PATH, and the numbers are those of the stage attack.
    """
    from cure.oneoff import evaluate_and_print

    evaluate_and_print(path, data, params, images)


@app.command()
def table(folder: Folder = Path()) -> None:
    """Print the table that the last `dvc repro` of FOLDER wrote to reports/table.md."""
    from cure.reporting.table import show

    path = folder / "reports" / "table.md"
    if not path.exists():
        raise Refused(f"{path}: not there yet; `dvc repro` in {folder.resolve()} makes it")
    show(path)


@app.command()
def download(name: Published) -> None:
    """Fetch corrupted test images as published (CIFAR-10-C, CIFAR-100-C), about 3 GB each, and verify them.

    They lie in $CURE_DOWNLOADS (default ~/.cache/cure/downloads), where `corrupt.source: auto` finds them. A download
    that broke off goes on where it stopped.
    """
    from cure.engine import download as fetching

    wanted = fetching.archive(name)
    done = "downloaded and verified" if fetching.download(wanted) else "already there, and as published"
    print(f"{wanted.folder}: {done}")


def main() -> None:
    """The console script; a refusal is printed and exits with 2."""
    try:
        app()
    except Refused as refused:
        refuse(refused)
