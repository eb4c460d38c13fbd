"""CIFAR and SVHN from small archives of the right format, with checksums to match; no network."""

import hashlib
import io
import pickle
import tarfile
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from scipy.io import savemat

from cure import catalogue
from cure.data import download
from cure.errors import UserError
from cure.settings.base import DataSettings

KINDS = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}
CLASSES = {"cifar10": 10, "cifar100": 100, "svhn": 10}
every_archive = pytest.mark.parametrize("name", CLASSES)
every_cifar = pytest.mark.parametrize("name", KINDS)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def hyper(name: str) -> DataSettings:
    how = {"validation": 10, "split_seed": 0, "augment": {"padding": "zero", "crop": 4, "flip": True}}
    settings: DataSettings = catalogue.hyper("datasets", name)(**how)
    return settings


def missing(name: str, folder: Path) -> str | None:
    entry = catalogue.entry("datasets", name)
    assert entry.missing(hyper(name), folder) is None
    return download.lacking(entry.FILES, folder)


def read(name: str, folder: Path) -> Any:
    entry = catalogue.entry("datasets", name)
    for file in entry.FILES:
        download.fetch(file, folder)
    return entry.read(hyper(name), folder)


def published(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the entry expect the files that lie there."""
    entry = catalogue.entry("datasets", name)
    files = tuple(replace(file, md5=md5((folder / file.name).read_bytes())) for file in entry.FILES)
    monkeypatch.setattr(entry, "FILES", files)


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No network: every address that is asked for is noted and cannot be resolved."""
    asked: list[str] = []

    def refuse(request: Any, *args: Any, **kwargs: Any) -> None:
        asked.append(request if isinstance(request, str) else request.full_url)
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return asked


def cifar_archive(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Write a CIFAR archive with one image per class and split, let torchvision expect it, and return its rows."""
    kind, classes = KINDS[name], CLASSES[name]
    rows = np.random.default_rng(0).integers(0, 256, (2, classes, 3072), dtype=np.uint8)
    label_key, name_key = ("labels", "label_names") if name == "cifar10" else ("fine_labels", "fine_label_names")
    files = [entry[0] for entry in kind.train_list]
    shares = np.array_split(np.arange(classes), len(files))
    contents = {file: {"data": rows[0, s], label_key: s.tolist()} for file, s in zip(files, shares, strict=True)}
    contents[kind.test_list[0][0]] = {"data": rows[1], label_key: list(range(classes))}
    contents[kind.meta["filename"]] = {name_key: [f"class {k}" for k in range(classes)]}
    packed = {file: pickle.dumps(content) for file, content in contents.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / kind.filename, "w:gz") as tar:
        for file, data in packed.items():
            info = tarfile.TarInfo(f"{kind.base_folder}/{file}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    published(name, folder, monkeypatch)
    monkeypatch.setattr(kind, "train_list", [[file, md5(packed[file])] for file in files])
    monkeypatch.setattr(kind, "test_list", [[file, md5(packed[file])] for file, _ in kind.test_list])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(packed[kind.meta["filename"]])})
    return {"train": rows[0], "test": rows[1]}


def svhn_archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Write SVHN's two files, in which the digit 0 is class 10."""
    kind, folder_files, images = torchvision.datasets.SVHN, {}, {}
    folder.mkdir(parents=True, exist_ok=True)
    for seed, split in enumerate(("train", "test")):
        url, file, _ = kind.split_list[split]
        images[split] = np.random.default_rng(seed).integers(0, 256, (32, 32, 3, 10), dtype=np.uint8)
        savemat(folder / file, {"X": images[split], "y": np.arange(1, 11, dtype=np.uint8)[:, None]})
        folder_files[split] = [url, file, md5((folder / file).read_bytes())]
    monkeypatch.setattr(kind, "split_list", kind.split_list | folder_files)
    published("svhn", folder, monkeypatch)
    return images


@every_cifar
def test_cifars_rows_become_images(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls) -> None:
    rows = cifar_archive(name, tmp_path, monkeypatch)
    assert missing(name, tmp_path) is None
    raw = read(name, tmp_path)
    for split, (images, labels) in {"train": raw.train, "test": raw.test}.items():
        assert images.flags["C_CONTIGUOUS"]
        assert np.array_equal(images, rows[split].reshape(-1, 3, 32, 32))
        assert labels.dtype == np.int64
        assert labels.tolist() == list(range(CLASSES[name]))
    assert raw.classes == [f"class {k}" for k in range(CLASSES[name])]
    assert calls == []


@every_cifar
def test_the_source_carries_the_checksum(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar_archive(name, tmp_path, monkeypatch)
    assert read(name, tmp_path).source.endswith(f"md5 {catalogue.entry('datasets', name).FILES[0].md5}")


@every_cifar
def test_a_truncated_archive_is_named_with_its_md5(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar_archive(name, tmp_path, monkeypatch)
    path = tmp_path / KINDS[name].filename
    path.write_bytes(path.read_bytes()[:-100])
    message = missing(name, tmp_path)
    assert message is not None
    assert all(
        part in message
        for part in (str(path), "truncated", "md5", catalogue.entry("datasets", name).FILES[0].md5, "delete it")
    )


@every_cifar
def test_an_altered_member_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar_archive(name, tmp_path, monkeypatch)
    monkeypatch.setattr(KINDS[name], "test_list", [[KINDS[name].test_list[0][0], md5(b"other")]])
    with pytest.raises(UserError, match="is incomplete or damaged"):
        read(name, tmp_path)


def test_svhns_ten_is_the_digit_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls) -> None:
    images = svhn_archive(tmp_path, monkeypatch)
    assert missing("svhn", tmp_path) is None
    raw = read("svhn", tmp_path)
    assert raw.train[1].tolist() == raw.test[1].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert np.array_equal(raw.train[0], images["train"].transpose(3, 2, 0, 1))
    assert np.array_equal(raw.test[0], images["test"].transpose(3, 2, 0, 1))
    assert raw.classes == [str(digit) for digit in range(10)]
    assert calls == []


def test_svhns_second_file_is_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    svhn_archive(tmp_path, monkeypatch)
    path = tmp_path / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:-1])
    message = missing("svhn", tmp_path)
    assert message is not None
    assert "test_32x32.mat: truncated or altered" in message


@every_archive
def test_without_a_network_the_message_says_what_to_do(name: str, tmp_path: Path, calls: list[str]) -> None:
    message = missing(name, tmp_path)
    assert message is not None
    assert all(part in message for part in ("cannot be downloaded", "Name or service not known", "md5", "quickstart/"))
    assert str(tmp_path) in message
    assert len(calls) == 1


@every_archive
@pytest.mark.parametrize(
    "problem",
    [
        TimeoutError("timed out"),
        ConnectionResetError("reset by peer"),
        urllib.error.HTTPError("http://x", 503, "Unavailable", {}, None),  # type: ignore[arg-type]
    ],
)
def test_any_failure_of_the_network_is_a_message(
    name: str, problem: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise problem

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    message = missing(name, tmp_path)
    assert message is not None
    assert "cannot be downloaded" in message


@every_archive
def test_a_failing_download_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be downloaded \(Name or service not known\)"):
        read(name, tmp_path)


def test_the_files_are_those_that_torchvision_knows() -> None:
    for name, kind in KINDS.items():
        (file,) = catalogue.entry("datasets", name).FILES
        assert (file.name, file.url, file.md5) == (kind.filename, kind.url, kind.tgz_md5)
    listed = torchvision.datasets.SVHN.split_list
    wanted = [(name, url, checksum) for url, name, checksum in (listed["train"], listed["test"])]
    assert [(f.name, f.url, f.md5) for f in catalogue.entry("datasets", "svhn").FILES] == wanted


@every_archive
def test_offline_nobody_is_asked(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls) -> None:
    monkeypatch.setenv("CURE_OFFLINE", "1")
    file = catalogue.entry("datasets", name).FILES[0]
    message = missing(name, tmp_path)
    assert message is not None
    assert message.startswith(f"{file.name} is not in {tmp_path} and cannot be downloaded (CURE_OFFLINE is set).")
    with pytest.raises(UserError, match=rf"put the file there yourself as {tmp_path / file.name} \(md5 {file.md5}\)"):
        read(name, tmp_path)
    assert calls == []


def test_a_half_extracted_archive_is_extracted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = cifar_archive("cifar10", tmp_path, monkeypatch)
    read("cifar10", tmp_path)
    part = tmp_path / KINDS["cifar10"].base_folder / "data_batch_1"
    part.write_bytes(part.read_bytes()[:-9])
    assert np.array_equal(read("cifar10", tmp_path).train[0], rows["train"].reshape(-1, 3, 32, 32))
