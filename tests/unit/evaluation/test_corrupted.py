"""Where corrupted test images come from: the published arrays, or generated and cached ones."""

import dataclasses
import hashlib
import multiprocessing
import os

import numpy as np
import pytest
import torch
from torch import nn

from cure import catalogue
from cure.core.noise import PerImage, seed_for
from cure.data import generated_corruptions, published_corruptions
from cure.data.generated_corruptions import Generated
from cure.data.loader import Split, as_float
from cure.data.published_corruptions import ARCHIVES, Archive, md5sum
from cure.errors import UserError
from cure.evaluation import corrupted
from cure.evaluation.work_items import WorkItemFolder
from cure.settings.sections import CorruptSuite
from cure.storage import resume

DIGEST = "0" * 64


def suite(source="generated", corruptions=("contrast",), **changed):
    return CorruptSuite(
        **{"images": 9, "batch": 4, "seed": 3, "severities": [1, 5], "corruptions": list(corruptions), "source": source}
        | changed
    )


def clean(n=20, channels=3):
    draws = torch.Generator().manual_seed(1)
    images = torch.randint(256, (n, channels, 8, 8), dtype=torch.uint8, generator=draws)
    return Split(images, torch.arange(n) % 4)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "FOLDER", tmp_path / "scratch")
    monkeypatch.setenv("CURE_DOWNLOADS", str(tmp_path / "downloads"))
    return tmp_path


def publish(monkeypatch, whole, names=("contrast", "fog")):
    """Tiny arrays in the place of CIFAR-10-C's, with a table of their own."""
    folder, n = published_corruptions.ARCHIVES["cifar10"].folder, len(whole)
    folder.mkdir(parents=True)
    draws = np.random.default_rng(0)
    for name in names:
        np.save(folder / f"{name}.npy", draws.integers(0, 256, (5 * n, 8, 8, 3), dtype=np.uint8))
    np.save(folder / "labels.npy", np.tile(whole.labels.numpy().astype(np.uint8), 5))
    md5s = {path.stem: md5sum(path) for path in folder.glob("*.npy")}
    archive = Archive("cifar10", "CIFAR-10-C", "http://127.0.0.1:9/x.tar", "0" * 32, md5s)
    monkeypatch.setitem(published_corruptions.ARCHIVES, "cifar10", archive)
    return archive


@pytest.mark.parametrize("channels", [1, 3])
def test_generated_images_are_those_of_the_entry(channels):
    split = clean(channels=channels).evenly_spaced(9)
    found = corrupted.source(suite(), "digits", DIGEST, split)
    assert (found.kind, found.version) == ("generated", "cifar-c 1")
    entry = catalogue.entry("corruptions", "gaussian_noise").CORRUPTION
    for severity in (1, 5):
        noise = PerImage(seed_for(3, "gaussian_noise", severity), split.index)
        wanted = (entry(as_float(split.images), severity, noise) * 255).round().to(torch.uint8)
        assert torch.equal(found.images("gaussian_noise", severity), wanted)


