"""What `cure eval` was asked for, and the networks, images and columns that this means."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cure.errors import UserError, first_sentence
from cure.evaluation.diagnostics.extra_attacks import transfer
from cure.evaluation.diagnostics.preflight import preflight
from cure.evaluation.standalone.images import Images, of_the_test_split, prepared
from cure.evaluation.standalone.plan import Plan, nearest, opened, plan
from cure.evaluation.standalone.subject import Loading, Subject, description, external_network, own_networks
from cure.runtime import device
from cure.settings.params import Params
from cure.settings.sections import RunSettings
from cure.storage import external_checkpoint
from cure.storage.exported_program import saved_program


@dataclass(frozen=True)
class Request:
    """The options of `cure eval`."""

    paths: list[Path]
    loading: Loading
    data: str | None = None
    settings: Path | None = None
    attacks: list[str] | None = None
    surrogate: Path | None = None  # whose adversarial images are tried as well
    images: int | None = None
    out: Path | None = None
    batch: int | None = None
    seed: int | None = None
    budget: float | None = None  # seconds
    force: bool = False
    json: bool = False


def cases(path: Path | None, request: Request, say: Callable[[str], None]) -> list[tuple[Subject, Images, Plan]]:
    """The networks in a file, or of a factory, each with its images and columns."""
    about = description(path) if path else None
    if about and request.loading.given:
        raise UserError(
            f"{path}: says itself what it is; --model, --factory, --mean and --std are for others' checkpoints"
        )
    name = request.data or (about.dataset if about else None)
    if name is None:
        if path and saved_program(path, torch.device("cpu")) is None:
            external_checkpoint.tensors(path)  # what is no checkpoint at all is told as that
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
    images = of_the_test_split(prepared(name, params, settings.parent), where, about)
    wanted = plan(params, request.attacks, images.classes, {"attack": changes})
    images = images.some(request.images or wanted.suite.images)
    found = (
        own_networks(path)
        if about and path
        else external_network(
            path,
            request.loading,
            external_checkpoint.Shape(images.channels, images.classes),
            _models(params),
            images.examples.x[:2],
        )
    )
    if request.surrogate:
        other = _surrogate(request.surrogate, request, images, settings)
        _can_be_attacked(request.surrogate, other, images, wanted)
        wanted = replace(wanted, transfer=transfer(other.net.to(where), wanted.threat))
    return [(subject, images, wanted) for subject in found]


def _settings(request: Request, path: Path | None, say: Callable[[str], None]) -> Path:
    """--params, else the nearest params.yaml of this pipeline."""
    if request.settings:
        return request.settings
    found, notes = nearest(path)
    for note in notes:
        say(note)
    return found


def _models(params: Params) -> dict[str, dict[str, object]]:
    """Settings of the catalogue's models, as the file has them."""
    return {name: dict(section or {}) for name, section in params.raw["models"].items()}


def _surrogate(path: Path, request: Request, images: Images, settings: Path) -> Subject:
    """The other network, on the same images; a stranger's is loaded as the options say."""
    if description(path):
        found = own_networks(path)[0]
    else:
        params = opened(settings, images.name, request.loading.model or "")
        shape = external_checkpoint.Shape(images.channels, images.classes)
        (found,) = external_network(path, request.loading, shape, _models(params), images.examples.x[:2])
    try:
        found.net.to(images.examples.x.device)(images.examples.x[:2])
    except Exception as problem:  # foreign code may fail in any way
        raise UserError(f"--surrogate {path}: cannot see these images ({first_sentence(problem)})") from None
    return found


def _can_be_attacked(path: Path, surrogate: Subject, images: Images, wanted: Plan) -> None:
    """Refuse a surrogate whose gradients say nothing: its images would look as if the network withstood them."""
    x, y = images.examples.x, images.examples.y
    for line in preflight(surrogate.net, x, y, images.classes, wanted.preflight):
        if line.red and line.name in ("finite", "gradients"):
            raise UserError(f"--surrogate {path}: {line}")
