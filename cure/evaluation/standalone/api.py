"""Provide `from cure import evaluate`: the evaluation of `cure eval` for a network and images in memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from cure import catalogue
from cure.errors import UserError, exit_refused
from cure.evaluation.standalone import images as sets
from cure.evaluation.standalone import outputs
from cure.evaluation.standalone.arrays import Arrays, Given
from cure.evaluation.standalone.cases import model_settings
from cure.evaluation.standalone.measure import measure, run_preflight
from cure.evaluation.standalone.plan import Plan, opened, plan, published
from cure.evaluation.standalone.python.options import Options
from cure.evaluation.standalone.python.own_attacks import OwnAttack, with_own_attacks
from cure.evaluation.standalone.python.progress_bar import batches, progress_bar
from cure.evaluation.standalone.python.result import EvaluationResult
from cure.evaluation.standalone.results_folder import claimed
from cure.evaluation.standalone.subject import Subject, subjects, with_single_float32_output
from cure.nn.batchnorm import scope
from cure.settings.params import Params
from cure.settings.sections import Preflight
from cure.storage.exported_program import frozen_program
from cure.storage.external_checkpoint import Loading, Shape
from cure.storage.open_checkpoint import Checkpoint, OwnCheckpoint, open_checkpoint

Named = str | Mapping[str, OwnAttack]


def evaluate(
    net: nn.Module | str | Path,
    images: str | Path | Given,
    labels: Arrays | None = None,
    *,
    norm: str = "Linf",
    attacks: Named | Sequence[Named] | None = None,
    eps: float | str | None = None,
    step: float | str | None = None,
    corruptions: str | Sequence[int] | None = None,
    n: int | None = None,
    device: str | torch.device | None = None,
    classes: int | None = None,
    batch: int = 250,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    force: bool = False,
    model: str | None = None,
    key: str | None = None,
    trust_code: bool = False,
) -> EvaluationResult:
    """Measure clean and robust accuracy of a classifier.

    Args:
        net: a module, used in eval mode: images (n, c, h, w) in [0, 1] to logits (n, classes); or a checkpoint file.
        images: the name of a data set, of which the test images are used; or (n, c, h, w), uint8 or floats in [0, 1],
            as tensor, array, list, DataLoader or Dataset of (image, label).
        labels: class numbers (n) from 0, for images without labels.
        norm: the ball, "Linf" or "L2".
        attacks: names of columns of the published params.yaml (clean, fgsm, pgd20, cw20, aa, min_linf, ...), as one
            text or a list; or {"mine": attack}, alone or in the list, with a function (net, x, y) -> x_adv. By default
            clean, pgd20, aa and, in Linf, cw20.
        eps: radius of the ball, a number or a text such as "8/255"; by default 8/255 in Linf and 0.5 in L2.
        step: PGD's step size; by default in proportion to eps.
        corruptions: severities (1 to 5, or "all") at which the 15 corruptions of CIFAR-10-C are measured, too.
        n: the number of images, evenly spaced; by default all.
        device: the device to compute on, by default the network's; the network is moved back afterwards.
        classes: the number of classes, by default the network's.
        batch: images per batch, on which AutoAttack's numbers depend.
        seed: of the attacks' noise.
        out: a folder for the files of `cure eval`; call again to resume an interrupted evaluation.
        progress: show a bar, on a terminal or in a notebook.
        force: evaluate even if preflight checks fail.
        model: for a state dict, its entry of cure/models.
        key: selects one of several networks in a file.
        trust_code: run the code in a TorchScript or torch.export file.

    Returns:
        Accuracies with intervals, and flags.

    Raises:
        cure.errors.UserError: an argument is invalid or, without `force`, a preflight check fails.

    Example:
        >>> found = evaluate(net, x, y, attacks="clean, pgd20, aa")
        >>> print(found.summary())
    """
    asked = Options(norm, attacks, eps, step, corruptions, n, device, classes, batch, seed, out, progress, force)
    with exit_refused(type(net).__name__ if isinstance(net, nn.Module) else str(net)):
        return _evaluate(net, images, labels, Loading(model=model, key=key, trust_code=trust_code), asked)


@torch.inference_mode(False)
@torch.enable_grad()  # gradients are needed even if the caller has disabled them
def _evaluate(
    net: nn.Module | str | Path, images: str | Path | Given, labels: Arrays | None, loading: Loading, asked: Options
) -> EvaluationResult:
    own, folder = _device(net, images), Path(asked.out) if asked.out else None
    dataset = str(images) if str(images) in catalogue.names("datasets") else ""
    params, checkpoint = opened(published(), dataset, ""), None
    if not isinstance(net, nn.Module):
        checkpoint = open_checkpoint(Path(net))
    given = _images(images, labels, checkpoint, params, asked.where or own, asked)
    with _moved(net, asked.where):
        subject = _subject(net, checkpoint, given, loading, params)
        if asked.classes is None:
            given = sets.classes_of(subject.net, given)
        wanted = _plan(params, given.classes, asked)
        with scope(subject.net, "eval"):
            note_network = claimed(folder, subject.net, checkpoint.path if checkpoint else None, given.examples.x)
            preflight_checks = run_preflight(subject, given, wanted, force=asked.force)
            note_network()
            total, units = batches(wanted, len(given.examples)), folder / "units" if folder else None
            with progress_bar(subject.name, total, shown=asked.progress) as on_progress:
                found = measure(subject, given, wanted, preflight_checks, units=units, on_progress=on_progress)
    if folder:
        outputs.write(found, folder)
    return EvaluationResult(**vars(found))


def _plan(params: Params, classes: int, asked: Options) -> Plan:
    """Return the plan with the published columns and the caller's own attacks."""
    suite = {"batch": asked.batch, "seed": asked.seed, "subset": {}}
    changes = {"threat": asked.threat, "attack": suite, "severities": asked.severities}
    known = [name for name in asked.columns if name not in asked.own]
    wanted = plan(params, ["clean", *known] if asked.own else known, classes, changes)
    return with_own_attacks(wanted, asked.own, asked.columns)


