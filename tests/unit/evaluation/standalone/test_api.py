"""`from cure import evaluate`, and what it returns."""

import copy
import dataclasses
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import cure
from cure import evaluate
from cure.data.loader import evenly_spaced
from cure.data.prepare import prepare
from cure.datasets.digits import Hyper
from cure.errors import UserError
from cure.evaluation.standalone.plan import opened, plan, published
from cure.evaluation.statistics.intervals import nrr, wilson
from cure.storage import checkpoint, resume
from tests.support.networks import Behind

FEW = slice(0, 40)
CHEAP = {"attacks": ["clean", "fgsm", "pgd20"], "eps": "38/255", "batch": 25}


@pytest.fixture(scope="module")
def found(trained, test_images):
    return evaluate(trained, test_images[0][FEW], test_images[1][FEW], **CHEAP)


def test_three_lines_give_the_numbers(found):
    assert found.accuracy("clean") > 0.8
    assert found.accuracy("pgd20") <= found.accuracy("fgsm") < found.accuracy("clean")
    assert found.accuracy("worst") <= found.accuracy("pgd20")


def test_accuracy_is_that_of_the_outcomes(found, trained, test_images):
    right = trained(test_images[0][FEW].float() / 255).argmax(1) == test_images[1][FEW]
    assert found.result.outcomes["clean"] == "".join("01"[int(hit)] for hit in right)
    assert found.accuracy("clean") == int(right.sum()) / 40


def test_intervals_and_ratios_are_of_these_counts(found):
    robust = found.result.outcomes["pgd20"].count("1")
    assert found.interval("pgd20") == wilson(robust, 40)
    assert found.nrr("pgd20") == nrr(found.accuracy("clean"), robust / 40)


def test_adversarial_images_are_in_the_ball_and_fool_the_network(found, trained, test_images):
    x, y = test_images[0][FEW].float() / 255, test_images[1][FEW]
    x_adv = found.adversarial()
    assert x_adv.dtype == torch.float32
    assert (x_adv - x).abs().max() <= 38 / 255 + 1e-6
    left = [trained(x_adv).argmax(1)[row] == y[row] for row in range(len(y))]
    columns = zip(found.result.outcomes["fgsm"], found.result.outcomes["pgd20"], strict=True)
    assert ["01"[int(hit)] for hit in left] == [min(pair) for pair in columns]


def test_the_accuracy_on_them_is_the_worst_case_probes_included(trained, test_images):
    x, y = test_images[0][FEW], test_images[1][FEW]
    weak = evaluate(trained, x, y, **(CHEAP | {"attacks": ["fgsm"]}))
    left = trained(weak.adversarial()).argmax(1) == y
    assert "".join("01"[int(hit)] for hit in left) == weak.result.outcomes["worst"]
    assert weak.accuracy("worst") < weak.accuracy("fgsm")
    assert (weak.adversarial() - x / 255).abs().max() <= 38 / 255 + 1e-6  # the probe far outside has no part in it


def test_a_float_image_is_the_same_as_a_byte(found, trained, test_images):
    x = (test_images[0][FEW].float() / 255).numpy()
    again = evaluate(trained, x, test_images[1][FEW].numpy(), **CHEAP)
    assert again.result.outcomes == found.result.outcomes


def test_the_batch_size_decides_nothing(found, trained, test_images):
    again = evaluate(trained, test_images[0][FEW], test_images[1][FEW], **(CHEAP | {"batch": 40}))
    assert again.result.outcomes == found.result.outcomes


def test_the_network_is_given_back_as_it_was(trained, test_images):
    net = nn.Sequential(trained, nn.Identity()).train()
    net[0].eval()
    before = [module.training for module in net.modules()]
    evaluate(net, test_images[0][FEW], test_images[1][FEW], **CHEAP)
    assert [module.training for module in net.modules()] == before


def test_a_killed_run_continues_with_its_units(found, trained, test_images, tmp_path, monkeypatch):
    calls = []

    class Dying(nn.Module):
        def forward(self, x):
            calls.append(len(x))
            if len(calls) == 40:
                raise KeyboardInterrupt
            return trained(x)

    net = Dying()
    with pytest.raises(KeyboardInterrupt):
        evaluate(net, test_images[0][FEW], test_images[1][FEW], out=tmp_path, **CHEAP)
    kept = {path.name for path in (tmp_path / "units").glob("*.safetensors")}
    assert kept
    assert not (tmp_path / "results.json").exists()
    again = evaluate(net, test_images[0][FEW], test_images[1][FEW], out=tmp_path, **CHEAP)
    assert again.result.outcomes == found.result.outcomes
    assert kept <= {path.name for path in (tmp_path / "units").glob("*.safetensors")}


