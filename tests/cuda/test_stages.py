"""Every kind of stage with `run.device: cuda`, on a pretended device: it ends well, and mixes nothing."""

from pathlib import Path

import pytest
import torch

from cure import catalogue
from cure.storage import resume
from tests.support.pretend_cuda import pretending
from tests.support.settings import changed
from tests.support.stages import YAML_12, call, tiny

RUN = ("digits", "small")
PARENTS = [
    ("prepare", "digits"),
    ("pretrain", *RUN, 0),
    ("pretrain", "digits", "small_resnet", 0),
    *(("update", *RUN, method, 0) for method in ("at", "trades", "cure", "arat")),
    ("revise", *RUN, "cure", 0),
    ("revise", *RUN, "arat", 0),
    ("revise", *RUN, "rift", 0),
]
STAGES = [
    *PARENTS[1:4],
    ("update", *RUN, "ard", 0),
    ("revise", *RUN, "cure", 0),
    ("revise", *RUN, "arat", 0),
    ("revise", *RUN, "rift", 0),
    ("attack", *RUN, "at", 0),
    ("attack", *RUN, "rift", 0),
    ("corrupt", *RUN, "at", 0),
    ("layers", "digits", "small_resnet", "finetune", "every", 0),
    *(("analyse", *RUN, method, 0) for method in ("natural", "at", "cure", "arat")),
]


def settings():
    raw = tiny()
    for key, value in {"device": "cuda", "deterministic": True, "layout": "channels_last", "graphs": True}.items():
        raw = changed(raw, f"run.{key}", value)
    for section in ("pretrain", "train"):  # two steps an epoch
        raw = changed(raw, f"{section}.batch", 700)
    raw = changed(raw, "layers.blocks", {"every": {"first": ["layer1"]}})
    raw = changed(raw, "analyse.images", 32)
    for section in ("attack", "corrupt"):
        raw = changed(raw, f"{section}.images", 40)
        raw = changed(raw, f"{section}.batch", 16)
    on_request = raw["attack"]["on_request"]  # what `cure eval --attacks` may ask for, too
    raw["attack"]["columns"] |= {
        n: c | {k: 3 for k in ("steps", "iterations") if k in c} for n, c in on_request.items()
    }
    return changed(raw, "attack.on_request", {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pipeline with all that the stages need, made on the host."""
    place = tmp_path_factory.mktemp("pipeline")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "FOLDER", tmp_path_factory.mktemp("scratch"))
        YAML_12.dump(changed(settings(), "run.device", "cpu"), place / "params.yaml")
        for stage in PARENTS:
            call(place, *stage)
        YAML_12.dump(settings(), place / "params.yaml")
        yield place


@pytest.fixture(autouse=True)
def own_flags():
    """What a stage sets for its process is undone."""
    places = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [place.allow_tf32 for place in places]
    yield
    for place, flag in zip(places, before, strict=True):
        place.allow_tf32 = flag


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: " ".join(map(str, stage)))
def test_a_stage_on_a_device(folder: Path, stage: tuple[str, ...]) -> None:
    with pretending() as device:
        call(folder, *stage)
    assert device.operations > 100
    assert not {event for event in device.events if event.kind != "wait"}


def test_every_kind_of_stage_and_every_attack_and_analysis_is_among_them() -> None:
    kinds = {path.stem for path in Path(__file__).parents[2].joinpath("stages").glob("[a-z]*.py")}
    assert {stage[0] for stage in STAGES} == kinds - {"digest", "prepare", "report", "show"}
    assert {column["attack"] for column in settings()["attack"]["columns"].values()} == set(catalogue.names("attacks"))
    assert set(settings()["analyse"]["entries"]) == set(catalogue.names("analyses"))
