"""What an epoch must not leave: losses or weights that are not finite, or a network without gradients."""

import math

import torch

from cure.core.method import Networks
from cure.core.tensors import Tensor
from cure.data.loader import Split
from cure.errors import UserError

Row = dict[str, float | int]


def finite(nets: Networks) -> Tensor:
    """Return whether every number of the networks is finite, still on their device."""
    return torch.stack([t.isfinite().all() for t in nets.state_dict().values()]).all()


def check_finite(epoch: int, row: Row, nets: Networks, sound: bool) -> None:
    """Refuse a loss, or networks after the last step, that are not finite; `sound` is what `finite` says of these."""
    wrong = [f"the term {name} became {value}" for name, value in row.items() if not math.isfinite(value)]
    if not wrong and not sound:
        wrong = [f"{name} is not finite" for name, t in nets.state_dict().items() if not bool(t.isfinite().all())]
    if wrong:
        raise UserError(
            f"epoch {epoch}: {wrong[0]}; the same command would end here again. Lower lr, or look at the data and the "
            "attack's step; a training with other settings begins at epoch 1"
        )


def pgd_has_no_effect(row: Row, val: Split) -> bool:
    """Whether PGD changed no prediction of a network that does better than to name one class."""
    if "val_pgd" not in row or row["val_pgd"] != row["val_clean"]:
        return False
    return row["val_clean"] > int(val.labels.bincount().max()) / len(val)
