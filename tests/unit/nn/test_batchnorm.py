import copy

import pytest
import torch
from torch import Tensor, nn

from cure.nn.batchnorm import SplitBatchNorm2d, branch, fold, reestimating, scope, split

SCOPES = ["eval", "train", "batch"]
BOTH = ("clean", "adv")


def modes(net: nn.Module) -> list[tuple[bool, bool | None]]:
    return [(m.training, getattr(m, "track_running_stats", None)) for m in net.modules()]


def stats(norm: nn.Module) -> list[Tensor]:
    return [norm.running_mean.clone(), norm.running_var.clone(), norm.num_batches_tracked.clone()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def images(seed: int, n: int = 5) -> Tensor:
    return torch.rand(n, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class TestScope:
    @pytest.mark.parametrize("mode", SCOPES)
    @pytest.mark.parametrize("outer", [True, False])
    def test_restores_each_modules_own_mode(self, net, mode: str, outer: bool) -> None:
        net.train(outer)
        net.bn1.train(not outer)
        net.bn2.track_running_stats = False
        before = modes(net)
        with scope(net, mode):
            assert net.bn1.training is (mode != "eval")
            net(images(0))
        assert modes(net) == before

    @pytest.mark.parametrize("mode", SCOPES)
    def test_restores_after_an_exception(self, net, mode: str) -> None:
        net.bn1.eval()
        before = modes(net)
        with pytest.raises(KeyError), scope(net, mode):
            raise KeyError
        assert modes(net) == before

    @pytest.mark.parametrize("mode", SCOPES)
    @pytest.mark.parametrize("inner", SCOPES)
    def test_nests(self, net, mode: str, inner: str) -> None:
        with scope(net, mode):
            between = modes(net)
            with scope(net, inner):
                net(images(0))
            assert modes(net) == between

    @pytest.mark.parametrize(("mode", "moves"), [("eval", False), ("train", True), ("batch", False)])
    def test_only_train_moves_the_running_statistics(self, net, mode: str, moves: bool) -> None:
        before = stats(net.bn1) + stats(net.bn2)
        with scope(net, mode):
            net(images(0))
        assert same(stats(net.bn1) + stats(net.bn2), before) is not moves

    def test_batch_computes_what_train_computes(self, make_net) -> None:
        found = []
        for mode in ("batch", "train"):
            net = make_net()
            with scope(net, mode):
                found.append(net(images(0)))
        assert torch.equal(*found)

    def test_eval_normalises_with_the_running_statistics(self, net) -> None:
        with scope(net, "eval"):
            inside = net(images(0))
        assert torch.equal(inside, net.eval()(images(0)))
        assert not torch.equal(inside, net.train()(images(0)))


class TestSplit:
    def test_every_batch_norm_becomes_one_copy_per_branch(self, net) -> None:
        before = copy.deepcopy(net)
        split(net, BOTH)
        for name in ("bn1", "bn2"):
            layer = getattr(net, name)
            assert isinstance(layer, SplitBatchNorm2d)
            for part in layer.values():
                assert same(list(part.state_dict().values()), list(getattr(before, name).state_dict().values()))
            pointers = {part.weight.data_ptr() for part in layer.values()}
            assert len(pointers) == 2

    def test_before_any_training_the_branches_are_the_network(self, net) -> None:
        plain = copy.deepcopy(net).eval()
        split(net.eval(), BOTH)
        for name in BOTH:
            with branch(net, name):
                assert torch.equal(net(images(0)), plain(images(0)))

    def test_batch_norms_inside_containers_are_found(self) -> None:
        net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()), nn.BatchNorm2d(2))
        split(net, BOTH)
        assert [type(m).__name__ for m in (net[1][0], net[1][1], net[2])] == [
            "SplitBatchNorm2d",
            "ReLU",
            "SplitBatchNorm2d",
        ]

    def test_branches_collect_statistics_of_their_own_images(self, make_net) -> None:
        net, clean_only, adv_only = make_net(), make_net(), make_net()
        split(net, BOTH)
        for seed in range(3):
            with branch(net, "clean"):
                net(images(seed))
            with branch(net, "adv"):
                net(images(seed) * 0.1)
            clean_only(images(seed))
            adv_only(images(seed) * 0.1)
        for norm in ("bn1", "bn2"):
            sets = getattr(net, norm)
            assert same(stats(sets["clean"]), stats(getattr(clean_only, norm)))
            assert same(stats(sets["adv"]), stats(getattr(adv_only, norm)))
            assert not same(stats(sets["clean"]), stats(sets["adv"]))

    def test_gradients_reach_the_active_branch_alone(self, net) -> None:
        split(net, BOTH)
        with branch(net, "adv"):
            net(images(0)).square().sum().backward()
        assert net.bn1["adv"].weight.grad is not None
        assert net.bn1["clean"].weight.grad is None
        assert net.conv1.weight.grad is not None

    @pytest.mark.parametrize("name", BOTH)
    def test_fold_keeps_one_branch_in_an_ordinary_network(self, make_net, name: str) -> None:
        net, keys = make_net(), list(make_net().state_dict())
        split(net, BOTH)
        for seed, each in enumerate(BOTH):
            with branch(net, each):
                net(images(seed) * (seed + 0.5))
        net.eval()
        with branch(net, name):
            expected = net(images(9))
        fold(net, name)
        assert not any(isinstance(m, SplitBatchNorm2d) for m in net.modules())
        assert list(net.state_dict()) == keys
        assert torch.equal(net(images(9)), expected)

    def test_branch_nests_and_restores_also_after_an_exception(self, net) -> None:
        split(net, BOTH)
        with branch(net, "adv"):
            with pytest.raises(KeyError), branch(net, "clean"):
                raise KeyError
            assert net.bn1.active == "adv"
        assert net.bn1.active == net.bn2.active == "clean"

    @pytest.mark.parametrize("mode", SCOPES)
    def test_scopes_reach_into_the_branches(self, net, mode: str) -> None:
        split(net, BOTH)
        before = stats(net.bn1["adv"])
        with scope(net, mode), branch(net, "adv"):
            net(images(0))
        assert same(stats(net.bn1["adv"]), before) is (mode != "train")


