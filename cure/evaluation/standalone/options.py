"""Declare the options of `cure eval` with their help, and read those that are written as text.

The command imports this at its start, so heavy imports wait.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cure.errors import UserError
from cure.settings.base import Norm, number
from cure.settings.bounds import COUNTS, SEEDS

if TYPE_CHECKING:
    from cure.core.network import Normalisation

Checkpoints = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Files of weights/ or trajectories/, or external: a state dict, or a program (TorchScript, torch.export)."
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(help="Model of a state dict: an entry of cure/models, timm:NAME or torchvision:NAME."),
]
Factory = Annotated[
    str | None,
    typer.Option(
        help="package.module:function that returns the network; its code runs. The working folder is searched as well."
    ),
]
FactoryArgs = Annotated[
    str | None,
    typer.Option(
        help="""Arguments by name for --factory, timm: or torchvision:, as JSON: '{"num_classes": 10}'.""",
    ),
]
Key = Annotated[str | None, typer.Option(help="Network to use if a file has several: ema_state_dict, student, best.")]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Run the code in TorchScript and torch.export files, which are programs. Only for files that you trust.",
    ),
]
Mean = Annotated[str | None, typer.Option(help="Per-channel mean for input normalisation: 0.49,0.48,0.45.")]
Std = Annotated[str | None, typer.Option(help="Per-channel standard deviation for input normalisation.")]
DataName = Annotated[
    str | None, typer.Option(help="Entry of cure/datasets, or a prepared file. Default: that of cure's own checkpoint.")
]
ParamsFile = Annotated[
    Path | None, typer.Option(help="params.yaml to read attack and threat from; default: the nearest.")
]
Attacks = Annotated[
    str | None, typer.Option(help="Attacks, separated by commas: clean,pgd20,cw20,aa. Default: all of params.yaml.")
]
NormName = Annotated[str, typer.Option("--norm", help="Norm of the ball: linf or l2. C&W and FGSM are for linf only.")]
Eps = Annotated[
    str | None,
    typer.Option(help="Radius of the ball, such as 8/255. Default: that of params.yaml; 0.5 with --norm l2."),
]
Step = Annotated[
    str | None,
    typer.Option(help="Step of PGD. Default: that of params.yaml (15/256 with --norm l2), scaled with --eps."),
]
Corruptions = Annotated[
    str | None,
    typer.Option(
        help="Also evaluate under CIFAR-10-C's 15 corruptions, at these severities: all, or some, such as 1,3,5."
    ),
]
Surrogate = Annotated[
    Path | None, typer.Option(help="Checkpoint whose adversarial images are also tested on the network.")
]
Images = Annotated[
    int | None, typer.Option("--n", "--images", min=1, max=COUNTS - 1, help="Number of test images, evenly spaced.")
]
Out = Annotated[Path | None, typer.Option(help="Folder for results and finished work items; rerun to resume.")]
Batch = Annotated[int | None, typer.Option(min=1, max=COUNTS - 1, help="Images per batch; default: attack.batch.")]
EvalSeed = Annotated[
    int | None, typer.Option(min=0, max=SEEDS - 1, help="Seed of the attacks' noise; default: attack.seed.")
]
Budget = Annotated[str | None, typer.Option(help="Time to spend (90s, 10m, 2h); sets the number of images.")]
Force = Annotated[bool, typer.Option("--force", help="Evaluate even if preflight checks fail.")]
ClaimText = Annotated[
    str | None,
    typer.Option(
        "--claim", help="Published row to set beside the result: 'TRADES, ResNet-18'; a data set or source may follow."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

NORMS: dict[str, Norm] = {"linf": "linf", "l2": "l2"}
SEVERITIES = [1, 2, 3, 4, 5]


def names(attacks: str | None) -> list[str] | None:
    """Split --attacks clean,pgd20 into names; None without the option."""
    return None if attacks is None else [name.strip() for name in attacks.split(",") if name.strip()]


def normalisation(mean: str | None, std: str | None) -> "Normalisation | None":
    """Read --mean 0.49,0.48,0.45 --std 0.25,0.24,0.26; None without both."""
    from cure.core.network import Normalisation

    if (mean is None) != (std is None):
        raise UserError("--mean and --std: give both or neither")
    if mean is None or std is None:
        return None
    try:
        return Normalisation(mean=[float(v) for v in mean.split(",")], std=[float(v) for v in std.split(",")])
    except ValueError:
        raise UserError("--mean and --std are numbers separated by commas, std above 0: 0.49,0.48,0.45") from None


def seconds(budget: str | None) -> float | None:
    """Convert 90, 90s, 10m or 2h to seconds; None without the option."""
    if budget is None:
        return None
    unit = {"s": 1, "m": 60, "h": 3600}.get(budget[-1:])
    try:
        value = float(budget[:-1] if unit else budget) * (unit or 1)
    except ValueError:
        value = 0.0
    if not value > 0 or value == float("inf"):
        raise UserError(f"--budget {budget}: not a time; allowed: 90s, 10m, 2h")
    return value


def threat(norm: str, eps: Any = None, step: Any = None, dashes: str = "--") -> dict[str, Any]:
    """Read the options of the threat model as keyword arguments of `plan.threat_model`; omit those not given.

    Args:
        norm: linf or l2, in any case.
        eps, step: numbers, or texts such as 8/255.
        dashes: prefix of the options' names in messages.
    """
    if not isinstance(norm, str) or norm.lower() not in NORMS:
        raise UserError(f"{dashes}norm {norm}: no such norm; allowed: {', '.join(NORMS)}")
    known = NORMS[norm.lower()]
    given = {"eps": eps, "step": step}
    found = {name: _positive(f"{dashes}{name}", value) for name, value in given.items() if value is not None}
    if known == "linf" and found.get("eps", 0) > 1:
        told = "images are in [0, 1], so an L-inf radius is at most 1; 8 grey levels are 8/255"
        raise UserError(f"{dashes}eps {eps}: {told}")
    return {"norm": known, **found}


def _positive(option: str, text: Any) -> float:
    try:
        value = number(text)
    except ValueError:
        value = None
    if not isinstance(value, float) or not value > 0:
        raise UserError(f"{option} {text}: not a number above 0, such as 8/255 or 0.5")
    return value


def severities(corruptions: str | None, option: str = "--corruptions") -> list[int] | None:
    """Return the sorted severities of --corruptions all or 1,3,5; None without the option."""
    if corruptions is None:
        return None
    parts = [part.strip() for part in corruptions.split(",") if part.strip()]
    if parts == ["all"]:
        return SEVERITIES
    allowed = {str(level): level for level in SEVERITIES}
    if not parts or not set(parts) <= set(allowed):
        raise UserError(f"{option} {corruptions}: not severities; allowed: all, or some of 1,2,3,4,5")
    return sorted({allowed[part] for part in parts})


def arguments(text: str | None) -> dict[str, Any]:
    """Read --factory-args '{"num_classes": 10}' as a dictionary, {} without the option."""
    try:
        found = json.loads("{}" if text is None else text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"""--factory-args {text}: not a JSON object; write it as '{{"num_classes": 10}}'""")
    return found
