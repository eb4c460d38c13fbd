"""Broken settings, data, weights, resume files and disks: every one is refused in plain words, and nothing changes."""

import contextlib
import io
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cure.errors import UserError
from cure.settings.check import load
from cure.storage import checkpoint
from cure.storage import resume as resume_files
from cure.storage.files import replacing, write_text
from tests.support.settings import GONE, QUICKSTART, changed
from tests.support.stages import (
    ATTACK,
    CORRUPT,
    DATA,
    NATURAL,
    REVISE_CURE,
    RUN,
    TRAJECTORY,
    UPDATE_CURE,
    UPDATE_TRADES,
    YAML_12,
    call,
    command,
    edit_header,
    edit_params,
    everything,
    full_disk,
    opened,
    refusal,
)


def edit_tensors(path, names, change):
    about, tensors = opened(path)
    tensors |= {name: change(tensors[name]) for name in names.split()}
    save_file(tensors, path, metadata={"cure": json.dumps(about)})


def strip_header(path):
    save_file(opened(path)[1], path)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# ---- params.yaml


COLUMNS = QUICKSTART["attack"]["columns"]
COLUMN = COLUMNS["pgd20"]
BROKEN = [  # where, what stands there, what must be said
    ("trian", {}, "trian: unknown section, did you mean train?"),
    ("corrupt", GONE, "corrupt: missing section"),
    ("train", [1, 2], "train: Input should be a valid dictionary"),
    ("grid", "digits", "grid: Input should be a valid dictionary"),
    ("run", None, "run: Input should be a valid dictionary"),
    ("threat", 5, "threat: "),
    ("models", ["small"], "models: not a mapping from entries to settings"),
    ("methods.at", [1], "methods.at: "),
    ("train.momentun", 0.9, "train.momentun: unknown key, did you mean momentum?"),
    ("train.lr", GONE, "train.lr: missing"),
    ("train.epochs", "forty", "train.epochs: Input should be a valid integer; found 'forty'"),
    ("train.epochs", 0, "train.epochs: Input should be greater than or equal to 1; found 0"),
    ("train.epochs", 1.5, "train.epochs: Input should be a valid integer; found 1.5"),
    ("train.momentum", 1, "train.momentum: Input should be less than 1; found 1"),
    ("train.lr", True, "train.lr: Input should be a valid number; found True"),
    ("train.nesterov", 1, "train.nesterov: Input should be a valid boolean; found 1"),
    ("train.protocol", "papr", "train.protocol: Input should be 'paper' or 'matched'; found 'papr'"),
    ("train.drops", {"late": 0.1}, "train.drops.late.[key]: Input should be a valid integer; found 'late'"),
    ("train.drops", {0: 0.1}, "train.drops.0.[key]: Input should be greater than or equal to 1; found 0"),
    ("pretrain", QUICKSTART["pretrain"] | {"nesterov": True, "momentum": 0}, "pretrain: "),  # PyTorch has no such SGD
    ("threat.eps", -0.1, "threat.eps: Input should be greater than 0; found -0.1"),
    ("threat.eps", 8, "threat.eps: Input should be less than or equal to 1; found 8"),  # 8/255
    ("methods.at.attack.eps", 8, "methods.at.attack.eps: Input should be less than or equal to 1; found 8"),
    ("methods.las_at.eps", [8], "methods.las_at.eps.0: Input should be less than or equal to 1; found 8"),
    ("train.validate_attack.eps", 8, "train.validate_attack.eps: Input should be less than or equal to 1; found 8"),
    ("analyse.attack.eps", 8, "analyse.attack.eps: Input should be less than or equal to 1; found 8"),
    ("threat.eps", "8/0", "threat.eps: not a number or a fraction such as 8/255; found '8/0'"),
    ("alpha", 1.5, "alpha: Input should be less than or equal to 1; found 1.5"),
    ("alpha", GONE, "alpha: missing"),
    ("run.threads", 1_000_000, "run.threads: Input should be less than or equal to 1024; found 1000000"),
    ("run.processes", 1_000_000, "run.processes: Input should be less than or equal to 1024; found 1000000"),
    ("train.epochs", 10**400, "train.epochs: Input should be less than 2147483648; found 1000"),
    ("train.lr", 1e308, "train: lr, lr times a factor of drops, or weight_decay is 1e+308, beyond float32"),
    ("train.drops", {1: 1e308}, "train: lr, lr times a factor of drops, or weight_decay is "),
    ("pretrain.weight_decay", 1e308, "pretrain: lr, lr times a factor of drops, or weight_decay is 1e+308, beyond"),
    ("preflight.program_seconds", 0, "preflight.program_seconds: Input should be greater than 0; found 0"),
    ("preflight.program_seconds", 1e308, "preflight.program_seconds: Input should be less than or equal to 86400; fou"),
    ("preflight.program_seconds", GONE, "preflight.program_seconds: missing"),
    ("run.device", "gpu", "run.device: Input should be 'cuda', 'cpu' or 'auto'; found 'gpu'"),
    ("grid.datasets", ["digit"], "grid: 'digit' has no section under datasets, did you mean digits?"),
    ("grid.datasets", 5, "grid.datasets: Input should be a valid list; found 5"),
    ("grid.models", ["smal"], "grid: 'smal' has no section under models, did you mean small?"),
    (
        "grid.pretrain",
        ["small"],
        "grid: pretrain must list all of grid.models and grid.layers.models, no others: small, small_resnet",
    ),
    (
        "grid.layers.models",
        ["smal_resnet"],
        "grid: pretrain must list all of grid.models and grid.layers.models, no others: small, smal_resnet",
    ),
    ("grid.layers.variants", ["reinitt"], "grid.layers.variants.0: Input should be 'reinit' or 'finetune'; found 'rei"),
    ("grid.layers.groups", ["evry"], "grid.layers.groups: 'evry' is not among layers.blocks, did you mean every?"),
    ("grid.layers.groups", ["every", "every"], "grid: layers.groups names an entry twice; remove one"),
    ("models.small_resnet", GONE, "grid: 'small_resnet' has no section under models; known: small"),
    ("layers", None, "layers: not a mapping with `update` and `blocks`"),
    ("layers.blocs", {}, "layers.blocs: unknown key, did you mean blocks?"),
    ("layers.update.freeze_stm", True, "layers.update.freeze_stm: unknown key, did you mean freeze_stem?"),
    ("layers.update.train.lr", -1, "layers.update.train.lr: Input should be greater than 0; found -1"),
    ("layers.blocks.every.u1", ["layer5"], "layers.blocks.every.u1: small_resnet has no weights in 'layer5', did you"),
    ("layers.blocks.every.u1", ["pooled"], "layers.blocks.every.u1: small_resnet has no weights in 'pooled'; known: l"),
    ("layers.blocks.every.u1", [], "layers.blocks.every.u1: List should have at least 1 item after validation, not 0"),
    (
        "grid.layers.groups",
        ["../every"],
        "grid.layers.groups.0: not a name of letters, digits, _ and - (up to 64 of the",
    ),
    (
        "layers.blocks.every",
        {"../x": ["stem"]},
        "layers.blocks.every: '../x' is not a name of letters, digits, _ and - (up",
    ),
    ("layers.blocks.every.natural", ["stem"], "layers.blocks.every: a set is named natural, like the network that all"),
    ("grid.update", ["at", "tradez"], "grid: 'tradez' has no section under methods, did you mean trades?"),
    ("grid.update", [*QUICKSTART["grid"]["update"], "at"], "grid: update names an entry twice; remove one"),
    ("grid.update", [["at"]], "grid.update.0: Input should be a valid string; found ['at']"),
    ("grid.rows", ["at"], "grid.rows: unknown key; known: "),
    ("grid.seeds", [0, 0], "grid: seeds names an entry twice; remove one"),
    ("grid.seeds", [2**31], "grid.seeds.0: Input should be less than 2147483648; found 2147483648"),
    ("datasets.digits.split_seed", 2**31, "datasets.digits.split_seed: Input should be less than 2147483648; found 2"),
    ("grid.seeds", [-1], "grid.seeds.0: Input should be greater than or equal to 0; found -1"),
    ("methods.at.preset", "ricee", "methods.at.preset: no preset 'ricee', did you mean rice?"),
    ("models.small.width", 1_000_000, "models.small.width: Input should be less than or equal to 4096; found 1000000"),
    (
        "models.small_resnet.width",
        10**400,
        "models.small_resnet.width: Input should be less than or equal to 1024; fou",
    ),
    ("attack.columns.pgd20.eps", 5, "attack.columns.pgd20.eps: Input should be less than or equal to 1; found 5"),
    (
        "attack.on_request.aa_rand.eps",
        8,
        "attack.on_request.aa_rand.eps: Input should be less than or equal to 1; found 8",
    ),
    ("attack.table", ["aa", "aa"], "attack.table: names an entry twice; remove one"),
    ("attack.last", ["pgd20", "pgd20"], "attack.last: names an entry twice; remove one"),
    ("corrupt.severities", [1, 1], "corrupt.severities: names an entry twice; remove one"),
    ("corrupt.corruptions", ["contrast", "contrast"], "corrupt.corruptions: names an entry twice; remove one"),
    ("report.figures", ["curves", "curves"], "report.figures: names an entry twice; remove one"),
    ("report.against", ["at", "at"], "report.against: names an entry twice; remove one"),
    ("models.small.width", "wide", "models.small.width: Input should be a valid integer; found 'wide'"),
    ("datasets.digits.test", 1, "datasets.digits.test: Input should be less than 1; found 1"),
    ("attack.columns.pgd20.attack", "pgdd", "attack.columns.pgd20.attack: no attack 'pgdd', did you mean pgd?"),
    ("attack.columns.pgd20.attack", GONE, "attack.columns.pgd20.attack: no attack None; known: "),
    ("attack.columns.clean", QUICKSTART["attack"]["columns"]["pgd20"], "attack.columns.clean: "),  # a column of its own
    ("attack.nrr", "cw200", "attack: nrr names 'cw200', which is not among columns: "),
    ("attack.subset", {"aaa": 9}, "attack: subset names 'aaa', which is not among columns: "),
    ("attack.table", ["min_l2"], "attack.columns.min_l2: has no accuracy of its own, so none of nrr, table and last"),
    ("attack.columns.aa.version", "fast", "attack.columns.aa.version: "),
    ("attack.columns.pgd20.bn", "train", "attack.columns.pgd20.bn: "),
    ("attack.layout", "fastest", "attack.layout: "),
    ("corrupt.severities", [0, 6], "corrupt.severities.1: Input should be less than or equal to 5; found 6"),
    ("corrupt.severities", [], "corrupt.severities: "),  # the table's mean over them would be that of nothing
    ("corrupt.corruptions", ["contrst"], "corrupt.corruptions: no entry 'contrst', did you mean contrast?"),
    ("report.figures", ["curvs"], "report.figures: no entry 'curvs', did you mean curves?"),
    ("grid.analyse", ["rift"], "grid: analyse names 'rift', which is not a method with a training loop"),
    (
        "grid.analyse",
        ["cur"],
        "grid: analyse names 'cur', which is not a method with a training loop, did you mean cure?",
    ),
    ("analyse.entries.cka.batch", 3, "analyse.entries.cka.batch: Input should be greater than or equal to 4; found 3"),
    ("analyse.entries", {"mask": {"images": 8}}, "analyse.entries.mask: no such entry, did you mean masks?"),
    ("analyse.entries.masks.images", GONE, "analyse.entries.masks.images: missing"),
    ("train.average", "much", "train.average: not a number or a fraction such as 8/255; found 'much'"),
    ("train.average", {"decay": 0.999}, "train.average.begin: missing"),
    (
        "train.average",
        {"decay": 2, "begin": 1},
        "train.average.decay: Input should be less than or equal to 1; found 2",
    ),
    ("train.average", {"decay": 0.9, "begin": 99}, "train: average.begin is 99, but there are 25 epochs"),
    ("train.lr_schedule", "cosin", "train.lr_schedule: Input should be 'drops', 'linear' or 'cosine'; found 'cosin'"),
    ("train.lr_schedule", "cosine", "train: lr_schedule is cosine, which has no drops; set drops to {}"),
    ("train.lr_schedule", {"rise": 0.3}, "train.lr_schedule.first: missing"),
    ("train.lr_schedule", {"rse": 0.3}, "train.lr_schedule.rse: unknown key, did you mean rise?"),
    ("train.average", {"begin": 1, "evry": 1}, "train.average.evry: unknown key, did you mean every?"),
    ("train.average", {"begin": 0, "every": 1}, "train.average.begin: Input should be greater than or equal to 1; fou"),
    ("train.average", {"begin": 1}, "train.average.every: missing"),
    ("train.snapshots", [0.5, 0], "train: snapshots must increase; found 0.5, 0"),
    ("train.snapshots", [1], "train.snapshots.0: Input should be less than 1; found 1"),
    ("train.drops", {19: 0.1, "19": 0.2}, "train.drops: epoch 19 is given twice, as 19 and as '19'; remove one of"),
    (
        "methods.fat.tau",
        {1: 0, "1": 1},
        "methods.fat.tau: epoch 1 is given twice, as 1 and as '1'; remove one of th",
    ),
    ("methods.las_at.strategy_drops", {3: 1, "3": 1}, "methods.las_at.strategy_drops: epoch 3 is given twice, as "),
    ("methods.rift.drops", {2: 0.1, "02": 0.1}, "methods.rift.drops: epoch 2 is given twice, as 2 and as '2'; rem"),
    ("attack.batch", 1e30, "attack.batch: Input should be a valid integer; found 1e+30"),
    ("attack.batch", 10**23, "attack.batch: Input should be less than 2147483648; found 100000000000000000000000"),
    ("attack.images", 10**23, "attack.images: Input should be less than 2147483648; found 100000000000000000000000"),
    ("corrupt.batch", 10**23, "corrupt.batch: Input should be less than 2147483648; found 100000000000000000000000"),
    ("attack.subset.aa", 10**23, "attack.subset.aa: Input should be less than 2147483648; found 10000000000000000000"),
    ("attack.columns.pgd20.steps", 10**23, "attack.columns.pgd20.steps: Input should be less than 2147483648; found 1"),
    (
        "preflight.images",
        10**23,
        "preflight.images: Input should be less than 2147483648; found 1000000000000000000000",
    ),
    ("datasets.digits.augment.crop", 10**23, "datasets.digits.augment.crop: Input should be less than 2147483648; fou"),
    ("analyse.entries.calibration.bins", 10**9, "analyse.entries.calibration.bins: Input should be less than or equal"),
    ("analyse.entries.landscape.points", 10**9, "analyse.entries.landscape.points: Input should be less than or equal"),
    (
        "attack.columns",
        COLUMNS | {"../x": COLUMN},
        "attack.columns.../x.[key]: not a name of letters, digits, _ and - (up to 64 of th",
    ),
    ("attack.columns.my pgd", COLUMN, "attack.columns.my pgd.[key]: not a name of letters, digits, _ and - (up to 64"),
    ("attack.columns.a|b", COLUMN, "attack.columns.a|b.[key]: not a name of letters, digits, _ and - (up to 64 of the"),
    ("attack.columns.é", COLUMN, "attack.columns.é.[key]: not a name of letters, digits, _ and - (up to 64 of them); "),
    (
        "attack.columns",
        COLUMNS | {"": COLUMN},
        "attack.columns.[key]: not a name of letters, digits, _ and - (up to 64 of them); fou",
    ),
    ("attack.columns." + "x" * 65, COLUMN, "attack.columns." + "x" * 65 + ".[key]: not a name of letters, digits"),
    ("attack.on_request.a/b", COLUMN, "attack.on_request.a/b.[key]: not a name of letters, digits, _ and - (up to 64"),
    ("attack.columns.label", COLUMN, "attack.columns.label: the table has a column of this name already"),
    ("report.title", 3, "report.title: Input should be a valid string; found 3"),
]


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(("where", "value", "said"), BROKEN, ids=[f"{w}-{i}" for i, (w, *_) in enumerate(BROKEN)])
def test_broken_settings_are_refused_by_place(tmp_path, where, value, said):
    path = tmp_path / "params.yaml"
    YAML_12.dump(changed(QUICKSTART, where, value), path)
    with pytest.raises(UserError) as refused:
        load(["run"], path=path)
    assert str(refused.value).startswith(f"{path} has problems:\n")
    assert f"\n  {said}" in str(refused.value)


