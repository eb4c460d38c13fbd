import colorsys

import numpy as np
import pytest
import torch
from torch import Tensor

from cure import catalogue
from cure.core.corruption import Corruption
from cure.core.noise import PerImage

NAMES = catalogue.names("corruptions")
SEVERITIES = (1, 2, 3, 4, 5)
LADDER = (1.0, 2.0, 3.0, 4.0, 5.0)


def load(name: str) -> Corruption:
    found: Corruption = catalogue.entry("corruptions", name).CORRUPTION
    return found


@pytest.fixture(params=NAMES)
def corruption(request: pytest.FixtureRequest) -> Corruption:
    return load(request.param)


def images(channels: int = 3, n: int = 5, seed: int = 0) -> Tensor:
    """8-bit images with structure: a gradient, noise, and a black and a white corner."""
    draws = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(40, 200, 12)[None, None, :, None] + torch.linspace(0, 30, 12)
    x = (ramp + 20 * torch.randn(n, channels, 12, 12, generator=draws)).clamp(0, 255).round()
    x[:, :, :3, :3], x[:, :, -3:, -3:] = 0, 255
    return x / 255


def noise(rows: Tensor | None = None, seed: int = 0) -> PerImage:
    return PerImage(seed, torch.arange(5) if rows is None else rows)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_results_are_eight_bit_images(corruption: Corruption, channels: int, severity: int) -> None:
    x = images(channels)
    found = corruption(x, severity, noise())
    levels = found * 255
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    assert found.isfinite().all()
    assert 0 <= found.min() <= found.max() <= 1
    assert (levels - levels.round()).abs().max() < 1e-4
    assert levels.round().unique().numel() > 2


def test_values_between_two_levels_are_truncated() -> None:
    half = Corruption("noise", LADDER, lambda x, c, noise: (x * 255 + 0.9) / 255)
    x = torch.arange(255.0).view(1, 1, 15, 17) / 255
    assert torch.equal((half(x, 1, noise()) * 255).round(), torch.arange(255.0).view(1, 1, 15, 17))


def test_eight_bit_values_that_stay_are_kept() -> None:
    same = Corruption("noise", LADDER, lambda x, c, noise: x)
    x = torch.arange(256.0).view(1, 1, 16, 16) / 255
    assert torch.equal(same(x, 1, noise()), x)


@pytest.mark.parametrize(("severity", "constant"), list(zip(SEVERITIES, LADDER, strict=True)))
def test_severity_counts_from_one(severity: int, constant: float) -> None:
    seen: list[float] = []
    probe = Corruption("noise", LADDER, lambda x, c, noise: (seen.append(c), x)[1])
    probe(images(), severity, noise())
    assert seen == [constant]


@pytest.mark.parametrize("channels", [1, 3])
def test_severity_five_is_further_away_than_one(corruption: Corruption, channels: int) -> None:
    x = images(channels)
    away = [float((corruption(x, severity, noise()) - x).abs().mean()) for severity in SEVERITIES]
    assert 0 < away[0] < away[-1]
    assert away == sorted(away)


@pytest.mark.parametrize("severity", [1, 5])
def test_an_image_is_corrupted_alike_in_any_batch_and_order(corruption: Corruption, severity: int) -> None:
    x, rows = images(), torch.tensor([4, 0, 2])
    whole = corruption(x, severity, noise())
    assert torch.equal(corruption(x[rows], severity, noise(rows)), whole[rows])
    assert torch.equal(corruption(x, severity, noise()), whole)


def test_the_images_themselves_stay(corruption: Corruption) -> None:
    x = images()
    corruption(x, 5, noise())
    assert torch.equal(x, images())


def test_strength_grows_along_the_constants(corruption: Corruption) -> None:
    steps = np.diff(corruption.severities)
    assert (steps > 0).all() or (steps < 0).all()


@pytest.mark.parametrize(
    ("name", "category", "severities"),
    [
        ("gaussian_noise", "noise", (0.04, 0.06, 0.08, 0.09, 0.10)),
        ("gaussian_blur", "blur", (0.4, 0.6, 0.7, 0.8, 1.0)),
        ("contrast", "digital", (0.75, 0.5, 0.4, 0.3, 0.15)),
        ("brightness", "weather", (0.05, 0.1, 0.15, 0.2, 0.3)),
    ],
)
def test_constants_are_those_of_cifar_10_c(name: str, category: str, severities: tuple[float, ...]) -> None:
    assert (load(name).category, load(name).severities) == (category, severities)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_draws_each_channel_towards_its_mean(channels: int, severity: int) -> None:
    x, contrast = images(channels).double(), load("contrast")
    kept = contrast.severities[severity - 1]
    wanted = np.empty(x.shape)
    for i, image in enumerate(x.numpy()):
        for c, channel in enumerate(image):
            wanted[i, c] = channel.mean() + kept * (channel - channel.mean())
    np.testing.assert_allclose(contrast.apply(x, kept, noise()).numpy(), wanted, atol=1e-12)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_adds_to_the_value_of_hue_saturation_value(severity: int) -> None:
    x, brightness = images().double(), load("brightness")
    shift = brightness.severities[severity - 1]
    wanted = np.empty(x.shape)
    for i, image in enumerate(x.numpy()):
        for row, column in np.ndindex(12, 12):
            hue, saturation, value = colorsys.rgb_to_hsv(*image[:, row, column])
            wanted[i, :, row, column] = colorsys.hsv_to_rgb(hue, saturation, min(1.0, value + shift))
    np.testing.assert_allclose(brightness.apply(x, shift, noise()).numpy(), wanted, atol=1e-12)


def test_brightness_turns_black_into_grey() -> None:
    found = load("brightness").apply(torch.zeros(1, 3, 2, 2), 0.3, noise())
    assert found.tolist() == torch.full((1, 3, 2, 2), 0.3).tolist()


def test_brightness_of_grey_images_adds_to_the_pixel() -> None:
    x = images(1).double()
    torch.testing.assert_close(load("brightness").apply(x, 0.2, noise()), (x + 0.2).clamp(max=1))


def test_gaussian_noise_adds_its_draw() -> None:
    x = images()
    assert torch.equal(load("gaussian_noise").apply(x, 0.08, noise()), x + noise().normal(x, 0.08))


def test_gaussian_noise_depends_on_seed_and_image() -> None:
    x, corruption = torch.full((5, 3, 12, 12), 0.5), load("gaussian_noise")
    found = [corruption(x, 3, noise(seed=seed)) for seed in (0, 1)]
    assert len({tuple(image.flatten().tolist()) for batch in found for image in batch}) == 10


@pytest.mark.parametrize("sigma", [0.4, 1.0])
def test_gaussian_blur_of_a_point_is_the_gaussian(sigma: float) -> None:
    x = torch.zeros(1, 3, 13, 13, dtype=torch.float64)
    x[0, 1, 6, 6] = 1.0
    radius = int(4 * sigma + 0.5)
    line = np.array([np.exp(-0.5 * (k / sigma) ** 2) if abs(k) <= radius else 0.0 for k in range(-6, 7)])
    line /= line.sum()
    found = load("gaussian_blur").apply(x, sigma, noise())
    np.testing.assert_allclose(found[0, 1].numpy(), np.outer(line, line), atol=1e-12)
    assert not found[0, [0, 2]].any()


def test_gaussian_blur_repeats_the_border_and_keeps_flat_images() -> None:
    x = torch.full((1, 3, 6, 6), 0.5, dtype=torch.float64)
    torch.testing.assert_close(load("gaussian_blur").apply(x, 1.0, noise()), x)