class TestReestimating:
    def test_gives_the_plain_average_of_the_batches(self, net) -> None:
        batches = [images(seed) for seed in range(4)]
        with torch.no_grad(), reestimating(net):
            for x in batches:
                net(x)
        seen = [net.conv1(x) for x in batches]
        means = torch.stack([h.mean(dim=(0, 2, 3)) for h in seen]).mean(0)
        variances = torch.stack([h.var(dim=(0, 2, 3)) for h in seen]).mean(0)
        torch.testing.assert_close(net.bn1.running_mean, means)
        torch.testing.assert_close(net.bn1.running_var, variances)
        assert int(net.bn1.num_batches_tracked) == 4

    def test_forgets_what_was_there(self, make_net) -> None:
        found = []
        for past in (0.0, 7.0):
            net = make_net()
            net.bn1.running_mean.fill_(past)
            with torch.no_grad(), reestimating(net):
                net(images(0))
            found.append(stats(net.bn1))
        assert same(*found)

    def test_restores_momenta_and_modes_also_after_an_exception(self, net) -> None:
        net.bn1.momentum = 0.3
        net.bn2.eval()
        before = modes(net)
        with pytest.raises(KeyError), reestimating(net):
            raise KeyError
        assert [net.bn1.momentum, net.bn2.momentum] == [0.3, 0.1]
        assert modes(net) == before

    def test_moves_no_parameter(self, net) -> None:
        before = [w.detach().clone() for w in net.parameters()]
        with torch.no_grad(), reestimating(net):
            net(images(0))
        assert same([w.detach() for w in net.parameters()], before)
