import pytest
import torch

from cure import catalogue
from cure.core.method import Networks
from cure.methods.parts.cam import above_mean, grad_cam
from tests.support.analysis_subject import measured, subject


def test_the_masks_are_those_that_the_attack_of_part_uses() -> None:
    given = subject("part")
    found = measured("masks", given, images=5).arrays
    assert {key: tuple(t.shape) for key, t in found.items() if t.ndim > 1} == dict.fromkeys(
        ("image", "map", "full"), (5, 1, 8, 8)
    )
    batch = given.few(5)
    assert torch.equal(found["map"], above_mean(grad_cam(given.net, batch.x), batch.x)[0])
    assert torch.equal(found["full"], found["map"] > found["map"].mean(dim=(2, 3), keepdim=True))
    moved = (given.method.attack(Networks(given.net, {}, {}), batch, given.hyper)["adv"] - batch.x).abs()
    assert (moved[~found["full"]] <= given.hyper.eps_low + 1e-6).all()
    assert moved[found["full"]].max() > given.hyper.eps_low + 1e-6


def test_the_predictions_are_the_networks() -> None:
    given = subject("part")
    assert torch.equal(measured("masks", given, images=12).arrays["predicted"], given.net(given.x).argmax(dim=1))


@pytest.mark.parametrize("name", catalogue.names("methods"))
def test_it_suits_part_alone(name: str) -> None:
    suits = catalogue.entry("analyses", "masks").ANALYSIS.suits
    assert suits(catalogue.entry("methods", name).METHOD) == (name == "part")
