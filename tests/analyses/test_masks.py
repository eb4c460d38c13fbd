import pytest
import torch

from cure import catalogue
from cure.core.analysis import Subject
from cure.core.cam import above_mean, grad_cam
from cure.core.method import Batch, Networks
from cure.core.noise import PerImage
from cure.engine.checkpoint import build
from cure.errors import Refused
from tests.methods.rig import shipped


def subject(name: str) -> Subject:
    torch.manual_seed(0)
    net = build("small", {"width": 4}, 1, 10).eval()
    x, index = torch.rand(5, 1, 8, 8), torch.arange(5)
    batch = Batch(x, index, index, PerImage(0, index), epoch=40)
    return Subject(net, catalogue.entry("methods", name).METHOD, shipped(name), batch)


def measured(given: Subject) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = catalogue.entry("analyses", "masks").ANALYSIS.measure(given)
    return found


def test_the_masks_are_those_that_the_attack_of_part_uses() -> None:
    given = subject("part")
    found = measured(given)
    assert {key: tuple(t.shape) for key, t in found.items() if t.ndim > 1} == dict.fromkeys(
        ("image", "map", "full"), (5, 1, 8, 8)
    )
    assert torch.equal(found["map"], above_mean(grad_cam(given.net, given.batch.x), given.batch.x)[0])
    assert torch.equal(found["full"], found["map"] > found["map"].mean(dim=(2, 3), keepdim=True))
    moved = (given.method.inner(Networks(given.net, {}, {}), given.batch, given.hyper)["adv"] - given.batch.x).abs()
    assert (moved[~found["full"]] <= given.hyper.eps_low + 1e-6).all()
    assert moved[found["full"]].max() > given.hyper.eps_low + 1e-6


def test_the_predictions_are_the_networks() -> None:
    given = subject("part")
    assert torch.equal(measured(given)["predicted"], given.net(given.batch.x).argmax(dim=1))


@pytest.mark.parametrize("name", ["at", "natural", "act", "vfd"])
def test_a_method_without_masks_is_refused_by_where_to_mend_it(name: str) -> None:
    with pytest.raises(Refused, match=r"grid\.analyse_masks takes"):
        measured(subject(name))
