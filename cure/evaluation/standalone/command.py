"""Evaluate the checkpoints of `cure eval`."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from rich.console import Console

from cure.errors import UserError, exit_refused, first_sentence
from cure.evaluation.cost import images_for
from cure.evaluation.speed import AttackSpeed
from cure.evaluation.standalone import beside, outputs, show
from cure.evaluation.standalone.cases import Request, cases
from cure.evaluation.standalone.images import Images
from cure.evaluation.standalone.measure import Evaluation, measure, run_preflight
from cure.evaluation.standalone.plan import Plan
from cure.evaluation.standalone.results_folder import claimed, noted, number
from cure.evaluation.standalone.subject import Subject
from cure.evaluation.standalone.watch import Watch, watching
from cure.evaluation.work_items import digest
from cure.runtime.console import say
from cure.runtime.progress import clock
from cure.storage.files import refuse_special, write_text
from cure.storage.open_checkpoint import Checkpoint, open_checkpoint

CLEAN, REFUSED, FLAGGED = 0, 2, 3


def evaluate_files(request: Request) -> int:
    """Evaluate every checkpoint; print and write the results; return the exit code.

    The code is 2 if one of several networks was rejected, which is printed after the table of the others, else 3 if a
    check failed.

    Raises:
        UserError: the only network was rejected.
    """
    console, found, refused = Console(stderr=True, emoji=False, markup=False), list[Evaluation](), list[UserError]()
    _check_request(request)
    published = beside.Named.by(request.claim) if request.claim is not None else None
    paths: list[Path | None] = [*request.paths]
    open_surrogate = cache(open_checkpoint)  # all paths share one surrogate
    try:
        for path in paths or [None]:
            for one in _evaluated(path, request, published, open_surrogate, console, refused):
                found.append(one)  # one by one: results so far survive an interruption
    except KeyboardInterrupt:
        if found:
            _shown(found, request, console)
        raise
    if len(refused) == 1 and not found:
        raise refused[0]
    _shown(found, request, console)
    for why in refused:
        say(console, f"error: {why}", "red")
    return REFUSED if refused else FLAGGED if any(one.flags for one in found) else CLEAN


def _evaluated(
    path: Path | None,
    request: Request,
    published: beside.Named | None,
    open_surrogate: Callable[[Path], Checkpoint],
    console: Console,
    refused: list[UserError],
) -> Iterator[Evaluation]:
    """Evaluate the networks in a file; the reasons why some of them cannot be evaluated are added to `refused`."""

    def refuse(who: str, why: object) -> None:
        refused.append(UserError(str(why) if who in str(why) else f"{who}: {why}"))

    try:
        with exit_refused(str(path or request.loading.factory)):
            found = cases(path, request, open_surrogate, lambda note: say(console, note, "dim"))
    except UserError as why:
        return refuse(str(path) if len(request.paths) > 1 else "", why)
    for subject, images, wanted in found:
        try:
            with exit_refused(subject.name):
                done = _one(subject, images, wanted, request, published, console, path)
            yield done
        except UserError as why:
            refuse(subject.name, why)
        except RuntimeError as problem:  # raised by PyTorch: out of memory, or a shape that does not fit
            refuse(subject.name, f"failed under attack ({first_sentence(problem)})")


def _check_request(request: Request) -> None:
    """Reject options that are wrong before any file is loaded."""
    if not request.paths and request.loading.factory is None:
        raise UserError("nothing to evaluate: name a checkpoint, or a --factory that returns a network with weights")
    for named in [*request.paths, *([request.surrogate] if request.surrogate else [])]:
        if not named.exists():
            raise UserError(f"{named}: not found")
        refuse_special(named)
    if request.out:
        _writable(request.out)
    names = [path.stem for path in request.paths]
    if request.out and (twice := next((name for name in names if names.count(name) > 1), None)):
        raise UserError(f"--out: two checkpoints are called {twice}; evaluate them into different folders")
    if request.surrogate and request.attacks is not None and set(request.attacks) <= {"clean"}:
        raise UserError("--surrogate: nothing is attacked; name a column beside clean under --attacks, such as pgd20")
    if request.claim is not None and request.threat.get("norm") == "l2":
        raise UserError("--claim: all published numbers are for the L-inf ball; leave out --claim or --norm l2")


def _writable(out: Path) -> None:
    """Raise UserError for a folder that cannot be made or written; nothing is made yet."""
    held = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not held.is_dir():
        raise UserError(f"--out {out}: {'' if held == out else f'{held} is '}a file; name a folder")
    if not os.access(held, os.W_OK | os.X_OK):
        raise UserError(f"--out {out}: {held} cannot be written to; name another folder")


def _shown(found: list[Evaluation], request: Request, console: Console) -> None:
    if request.json:
        print(json.dumps([outputs.document(one) for one in found], indent=1))
    elif found:
        show.results(found)
        for one in found:
            if one.beside:
                beside.show(one)
    for one in found:
        for flag in one.flags:
            say(console, f"{one.subject.name}: {flag}", "red")


def _one(
    subject: Subject,
    images: Images,
    wanted: Plan,
    request: Request,
    published: beside.Named | None,
    console: Console,
    file: Path | None,
) -> Evaluation:
    """Run the preflight checks, estimate the time, measure, and write the files."""
    rows = (
        published.on(images.name, subject.about.model if subject.about else request.loading.model) if published else []
    )
    folder = request.out / subject.name.replace(":", "-") if request.out else None
    subject.net.to(images.examples.x.device)
    note_network = claimed(folder, subject.net, file, images.examples.x)
    for note in subject.notes:
        say(console, f"{subject.name}: {note}", "dim")
    preflight_checks = run_preflight(subject, images, wanted, force=request.force, option="--force")
    show.checks(console, "preflight", preflight_checks)
    note_network()
    speed = wanted.measure_speed(subject.net, images.examples.x)
    units = folder / "units" if folder else None
    images, said = _affordable(images, wanted, speed, request.budget, units)
    say(console, f"{subject.name} on {said}, {outputs.threat(wanted.threat)}, {images.examples.x.device}", "dim")
    with watching(Watch(subject.name, wanted, len(images.examples), speed), console) as on_progress:
        try:
            found = measure(subject, images, wanted, preflight_checks, units=units, on_progress=on_progress)
        except KeyboardInterrupt:
            kept = "rerun to resume at the last batch" if units else "nothing is kept without --out"
            say(console, f"interrupted; {kept}", "dim")
            raise
    found = replace(found, beside=beside.agreements(found, rows))
    if folder:
        outputs.write(found, folder)
        say(console, f"wrote {folder}/results.json, per_image.csv, x_adv.pt", "dim")
    if found.masking:
        show.checks(console, "masking", found.masking)
    return found


def _affordable(
    images: Images, wanted: Plan, speed: AttackSpeed, budget: float | None, units: Path | None
) -> tuple[Images, str]:
    """Return as many images as the budget allows, and a sentence about images and time.

    The number is recorded beside the work items, so a rerun keeps it.
    """
    count, robust = len(images.examples), wanted.preflight.robust
    if budget is None:
        about = clock(wanted.seconds(speed, count))
        return images, f"{count} test images of {images.name}: about {about} if {100 * robust:g} % of them survive"
    facts = [budget, count, wanted.suite.model_dump(), wanted.threat.norm, wanted.threat.model_dump()]
    facts.append(wanted.corrupt.model_dump() if wanted.corrupt else None)
    note = units / f"images-{digest(facts, {})}" if units else None
    if note and (fit := noted(note, number(count))):
        return images.some(fit), f"{images.name}: {fit} of {count} images, as begun"
    fit, said = images_for(budget, lambda n: wanted.seconds(speed, n), count, robust)
    if note:
        write_text(note, str(fit))
    return images.some(fit), f"{images.name}: {said}"
