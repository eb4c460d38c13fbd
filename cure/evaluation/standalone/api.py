"""`from cure import evaluate`: the evaluation of `cure eval` for a network and arrays in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cure.errors import UserError, exit_refused
from cure.evaluation.standalone import images as sets
from cure.evaluation.standalone import outputs
from cure.evaluation.standalone.arrays import Arrays, Given
from cure.evaluation.standalone.cases import model_settings
from cure.evaluation.standalone.measure import Evaluation, measure, run_preflight
from cure.evaluation.standalone.plan import opened, plan, published
from cure.evaluation.standalone.results_folder import claimed
from cure.evaluation.standalone.subject import Subject, subjects, with_single_float32_output
from cure.nn.batchnorm import scope
from cure.settings.base import COUNTS, SEEDS
from cure.settings.params import Params
from cure.settings.sections import Preflight, Threat
from cure.storage.exported_program import frozen_program
from cure.storage.external_checkpoint import Loading, Shape
from cure.storage.open_checkpoint import OwnCheckpoint, open_checkpoint


def _radius(eps: float | str) -> float:
    try:
        return Threat.model_validate({"eps": eps, "step": 1}).eps
    except ValueError:
        told = "a radius above 0 and up to 1, such as 8/255: images are in [0, 1], and 8 grey levels are 8/255"
        raise UserError(f"eps is {eps!r}; {told}") from None


def evaluate(
    net: nn.Module | str | Path,
    images: Given,
    labels: Arrays | None = None,
    *,
    attacks: Sequence[str] | str = ("clean", "pgd20", "cw20", "aa"),
    eps: float | str = "8/255",
    classes: int | None = None,
    batch: int = 250,
    seed: int = 0,
    out: str | Path | None = None,
    force: bool = False,
    model: str | None = None,
    key: str | None = None,
    trust_code: bool = False,
) -> Evaluation:
    """Clean and robust accuracy of `net`, a classifier of images in [0, 1] that returns logits (n, classes).

    images are (n, c, h, w), uint8 or floats in [0, 1], and labels are (n), from 0: tensors, arrays or lists. A
    DataLoader or Dataset of (image, label) brings its own labels. `attacks` are columns of the published params.yaml:
    clean, fgsm, pgd20, pgd100, cw20, cw100, aa (AutoAttack), min_linf, min_l2, ... The L-inf radius `eps` may be a
    fraction; steps are eps/4. The network stays where it is and is evaluated in eval mode; of several outputs the first
    (or `logits`) counts, and weights that are not float32 are copied. With `out`, finished batches outlive a killed
    run, and the files of `cure eval` are written there.

    `net` may be a checkpoint file. Of a state dict, `model` names the entry of cure/models, and `key` which of several
    networks is meant. `trust_code` runs the code in a TorchScript or torch.export file, which is a program. Raises
    `cure.errors.UserError` on input that makes no sense and, unless `force`, where the preflight finds the network
    unfit.
    """
    name = type(net).__name__ if isinstance(net, nn.Module) else str(net)
    # gradients are wanted also where the caller has switched them off
    with exit_refused(name), torch.inference_mode(False), torch.enable_grad():
        changes, names = _changes(eps, batch, seed, classes), _names(attacks)
        given = sets.given(images, labels, classes, _device(net, images))
        params = opened(published(), "", "")
        subject = _subject(net, given, Loading(model=model, key=key, trust_code=trust_code), params)
        if classes is None:
            given = sets.classes_of(subject.net, given)
        wanted = plan(params, names, given.classes, changes)
        folder = Path(out) if out else None
        with scope(subject.net, "eval"):
            file = None if isinstance(net, nn.Module) else Path(net)
            note_network = claimed(folder, subject.net, file, given.examples.x)
            preflight_checks = run_preflight(subject, given, wanted, force=force)
            note_network()
            found = measure(subject, given, wanted, preflight_checks, units=folder / "units" if folder else None)
    if folder:
        outputs.write(found, folder)
    return found


def _names(attacks: Any) -> list[str]:
    names = attacks.split(",") if isinstance(attacks, str) else attacks
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise UserError(f"attacks is {attacks!r}; a text such as 'clean,pgd20', or a list of names")
    return [name.strip() for name in names]


def _changes(eps: float | str, batch: Any, seed: Any, classes: Any) -> dict[str, Any]:
    """Return what is laid over the published settings."""
    radius = _radius(eps)
    if classes is not None and (not isinstance(classes, int) or classes < 2):
        raise UserError(f"classes is {classes!r}; a whole number of at least 2, or None to ask the network")
    for what, value, least, end in (("batch", batch, 1, COUNTS), ("seed", seed, 0, SEEDS)):
        if not isinstance(value, int) or not least <= value < end:
            raise UserError(f"{what} is {value!r}; a whole number from {least} to {end - 1}")
    return {"threat": {"eps": radius, "step": radius / 4}, "attack": {"batch": batch, "seed": seed, "subset": {}}}


def _device(net: nn.Module | str | Path, images: Given) -> torch.device:
    """Return where a network is; a file is loaded to where the images are."""
    if not isinstance(net, nn.Module | str | Path):
        raise UserError(
            f"net is a {type(net).__name__}, not a torch.nn.Module or a checkpoint file; wrap a function in a module"
        )
    if isinstance(net, nn.Module):
        if any(t.is_inference() for t in (*net.parameters(), *net.buffers())):
            raise UserError("net was built inside torch.inference_mode, so it has no gradients; build it outside")
        return next((weight.device for weight in net.parameters()), torch.device("cpu"))
    return images.device if isinstance(images, Tensor) else torch.device("cpu")


def _subject(net: nn.Module | str | Path, given: sets.Images, loading: Loading, params: Params) -> Subject:
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
    checkpoint = open_checkpoint(Path(net))
    if isinstance(checkpoint, OwnCheckpoint) and loading.external:
        raise UserError(f"{net}: says itself what it is; model is for others' checkpoints")
    shape = Shape(given.channels, given.classes)
    seconds = params.get("preflight", Preflight).program_seconds
    one, *others = subjects(checkpoint, loading, shape, model_settings(params), example, seconds)
    if others:
        known = ", ".join(subject.name.rpartition(":")[2] for subject in (one, *others))
        raise UserError(f"{net}: holds {1 + len(others)} networks: {known}; name one by key=...")
    one.net.to(example.device)
    return one
