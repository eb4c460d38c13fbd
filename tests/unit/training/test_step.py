"""The step's contract, by toy methods that fill its slots in the ways that papers do."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cure.adversarial.pgd import ce_objective, pgd
from cure.adversarial.pgd_loop import pgd_loop
from cure.core.method import Batch, Companion, Method, Networks
from cure.nn.batchnorm import SplitBatchNorm2d, branch, fold, split
from cure.nn.gradients import gradients, objective, reduce
from cure.nn.losses import cross_entropy, kl
from cure.settings.base import MethodSettings, Search
from cure.training.step import Step

SEARCH = Search(eps=0.1, step=0.03, steps=4, start="uniform", clip_start=True)


class Nothing(MethodSettings):
    """A toy has no parameter."""


def natural(nets: Networks, batch: Batch, hyper: Nothing) -> dict:
    return {"natural": (1.0, cross_entropy(nets.student(batch.x), batch.y))}


def toy(loss=natural, **slots) -> Method:
    return Method(cite="a toy", hyper=Nothing, loss=loss, **slots)


def build(
    method: Method, student: nn.Module, teachers: dict[str, nn.Module] | None = None, lr: float = 0.1
) -> tuple[Step, Networks]:
    nets = Networks(student, method.companions(Nothing()) if method.companions else {}, teachers or {})
    nets.ready()
    optimizer = torch.optim.SGD(nets.weights().values(), lr=lr, momentum=0.9, weight_decay=5e-4)
    return Step(nets, method, Nothing(), optimizer), nets


def state(net: nn.Module) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in net.state_dict().values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def trained_plainly(net: nn.Module, loss, steps: int) -> list[Tensor]:
    """The state after steps of PyTorch's own loop."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net).backward()
        optimizer.step()
    return state(net)


class TestOrder:
    def test_slots_run_in_their_order_and_share_the_batch(self, net, batch) -> None:
        calls: list[str] = []

        def attack(nets, batch, hyper):
            calls.append("attack")
            return {"adv": batch.x * 0.5}

        def loss(nets, batch, hyper):
            calls.append("loss")
            assert torch.equal(batch.x_adv, batch.x * 0.5)
            return {"robust": (1.0, cross_entropy(nets.student(batch.x_adv), batch.y))}

        def combine_gradients(nets, batch, hyper, means):
            calls.append("combine_gradients")
            batch.points["before"] = nets.student.conv1.weight.detach().clone()
            return gradients(objective(means), nets.weights())

        def after_step(nets, batch, hyper):
            calls.append("after_step")
            assert not torch.equal(nets.student.conv1.weight, batch.points["before"])

        step, _ = build(toy(loss, attack=attack, combine_gradients=combine_gradients, after_step=after_step), net)
        step(batch)
        assert calls == ["attack", "loss", "combine_gradients", "after_step"]

    def test_a_plain_loss_trains_as_pytorchs_own_loop(self, make_net, batch) -> None:
        step, nets = build(toy(), make_net())
        for _ in range(3):
            step(batch)
        wanted = trained_plainly(make_net(), lambda net: cross_entropy(net(batch.x), batch.y).mean(), 3)
        assert same(state(nets.student), wanted)

    def test_a_combination_that_adds_nothing_equals_the_plain_backward(self, make_net, batch) -> None:
        def combine_gradients(nets, batch, hyper, means):
            return gradients(objective(means), nets.weights())

        (step, nets), (other, others) = (
            build(toy(combine_gradients=combine_gradients), make_net()),
            build(toy(), make_net()),
        )
        for _ in range(2):
            step(batch)
            other(batch)
        for a, b in zip(state(nets.student), state(others.student), strict=True):
            torch.testing.assert_close(a, b)

    def test_a_combination_may_leave_a_step_to_the_plain_backward(self, make_net, batch) -> None:
        (step, nets), (other, others) = (
            build(toy(combine_gradients=lambda *_: None), make_net()),
            build(toy(), make_net()),
        )
        step(batch)
        other(batch)
        assert same(state(nets.student), state(others.student))

    def test_what_combine_returns_is_what_the_optimiser_applies(self, net, batch) -> None:
        def combine_gradients(nets, batch, hyper, means):
            return {name: torch.full_like(weight, 2.0) for name, weight in nets.weights().items()}

        before = [w.detach().clone() for w in net.parameters()]
        step, nets = build(toy(combine_gradients=combine_gradients), net)
        step(batch)
        for weight, was in zip(nets.student.parameters(), before, strict=True):
            torch.testing.assert_close(weight.detach(), was - 0.1 * (2.0 + 5e-4 * was))

    def test_watchers_see_the_terms(self, net, batch) -> None:
        seen: dict[str, dict] = {}
        batch.watch = seen.__setitem__
        step, _ = build(toy(), net)
        means = step(batch)
        assert list(seen["means"]) == ["natural"]
        assert seen["means"]["natural"][0] == 1.0
        assert torch.equal(seen["means"]["natural"][1].detach(), means["natural"])