@pytest.mark.parametrize("switched_off", [torch.no_grad, torch.inference_mode])
def test_gradients_may_be_switched_off_around_it(found, trained, test_images, switched_off):
    with switched_off():
        again = evaluate(trained, test_images[0][FEW].clone(), test_images[1][FEW].clone(), **CHEAP)
    assert again.result.outcomes == found.result.outcomes


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_frozen_program_in_memory_is_evaluated(found, trained, test_images, tmp_path):
    net = torch.jit.freeze(torch.jit.trace(trained, torch.rand(2, 1, 8, 8)))
    again = evaluate(net, test_images[0][FEW], test_images[1][FEW], **CHEAP)
    assert again.result.outcomes == found.result.outcomes


@pytest.mark.reliability("wrong inputs")
def test_a_network_without_gradients_for_ever_is_refused(trained, test_images):
    with torch.inference_mode():
        net = copy.deepcopy(trained)
    with pytest.raises(UserError, match=r"net was built inside torch\.inference_mode"):
        evaluate(net, test_images[0][FEW], test_images[1][FEW], **CHEAP)


def test_a_network_that_changes_its_images_gets_copies(found, trained, test_images):
    x = test_images[0][FEW].float() / 255
    before = x.clone()
    again = evaluate(Behind(trained, lambda net, x: net(x.mul_(0.5) * 2)), x, test_images[1][FEW], **CHEAP)
    assert torch.equal(x, before)
    assert again.result.outcomes == found.result.outcomes
    assert again.subject.notes == ["changes its images in place, so each forward pass receives a copy of them"]


CLAMPING = {
    "clamp": lambda x: x.clamp(0, 1),
    "hardtanh": lambda x: torch.nn.functional.hardtanh(x, 0, 1),
    "relu6": lambda x: torch.nn.functional.relu6(6 * x) / 6,
    "relu": lambda x: x.relu(),
}


@pytest.mark.parametrize("kind", CLAMPING)
def test_a_network_that_clamps_its_input_is_as_robust_as_without(found, trained, test_images, kind):
    net = Behind(trained, lambda net, x: net(CLAMPING[kind](x)))
    again = evaluate(net, test_images[0][FEW], test_images[1][FEW], **CHEAP)
    for column, outcome in found.result.outcomes.items():
        assert sum(a != b for a, b in zip(outcome, again.result.outcomes[column], strict=True)) <= 2
    (line,) = [line for line in again.preflight if line.name == "borders"]
    assert line.passed is None
    assert "return 1e-06 inside; attacks keep that distance" in line.found


@pytest.mark.parametrize(
    "way",
    [
        lambda net, x: net(x.clamp_(0, 1)),
        lambda net, x: net(torch.nn.functional.relu(x, inplace=True)),
        lambda net, x: net(x.double().float()).double(),
    ],
)
def test_images_changed_to_the_same_and_logits_of_double_precision_are_fine(found, trained, test_images, way):
    again = evaluate(Behind(trained, way), test_images[0][FEW], test_images[1][FEW], **CHEAP)
    assert again.result.outcomes == found.result.outcomes


def test_black_and_white_images_are_attacked_through_a_clamp(trained, test_images):
    x, y = (test_images[0][FEW] > 120).float(), test_images[1][FEW]
    plain, clamped = (
        evaluate(Behind(trained, way), x, y, **CHEAP)
        for way in (lambda net, x: net(x), lambda net, x: net(x.clamp(0, 1)))
    )
    for column, outcome in plain.result.outcomes.items():
        assert sum(a != b for a, b in zip(outcome, clamped.result.outcomes[column], strict=True)) <= 2


@pytest.mark.parametrize("eps", ["4/255", "1/255", "1/2550"])
def test_a_sound_network_is_not_doubted_at_a_small_radius(trained, test_images, eps):
    assert evaluate(trained, test_images[0][FEW], test_images[1][FEW], **(CHEAP | {"eps": eps})).flags == []