@pytest.mark.parametrize("protocol", ["paper", "matched"])
@pytest.mark.parametrize("where", ["train.lr", "threat.eps", "train.validate_attack.steps"])
def test_one_mistake_is_told_once(tmp_path, where, protocol):
    path = tmp_path / "params.yaml"
    tuned = changed(QUICKSTART, "methods.trades.matched", {"train": {"weight_decay": 1e-3}})
    YAML_12.dump(changed(changed(tuned, "train.protocol", protocol), where, -1), path)
    with pytest.raises(UserError) as refused:
        load(["run"], path=path)
    assert str(refused.value).count("found -1") == 1


LEVELS = [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 9)]
BOMB = "\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x, x]", *LEVELS]).encode()  # ten times as much on each line
LONG = f"a: &a {'x' * 10_000}\nb: [{', '.join(['*a'] * 1000)}]\n".encode()
NOT_SETTINGS = {
    "unclosed": (b"train: [1\n", "not valid YAML: "),
    "tab": (b"train:\n\tlr: 1\n", "not valid YAML: "),
    "twice": (b"alpha: 0.1\nalpha: 0.2\n", 'found duplicate key "alpha"'),
    "deep twice": (b"train:\n  lr: 1\n  lr: 2\n", 'found duplicate key "lr"'),
    "python object": (b"alpha: !!python/object/apply:os.getpid []\n", "not valid YAML: could not determine a constr"),
    "two documents": (b"alpha: 1\n---\nalpha: 2\n", "not valid YAML: expected a single document"),
    "latin": ("title: Größe\n".encode("latin-1"), "not valid YAML: 'utf-8' codec can't decode"),
    "no such day": (b"title: 2024-02-31\n", "not valid YAML: "),
    "list": (b"- alpha\n", "has no sections"),
    "empty": (b"", "has no sections"),
    "aliases of aliases": (BOMB, "not valid YAML: its aliases expand to more than 1,000,000 values"),
    "a long text many times": (LONG, "not valid YAML: its aliases expand to more than 1,000,000 values"),
    "half a surrogate pair": (b'report:\n  title: "a\\ud800"\n', "report.title: holds U+D800, a character that no"),
    "a key of half a pair": (b'report:\n  "\\udfff": 1\n', "report: holds U+DFFF, a character that no text file can"),
    "no character": (b'datasets:\n- path: "a\\0b"\n', "datasets.0.path: holds U+0000, a character that no text"),
    "itself": (b"train: &a\n  lr: *a\n", "not valid YAML: Circular reference detected"),
    "brackets without end": (b"[" * 100_000, "not valid YAML: "),
    "a number of 5,000 digits": (b"alpha: " + b"9" * 5000, "not valid YAML: "),
}


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("kind", NOT_SETTINGS)
def test_a_file_that_is_not_settings_is_refused(tmp_path, kind):
    path = tmp_path / "params.yaml"
    text, said = NOT_SETTINGS[kind]
    path.write_bytes(text)
    with pytest.raises(UserError) as refused:
        load(["run"], path=path)
    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)


