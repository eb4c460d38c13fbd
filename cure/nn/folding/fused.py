"""Run convolution, bias, addition and ReLU of frozen networks on CUDA as one cuDNN kernel instead of four.

    y = relu(w * x + b + z),   dz = [y > 0] dy,   dx = w^T * dz

PyTorch has the operations, but not their derivatives. This module adds them, with respect to the images only.
"""

import copy
import operator
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

from cure.core.tensors import Images, Tensor

TOLERANCE = 0.05  # largest relative difference of logits: above bfloat16's rounding, below a mistake
RELU = {F.relu, torch.relu, torch.relu_, nn.ReLU, "relu", "relu_"}
ADD = {operator.add, operator.iadd}


class _ConvReLU(torch.autograd.Function):
    """Compute relu(conv(x) + z) with its gradients with respect to x and z."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, z: Tensor | None, conv: nn.Conv2d) -> Tensor:
        """Run the kernel on x (n, c, h, w) and z of the output's shape."""
        w, b = conv.weight, conv.bias
        how: Any = conv.stride, conv.padding, conv.dilation, conv.groups
        y: Tensor
        if z is None:
            y = torch.cudnn_convolution_relu(x, w, b, *how)
        else:
            y = torch.cudnn_convolution_add_relu(x, w, z, 1.0, b, *how)
        ctx.save_for_backward(y, w)
        ctx.shape, ctx.how = x.shape, how
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients; `dy` has the shape of the output."""
        y, w = ctx.saved_tensors
        dz = torch.ops.aten.threshold_backward(dy, y, 0)
        dx = conv2d_input(ctx.shape, w, dz, *ctx.how) if ctx.needs_input_grad[0] else None  # type: ignore[no-untyped-call]
        return dx, dz if ctx.needs_input_grad[1] else None, None


class ConvReLU(nn.Conv2d):
    """A frozen convolution followed by an optional addition and a ReLU."""

    @classmethod
    def of(cls, conv: nn.Conv2d) -> "ConvReLU":
        """Return a ConvReLU that shares the weights of a convolution."""
        made = cls.__new__(cls)
        made.__dict__ = conv.__dict__
        return made

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Compute in the precision of the weights, as autocast would."""
        kind = self.weight.dtype
        y: Tensor = _ConvReLU.apply(x.to(kind), None if z is None else z.to(kind), self)
        return y


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ConvReLU | fx.GraphModule) or super().is_leaf_module(m, module_qualified_name)


def fused(net: nn.Module, x: Images) -> nn.Module:
    """Return a copy of the frozen `net` that runs these kernels inside its blocks, or `net` if nothing can be fused.

    A block is a module that holds convolutions itself and can be traced. The network as a whole keeps its forward, so
    the convolution of a stem stays as it is. `net` is also returned if the copy fails on `x` or returns other logits.
    """
    made = copy.deepcopy(net)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            if not _fuse_blocks(made):
                return net
            wanted, found = net(x), made(x)
            same = torch.allclose(found, wanted, rtol=0, atol=TOLERANCE * float(wanted.abs().max().clamp(min=1)))
        except Exception:  # a network that depends on its modules' types, a convolution without a kernel
            return net
    return made if same else net


def _fuse_blocks(net: nn.Module) -> int:
    """Fuse the blocks in place and return the number of fused convolutions."""
    count, done = 0, ""
    for name, block in list(net.named_modules()):
        if not name or (done and name.startswith(f"{done}.")) or not any(map(_plain, block.children())):
            continue
        try:
            traced = fx.GraphModule(block, _Tracer().trace(block))
        except Exception:  # tracing runs external code with symbols in place of tensors, so it may fail in any way
            continue
        if found := sum(_fuse(node, traced) for node in list(traced.graph.nodes)):
            traced.recompile()
            net.set_submodule(name, traced)
            count, done = count + found, name
    return count


def _plain(module: nn.Module) -> bool:
    numbers = isinstance(module, nn.Conv2d) and not isinstance(module.padding, str)
    return numbers and type(module) is nn.Conv2d and module.padding_mode == "zeros"


def _fuse(relu: fx.Node, block: nn.Module) -> bool:
    """Rewrite the chain that ends in this node as one call, if it is one and nothing else uses its values."""
    called = type(block.get_submodule(str(relu.target))) if relu.op == "call_module" else relu.target
    if relu.op not in ("call_module", "call_function", "call_method") or called not in RELU:
        return False
    before, z = _made(relu.args[0], block), None
    if isinstance(before, fx.Node) and before.op == "call_function" and before.target in ADD and _once(before):
        sides = [_made(side, block) for side in before.args]
        at = next((i for i, side in enumerate(sides) if _convolves(side, block)), None)
        z = None if at is None else before.args[1 - at]
        before = before if at is None else sides[at]
        if not isinstance(z, fx.Node):
            return False
    if not _convolves(before, block):
        return False
    conv: Any = block.get_submodule(before.target)
    block.set_submodule(before.target, ConvReLU.of(conv))
    with relu.graph.inserting_before(relu):
        call = relu.graph.call_module(before.target, (before.args[0], *([z] if z is not None else [])))
    relu.replace_all_uses_with(call)
    relu.graph.eliminate_dead_code()
    return True


def _made(value: Any, block: nn.Module) -> Any:
    """Return the node that made a value, skipping folded batch norms."""
    while (
        isinstance(value, fx.Node)
        and value.op == "call_module"
        and isinstance(block.get_submodule(str(value.target)), nn.Identity)
        and _once(value)
    ):
        value = value.args[0]
    return value


def _once(node: fx.Node) -> bool:
    return len(node.users) == 1


def _convolves(node: Any, block: nn.Module) -> bool:
    if not isinstance(node, fx.Node) or node.op != "call_module" or not _once(node):
        return False
    times = sum(other.target == node.target for other in node.graph.nodes if other.op == "call_module")
    return times == 1 and _plain(block.get_submodule(str(node.target)))
