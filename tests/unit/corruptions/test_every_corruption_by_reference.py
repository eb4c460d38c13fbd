"""Each corruption against its definition, written out image by image and pixel by pixel."""

import colorsys
import math
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from cure.core.corruption import WHOLE
from cure.corruptions import defocus_blur, elastic_transform, fog, frost, spatter
from cure.data.image_filters import motion, zoomed
from tests.support.pictures import SEVERITIES, able, corrupt, images, levels, load, noise

every_severity = pytest.mark.parametrize("severity", SEVERITIES)
every_side = pytest.mark.parametrize("side", [8, 28, 32])


def applied(name, x, severity):
    """Before clipping and truncation."""
    return load(name).apply(x, load(name).severities[severity - 1], noise())


def blurred(image, sigma):
    """(h, w, c) by a Gaussian cut off at four sigmas, the border repeated."""
    return ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest", truncate=4.0)


def planes(x):
    """(n, h, w, c) of (n, c, h, w)."""
    return x.permute(0, 2, 3, 1).numpy()


@every_severity
@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_draws_each_channel_towards_its_mean(channels, severity):
    x = images((channels, 12, 12)).double()
    kept = load("contrast").severities[severity - 1]
    wanted = [[c.mean() + kept * (c - c.mean()) for c in image] for image in x.numpy()]
    np.testing.assert_allclose(applied("contrast", x, severity).numpy(), wanted, atol=1e-12)


def in_hsv(x, change):
    wanted = np.empty(x.shape)
    for i, image in enumerate(x.numpy()):
        for row, column in np.ndindex(*image.shape[1:]):
            wanted[i, :, row, column] = colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*image[:, row, column])))
    return wanted


@every_severity
def test_brightness_adds_to_the_value_of_hue_saturation_value(severity):
    x, shift = images((3, 12, 12)).double(), load("brightness").severities[severity - 1]
    wanted = in_hsv(x, lambda h, s, v: (h, s, min(1.0, v + shift)))
    np.testing.assert_allclose(applied("brightness", x, severity).numpy(), wanted, atol=1e-12)


def test_brightness_turns_black_into_grey():
    found = load("brightness").apply(torch.zeros(1, 3, 2, 2), 0.3, noise())
    assert found.tolist() == torch.full((1, 3, 2, 2), 0.3).tolist()


def test_brightness_of_grey_images_adds_to_the_pixel():
    x = images((1, 12, 12)).double()
    torch.testing.assert_close(load("brightness").apply(x, 0.2, noise()), (x + 0.2).clamp(max=1))


@every_severity
def test_saturate_changes_the_saturation_and_makes_grey_pixels_red(severity):
    x = images((3, 12, 12)).double()
    x[:, :, 5] = x[:, :1, 5]
    scale, shift = load("saturate").severities[severity - 1]
    wanted = in_hsv(x, lambda h, s, v: (h, min(1.0, s * scale + shift), v))
    np.testing.assert_allclose(applied("saturate", x, severity).numpy(), wanted, atol=1e-12)


@every_severity
def test_saturate_leaves_grey_images_alone(severity):
    x = images((1, 8, 8))
    assert torch.equal(corrupt(load("saturate"), x, severity), x)


def test_gaussian_and_speckle_noise_add_their_draw():
    x = images()
    assert torch.equal(applied("gaussian_noise", x, 3), x + noise().normal(x, 0.08))
    assert torch.equal(applied("speckle_noise", x, 3), x + x * noise().normal(x, 0.12))


@every_severity
def test_shot_noise_counts_photons(severity):
    x, rate = torch.full((5, 3, 64, 64), 0.4), load("shot_noise").severities[severity - 1]
    found = applied("shot_noise", x, severity).double()
    assert torch.allclose(found * rate, (found * rate).round(), atol=1e-3)
    assert float(found.mean()) == pytest.approx(0.4, rel=0.01)
    assert float(found.var()) == pytest.approx(0.4 / rate, rel=0.05)


