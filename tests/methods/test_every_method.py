import dataclasses

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from cure import catalogue
from cure.core.method import Batch, Method, TrainingPosition
from cure.core.noise import Stream
from cure.settings.base import DelayedSettings, MethodSettings
from cure.settings.params import read
from cure.storage.checkpoint import build
from tests.support.method_harness import QUICKSTART, MethodHarness, parameters, same, shipped, state


def rig_of(name: str, **replacements) -> MethodHarness:
    torch.manual_seed(0)
    method: Method = catalogue.entry("methods", name).METHOD
    student = build("small", read(QUICKSTART)["models"]["small"], 1, 10)
    with torch.no_grad():
        student(digits().x)  # running statistics of these images, as after training
    return MethodHarness(dataclasses.replace(method, **replacements), shipped(name), student)


LATE = 40  # steps taken, one an epoch: every method is past its warm-up


def digits(seed: int = 0) -> Batch:
    draws = torch.Generator().manual_seed(1)
    x = torch.randint(256, (16, 1, 8, 8), generator=draws).float() / 255
    y = torch.randint(10, (16,), generator=draws)
    return Batch(x, y, torch.arange(16), Stream(seed, torch.device("cpu")), TrainingPosition(LATE + 1, LATE))


every_method = pytest.mark.parametrize("name", catalogue.names("methods"))
searching = [name for name in catalogue.names("methods") if catalogue.entry("methods", name).METHOD.attack]


@every_method
def test_losses_and_weights_are_finite(name: str) -> None:
    rig = rig_of(name)
    means = rig.step(digits())
    assert means
    assert all(mean.isfinite() and mean.shape == () and not mean.requires_grad for mean in means.values())
    assert all(tensor.isfinite().all() for tensor in rig.nets.state_dict().values())


@every_method
def test_every_trained_weight_moves(name: str) -> None:
    rig = rig_of(name)
    before = {key: weight.detach().clone() for key, weight in rig.nets.weights().items()}
    rig.step(digits())
    assert [key for key, weight in rig.nets.weights().items() if torch.equal(weight, before[key])] == []


@every_method
def test_the_objective_goes_down_on_the_batch_that_was_trained_on(name: str) -> None:
    rig = rig_of(name)
    values = []
    for _ in range(15):
        rig.step(digits())
        values.append(sum(float(weight * mean.detach()) for weight, mean in rig.seen["means"].values()))
    assert min(values[-3:]) < values[0]


@every_method
def test_it_shows_what_it_says_it_shows(name: str) -> None:
    rig = rig_of(name)
    rig.step(digits())
    assert set(rig.seen) - {"means"} == set(rig.take.method.shows)


@every_method
def test_modes_are_as_before(name: str) -> None:
    rig = rig_of(name)
    before = [module.training for module in rig.nets.modules()]
    rig.step(digits())
    assert [module.training for module in rig.nets.modules()] == before


@every_method
def test_the_batch_stays_as_it_was(name: str) -> None:
    rig, batch = rig_of(name), digits()
    rig.step(batch)
    assert torch.equal(batch.x, digits().x)
    assert torch.equal(batch.y, digits().y)
    assert batch.x.grad is None
    assert not batch.x.requires_grad


@every_method
def test_adversarial_images_are_constant_images_in_the_ball(name: str) -> None:
    rig, batch = rig_of(name), digits()
    rig.step(batch)
    if rig.take.method.attack is not None:
        assert not batch.x_adv.requires_grad
        widest = max([rig.take.hyper.attack.eps, *getattr(rig.take.hyper, "eps", [])])
        assert 0 < (batch.x_adv - batch.x).abs().max() <= widest + 1e-6
        assert 0 <= batch.x_adv.min() <= batch.x_adv.max() <= 1


@every_method
def test_frozen_networks_get_no_gradient(name: str) -> None:
    rig = rig_of(name)
    rig.step(digits())
    frozen = [net for key, net in rig.nets.items() if key not in rig.nets.trained]
    assert all(weight.grad is None for net in frozen for weight in net.parameters())


