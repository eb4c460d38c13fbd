import copy
import random
import sys
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cure.core.network import Normalisation, Normalise
from cure.errors import UserError
from cure.evaluation.diagnostics import preflight as checks
from cure.evaluation.diagnostics.borders import clamps
from cure.evaluation.diagnostics.preflight import CHECKS
from cure.evaluation.diagnostics.preserve_state import preserve_state
from cure.nn.outputs import FirstOutput
from cure.settings.sections import Preflight
from tests.support.networks import Behind

RULES = Preflight(images=64, program_seconds=60, rounding=1e-4, spread=3, alive=0.9, level=0.05, clean=0.9, robust=0.5)


def preflight(net, x, y, classes, rules=RULES):
    return checks.preflight(net, x, y, classes, rules)


@pytest.fixture
def sound(make_net, make_batch):
    """A network in eval mode, and images that it classifies correctly."""
    net = make_net(dtype=torch.float32).eval()
    with torch.no_grad():  # spread-out predictions, so that neither one class nor a wrong order does well
        net.linear.weight *= 20
        x = make_batch(64, dtype=torch.float32).x
        net.linear.bias -= net(x).mean(0)
        return net, x, net(x).argmax(1)


def red(net, x, y, classes=3):
    return [line.name for line in preflight(net, x, y, classes) if not line.passed]


def line(name, net, x, y, classes=3):
    return next(line for line in preflight(net, x, y, classes) if line.name == name)


def test_a_sound_network_is_green_all_over(sound):
    lines = preflight(*sound, 3)
    assert [line.name for line in lines] == list(CHECKS)
    assert [(line.name, line.found) for line in lines if not line.passed] == []


@pytest.mark.parametrize("classes", [3, 7, 100])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wrapper", ["plain", "normalised", "tuple"])
def test_networks_of_every_style_are_evaluated(make_net, make_batch, classes, channels, wrapper):
    net = make_net(channels=channels, classes=classes, dtype=torch.float32).eval()
    if wrapper == "normalised":
        net = nn.Sequential(Normalise(Normalisation(mean=[0.5] * channels, std=[0.2] * channels)), net).eval()
    x = make_batch(64, channels=channels, dtype=torch.float32).x
    y = net(x).argmax(1)
    if wrapper == "tuple":
        net = FirstOutput(Behind(net, lambda net, x: (net(x), net.conv1(x)))).eval()
    assert red(net, x, y, classes) == []


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda x: x * 255, "values from 0 to 255"),
        (lambda x: (x * 255).byte(), "uint8, values from 0 to 255"),
        (lambda x: x * 2 - 1, "values from -1 to 1"),
        (lambda x: torch.zeros_like(x), "values from 0 to 0"),
        (lambda x: torch.full_like(x, torch.nan), "values from nan to nan"),
    ],
)
def test_images(sound, spoil, found):
    net, x, y = sound
    seen = line("images", net, spoil(x), y)
    assert not seen.passed
    assert found in seen.found


def test_images_alone_are_red_where_the_network_bears_them(sound):
    net, x, y = sound
    assert red(Behind(net, lambda net, x: net(x / 255)).eval(), x * 255, y) == ["images"]


SPOILT = {
    "several outputs": ("output", "a tuple of 2 outputs", lambda net, x: (net(x), x)),
    "one row": ("output", "tensor (3,) of 64 images", lambda net, x: net(x)[0]),
    "exception": ("forward", "ValueError: no such layer", lambda net, x: fail("no such layer. And more\nof it")),
    "half precision": ("precision", "logits are bfloat16", lambda net, x: net(x).bfloat16()),
    "one logit more": ("classes", "4 logits, 3 classes", lambda net, x: F.pad(net(x), (0, 1), value=-9.0)),
    "probabilities": ("logits", "sum to one: probabilities", lambda net, x: (net(x) / 20).softmax(1)),
    "log-probabilities": ("logits", "log-probabilities", lambda net, x: (net(x) / 20).log_softmax(1)),
    "nan on black": (
        "finite",
        "not finite on black",
        lambda net, x: net(x) * ratio(x, x),
    ),
    "inf on white": (
        "finite",
        "not finite on white",
        lambda net, x: net(x) + ratio(1, 1 - x),
    ),
    "noise": ("determinism", "9 equal forwards differ by", lambda net, x: net(x + 0.01 * torch.randn_like(x))),
    "numpy noise": ("determinism", "differ by", lambda net, x: net(x) + np.random.rand() + random.random()),
    "batch statistics": ("batch", "with the rest of the batch", lambda net, x: net(x) - net(x).mean(0).detach()),
    "not alone": ("batch", "ValueError: two or more", lambda net, x: net(x) if len(x) > 1 else fail("two or more")),
    "rounding": ("gradients", "0 of 64 images on CE", lambda net, x: net((x * 99).round() / 99)),
    "detached": ("gradients", "RuntimeError: element 0", lambda net, x: net(x).detach()),
    "saturated": ("gradients", "0 of 64 images on CE", lambda net, x: net(x) * 1e6),
    "a tie": ("gradients", "64 of 64 images on CE", lambda net, x: tie(net(x))),
    "another order": ("accuracy", "64 if the classes were in the best other order", lambda net, x: net(x).roll(1, 1)),
    "functional": ("autograd", "inside the forward", lambda net, x: net(x + 1e-3 * ascent(net)(x).sign())),
    "optimisation": ("autograd", "inside the forward", lambda net, x: purified(net, x)),
}


