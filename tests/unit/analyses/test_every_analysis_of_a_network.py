"""The analyses of the evaluated network, each against a plain computation of what it says."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from cure.analyses.cka import cka, gram, hsic
from tests.support.analysis_subject import ATTACK, measured, subject

LAYERS = ["stem.conv1", "stem.bn1", "layer1.conv1", "layer1.bn1", "layer2.conv1", "layer2.bn1", "linear"]


@torch.no_grad()
def outputs(net: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Of the layers of the small network, written out."""
    found, h = [], x
    for block in (net.stem, net.layer1, net.layer2):
        z = block.conv1(h)
        found += [z, block.bn1(z)]
        h = F.relu(found[-1])
    return [*found, net.linear(h.mean(dim=(2, 3)))]


def test_cka_compares_every_clean_with_every_adversarial_layer() -> None:
    given = subject("at")
    found = measured("cka", given, batch=12)
    assert found.axes == {"clean_layer": LAYERS, "adversarial_layer": LAYERS}
    clean, adv = (torch.stack([gram(h) for h in outputs(given.net, x)]) for x in (given.x, given.x_adv))
    expected = cka(hsic(clean, adv), hsic(clean, clean).diagonal(), hsic(adv, adv).diagonal())
    torch.testing.assert_close(found.arrays["cka"], expected, rtol=1e-4, atol=1e-4)


def test_cka_averages_over_whole_batches_before_it_divides() -> None:
    given = subject("at", images=14)
    parts = [
        [torch.stack([gram(h) for h in outputs(given.net, x[i : i + 6])]) for x in (given.x, given.x_adv)]
        for i in (0, 6)
    ]
    cross = sum(hsic(a, b) for a, b in parts)
    own = [sum(hsic(part[side], part[side]).diagonal() for part in parts) for side in (0, 1)]
    torch.testing.assert_close(measured("cka", given, batch=6).arrays["cka"], cka(cross, *own), rtol=1e-4, atol=1e-4)


def test_cka_of_an_attack_without_a_radius_is_one_on_the_diagonal() -> None:
    given = subject("at", attack=ATTACK.model_copy(update={"eps": 0.0, "start": "zero"}))
    table = measured("cka", given, batch=6).arrays["cka"]
    torch.testing.assert_close(table.diagonal(), torch.ones(len(LAYERS), dtype=torch.float64))


def test_conflict_is_the_cosine_of_each_layers_whole_gradient() -> None:
    given = subject("at", batch=12)
    found = measured("conflict", given)
    assert found.axes == {"layer": LAYERS}
    for place, layer in enumerate(LAYERS):
        weights = list(given.net.get_submodule(layer).parameters())
        g, h = (
            torch.cat([v.flatten() for v in torch.autograd.grad(F.cross_entropy(given.net(x), given.y), weights)])
            for x in (given.x, given.x_adv)
        )
        assert float(found.arrays["cosine"][place]) == pytest.approx(float(F.cosine_similarity(g, h, dim=0)), abs=1e-5)
        assert float(found.arrays["opposed"][place]) == pytest.approx(float((g * h < 0).float().mean()))
    assert found.arrays["dims"].tolist() == [4, 1, 4, 1, 4, 1, 2]


def test_invariance_is_split_by_the_side_that_is_pulled() -> None:
    given = subject("at", batch=12)
    found = measured("invariance", given)
    assert found.axes == {"layer": LAYERS[1:-1:2], "pulled": ["adversarial", "clean", "both"]}
    below = [list(given.net.get_submodule(name).parameters()) for name in LAYERS]

    def z(x: torch.Tensor, layer: int) -> torch.Tensor:
        h = x
        for block in (given.net.stem, given.net.layer1, given.net.layer2)[: layer + 1]:
            h = F.relu(block.bn1(block.conv1(h)))
        return h.mean(dim=(2, 3))

    for layer in range(3):
        weights = [weight for module in below[: 2 * layer + 2] for weight in module]

        def flat(value: torch.Tensor, weights: list[torch.Tensor] = weights) -> torch.Tensor:
            return torch.cat([part.flatten() for part in torch.autograd.grad(value, weights, retain_graph=True)])

        g = flat(sum(F.cross_entropy(given.net(x), given.y) for x in (given.x, given.x_adv)))
        clean, adv = (z(x, layer) for x in (given.x, given.x_adv))
        for column, (a, b) in enumerate([(adv, clean.detach()), (adv.detach(), clean), (adv, clean)]):
            h = flat((1 - (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))).mean())
            cosine, opposed = (found.arrays[name][layer, column] for name in ("cosine", "opposed"))
            assert float(cosine) == pytest.approx(float(g @ h / (g.norm() * h.norm())), abs=1e-4)
            assert float(opposed) == pytest.approx(float((g * h < 0).float().mean()), abs=2 / len(g))


def test_without_an_attack_nothing_conflicts_and_nothing_is_apart() -> None:
    given = subject("at", attack=ATTACK.model_copy(update={"eps": 0.0, "start": "zero"}))
    conflict, distance = measured("conflict", given).arrays, measured("distance", given).arrays
    torch.testing.assert_close(conflict["cosine"], torch.ones(len(LAYERS)))
    assert conflict["opposed"].sum() == 0
    assert distance["distance"].abs().max() < 1e-6
    assert distance["relative"].max() == 0