def _device(net: nn.Module | str | Path, images: str | Path | Given) -> torch.device:
    """Return the network's device; a file is loaded to the device of the images."""
    if not isinstance(net, nn.Module | str | Path):
        raise UserError(
            f"net is a {type(net).__name__}, not a torch.nn.Module or a checkpoint file; wrap a function in a module"
        )
    if isinstance(net, nn.Module):
        if any(t.is_inference() for t in (*net.parameters(), *net.buffers())):
            raise UserError("net was built inside torch.inference_mode, so it has no gradients; build it outside")
        return next((weight.device for weight in net.parameters()), torch.device("cpu"))
    return images.device if isinstance(images, Tensor) else torch.device("cpu")


@contextmanager
def _moved(net: nn.Module | str | Path, where: torch.device | None) -> Iterator[None]:
    """Move a module to a device inside the block, and back at its end."""
    if where is None or not isinstance(net, nn.Module):
        yield
        return
    places = {t.device for t in (*net.parameters(), *net.buffers())}
    if len(places) > 1:
        raise UserError(f"net is on {' and '.join(sorted(map(str, places)))}; leave device out, or put it on one")
    net.to(where)
    try:
        yield
    finally:
        for before in places:
            net.to(before)


def _images(
    images: str | Path | Given,
    labels: Arrays | None,
    checkpoint: Checkpoint | None,
    params: Params,
    where: torch.device,
    asked: Options,
) -> sets.Images:
    """Return the given images, or those of the named data set."""
    if isinstance(images, str | Path):
        if labels is not None:
            raise UserError(f"labels: the data set {images} has its own; leave labels out")
        about = checkpoint.about if isinstance(checkpoint, OwnCheckpoint) else None
        found = sets.of_the_test_split(sets.prepared(str(images), params, published(), "images"), where, about)
        found = replace(found, classes=asked.classes or found.classes)
    else:
        found = sets.given(images, labels, asked.classes, where)
    return found.some(asked.n) if asked.n is not None else found


def _subject(
    net: nn.Module | str | Path, checkpoint: Checkpoint | None, given: sets.Images, loading: Loading, params: Params
) -> Subject:
    """Return the given network, or the one network in a file."""
    example = given.examples.x[:2]
    if isinstance(net, nn.Module):
        name = type(net).__name__
        if loading.model or loading.key:
            raise UserError("model and key are for a checkpoint file, but net is a network already")
        if isinstance(net, torch.jit.ScriptModule) and not hasattr(net, "training"):
            net = frozen_program(net)
        used, notes = with_single_float32_output(net, example)
        return Subject(name, used, notes)
    if isinstance(checkpoint, OwnCheckpoint) and loading.external:
        raise UserError(f"{net}: cure's own checkpoints describe themselves; leave out model")
    shape = Shape(given.channels, given.classes)
    seconds = params.get("preflight", Preflight).program_seconds
    one, *others = subjects(checkpoint, loading, shape, model_settings(params), example, seconds)
    if others:
        known = ", ".join(subject.name.rpartition(":")[2] for subject in (one, *others))
        raise UserError(f"{net}: holds {1 + len(others)} networks: {known}; name one by key=...")
    one.net.to(example.device)
    return one