@pytest.mark.reliability("wrong inputs")
def test_missing_settings_are_refused_with_where_to_go(tmp_path):
    with pytest.raises(UserError, match=r"params\.yaml: not found; run this in a folder with a params\.yaml"):
        load(["run"], path=tmp_path / "params.yaml")


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("special", ["pipe", "device"])
def test_a_pipe_or_device_in_place_of_settings_is_refused_at_once(tmp_path, special):
    path = {"pipe": tmp_path / "params.yaml", "device": Path("/dev/zero")}[special]
    if special == "pipe":
        os.mkfifo(path)
    with pytest.raises(UserError, match=f"{path}: a device or a pipe, not a file"):
        load(["run"], path=path)


@pytest.mark.reliability("wrong inputs")
def test_a_folder_in_place_of_settings_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read: Is a directory"):
        load(["run"], path=tmp_path)


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("digits", "small", "tradez"), "no entry 'tradez', did you mean trades?"),
        (("digits", "smal", "trades"), "no entry 'smal', did you mean small?"),
        (("digitz", "small", "trades"), "no entry 'digitz', did you mean digits?"),
        (("digits", "resnet18", "trades"), "models.resnet18: missing"),
    ],
)
def test_a_cell_that_the_settings_do_not_know_is_refused(folder, args, said):
    assert said in refusal(folder, "update", *args, 0)


