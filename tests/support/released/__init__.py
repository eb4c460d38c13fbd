"""One training step of each method with the pass structure of its authors' code, for comparison only.

Which passes are made, how often, in which mode and with which graph kept is as in their code (docs/methods.md says what
we do instead). The formulas inside are ours, so they cause no difference. A step takes the networks, a batch, the
method's settings and one optimiser over everything trained. VFD, whose authors published no code, is written as plainly
as possible.
"""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from cure.core.method import Batch, Networks
from tests.support.released import baselines, cure, distillation, others, trade_offs

Step = Callable[[Networks, Batch, Any, Optimizer], object]

STEPS: dict[str, Step] = {
    "natural": baselines.natural,
    "at": baselines.at,
    "at_ema": baselines.at,  # as in ours, the average belongs to the loop and not to a step
    "trades": baselines.trades,
    "mart": baselines.mart,
    "awp": baselines.awp,
    "fat": others.fat,
    "st_at": others.st_at,
    "act": distillation.act,
    "ard": distillation.ard,
    "iad": distillation.iad,
    "las_at": others.las_at,
    "part": others.part,
    "vfd": distillation.vfd,
    "arat": others.arat,
    "hat": trade_offs.hat,
    "lbgat": trade_offs.lbgat,
    "generalist": trade_offs.generalist,
    "ikl_at": trade_offs.ikl_at,
    "cure": cure.four_backwards,
    "cure_eff": cure.one_backward,
}
