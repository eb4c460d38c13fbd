import copy

import pytest
import torch
import torchvision
from torch import Tensor, nn

from cure import catalogue
from cure.core.network import Network, Normalisation, Normalise

NAMES = catalogue.names("models")
every_model = pytest.mark.parametrize("name", NAMES)
GREY = Normalisation(mean=[0.4], std=[0.25])
COLOUR = Normalisation(mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3])


def build(name: str, channels: int = 3, classes: int = 10, normalise: Normalisation | None = None) -> Network:
    entry = catalogue.entry("models", name)
    own = {"width": 8} if name.startswith("small") else {}
    return entry.MODEL(entry.Hyper(normalise=normalise, **own), channels, classes)


def outline(name: str, channels: int = 3, classes: int = 10, normalise: Normalisation | None = None) -> Network:
    """The network without memory or numbers: shapes and names only."""
    with torch.device("meta"):
        return build(name, channels, classes, normalise)


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    """One network each, in eval mode with running statistics that are not the initial ones."""
    torch.manual_seed(0)
    found = {name: build(name) for name in NAMES}
    for net in found.values():
        with torch.no_grad():
            net(torch.rand(4, 3, 8, 8))
        net.eval()
    return found


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18", 11_173_962),
        ("resnet34", 21_282_122),
        ("resnet50", 23_520_842),
        ("resnet101", 42_512_970),
        ("preact_resnet18", 11_172_170),
        ("wrn_34_10", 46_160_474),
    ],
)
def test_the_number_of_parameters_is_the_published_one(name: str, count: int) -> None:
    assert sum(weight.numel() for weight in outline(name).parameters()) == count


@pytest.mark.parametrize(("channels", "classes"), [(1, 10), (3, 2)])
def test_the_small_networks_parameters_are_those_of_its_parts(channels: int, classes: int) -> None:
    convolutions = 9 * (channels * 8 + 8 * 16 + 16 * 16)
    norms = 2 * (8 + 16 + 16)
    found = sum(weight.numel() for weight in outline("small", channels, classes).parameters())
    assert found == convolutions + norms + 17 * classes


def test_the_small_resnet_is_resnet18_with_one_block_per_stage() -> None:
    assert sum(weight.numel() for weight in outline("small_resnet").parameters()) == 78_002  # as its docstring says
    deep, flat = (dict(outline(name).named_parameters()) for name in ("resnet18", "small_resnet"))
    assert set(flat) == {key for key in deep if ".1.bn" not in key and ".1.conv" not in key}


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("resnet18", ["conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer1.1.bn2.bias"]),
        ("resnet18", ["layer2.0.shortcut.0.weight", "layer2.0.shortcut.1.running_var", "linear.weight", "linear.bias"]),
        ("resnet34", ["layer2.3.conv2.weight", "layer3.5.conv2.weight", "layer4.2.bn2.bias", "linear.weight"]),
        ("resnet101", ["layer1.0.shortcut.0.weight", "layer3.22.conv3.weight", "layer4.2.bn3.bias", "linear.weight"]),
        ("resnet50", ["layer1.0.shortcut.0.weight", "layer3.5.conv3.weight", "layer4.2.bn3.bias", "linear.weight"]),
        ("preact_resnet18", ["conv1.weight", "layer1.0.bn1.weight", "layer4.0.shortcut.0.weight", "bn.weight"]),
        ("wrn_34_10", ["conv1.weight", "block1.layer.0.convShortcut.weight", "block3.layer.4.conv2.weight"]),
        ("wrn_34_10", ["block2.layer.0.bn1.running_mean", "bn1.weight", "fc.weight", "fc.bias"]),
    ],
)
def test_parameters_bear_the_names_of_the_released_checkpoints(name: str, keys: list[str]) -> None:
    assert set(keys) <= set(outline(name).state_dict())


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("resnet18", "layer1.0.shortcut.0.weight"),
        ("resnet34", "layer1.0.shortcut.0.weight"),
        ("resnet50", "layer1.1.shortcut.0.weight"),
        ("preact_resnet18", "layer2.0.shortcut.1.weight"),
        ("wrn_34_10", "block1.layer.1.convShortcut.weight"),
        ("wrn_34_10", "sub_block1.layer.0.conv1.weight"),
    ],
)
def test_there_are_no_other_shortcuts_and_no_unused_block(name: str, absent: str) -> None:
    assert absent not in outline(name).state_dict()