@pytest.mark.reliability("wrong inputs")
def test_a_folder_of_the_same_weights_under_another_forward_is_refused(trained, test_images, tmp_path):
    images = test_images[0][FEW], test_images[1][FEW]
    evaluate(Behind(trained, lambda net, x: net(x)), *images, out=tmp_path, **CHEAP)
    evaluate(Behind(trained, lambda net, x: net(x)), *images, out=tmp_path, **CHEAP)
    with pytest.raises(UserError, match="holds the evaluation of another network"):
        evaluate(Behind(trained, lambda net, x: net(0.9 * x)), *images, out=tmp_path, **CHEAP)


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (np.zeros((4, 8, 8)), np.zeros(4), "needed: (n, c, h, w) and (n,)"),
        (np.zeros((4, 1, 8, 8)), np.zeros(3), "needed: (n, c, h, w) and (n,)"),
        (np.zeros((4, 1, 8, 8), dtype=np.int32), np.zeros(4), "needed: uint8 from 0 to 255, or floats in [0, 1]"),
        (np.full((4, 1, 8, 8), 200.0), np.arange(4), "divide by 255, normalise inside the network"),
        (np.random.default_rng(0).random((4, 1, 8, 8)), np.array([0, 1, 2, 99]), "labels from 0 to 99"),
        (np.zeros((0, 1, 8, 8)), np.zeros(0), "there are no images"),
    ],
)
def test_input_that_makes_no_sense_is_refused(trained, images, labels, said):
    with pytest.raises(UserError) as refused:
        evaluate(trained, images, labels, **CHEAP)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"eps": "abc"}, "eps abc: not a number above 0, such as 8/255"),
        ({"eps": 0.0}, "eps 0.0: not a number above 0"),
        ({"eps": 8.0}, "8 grey levels are 8/255"),
        ({"batch": 0}, "batch is 0; a whole number from 1 to 2147483647"),
        ({"batch": 10**23}, "from 1 to 2147483647"),
        ({"seed": 2**70}, "from 0 to 2147483647"),
    ],
)
def test_settings_that_make_no_sense_are_refused(trained, test_images, how, said):
    with pytest.raises(UserError, match=re.escape(said)):
        evaluate(trained, *test_images, **(CHEAP | how))


@pytest.mark.reliability("wrong inputs")
def test_a_folder_of_another_network_is_refused_and_left_as_it_is(trained, test_images, tmp_path):
    how = CHEAP | {"attacks": ["clean"], "out": tmp_path / "mine"}
    evaluate(trained, test_images[0][FEW], test_images[1][FEW], **how)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    other = copy.deepcopy(trained)
    with torch.no_grad():
        next(other.parameters()).mul_(1.01)
    with pytest.raises(UserError, match="mine: holds the evaluation of another network; name another folder"):
        evaluate(other, test_images[0][FEW], test_images[1][FEW], **how)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    evaluate(trained, test_images[0][FEW], test_images[1][FEW], **how)


class NamedOutput(NamedTuple):
    features: torch.Tensor
    logits: torch.Tensor


@dataclasses.dataclass
class Output:
    loss: torch.Tensor | None
    logits: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Unnamed:
    scores: torch.Tensor
    features: torch.Tensor


class Wrapped(nn.Module):
    """A network whose output something else is made of."""

    def __init__(self, net, way):
        super().__init__()
        self.net, self.way = net, way

    def forward(self, x):
        return self.way(self.net(x))


@pytest.mark.parametrize(
    ("way", "note"),
    [
        (lambda z: (z,), "uses the first of its 1 output"),
        (lambda z: [z, z.sum()], "uses the first of its 2 outputs"),
        (lambda z: {"features": -z, "logits": z}, "uses `logits` of its 2 outputs"),
        (lambda z: NamedOutput(-z, z), "uses `logits` of its 2 outputs"),
        (lambda z: Output(None, z), "uses `logits` of its 2 outputs"),
        (lambda z: Unnamed(z, -z), "uses the first of its 2 outputs"),
    ],
    ids=["tuple of one", "list", "mapping", "named tuple", "dataclass", "dataclass without logits"],
)
def test_logits_among_other_outputs_are_found(found, trained, test_images, way, note):
    again = evaluate(Wrapped(trained, way).eval(), test_images[0][FEW], test_images[1][FEW], **CHEAP)
    assert again.result.outcomes == found.result.outcomes
    assert again.subject.notes == [note]


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_weights_of_another_precision_are_copied_in_float32(found, trained, test_images, precision):
    net = copy.deepcopy(trained).to(precision)
    again = evaluate(net, test_images[0][FEW], test_images[1][FEW], **CHEAP)
    assert again.subject.notes == [f"weights of {str(precision).removeprefix('torch.')}, evaluated in float32"]
    assert abs(again.accuracy("pgd20") - found.accuracy("pgd20")) < 0.1
    assert {weight.dtype for weight in net.parameters()} == {precision}


