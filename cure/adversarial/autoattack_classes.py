"""Call AutoAttack's own attack classes, from whichever package has them.

The reference implementation (Croce and Hein, ICML 2020) is not a package of the index; `pyautoattack` is the same code.
Both are frozen. Their classes are called, never their evaluation loop, whose resume, counters and tracer are defective.
Every call makes a new object, so that no work item of an evaluation reads the state of another.
"""

import warnings
from collections.abc import Callable
from functools import partial
from importlib import metadata

import torch
from torch import nn

from cure.core.tensors import Images, Labels, Logits, PerExample
from cure.errors import UserError
from cure.nn.losses import margin
from cure.settings.base import Norm

try:  # a user's install of the repository itself
    from autoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from autoattack.fab_pt import FABAttack_PT
    from autoattack.square import SquareAttack
except ImportError:
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from pyautoattack.fab_pt import FABAttack_PT
    from pyautoattack.square import SquareAttack


SPELLED: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}
SQUARE_L2_SIDE = 5  # pixels: its L2 form starts with tiles of a fifth of the image


def package() -> str:
    """Return name and version of the package, such as `pyautoattack 0.2.0`; a checkout on the path has no version."""
    name = APGDAttack.__module__.partition(".")[0]
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"{name} (not installed, on the path)"


class MarginAPGD(APGDAttack):  # type: ignore[misc]
    """APGD on the logit margin, for so few classes that the DLR loss, which divides by a third logit, is undefined."""

    def dlr_loss(self, z: Logits, y: Labels) -> PerExample:
        """Return max_{k != y} z_k - z_y."""
        return margin(z, y)


def apgd(
    net: nn.Module,
    x: Images,
    y: Labels,
    *,
    loss: str,
    eps: float,
    norm: Norm,
    iterations: int,
    seed: int,
    eot: int = 1,
) -> Images:
    """Attack with APGD with one restart on `ce`, `dlr` or `margin`."""
    kind, named = (MarginAPGD, "dlr") if loss == "margin" else (APGDAttack, loss)
    how = {"n_iter": iterations, "n_restarts": 1, "eps": eps, "norm": SPELLED[norm], "seed": seed}
    attack = kind(net, loss=named, eot_iter=eot, **how)
    return _quietly(attack.perturb, x, y)


def apgd_targeted(
    net: nn.Module, x: Images, y: Labels, *, targets: int, eps: float, norm: Norm, iterations: int, seed: int
) -> Images:
    """Attack with APGD on the targeted DLR loss, towards each of the `targets` likeliest wrong classes."""
    how = {"n_iter": iterations, "n_restarts": 1, "eps": eps, "norm": SPELLED[norm], "seed": seed}
    attack = APGDAttack_targeted(net, n_target_classes=targets, **how)
    return _quietly(attack.perturb, x, y)


def fab_targeted(
    net: nn.Module, x: Images, y: Labels, *, targets: int, eps: float, norm: Norm, iterations: int, seed: int
) -> Images:
    """Attack with FAB towards each of the `targets` likeliest wrong classes, until one result is within eps."""
    how = {"n_iter": iterations, "n_restarts": 1, "eps": eps, "norm": SPELLED[norm], "seed": seed}
    attack = FABAttack_PT(net, targeted=True, n_target_classes=targets, **how)
    return _quietly(attack.perturb, x, y)


def fab_towards(net: nn.Module, x: Images, y: Labels, *, rank: int, iterations: int, norm: Norm) -> Images:
    """Return FAB's nearest point of the `rank`-th likeliest wrong class at any distance, or x if it finds none."""
    attack = FABAttack_PT(net, norm=SPELLED[norm], n_iter=iterations, targeted=True)
    attack.target_class = rank + 1
    return _quietly(partial(attack.attack_single_run, is_targeted=True), x, y)


def square(net: nn.Module, x: Images, y: Labels, *, eps: float, norm: Norm, queries: int, seed: int) -> Images:
    """Attack with Square, a random search on logits alone; raise `UserError` if its L2 form has too few pixels."""
    if norm == "l2" and min(x.shape[2:]) < SQUARE_L2_SIDE:
        h, w = x.shape[2:]
        raise UserError(f"Square in L2 needs images of {SQUARE_L2_SIDE} pixels a side; these are {h}x{w}")
    how = {"n_queries": queries, "n_restarts": 1, "eps": eps, "norm": SPELLED[norm], "seed": seed}
    attack = SquareAttack(net, p_init=0.8, resc_schedule=False, **how)
    return _quietly(attack.perturb, x, y)


def _quietly(perturb: Callable[[Images, Labels], Images], x: Images, y: Labels) -> Images:
    # no gradients outside, since the classes switch them on where they need them; no error for FAB's cumulative sums,
    # which have no deterministic kernel on CUDA; no warning of zero gradients, which is given for one loss at one point
    strictness = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(min(strictness, 1))
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return perturb(x.clone(), y.clone()).detach()
    finally:
        torch.set_deterministic_debug_mode(strictness)
