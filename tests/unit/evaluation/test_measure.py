from functools import partial

import pytest
import torch
from torch import Tensor, nn

from cure import catalogue
from cure.core.method import Batch
from cure.data.loader import Split
from cure.evaluation.measure import accuracies, frozen, outcomes

HOW = {"eps": 0.08, "step": 0.03, "steps": 4, "start": "uniform", "clip_start": True}


class Double(nn.Module):
    """Images as the loader gives them, computed in float64, so that no rounding decides a prediction."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.double())


@pytest.fixture
def wide(net) -> nn.Module:
    return Double(net)


@pytest.fixture
def data(wide) -> Split:
    """40 images near the borders between classes, of which the network gets all right but every fifth."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(256, (40, 1, 6, 6), dtype=torch.uint8, generator=draws)
    with frozen(wide), torch.no_grad():
        wide.net.linear.bias -= wide(images.float() / 255).mean(0)
        labels = wide(images.float() / 255).argmax(1)
    labels[::5] = (labels[::5] + 1) % 3
    return Split(images, labels)


def attacks() -> dict:
    entries = {name: catalogue.entry("attacks", name) for name in ("pgd", "cw")}
    return {name: partial(entry.attack, hyper=entry.Hyper(**HOW)) for name, entry in entries.items()}


def identity(net: nn.Module, batch: Batch) -> Tensor:
    return batch.x


def test_clean_flags_are_the_correct_predictions(wide, data: Split) -> None:
    found = outcomes(wide, data, {}, batch=16, seed=0)
    wanted = torch.ones(40, dtype=torch.bool)
    wanted[::5] = False
    assert torch.equal(found["clean"], wanted)


def test_robust_implies_clean(wide, data: Split) -> None:
    found = outcomes(wide, data, attacks(), batch=16, seed=0)
    for name in ("pgd", "cw"):
        assert not (found[name] & ~found["clean"]).any()
        assert 0 < found[name].sum() < found["clean"].sum()


def test_an_attack_that_mends_a_wrong_prediction_does_not_count(wide, data: Split) -> None:
    mended: list[Tensor] = []

    def helpful(net: nn.Module, batch: Batch) -> Tensor:
        best = batch.x
        for seed in range(200):  # search for images that are classified correctly
            other = torch.rand(batch.x.shape, generator=torch.Generator().manual_seed(seed))
            right = net(other).argmax(1) == batch.y
            best = torch.where(right[:, None, None, None], other, best)
        mended.append(net(best).argmax(1) == batch.y)
        return best

    found = outcomes(wide, data, {"helpful": helpful}, batch=40, seed=0)
    assert (mended[0] & ~found["clean"]).any()
    assert torch.equal(found["helpful"], found["clean"])


def test_an_attack_that_does_nothing_leaves_the_clean_flags(wide, data: Split) -> None:
    found = outcomes(wide, data, {"identity": identity}, batch=16, seed=0)
    assert torch.equal(found["identity"], found["clean"])


@pytest.mark.parametrize("batch", [1, 7, 40, 100])
def test_the_batch_size_changes_no_outcome(wide, data: Split, batch: int) -> None:
    found, wanted = (outcomes(wide, data, attacks(), batch=size, seed=0) for size in (batch, 16))
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_attacks_do_not_influence_each_other(wide, data: Split) -> None:
    both = outcomes(wide, data, attacks(), batch=16, seed=0)
    for name, attack in attacks().items():
        assert torch.equal(outcomes(wide, data, {name: attack}, batch=16, seed=0)[name], both[name])


def test_each_attack_of_a_batch_starts_from_the_same_noise(wide, data: Split) -> None:
    drawn: list[Tensor] = []

    def probe(net: nn.Module, batch: Batch) -> Tensor:
        drawn.append(batch.noise.normal(batch.x, 1.0))
        return batch.x

    outcomes(wide, data, {"first": probe, "second": probe}, batch=40, seed=0)
    outcomes(wide, data, {"other seed": probe}, batch=40, seed=1)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert len({tuple(row.flatten().tolist()) for row in drawn[0]}) == 40


def test_the_attack_gets_a_frozen_network_and_the_places_of_the_images(wide, data: Split) -> None:
    seen: list[Tensor] = []

    def probe(net: nn.Module, batch: Batch) -> Tensor:
        assert not any(module.training for module in net.modules())
        assert not any(weight.requires_grad for weight in net.parameters())
        seen.append(batch.index)
        return batch.x

    outcomes(wide, data, {"probe": probe}, batch=16, seed=0)
    assert torch.equal(torch.cat(seen), torch.arange(40))


def test_nothing_changes_in_the_network(wide, data: Split) -> None:
    before = {key: value.clone() for key, value in wide.state_dict().items()}
    outcomes(wide, data, attacks(), batch=16, seed=0)
    assert all(torch.equal(value, before[key]) for key, value in wide.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for weight in wide.parameters())


class TestFrozen:
    def situation(self, net: nn.Module) -> tuple[list[bool], list[bool]]:
        return [m.training for m in net.modules()], [w.requires_grad for w in net.parameters()]

    def test_restores_each_modules_mode_and_each_weights_wish(self, net) -> None:
        net.bn1.eval()
        net.conv2.requires_grad_(False)
        before = self.situation(net)
        with frozen(net):
            assert not any(any(part) for part in self.situation(net))
        assert self.situation(net) == before

    def test_restores_after_an_exception(self, net) -> None:
        before = self.situation(net)
        with pytest.raises(KeyError), frozen(net):
            raise KeyError
        assert self.situation(net) == before

    def test_nests(self, net) -> None:
        before = self.situation(net)
        with frozen(net):
            with frozen(net):
                pass
            assert not any(any(part) for part in self.situation(net))
        assert self.situation(net) == before


def test_accuracies_are_shares() -> None:
    flags = {"clean": torch.tensor([True, True, False, True]), "pgd": torch.tensor([False, True, False, False])}
    assert accuracies(flags) == {"clean": 0.75, "pgd": 0.25}