def test_arithmetic_in_half_precision_is_refused_for_what_it_is(trained, test_images):
    half = Wrapped(trained, lambda z: z.bfloat16()).eval()
    with pytest.raises(UserError, match="precision: logits are bfloat16; compute in float32"):
        evaluate(half, test_images[0][FEW], test_images[1][FEW], **CHEAP)


def test_images_that_the_network_cannot_take_are_named(trained, test_images):
    with pytest.raises(UserError, match=r"forward: RuntimeError: .*channels.* it may need other channels"):
        evaluate(trained, test_images[0][FEW].repeat(1, 3, 1, 1), test_images[1][FEW], **CHEAP)


def test_one_image_is_evaluated_with_a_grey_line(trained, test_images):
    one = evaluate(trained, test_images[0][:1], test_images[1][:1], classes=10, **CHEAP)
    assert [line.name for line in one.preflight if line.passed is None] == ["accuracy"]
    assert one.flags == []


def test_attacks_may_be_one_text(found, trained, test_images):
    again = evaluate(trained, test_images[0][FEW], test_images[1][FEW], **(CHEAP | {"attacks": "clean,fgsm,pgd20"}))
    assert again.result.outcomes == found.result.outcomes


def test_an_unknown_attack_is_told_with_its_neighbour(trained, test_images):
    with pytest.raises(UserError, match="no column 'pgd2', did you mean pgd20"):
        evaluate(trained, *test_images, attacks=["pgd2"])


def test_probabilities_are_refused_unless_forced(trained, test_images):
    net = nn.Sequential(trained, nn.Softmax(dim=1))
    with pytest.raises(UserError, match="return logits, before softmax"):
        evaluate(net, test_images[0][FEW], test_images[1][FEW], **CHEAP)
    forced = evaluate(net, test_images[0][FEW], test_images[1][FEW], force=True, **CHEAP)
    assert any("logits" in flag for flag in forced.flags)


@pytest.mark.reliability("flags")
@pytest.mark.parametrize(
    ("way", "said"),
    [
        (lambda z: z, "one number for two classes: return torch.cat([torch.zeros_like(z), z], 1)"),
        (lambda z: z.sigmoid(), "one number for two classes: take the sigmoid off, then return torch.cat("),
        (lambda z: z[:, 0], "with z = z[:, None]: one number for two classes: return torch.cat("),
        (lambda z: z[:, 0].sigmoid(), "with z = z[:, None]: one number for two classes: take the sigmoid off, then"),
    ],
    ids=["logit", "sigmoid", "logits without a column", "sigmoid without a column"],
)
def test_one_number_for_two_classes_is_refused_with_its_recipe(test_images, way, said):
    x, y = test_images[0][FEW], test_images[1][FEW] % 2
    torch.manual_seed(0)
    one = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).eval()
    with pytest.raises(UserError, match=re.escape(said)):
        evaluate(Wrapped(one, way).eval(), x, y, **CHEAP)
    both = Wrapped(one, lambda z: torch.cat([torch.zeros_like(z), z], 1)).eval()  # as the recipe says
    p = one(x.float() / 255).sigmoid()
    torch.testing.assert_close(both(x.float() / 255).softmax(1), torch.cat([1 - p, p], 1))
    assert evaluate(both, x, y, force=True, **CHEAP).images.classes == 2


