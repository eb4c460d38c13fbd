"""Format the last line of a stage: [17/66] update TRADES s0: best epoch 23 of 25, clean 95.6, PGD-10 75.0, 12 s."""

from collections.abc import Mapping
from pathlib import Path

from cure.core.names import NAMES
from cure.errors import UserError
from cure.settings import matrix
from cure.settings.params import read

FEW_SECONDS, FEW_MINUTES = 100, 100


def stage_line(command: list[str], given: Mapping[str, object], facts: str, seconds: float) -> str:
    """Return the line of a stage. `command` is its script with arguments, `given` maps argument names to values."""
    own = [Path(command[0]).name, *command[1:]]
    commands = _commands()
    place = f"[{commands.index(own) + 1}/{len(commands)}] " if own in commands else ""
    trained_on = {tuple(other[1:3]) for other in commands if other[0] == own[0]}
    return f"{place}{_label(Path(own[0]).stem, given, len(trained_on) == 1)}: {facts}, {_took(seconds)}"


def _commands() -> list[list[str]]:
    """Return script and arguments of every stage except `show`, in the order of dvc.yaml; [] if it is unreadable."""
    try:
        stages = matrix.stages(read(Path("dvc.yaml")), read(), ["cmd", "always_changed"])
        lines = [str(cmd).split()[1:] for _, (cmd, shows) in stages if not shows]
    except (UserError, LookupError, TypeError, AttributeError):  # DVC reports a broken dvc.yaml
        return []
    return [[Path(script).name, *arguments] for script, *arguments in lines]


def _label(stage: str, given: Mapping[str, object], alone: bool) -> str:
    """Return `update TRADES s0`, with data set and model unless all runs of this stage have the same."""
    if "seed" not in given:
        return " ".join([stage, *map(str, given.values())])
    by_default = {} if "variant" in given else {"method": "natural"}
    varied = {
        key: value for key, value in (by_default | dict(given)).items() if key not in ("dataset", "model", "seed")
    }
    words = [NAMES.get(str(value), str(value)) for value in varied.values()]
    where = [] if alone else [f"on {given['dataset']} {given['model']}"]
    return " ".join([stage, *words, f"s{given['seed']}", *where])


def _took(seconds: float) -> str:
    """Return 12 s, 34 min or 5 h 06 min."""
    minutes = round(seconds / 60)
    if seconds < FEW_SECONDS:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < FEW_MINUTES else f"{minutes // 60} h {minutes % 60:02} min"