class TestTerms:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_means_of_half_precision_values_are_taken_in_single(self, dtype: torch.dtype) -> None:
        values = torch.full((5000,), 30.0, dtype=dtype)  # the sum, 150,000, is beyond fp16
        found = reduce({"a": (2.0, values)})["a"]
        assert (found[0], found[1].dtype, float(found[1])) == (2.0, torch.float32, 30.0)

    def test_means_of_double_precision_values_stay_double(self) -> None:
        assert reduce({"a": (1.0, torch.ones(2, dtype=torch.float64))})["a"][1].dtype == torch.float64

    def test_a_term_of_weight_zero_is_reported_and_not_optimised(self, make_net, batch) -> None:
        def both(nets, batch, hyper):
            z = nets.student(batch.x)
            return {"natural": (1.0, cross_entropy(z, batch.y)), "looked at": (0.0, z.square().sum(1))}

        (step, nets), (other, others) = build(toy(both), make_net()), build(toy(), make_net())
        means = step(batch)
        other(batch)
        assert means["looked at"] > 0
        assert same(state(nets.student), state(others.student))

    def test_weights_scale_their_terms(self, make_net, batch) -> None:
        def weighted(nets, batch, hyper):
            z = nets.student(batch.x)
            return {"a": (0.25, cross_entropy(z, batch.y)), "b": (2.0, z.square().sum(1))}

        net = make_net()
        step, nets = build(toy(weighted), make_net())
        step(batch)
        z = net(batch.x)
        (0.25 * F.cross_entropy(z, batch.y) + 2 * z.square().sum(1).mean()).backward()
        for found, wanted in zip(nets.student.parameters(), net.parameters(), strict=True):
            torch.testing.assert_close(found.grad, wanted.grad)


class TestTeacher:
    """Distillation: a frozen network in the role `robust`, forwarded without any precaution of the method."""

    @staticmethod
    def distil(nets, batch, hyper):
        return {"distilled": (1.0, kl(nets.robust(batch.x), nets.student(batch.x)))}

    @pytest.fixture
    def method(self) -> Method:
        return toy(self.distil, teachers=("robust",))

    def test_it_gets_no_gradient_and_does_not_move(self, method, make_net, batch) -> None:
        teacher = make_net(1)
        before = state(teacher)
        step, nets = build(method, make_net(), {"robust": teacher})
        for _ in range(2):
            step(batch)
        assert nets.robust is teacher
        assert same(state(teacher), before)
        assert all(weight.grad is None for weight in teacher.parameters())

    def test_it_runs_on_running_statistics_although_the_student_trains(self, method, make_net, batch) -> None:
        step, nets = build(method, make_net(), {"robust": make_net(1)})
        modes: list[tuple[str, bool]] = []
        for name in ("robust", "student"):
            nets[name].register_forward_pre_hook(lambda m, _, name=name: modes.append((name, m.training)))
        step(batch)
        assert modes == [("robust", False), ("student", True)]

    def test_the_student_learns_from_it(self, method, make_net, batch) -> None:
        step, _ = build(method, make_net(), {"robust": make_net(1)})
        values = [float(step(batch)["distilled"]) for _ in range(20)]
        assert values[-1] < 0.5 * values[0]