@pytest.mark.reliability("wrong inputs")
def test_a_method_that_does_not_consolidate_cannot_be_revised(folder):
    assert "trades does not consolidate" in refusal(folder, "revise", *RUN, "trades", 0)


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(("where", "said"), [("validation", "cannot set 9999 of"), ("test", "cannot set ")])
def test_a_split_larger_than_the_data_is_refused(folder, where, said):
    edit_params(folder, f"datasets.digits.{where}", {"validation": 9999, "test": 0.9999}[where])
    assert said in refusal(folder, "prepare", "digits")


# ---- prepared data


BAD_DATA = {  # what happens to data/digits.safetensors -> what must be said
    "missing": (Path.unlink, "not found; `dvc repro` makes it in its stage prepare"),
    "truncated": (truncate, "not a whole prepared data file"),
    "empty": (lambda path: path.write_bytes(b""), "not a whole prepared data file"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "a device or a pipe, not a file"),
    "text": (lambda path: path.write_text("image,label\n" * 99), "not a whole prepared data file"),
    "weights": (lambda path: shutil.copy(path.parents[1] / NATURAL, path), "prepared data"),
    "undescribed": (strip_header, "not prepared data"),
    "of another kind": (lambda path: edit_header(path, kind="network"), "holds network, not prepared data"),
    "without class names": (lambda path: edit_header(path, classes=GONE), "classes"),
    "fewer classes": (lambda path: edit_header(path, classes=["0", "1"]), "labels outside its 2 classes"),
    "fewer labels": (lambda path: edit_tensors(path, "train/labels", lambda y: y[:9].clone()), "1018 images and 9"),
    "other labels": (
        lambda path: edit_tensors(path, "val/labels", lambda y: y - 5),
        "split val is empty or has labels",
    ),
    "empty split": (
        lambda path: edit_tensors(path, "val/images val/labels", lambda t: t[:0].clone()),
        "split val is empty",
    ),
    "float images": (lambda path: edit_tensors(path, "train/images", torch.Tensor.float), "uint8"),
}


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data_is_refused_with_its_path(folder, kind):
    damage, said = BAD_DATA[kind]
    damage(folder / DATA)
    message = refusal(folder, *UPDATE_TRADES)
    assert message.startswith(f"{DATA}: ")
    assert said in message


