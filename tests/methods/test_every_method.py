import dataclasses

import pytest
import torch

from cure import catalogue
from cure.core.method import Batch, Method
from cure.core.noise import Stream
from cure.engine.checkpoint import build
from cure.params import read
from tests.methods.rig import QUICKSTART, Rig, parameters, same, shipped, state

MOVES = {
    "natural": {"student": 1},
    "at": {"student": 1},
    "trades": {"student": 2},
    "cure": {"student": 2, "revision": 2},
    "cure_eff": {"student": 2, "revision": 2},
    "mart": {"student": 2},
    "awp": {"student": 1},
    "fat": {"student": 1},
    "st_at": {"student": 2},
    "act": {"student": 1, "natural_peer": 1},
    "ard": {"student": 11},
    "iad": {"student": 12},
    "las_at": {"student": 1, "strategy": 1},
    "part": {"student": 1},
    "vfd": {"student": 2},
    "arat": {"student": 11, "predictor": 1},
    "rift": {"student": 1},
}
"""How often one step moves the running statistics of each network, by the papers."""


def rig_of(name: str, **replacements) -> Rig:
    torch.manual_seed(0)
    method: Method = catalogue.entry("methods", name).METHOD
    student = build("small", read(QUICKSTART)["models"]["small"], 1, 10)
    with torch.no_grad():
        student(digits().x)  # running statistics of these images, as after training
    return Rig(dataclasses.replace(method, **replacements), shipped(name), student)


LATE = 40  # steps taken, one an epoch: every method is past its warm-up


def digits(seed: int = 0) -> Batch:
    draws = torch.Generator().manual_seed(1)
    x = torch.randint(256, (16, 1, 8, 8), generator=draws).float() / 255
    y = torch.randint(10, (16,), generator=draws)
    return Batch(x, y, torch.arange(16), Stream(seed, torch.device("cpu")), LATE + 1, LATE)


def tracked(net: torch.nn.Module) -> int:
    """How many batches the first batch norm of a network has seen; of a split one, its deployed branch."""
    return next(int(value) for key, value in net.state_dict().items() if key.endswith("num_batches_tracked"))


every_method = pytest.mark.parametrize("name", catalogue.names("methods"))


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
    if rig.take.method.inner is not None:
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


@pytest.mark.parametrize("name", MOVES)
def test_running_statistics_move_as_often_as_the_paper_says(name: str) -> None:
    rig = rig_of(name)
    before = {key: tracked(net) for key, net in rig.nets.items()}
    rig.step(digits())
    moved = {key: tracked(net) - before[key] for key, net in rig.nets.items()}
    assert {key: count for key, count in moved.items() if count} == MOVES[name]


@every_method
def test_running_statistics_move_with_training_forwards_alone(name: str) -> None:
    rig, seen = rig_of(name), dict[str, int]()
    norms = {key: first_norm(net) for key, net in rig.nets.items()}
    before = {key: int(norm.num_batches_tracked) for key, norm in norms.items() if norm is not None}
    for key, norm in norms.items():
        if norm is not None:
            norm.register_forward_pre_hook(
                lambda norm, _, key=key: seen.update(
                    {key: seen.get(key, 0) + (norm.training and norm.track_running_stats)}
                )
            )
    rig.step(digits())
    moved = {key: int(norms[key].num_batches_tracked) - count for key, count in before.items()}
    assert all(moved[key] <= seen.get(key, 0) for key in before)  # hooks also count a copy that looks ahead
    assert moved["student"] >= 1
    assert all(moved[role] == 0 for role in rig.take.method.teachers)


def first_norm(net: torch.nn.Module) -> torch.nn.BatchNorm2d | None:
    return next((module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)), None)


def after_two_steps(name: str, seed: int, elsewhere: int = 0) -> dict[str, torch.Tensor]:
    rig, batch = rig_of(name), digits(seed)
    torch.manual_seed(elsewhere)
    rig.step(batch)
    rig.step(dataclasses.replace(batch, epoch=LATE + 2, step=LATE + 1, points={}))
    return state(rig.nets)


@every_method
def test_a_step_is_a_function_of_weights_batch_and_noise_seed(name: str) -> None:
    assert same(after_two_steps(name, seed=3, elsewhere=1), after_two_steps(name, seed=3, elsewhere=2))


@pytest.mark.parametrize(
    "name", [name for name in catalogue.names("methods") if catalogue.entry("methods", name).METHOD.inner]
)
def test_the_noise_seed_matters_where_a_search_starts_at_random(name: str) -> None:
    assert not same(after_two_steps(name, seed=3), after_two_steps(name, seed=4))


@every_method
def test_its_settings_are_frozen_and_refuse_unknown_keys(name: str) -> None:
    hyper = shipped(name)
    assert hyper.model_config["frozen"]
    assert hyper.model_config["extra"] == "forbid"


@every_method
def test_it_says_where_it_is_from(name: str) -> None:
    assert catalogue.entry("methods", name).METHOD.cite
