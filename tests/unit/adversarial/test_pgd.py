import contextlib
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cure.adversarial import pgd as pgd_module
from cure.adversarial.pgd import begin, ce_objective, kl_objective, margin_objective, pgd
from cure.adversarial.pgd_loop import all_rows, pgd_loop
from cure.core.noise import PerImage, Stream
from cure.settings.base import Search

CPU = torch.device("cpu")
OBJECTIVES = {"ce_objective": ce_objective, "margin_objective": margin_objective, "kl_objective": kl_objective}
every_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
every_scope = pytest.mark.parametrize("bn", ["eval", "train", "batch"])


def search(**changes) -> Search:
    usual = {"eps": 0.1, "step": 0.03, "steps": 5, "start": "uniform", "clip_start": True, "bn": "eval", "sigma": 0.001}
    return Search(**(usual | changes))


def run(net: nn.Module, batch, objective=ce_objective, **how) -> Tensor:
    """Run `pgd_loop` from x itself in eval mode."""
    net.eval()
    scalars = {"eps": 0.1, "step": 0.03, "steps": 5}
    return pgd_loop(net, batch.x, batch.x, objective(net, batch), **(scalars | how))


def buffers(net: nn.Module) -> list[Tensor]:
    return [b.clone() for b in net.buffers()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class StopAt:
    """Row i is told to stop at the call calls[i] alone, counted from 0."""

    def __init__(self, calls: list[int]) -> None:
        self.calls, self.seen = torch.tensor(calls), []

    def __call__(self, z: Tensor) -> Tensor:
        self.seen.append(z.detach().clone())
        return self.calls == len(self.seen) - 1


class TestBounds:
    @every_objective
    @every_scope
    @pytest.mark.parametrize("start", ["zero", "gaussian", "uniform"])
    def test_images_stay_in_the_ball_and_in_the_unit_cube(self, net, batch, objective, bn: str, start: str) -> None:
        how = search(start=start, sigma=0.5, clip_start=start == "uniform", bn=bn)
        x_adv = pgd(net, batch, how, objective)
        assert (x_adv - batch.x).abs().max() <= 0.1 + 1e-12
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1

    def test_each_row_stays_in_its_own_ball(self, net, batch) -> None:
        eps = torch.tensor([0.0, 0.01, 0.02, 0.05, 0.1, 0.3], dtype=torch.float64)
        moved = (run(net, batch, eps=eps, step=0.2) - batch.x).abs().amax(dim=(1, 2, 3))
        assert (moved <= eps + 1e-12).all()
        assert (moved[1:] > 0).all()

    def test_each_pixel_stays_in_its_own_ball(self, net, batch) -> None:
        eps = torch.zeros(6, 1, 6, 6, dtype=torch.float64)
        eps[:, :, :, 3:] = 0.1
        moved = (run(net, batch, eps=eps) - batch.x).abs()
        assert moved[..., :3].max() == 0
        assert 0 < moved[..., 3:].max() <= 0.1 + 1e-12

    def test_jitter_never_leaves_the_ball(self, net, batch) -> None:
        seen: list[Tensor] = []
        net.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
        seen.append(pgd(net, batch, search(), ce_objective, jitter=1.0))
        assert len(seen) == 6
        for x in seen:
            assert (x - batch.x).abs().max() <= 0.1 + 1e-12
            assert 0 <= x.min() <= x.max() <= 1


class TestPerExample:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("which", ["eps", "step", "steps", "eps per pixel", "step per pixel", "all"])
    def test_constant_tensors_equal_the_scalar_run_bit_for_bit(
        self, make_net, make_batch, dtype: torch.dtype, which: str
    ) -> None:
        net, batch = make_net(dtype=dtype), make_batch(dtype=dtype)
        full = {"eps": torch.full((6,), 0.1, dtype=dtype), "step": torch.full((6,), 0.03, dtype=dtype)}
        pixels = {f"{k} per pixel": v[:, None, None, None].expand(6, 1, 6, 6) for k, v in full.items()}
        known = full | pixels | {"steps": torch.full((6,), 5)}
        given = {key.split()[0]: known[key] for key in (("eps", "step", "steps") if which == "all" else (which,))}
        assert torch.equal(run(net, batch, **given), run(net, batch))

    @every_objective
    def test_rows_with_fewer_steps_equal_shorter_scalar_runs(self, net, batch, objective) -> None:
        each = [0, 1, 3, 5, 2, 5]
        together = run(net, batch, objective, steps=torch.tensor(each))
        for row, steps in enumerate(each):
            assert torch.equal(together[row], run(net, batch, objective, steps=steps)[row])

    def test_each_row_takes_steps_of_its_own_size(self, net, batch) -> None:
        step = torch.tensor([0.0, 0.01, 0.02, 0.03, 0.04, 0.05], dtype=torch.float64)
        moved = (run(net, batch, step=step, steps=1) - batch.x).abs().amax(dim=(1, 2, 3))
        torch.testing.assert_close(moved, step)


class TestStop:
    def test_a_stopped_row_keeps_the_iterate_that_the_rule_saw(self, net, batch) -> None:
        calls = [0, 1, 2, 4, 9, 3]
        stopped = run(net, batch, stop=StopAt(calls))
        expected = run(net, batch, steps=torch.tensor(calls).clamp(max=5))
        assert torch.equal(stopped, expected)  # the rule said stop once only: a stopped row never starts again

    def test_a_row_stopped_at_the_first_call_takes_no_step(self, net, batch) -> None:
        assert torch.equal(run(net, batch, stop=StopAt([0] * 6)), batch.x)

    def test_the_rule_is_asked_once_per_iterate_with_its_logits(self, net, batch) -> None:
        rule = StopAt([9] * 6)
        run(net, batch, stop=rule, steps=3)
        for k, seen in enumerate(rule.seen):
            iterate = run(net, batch, steps=k) if k else batch.x
            assert torch.equal(seen, net(iterate))
        assert len(rule.seen) == 3

    def test_rule_and_number_of_steps_hold_together(self, net, batch) -> None:
        stopped = run(net, batch, stop=StopAt([1, 9, 1, 9, 4, 0]), steps=torch.tensor([3, 3, 0, 5, 5, 5]))
        assert torch.equal(stopped, run(net, batch, steps=torch.tensor([1, 3, 0, 5, 4, 0])))

    def test_a_row_stopped_at_an_unclipped_start_is_still_an_image_in_the_ball(self, net, batch) -> None:
        how = search(start="gaussian", sigma=0.5, clip_start=False)
        x_adv = pgd(net, batch, how, ce_objective, stop=lambda batch: StopAt([0] * 6))
        assert (x_adv - batch.x).abs().max() <= 0.1 + 1e-12
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1


class TestRowsThatHaveEnded:
    """Left out of the passes, they change nothing but the cost."""

    @every_objective
    @pytest.mark.parametrize("calls", [[0, 1, 2, 4, 9, 3], [0] * 6, [9] * 6, [0, 0, 0, 0, 0, 9]])
    def test_what_is_found_is_what_the_plain_loop_finds(self, net, batch, objective, calls: list[int]) -> None:
        plain, rule = StopAt(calls), StopAt(calls)
        wanted = run(net, batch, objective, stop=plain)
        assert torch.equal(run(net, batch, objective, stop=rule, rows_independent=True), wanted)
        assert len(rule.seen) == len(plain.seen) == 5

    def test_so_it_is_with_numbers_of_steps_jitter_and_a_bound(self, net, make_batch) -> None:
        found = []
        for rows_independent in (False, True):
            batch = make_batch()
            how = {"steps": torch.tensor([0, 1, 5, 2, 1, 3]), "most": 7, "stop": StopAt([9, 9, 2, 9, 9, 9])}
            found.append(
                run(
                    net,
                    batch,
                    jitter=torch.stack([batch.noise.normal(batch.x, 0.01) for _ in range(7)]),
                    rows_independent=rows_independent,
                    **how,
                )
            )
            found.append(batch.noise.uniform(batch.x, 1.0))  # the stream stands where it stood
        assert torch.equal(found[0], found[2])
        assert torch.equal(found[1], found[3])

    @pytest.mark.parametrize(("rows_independent", "images"), [(False, 6 * 5), (True, 6 + 6 + 4 + 3 + 2)])
    def test_fewer_images_are_forwarded(self, net, batch, rows_independent: bool, images: int) -> None:
        seen: list[int] = []
        net.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
        run(net, batch, stop=StopAt([1, 1, 2, 3, 9, 9]), rows_independent=rows_independent)
        assert sum(seen) == images

    def test_all_rows_are_forwarded_while_asked_for_and_the_images_stay_the_same(self, net, batch) -> None:
        def found() -> tuple[int, Tensor]:
            seen: list[int] = []
            hook = net.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
            x_adv = run(net, batch, stop=StopAt([1, 1, 2, 3, 9, 9]), rows_independent=True)
            hook.remove()
            return sum(seen), x_adv

        few, wanted = found()
        with contextlib.suppress(KeyboardInterrupt), all_rows():
            every, x_adv = found()
            raise KeyboardInterrupt
        assert (few, every) == (6 + 6 + 4 + 3 + 2, 6 * 5)
        assert torch.equal(x_adv, wanted)
        assert found()[0] == few

    @pytest.mark.parametrize(("bn", "rows_independent"), [("eval", True), ("batch", False), ("train", False)])
    def test_only_where_rows_do_not_depend_on_each_other(
        self, net, batch, monkeypatch, bn: str, rows_independent: bool
    ) -> None:
        seen: list[bool] = []
        monkeypatch.setattr(
            pgd_module, "pgd_loop", lambda *given, **how: seen.append(how["rows_independent"]) or given[1]
        )
        pgd(net, batch, search(bn=bn), ce_objective)
        assert seen == [rows_independent]

    def test_whoever_watches_a_network_sees_every_image(self, net, batch) -> None:
        seen: list[int] = []
        net.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
        pgd(net, batch, search(), ce_objective, stop=lambda batch: StopAt([0, 0, 0, 9, 9, 9]))
        assert seen == [6] * 5


class TestSideEffects:
    @every_objective
    @every_scope
    def test_no_gradient_is_left_behind(self, net, batch, objective, bn: str) -> None:
        before = batch.x.clone()
        x_adv = pgd(net, batch, search(bn=bn), objective)
        assert all(weight.grad is None and weight.requires_grad for weight in net.parameters())
        assert not x_adv.requires_grad
        assert not batch.x.requires_grad
        assert batch.x.grad is None
        assert torch.equal(batch.x, before)

    @every_objective
    @pytest.mark.parametrize("bn", ["eval", "batch"])
    def test_buffers_stay(self, net, batch, objective, bn: str) -> None:
        before = buffers(net)
        pgd(net, batch, search(bn=bn), objective)
        assert same(buffers(net), before)

    @pytest.mark.parametrize(("objective", "more"), [(ce_objective, 0), (margin_objective, 0), (kl_objective, 1)])
    def test_buffers_move_with_every_forward_in_scope_train(self, net, batch, objective, more: int) -> None:
        before = int(net.bn1.num_batches_tracked)
        pgd(net, batch, search(bn="train", steps=4), objective)
        assert int(net.bn1.num_batches_tracked) == before + 4 + more

    @every_scope
    def test_every_modules_mode_is_restored(self, net, batch, bn: str) -> None:
        net.bn2.eval()
        pgd(net, batch, search(bn=bn), ce_objective)
        assert [net.training, net.bn1.training, net.bn2.training] == [True, True, False]
        assert net.bn1.track_running_stats

    def test_scope_batch_attacks_what_scope_train_attacks(self, make_net, make_batch) -> None:
        found = [pgd(make_net(), make_batch(), search(bn=bn), ce_objective) for bn in ("batch", "train")]
        assert torch.equal(*found)

    def test_scope_eval_differs_from_scope_batch(self, make_net, make_batch) -> None:
        found = [pgd(make_net(), make_batch(), search(bn=bn), ce_objective) for bn in ("batch", "eval")]
        assert not torch.equal(*found)


class TestIndependence:
    @every_objective
    @pytest.mark.parametrize("start", ["zero", "gaussian", "uniform"])
    def test_rows_of_an_attack_are_the_attack_of_the_rows(self, net, make_batch, objective, start: str) -> None:
        whole, part = make_batch(), make_batch()
        rows = torch.tensor([4, 1])
        whole.noise = PerImage(3, whole.index)
        part.x, part.y, part.index, part.noise = part.x[rows], part.y[rows], rows, PerImage(3, rows)
        how = search(start=start)
        together, alone = pgd(net, whole, how, objective), pgd(net, part, how, objective)
        torch.testing.assert_close(together[rows], alone, rtol=0, atol=1e-12)

    def test_in_scope_batch_rows_depend_on_each_other(self, net, make_batch) -> None:
        whole, part = make_batch(), make_batch()
        part.x, part.y, part.index = part.x[:2], part.y[:2], part.index[:2]
        how = search(start="zero", bn="batch")
        assert not torch.equal(pgd(net, whole, how, ce_objective)[:2], pgd(net, part, how, ce_objective))


class TestStart:
    def test_zero_is_the_image_itself_and_draws_nothing(self, batch) -> None:
        state = batch.noise.device_draws.get_state()
        assert torch.equal(begin(batch.x, search(start="zero", clip_start=False), batch.noise), batch.x)
        assert torch.equal(batch.noise.device_draws.get_state(), state)

    def test_uniform_adds_a_draw_of_width_eps(self, batch) -> None:
        found = begin(batch.x, search(start="uniform", clip_start=False), batch.noise)
        assert torch.equal(found, batch.x + Stream(0, CPU).uniform(batch.x, 0.1))

    def test_gaussian_adds_a_draw_of_deviation_sigma(self, batch) -> None:
        found = begin(batch.x, search(start="gaussian", sigma=0.2, clip_start=False), batch.noise)
        assert torch.equal(found, batch.x + Stream(0, CPU).normal(batch.x, 0.2))

    def test_gaussian_has_no_deviation_unless_told(self) -> None:
        assert search(start="uniform", sigma=None).sigma is None
        with pytest.raises(ValueError, match=r"start is gaussian, but sigma is not given; TRADES has 0\.001"):
            search(start="gaussian", sigma=None)

    @pytest.mark.parametrize("clip", [True, False])
    def test_the_first_forward_sees_a_clipped_start_only_if_asked(self, net, batch, clip: bool) -> None:
        seen: list[Tensor] = []
        net.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
        pgd(net, batch, search(clip_start=clip), ce_objective)
        inside = bool(seen[0].min() >= 0) and bool(seen[0].max() <= 1)
        assert inside is clip
        assert all(x.min() >= 0 and x.max() <= 1 for x in seen[1:])


class TestCost:
    @pytest.mark.parametrize("objective", [ce_objective, margin_objective])
    def test_one_forward_and_one_input_gradient_per_step(self, net, batch, passes, objective) -> None:
        passes.watch(net=net)
        pgd(net, batch, search(steps=7), objective)
        assert passes.forwards == {("net", "eval", True): 7}
        assert passes.backwards == {"images": 7}

    def test_the_divergence_needs_one_more_forward_without_a_graph(self, net, batch, passes) -> None:
        passes.watch(net=net)
        pgd(net, batch, search(steps=7), kl_objective)
        assert passes.forwards == {("net", "eval", False): 1, ("net", "eval", True): 7}
        assert passes.backwards == {"images": 7}

    def test_no_gradient_arrives_at_a_weight(self, net, batch) -> None:
        touched: list[str] = []
        for name, weight in net.named_parameters():
            weight.register_hook(lambda g, name=name: touched.append(name))
        pgd(net, batch, search(), ce_objective)
        assert touched == []


class TestValue:
    def test_on_a_linear_network_the_corner_of_the_ball_is_found(self, make_batch) -> None:
        batch = make_batch(classes=2)
        net = nn.Sequential(nn.Flatten(), nn.Linear(36, 2)).double()
        w = net[1].weight.detach()
        uphill = (w[1 - batch.y] - w[batch.y]).sign().view_as(batch.x)
        for objective in (ce_objective, margin_objective):
            x_adv = pgd(net, batch, search(start="zero"), objective)
            torch.testing.assert_close(x_adv, (batch.x + 0.1 * uphill).clamp(0, 1))

    def test_objectives_are_the_named_losses_of_the_iterates_logits(self, net, batch) -> None:
        net.eval()
        z, p = torch.randn(6, 3, dtype=torch.float64), net(batch.x).softmax(1).detach()
        torch.testing.assert_close(ce_objective(net, batch)(z), F.cross_entropy(z, batch.y, reduction="none"))
        torch.testing.assert_close(kl_objective(net, batch)(z), (p * (p.log() - z.log_softmax(1))).sum(1))
        wrong = z.masked_fill(F.one_hot(batch.y, 3).bool(), float("-inf")).amax(1)
        torch.testing.assert_close(margin_objective(net, batch)(z), wrong - z[torch.arange(6), batch.y])

    @pytest.mark.parametrize(
        ("objective", "value"),
        [
            (ce_objective, lambda net, b, x: F.cross_entropy(net(x), b.y)),
            (
                kl_objective,
                lambda net, b, x: F.kl_div(net(x).log_softmax(1), net(b.x).softmax(1), reduction="batchmean"),
            ),
        ],
        ids=["ce_objective", "kl_objective"],
    )
    def test_every_step_is_signed_gradient_then_ball_then_cube(
        self, net, batch, objective, value: Callable[..., Tensor]
    ) -> None:
        net.eval()
        x = (batch.x + Stream(0, CPU).normal(batch.x, 0.01)).requires_grad_()
        for _ in range(5):
            (g,) = torch.autograd.grad(value(net, batch, x), x)
            free = x.detach() + 0.03 * g.sign()
            x = (batch.x + (free - batch.x).clamp(-0.1, 0.1)).clamp(0, 1).requires_grad_()
        found = pgd(net, batch, search(start="gaussian", sigma=0.01, clip_start=False), objective)
        torch.testing.assert_close(found, x.detach(), rtol=0, atol=1e-12)

    def test_the_divergences_target_is_taken_in_the_scope_of_the_attack(self, net, batch) -> None:
        ascended = pgd(net.train(), batch, search(start="gaussian", bn="eval"), kl_objective)
        batch.noise = Stream(0, CPU)
        assert torch.equal(ascended, pgd(net.eval(), batch, search(start="gaussian", bn="eval"), kl_objective))

    def test_the_divergences_gradient_vanishes_at_the_image(self, net, batch) -> None:
        net.eval()
        x = batch.x.clone().requires_grad_()
        (g,) = torch.autograd.grad(kl_objective(net, batch)(net(x)).sum(), x)
        assert g.abs().max() < 1e-12  # why TRADES needs a noisy start

    @every_objective
    def test_the_objective_is_higher_than_at_the_start(self, net, batch, objective) -> None:
        net.eval()
        of_logits, start = objective(net, batch), batch.x + 0.01
        found = pgd_loop(net, batch.x, start, of_logits, eps=0.1, step=0.02, steps=8)
        assert of_logits(net(found)).sum() > of_logits(net(start)).sum()

    def test_jitter_is_drawn_at_every_step_and_moves_the_result(self, make_net, make_batch) -> None:
        batch = make_batch()
        plain = pgd(make_net(), make_batch(), search(start="zero", steps=3), ce_objective)
        found = pgd(make_net(), batch, search(start="zero", steps=3), ce_objective, jitter=0.01)
        drawn = Stream(0, CPU)
        for _ in range(3):
            drawn.normal(batch.x, 0.01)
        assert torch.equal(batch.noise.device_draws.get_state(), drawn.device_draws.get_state())
        assert not torch.equal(plain, found)