# ---- weights


def damaged(path, **changes):
    return lambda folder: edit_header(folder / path, **changes)


OTHER_DATA = "0" * 64
BAD_WEIGHTS = {  # what happens, which stage reads it, what must be said
    "parent missing": (lambda f: (f / NATURAL).unlink(), UPDATE_CURE, NATURAL, "not found"),
    "parent truncated": (lambda f: truncate(f / NATURAL), UPDATE_CURE, NATURAL, "not a whole weight file"),
    "parent empty": (lambda f: (f / NATURAL).write_bytes(b""), UPDATE_CURE, NATURAL, "not a whole weight file"),
    "parent undescribed": (lambda f: strip_header(f / NATURAL), UPDATE_CURE, NATURAL, "without a description"),
    "parent half described": (damaged(NATURAL, classes=GONE), UPDATE_CURE, NATURAL, "not a whole weight file"),
    "parent of another width": (
        lambda f: edit_params(f, "models.small.width", 8),
        UPDATE_CURE,
        NATURAL,
        "'width': 16}, but digits/small/cure-s0 needs {'width': 8, ",
    ),
    "parent of another model": (
        damaged(NATURAL, model="resnet18"),
        UPDATE_CURE,
        NATURAL,
        "its model is resnet18, but digits/small/cure-s0 needs small in the role natural",
    ),
    "parent of another data set": (damaged(NATURAL, dataset="svhn"), UPDATE_CURE, NATURAL, "data set is svhn, but"),
    "parent of other data": (damaged(NATURAL, data_digest=OTHER_DATA), UPDATE_CURE, NATURAL, f"is {OTHER_DATA}, but"),
    "parent is a trajectory": (
        lambda f: shutil.copy(f / TRAJECTORY, f / NATURAL),
        UPDATE_CURE,
        NATURAL,
        "is a training checkpoint, not one network",
    ),
    "attacked trajectory": (
        lambda f: shutil.copy(f / TRAJECTORY, f / NATURAL),
        ATTACK,
        NATURAL,
        "is a training checkpoint, not one network",
    ),
    "corrupted trajectory": (
        lambda f: shutil.copy(f / TRAJECTORY, f / NATURAL),
        CORRUPT,
        NATURAL,
        "is a training checkpoint, not one network",
    ),
    "attacked of another width": (
        damaged(NATURAL, settings={"width": 8}),
        ATTACK,
        NATURAL,
        "weights do not fit small: stem.conv1.weight is (16, 1, 3, 3), not (8, 1, 3, 3), and ",
    ),
    "attacked of another model": (damaged(NATURAL, model="resnet18"), ATTACK, NATURAL, "resnet18"),
    "attacked of no model": (damaged(NATURAL, model="smal"), ATTACK, NATURAL, "smal"),
    "attacked without settings": (damaged(NATURAL, settings={}), ATTACK, NATURAL, "width"),
    "attacked of other data": (damaged(NATURAL, data_digest=OTHER_DATA), ATTACK, DATA, "its sha256 differs"),
    "corrupted of other data": (damaged(NATURAL, data_digest=OTHER_DATA), CORRUPT, DATA, "its sha256 differs"),
    "revised of other data": (damaged(TRAJECTORY, data_digest=OTHER_DATA), REVISE_CURE, DATA, "its sha256 differs"),
    "revised truncated": (lambda f: truncate(f / TRAJECTORY), REVISE_CURE, TRAJECTORY, "not a whole weight file"),
    "revised of another method": (damaged(TRAJECTORY, method="trades"), REVISE_CURE, TRAJECTORY, "method is trades"),
    "attacked of another method": (damaged(NATURAL, method="trades"), ATTACK, NATURAL, "method is trades"),
    "revised network": (lambda f: shutil.copy(f / NATURAL, f / TRAJECTORY), REVISE_CURE, TRAJECTORY, "trajectory"),
}


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_bad_weights_are_refused_with_their_path(folder, kind):
    damage, stage, path, said = BAD_WEIGHTS[kind]
    damage(folder)
    message = refusal(folder, *stage)
    assert message.startswith(f"{path}: ")
    assert said in message