@every_model
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 32, 64])
def test_grey_and_colour_images_of_any_size_become_logits(name: str, channels: int, size: int) -> None:
    net = outline(name, channels, 7)
    assert net(torch.empty(5, channels, size, size, device="meta")).shape == (5, 7)


@every_model
def test_features_are_what_the_submodules_put_out(name: str, networks: dict[str, Network]) -> None:
    net, x = networks[name], torch.rand(2, 3, 8, 8)
    seen: dict[str, Tensor] = {}
    parts = {key: module for key, module in net.named_children() if key in net.block_names()}
    hooks = [m.register_forward_hook(lambda _, args, out, key=key: seen.update({key: out})) for key, m in parts.items()]
    (classifier,) = (module for module in net.modules() if isinstance(module, nn.Linear))
    hooks.append(classifier.register_forward_pre_hook(lambda _, args: seen.update(pooled=args[0])))
    with torch.no_grad():
        logits = net(x)
        found = net.features(x, net.block_names())
    for hook in hooks:
        hook.remove()
    assert list(found) == net.block_names()
    assert len(seen) >= len(found) - 2  # a stem need not be a module of its own
    assert torch.equal(found["logits"], logits)
    assert all(torch.equal(found[key], out) for key, out in seen.items())


@every_model
def test_features_gives_only_what_was_asked_for(name: str, networks: dict[str, Network]) -> None:
    net = networks[name]
    with torch.no_grad():
        assert list(net.features(torch.rand(1, 3, 8, 8), ["pooled"])) == ["pooled"]
        assert net.features(torch.rand(1, 3, 8, 8), []) == {}


@every_model
def test_blocks_start_with_the_stem_and_end_with_pooled_and_logits(name: str) -> None:
    names = outline(name).block_names()
    assert [names[0], *names[-2:]] == ["stem", "pooled", "logits"]
    assert len(set(names)) == len(names)


@every_model
def test_members_are_the_children_that_each_part_runs(name: str, networks: dict[str, Network]) -> None:
    net, x, found, running = networks[name], torch.rand(1, 3, 8, 8), dict[str, set[str]](), ""
    hooks = [
        child.register_forward_pre_hook(lambda _, args, key=key: found[running].add(key))
        for key, child in net.named_children()
        if key != "normalise"
    ]
    with torch.no_grad():
        for running, part in net.parts():
            found[running] = set()
            x = part(x)
    for hook in hooks:
        hook.remove()
    keys = {id(child): key for key, child in net.named_children() if key != "normalise"}
    held = {
        part: {keys[id(child)] for child in children if id(child) in keys} for part, children in net.members().items()
    }
    assert held == found
    assert net.updatable() == [part for part, children in held.items() if children]


def attributes(net: nn.Module) -> list[tuple[str, list[str]]]:
    return [(path, sorted(vars(module))) for path, module in net.named_modules()]


@pytest.mark.parametrize("name", ["small", "resnet18"])
def test_nothing_is_left_behind_on_the_module(name: str, networks: dict[str, Network]) -> None:
    net = copy.deepcopy(networks[name])
    before, keys = attributes(net), list(net.state_dict())
    net.features(torch.rand(2, 3, 8, 8), net.block_names())
    net(torch.rand(2, 3, 8, 8)).sum().backward()
    assert attributes(net) == before
    assert list(net.state_dict()) == keys
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    copy.deepcopy(net)  # impossible while a module holds a tensor of a graph


@every_model
def test_a_model_is_built_with_its_normalisation(name: str) -> None:
    assert isinstance(outline(name, normalise=COLOUR).normalise, Normalise)
    assert isinstance(outline(name).normalise, nn.Identity)


