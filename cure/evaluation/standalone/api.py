"""`from cure import evaluate`: the evaluation of `cure eval` for a network and arrays in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cure.errors import UserError
from cure.evaluation.standalone import images as sets
from cure.evaluation.standalone import outputs
from cure.evaluation.standalone.measure import Evaluation, measure, run_preflight
from cure.evaluation.standalone.plan import opened, plan, published
from cure.evaluation.standalone.results_folder import claimed
from cure.evaluation.standalone.subject import Subject, with_single_float32_output
from cure.nn.batchnorm import scope
from cure.settings.base import COUNTS, SEEDS
from cure.settings.sections import Threat


def _radius(eps: float | str) -> float:
    try:
        return Threat.model_validate({"eps": eps, "step": 1}).eps
    except ValueError:
        told = "a radius above 0 and up to 1, such as 8/255: images are in [0, 1], and 8 grey levels are 8/255"
        raise UserError(f"eps is {eps!r}; {told}") from None


def evaluate(
    net: nn.Module,
    images: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    *,
    attacks: Sequence[str] | str = ("clean", "pgd20", "cw20", "aa"),
    eps: float | str = "8/255",
    classes: int | None = None,
    batch: int = 250,
    seed: int = 0,
    out: str | Path | None = None,
    force: bool = False,
) -> Evaluation:
    """Clean and robust accuracy of `net`, a classifier of images in [0, 1] that returns logits (n, classes).

    images are (n, c, h, w), uint8 or floats in [0, 1]; labels are (n), from 0. `attacks` are columns of the published
    params.yaml: clean, fgsm, pgd20, pgd100, cw20, cw100, aa (AutoAttack), min_linf, min_l2, ... The L-inf radius `eps`
    may be a fraction; steps are eps/4. The network stays where it is and is evaluated in eval mode; of several outputs
    the first (or `logits`) counts, and weights that are not float32 are copied. With `out`, finished batches outlive a
    killed run, and the files of `cure eval` are written there. Raises `cure.errors.UserError` on input that makes no
    sense and, unless `force`, where the preflight finds the network unfit.
    """
    if not isinstance(net, nn.Module):
        raise UserError(f"net is a {type(net).__name__}, not a torch.nn.Module; wrap a function in one")
    device = next((w.device for w in net.parameters()), torch.device("cpu"))
    given = sets.given(images, labels, classes, device)
    used, notes = with_single_float32_output(net, given.examples.x[:2])
    if classes is None:
        given = sets.classes_of(used, given)
    settings = published()
    radius = _radius(eps)
    if not 1 <= batch < COUNTS:
        raise UserError(f"batch is {batch}; from 1 to {COUNTS - 1}")
    changes: dict[str, Any] = {"threat": {"eps": radius, "step": radius / 4}}
    changes["attack"] = {"batch": batch, "seed": seed, "subset": {}}
    if not 0 <= seed < SEEDS:
        raise UserError(f"seed is {seed}; from 0 to {SEEDS - 1}")
    names = attacks.split(",") if isinstance(attacks, str) else list(attacks)
    wanted = plan(opened(settings, "", ""), names, given.classes, changes)
    folder = Path(out) if out else None
    with scope(net, "eval"), scope(used, "eval"):
        subject = Subject(type(net).__name__, used, notes)
        note_network = claimed(folder, used, None)
        preflight_checks = run_preflight(subject, given, wanted, force=force)
        note_network()
        found = measure(subject, given, wanted, preflight_checks, units=folder / "units" if folder else None)
    if folder:
        outputs.write(found, folder)
    return found
