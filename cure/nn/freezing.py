"""Update some parts of a network while the others stay as they are, to the bit.

    theta_B <- theta_B - lr grad_{theta_B} L,     theta_{not B} constant

B are the named parts. Gowda et al., "Conserve-Update-Revise to Cure Generalization and Robustness Trade-off in
Adversarial Training", ICLR 2024: Fig. 2b (B is re-initialised first), Fig. 11 (B is fine-tuned), Fig. 4.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from cure.core.network import Network
from cure.core.noise import seed_for
from cure.nn.batchnorm import FixedBatchNorm2d


@contextmanager
def alone(net: nn.Module, weight: nn.Parameter) -> Iterator[None]:
    """Compute gradients for one weight only inside the block, so that forwards keep only what its gradient needs."""
    wanted = [(other, other.requires_grad) for other in net.parameters()]
    net.requires_grad_(False)
    weight.requires_grad_()
    try:
        yield
    finally:
        for other, wants in wanted:
            other.requires_grad_(wants)


def freeze(net: Network, parts: list[str], *, freeze_stem: bool, bn_frozen_eval: bool) -> None:
    """Turn off the gradients of all parts except `parts` and, unless `freeze_stem`, the stem.

    With `bn_frozen_eval` the batch norms of frozen parts stay on their running statistics. Without it they normalise by
    the batch and their statistics drift, as in the released code, which never freezes a stem.
    """
    stem = net.block_names()[0]
    for name, held in net.members().items():
        if name in parts or (name == stem and not freeze_stem):
            continue
        for module in held:
            module.requires_grad_(False)
            for norm in module.modules():
                if bn_frozen_eval and isinstance(norm, nn.BatchNorm2d):
                    norm.__class__ = FixedBatchNorm2d  # changes the class in place, so that names and state stay


def reinitialise(net: Network, parts: list[str], seed: int, *, reinit_bn: bool) -> None:
    """Draw fresh weights for `parts`, with a seed for each part, so that two sets with a common part start it equally.

    Convolutions are Kaiming-uniform (fan_out, ReLU), a classifier is N(0, 0.01^2) without bias, as in the released
    code. Batch norms are kept unless `reinit_bn`, which resets their statistics as well.
    """
    for part in parts:
        draws = torch.Generator().manual_seed(seed_for(seed, "reinit", part))
        for module in (module for child in net.members()[part] for module in child.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, mode="fan_out", nonlinearity="relu", generator=draws)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01, generator=draws)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d) and reinit_bn:
                module.reset_parameters()