def test_distance_is_between_pooled_activations_of_the_batch_norms() -> None:
    given = subject("at")
    found = measured("distance", given)
    assert found.axes == {"layer": LAYERS[1:-1:2]}
    clean, adv = (outputs(given.net, x)[1:-1:2] for x in (given.x, given.x_adv))
    for place, (a, b) in enumerate(zip(clean, adv, strict=True)):
        z, z_adv = (F.relu(h).mean(dim=(2, 3)) for h in (a, b))
        cosine = sum(1 - float(u @ v) / float(u.norm() * v.norm()) for u, v in zip(z, z_adv, strict=True)) / len(z)
        way = sum(float((v - u).norm() / u.norm()) for u, v in zip(z, z_adv, strict=True)) / len(z)
        assert float(found.arrays["distance"][place]) == pytest.approx(cosine, abs=1e-5)
        assert float(found.arrays["relative"][place]) == pytest.approx(way, rel=1e-4)


def test_pictures_show_the_change_of_a_prediction_and_its_size() -> None:
    predicted = subject("at").net(subject("at").x).argmax(dim=1)
    given = subject("at", y=torch.cat([predicted[:6], (predicted[6:] + 1) % 10]))
    found = measured("pictures", given, images=4, steps=30, step=1.0, gamma=0.05).arrays
    change = (found["adversarial"] - found["image"]).flatten(1).abs().amax(dim=1)
    assert torch.equal(found["distance"], change)
    assert (found["distance"] == 0).tolist() == [False, False, True, True]
    assert torch.equal(found["predicted"] == found["label"], found["distance"] > 0)
    assert (found["fooled"] != found["label"]).all()
    step = 1e-3 * torch.zeros_like(found["image"]).index_put((torch.tensor(0),) * 4, torch.tensor(1.0))
    with torch.no_grad():
        rise = F.cross_entropy(given.net(found["image"] + step), found["label"], reduction="none") - F.cross_entropy(
            given.net(found["image"]), found["label"], reduction="none"
        )
    assert float(rise[0]) / 1e-3 == pytest.approx(float(found["gradient"][0, 0, 0, 0]), abs=1e-2)


def test_a_network_that_never_changes_its_mind_has_no_smallest_perturbation() -> None:
    given = subject("at")
    with torch.no_grad():
        given.net.linear.weight.zero_()
    constant = dataclasses.replace(given, y=given.net(given.x).argmax(dim=1))
    found = measured("pictures", constant, images=4, steps=3, step=1.0, gamma=0.05).arrays
    assert found["distance"].isnan().all()
    assert torch.equal(found["adversarial"], found["image"])


def test_rows_are_shown_the_same_images() -> None:
    settings = {"images": 4, "steps": 2, "step": 1.0, "gamma": 0.05}
    one, other = (measured("pictures", subject(name), **settings).arrays for name in ("at", "cure"))
    assert torch.equal(one["image"], other["image"])


def test_reliability_counts_every_image_once_and_its_error_is_by_hand() -> None:
    from cure.analyses.calibration import reliability

    p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.45, 0.55], [1.0, 0.0]])
    images, accuracy, confidence = reliability(p, torch.tensor([0, 1, 1, 0]), 5)
    assert images.tolist() == [0, 0, 0.25, 0, 0.75]
    assert accuracy.tolist() == pytest.approx([0, 0, 1, 0, 2 / 3])
    assert confidence.tolist() == pytest.approx([0, 0, 0.55, 0, 0.9])


def test_calibration_looks_at_clean_and_adversarial_images() -> None:
    given = subject("at")
    found = measured("calibration", given, bins=15)
    assert found.axes == {"view": ["clean", "adversarial"], "bin": list(range(1, 16))}
    assert found.arrays["images"].sum(dim=1).tolist() == pytest.approx([1, 1])
    for row, x in enumerate((given.x, given.x_adv)):
        right = float((given.net(x).argmax(dim=1) == given.y).float().mean())
        assert float((found.arrays["images"] * found.arrays["accuracy"])[row].sum()) == pytest.approx(right)


def test_the_landscape_begins_at_the_images_and_passes_the_adversarial_ones() -> None:
    given = subject("at")
    found = measured("landscape", given, images=12, points=5, reach=2.0)
    assert found.axes["adversarial"] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert found.axes["random"] == [-2.0, -1.0, 0.0, 1.0, 2.0]
    clean, adv = (F.cross_entropy(given.net(x), given.y).item() for x in (given.x, given.x_adv))
    assert float(found.arrays["loss"][0, 2]) == pytest.approx(clean, rel=1e-5)
    assert float(found.arrays["loss"][2, 2]) == pytest.approx(adv, rel=1e-4)
    wrong = float((given.net(given.x).argmax(dim=1) != given.y).float().mean())
    assert float(found.arrays["wrong"][0, 2]) == pytest.approx(wrong)


def test_an_analysis_does_not_depend_on_those_before_it() -> None:
    fresh, used = subject("at"), subject("at")
    measured("landscape", used, images=6, points=3, reach=1.0)
    measured("conflict", used)
    assert torch.equal(measured("cka", used, batch=6).arrays["cka"], measured("cka", fresh, batch=6).arrays["cka"])