class Leaving(nn.Module):
    """A network that calls sys.exit, at once or under attack."""

    def __init__(self, net, calls):
        super().__init__()
        self.net, self.calls = net, calls

    def forward(self, x):
        self.calls -= 1
        if self.calls < 0:
            raise SystemExit(0)
        return self.net(x)


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("calls", [0, 1, 5, 40])
def test_a_network_that_exits_is_refused(trained, test_images, calls):
    with pytest.raises(UserError, match=re.escape("Leaving: its code called sys.exit(0); take that call out")):
        evaluate(Leaving(trained, calls).eval(), test_images[0][FEW], test_images[1][FEW], **CHEAP)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_file_has_the_numbers_of_its_network(found, trained, weights, test_images, tmp_path):
    few = test_images[0][FEW], test_images[1][FEW]
    assert evaluate(weights, *few, classes=10, **CHEAP).result.outcomes == found.result.outcomes
    torch.jit.trace(trained, torch.rand(2, 1, 8, 8)).save(tmp_path / "script.pt")
    with pytest.raises(UserError, match="a TorchScript file is a program"):
        evaluate(tmp_path / "script.pt", *few, classes=10, **CHEAP)
    again = evaluate(str(tmp_path / "script.pt"), *few, classes=10, trust_code=True, **CHEAP)
    assert again.result.outcomes == found.result.outcomes


def test_of_a_file_of_several_networks_one_is_named(found, trained, weights, test_images, tmp_path):
    few = test_images[0][FEW], test_images[1][FEW]
    about, (state,) = checkpoint.load(weights)[0], checkpoint.load(weights)[1].values()
    states = {"best": state, "last": {key: t * 0 for key, t in state.items()}}
    checkpoint.save(tmp_path / "both.safetensors", states, about.model_copy(update={"kind": "trajectory"}))
    with pytest.raises(UserError, match=r"both.safetensors: holds 2 networks: best, last; name one by key="):
        evaluate(tmp_path / "both.safetensors", *few, classes=10, **CHEAP)
    with pytest.raises(UserError, match=r"--key bets: no such network, did you mean best\?"):
        evaluate(tmp_path / "both.safetensors", *few, classes=10, key="bets", **CHEAP)
    again = evaluate(tmp_path / "both.safetensors", *few, classes=10, key="best", **CHEAP)
    assert (again.result.outcomes, again.subject.name) == (found.result.outcomes, "both:best")


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(
    ("net", "how", "said"),
    [
        (nn.Identity(), {"key": "ema"}, "model and key are for a checkpoint file, but net is a network already"),
        ("absent.pt", {}, "absent.pt: not found"),
    ],
)
def test_what_is_no_network_and_no_file_is_refused(test_images, net, how, said):
    with pytest.raises(UserError, match=re.escape(said)):
        evaluate(net, test_images[0][FEW], test_images[1][FEW], **(CHEAP | how))


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resume, "FOLDER", tmp_path / "scratch")


def test_a_data_sets_name_brings_its_test_images(trained, pipeline, scratch):
    named = evaluate(trained, "digits", n=40, **CHEAP)
    path = pipeline / "data/digits.safetensors"
    again = evaluate(trained, path, n=40, **CHEAP)
    assert (named.images.name, named.images.classes, named.images.digest) == ("digits", 10, again.images.digest)
    assert (
        named.images.examples.index.tolist() == again.images.examples.index.tolist() == evenly_spaced(539, 40).tolist()
    )
    assert named.result.outcomes == again.result.outcomes
    assert repr(named).startswith("<Small on 40 images of digits, ")


def test_a_network_of_ours_is_not_shown_its_training_images(weights, pipeline, scratch):
    other = Path("other.safetensors")
    prepare("digits", Hyper(split_seed=1), other)
    with pytest.raises(UserError, match="not the file that these weights were trained with"):
        evaluate(weights, other, n=40, **CHEAP)
    assert evaluate(weights, "digits", n=40, **CHEAP).subject.about.dataset == "digits"


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        ("digts", None, "images digts: no such data set, did you mean digits?"),
        ("digits", [1, 2], "labels: the data set digits has its own; leave labels out"),
        (Path("none.safetensors"), None, "none.safetensors: not found"),
    ],
)
def test_a_name_of_no_data_set_is_refused(trained, scratch, images, labels, said):
    with pytest.raises(UserError, match=re.escape(said)):
        evaluate(trained, images, labels, **CHEAP)


