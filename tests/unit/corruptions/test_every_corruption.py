import pytest
import torch

from cure.core.corruption import BENCHMARK, CATEGORIES, EXTRAS, Corruption
from cure.errors import UserError
from tests.support.pictures import NAMES, SEVERITIES, SHAPES, able, corrupt, images, load, noise

LADDER = (1.0, 2.0, 3.0, 4.0, 5.0)
NOT_A_LADDER = {"saturate", "elastic_transform", "glass_blur", "frost", "spatter", "snow", "pixelate"}
"""Less and more colour; less affine, more local; two walks with less blur; a darker sum; mud in place of water; fewer
flakes at 3 than at 2; and a grid of pixels that may fall in with an image's own."""

every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["colour 32", "grey 28", "grey 8"])


@pytest.fixture(params=NAMES)
def corruption(request: pytest.FixtureRequest) -> Corruption:
    return able(request.param)


@pytest.fixture(params=[name for name in NAMES if name not in NOT_A_LADDER])
def ladder(request: pytest.FixtureRequest) -> Corruption:
    return able(request.param)


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("sides", [(1, 1), (2, 2), (1, 8), (8, 2)])
def test_images_without_neighbours_are_refused(sides: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=f"images of {sides[0]}x{sides[1]} pixels have no room for a blur"):
        load("zoom_blur")(torch.rand(2, 1, *sides), 1, noise(torch.arange(2)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sides", [(3, 3), (3, 8)])
def test_the_smallest_images_are_corrupted(corruption: Corruption, sides: tuple[int, int], channels: int) -> None:
    for severity in SEVERITIES:
        made = corrupt(corruption, torch.rand(2, channels, *sides), severity)
        assert made.shape == (2, channels, *sides)
        assert bool(made.isfinite().all())


def test_the_names_are_those_of_the_files_of_cifar_10_c() -> None:
    assert {name: load(name).category for name in NAMES} == BENCHMARK | EXTRAS
    assert (len(BENCHMARK), len(EXTRAS), set(BENCHMARK.values())) == (15, 4, set(CATEGORIES))


@pytest.mark.parametrize(
    ("name", "severities"),
    [
        ("gaussian_noise", (0.04, 0.06, 0.08, 0.09, 0.10)),
        ("shot_noise", (500, 250, 100, 75, 50)),
        ("impulse_noise", (0.01, 0.02, 0.03, 0.05, 0.07)),
        ("defocus_blur", ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
        ("glass_blur", ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))),
        ("motion_blur", ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
        ("zoom_blur", (1.06, 1.11, 1.16, 1.21, 1.26)),
        ("frost", ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))),
        ("fog", ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
        ("brightness", (0.05, 0.1, 0.15, 0.2, 0.3)),
        ("contrast", (0.75, 0.5, 0.4, 0.3, 0.15)),
        (
            "elastic_transform",
            ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        ),
        ("pixelate", (0.95, 0.9, 0.85, 0.75, 0.65)),
        ("jpeg_compression", (80, 65, 58, 50, 40)),
        ("speckle_noise", (0.06, 0.1, 0.12, 0.16, 0.2)),
        ("gaussian_blur", (0.4, 0.6, 0.7, 0.8, 1.0)),
        ("saturate", ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))),
        (
            "snow",
            (
                (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
                (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
                (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
                (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
            ),
        ),
        (
            "spatter",
            (
                (0.62, 0.1, 0.7, 0.7, 0.5, False),
                (0.65, 0.1, 0.8, 0.7, 0.5, False),
                (0.65, 0.3, 1, 0.69, 0.5, False),
                (0.65, 0.1, 0.7, 0.69, 0.6, True),
                (0.65, 0.1, 0.5, 0.68, 0.6, True),
            ),
        ),
    ],
)
def test_constants_are_those_of_cifar_10_c(name: str, severities: tuple[object, ...]) -> None:
    assert load(name).severities == severities


@every_shape
@pytest.mark.parametrize("severity", SEVERITIES)
def test_results_are_eight_bit_images(corruption: Corruption, shape: tuple[int, int, int], severity: int) -> None:
    x = images(shape)
    found = corrupt(corruption, x, severity)
    levels = found * 255
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    assert found.isfinite().all()
    assert 0 <= found.min() <= found.max() <= 1
    assert (levels - levels.round()).abs().max() < 1e-4
    assert levels.round().unique().numel() > 2


@every_shape
@pytest.mark.parametrize("severity", [1, 5])
def test_an_image_is_corrupted_alike_in_any_batch_and_order(
    corruption: Corruption, shape: tuple[int, int, int], severity: int
) -> None:
    x, rows = images(shape), torch.tensor([4, 0, 2])
    whole = corrupt(corruption, x, severity, noise())
    assert torch.equal(corrupt(corruption, x[rows], severity, noise(rows)), whole[rows])
    assert torch.equal(corrupt(corruption, x, severity, noise()), whole)


def test_the_images_themselves_stay(corruption: Corruption) -> None:
    x = images()
    corrupt(corruption, x, 5)
    assert torch.equal(x, images())


def test_no_global_generator_is_touched(corruption: Corruption) -> None:
    state = torch.get_rng_state()
    corrupt(corruption, images(), 3)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("fill", [0.0, 1.0], ids=["black", "white"])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_flat_images_stay_in_range(corruption: Corruption, fill: float, severity: int) -> None:
    found = corrupt(corruption, torch.full((2, 3, 16, 16), fill), severity)
    assert found.isfinite().all()
    assert 0 <= found.min() <= found.max() <= 1


@every_shape
def test_strength_rises_with_severity(ladder: Corruption, shape: tuple[int, int, int]) -> None:
    # equal steps exist: on 8 pixels two shares of pixelate keep the same number, and a zoom of 1.06 rounds to 8
    x = images(shape, n=40)
    away = [float((corrupt(ladder, x, severity) - x).abs().mean()) for severity in SEVERITIES]
    assert away == sorted(away)
    assert 0 <= away[0] < away[-1]


@pytest.mark.parametrize("name", [name for name in NAMES if load(name).category == "noise"])
def test_noise_depends_on_seed_and_image(name: str) -> None:
    x = torch.full((5, 3, 12, 12), 0.5)
    found = [load(name)(x, 3, noise(seed=seed)) for seed in (0, 1)]
    assert len({tuple(image.flatten().tolist()) for batch in found for image in batch}) == 10


def test_values_between_two_levels_are_truncated() -> None:
    half = Corruption("noise", LADDER, lambda x, c, noise: (x * 255 + 0.9) / 255)
    x = torch.arange(255.0).view(1, 1, 15, 17) / 255
    assert torch.equal((half(x, 1, noise()) * 255).round(), torch.arange(255.0).view(1, 1, 15, 17))


def test_whole_levels_survive_rounding_errors() -> None:
    same = Corruption("noise", LADDER, lambda x, c, noise: x - 1e-6)
    x = torch.arange(256.0).view(1, 1, 16, 16) / 255
    assert torch.equal(same(x, 1, noise()), x)


@pytest.mark.parametrize(("severity", "constant"), list(zip(SEVERITIES, LADDER, strict=True)))
def test_severity_counts_from_one(severity: int, constant: float) -> None:
    seen: list[float] = []
    probe = Corruption("noise", LADDER, lambda x, c, noise: (seen.append(c), x)[1])
    probe(images(), severity, noise())
    assert seen == [constant]