@every_severity
def test_impulse_noise_replaces_single_values_by_black_or_white(severity):
    x, share = torch.full((5, 3, 64, 64), 0.5), load("impulse_noise").severities[severity - 1]
    found = applied("impulse_noise", x, severity)
    hit = found != 0.5
    assert set(found.unique().tolist()) == {0.0, 0.5, 1.0}
    assert float(hit.float().mean()) == pytest.approx(share, rel=0.1)
    assert float(found[hit].mean()) == pytest.approx(0.5, abs=0.05)
    assert not torch.equal(hit[:, 0], hit[:, 1])


@pytest.mark.parametrize("sigma", [0.4, 1.0])
def test_gaussian_blur_of_a_point_is_the_gaussian(sigma):
    x = torch.zeros(1, 3, 13, 13, dtype=torch.float64)
    x[0, 1, 6, 6] = 1.0
    radius = int(4 * sigma + 0.5)
    line = np.array([np.exp(-0.5 * (k / sigma) ** 2) if abs(k) <= radius else 0.0 for k in range(-6, 7)])
    line /= line.sum()
    found = load("gaussian_blur").apply(x, sigma, noise())
    np.testing.assert_allclose(found[0, 1].numpy(), np.outer(line, line), atol=1e-12)
    assert not found[0, [0, 2]].any()


def test_gaussian_blur_repeats_the_border_and_keeps_flat_images():
    x = torch.full((1, 3, 6, 6), 0.5, dtype=torch.float64)
    torch.testing.assert_close(load("gaussian_blur").apply(x, 1.0, noise()), x)


def softened_disk(radius, edge):
    """17 x 17, as wide as the original's: a disk, blurred by three taps along both axes."""
    kernel = np.array([[float(u * u + v * v <= radius * radius) for u in range(-8, 9)] for v in range(-8, 9)])
    side = math.exp(-1 / (2 * edge * edge))
    taps = np.array([side, 1, side]) / (1 + 2 * side)
    for axis in (0, 1):
        kernel = ndimage.convolve1d(kernel / kernel.sum(), taps, axis=axis, mode="mirror")
    return kernel


@every_severity
@every_side
def test_defocus_blur_convolves_with_a_softened_disk(side, severity):
    x = images((3, side, side)).double()
    kernel = softened_disk(*load("defocus_blur").severities[severity - 1])
    wanted = [[ndimage.correlate(c, kernel, mode="mirror") for c in image] for image in x.numpy()]
    np.testing.assert_allclose(applied("defocus_blur", x, severity).numpy(), wanted, atol=1e-12)