@every_method
def test_teachers_do_not_move_at_all(name: str) -> None:
    rig = rig_of(name)
    before = {role: state(rig.nets[role]) for role in rig.take.method.teachers}
    rig.step(digits())
    assert all(same(state(rig.nets[role]), was) for role, was in before.items())


@every_method
def test_untrained_companions_move_by_their_own_rule_alone(name: str) -> None:
    rig = rig_of(name, after_step=None)
    companions = [key for key in rig.nets if key not in rig.nets.trained]
    before = {key: parameters(rig.nets[key]) for key in companions}
    rig.step(digits())
    assert all(same(parameters(rig.nets[key]), was) for key, was in before.items())


@every_method
def test_running_statistics_move_with_every_tracked_forward_and_by_nothing_else(name: str) -> None:
    rig, seen = rig_of(name), dict[str, int]()
    norms = norms_of(rig.nets)
    before = {key: int(norm.num_batches_tracked) for key, norm in norms.items()}

    def count(key: str, module: torch.nn.Module) -> None:
        if module is norms[key] and module.training and module.track_running_stats:  # copies carry the hook, too
            seen[key] = seen.get(key, 0) + 1

    for key, norm in norms.items():
        norm.register_forward_pre_hook(lambda module, _, key=key: count(key, module))
    rig.step(digits())
    moved = {key: int(norm.num_batches_tracked) - before[key] for key, norm in norms.items()}
    assert {key: times for key, times in moved.items() if times} == seen
    assert any(key.startswith("student.") for key in seen)
    assert not any(key.startswith(f"{role}.") for key in seen for role in rig.take.method.teachers)


@pytest.mark.parametrize("name", searching)
def test_a_search_moves_the_students_statistics_at_each_step_in_training_mode_alone(name: str) -> None:
    rig = rig_of(name)
    norms, attack = norms_of(rig.nets), rig.take.hyper.attack
    before = {key: int(norm.num_batches_tracked) for key, norm in norms.items()}
    rig.take.method.attack(rig.nets, digits(), rig.take.hyper)
    moved = {int(norm.num_batches_tracked) - before[key] for key, norm in norms.items() if key.startswith("student.")}
    assert max(moved) == (attack.steps if attack.bn == "train" else 0)


def norms_of(nets: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {key: module for key, module in nets.named_modules() if isinstance(module, _BatchNorm)}


def after_two_steps(name: str, seed: int, images_on_other_ranks: int = 0) -> dict[str, torch.Tensor]:
    rig, batch = rig_of(name), digits(seed)
    torch.manual_seed(images_on_other_ranks)
    rig.step(batch)
    rig.step(dataclasses.replace(batch, position=TrainingPosition(LATE + 2, LATE + 1), points={}))
    return state(rig.nets)


@every_method
def test_a_step_is_a_function_of_weights_batch_and_noise_seed(name: str) -> None:
    assert same(
        after_two_steps(name, seed=3, images_on_other_ranks=1), after_two_steps(name, seed=3, images_on_other_ranks=2)
    )


@pytest.mark.parametrize("name", searching)
def test_the_noise_seed_matters_where_a_search_starts_at_random(name: str) -> None:
    assert not same(after_two_steps(name, seed=3), after_two_steps(name, seed=4))


@every_method
def test_its_settings_are_frozen_and_refuse_unknown_keys(name: str) -> None:
    hyper = shipped(name)
    assert hyper.model_config["frozen"]
    assert hyper.model_config["extra"] == "forbid"


@every_method
def test_its_settings_declare_when_it_begins_and_how_often_it_repeats_itself(name: str) -> None:
    hyper = shipped(name)
    assert isinstance(hyper, MethodSettings)
    fields = type(hyper).model_fields
    assert isinstance(hyper, DelayedSettings) == ("begin" in fields)  # else a late begin is not refused
    assert (hyper.begin_epoch, hyper.steps_per_cycle) == tuple(getattr(hyper, key, 1) for key in ("begin", "every"))


@every_method
def test_it_says_where_it_is_from(name: str) -> None:
    assert catalogue.entry("methods", name).METHOD.cite
