"""Check whether a network is more accurate if its images are normalised, as they may have been in its training.

A network without its normalisation is often far better than chance, so its accuracy alone does not reveal this.
"""

import torch
from scipy.stats import binomtest
from torch import Tensor

from cure.core.tensors import Flags, Images
from cure.evaluation.diagnostics.preflight_batch import PreflightContext, Verdict
from cure.evaluation.statistics.paired_outcomes import PairedOutcomes

MeanAndDeviation = tuple[Tensor, Tensor]  # per channel
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
LEVEL = 1 / 255  # one 8-bit level: the least deviation of a channel that is not constant


def normalisation(context: PreflightContext) -> Verdict:
    """Return grey if one of the usual normalisations makes more images correct, and not by chance."""
    right = context.z.argmax(1) == context.y
    usual = _usual(context.x)
    found = {name: _right(context, *how) for name, how in usual.items()}
    name = max(found, key=lambda name: int(found[name].sum()))
    better = found[name]
    counts = PairedOutcomes(
        *(int(n.sum()) for n in (better & right, better & ~right, ~better & right, ~better & ~right))
    )
    after, before = counts.right
    said = f"{before} of {counts.images} clean images right"
    level = context.rules.level / len(found)  # the best of several is a little better by chance
    guessed = binomtest(after, counts.images, 1 / context.classes, alternative="greater").pvalue >= level
    if guessed or counts.p("greater") >= level:  # if classes are in another order, any change makes some correct
        return True, f"{said}, {after} after the best of {len(found)} usual normalisations"
    mean, deviation = (",".join(f"{value:.3g}" for value in values.tolist()) for values in usual[name])
    return None, (
        f"{said}, but {after} after a normalisation with {name}; "
        f"if the network was trained so, normalise inside it (--mean {mean} --std {deviation})"
    )


def _usual(x: Images) -> dict[str, MeanAndDeviation]:
    """Return the usual normalisations of training, by name."""
    one = x.new_ones(x.shape[1])
    found = {
        "the mean and deviation of these images": (
            x.mean((0, 2, 3)),
            x.std((0, 2, 3), correction=0).clamp(min=LEVEL),
        ),
        "mean and deviation 0.5": (0.5 * one, 0.5 * one),
        "values from 0 to 255": (0 * one, LEVEL * one),
    }
    if len(one) == 3:
        mean, deviation = (x.new_tensor(values) for values in IMAGENET)
        found["ImageNet's mean and deviation"] = mean, deviation
    return found


def _right(context: PreflightContext, mean: Tensor, deviation: Tensor) -> Flags:
    """Return which images are correct after a normalisation; none if the network rejects such values."""
    x = (context.x - mean[:, None, None]) / deviation[:, None, None]
    try:
        return context.logits(x).argmax(1) == context.y
    except Exception:  # external code may raise anything, also for values outside [0, 1]
        return torch.zeros_like(context.y, dtype=torch.bool)
