"""The training step that all methods share. A method fills some of its slots (core/method.py)."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from cure.core.method import Batch, Method, Networks
from cure.core.tensors import Tensor
from cure.nn.gradients import gradients, objective, reduce
from cure.runtime import distributed
from cure.settings.base import Precision


class Step:
    """One optimiser step of `method`. Calling it returns the mean of each loss term as a tensor on the device.

    With several ranks, each rank calls it with its own rows and receives its part of the means. The networks stay equal
    on all ranks.

    `precision="bf16"` runs the convolutions and matrix products of forward passes in bfloat16. Weights, attack
    iterates, logits and losses keep their precision.
    """

    def __init__(
        self,
        nets: Networks,
        method: Method,
        hyper: Any,
        optimizer: torch.optim.Optimizer,
        precision: Precision = "fp32",
    ) -> None:
        self.nets, self.method, self.hyper, self.optimizer = nets, method, hyper, optimizer
        self.precision = precision

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Run attack, losses, gradients, optimiser and `after_step`, in this order, without waiting for the device."""
        with distributed.batch_of(len(batch.y) + batch.images_on_other_ranks):
            return self._taken(batch)

    def _taken(self, batch: Batch) -> dict[str, Tensor]:
        method, nets, hyper = self.method, self.nets, self.hyper
        if method.attack is not None:
            with self._half(batch, "bf16", "bf16_attack"):
                batch.points.update(method.attack(nets, batch, hyper))
        self.optimizer.zero_grad(set_to_none=True)
        with self._half(batch, "bf16"):
            means = reduce(method.loss(nets, batch, hyper))
            grads = None if method.combine_gradients is None else method.combine_gradients(nets, batch, hyper, means)
        if grads is None and distributed.count() > 1:
            grads = gradients(objective(means), nets.weights())
        if grads is None:
            objective(means).backward()  # type: ignore[no-untyped-call]
        else:
            for name, weight in nets.weights().items():
                weight.grad = grads[name]
        batch.show("means", means)
        self.optimizer.step()
        if method.after_step is not None:
            method.after_step(nets, batch, hyper)
        distributed.agree(nets)
        return {name: mean.detach() for name, (_, mean) in means.items()}

    def _half(self, batch: Batch, *precisions: Precision) -> AbstractContextManager[Any]:
        """Return an autocast to bfloat16 if the precision is one of these.

        Its weight cache is off, since an attack may change a weight inside.
        """
        if self.precision not in precisions:
            return nullcontext()
        return torch.autocast(batch.x.device.type, torch.bfloat16, cache_enabled=False)