@every_severity
def test_the_softened_disk_is_opencvs(severity):
    cv2 = pytest.importorskip("cv2")
    radius, edge = load("defocus_blur").severities[severity - 1]
    x, y = np.meshgrid(np.arange(-8, 9), np.arange(-8, 9))
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)
    wanted = cv2.GaussianBlur(disk / disk.sum(), (3, 3), sigmaX=edge)
    ours = defocus_blur.disk(radius, edge).numpy()
    np.testing.assert_allclose(np.pad(ours, (17 - len(ours)) // 2), wanted, atol=1e-6)


@every_severity
@every_side
def test_glass_blur_walks_from_the_bottom_right_and_overwrites(side, severity):
    x, (sigma, reach, walks) = images((3, side, side)), load("glass_blur").severities[severity - 1]
    shifts = noise().each(lambda g: torch.randint(-reach, reach, (walks, 2, side, side), generator=g)).numpy()
    wanted = []
    for image, moves in zip(planes(x).astype(np.float64), shifts, strict=True):
        shuffled = np.uint8(blurred(image, sigma) * 255 + WHOLE)
        for dy, dx in moves:
            for h in range(side - reach, reach, -1):
                for w in range(side - reach, reach, -1):
                    a, b = (h, w), (h + dy[h, w], w + dx[h, w])
                    shuffled[a], shuffled[b] = shuffled[b], shuffled[a]  # rows: overwritten, not swapped
        wanted.append(blurred(shuffled / 255, sigma))
    found = planes(applied("glass_blur", x, severity))
    assert np.abs(found - np.array(wanted)).max() < 1e-5


def moved(image, radius, sigma, degrees):
    """(h, w, c) 0..255: ImageMagick's motion blur, as a loop over pixels."""
    h, w, _ = image.shape
    weights = [math.exp(-i * i / (2 * sigma * sigma)) for i in range(2 * radius + 1)]
    angle, out = math.radians(degrees), np.zeros(image.shape)
    for row, column in np.ndindex(h, w):
        for i, weight in enumerate(weights):
            down, right = math.ceil(i * math.sin(angle) - 0.5), math.ceil(i * math.cos(angle) - 0.5)
            at = image[min(max(row + down, 0), h - 1), min(max(column + right, 0), w - 1)]
            out[row, column] += weight / sum(weights) * at
    return out


@pytest.mark.parametrize("degrees", [-130.0, -90.0, -45.0, 0.0, 33.3])
@pytest.mark.parametrize("side", [8, 32])
def test_motion_is_half_a_gaussian_along_a_line(side, degrees):
    x = images((3, side, side), n=1)
    found = motion(x, 6, 1.5, torch.tensor([degrees]))
    wanted = moved(levels(x)[0].astype(float), 6, 1.5, degrees)
    assert np.array_equal(levels(found)[0], np.floor(wanted + WHOLE).astype(np.uint8))


def test_motion_blur_stays_within_45_degrees_of_the_horizontal():
    x = torch.zeros(200, 1, 33, 33)
    x[:, :, 16, 16] = 1
    found = load("motion_blur").apply(x, (6, 2.0), noise(torch.arange(200)))[:, 0]
    rows, columns = (found > 0).any(dim=2), (found > 0).any(dim=1)
    assert not columns[:, 17:].any()  # what is on the right moves to the left
    assert rows[:, :16].any()
    assert rows[:, 17:].any()
    assert (columns.sum(dim=1) >= rows.sum(dim=1)).all()


def cropped_zoom(image, factor):
    """(h, w, c) zoomed about its middle by SciPy and trimmed to its size."""
    side = len(image)
    kept = math.ceil(side / factor)
    first = (side - kept) // 2
    middle = image[first : first + kept, first : first + kept]
    large = ndimage.zoom(middle, (factor, factor, 1), order=1, mode="nearest")
    trim = (len(large) - side) // 2
    return large[trim : trim + side, trim : trim + side]


@every_side
@pytest.mark.parametrize("factor", [1.0, 1.01, 1.07, 1.25, 1.75, 2.25])
def test_zoom_is_scipys(side, factor):
    x = images((3, side, side)).double()
    wanted = [cropped_zoom(image, factor) for image in planes(x)]
    np.testing.assert_allclose(planes(zoomed(x, factor)), wanted, atol=1e-12)


@pytest.mark.parametrize(("severity", "count"), [(1, 7), (2, 12), (3, 16), (4, 21), (5, 26)])
def test_zoom_blur_is_the_mean_with_the_image_itself_counted_twice(severity, count):
    x, factors = images().double(), np.arange(1, load("zoom_blur").severities[severity - 1], 0.01).tolist()
    assert len(factors) == count
    wanted = [(image + sum(cropped_zoom(image, f) for f in factors)) / (count + 1) for image in planes(x)]
    np.testing.assert_allclose(planes(applied("zoom_blur", x, severity)), wanted, atol=1e-9)


@every_severity
@pytest.mark.parametrize("channels", [1, 3])
def test_snow_falls_over_a_paler_image(channels, severity):
    x, constants = images((channels, 16, 16), n=2), load("snow").severities[severity - 1]
    mean, sd, zoom, threshold, radius, sigma, kept = constants
    draws = noise(torch.arange(2))
    flakes, degrees = mean + draws.normal(x[:, :1], sd), draws.each(lambda g: torch.rand((), generator=g)) * 90 - 135
    for i, image in enumerate(planes(x).astype(np.float64)):
        layer = cropped_zoom(planes(flakes)[i], zoom)
        layer[layer < threshold] = 0
        layer = np.floor(np.clip(layer, 0, 1) * 255 + WHOLE)
        layer = np.floor(moved(layer, radius, sigma, float(degrees[i])) + WHOLE) / 255
        grey = image @ [0.299, 0.587, 0.114] if channels == 3 else image[..., 0]
        wanted = kept * image + (1 - kept) * np.maximum(image, grey[..., None] * 1.5 + 0.5)
        wanted += layer + np.rot90(layer, k=2)
        found = load("snow").apply(x, constants, noise(torch.arange(2)))
        np.testing.assert_allclose(planes(found)[i], wanted, atol=1e-5)


def diamonds_and_squares(jitter, size, decay):
    """The height map point by point on a torus; jitter comes level by level: centres, then the two kinds of edges."""
    height, step, reach, draws = {(0, 0): 0.0}, size, 100.0, iter(jitter)

    def point(row, column, around):
        mean = sum(height[(row + r) % size, (column + c) % size] for r, c in around) / 4
        height[row, column] = mean + reach**2 * next(draws)

    while step >= 2:
        half = step // 2
        corners = [(-half, -half), (-half, half), (half, -half), (half, half)]
        cross = [(-half, 0), (half, 0), (0, -half), (0, half)]
        for top, left, around in ((half, half, corners), (0, half, cross), (half, 0, cross)):
            for row in range(top, size, step):
                for column in range(left, size, step):
                    point(row, column, around)
        step, reach = half, reach / decay
    flat = np.array([[height[row, column] for column in range(size)] for row in range(size)])
    return (flat - flat.min()) / (flat - flat.min()).max()


@every_severity
@pytest.mark.parametrize(("side", "size"), [(8, 8), (28, 32), (32, 32)])
def test_fog_is_a_plasma_map_no_smaller_than_the_image(side, size, severity):
    x, (strength, decay) = images((3, side, side), n=2), load("fog").severities[severity - 1]
    jitter = noise(torch.arange(2)).each(lambda g: torch.rand(size * size - 1, generator=g, dtype=torch.float64))
    found = fog.apply(x, (strength, decay), noise(torch.arange(2)))
    for i, image in enumerate(planes(x).astype(np.float64)):
        plasma = diamonds_and_squares((jitter[i] * 2 - 1).tolist(), size, decay)[:side, :side, None]
        wanted = (image + strength * plasma) * image.max() / (image.max() + strength)
        np.testing.assert_allclose(planes(found)[i], wanted, atol=1e-5)


@every_severity
@every_side
def test_elastic_transform_is_an_affine_map_and_a_displacement(side, severity):
    x, constants = images((3, side, side), n=3).double(), load("elastic_transform").severities[severity - 1]
    alpha, sigma, reach = (side * share for share in constants)
    draws = noise(torch.arange(3))
    moves = (draws.each(lambda g: torch.rand(3, 2, generator=g, dtype=torch.float64)) * 2 - 1).numpy() * reach
    field = (draws.each(lambda g: torch.rand(2, side, side, generator=g, dtype=torch.float64)) * 2 - 1).numpy()
    found = elastic_transform.apply(x, constants, noise(torch.arange(3)))
    middle, arm = side // 2, side // 3
    before = np.array([[middle + arm, middle + arm], [middle + arm, middle - arm], [middle - arm, middle - arm]])
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    for i, image in enumerate(x.numpy()):
        forth = np.eye(3)
        homogeneous = np.column_stack([before, np.ones(3)])
        forth[:2] = np.linalg.solve(homogeneous, before + moves[i]).T
        left, top, _ = np.einsum("ij,jhw->ihw", np.linalg.inv(forth), np.stack([columns, rows, np.ones_like(rows)]))
        dx, dy = (ndimage.gaussian_filter(f, sigma, mode="reflect", truncate=3) * alpha for f in field[i])
        for channel, ours in zip(image, found[i].numpy(), strict=True):
            turned = ndimage.map_coordinates(channel, [top, left], order=1, mode="mirror")
            wanted = ndimage.map_coordinates(turned, [rows + dy, columns + dx], order=1, mode="reflect")
            np.testing.assert_allclose(ours, wanted, atol=1e-9)


def test_the_affine_map_is_opencvs_up_to_its_rounding_of_coordinates():
    cv2 = pytest.importorskip("cv2")
    x = ndimage.gaussian_filter(np.random.default_rng(0).random((32, 32)), 2)
    moves = np.random.default_rng(1).uniform(-2, 2, (3, 2)).astype(np.float32)
    before = np.array([[26, 26], [26, 6], [6, 6]], dtype=np.float32)
    matrix = cv2.getAffineTransform(before, before + moves)
    wanted = cv2.warpAffine(x, matrix, (32, 32), borderMode=cv2.BORDER_REFLECT_101)
    place = elastic_transform.sources(torch.from_numpy(moves)[None].double(), 32, 32)
    found = elastic_transform.sampled(torch.from_numpy(x)[None, None], place, edge=False)
    assert np.abs(found[0, 0].numpy() - wanted).max() < 0.01


@pytest.mark.parametrize(("side", "kept"), [(32, (30, 28, 27, 24, 20)), (8, (7, 7, 6, 6, 5))])
def test_pixelate_keeps_this_many_rows_and_columns(side, kept):
    x = images((3, side, side))
    for severity in SEVERITIES:
        found = levels(corrupt(load("pixelate"), x, severity))
        small = [Image.fromarray(image).resize((kept[severity - 1],) * 2, Image.Resampling.BOX) for image in levels(x)]
        wanted = [np.asarray(image.resize((side, side), Image.Resampling.BOX)) for image in small]
        assert np.array_equal(found, wanted)


@every_severity
def test_jpeg_compression_saves_and_reads(severity):
    x, quality = images(), load("jpeg_compression").severities[severity - 1]
    for image, found in zip(levels(x), levels(corrupt(load("jpeg_compression"), x, severity)), strict=True):
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        assert np.array_equal(found, np.asarray(Image.open(buffer)))


def test_frost_adds_crops_of_all_its_pictures():
    able("frost")
    shades = [np.full((400, 300, 3), 40 * k, np.uint8) for k in range(1, 6)]
    x = torch.zeros(200, 3, 8, 8)
    found = frost.apply(x, (0.85, 0.4), noise(torch.arange(200)), shades) * 255 / 0.4
    assert set(found.round().unique().tolist()) == {40.0, 80.0, 120.0, 160.0, 200.0}
    torch.testing.assert_close(
        frost.apply(x + 0.5, (0.85, 0.4), noise(torch.arange(200)), shades), 0.425 + found / 255 * 0.4
    )


def test_frost_scales_by_a_fifth_but_not_below_the_image():
    able("frost")
    picture = np.zeros((300, 500, 3), np.uint8)
    assert frost.scaled(picture, 32).shape == (60, 100, 3)
    assert min(frost.scaled(picture, 96).shape[:2]) == 97


def test_frost_reads_the_first_five_pictures_of_the_authors():
    names = able("frost").pictures
    assert names == ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")


@pytest.mark.parametrize("severity", [4, 5])
def test_mud_covers_and_water_shines(severity):
    able("spatter")
    x = images((3, 32, 32))
    mean, sd, blur, threshold, sigma, _ = load("spatter").severities[severity - 1]
    layer = mean + noise().normal(x[:, :1], sd)
    for i, image in enumerate(planes(x).astype(np.float64)):
        liquid = blurred(planes(layer)[i], blur)
        mask = blurred((liquid > threshold).astype(float), sigma)
        mask[mask < 0.8] = 0
        wanted = (1 - mask) * image + mask * np.array([63, 42, 20]) / 255
        np.testing.assert_allclose(planes(applied("spatter", x, severity))[i], wanted, atol=1e-4)


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_water_adds_its_colour_where_drops_are(severity):
    able("spatter")
    x = images((3, 32, 32))
    added = (applied("spatter", x, severity) - x).double()
    mask = added * 255 / torch.tensor(spatter.WATER)[:, None, None]
    torch.testing.assert_close(mask, mask[:, :1].expand_as(mask), atol=1e-5, rtol=0)
    assert mask.min() > -1e-6
    assert mask.amax(dim=(1, 2, 3)).tolist() == pytest.approx([0.5] * 5, abs=1e-5)
    assert (mask[:, 0] > 0).any(dim=1).any()
    assert (mask < 1e-6).any()


def test_no_drop_leaves_the_image_dry():
    able("spatter")
    assert not spatter.water(torch.zeros(2, 1, 8, 8), 0.5).any()
