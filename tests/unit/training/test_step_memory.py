"""What a step keeps for its backward pass, in bytes, against the structure of the authors' code."""

import copy

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from cure import catalogue
from cure.core.method import Batch, TrainingPosition
from cure.core.noise import Stream
from cure.nn.losses import cross_entropy, kl
from cure.storage.checkpoint import build
from tests.support.method_harness import MethodHarness, shipped

WIDTH, N = 8, 16


class Held:
    """Bytes of distinct activations that the graph holds while a loss is computed; weights are no activations."""

    def __init__(self, *nets: nn.Module) -> None:
        self.weights = {w.data_ptr() for net in nets for w in [*net.parameters(), *net.buffers()]}
        self.bytes: dict[int, int] = {}
        self.alive: list[Tensor] = []

    def keep(self, tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in self.weights:
            self.alive.append(tensor)
            self.bytes[place] = tensor.untyped_storage().nbytes()
        return tensor

    def total(self, loss) -> int:
        with saved_tensors_hooks(self.keep, lambda tensor: tensor):
            found = loss()
        assert found is not None
        return sum(self.bytes.values())


def net() -> nn.Module:
    torch.manual_seed(0)
    return build("small_resnet", {"width": WIDTH}, 3, 10)


def images() -> Batch:
    draws = torch.Generator().manual_seed(0)
    x, y = torch.rand(N, 3, 16, 16, generator=draws), torch.randint(10, (N,), generator=draws)
    return Batch(x, y, torch.arange(N), Stream(0, torch.device("cpu")), TrainingPosition(41, 40, 0.1))


def ours() -> int:
    rig, batch = MethodHarness(catalogue.entry("methods", "cure").METHOD, shipped("cure"), net()), images()
    method, nets, hyper = rig.take.method, rig.nets, rig.take.hyper
    batch.points.update(method.attack(nets, batch, hyper))
    return Held(nets).total(lambda: method.loss(nets, batch, hyper))


def theirs() -> int:
    """The released step: the forwards of the averaged network keep their graphs, too."""
    student, batch = net(), images()
    average = copy.deepcopy(student)
    x_adv = batch.x + 0.01

    def loss() -> Tensor:
        clean, adv = student(batch.x), student(x_adv)
        past_clean, past_adv = average(batch.x), average(x_adv)
        terms = [cross_entropy(clean, batch.y), kl(clean, adv), kl(past_clean, clean), kl(past_adv, adv)]
        return torch.stack([term.mean() for term in terms]).sum()

    return Held(student, average).total(loss)


def test_cure_holds_little_more_than_half_of_what_the_released_step_holds() -> None:
    assert 0.4 < ours() / theirs() <= 0.55


def test_an_attack_step_holds_less_on_the_folded_copy_than_on_the_network() -> None:
    from cure.nn.batchnorm import scope
    from cure.nn.folding.folded_copy import current_folded_copy

    plain, batch = net(), images()
    folded = current_folded_copy(plain, batch.x)
    with scope(plain, "eval"):
        full = Held(plain).total(lambda: plain(batch.x.clone().requires_grad_()))
    assert Held(folded).total(lambda: folded(batch.x.clone().requires_grad_())) < 0.75 * full
