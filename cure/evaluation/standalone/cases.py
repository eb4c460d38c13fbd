"""Resolve the options of `cure eval` to networks, images and columns."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from cure.errors import UserError, first_sentence
from cure.evaluation.diagnostics.borders import BORDERS, clamps
from cure.evaluation.diagnostics.extra_attacks import transfer
from cure.evaluation.diagnostics.preflight import preflight
from cure.evaluation.standalone.images import Images, of_the_test_split, prepared
from cure.evaluation.standalone.plan import Plan, nearest, opened, plan
from cure.evaluation.standalone.subject import Subject, subjects
from cure.nn.inputs import KeptInside
from cure.runtime import device
from cure.settings.params import Params
from cure.settings.sections import RunSettings
from cure.storage.external_checkpoint import Loading, Shape
from cure.storage.open_checkpoint import Checkpoint, ExternalCheckpoint, OwnCheckpoint, open_checkpoint


@dataclass(frozen=True)
class Request:
    """The options of `cure eval`."""

    paths: list[Path]
    loading: Loading
    data: str | None = None
    settings: Path | None = None
    attacks: list[str] | None = None
    threat: dict[str, Any] = field(default_factory=dict)  # keyword arguments of `plan.threat_model`
    severities: list[int] | None = None  # of the corruptions to measure, if any
    surrogate: Path | None = None  # checkpoint whose adversarial images are tested, too
    images: int | None = None
    out: Path | None = None
    batch: int | None = None
    seed: int | None = None
    budget: float | None = None  # seconds
    force: bool = False
    json: bool = False
    claim: str | None = None  # the published row to compare the results with


def cases(
    path: Path | None, request: Request, open_surrogate: Callable[[Path], Checkpoint], say: Callable[[str], None]
) -> list[tuple[Subject, Images, Plan]]:
    """Return the networks in a file, or of a factory, each with its images and columns.

    `open_surrogate` opens the checkpoint of the surrogate, which all files of a request share.
    """
    checkpoint = open_checkpoint(path) if path else None
    about = checkpoint.about if isinstance(checkpoint, OwnCheckpoint) else None
    if about and request.loading.external:
        raise UserError(
            f"{path}: cure's own checkpoints describe themselves; leave out --model, --factory, --factory-args, --mean "
            "and --std"
        )
    name = request.data or (about.dataset if about else None)
    if name is None:
        if isinstance(checkpoint, ExternalCheckpoint) and not checkpoint.is_program(request.loading.trust_code):
            _ = checkpoint.held  # reports an unreadable file before the missing option
        raise UserError(
            f"{path or request.loading.factory}: --data is needed: a data set of the catalogue, or a prepared file"
        )
    settings = _settings(request, path if about else None, say)
    dataset = about.dataset if about else name if not name.endswith(".safetensors") else ""
    params = opened(settings, dataset, about.model if about else request.loading.model or "")
    where = device.set_up(
        params.get("run", RunSettings).model_copy(update={"device": "auto", "deterministic": about is not None})
    )
    options: dict[str, Any] = {"batch": request.batch, "seed": request.seed, "subset": {} if request.images else None}
    changes = {key: value for key, value in options.items() if value is not None}
    images = of_the_test_split(prepared(name, params, settings), where, about)
    asked = {"attack": changes, "threat": request.threat, "severities": request.severities}
    wanted = plan(params, request.attacks, images.classes, asked, "--attacks")
    if wanted.left_out:
        say(f"--norm l2: without {', '.join(wanted.left_out)}, which are for the L-inf ball only")
    images = images.some(request.images or wanted.suite.images)
    shape, seconds = Shape(images.channels, images.classes), wanted.preflight.program_seconds
    how = (request.loading, shape, model_settings(params), images.examples.x[:2], seconds)
    found = subjects(checkpoint, *how)
    if request.surrogate:
        opened_surrogate = open_surrogate(request.surrogate)
        surrogate = subjects(opened_surrogate, *how)[0]
        seen = _seen_by_attacks(request.surrogate, surrogate, images, wanted)
        wanted = replace(wanted, transfer=transfer(seen, wanted.threat, images.examples.x[:1]))
    return [(subject, images, wanted) for subject in found]


def _settings(request: Request, path: Path | None, say: Callable[[str], None]) -> Path:
    """Return --params, else the nearest params.yaml of this pipeline."""
    if request.settings:
        return request.settings
    found, passed = nearest(path)
    for note in passed:
        say(note)
    here = Path.cwd()
    say(f"settings: {found.relative_to(here) if found.is_relative_to(here) else found}")
    return found


def model_settings(params: Params) -> dict[str, dict[str, Any]]:
    """Return the settings of the models in cure/models, from the file."""
    return {name: dict(section or {}) for name, section in params.raw["models"].items()}


def _seen_by_attacks(path: Path, surrogate: Subject, images: Images, wanted: Plan) -> nn.Module:
    """Return the module of a surrogate that attacks use; raise UserError if its outputs or gradients are useless.

    Adversarial images from useless gradients would make the evaluated network appear robust.
    """
    x, y = images.examples.x, images.examples.y
    try:
        surrogate.net.to(x.device)(x[:2])
    except Exception as problem:  # external code may raise anything
        raise UserError(f"--surrogate {path}: cannot process these images ({first_sentence(problem)})") from None
    lines = preflight(surrogate.net, x, y, images.classes, wanted.preflight)
    for line in lines:
        if line.red and line.name in ("finite", "gradients", BORDERS):
            raise UserError(f"--surrogate {path}: {line}")
    return KeptInside(surrogate.net) if clamps(lines) else surrogate.net
