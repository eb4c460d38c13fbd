"""What `cure eval` does with its checkpoints."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cure.engine import device, foreign
from cure.engine.cost import images_for, pace
from cure.engine.lines import first_sentence
from cure.engine.probes import transfer
from cure.errors import Refused
from cure.evaluation import outputs, show
from cure.evaluation.images import Images, of_the_test_split, prepared
from cure.evaluation.measure import Evaluation, look, measure
from cure.evaluation.plan import Plan, nearest, opened, plan
from cure.evaluation.subject import Loading, Subject, description, own, strangers
from cure.files import write_text
from cure.params import Params
from cure.schema import Run

CLEAN, FLAGGED = 0, 3
ASSUMED = (0.9, 0.5)  # clean and robust shares for the estimate of the cost, before anything is measured


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


def evaluate_files(request: Request) -> int:
    """Evaluate every checkpoint, print and write what was found; returns the exit code, 3 where a doubt was raised."""
    console, found = Console(stderr=True, emoji=False, markup=False), list[Evaluation]()
    paths: list[Path | None] = [*request.paths]
    for named in [*request.paths, *([request.surrogate] if request.surrogate else [])]:
        if not named.exists():
            raise Refused(f"{named}: not found")
    names = [path.stem for path in request.paths]
    if request.out and (twice := next((name for name in names if names.count(name) > 1), None)):
        raise Refused(f"--out: two checkpoints are called {twice}; evaluate them into different folders")
    for path in paths or [None]:
        cases = _cases(path, request)
        surrogate = _surrogate(request.surrogate, request, cases[0][1]) if request.surrogate else None
        for subject, images, wanted in cases:
            found.append(_one(subject, images, wanted, request, console, surrogate))
    if request.json:
        print(json.dumps([outputs.document(one) for one in found], indent=1))
    else:
        show.page().print(show.table(found))
    for one in found:
        for flag in one.flags:
            console.print(f"{one.subject.name}: {flag}", style="red", highlight=False)
    return FLAGGED if any(one.flags for one in found) else CLEAN


def _cases(path: Path | None, request: Request) -> list[tuple[Subject, Images, Plan]]:
    """The networks in a file, each with its images and columns."""
    about = description(path) if path else None
    if about and request.loading.given:
        raise Refused(
            f"{path}: says itself what it is; --model, --factory, --mean and --std are for others' checkpoints"
        )
    name = request.data or (about.dataset if about else None)
    if name is None:
        raise Refused(
            f"{path or request.loading.factory}: --data is needed: a data set of the catalogue, or a prepared file"
        )
    settings = request.settings or nearest(path if about else None)
    dataset = about.dataset if about else name if not name.endswith(".safetensors") else ""
    params = opened(settings, dataset, about.model if about else request.loading.model or "")
    where = device.set_up(
        params.get("run", Run).model_copy(update={"device": "auto", "deterministic": about is not None})
    )
    options: dict[str, Any] = {"batch": request.batch, "seed": request.seed, "subset": {} if request.images else None}
    changes = {key: value for key, value in options.items() if value is not None}
    images = of_the_test_split(prepared(name, params, settings.parent), where, about)
    wanted = plan(params, request.attacks, images.classes, {"attack": changes})
    images = images.some(request.images or wanted.suite.images)
    found = (
        own(path)
        if about and path
        else strangers(
            path,
            request.loading,
            foreign.Shape(images.channels, images.classes),
            _models(params),
            images.examples.x[:2],
        )
    )
    return [(subject, images, wanted) for subject in found]


def _models(params: Params) -> dict[str, dict[str, object]]:
    """Settings of the catalogue's models, as the file has them."""
    return {name: dict(section or {}) for name, section in params.raw["models"].items()}


def _one(
    subject: Subject, images: Images, wanted: Plan, request: Request, console: Console, surrogate: Subject | None
) -> Evaluation:
    """Preflight, estimate, measure, write."""
    subject.net.to(images.examples.x.device)
    for note in subject.notes:
        _say(console, f"{subject.name}: {note}")
    looked = look(subject, images, wanted, force=request.force)
    console.print(show.lines("preflight", looked, every=console.is_terminal), highlight=False)
    speed = pace(subject.net, images.examples.x[: wanted.suite.batch])
    folder = request.out / subject.name.replace(":", "-") if request.out else None
    begun = folder / "units" / "images" if folder else None
    images, said = _affordable(images, lambda n: wanted.seconds(speed, n, *ASSUMED), request.budget, begun)
    _say(console, f"{subject.name} on {said}, eps {outputs.radius(wanted.threat.eps)}, {images.examples.x.device}")
    with show.watching(show.Watch(subject.name, wanted, len(images.examples), speed)) as watch:
        units = folder / "units" if folder else None
        more = [transfer(surrogate.net.to(images.examples.x.device), wanted.threat)] if surrogate else []
        try:
            found = measure(subject, images, wanted, looked, units=units, tick=watch, more=more)
        except KeyboardInterrupt:
            _say(console, "interrupted" + ("; the same command continues at the last batch" if units else ""))
            raise
    if folder:
        outputs.write(found, folder)
        _say(console, f"wrote {folder}/results.json, per_image.csv, x_adv.pt")
    if found.masking:
        console.print(show.lines("masking", found.masking, every=console.is_terminal), highlight=False)
    return found


def _surrogate(path: Path, request: Request, images: Images) -> Subject:
    """The other network, on the same images; a stranger's is loaded as the options say."""
    if description(path):
        found = own(path)[0]
    else:
        params = opened(request.settings or nearest(None), images.name, request.loading.model or "")
        shape = foreign.Shape(images.channels, images.classes)
        (found,) = strangers(path, request.loading, shape, _models(params), images.examples.x[:2])
    try:
        found.net.to(images.examples.x.device)(images.examples.x[:2])
    except Exception as problem:  # foreign code may fail in any way
        raise Refused(f"--surrogate {path}: cannot see these images ({first_sentence(problem)})") from None
    return found


def _affordable(
    images: Images, each: Callable[[int], float], budget: float | None, note: Path | None
) -> tuple[Images, str]:
    """As many images as the budget allows, and a sentence about images and time.

    A run that is continued keeps the number that it began with, which is in `note`.
    """
    count = len(images.examples)
    if budget is None:
        about = show.clock(each(count) * count)
        return images, f"{count} test images of {images.name}: about {about} if half of them survive"
    if note and note.exists():
        fit = int(note.read_text())
        return images.some(fit), f"{images.name}: {fit} of {count} images, as begun"
    fit, said = images_for(budget, each, count, ASSUMED[1])
    if note:
        write_text(note, str(fit))
    return images.some(fit), f"{images.name}: {said}"


def _say(console: Console, text: str) -> None:
    console.print(text, style="dim", highlight=False, soft_wrap=True)