def test_an_image_is_the_same_among_many_and_few():
    whole = clean()
    few = whole.evenly_spaced(9)
    assert few.index.tolist() == [i * 20 // 9 for i in range(9)]
    many = corrupted.source(suite(), "digits", DIGEST, whole).images("shot_noise", 2)
    assert torch.equal(corrupted.source(suite(), "digits", DIGEST, few).images("shot_noise", 2), many[few.index])


def test_chunks_change_nothing(monkeypatch, tmp_path):
    whole = np.array(Generated(clean(), DIGEST, 0).array("elastic_transform"))
    monkeypatch.setattr(generated_corruptions, "CHUNK", 7)
    monkeypatch.setattr(resume, "FOLDER", tmp_path / "other")
    assert np.array_equal(Generated(clean(), DIGEST, 0).array("elastic_transform"), whole)


def test_the_array_is_laid_out_as_published_and_made_once(monkeypatch):
    source = Generated(clean(), DIGEST, 0)
    first = source.array("fog")
    assert isinstance(first, np.memmap)
    assert (first.shape, first.dtype) == ((100, 8, 8, 3), np.uint8)
    monkeypatch.setattr(Generated, "_make", lambda *_: pytest.fail("made again"))
    assert np.array_equal(source.array("fog"), first)


@pytest.mark.parametrize(
    "other", [{"digest": "1" * 64}, {"seed": 1}, {"split": clean().evenly_spaced(9)}], ids=["data", "seed", "images"]
)
def test_the_cache_tells_apart_what_decides_the_images(other, folder):
    source = Generated(clean(), DIGEST, 0)
    source.array("gaussian_noise")
    dataclasses.replace(source, **other).array("gaussian_noise")
    assert len(list(folder.rglob("gaussian_noise.npy"))) == 2


def test_a_new_version_of_the_constants_is_made_anew(folder, monkeypatch):
    Generated(clean(), DIGEST, 0).array("contrast")
    monkeypatch.setattr(generated_corruptions.definition, "VERSION", "cifar-c 2")
    Generated(clean(), DIGEST, 0).array("contrast")
    assert len(list(folder.rglob("contrast.npy"))) == 2


@pytest.mark.parametrize("change", ["photograph", "package"])
def test_what_optional_packages_bring_decides_the_images_too(folder, monkeypatch, change):
    photograph = folder / "frost.png"
    monkeypatch.setattr(generated_corruptions, "photographs", lambda corruption: [photograph])
    monkeypatch.setattr(generated_corruptions, "_version", lambda module: [f"{module} 1"])
    photograph.write_bytes(b"one")
    source = Generated(clean(), DIGEST, 0)
    before = source._path("frost")
    assert source._path("frost") == before
    if change == "photograph":
        photograph.write_bytes(b"two")
    else:
        monkeypatch.setattr(generated_corruptions, "_version", lambda module: [f"{module} 2"])
    assert source._path("frost") != before


def test_a_package_is_known_by_its_version():
    assert generated_corruptions._version("numpy") == [f"numpy {np.__version__}"]
    assert generated_corruptions._version("no_such_module") == []


def test_a_damaged_cache_is_made_anew(folder):
    source = Generated(clean(), DIGEST, 0)
    whole = np.array(source.array("contrast"))
    (path,) = folder.rglob("contrast.npy")
    path.write_bytes(path.read_bytes()[:-1])
    assert np.array_equal(source.array("contrast"), whole)


def test_a_failure_leaves_no_array(folder, monkeypatch):
    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(generated_corruptions, "as_float", broken)
    with pytest.raises(KeyboardInterrupt):
        Generated(clean(), DIGEST, 0).array("contrast")
    assert [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def _count_makings(log, place):
    resume.FOLDER = place
    made = Generated._make

    def counted(self, name, path):
        log.put(os.getpid())
        made(self, name, path)

    Generated._make = counted
    Generated(clean(400), DIGEST, 0).array("motion_blur")


def test_two_processes_make_an_array_once(folder):
    context = multiprocessing.get_context("spawn")
    log = context.Queue()
    both = [context.Process(target=_count_makings, args=(log, folder / "scratch")) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(300)
    assert [process.exitcode for process in both] == [0, 0]
    log.get(timeout=60)
    assert log.empty()


@pytest.mark.parametrize("kind", ["official", "auto"])
def test_published_arrays_are_indexed_by_test_image(kind, monkeypatch):
    whole = clean()
    archive = publish(monkeypatch, whole)
    split = whole.evenly_spaced(9)
    found = corrupted.source(suite(kind), "cifar10", DIGEST, split)
    assert (found.kind, found.version) == ("official", f"CIFAR-10-C {'0' * 32}")
    array = np.load(archive.folder / "contrast.npy")
    for severity in (1, 4):
        for image, index in zip(found.images("contrast", severity), split.index.tolist(), strict=True):
            assert np.array_equal(image.permute(1, 2, 0), array[(severity - 1) * 20 + index])


def test_generated_is_not_official_even_where_the_arrays_lie(monkeypatch):
    publish(monkeypatch, clean())
    assert corrupted.source(suite("generated"), "cifar10", DIGEST, clean()).kind == "generated"


def test_auto_generates_where_an_array_is_absent(monkeypatch):
    publish(monkeypatch, clean())
    found = corrupted.source(suite("auto", ["contrast", "snow"]), "cifar10", DIGEST, clean())
    assert found.kind == "generated"
    assert corrupted.source(suite("auto"), "digits", DIGEST, clean()).kind == "generated"


@pytest.mark.parametrize("kind", ["official", "auto"])
def test_an_altered_array_is_refused_and_never_passed_over(kind, monkeypatch):
    archive = publish(monkeypatch, clean())
    path = archive.folder / "contrast.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    found = corrupted.source(suite(kind), "cifar10", DIGEST, clean())
    with pytest.raises(UserError, match=r"contrast\.npy: not the published file .* `cure download cifar10-c`"):
        found.images("contrast", 1)


def test_a_checked_array_is_checked_again_only_when_it_changes(monkeypatch):
    archive, sums = publish(monkeypatch, clean()), []
    monkeypatch.setattr(published_corruptions, "md5sum", lambda path: sums.append(path.name) or md5sum(path))
    for _ in range(3):
        archive.array("contrast")
    assert sums == ["contrast.npy"]
    os.utime(archive.folder / "contrast.npy", (1, 1))
    archive.array("contrast")
    assert sums == ["contrast.npy"] * 2


def test_a_test_split_in_another_order_is_refused(monkeypatch):
    publish(monkeypatch, clean())
    split = clean()
    turned = Split(split.images.flip(0), split.labels.flip(0))
    with pytest.raises(UserError, match="its labels are not those of the prepared test split"):
        corrupted.source(suite("official"), "cifar10", DIGEST, turned)


def test_official_without_the_files_says_how_to_get_them():
    with pytest.raises(UserError, match=r"without contrast\.npy, labels\.npy; run `cure download cifar10-c`"):
        corrupted.source(suite("official"), "cifar10", DIGEST, clean())


def test_official_for_other_data_is_refused():
    with pytest.raises(UserError, match="only cifar10 and cifar100 have published arrays, not digits"):
        corrupted.source(suite("official"), "digits", DIGEST, clean())


def test_what_needs_an_extra_is_named_and_not_measured(monkeypatch):
    monkeypatch.setattr(generated_corruptions.importlib.util, "find_spec", lambda name: None)
    found = corrupted.source(suite(), "digits", DIGEST, clean())
    assert found.missing(["contrast", "frost", "spatter"]) == {
        "frost": "needs the optional extra `corruptions`, no module imagecorruptions or cv2",
        "spatter": "needs the optional extra `corruptions`, no module cv2",
    }


def test_published_frost_needs_no_extra(monkeypatch):
    publish(monkeypatch, clean())
    monkeypatch.setattr(generated_corruptions.importlib.util, "find_spec", lambda name: None)
    assert corrupted.source(suite("official"), "cifar10", DIGEST, clean()).missing(["frost", "spatter"]) == {}


@pytest.mark.parametrize("archive", ARCHIVES.values(), ids=str)
def test_checksums_are_of_every_corruption_and_of_the_labels(archive):
    assert set(archive.md5s) == {*catalogue.names("corruptions"), "labels"}
    assert {len(md5) for md5 in archive.md5s.values()} == {32}
    assert len(set(archive.md5s.values())) == 20


class Brightest(nn.Module):
    """Class 0 for dark images, 1 for bright ones."""

    def forward(self, x):
        mean = x.mean(dim=(1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], dim=1)


def test_counts_are_of_the_images_that_stay_right():
    shades = torch.tensor([100, 110, 120, 140], dtype=torch.uint8)
    images = shades[:, None, None, None].expand(4, 1, 8, 8).contiguous()
    split = Split(images, torch.tensor([0, 0, 0, 1]))
    found = corrupted.source(suite(corruptions=["brightness"]), "digits", DIGEST, split)
    ticks = []
    # V + 0.05, 0.3: 112, 122, 132, 152 and 176, 186, 196, 216 of 255
    right = corrupted.counts(Brightest(), split, found, ["brightness"], suite(), lambda *tick: ticks.append(tick))
    assert right == {"brightness": {"1": 3, "5": 1}}
    assert corrupted.correct(Brightest(), split, 3) == 4
    assert ticks == [("brightness", 3), ("brightness", 1)]


class Killed(Exception):
    pass


class Fragile(WorkItemFolder):
    """A folder whose process dies after so many units."""

    lives = 0

    def __setitem__(self, key, unit):
        if not self.lives:
            raise Killed
        self.lives -= 1
        super().__setitem__(key, unit)


@pytest.mark.parametrize("lives", [0, 1, 3])
def test_killed_after_some_units_and_run_again_it_counts_the_rest_alone(tmp_path, monkeypatch, lives):
    split, names = clean(channels=1), ["contrast", "fog"]
    found = corrupted.source(suite(corruptions=names), "digits", DIGEST, split)
    how = Brightest(), split, found, names, suite(corruptions=names), lambda *_: None
    whole = corrupted.counts(*how)
    store = Fragile(tmp_path / "units")
    store.lives = lives
    with pytest.raises(Killed):
        corrupted.counts(*how, store)
    assert len(store) == lives
    counted, count = [], corrupted.correct
    monkeypatch.setattr(corrupted, "correct", lambda *args: counted.append(1) or count(*args))
    assert corrupted.counts(*how, WorkItemFolder(tmp_path / "units")) == whole
    assert len(counted) == 4 - lives


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(
    "unit",
    [
        {"correct": torch.tensor(-1)},
        {"correct": torch.tensor(10**6)},
        {"correct": torch.tensor(1.5)},
        {"correct": torch.tensor([1, 2])},
        {"rows": torch.tensor(1)},
    ],
)
def test_a_unit_that_no_count_can_be_is_counted_again(unit):
    split, how = clean(channels=1), suite(corruptions=["contrast"])
    found = corrupted.source(how, "digits", DIGEST, split)
    store = {}
    whole = corrupted.counts(Brightest(), split, found, ["contrast"], how, lambda *_: None, store)
    store.update(dict.fromkeys(store, unit))
    assert corrupted.counts(Brightest(), split, found, ["contrast"], how, lambda *_: None, store) == whole
    assert all(set(kept) == {"correct"} for kept in store.values())


@pytest.mark.parametrize("other", ["network", "images", "labels", "batch"])
def test_a_unit_is_of_its_network_and_images_alone(tmp_path, other):
    split, net, how = clean(channels=1), nn.Flatten(), suite(corruptions=["gaussian_noise"])
    store = WorkItemFolder(tmp_path / "units")
    images = corrupted.source(how, "digits", DIGEST, split)
    corrupted.counts(net, split, images, ["gaussian_noise"], how, lambda *_: None, store)
    net = Brightest() if other == "network" else net
    images = dataclasses.replace(images, arrays=Generated(split, DIGEST, 4)) if other == "images" else images
    split = Split(split.images, split.labels.flip(0)) if other == "labels" else split
    how = suite(corruptions=["gaussian_noise"], batch=3) if other == "batch" else how
    before = len(store)
    corrupted.counts(net, split, images, ["gaussian_noise"], how, lambda *_: None, store)
    assert len(store) == 2 * before


def test_md5_is_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert md5sum(tmp_path / "a") == hashlib.md5(b"abc").hexdigest()