def test_n_takes_evenly_spaced_images(found, trained, test_images):
    some = evaluate(trained, test_images[0][FEW], test_images[1][FEW], n=10, **CHEAP)
    assert some.images.examples.index.tolist() == list(range(0, 40, 4))
    assert some.result.outcomes["clean"] == found.result.outcomes["clean"][::4]


def test_the_step_size_is_that_of_the_attacks(trained, test_images):
    few = test_images[0][FEW], test_images[1][FEW]
    short = evaluate(trained, *few, **(CHEAP | {"attacks": ["pgd20"]}), step=1e-6)
    (sequence,) = short.plan.attack_sequences.values()
    assert (sequence.facts["step"], sequence.facts["eps"]) == (1e-6, 38 / 255)
    assert short.accuracy("pgd20") > evaluate(trained, *few, **(CHEAP | {"attacks": ["pgd20"]})).accuracy("pgd20")


def test_a_network_computes_on_the_device_and_is_put_back(trained, test_images, monkeypatch):
    moves, move = [], nn.Module.to

    def noted(self, *places, **how):
        moves.extend(str(place) for place in places if self is trained)
        return move(self, *places, **how)

    monkeypatch.setattr(nn.Module, "to", noted)
    evaluate(trained, test_images[0][:5], test_images[1][:5], device="cpu", **(CHEAP | {"attacks": "clean"}))
    assert moves == ["cpu", "cpu"]
    with pytest.raises(UserError, match="normalise inside the network"):
        evaluate(trained, test_images[0][:5].float() * 9, test_images[1][:5], device="cpu", **CHEAP)
    assert moves == ["cpu"] * 4  # one that is refused, too


@pytest.mark.reliability("wrong inputs")
def test_a_network_on_two_devices_is_not_moved(test_images):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Linear(10, 10, device="meta"))
    with pytest.raises(UserError, match="net is on cpu and meta; leave device out, or put it on one"):
        evaluate(net, test_images[0][FEW], test_images[1][FEW], device="cpu", **CHEAP)


def test_the_package_shows_what_it_has():
    assert {"evaluate", "training_step", "__version__"} <= set(dir(cure))
    assert not {"Any", "TYPE_CHECKING"} & set(dir(cure))
    assert cure.evaluate is evaluate


def test_the_package_says_what_it_lacks():
    with pytest.raises(AttributeError, match="has no attribute 'evalute'"):
        cure.evalute  # noqa: B018


class Noisy(nn.Module):
    """A network that draws at random at inference."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x) + 0.3 * torch.randn(len(x), 10)


def test_a_network_that_draws_at_random_needs_the_version_for_it(trained, test_images):
    few = test_images[0][:10], test_images[1][:10]
    with pytest.raises(UserError, match=r"determinism: .* needs aa_rand"):
        evaluate(Noisy(trained), *few, attacks=["clean"], eps="38/255", classes=10)
    found = evaluate(Noisy(trained), *few, attacks=["clean", "aa_rand"], eps="38/255", classes=10)
    assert found.result.columns["aa_rand"].label == "rand"
    assert any("determinism" in flag for flag in found.flags)


def test_nothing_that_runs_beside_a_column_for_random_networks_profits_from_one_lucky_draw():
    settings = plan(opened(published(), "cifar10", "resnet18"), ["pgd20", "aa_rand"], 10, {})
    assert {sequence.passes for sequence in (*settings.attack_sequences.values(), *settings.probes.values())} == {20}
    plain = plan(opened(published(), "cifar10", "resnet18"), ["pgd20", "aa"], 10, {})
    assert {sequence.passes for sequence in (*plain.attack_sequences.values(), *plain.probes.values())} == {1}


@pytest.mark.parametrize(
    ("classes", "channels", "label"),
    [(2, 1, "custom"), (3, 3, "custom"), (7, 1, "custom"), (10, 3, "standard"), (100, 1, "standard")],
)
def test_any_number_of_classes_and_channels(classes, channels, label):
    torch.manual_seed(classes)
    net = nn.Sequential(nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, classes)).eval()
    x = torch.rand(16, channels, 8, 8)
    y = net(x).argmax(1)
    found = evaluate(net, x, y, attacks=["clean", "pgd20", "aa"], eps="2/255", classes=classes, force=True)
    assert found.result.columns["aa"].label == label
    assert found.accuracy("clean") == 1
    assert found.accuracy("aa") <= found.accuracy("pgd20")