@every_model
def test_normalisation_is_the_first_layer(name: str, networks: dict[str, Network]) -> None:
    plain = networks[name]
    net = copy.copy(plain)  # the same modules behind another first layer
    net._modules = dict(plain._modules) | {"normalise": Normalise(COLOUR)}
    x = torch.rand(2, 3, 8, 8)
    mean, std = torch.tensor([0.4, 0.5, 0.6])[:, None, None], torch.tensor([0.2, 0.25, 0.3])[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(net(x), plain((x - mean) / std))
        both = net.features(x, ["stem"])["stem"], plain.features((x - mean) / std, ["stem"])["stem"]
    torch.testing.assert_close(*both)


@every_model
@pytest.mark.parametrize(("channels", "normalise"), [(1, GREY), (3, COLOUR)])
def test_normalisation_is_no_part_of_the_state(name: str, channels: int, normalise: Normalisation) -> None:
    assert list(outline(name, channels, 10, normalise).state_dict()) == list(outline(name, channels).state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_normalisation_keeps_the_precision_of_the_images(dtype: torch.dtype) -> None:
    net = build("small", normalise=COLOUR)
    x = torch.rand(2, 3, 4, 4).to(dtype)
    found = net.normalise(x)
    assert found.dtype == dtype
    constants = [torch.tensor(values, dtype=dtype)[:, None, None] for values in (COLOUR.mean, COLOUR.std)]
    assert torch.equal(found, (x - constants[0]) / constants[1])


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_a_resnet_is_torchvisions_with_a_small_stem(name: str, networks: dict[str, Network]) -> None:
    ours = networks[name]
    theirs = getattr(torchvision.models, name)(num_classes=10)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    renamed = {
        key.replace("shortcut", "downsample").replace("linear", "fc"): value for key, value in ours.state_dict().items()
    }
    theirs.load_state_dict(renamed)
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs.eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["preact_resnet18", "wrn_34_10"])
def test_a_widening_pre_activation_block_shortcuts_its_activated_input(name: str, networks: dict[str, Network]) -> None:
    net = networks[name]
    block = net.layer2[0] if name == "preact_resnet18" else net.block2.layer[0]
    shortcut = block.shortcut[0] if name == "preact_resnet18" else block.convShortcut
    x = torch.randn(2, block.conv1.in_channels, 4, 4)
    with torch.no_grad():
        h = block.bn1(x).relu()
        wanted = block.conv2(block.bn2(block.conv1(h)).relu()) + shortcut(h)
        torch.testing.assert_close(block(x), wanted)
        assert wanted.shape[2:] == (2, 2)


@pytest.mark.parametrize("name", ["preact_resnet18", "wrn_34_10"])
def test_a_plain_pre_activation_block_adds_its_input_untouched(name: str, networks: dict[str, Network]) -> None:
    net = networks[name]
    block = net.layer2[1] if name == "preact_resnet18" else net.block2.layer[1]
    x = torch.randn(2, block.conv1.in_channels, 4, 4)
    with torch.no_grad():
        wanted = block.conv2(block.bn2(block.conv1(block.bn1(x).relu())).relu()) + x
        torch.testing.assert_close(block(x), wanted)


def test_wide_resnet_starts_from_he_initialisation_by_fan_out(networks: dict[str, Network]) -> None:
    net = networks["wrn_34_10"]
    for weight in (net.conv1.weight, net.block1.layer[0].conv1.weight, net.block3.layer[4].conv2.weight):
        assert float(weight.detach().std()) == pytest.approx((2 / (9 * weight.shape[0])) ** 0.5, rel=0.1)
    assert not net.fc.bias.any()


@every_model
def test_images_do_not_influence_each_other_in_eval_mode(name: str, networks: dict[str, Network]) -> None:
    x = torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(networks[name](x)[1:], networks[name](x[1:]), rtol=1e-4, atol=1e-5)


def test_a_network_without_parts_says_so() -> None:
    with pytest.raises(TypeError, match="Network"):
        Network()(torch.rand(1, 1, 2, 2))
