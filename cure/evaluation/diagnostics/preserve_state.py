"""Examine a network without changing it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def preserve_state(net: nn.Module) -> Iterator[None]:
    """Restore weights, buffers, gradients, requires_grad, modes and random generators after the block."""
    weights = [(p, p.requires_grad, p.detach().clone(), p.grad) for p in net.parameters()]
    gradients = [(p.grad, p.grad.detach().clone()) for p in net.parameters() if p.grad is not None]
    buffers = [(m, name, b, b.clone()) for m in net.modules() for name, b in m.named_buffers(recurse=False)]
    modes = [(module, module.training) for module in net.modules()]
    drawn, numpy_drawn = random.getstate(), np.random.get_state()
    devices = {p.device for p in net.parameters() if p.is_cuda}
    try:
        with torch.random.fork_rng([*devices]):
            yield
    finally:
        random.setstate(drawn)
        np.random.set_state(numpy_drawn)
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for weight, wants, value, gradient in weights:
                weight.requires_grad_(wants).grad = gradient
                if not torch.equal(weight, value):  # else a graph kept by the caller would count it as changed
                    weight.copy_(value)
            for gradient, value in gradients:
                gradient.copy_(value)
            for module, name, buffer, value in buffers:
                setattr(module, name, buffer.copy_(value))
