"""The average prediction of a network for each class: the weights of IKL's logit differences."""

import torch
from torch import nn

from cure.core.tensors import Labels, Logits, PerExample, Tensor
from cure.errors import UserError
from cure.runtime import distributed


class ClassPriors(nn.Module):
    """rows[c] is the mean of softmax(f(x) / T) over last epoch's images of class c; uniform in the first epoch."""

    rows: Tensor
    sums: Tensor

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        linear = [module for module in student.modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise UserError("class priors: the network has no linear layer, whose outputs are taken for the classes")
        k = linear[-1].out_features
        self.register_buffer("rows", torch.full((k, k), 1 / k))
        self.register_buffer("sums", torch.zeros(k, k))

    def of(self, z: Logits, y: Labels) -> Tensor:
        """Return the row of each label (n, classes); raise UserError if `z` has another number of classes."""
        if z.shape[1] != len(self.rows):
            raise UserError(
                f"class priors: the last linear layer of the network has {len(self.rows)} outputs, but there are "
                f"{z.shape[1]} logits; let the network register its classifier last"
            )
        return self.rows[y].to(z.dtype)

    def collect(self, z: Logits, y: Labels, temperature: float) -> None:
        """Add a batch to this epoch's sums."""
        p = (z.detach() / temperature).softmax(dim=1)
        added = torch.zeros_like(self.sums).index_add_(0, y, p.to(self.sums.dtype))
        self.sums += distributed.count() * distributed.mean([added])[0]

    def turn(self) -> None:
        """Begin an epoch: the sums become rows. A class without images keeps its row."""
        mass = self.sums.sum(dim=1, keepdim=True)
        self.rows.copy_(torch.where(mass > 0, self.sums / mass.clamp(min=torch.finfo(mass.dtype).tiny), self.rows))
        self.sums.zero_()


def weighted_differences(clean: Logits, adv: Logits, s: Tensor) -> PerExample:
    """Return 1/4 sum_{j,k} s_j s_k ((n_j - n_k) - (a_j - a_k))^2, s (n, classes), without a table of all pairs."""
    d = clean - adv
    return (s.sum(dim=1) * (s * d.square()).sum(dim=1) - (s * d).sum(dim=1).square()) / 2
