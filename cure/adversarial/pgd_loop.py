"""Projected gradient ascent: the inner loop of adversarial training, of PGD and of C&W.

    x_0 = start(x);   x_{k+1} = clip(x_k + a * sign grad J(x_k), to the eps-ball around x and to [0, 1])

Madry et al., ICLR 2018, Eq. (4). The last iterate is returned; no iterate is chosen by its loss.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from cure.core.tensors import Flags, Images, Logits, PerExample, Tensor

Objective = Callable[[Logits], PerExample]

_ALL_ROWS = ContextVar("all_rows", default=False)


@runtime_checkable
class Stop(Protocol):
    """A stop rule with the state of one attack."""

    def __call__(self, z: Logits) -> Flags:
        """Return which rows end here, given the logits of the present iterate."""


@contextmanager
def all_rows() -> Iterator[None]:
    """Forward every row inside the block, including rows that have ended, as a GPU always does.

    A step then costs the same for every network of a shape, so untrained networks show the cost.
    """
    before = _ALL_ROWS.set(True)
    try:
        yield
    finally:
        _ALL_ROWS.reset(before)


def pgd_loop(
    net: nn.Module,
    x: Images,
    x_adv: Images,
    objective: Objective,
    *,
    eps: float | Tensor,
    step: float | Tensor,
    steps: int | Tensor,
    most: int | None = None,
    stop: Stop | None = None,
    jitter: Tensor | None = None,
    rows_independent: bool = False,
) -> Images:
    """Run the loop of projected gradient ascent and return the last iterate.

    Args:
        net: network from images to logits.
        x: (n, c, h, w) images in [0, 1], the centres of the balls.
        x_adv: start, shaped like x.
        objective: from logits (n, k) to the values (n) that are maximised.
        eps: radius; a number, or one per image (n) or pixel (n, 1, h, w).
        step: step size, likewise.
        steps: number of steps; a number, or one per image (n).
        most: bound of `steps` if it is a tensor, so that a GPU need not wait for its maximum.
        stop: is called before each step; the rows that it returns end.
        jitter: (steps, n, c, h, w), added to the iterate of each step before it is clipped.
        rows_independent: whether rows do not affect each other. If so, rows that have ended are left out of the passes
            once they are many, and the stop rule gets their last logits.
    """
    eps, step = _per_pixel(eps), _per_pixel(step)
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)  # both clips at once, since x is in [0, 1]
    leave_out = rows_independent and not _ALL_ROWS.get()
    live: Flags | None = None
    z: Logits | None = None
    for k in range(steps if isinstance(steps, int) else most if most and steps.is_cuda else int(steps.max())):
        if isinstance(steps, Tensor):
            live = (k < steps) if live is None else live & (k < steps)
        z, g = _gradient(net, x_adv, objective, live if leave_out else None, z)
        with torch.no_grad():
            if stop is not None:
                live = ~stop(z) if live is None else live & ~stop(z)
            moved = x_adv + step * g.sign()
            moved = (moved if jitter is None else moved + jitter[k]).clamp_(low, high)
            x_adv = moved if live is None else torch.where(live[:, None, None, None], moved, x_adv)
    # a row that never stepped is still at its start, which may be outside
    return x_adv.detach() if live is None else x_adv.detach().clamp(low, high)


def _gradient(
    net: nn.Module, x: Images, objective: Objective, live: Flags | None, before: Logits | None
) -> tuple[Logits, Images]:
    """Return logits, and the objective's gradient to the images; for ended rows the logits `before`, and zero.

    Ended rows are left out if they are a quarter or more, and never on a GPU, which would have to wait to count them.
    """
    if live is None or before is None or live.is_cuda or 4 * int(live.sum()) > 3 * len(live):
        x = x.detach().requires_grad_()
        z = net(x)
        return z.detach(), torch.autograd.grad(objective(z).sum(), x)[0]
    g, rows = torch.zeros_like(x), live.nonzero()[:, 0]
    if len(rows):
        few = x[rows].detach().requires_grad_()
        before = before.index_copy(0, rows, net(few))
        g[rows] = torch.autograd.grad(objective(before).sum(), few)[0]
    return before.detach(), g


def _per_pixel(value: float | Tensor) -> float | Tensor:
    return value[:, None, None, None] if isinstance(value, Tensor) and value.ndim == 1 else value
