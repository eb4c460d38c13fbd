import copy

import pytest
import torch

from cure.core.method import Companion, Networks

WANTED = {"student": True, "second": True, "past": False, "robust": False}


@pytest.fixture
def nets(make_net) -> Networks:
    companions = {
        "second": Companion(copy.deepcopy, trained=True, mode="train"),
        "past": Companion(copy.deepcopy, mode="train"),
    }
    return Networks(make_net(), companions, {"robust": make_net(1)})


def test_networks_are_found_by_name(nets: Networks) -> None:
    assert nets.student is nets["student"]
    assert list(nets.keys()) == list(WANTED)
    with pytest.raises(AttributeError):
        _ = nets.nobody


def test_only_students_and_trained_companions_want_gradients(nets: Networks) -> None:
    for name, wanted in WANTED.items():
        assert {w.requires_grad for w in nets[name].parameters()} == {wanted}


def test_ready_gives_each_network_its_mode(nets: Networks) -> None:
    nets.eval()
    nets.ready()
    assert {name: net.training for name, net in nets.items()} == {
        "student": True,
        "second": True,
        "past": True,
        "robust": False,
    }
    assert not any(module.training for module in nets.robust.modules())


def test_companions_run_in_eval_mode_unless_they_say_otherwise(make_net) -> None:
    nets = Networks(make_net(), {"past": Companion(copy.deepcopy)}, {})
    nets.ready()
    assert not nets.past.training


def test_weights_bear_plain_names_for_the_student_and_prefixed_ones_for_companions(nets: Networks) -> None:
    own = [name for name, _ in nets.student.named_parameters()]
    assert list(nets.weights()) == [*own, *(f"second.{name}" for name in own)]
    assert nets.weights()["second.conv1.weight"] is nets.second.conv1.weight


def test_companions_share_no_memory_with_the_student(nets: Networks) -> None:
    for name in ("second", "past"):
        for a, b in zip(nets[name].state_dict().values(), nets.student.state_dict().values(), strict=True):
            assert torch.equal(a, b)
            assert a.data_ptr() != b.data_ptr()
