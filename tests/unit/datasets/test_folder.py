import tarfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cure.datasets.folder import Hyper, missing, read
from cure.errors import UserError
from tests.support.settings import SCALES


def hyper(path: Path | str, size: int | None = None, colour: str = "rgb", train_images: int | None = None) -> Hyper:
    how = {"validation": 2, "split_seed": 0, "augment": {"padding": "zero", "crop": 0, "flip": False}}
    return Hyper(path=str(path), size=size, colour=colour, train_images=train_images, **how)


def pixels(seed: int, height: int = 6, width: int = 6, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, two training images and one test image of each."""
    for k, name in enumerate(("cat", "dog")):
        save(pixels(10 * k), tmp_path / "train" / name / "a.png")
        save(pixels(10 * k + 1), tmp_path / "train" / name / "b.png")
        save(pixels(10 * k + 2), tmp_path / "test" / name / "a.png")
    return tmp_path


def load(path: Path, **how):
    assert missing(hyper(path, **how), path) is None
    return read(hyper(path, **how), path)


def test_pixels_and_labels_arrive_in_the_order_of_the_names(folder: Path) -> None:
    raw = load(folder)
    assert raw.classes == ["cat", "dog"]
    assert raw.train[1].tolist() == [0, 0, 1, 1]
    assert raw.test[1].tolist() == [0, 1]
    assert np.array_equal(raw.train[0], np.stack([pixels(s).transpose(2, 0, 1) for s in (0, 1, 10, 11)]))


def test_the_source_names_the_folder_and_not_where_it_is(folder: Path) -> None:
    assert load(folder).source == f"folder {folder.name}"


@pytest.mark.parametrize("suffix", ["bmp", "png", "jpg", "gif", "tif", "webp"])
def test_any_format_that_pillow_reads_is_read(folder: Path, suffix: str) -> None:
    flat = np.full((6, 6, 3), 200, np.uint8)
    save(flat, folder / "train" / "cat" / f"c.{suffix}")
    found = load(folder).train[0][2]
    assert np.abs(found.astype(int) - 200).max() <= 3


@pytest.mark.parametrize("suffix", ["bmp", "png"])
def test_lossless_formats_keep_every_value(folder: Path, suffix: str) -> None:
    save(pixels(99), folder / "train" / "cat" / f"c.{suffix}")
    assert np.array_equal(load(folder).train[0][2], pixels(99).transpose(2, 0, 1))


def test_of_each_class_the_first_training_images_by_name_are_kept_and_every_test_image(folder: Path) -> None:
    whole, part = (read(hyper(folder, train_images=most), folder) for most in (None, 1))
    assert part.train[1].tolist() == [0, 1]
    assert np.array_equal(part.train[0], whole.train[0][::2])
    assert np.array_equal(part.test[0], whole.test[0])


def test_grey_images_become_colour_by_repetition(folder: Path) -> None:
    grey = pixels(5, channels=1)
    save(grey, folder / "train" / "cat" / "c.png")
    assert np.array_equal(load(folder).train[0][2], np.stack([grey] * 3))


def test_colour_images_become_grey_by_luminance(folder: Path) -> None:
    found = load(folder, colour="grey").train[0]
    assert found.shape == (4, 1, 6, 6)
    wanted = pixels(0) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(found[0, 0] - wanted).max() <= 1


def test_alpha_is_dropped(folder: Path) -> None:
    save(np.dstack([pixels(7), pixels(8, channels=1)]), folder / "train" / "cat" / "c.png")
    assert np.array_equal(load(folder).train[0][2], pixels(7).transpose(2, 0, 1))


def test_grey_alpha_and_palette_images_are_read(folder: Path) -> None:
    grey = pixels(5, channels=1)
    Image.fromarray(np.dstack([grey, pixels(6, channels=1)]), "LA").save(folder / "train" / "cat" / "c.png")
    palette = Image.fromarray(pixels(9)).quantize(8)
    palette.save(folder / "train" / "cat" / "d.png")
    found = load(folder).train[0]
    assert np.array_equal(found[2], np.stack([grey] * 3))
    assert np.array_equal(found[3], np.asarray(palette.convert("RGB")).transpose(2, 0, 1))


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_sixteen_bit_images_are_scaled_or_refused_but_never_clipped(folder: Path, colour: str) -> None:
    ramp = np.linspace(0, 65535, 36).astype(np.uint16).reshape(6, 6)
    save(ramp, folder / "train" / "cat" / "c.png")
    with suppress(UserError):
        found = load(folder, colour=colour).train[0][2]
        assert np.abs(found - ramp[None] / 257).max() <= 1


def test_images_of_another_size_are_named_with_the_way_out(folder: Path) -> None:
    save(pixels(3, 5, 7), folder / "train" / "dog" / "odd.png")
    with pytest.raises(UserError, match=r"odd\.png.*\(5, 7\).*\(6, 6\).*datasets\.folder\.size"):
        load(folder)


def test_with_a_size_all_images_are_scaled_to_it(folder: Path) -> None:
    save(np.full((5, 9, 3), 77, np.uint8), folder / "train" / "dog" / "odd.png")
    raw = load(folder, size=4)
    assert raw.train[0].shape == (5, 3, 4, 4)
    assert raw.test[0].shape == (2, 3, 4, 4)
    assert (raw.train[0][4] == 77).all()


def test_a_size_that_images_have_already_changes_nothing(folder: Path) -> None:
    assert np.array_equal(load(folder, size=6).train[0], load(folder).train[0])


def test_train_and_test_must_be_of_one_size(folder: Path) -> None:
    for name in ("cat", "dog"):
        save(pixels(1, 8, 8), folder / "test" / name / "a.png")
    with pytest.raises(UserError, match="must agree"):
        load(folder)


def damaged_signature(raw: bytes) -> bytes:
    return b"not an image" + raw


def truncated(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def damaged_header(raw: bytes) -> bytes:
    at = raw.index(b"IHDR")
    return raw[: at - 1] + b"\x05" + raw[at:]  # the header claims a length of 5


def damaged_chunk(raw: bytes) -> bytes:
    at = raw.index(b"IDAT")
    return raw[: at - 1] + b"\x05" + raw[at:]


def damaged_pixels(raw: bytes) -> bytes:
    at = raw.index(b"IDAT") + 20
    return raw[:at] + b"\x00\x01\x02\x03" + raw[at + 4 :]


@pytest.mark.parametrize("damage", [damaged_signature, truncated, damaged_header, damaged_chunk, damaged_pixels])
def test_an_unreadable_image_is_refused_by_its_name(folder: Path, damage) -> None:
    path = folder / "train" / "cat" / "b.png"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"b\.png: not a readable image"):
        load(folder)


def test_an_image_of_absurd_size_is_refused_by_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow raises from twice as many on
    with pytest.raises(UserError, match=r"a\.png: not a readable image"):
        load(folder)


def test_an_empty_file_is_refused_by_its_name(folder: Path) -> None:
    (folder / "train" / "cat" / "empty.png").touch()
    with pytest.raises(UserError, match=r"empty\.png"):
        load(folder)


def test_hidden_files_and_folders_are_passed_over(folder: Path) -> None:
    (folder / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    (folder / "train" / ".cache").mkdir()
    (folder / "train" / "README.txt").write_text("x")
    assert load(folder).train[0].shape[0] == 4


@pytest.mark.parametrize("absent", ["train", "test"])
def test_an_absent_split_is_named(folder: Path, absent: str) -> None:
    (folder / absent).rename(folder / "elsewhere")
    message = missing(hyper(folder), folder)
    assert message is not None
    assert f"no folder {absent}" in message
    assert str(folder) in message


def test_class_folders_that_differ_are_named(folder: Path) -> None:
    (folder / "test" / "dog").rename(folder / "test" / "dgo")
    message = missing(hyper(folder), folder)
    assert message is not None
    assert message.endswith("dgo, dog")


def test_a_class_without_images_is_refused(folder: Path) -> None:
    for split in ("train", "test"):
        (folder / split / "empty").mkdir()
    with pytest.raises(UserError, match="labels of train must be 0 to 2, each at least once"):
        load(folder)


def test_folders_without_any_image_are_refused(folder: Path) -> None:
    for path in folder.glob("t*/*/*"):
        path.unlink()
    with pytest.raises(UserError, match="0 images"):
        load(folder)


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save(pixels(1), tmp_path / split / "only" / "a.png")
    with pytest.raises(UserError, match="one class only"):
        load(tmp_path)


def test_variables_in_the_path_are_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_IMAGES", str(folder.parent))
    assert missing(hyper(f"$MY_IMAGES/{folder.name}"), folder) is None
    assert read(hyper(f"$MY_IMAGES/{folder.name}"), folder).classes == ["cat", "dog"]


def test_a_relative_path_starts_where_the_pipeline_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert read(hyper(folder.name), folder).classes == ["cat", "dog"]


@pytest.mark.parametrize(("field", "value"), [("size", 0), ("colour", "cmyk")])
def test_settings_outside_their_range_are_refused(tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        hyper(tmp_path, **{field: value})


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz"])
def test_an_archive_holds_what_its_folder_holds(folder: Path, tmp_path_factory, suffix: str) -> None:
    path = tmp_path_factory.mktemp("elsewhere") / f"{folder.name}.{suffix}"
    save(pixels(7), folder / "train" / ".hidden" / "a.png")
    save(pixels(8), folder / "other" / "cat" / "a.png")
    with tarfile.open(path, f"w:{suffix[4:]}") as archive:
        for name in sorted(("train", "test", "other"), reverse=True):
            archive.add(folder / name, f"./{name}")
    found, wanted = load(path), load(folder)
    assert (found.classes, found.source) == (wanted.classes, wanted.source)
    for mine, theirs in ((found.train, wanted.train), (found.test, wanted.test)):
        assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert sorted(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["cut", "text", "of one split", "a broken image"])
def test_what_is_wrong_with_an_archive_is_said(folder: Path, tmp_path_factory, damage: str) -> None:
    path = tmp_path_factory.mktemp("elsewhere") / "set.tar.xz"
    if damage == "a broken image":
        (folder / "train" / "cat" / "a.png").write_bytes(b"no image")
    with tarfile.open(path, "w:xz") as archive:
        for name in ("train",) if damage == "of one split" else ("train", "test"):
            archive.add(folder / name, name)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    if damage == "text":
        path.write_text("no archive")
    if damage == "a broken image":
        with pytest.raises(UserError, match=r"set\.tar\.xz: train/cat/a\.png: not a readable image"):
            read(hyper(path), path)
        return
    said = {"of one split": "has no folder test"}.get(damage, "cannot be read")
    assert said in str(missing(hyper(path), path))


@pytest.mark.parametrize("scale", SCALES)
def test_a_path_suffices_and_the_shipped_section_names_the_defaults(scale: str) -> None:
    shipped = Hyper.model_validate(SCALES[scale]["datasets"]["folder"])
    assert shipped == Hyper(path=shipped.path, size=shipped.size)
    assert Hyper(path="images").validation is None