class TestSecondStudent:
    """Two networks trained side by side by the one optimiser."""

    @staticmethod
    def side_by_side(nets, batch, hyper):
        return {
            "first": (1.0, cross_entropy(nets.student(batch.x), batch.y)),
            "second": (1.0, nets.second(batch.x).square().sum(1)),
        }

    @pytest.fixture
    def method(self, make_net) -> Method:
        second = Companion(lambda student: make_net(1), trained=True, mode="train")
        return toy(self.side_by_side, companions=lambda hyper: {"second": second})

    def test_each_is_trained_as_if_alone(self, method, make_net, batch) -> None:
        step, nets = build(method, make_net())
        for _ in range(3):
            step(batch)
        first = trained_plainly(make_net(0), lambda net: cross_entropy(net(batch.x), batch.y).mean(), 3)
        second = trained_plainly(make_net(1), lambda net: net(batch.x).square().sum(1).mean(), 3)
        assert same(state(nets.student), first)
        assert same(state(nets.second), second)

    def test_combine_names_its_weights_behind_its_name(self, method, make_net, batch) -> None:
        def only_second(nets, batch, hyper, means):
            found = gradients(objective(means), nets.weights())
            return {name: g if name.startswith("second.") else torch.zeros_like(g) for name, g in found.items()}

        step, nets = build(dataclasses.replace(method, combine_gradients=only_second), make_net(), lr=0.1)
        step(batch)
        assert not nets.student.linear.weight.grad.any()
        assert nets.second.linear.weight.grad.any()

    def test_a_copy_of_the_student_does_not_share_its_weights(self, make_net, batch) -> None:
        def both(nets, batch, hyper):
            return {"natural": (1.0, cross_entropy(nets.student(batch.x), batch.y))}

        companions = {"second": Companion(copy.deepcopy, trained=True, mode="train")}
        step, nets = build(toy(both, companions=lambda hyper: companions), make_net())
        step(batch)
        assert all(weight.grad is None for weight in nets.second.parameters())  # no term asked for it
        assert not torch.equal(nets.second.conv1.weight, nets.student.conv1.weight)


class TestSplitBatchNorm:
    """Clean and adversarial images through batch norms of their own."""

    @staticmethod
    def attack(nets, batch, hyper):
        with branch(nets.student, "adv"):
            return {"adv": pgd(nets.student, batch, SEARCH, ce_objective)}

    @staticmethod
    def loss(nets, batch, hyper):
        with branch(nets.student, "clean"):
            clean = cross_entropy(nets.student(batch.x), batch.y)
        with branch(nets.student, "adv"):
            adv = cross_entropy(nets.student(batch.x_adv), batch.y)
        return {"clean": (1.0, clean), "adv": (1.0, adv)}

    @pytest.fixture
    def student(self, net) -> nn.Module:
        split(net, ("clean", "adv"))
        return net

    def test_each_branch_sees_its_own_images_once(self, student, make_net, batch) -> None:
        before = make_net()
        step, nets = build(toy(self.loss, attack=self.attack), student)
        step(batch)
        for name, x in (("clean", batch.x), ("adv", batch.x_adv)):
            alone = copy.deepcopy(before)
            alone(x)
            for norm in ("bn1", "bn2"):
                own = getattr(nets.student, norm)[name]
                assert same(list(own.buffers()), list(getattr(alone, norm).buffers()))

    def test_the_branches_affine_weights_go_apart_and_the_convolutions_are_shared(self, student, batch) -> None:
        step, nets = build(toy(self.loss, attack=self.attack), student)
        for _ in range(2):
            step(batch)
        sets = nets.student.bn1
        assert not torch.equal(sets["clean"].weight, sets["adv"].weight)
        assert sum(1 for name in nets.weights() if name.startswith("conv1")) == 1

    def test_the_first_branch_is_active_again_and_folding_gives_the_evaluated_network(
        self, student, make_net, batch
    ) -> None:
        step, nets = build(toy(self.loss, attack=self.attack), student)
        step(batch)
        assert nets.student.bn1.active == "clean"
        nets.student.eval()
        with branch(nets.student, "adv"):
            wanted = nets.student(batch.x)
        fold(nets.student, "adv")
        plain = make_net().eval()
        plain.load_state_dict(nets.student.state_dict())
        assert not any(isinstance(m, SplitBatchNorm2d) for m in nets.student.modules())
        assert torch.equal(plain(batch.x), wanted)


class TestPerExampleSearch:
    """Radii and numbers of steps that `attack` finds for each image by itself."""

    EPS = torch.tensor([0.0, 0.02, 0.04, 0.06, 0.08, 0.1], dtype=torch.float64)
    STEPS = torch.tensor([4, 4, 3, 2, 1, 0])

    @classmethod
    def attack(cls, nets, batch, hyper):
        student = nets.student.eval()
        eps = cls.EPS
        found = pgd_loop(
            student, batch.x, batch.x, ce_objective(student, batch), eps=eps, step=eps / 2, steps=cls.STEPS
        )
        student.train()
        return {"adv": found, "eps": eps}

    @staticmethod
    def loss(nets, batch, hyper):
        values = cross_entropy(nets.student(batch.x_adv), batch.y)
        return {"robust": (1.0, values * (1 + batch.points["eps"]))}

    def test_every_image_has_its_own_ball_and_budget(self, net, batch) -> None:
        step, _ = build(toy(self.loss, attack=self.attack), net)
        step(batch)
        moved = (batch.x_adv - batch.x).abs().amax(dim=(1, 2, 3))
        torch.testing.assert_close(moved, torch.minimum(self.EPS, self.STEPS * self.EPS / 2))

    def test_what_inner_found_reaches_the_loss(self, make_net, batch) -> None:
        before = make_net()
        step, _ = build(toy(self.loss, attack=self.attack), make_net())
        means = step(batch)
        wanted = (F.cross_entropy(before(batch.x_adv), batch.y, reduction="none") * (1 + self.EPS)).mean()
        torch.testing.assert_close(means["robust"], wanted.detach())


