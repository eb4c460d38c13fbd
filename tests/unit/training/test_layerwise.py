"""The layer-wise study on a few random images: what it trains, what it writes, and that it survives being killed."""

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from cure import catalogue
from cure.data import prepared
from cure.settings.layers import Blocks, Freezing, Variant
from cure.settings.params import Params, read
from cure.storage import checkpoint, paths, resume
from cure.storage.paths import Run
from cure.storage.resume import Scratch
from cure.training import layerwise, loop
from cure.training.job import Job
from cure.training.layerwise import Study, execute
from cure.training.loop import Task, train
from tests.support import descriptions
from tests.support.method_harness import QUICKSTART, same, state
from tests.support.saving import every_epoch

HONEST = {"freeze_stem": True, "bn_frozen_eval": True, "reinit_bn": False}
EVERYTHING = ["stem", "layer1", "layer2", "layer3", "layer4", "logits"]
SETS = {"u1": ["layer1"], "u23": ["layer2", "layer3"]}
EPOCHS, IMAGES = 3, 12
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline with 20 training and 12 validation images, and a natural network that has seen something."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resume, "FOLDER", tmp_path / "scratch")
    every_epoch(monkeypatch.setattr)
    draws, tensors = torch.Generator().manual_seed(0), {}
    for split, count in (("train", 20), ("val", IMAGES), ("test", 4)):
        pictures = torch.randint(256, (count, 1, 8, 8), generator=draws)
        tensors |= {f"{split}/images": pictures.to(torch.uint8), f"{split}/labels": torch.arange(count) % 3}
    about = {"kind": "data", "name": "digits", "classes": ["0", "1", "2"], "channels": 1, "size": 8}
    paths.data("digits").parent.mkdir()
    save_file(tensors, paths.data("digits"), metadata={"cure": json.dumps(about)})
    settings = {"width": 4, "normalise": None}
    natural = checkpoint.build("small_resnet", settings, 1, 3)
    with torch.no_grad():
        natural(torch.rand(16, 1, 8, 8))
    digest = prepared.load(paths.data("digits"), ("val",), CPU).digest
    described = descriptions.natural("small_resnet", settings, about["classes"], digest)
    checkpoint.save(Run("digits", "small_resnet", "natural", 0).weights, {"": natural.state_dict()}, described)
    return tmp_path


def study(variant: Variant = "finetune", sets: dict[str, list[str]] = SETS, **how: bool) -> Study:
    """As stages/layers.py makes it, from the shipped params with a smaller schedule."""
    raw = copy.deepcopy(read(QUICKSTART))
    raw["models"]["small_resnet"]["width"] = 4
    raw["methods"]["at"]["attack"]["steps"] = raw["train"]["validate_attack"]["steps"] = 2
    raw["layers"]["update"]["train"] = {"epochs": EPOCHS, "batch": 8, "drops": {3: 0.1}}
    raw["layers"]["blocks"] = {"few": sets}
    keys = ["datasets.digits.augment", "models.small_resnet", "methods.at", "layers.update", "layers.blocks.few"]
    params = Params(raw, ["run", "threat", "train", *keys], "digits", "small_resnet")
    method = catalogue.entry("methods", "at").METHOD
    hyper, _ = params.method("methods.at", method.hyper)
    _, schedule = params.method("layers.update", Freezing)
    run = Run("digits", "small_resnet", "natural", 0).layers(variant, "few")
    chosen = params.get("layers.blocks.few", Blocks).sets
    return Study(Job("layers", run, params, method, hyper, schedule), variant, chosen, Freezing(**HONEST | how))


def fitted(job: Job, label: str) -> tuple[dict[str, torch.Tensor], list[dict[str, float | int]]]:
    """The last network of one training and its history."""
    source = prepared.load(paths.data("digits"), ("train", "val"), CPU)
    nets = job.assemble(source)
    task = Task(job, nets, source.splits["train"], source.splits["val"], CPU)
    kept = train(task, Scratch("test", label, {}, []), lambda note: None)
    return state(nets["student"]), kept.history


def not_natural(after: dict[str, torch.Tensor]) -> set[str]:
    """The tensors that differ from those of the natural network."""
    _, states = checkpoint.load(Run("digits", "small_resnet", "natural", 0).weights)
    return {key for key, tensor in states[""].items() if not torch.equal(after[key], tensor)}


def result(variant: str = "finetune") -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(outs(variant)[0].read_text())
    return found


def outs(variant: str = "finetune") -> list[Path]:
    run = Run("digits", "small_resnet", "natural", 0).layers(variant, "few")
    return [run.result("layers"), run.curve, run.provenance("layers")]


