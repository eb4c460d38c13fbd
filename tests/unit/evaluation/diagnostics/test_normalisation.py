"""The line of the preflight about a normalisation that was forgotten."""

import pytest
import torch
from torch import nn

from cure.evaluation.diagnostics.normalisation import IMAGENET
from cure.evaluation.diagnostics.preflight import preflight
from cure.settings.sections import Preflight

RULES = Preflight(images=64, program_seconds=60, rounding=1e-4, spread=3, alive=0.9, level=0.05, clean=0.9, robust=0.5)


def images(channels):
    """Ten grey values with a little noise, and which of them each image has."""
    torch.manual_seed(0)
    y = torch.arange(64) % 10
    return (0.05 + 0.1 * y[:, None, None, None] + 0.04 * torch.rand(64, channels, 4, 4)).clamp(0, 1), y


class Brightness(nn.Module):
    """The nearest of ten grey values, as they are after the normalisation of its training, which it leaves to others.

    `normalise` does what was forgotten.
    """

    def __init__(self, mean, deviation, channels, *, normalise=False):
        super().__init__()
        self.mean, self.deviation = (torch.as_tensor(v).reshape(-1, 1, 1) for v in (mean, deviation))
        grey = (0.07 + 0.1 * torch.arange(10.0))[:, None, None, None].expand(-1, channels, 4, 4)
        self.centres, self.normalise = ((grey - self.mean) / self.deviation).mean((1, 2, 3)), normalise

    def forward(self, x):
        x = (x - self.mean) / self.deviation if self.normalise else x
        return -10 * (x.mean((1, 2, 3))[:, None] - self.centres).square()


KINDS = {
    "the mean and deviation of these images": (1, None),
    "mean and deviation 0.5": (1, (0.5, 0.5)),
    "values from 0 to 255": (3, (0.0, 1 / 255)),
    "ImageNet's mean and deviation": (3, IMAGENET),
}


def network(name, x, **options):
    channels, how = KINDS[name]
    mean, deviation = how or (float(x.mean()), float(x.std()))
    return Brightness(mean, deviation, channels, **options).eval()


def line(net, x, y, name="normalisation"):
    return next(line for line in preflight(net, x, y, 10, RULES) if line.name == name)


@pytest.mark.reliability("flags")
@pytest.mark.parametrize("name", KINDS)
def test_a_forgotten_normalisation_is_named_with_both_accuracies(name):
    x, y = images(KINDS[name][0])
    net = network(name, x)
    right = int((net(x).argmax(1) == y).sum())
    seen = line(net, x, y)
    assert seen.passed is None
    assert seen.found.startswith(f"{right} of 64 clean images right, but 64 after a normalisation with {name}; ")
    assert "normalise inside it (--mean " in seen.found


@pytest.mark.parametrize("name", KINDS)
def test_a_network_that_normalises_is_green(name):
    x, y = images(KINDS[name][0])
    seen = line(network(name, x, normalise=True), x, y)
    assert seen.passed
    assert seen.found.startswith("64 of 64 clean images right, ")


def test_the_options_are_those_of_the_best():
    x, y = images(3)
    assert "(--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225)" in line(network(list(KINDS)[3], x), x, y).found


def test_few_images_prove_nothing():
    x, y = images(1)
    net = network("mean and deviation 0.5", x)
    wrong = (net(x).argmax(1) != y).nonzero()[:, 0]
    assert line(net, x[wrong[:3]], y[wrong[:3]]).passed
    assert line(net, x[:1], y[:1]).passed


def test_another_order_of_the_classes_is_no_forgotten_normalisation():
    x, y = images(1)
    net = network("mean and deviation 0.5", x, normalise=True)
    assert not line(net, x, (y + 1) % 10, "accuracy").passed
    assert line(net, x, (y + 1) % 10).passed


class Picky(nn.Module):
    """Refuses what is no image."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        if not bool(((x >= 0) & (x <= 1)).all()):
            raise ValueError("no image")
        return self.net(x)


def test_a_network_that_refuses_such_values_is_green():
    x, y = images(1)
    seen = line(Picky(network("mean and deviation 0.5", x, normalise=True)).eval(), x, y)
    assert seen.passed
    assert seen.found == "64 of 64 clean images right, 0 after the best of 3 usual normalisations"


def test_images_of_one_pixel_and_of_one_value_have_a_line():
    x, y = torch.full((1, 1, 1, 1), 0.5), torch.zeros(1, dtype=torch.long)
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 10)).eval()
    assert line(net, x, y).passed


def test_it_costs_a_forward_for_each_normalisation():
    x, y = images(3)
    net, seen = network("ImageNet's mean and deviation", x, normalise=True), []
    net.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    line(net, x, y)
    outside = [given for given in seen if float(given.min()) < 0 or float(given.max()) > 1]
    assert len(outside) == 4
    assert {len(given) for given in outside} == {64}