class Trap:
    """Unpickling one makes a folder."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


PICKLES = {
    "torch": lambda trap, path: torch.save(trap, path),
    "old torch": lambda trap, path: torch.save(trap, path, _use_new_zipfile_serialization=False),
    "plain": lambda trap, path: path.write_bytes(pickle.dumps(trap)),
}


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("how", PICKLES)
@pytest.mark.parametrize(
    ("victim", "stage"), [(NATURAL, UPDATE_CURE), (TRAJECTORY, REVISE_CURE), (DATA, UPDATE_TRADES)]
)
def test_a_pickle_is_refused_and_never_opened(folder, tmp_path, how, victim, stage):
    mark = tmp_path / "unpickled"
    PICKLES[how](Trap(mark), folder / victim)
    assert refusal(folder, *stage).startswith(f"{victim}: not a whole ")
    assert not mark.exists()
    with contextlib.suppress(Exception):
        torch.load(io.BytesIO((folder / victim).read_bytes()), weights_only=False)
    assert mark.exists()  # so it was a trap


# ---- resume files


BAD_RESUME = {
    "empty": lambda path, mark: path.write_bytes(b""),
    "truncated": lambda path, mark: truncate(path),
    "zeros": lambda path, mark: path.write_bytes(bytes(999)),
    "text": lambda path, mark: path.write_text("not a resume file"),
    "word": lambda path, mark: path.write_text("hello"),  # a pickle of which each letter is a command
    "stop": lambda path, mark: path.write_text("."),
    "trap": lambda path, mark: torch.save(Trap(mark), path),
}


@pytest.mark.parametrize("kind", BAD_RESUME)
def test_a_corrupt_resume_file_counts_as_none_and_is_never_opened(tmp_path, kind):
    kept = resume_files.Scratch("update", "digits/small/trades-s0", {}, [])
    for damaged in (kept.path, kept.folder / "best.pt"):
        kept.save({"state": torch.zeros(999)}, {"best": torch.zeros(999)}, set())
        assert kept.load() is not None
        BAD_RESUME[kind](damaged, tmp_path / "unpickled")
        assert kept.load() is None
    assert not (tmp_path / "unpickled").exists()


def test_a_run_with_a_corrupt_resume_file_ends_like_one_without(folder, resume, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(resume_files.Scratch, "delete", lambda self: None)
        call(folder, *UPDATE_TRADES)
    expected = everything(folder)
    (left,) = resume.glob("*.pt")
    truncate(left)
    (folder / "curves" / "digits" / "small" / "trades-s0.csv").unlink()
    call(folder, *UPDATE_TRADES)
    assert everything(folder) == expected
    assert list(resume.glob("*.pt")) == []


# ---- writing


def no_space(self, target):
    raise OSError(28, "No space left on device")


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "out" / "result.json"
    write_text(path, "old")
    return path


@pytest.mark.parametrize("failing", ["write_text", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_draft(old, monkeypatch, failing):
    monkeypatch.setattr(Path, failing, lambda self, *args, **kwargs: no_space(self, *args))
    with pytest.raises(
        UserError, match=r"result\.json: cannot be written: No space left on device; nothing was changed$"
    ):
        write_text(old, "new")
    assert everything(old.parent) == {old: b"old"}


@pytest.mark.parametrize("problem", [KeyboardInterrupt, ValueError])
def test_an_interrupted_write_leaves_the_old_file_and_no_draft(old, problem):
    def write_half():
        with replacing(old) as draft:
            draft.write_text("half")
            raise problem

    with pytest.raises(problem):
        write_half()
    assert everything(old.parent) == {old: b"old"}


def test_a_write_that_ends_well_replaces_the_old_file_and_leaves_no_draft(old):
    write_text(old, "new")
    assert everything(old.parent) == {old: b"new"}


def save_weights(path, finished):
    about, states = checkpoint.load(finished / NATURAL)
    checkpoint.save(path, states, about)


def save_resume(path, finished):
    kept = resume_files.Scratch("update", "digits/small/trades-s0", {}, [])
    kept.path = path
    kept.save({"state": torch.zeros(9999)}, {}, set())


WRITERS = {"text": lambda path, finished: write_text(path, "x" * 9999), "weights": save_weights, "resume": save_resume}


@pytest.mark.reliability("faults of disk and memory")
@pytest.mark.parametrize("what", WRITERS)
def test_on_a_full_disk_every_writer_refuses_and_keeps_the_old_file(old, finished, what):
    with full_disk(), pytest.raises(UserError) as refused:
        WRITERS[what](old, finished)
    assert str(refused.value).startswith(f"{old}: cannot be written: ")
    assert everything(old.parent) == {old: b"old"}


@pytest.mark.reliability("faults of disk and memory")
def test_a_file_in_place_of_the_output_folder_is_refused(tmp_path):
    (tmp_path / "weights").write_text("mine")
    with pytest.raises(UserError, match=r"a\.json: cannot be written: Not a directory; nothing was changed$"):
        write_text(tmp_path / "weights" / "digits" / "a.json", "new")
    assert everything(tmp_path) == {tmp_path / "weights": b"mine"}


def test_a_stage_that_cannot_write_keeps_its_old_outputs_and_its_resume_file(folder, resume, monkeypatch):
    def fail_on_outputs(self, target):
        return no_space(self, target) if folder in self.resolve().parents else real(self, target)

    real = Path.replace
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail_on_outputs)
        assert f"{TRAJECTORY}: cannot be written: No space left on device" in refusal(folder, *UPDATE_CURE)
    assert len(list(resume.glob("*.pt"))) == 1


# ---- as a user meets it


def settings_gone(folder):
    (folder / "params.yaml").unlink()


def settings_broken(folder):
    edit_params(folder, "threat.eps", "8/0")
    edit_params(folder, "train.momentun", 0.9)


def loss_explodes(folder):
    edit_params(folder, "train.epochs", 2)
    edit_params(folder, "train.lr", "1e30")


AS_A_USER = {
    "settings gone": (settings_gone, UPDATE_TRADES, ["error: params.yaml: not found; run this in a folder with"]),
    "settings broken": (
        settings_broken,
        UPDATE_TRADES,
        ["error: params.yaml has problems:\n", "threat.eps: not a number or", "train.momentun: unknown key, did you"],
    ),
    "data gone": (lambda f: (f / DATA).unlink(), UPDATE_TRADES, [f"error: {DATA}: not found; `dvc repro` makes it"]),
    "parent truncated": (lambda f: truncate(f / NATURAL), UPDATE_CURE, [f"error: {NATURAL}: not a whole weight file"]),
    "loss explodes": (
        loss_explodes,
        UPDATE_TRADES,
        ["error: epoch 1: the term ", " became nan; a rerun would fail here again. Lower lr, or check"],
    ),
    "model unknown": (
        damaged(NATURAL, model="smal"),
        ATTACK,
        [f"error: {NATURAL}: ", "smal"],
    ),
}


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("kind", AS_A_USER)
def test_a_stage_exits_with_2_and_plain_words_and_changes_nothing(folder, resume, kind):
    damage, stage, said = AS_A_USER[kind]
    damage(folder)
    before = everything(folder)
    ended = command(folder, *stage)
    assert ended.returncode == 2
    assert [phrase for phrase in said if phrase not in ended.stderr] == []
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    assert everything(folder) == before
    assert list(resume.glob("*.pt")) == []