def test_everything_fine_tuned_is_adversarial_training_from_the_natural_network() -> None:
    one = study(sets={"all": EVERYTHING})
    plain = replace(one.job, method=replace(one.job.method, init="natural"))
    (ours, history), (theirs, expected) = fitted(one.of("all"), "ours"), fitted(plain, "theirs")
    assert same(ours, theirs)
    assert history == expected
    execute(one)
    assert pd.read_csv(outs()[1])["val_pgd"].tolist() == [row["val_pgd"] for row in expected]


@pytest.mark.parametrize("variant", ["reinit", "finetune"])
def test_after_training_the_frozen_tensors_are_the_natural_ones(variant: Variant) -> None:
    after, _ = fitted(study(variant).of("u23"), variant)
    assert not_natural(after) == {key for key in after if key.startswith(("layer2.", "layer3."))}


def test_the_looser_variant_drifts() -> None:
    after, _ = fitted(study(freeze_stem=False, bn_frozen_eval=False).of("u1"), "loose")
    moved = not_natural(after)
    assert {"conv1.weight", "layer4.0.bn2.running_mean"} <= moved
    assert not {"layer4.0.bn2.weight", "layer4.0.conv2.weight", "linear.weight"} & moved


def test_variants_differ_in_where_the_chosen_blocks_start() -> None:
    source = prepared.load(paths.data("digits"), ("train", "val"), CPU)
    starts = {v: state(study(v).of("u1").assemble(source)["student"]) for v in ("reinit", "finetune")}
    assert not_natural(starts["finetune"]) == set()
    assert not_natural(starts["reinit"]) == {"layer1.0.conv1.weight", "layer1.0.conv2.weight"}


def test_it_writes_an_outcome_per_image_and_a_line_per_set_and_epoch() -> None:
    execute(study())
    found = result()
    assert (found["images"], found["epochs"]) == (IMAGES, EPOCHS)
    assert list(found["networks"]) == ["natural", "u1", "u23"]
    for one in found["networks"].values():
        assert len(one["clean"]) == len(one["pgd"]) == IMAGES
        assert all(clean == "1" for clean, pgd in zip(one["clean"], one["pgd"], strict=True) if pgd == "1")
    assert [one["parts"] for one in found["networks"].values()] == [[], *SETS.values()]
    lines = pd.read_csv(outs()[1])
    assert lines["set"].tolist() == ["u1"] * EPOCHS + ["u23"] * EPOCHS
    last = lines[lines["epoch"] == EPOCHS].set_index("set")
    for name in SETS:
        assert last["val_pgd"][name] == pytest.approx(found["networks"][name]["pgd"].count("1") / IMAGES)


def test_the_share_of_updated_weights_is_that_of_the_parts() -> None:
    execute(study(sets={"u4": ["layer4"], "all": EVERYTHING}))
    net = checkpoint.build("small_resnet", {"width": 4}, 1, 3)
    share = sum(w.numel() for w in net.layer4.parameters()) / sum(w.numel() for w in net.parameters())
    found = {name: one["updated"] for name, one in result()["networks"].items()}
    assert found == {"natural": 0, "u4": pytest.approx(share), "all": 1}


@contextmanager
def killed_after(ticks: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process ends without warning after this many epochs of all sets together."""
    count = iter(range(1, 99))

    @contextmanager
    def progress(label: str, total: int, unit: str) -> Iterator[Callable[[str], None]]:
        def on_progress(note: str) -> None:
            if next(count) == ticks:
                raise KeyboardInterrupt

        yield on_progress

    with monkeypatch.context() as patch:
        patch.setattr(layerwise, "progress", progress)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.mark.parametrize("ticks", [1, EPOCHS, EPOCHS + 2])
def test_killed_and_run_again_it_ends_in_the_same_bytes(
    ticks: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(study())
    undisturbed = [path.read_bytes() for path in outs()]
    for path in outs():
        path.unlink()
    with killed_after(ticks, monkeypatch):
        execute(study())
    assert not any(path.exists() for path in outs())
    assert len(list(folder.glob("scratch/*.pt"))) == -(-ticks // EPOCHS)
    epochs = watched_epochs(monkeypatch)
    execute(study())
    assert len(epochs) == 2 * EPOCHS - ticks
    assert [path.read_bytes() for path in outs()] == undisturbed
    assert list(folder.glob("scratch/*.pt")) == []


def watched_epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects the epochs that are trained from now on."""
    seen, honest = list[int](), loop._epoch

    def watched(task, step, loader, epoch, average, past):
        seen.append(epoch)
        return honest(task, step, loader, epoch, average, past)

    monkeypatch.setattr(loop, "_epoch", watched)
    return seen


def test_the_test_split_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, honest = list[str](), prepared.load

    def watched(path: Path, splits: tuple[str, ...], device: torch.device) -> prepared.Data:
        asked.extend(splits)
        return honest(path, splits, device)

    monkeypatch.setattr(prepared, "load", watched)
    execute(study(sets={"u1": ["layer1"]}))
    assert set(asked) == {"train", "val"}