class TestStopRule:
    """Friendly search: a row ends at the iterate that is misclassified for the (tau + 1)-th time."""

    class Friendly:
        def __init__(self, y: Tensor, tau: int) -> None:
            self.y, self.left = y, torch.full_like(y, tau)

        def __call__(self, z: Tensor) -> Tensor:
            wrong = z.argmax(1) != self.y
            stop = wrong & (self.left == 0)
            self.left = self.left - (wrong & ~stop).long()
            return stop

    def method(self, tau: int) -> Method:
        def attack(nets, batch, hyper):
            def rule(batch):
                return self.Friendly(batch.y, tau)

            return {"adv": pgd(nets.student, batch, SEARCH, ce_objective, stop=rule)}

        def loss(nets, batch, hyper):
            return {"robust": (1.0, cross_entropy(nets.student(batch.x_adv), batch.y))}

        return toy(loss, attack=attack)

    def run(self, net: nn.Module, batch: Batch, tau: int) -> tuple[Tensor, list[Tensor]]:
        """The images that were emitted, and the iterates of an ascent that nothing stops."""
        path = [batch.x + copy.deepcopy(batch.noise).uniform(batch.x, SEARCH.eps)]
        path = [path[0].clamp(0, 1)]
        before = copy.deepcopy(net).eval()
        for _ in range(SEARCH.steps):
            path.append(
                pgd_loop(
                    before, batch.x, path[-1], ce_objective(before, batch), eps=SEARCH.eps, step=SEARCH.step, steps=1
                )
            )
        build(self.method(tau), net)[0](batch)
        return batch.x_adv, path

    @pytest.fixture
    def undecided(self, net, batch) -> nn.Module:
        """A network that is right about some images, and close to its borders."""
        net.eval()
        with torch.no_grad():
            net.linear.bias -= net(batch.x).mean(0)
            batch.y = net(batch.x).argmax(1)
            batch.y[0] = (batch.y[0] + 1) % 3
        return net.train()

    @pytest.mark.parametrize("tau", [0, 1, 2])
    def test_rows_end_at_the_iterate_that_exhausts_their_patience(self, undecided, batch, tau: int) -> None:
        before = copy.deepcopy(undecided).eval()
        found, path = self.run(undecided, batch, tau)
        ends = []
        for row in range(len(batch.y)):
            wrong = [k for k in range(SEARCH.steps) if before(path[k]).argmax(1)[row] != batch.y[row]]
            ends.append(wrong[tau] if len(wrong) > tau else SEARCH.steps)
            assert torch.equal(found[row], path[ends[-1]][row])
        assert ends[0] == tau  # wrong from the start
        assert tau > 0 or len(set(ends)) > 1

    def test_with_patience_for_every_step_the_search_is_plain(self, undecided, batch) -> None:
        found, path = self.run(undecided, batch, SEARCH.steps)
        assert torch.equal(found, path[-1])


class TestSideEffects:
    def test_the_means_are_detached_scalars(self, net, batch) -> None:
        step, _ = build(toy(), net)
        (mean,) = step(batch).values()
        assert mean.shape == ()
        assert mean.grad_fn is None

    def test_gradients_of_an_earlier_step_are_forgotten(self, make_net, batch) -> None:
        step, nets = build(toy(), make_net(), lr=0.0)
        grads = []
        for _ in range(2):
            step(dataclasses.replace(batch))
            grads.append([w.grad.clone() for w in nets.student.parameters()])
        assert same(*grads)

    def test_one_backward_for_all_terms(self, net, batch, passes) -> None:
        def many(nets, batch, hyper):
            z = nets.student(batch.x)
            return {f"term {k}": (float(k + 1), cross_entropy(z, batch.y)) for k in range(5)}

        build(toy(many), net)[0](batch)
        assert passes.backwards == {"weights": 1}
