"""Projected gradient ascent: the one inner loop of training, of PGD and of C&W.

    x_0 = start(x);   x_{k+1} = clip(x_k + a * sign grad J(x_k), to the eps-ball around x and to [0, 1])

Madry et al., ICLR 2018, Eq. (4). The last iterate is returned; nothing is chosen by its loss.
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
    """A stop rule with the state of one attack: given the logits of the iterate, which rows end here?"""

    def __call__(self, z: Logits) -> Flags:
        """True where the present iterate is final."""


@contextmanager
def all_rows() -> Iterator[None]:
    """Forward every row while the block runs, also rows that have ended, as a GPU always does.

    A step then costs the same whatever the network is, so that one on stand-ins has the cost of any other.
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
    """The loop. eps, step and steps are numbers, one per example (n) or, eps and step, one per pixel (n, 1, h, w).

    `jitter` (steps, n, c, h, w) is added to the iterate of each step before it is clipped.

    A row ends early when the stop rule says so, asked before the step, or after its own number of steps; a GPU need not
    wait for their maximum where a bound, `most`, is known. Where rows do not depend on each other (`rows_independent`),
    those that have ended are left out of the passes once they are many; the rule then sees the last logits that they
    had.
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
    # a row that never stepped is still at its start, which may lie outside
    return x_adv.detach() if live is None else x_adv.detach().clamp(low, high)


def _gradient(
    net: nn.Module, x: Images, objective: Objective, live: Flags | None, before: Logits | None
) -> tuple[Logits, Images]:
    """Logits, and the objective's gradient to the images; of rows that have ended the logits `before`, and zero.

    They are left out where they are a quarter or more, and never on a GPU, which would have to wait to count them.
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
