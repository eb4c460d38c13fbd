"""Validate a network on a split, clean and under PGD."""

import torch
from torch import nn

from cure.adversarial.pgd import ce_objective, pgd
from cure.core.method import Batch
from cure.core.tensors import Flags
from cure.data.loader import Split
from cure.evaluation.measure import accuracies, outcomes
from cure.runtime import distributed
from cure.runtime.memory import halving
from cure.settings.sections import Fit


def validated(net: nn.Module, val: Split, fit: Fit, seed: int) -> dict[str, Flags]:
    """Return which images of `val` are classified correctly, clean and under PGD. Each rank computes its share.

    Args:
        net: the network, in any mode.
        val: the validation split, n images.
        fit: the training settings, with the validation attack.
        seed: of the attack's random start.

    Returns:
        Boolean vectors (n), under `clean` and `pgd`.
    """

    def attacked(net: nn.Module, batch: Batch) -> torch.Tensor:
        return pgd(net, batch, fit.validate_attack, ce_objective)

    def correct(batch: int) -> dict[str, Flags]:
        return outcomes(net, val.at(rows), {"pgd": attacked}, batch=batch, seed=seed)

    rows = distributed.rows(len(val))
    found = halving(fit.batch, correct, "validation")
    return {name: distributed.everywhere(flags, rows, len(val)) for name, flags in found.items()}


def validation(net: nn.Module, val: Split, fit: Fit, seed: int) -> dict[str, float]:
    """Return the accuracies on `val` in [0, 1], under `clean` and `pgd`."""
    return accuracies(validated(net, val, fit, seed))


def told(scores: dict[str, float], fit: Fit) -> str:
    """Return validation accuracies in percent, such as `clean 95.6, PGD-10 75.0`, from scores named as in a curve."""
    titles = {"val_clean": "clean", "val_pgd": f"PGD-{fit.validate_attack.steps}"}
    return ", ".join(f"{title} {100 * scores[name]:.1f}" for name, title in titles.items() if name in scores)