def fail(text):
    raise ValueError(text)


def ratio(a, b):
    return torch.as_tensor(a + 0 * b).mean((1, 2, 3))[:, None] / b.mean((1, 2, 3))[:, None]


def tie(z):
    """The margin between two equal logits is constant; the cross-entropy still sees the third."""
    return torch.stack([z[:, 0], z[:, 0], z[:, 0] - z[:, 1].abs() - 1], 1)


def ascent(net):
    return torch.func.grad(lambda x: net(x).logsumexp(1).sum())


def purified(net, x):
    with torch.enable_grad():
        inner = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(net(inner).logsumexp(1).sum(), inner)
    return net(x + 1e-3 * g)


@pytest.mark.reliability("flags")
@pytest.mark.parametrize("case", SPOILT)
def test_each_fault_reddens_its_own_line_and_no_other(sound, case):
    net, x, y = sound
    name, found, way = SPOILT[case]
    spoilt = Behind(net, way).eval()
    if case == "a tie":
        y = torch.zeros_like(y)
    assert red(spoilt, x, y) == [name]
    assert found in line(name, spoilt, x, y).found
    assert line(name, spoilt, x, y).advice


@pytest.mark.reliability("flags")
@pytest.mark.parametrize(
    "clip",
    [
        lambda x: x.clamp(0.1, 0.9),
        lambda x: F.hardtanh(x, 1e-3, 1 - 1e-3),
        lambda x: (x - 0.02).relu(),
        lambda x: torch.where(x > 0.98, x.detach(), x),
    ],
)
def test_a_network_that_clips_inside_the_unit_interval_is_red(sound, clip):
    net, x, y = sound
    clipping = Behind(net, lambda net, x: net(clip(x))).eval()
    assert line("borders", clipping, x, y).red
    assert "gradients vanish near pixels of " in line("borders", clipping, x, y).found


@pytest.mark.parametrize(("low", "high", "said"), [(0, 1, "0 or 1"), (0, 9, "0"), (-9, 1, "1")])
def test_a_network_that_clamps_at_the_ends_is_grey_and_known(sound, low, high, said):
    net, x, y = sound
    clamping = Behind(net, lambda net, x: net(x.clamp(low, high))).eval()
    lines = preflight(clamping, x, y, 3)
    assert [found.name for found in lines if not found.passed] == ["borders"]
    assert f"vanish at pixels that are exactly {said} and return" in line("borders", clamping, x, y).found
    assert clamps(lines)
    assert not clamps(preflight(net, x, y, 3))


@pytest.mark.reliability("flags")
def test_a_module_left_in_training_mode(sound):
    net, x, y = sound
    net.conv2.train()
    assert red(net, x, y) == ["eval mode"]
    assert line("eval mode", net, x, y).found == "conv2 in training mode"


@pytest.mark.reliability("flags")
def test_batch_norm_in_training_mode_depends_on_the_batch(sound):
    net, x, y = sound
    assert {"eval mode", "batch"} <= set(red(net.train(), x, y))


@pytest.mark.reliability("flags")
def test_dropout_in_training_mode_is_random(sound):
    net, x, y = sound
    dropping = Behind(net, lambda net, x: net(F.dropout(x, 0.1, training=True))).eval()
    assert "determinism" in red(dropping, x, y)


@pytest.mark.parametrize("y", [[0, 1, 2, 3], [-1, 0, 1, 2], [5, 6, 7, 8]])
def test_labels_out_of_range(sound, y):
    net, x, _ = sound
    assert red(net, x[:4], torch.tensor(y)) == ["classes"]


def test_what_has_no_meaning_is_not_listed(sound):
    net, x, y = sound
    names = [line.name for line in preflight(Behind(net, lambda net, x: fail("broken")), x, y, 3)]
    assert names == ["images", "forward"]


