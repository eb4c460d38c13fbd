"""What an epoch must not leave: losses or weights that are not finite, or a network without gradients."""

import math

import torch

from cure.core.method import Networks
from cure.data.loader import Split
from cure.errors import UserError

Row = dict[str, float | int]


def check_finite(epoch: int, row: Row, nets: Networks) -> None:
    """Refuse a loss, or networks after the last step, that are not finite."""
    wrong = [f"the term {name} became {value}" for name, value in row.items() if not math.isfinite(value)]
    numbers = {name: t for name, t in nets.state_dict().items() if t.is_floating_point()}
    if not wrong and not bool(torch.stack([t.isfinite().all() for t in numbers.values()]).all()):
        wrong = [f"{name} is not finite" for name, t in numbers.items() if not bool(t.isfinite().all())]
    if wrong:
        raise UserError(
            f"epoch {epoch}: {wrong[0]}; earlier epochs are kept in the resume file. "
            "Lower lr, or look at the data and the attack's step"
        )


def pgd_has_no_effect(row: Row, val: Split) -> bool:
    """Whether PGD changed no prediction of a network that does better than to name one class."""
    guess = int(val.labels.bincount().max()) / len(val)
    return "val_pgd" in row and row["val_pgd"] == row["val_clean"] > guess
