"""FAT: adversarial examples that stop as soon as they fool the network (plus patience tau).

Zhang et al., "Attacks Which Do Not Kill Training Make Adversarial Learning Stronger", ICML 2020, Algorithms 1 and 2.
https://arxiv.org/abs/2002.11242

    before each of at most K steps, an example that is misclassified and has no patience left keeps its iterate;
    a misclassified one with patience left loses one unit; then x' <- clip(x' + a sign grad + omega N(0, 1))

The base loss is CE (FAT), TRADES (FAT-TRADES) or MART (FAT-MART). Patience counts the misclassified iterates and is not
reset. The released code returns examples sorted by stopping time. Here each keeps its place, which changes nothing.
omega is 0.001 for the base `at` and 0 for the others. The released FAT-TRADES forwards x once; `forward_again` adds
TRADES' second forward.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import BeforeValidator, Field, field_validator

from cure.adversarial.cuda_graphs import Fixed
from cure.adversarial.pgd import pgd
from cure.core.method import Batch, Method, Networks, Terms
from cure.core.tensors import Flags, Images, Logits
from cure.methods.parts.base_losses import BASES, WrappedLoss
from cure.settings.base import Epoch, NonNegative, at_epoch, integer_keys


class Hyper(WrappedLoss):
    """Settings: tau by 1-based epoch, omega, and the base."""

    tau: Annotated[dict[Epoch, Annotated[int, Field(ge=0)]], BeforeValidator(integer_keys)]
    omega: NonNegative

    @field_validator("tau")
    @classmethod
    def _starts_at_epoch_1(cls, tau: dict[int, int]) -> dict[int, int]:
        if 1 not in tau:
            raise ValueError("needs a value from epoch 1 on")
        return tau


@dataclass(frozen=True)
class Friendly(Fixed):
    """The stop rule: a row ends at its first misclassified iterate without patience."""

    tau: int

    def __call__(self, batch: Batch) -> "Patience":
        """Return the rule of one attack."""
        return Patience(batch, self.tau)


class Patience:
    """The remaining patience of each row."""

    def __init__(self, batch: Batch, tau: int) -> None:
        self.y = batch.y
        self.patience = torch.full_like(batch.y, tau)

    def __call__(self, z: Logits) -> Flags:
        """Return where the present iterate is final."""
        wrong = z.argmax(dim=1) != self.y
        done = wrong & (self.patience == 0)
        self.patience -= (wrong & ~done).long()
        return done


def patience(hyper: Hyper, epoch: int) -> int:
    """Return tau of an epoch."""
    return at_epoch(hyper.tau, epoch, 0)


def attack(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Images]:
    """Return x' by the base's PGD, stopped early."""
    stop = Friendly(patience(hyper, batch.position.epoch))
    objective = BASES[hyper.base].objective
    return {"adv": pgd(nets.student, batch, hyper.attack, objective, stop=stop, jitter=hyper.omega)}


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return the base's loss on x'."""
    return BASES[hyper.base].loss(nets, batch, hyper.weight, forward_again=hyper.forward_again)


METHOD = Method(
    cite="Zhang et al. 2020, Algorithms 1 and 2",
    hyper=Hyper,
    loss=loss,
    attack=attack,
)
