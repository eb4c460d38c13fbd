"""Tiny-ImageNet from small archives of the official layout; no network."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cure.data import download
from cure.datasets import tiny_imagenet
from cure.errors import UserError
from cure.settings.base import Augment
from cure.storage.files import md5sum

WNIDS = ["n03", "n01", "n02"]  # not in alphabetical order, as in the official file
HYPER = tiny_imagenet.Hyper(validation=3, split_seed=0, augment=Augment(crop=8, padding="reflect", flip=True))
ROOT = "tiny-imagenet-200"
ANNOTATIONS = f"{ROOT}/val/val_annotations.txt"


def jpeg(value: int | tuple[int, int, int], size: tuple[int, int] = (64, 64), mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, value).save(out, "JPEG", quality=95)
    return out.getvalue()


def colour(label: int, image: int) -> tuple[int, int, int]:
    return 60 * label, 40 * image, 100


def official() -> dict[str, bytes]:
    """Three classes of two training images each, and four val images; test/ has images without labels."""
    files = {f"{ROOT}/wnids.txt": "\n".join(WNIDS).encode() + b"\n", f"{ROOT}/words.txt": b"n01\ta thing\n"}
    for label, wnid in enumerate(WNIDS):
        files[f"{ROOT}/train/{wnid}/{wnid}_boxes.txt"] = f"{wnid}_0.JPEG\t0\t0\t62\t62\n".encode()
        for i in range(2):
            files[f"{ROOT}/train/{wnid}/images/{wnid}_{i}.JPEG"] = jpeg(colour(label, i))
    lines = []
    for i, label in enumerate((2, 0, 1, 0)):
        files[f"{ROOT}/val/images/val_{i}.JPEG"] = jpeg(colour(label, i))
        lines.append(f"val_{i}.JPEG\t{WNIDS[label]}\t0\t32\t44\t62\n")
    files[ANNOTATIONS] = "".join(lines).encode()
    files[f"{ROOT}/test/images/test_0.JPEG"] = jpeg((1, 2, 3))
    return files


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that packs files as the published archive, checksum included, and gives its folder."""

    def pack(files: dict[str, bytes]) -> Path:
        path = tmp_path / "downloads" / tiny_imagenet.FILES[0].name
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        published(path, monkeypatch)
        return path.parent

    return pack


def published(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_imagenet, "FILES", (replace(tiny_imagenet.FILES[0], md5=md5sum(path)),))


def test_train_is_by_class_in_the_order_of_wnids_and_test_is_val(place) -> None:
    folder = place(official())
    assert tiny_imagenet.missing(HYPER, folder) is None
    assert download.lacking(tiny_imagenet.FILES, folder) is None
    raw = tiny_imagenet.read(HYPER, folder)
    assert raw.classes == WNIDS
    assert (raw.train[1].tolist(), raw.test[1].tolist()) == ([0, 0, 1, 1, 2, 2], [2, 0, 1, 0])
    wanted = [colour(label, i) for label in range(3) for i in range(2)]
    assert raw.train[0].shape == (6, 3, 64, 64)
    assert np.abs(raw.train[0].mean((2, 3)) - wanted).max() <= 3  # JPEG rounds
    assert np.abs(raw.test[0].mean((2, 3)) - [colour(label, i) for i, label in enumerate((2, 0, 1, 0))]).max() <= 3
    assert raw.source.endswith(f"md5 {tiny_imagenet.FILES[0].md5}")


def test_nothing_is_unpacked(place) -> None:
    folder = place(official() | {"../outside.txt": b"x", f"{ROOT}/../../outside.txt": b"x"})
    tiny_imagenet.read(HYPER, folder)
    assert [path.name for path in folder.parent.rglob("*")] == ["downloads", "tiny-imagenet-200.zip"]


def test_a_grey_image_has_three_equal_channels(place) -> None:
    folder = place(official() | {f"{ROOT}/train/n01/images/n01_1.JPEG": jpeg(77, mode="L")})
    assert (tiny_imagenet.read(HYPER, folder).train[0][3] == 77).all()


WRONG = {
    "no list of classes": ({f"{ROOT}/wnids.txt": None}, r"holds no tiny-imagenet-200/wnids\.txt"),
    "no annotations": ({ANNOTATIONS: None}, r"holds no tiny-imagenet-200/val/val_annotations\.txt"),
    "an unknown class": (
        {ANNOTATIONS: b"val_0.JPEG\tn01\t0\nval_1.JPEG\tn99\t0\n"},
        r"val_annotations\.txt, line 2: 'n99' is not a class of wnids\.txt",
    ),
    "a line without a class": ({ANNOTATIONS: b"val_0.JPEG\n"}, r"line 1: '' is not a class"),
    "an absent image": ({f"{ROOT}/val/images/val_2.JPEG": None}, r"holds no .*val/images/val_2\.JPEG"),
    "a way out of the folder": (
        {ANNOTATIONS: b"../../../secret\tn01\n"},
        r"holds no .*val/images/\.\./\.\./\.\./secret",
    ),
    "another size": (
        {f"{ROOT}/train/n02/images/n02_0.JPEG": jpeg(3, (32, 64), "L")},
        r"train/n02/images/n02_0\.JPEG is of \(64, 32\) pixels, not 64 x 64",
    ),
    "a torn image": (
        {f"{ROOT}/train/n02/images/n02_0.JPEG": jpeg((1, 2, 3))[:300]},
        r"n02_0\.JPEG is not a readable image",
    ),
    "no image at all": ({f"{ROOT}/val/images/val_0.JPEG": b""}, r"val_0\.JPEG is not a readable image"),
    "a class without images": (
        {f"{ROOT}/train/n01/images/n01_{i}.JPEG": None for i in range(2)},
        "labels of train must be 0 to 2, each at least once",
    ),
    "nothing in val": ({ANNOTATIONS: b""}, "test has 0 images"),
    "another folder": (
        dict.fromkeys(official()) | {"tiny/wnids.txt": b"n01\n"},
        r"holds no tiny-imagenet-200/wnids\.txt",
    ),
}


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_archive_is_refused_with_the_place(wrong: str, place, tmp_path: Path) -> None:
    changes, message = WRONG[wrong]
    files = {name: content for name, content in (official() | changes).items() if content is not None}
    (tmp_path / "secret").write_bytes(jpeg((1, 2, 3)))
    with pytest.raises(UserError, match=message):
        tiny_imagenet.read(HYPER, place(files))


@pytest.mark.reliability("wrong inputs")
def test_a_truncated_download_is_named_with_its_md5(place) -> None:
    path = place(official()) / "tiny-imagenet-200.zip"
    path.write_bytes(path.read_bytes()[:-100])
    assert "truncated or altered" in str(download.lacking(tiny_imagenet.FILES, path.parent))


@pytest.mark.reliability("wrong inputs")
def test_an_archive_without_its_end_is_refused(place, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place(official()) / "tiny-imagenet-200.zip"
    path.write_bytes(path.read_bytes()[:-100])
    published(path, monkeypatch)
    with pytest.raises(UserError, match=r"tiny-imagenet-200\.zip: not a whole archive .*delete it and run again"):
        tiny_imagenet.read(HYPER, path.parent)


@pytest.mark.reliability("wrong inputs")
def test_an_altered_member_is_refused(place, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place(official()) / "tiny-imagenet-200.zip"
    raw = path.read_bytes()
    at = raw.index(jpeg(colour(1, 0))) + 400
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 255]) + raw[at + 1 :])
    published(path, monkeypatch)
    with pytest.raises(UserError, match="not a whole archive"):  # its CRC
        tiny_imagenet.read(HYPER, path.parent)
