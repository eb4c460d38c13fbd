"""Detect broken training: losses or weights that are not finite, and attacks without any effect."""

import math

import torch

from cure.core.method import Networks
from cure.core.tensors import Tensor
from cure.data.loader import Split
from cure.errors import UserError

Row = dict[str, float | int]


def finite(nets: Networks) -> Tensor:
    """Return a boolean tensor on the device: whether every number of the networks is finite."""
    return torch.stack([t.isfinite().all() for t in nets.state_dict().values()]).all()


def check_finite(epoch: int, row: Row, nets: Networks, sound: bool) -> None:
    """Raise UserError if a loss term, or a weight after the last step, is not finite.

    `sound` is the result of `finite` for these networks.
    """
    wrong = [f"the term {name} became {value}" for name, value in row.items() if not math.isfinite(value)]
    if not wrong and not sound:
        wrong = [f"{name} is not finite" for name, t in nets.state_dict().items() if not bool(t.isfinite().all())]
    if wrong:
        raise UserError(
            f"epoch {epoch}: {wrong[0]}; a rerun would fail here again. Lower lr, or check the data and the "
            "attack's step; a training with other settings begins at epoch 1"
        )


def pgd_has_no_effect(row: Row, val: Split) -> bool:
    """Return whether PGD changed no prediction of a network that is better than always predicting one class."""
    if "val_pgd" not in row or row["val_pgd"] != row["val_clean"]:
        return False
    return row["val_clean"] > int(val.labels.bincount().max()) / len(val)
