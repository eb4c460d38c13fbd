"""The one training step. Every method is this step with some slots filled (core/method.py)."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from cure.core.method import Batch, Method, Networks
from cure.core.tensors import Tensor
from cure.nn.gradients import gradients, objective, reduce
from cure.runtime import distributed
from cure.settings.base import Precision


class Step:
    """One optimiser step of `method`; calling it returns the mean of each term, still on the device.

    Of several ranks, each calls it with its rows and gets its part of the means; the networks stay the same on all.

    In bfloat16 are the convolutions and products of the forwards alone; weights, iterates, logits and losses stay as
    they are.
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
        """Search, losses, gradients, update, companions, in this order. Nothing here waits for the device."""
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
        """Autocast to bfloat16 under these precisions; a weight may move inside, so that no copy of it is kept."""
        if self.precision not in precisions:
            return nullcontext()
        return torch.autocast(batch.x.device.type, torch.bfloat16, cache_enabled=False)