def test_the_first_of_several_outputs_is_named(sound):
    net, x, y = sound
    several = Behind(net, lambda net, x: {"logits": net(x), "features": net.conv1(x)}).eval()
    assert line("output", several, x, y).found == "a dict of 2 outputs"
    assert line("output", FirstOutput(several).eval(), x, y).found.endswith("of 64 images, the first of 2 outputs")
    assert torch.equal(FirstOutput(several)(x), net(x))
    assert torch.equal(FirstOutput(net)(x), net(x))


def test_nothing_of_the_network_changes(sound):
    net, x, y = sound
    F.cross_entropy(net(x), y).backward()
    net.train()
    net.bn2.eval()
    net.conv2.weight.requires_grad_(False)
    spoilt = Behind(net, lambda net, x: adapted(net, x))

    def state():
        tensors = [*net.state_dict().values(), *(p.grad for p in net.parameters() if p.grad is not None)]
        flags = [p.requires_grad for p in net.parameters()] + [m.training for m in spoilt.modules()]
        draws = [torch.get_rng_state(), torch.from_numpy(np.random.get_state()[1])]
        return [t.clone() for t in (*tensors, *draws)], flags

    tensors, flags = state()
    preflight(spoilt, x, y, 3)
    after, flags_after = state()
    assert flags_after == flags
    assert all(torch.equal(a, b) for a, b in zip(tensors, after, strict=True))


def adapted(net, x):
    """Moves statistics, weights and gradients, and draws from every generator."""
    with torch.enable_grad():
        net.linear.bias.requires_grad_()
        net(x.detach()).square().mean().backward()
    with torch.no_grad():
        net.linear.bias += 0.1
    return net(x) + random.random() + np.random.rand() + torch.rand(1)


def test_random_numbers_go_on_as_if_nobody_had_looked(net):
    def draws():
        return random.random(), np.random.rand(), float(torch.rand(1))

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = draws()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    with preserve_state(net):
        draws()
    assert draws() == expected


def test_the_watch_for_autograd_is_local_and_ends(sound):
    net, x, y = sound
    other_net = copy.deepcopy(net)
    tracer, grad, done = sys.gettrace(), torch.autograd.grad, threading.Event()

    def elsewhere():
        while not done.is_set():
            inner = x.clone().requires_grad_()
            torch.autograd.grad(other_net(inner).sum(), inner)

    other = threading.Thread(target=elsewhere)
    other.start()
    try:
        assert "autograd" not in red(net, x, y)
    finally:
        done.set()
        other.join()
    optimising = Behind(net, purified).eval()
    assert red(optimising, x, y) == ["autograd"]
    assert red(net, x, y) == []
    assert (sys.gettrace(), torch.autograd.grad) == (tracer, grad)


@pytest.mark.parametrize(
    ("right", "images", "passed"),
    # one image proves nothing, whatever becomes of it; of ten classes two right ones cannot be guessed, four wrong ones
    # are no network's that knows half of the way to all, and between them lies what is unknown
    [
        (1, 1, None),
        (0, 1, None),
        (2, 2, True),
        (1, 2, None),
        (0, 4, False),
        (0, 64, False),
        (7, 64, False),
        (64, 64, True),
    ],
)
def test_few_images_cannot_distinguish_a_network_from_chance(right, images, passed):
    y = torch.arange(images) % 10
    given = F.one_hot((y + (torch.arange(images) >= right)) % 10, 10).float()
    net = Behind(nn.Flatten(), lambda _, x: 9 * given[: len(x)] + x.mean((1, 2, 3))[:, None] * torch.rand(10)).eval()
    (seen,) = [line for line in preflight(net, torch.rand(images, 1, 4, 4), y, 10) if line.name == "accuracy"]
    assert (seen.passed, seen.red) == (passed, passed is False)
    assert ("too few to distinguish" in seen.found) == (passed is None)
    assert (seen.advice in str(seen)) == seen.red


def test_thresholds_are_settings(sound):
    net, x, y = sound
    noisy = Behind(net, lambda net, x: net(x) + 1e-3 * torch.randn(len(x), 3)).eval()
    assert red(noisy, x, y) == ["determinism"]
    tolerant = preflight(noisy, x, y, 3, RULES.model_copy(update={"rounding": 0.1}))
    assert [line.name for line in tolerant if line.red] == []
    (seen,) = [
        line for line in preflight(net, x, y, 3, RULES.model_copy(update={"images": 20})) if line.name == "output"
    ]
    assert "of 20 images" in seen.found


def test_no_more_images_can_be_robust_than_clean():
    with pytest.raises(ValueError, match=r"robust is 0.95, but clean is 0.9; robust may be at most clean"):
        Preflight(**RULES.model_dump() | {"robust": 0.95})


def test_an_empty_batch_is_refused(sound):
    net, x, y = sound
    with pytest.raises(UserError, match="preflight: no images; give it a small labelled batch"):
        preflight(net, x[:0], y[:0], 3)
