"""Wrong command lines, checkpoints, images and downloads, as a user meets them: exit code 2, the place and the cure."""

import contextlib
import copy
import importlib
import io
import json
import os
import pickle
import shutil
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from ruamel.yaml import YAML
from safetensors.torch import save_file

from cure import catalogue, cli
from cure.errors import UserError
from cure.runtime import terminal
from cure.settings import check
from cure.settings.sections import AttackSuite, CorruptSuite, Fit, Grid, RunSettings, Threat, Train
from cure.storage.checkpoint import build
from tests.support.settings import QUICKSTART, at, changed, places
from tests.support.stages import edit_header, opened

wrong_input = pytest.mark.reliability("wrong inputs")


@pytest.fixture
def user(weights, tmp_path, monkeypatch, capsys):
    """Exit code and error output of a command, `cure` or the name of a stage, in a pipeline folder of its own."""
    folder = shutil.copytree(weights.parents[3], tmp_path / "pipeline")
    monkeypatch.setenv("CURE_DOWNLOADS", str(tmp_path / "downloads"))
    monkeypatch.setenv("CURE_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(folder)

    def call(command, *words):
        monkeypatch.setattr(sys, "argv", [command, *map(str, words)])
        script = None if command == "cure" else importlib.import_module(f"stages.{command}")
        with pytest.raises(SystemExit) as ended:
            terminal.stage(script.main) if script else cli.main()
        return ended.value.code, capsys.readouterr().err

    call.folder = folder
    return call


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(user, *line):
    """What is said on a command that is refused and changes nothing."""
    before = snapshot(user.folder)
    code, said = user(*line)
    assert code == 2
    assert "Traceback" not in said
    assert snapshot(user.folder) == before
    return " ".join(said.replace("│", " ").split())


# ---- command lines


LINES = {  # command line -> what must be said
    "update digits small": "Missing argument 'METHOD'",
    "update digits small at x": "Invalid value for 'SEED': Input should be a valid integer",
    "update digits small at -- -1": "Invalid value for 'SEED': Input should be greater than or equal to 0",
    "update digits small at 2147483648": "Input should be less than or equal to 2147483647",
    "cure compare params.yaml params.yaml --seed 2147483648": "Invalid value for '--seed'",
    "update digits small at 0 1": "unexpected extra argument",
    "update digits small at 0 --fast": "No such option: --fast",
    "update digits small ../at 0": "methods: no entry '../at'",
    "update digits small rift 0": "rift has no stage update; run its stage revise",
    "update digits small natural 0": "natural is trained by the stage pretrain",
    "pretrain digits big 0": "models: no entry 'big'; known:",
    "prepare mnist": "datasets: no entry 'mnist'",
    "attack digits small at 0": "weights/digits/small/at-s0.safetensors: not found",
    "attack digits small natural 7": "weights/digits/small/natural-s7.safetensors: not found",
    "corrupt digits small at 0": "weights/digits/small/at-s0.safetensors: not found",
    "analyse digits small at 0": "at-s0.safetensors: not found",
    "layers digits small reinitt every 0": "Invalid value for 'VARIANT'",
    "layers digits small reinit every 0": "grid.layers.models: 'small' is not one of these models; known: small_resnet",
    "cure evaluate": "No such command 'evaluate'",
    "cure eval": "error: nothing to evaluate: name a checkpoint, or a --factory",
    "cure eval {weights} --n 0": "Invalid value for '--n'",
    "cure eval {weights} --batch none": "Invalid value for '--batch'",
    "cure eval {weights} --seed 1180591620717411303424": "Invalid value for '--seed'",
    "cure eval {weights} --seed -1": "Invalid value for '--seed'",
    "cure eval {weights} --attacks=": "--attacks: no attack given; use `clean` for clean accuracy alone",
    "cure eval {weights} --attacks ,": "--attacks: no attack given; use `clean` for clean accuracy alone",
    "cure plan --tflops inf": "--tflops inf: not a speed; allowed: above 0 and finite",
    "cure plan --tflops nan": "--tflops nan: not a speed; allowed: above 0 and finite",
    "cure eval {weights} --attacks aaa": "no column 'aaa'",
    "cure eval {weights} --budget soon": "--budget soon: not a time; allowed: 90s, 10m, 2h",
    "cure eval {weights} --params no.yaml": "no.yaml: not found",
    "cure eval {weights} --surrogate no.pt": "no.pt: not found",
    "cure eval {weights} --data svhn": "datasets.svhn; name one by --params",
    "cure eval {weights} --out params.yaml/results": "params.yaml is a file; name a folder",
    "cure eval weights": "error: weights: not a readable checkpoint",
    "cure eval params.yaml": "error: params.yaml: not a readable checkpoint",
    "cure plan /none": "/none/params.yaml: not found; run this in a folder with a params.yaml",
    "cure plan data": "data/params.yaml: not found; run this in a folder with a params.yaml",
    "cure eval params.yaml --data digits": "not a readable checkpoint",
    "cure eval weights --data digits": "not a readable checkpoint",
    "cure eval params.yaml --data svhn": "datasets.svhn; name one by --params",  # options before the file
    "cure eval params.yaml --data digits --params no.yaml": "no.yaml: not found",
    "cure table nowhere": "nowhere/reports/table.md: does not exist yet; run `dvc repro`",
    "cure compare params.yaml params.yaml": "not a result",
    "cure compare /dev/zero params.yaml": "/dev/zero: a device or a pipe, not a file",
    "cure eval /dev/zero": "/dev/zero: a device or a pipe, not a file",
    "cure eval {weights} --surrogate /dev/zero": "/dev/zero: a device or a pipe, not a file",
    "cure eval {weights} --params /dev/zero": "/dev/zero: a device or a pipe, not a file",
    "cure eval {weights} --data pipe.safetensors": "pipe.safetensors: a device or a pipe, not a file",
    "cure eval pipe.safetensors --data digits": "pipe.safetensors: a device or a pipe, not a file",
    "cure eval {weights} --batch 100000000000000000000000": "Invalid value for '--batch'",
    "cure grid --workers 100000000000000000000000": "Invalid value for '--workers'",
    "cure grid --retries 100000000000000000000000": "Invalid value for '--retries'",
    "cure eval {weights} --n 100000000000000000000000": "Invalid value for '--n'",
    "cure download cifar10-p": "nothing called 'cifar10-p', did you mean cifar10-c?",
    "cure download cifar10-c": "cannot be downloaded (CURE_OFFLINE is set)",
}


@wrong_input
@pytest.mark.parametrize("line", LINES)
def test_a_wrong_command_line_says_where(user, line):
    os.mkfifo("pipe.safetensors")
    words = line.replace("{weights}", "weights/digits/small/natural-s0.safetensors").split()
    assert LINES[line] in refused(user, *words)


# ---- cure check


def fewer(user, *kept, **changes):
    """Params with these rows alone, and other changes."""
    yaml, path = YAML(typ="safe", pure=True), user.folder / "params.yaml"
    raw = yaml.load(path)
    for key, names in raw["grid"].items():
        if key.startswith(("update", "revise", "analyse")):
            raw["grid"][key] = [name for name in names if name in kept]
    for where, value in changes.items():
        raw = changed(raw, where.replace("__", "."), value)
    yaml.dump(raw, path)


@pytest.mark.parametrize("command", ["cure check", "prepare digits"])
def test_what_no_run_uses_is_told_before_any_work_and_stops_nothing(user, command):
    fewer(user, "at", "cure", train__epochs=3, train__drops={2: 0.1})
    code, said = user(*command.split())
    title, *lines = said.split("\n  ")
    assert (code, title) == (0, "warning: params.yaml: mistakes in settings that no run of the grid uses:")
    told = {line.partition(":")[0] for line in lines}
    assert {"methods.part.begin", "methods.iad.begin", "report.against", "roles.teacher"} <= told


@wrong_input
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threat__eps": -1}, "params.yaml has problems: threat.eps: Input should be greater than 0; found -1"),
        ({"report__title": 3}, "params.yaml has problems: report.title: Input should be a valid string; found 3"),
        ({"corrupt__corruptions": ["saturate"]}, "corrupt.corruptions: none of the 15 of CIFAR-10-C, over which the"),
    ],
)
@pytest.mark.parametrize("command", ["cure check", "prepare digits"])
def test_what_a_later_stage_would_refuse_is_refused_before_any_work(user, command, changes, said):
    fewer(user, "at", "cure", **changes)
    assert said in refused(user, *command.split())


# ---- external checkpoints


def state(model="small", classes=10, channels=1):
    return build(model, {"width": 16} if model == "small" else {}, channels, classes).state_dict()


def renamed(old, new):
    return {key.replace(old, new): t for key, t in state().items()}


def not_finite(tensors):
    return {key: t * float("nan") if t.is_floating_point() else t for key, t in tensors.items()}


@wrong_input
def test_a_model_without_its_settings_is_refused(user):
    torch.save(state(), "strange.pt")
    Path("params.yaml").unlink()
    line = ("strange.pt", "--model", "small", "--data", "data/digits.safetensors")
    assert "--model small: models.small.width: missing; name a params.yaml" in refused(user, "cure", "eval", *line)


def itself():
    held = {"epoch": 3}
    held["model"] = held
    return held


HELD = {  # what torch.save was given -> what must be said
    "renamed keys": (lambda: renamed("conv1", "c1"), "more; the file holds stem.c1.weight, layer1.c1.weight, "),
    "two networks": (
        lambda: {"a": state(), "ema": not_finite(state())},
        "networks that fit: a, ema; name one by --key",
    ),
    "prefix inside a part": (lambda: renamed("stem.", "stem.module."), "stem.conv1.weight is missing, and"),
    "another architecture": (lambda: state("resnet18"), "does not fit small: "),
    "another class count": (lambda: state(classes=7), "linear.weight is (7, 32), not (10, 32), and 1 more"),
    "colour": (lambda: state(channels=3), "stem.conv1.weight is (16, 3, 3, 3), not (16, 1, 3, 3)"),
    "integers": (
        lambda: {key: t.to(torch.int8) for key, t in state().items()},
        "stem.conv1.weight is torch.int8, not torch.float32",
    ),
    "complex": (
        lambda: {key: t.to(torch.complex64) for key, t in state().items()},
        "stem.conv1.weight is torch.complex64, not torch.float32",
    ),
    "sparse tensors": (
        lambda: {key: t.to_sparse() for key, t in state().items()},
        "does not fit small: stem.conv1.weight is torch.sparse_coo, not torch.strided",
    ),
    "tensors without values": (
        lambda: {key: t.to("meta") for key, t in state().items()},
        "does not fit small: stem.conv1.weight is a shape without values",
    ),
    "a mean without values": (lambda: state() | {"mean": torch.zeros(1, device="meta"), "std": torch.ones(1)}, "mean"),
    "one tensor more": (lambda: state() | {"head.weight": torch.zeros(3)}, "head.weight is unknown"),
    "not finite": (lambda: not_finite(state()), "preflight checks failed"),
    "an optimiser": (lambda: {"optimizer": {"state": {0: torch.zeros(3)}}}, "holds no state dict"),
    "a number": (lambda: 3, "holds no state dict"),
    "nothing": (dict, "holds no state dict"),
    "itself": (itself, "holds no state dict"),
    "a whole network": (lambda: build("small", {"width": 16}, 1, 10), "holds pickled code (cure.models.small.Small"),
    "an array": (lambda: np.zeros(3), "holds no state dict"),
}


@wrong_input
@pytest.mark.parametrize("kind", HELD)
def test_a_checkpoint_of_something_else_is_refused(user, kind):
    make, said = HELD[kind]
    torch.save(make(), user.folder / "theirs.pt")
    message = refused(user, "cure", "eval", "theirs.pt", "--model", "small", "--data", "digits", "--attacks", "clean")
    assert "theirs" in message
    assert said in message


def blank(tensors):
    return {key: torch.zeros_like(t) for key, t in tensors.items()}


@wrong_input
@pytest.mark.parametrize(("spoil", "said"), [(not_finite, "finite: not finite on"), (blank, "gradients: ")])
def test_a_surrogate_that_has_no_gradients_is_refused(user, spoil, said):
    torch.save(spoil(state()), user.folder / "other.pt")
    line = ("weights/digits/small/natural-s0.safetensors", "--attacks", "pgd20", "--n", "20", "--surrogate", "other.pt")
    assert f"--surrogate other.pt: {said}" in refused(user, "cure", "eval", *line)


def bomb():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(4):
            archive.writestr(f"archive/data/{k}", bytes(2**24))
    return packed.getvalue()


def zipped(name, content):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def stored():
    held = io.BytesIO()
    torch.save(state(), held)
    return held.getvalue()


def without_directory():
    whole = bytearray(stored())
    place = whole.index(b"PK\x01\x02")
    whole[place : place + 4] = b"XXXX"
    return bytes(whole)


FILES = {  # (suffix, bytes) -> what must be said
    "an archive bomb": (".pt", bomb, "would unpack to 67,108,864; no checkpoint is packed like that"),
    "a broken archive": (".pt", without_directory, "not a readable checkpoint"),
    "half of it": (".pt", lambda: stored()[:5000], "not a readable checkpoint"),
    "another archive": (".pt", lambda: zipped("notes.txt", "hello"), "not a readable checkpoint"),
    "a TorchScript file": (".pt", lambda: zipped("x/code/net.py", "print(1)"), "a TorchScript file is a program"),
    "a torch.export file": (".pt2", lambda: zipped("x/models/model.json", "{}"), "a torch.export file is a program"),
    "a web page": (".pt", lambda: b"<!doctype html><title>404</title>", "not a readable checkpoint"),
    "a pickle": (".pt", lambda: pickle.dumps({"state_dict": Path()}), "not a readable checkpoint"),
    "other bytes": (".pt", lambda: b"\x8e" * 100, "checkpoint (UnpicklingError: Weights only load failed)"),
    "no bytes": (".pt", lambda: b"", "not a readable checkpoint"),
    "safetensors of no bytes": (".safetensors", lambda: b"", "not a whole weight file of this pipeline"),
    "safetensors with a header of a terabyte": (
        ".safetensors",
        lambda: (2**40).to_bytes(8, "little") + b"{}",
        "not a whole weight file of this pipeline",
    ),
    "safetensors that are a checkpoint of PyTorch": (
        ".safetensors",
        stored,
        "not a whole weight file of this pipeline",
    ),
}


@wrong_input
@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_checkpoint_is_refused(user, kind):
    suffix, make, said = FILES[kind]
    path = user.folder / f"theirs{suffix}"
    path.write_bytes(make())
    message = refused(user, "cure", "eval", path.name, "--model", "small", "--data", "digits", "--attacks", "clean")
    assert f"error: {path.name}: " in message
    assert said in message


OURS = {  # what happens to the tensors of weights of this pipeline -> what must be said
    "DataParallel": (lambda s: {f"module.{key}": t for key, t in s.items()}, "stem.conv1.weight is missing, and"),
    "half precision": (lambda s: {key: t.half() for key, t in s.items()}, "is torch.float16, not torch.float32"),
    "renamed": (lambda s: {key.replace("linear", "fc"): t for key, t in s.items()}, " is missing, and"),
    "not finite": (lambda s: not_finite(s), "logits are not finite"),
    "none": (lambda s: {}, "not one network"),
}


@wrong_input
@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("stage", ["attack", "corrupt"])
def test_altered_weights_of_ours_are_refused(user, stage, kind):

    change, said = OURS[kind]
    path = user.folder / "weights/digits/small/natural-s0.safetensors"
    header, tensors = opened(path)
    save_file(change(tensors), path, metadata={"cure": json.dumps(header)})
    assert said in refused(user, stage, "digits", "small", "natural", 0)


LEAVING = """
from torch import nn

class make(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 10))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls > {calls}:
            raise SystemExit(0)
        return super().forward(x)
"""
EXITS = {  # code of a module in the working folder -> what must be said
    "import": ("import sys\nsys.exit()", "--factory leaving:make: its code called sys.exit(None); take that call out"),
    "arguments": ("import argparse\nargparse.ArgumentParser().parse_args(['--lr'])", "its code called sys.exit(2)"),
    "call": ("def make():\n    raise SystemExit(0)", "--factory leaving:make: its code called sys.exit(0)"),
    "first forward": (LEAVING.format(calls=0), "leaving:make: its code called sys.exit(0)"),
    "attack": (LEAVING.format(calls=40), "leaving:make: its code called sys.exit(0)"),
}


@wrong_input
@pytest.mark.parametrize("when", EXITS)
def test_code_that_exits_is_refused(user, monkeypatch, when):
    code, said = EXITS[when]
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (user.folder / "leaving.py").write_text(code)
    line = ["--factory", "leaving:make", "--data", "digits", "--attacks", "pgd20", "--force"]
    assert said in refused(user, "cure", "eval", *line)
    sys.modules.pop("leaving", None)


DESCRIPTIONS = {  # what the header says -> what must be said
    "no channel": ({"channels": 0}, "not a whole weight file of this pipeline"),
    "fewer channels than none": ({"channels": -1}, "not a whole weight file of this pipeline"),
    "channels in words": ({"channels": "1"}, "not a whole weight file of this pipeline"),
    "channels for terabytes": ({"channels": 2**40}, "channels: Input should be less than 2147483648; found 10995"),
    "more channels than memory": ({"channels": 2**30}, "is (8, 1, 3, 3), not (8, 1073741824, 3, 3)"),
    "channels beyond an integer": ({"channels": 2**70}, "channels: Input should be less than 2147483648"),
    "a million classes": ({"classes": ["x"] * 1_000_000}, "is (10, 16), not (1000000, 16)"),
    "no class": ({"classes": []}, "not a whole weight file of this pipeline"),
    "another width": ({"settings": {"width": 4096}}, "is (8, 1, 3, 3), not (4096, 1, 3, 3)"),
    "no width": ({"settings": {}}, "cannot build small from its description"),
    "no model": ({"model": "smal"}, "no entry 'smal', did you mean small?"),
    "no data set": ({"dataset": "../digits"}, "no such data set"),
}


@wrong_input
@pytest.mark.parametrize("kind", DESCRIPTIONS)
def test_a_description_of_another_network_is_refused_and_nothing_is_allocated(user, kind):
    changes, said = DESCRIPTIONS[kind]
    path = user.folder / "weights/digits/small/natural-s0.safetensors"
    edit_header(path, **changes)
    assert said in refused(user, "cure", "eval", path, "--attacks", "clean")


@wrong_input
@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "{}", "[" * 100_000, '{"channels": ' + "9" * 5000 + "}"])
def test_a_description_that_is_none_is_refused(user, text):
    path = user.folder / "weights/digits/small/natural-s0.safetensors"
    save_file(opened(path)[1], path, metadata={"cure": text})
    assert "not a whole weight file of this pipeline" in refused(user, "cure", "eval", path, "--attacks", "clean")


@wrong_input
@pytest.mark.parametrize("names", [["0.5/last", "0.5/best"], ["predictor"], []])
def test_a_training_checkpoint_without_a_network_is_refused(user, names):
    path = user.folder / "weights/digits/small/natural-s0.safetensors"
    header, tensors = opened(path)
    held = {
        f"{name}/{key}": t.clone() for name in names for key, t in tensors.items() if name != "predictor" or "w" in key
    }
    save_file(held, path, metadata={"cure": json.dumps(header | {"kind": "trajectory"})})
    assert "holds no network that can be evaluated, but " in refused(user, "cure", "eval", path, "--attacks", "clean")


# ---- results that are compared


def column(label):
    return {"label": label, "package": "", "broken_by": {}}


def result_file(**changes):
    result = {"images": 3, "eps": 0.1, "columns": {"pgd20": column("")}, "outcomes": {"clean": "110"}}
    result |= {"problems": [], "seed": 0, "batch": 3}
    return json.dumps({"subject": "mine", "result": result | changes})


RESULTS = {
    "no outcomes": result_file(outcomes=None),
    "outcomes that are one text": result_file(outcomes="110"),
    "outcomes that are a list": result_file(outcomes=["110"]),
    "numbers as outcomes": result_file(outcomes={"clean": [1, 1, 0]}),
    "a radius in words": result_file(eps="wide"),
    "a label that is none": result_file(columns={"aa": column(["standard"])}),
    "images without end": result_file(images=10**15),
    "brackets without end": "[" * 100_000,
}


@wrong_input
@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_of_another_form_cannot_be_compared(user, kind):
    (user.folder / "sound.json").write_text(result_file())
    (user.folder / "odd.json").write_text(RESULTS[kind])
    assert "odd.json: not a result of `cure eval`" in refused(user, "cure", "compare", "sound.json", "odd.json")


@wrong_input
@pytest.mark.parametrize("subject", ["x" * 100_000, "a\nb", "\x1b[31mred"])
def test_a_name_without_end_or_of_other_characters_is_shown_in_short(user, subject, capsys):
    for name in ("sound.json", "odd.json"):
        held = json.loads(result_file())
        (user.folder / name).write_text(json.dumps(held | {"subject": subject if name == "odd.json" else "mine"}))
    cli.compare(user.folder / "sound.json", user.folder / "odd.json")
    shown = capsys.readouterr().out
    assert len(shown) < 10_000
    assert subject not in shown
    assert "Points by which mine leads" in shown


TABLES = {  # reports/table.md -> what must be said
    "empty": (b"", "it has no rows; run `cure report` to rewrite it"),
    "of another encoding": (b"| \xe9 |\n", "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xe9"),
    "without a table": (b"hello\n", "it has no rows; run `cure report` to rewrite it"),
    "a head alone": (b"| a | b |\n", "it has no rows; run `cure report` to rewrite it"),
}


@wrong_input
@pytest.mark.parametrize("kind", TABLES)
def test_a_table_that_is_not_whole_is_refused(user, kind):
    content, said = TABLES[kind]
    (user.folder / "reports").mkdir()
    (user.folder / "reports/table.md").write_bytes(content)
    assert f"reports/table.md: not a complete table: {said}" in refused(user, "cure", "table")


@wrong_input
def test_a_folder_or_a_pipe_in_place_of_the_table_is_refused_at_once(user):
    path = user.folder / "reports/table.md"
    path.mkdir(parents=True)
    assert "table.md: not a complete table: IsADirectoryError" in refused(user, "cure", "table")
    path.rmdir()
    os.mkfifo(path)
    assert "table.md: a device or a pipe, not a file" in refused(user, "cure", "table")


# ---- a folder of images


def picture(path, size=(8, 8), mode="RGB", seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, len(mode)), dtype=np.uint8)
    Image.fromarray(pixels.squeeze()).save(path)


def deep(path):
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(path)


def huge(path):
    """A PNG whose header promises 100,000 x 100,000 pixels."""
    picture(path)
    whole = bytearray(path.read_bytes())
    whole[16:24] = (100_000).to_bytes(4, "big") * 2
    whole[29:33] = zlib.crc32(bytes(whole[12:29])).to_bytes(4, "big")
    path.write_bytes(bytes(whole))


def emptied(path):
    shutil.rmtree(path)
    path.mkdir()


IMAGES = {  # what happens to a folder of images -> what must be said
    "another size": (
        lambda root: picture(root / "train/cat/z.png", (9, 8)),
        "others are (8, 8) pixels; set datasets.folder",
    ),
    "16 bits": (lambda root: deep(root / "train/cat/z.png"), "more than 8 bits per channel"),
    "half an image": (
        lambda root: (root / "test/dog/a.png").write_bytes((root / "test/dog/a.png").read_bytes()[:60]),
        "test/dog/a.png: not a readable image",
    ),
    "no image": (lambda root: (root / "train/cat/notes.txt").write_text("hello"), "notes.txt: not a readable image"),
    "an image bomb": (lambda root: huge(root / "train/cat/z.png"), "z.png: not a readable image"),
    "no test split": (lambda root: shutil.rmtree(root / "test"), "has no folder test"),
    "no folder": (shutil.rmtree, "has no folder train and no folder test"),
    "a class more": (lambda root: (root / "test/bird").mkdir(), "differ in their class folders: bird"),
    "an empty class": (lambda root: emptied(root / "train/dog"), "labels of train must be 0 to 1, each at least once"),
    "an empty split": (lambda root: [emptied(root / "test" / name) for name in ("cat", "dog")], "test has 0 images"),
    "one class": (lambda root: [shutil.rmtree(root / part / "dog") for part in ("train", "test")], "one class only"),
    "another size in test": (
        lambda root: [picture(path, (9, 9)) for path in (root / "test").rglob("*.png")],
        "train images are (3, 8, 8), test images (3, 9, 9)",
    ),
}


def own_images(user, **changes):
    """Ten images of two classes, and the settings for them."""
    root = user.folder / "mine"
    for k, name in enumerate("abcde"):
        for part in ("train", "test"):
            for kind in ("cat", "dog"):
                picture(root / part / kind / f"{name}.png", seed=zlib.crc32(f"{part} {kind}".encode()) + k)
    own = {"path": "mine", "size": None, "colour": "rgb", "train_images": None, "validation": 2}
    described(user, "folder", **(own | changes))
    return root


def described(user, name, **own):
    """Add a data set to params.yaml; what all data sets need is that of digits."""
    shared = {key: value for key, value in QUICKSTART["datasets"]["digits"].items() if key != "test"}
    yaml, path = YAML(typ="safe", pure=True), user.folder / "params.yaml"
    yaml.dump(changed(yaml.load(path), f"datasets.{name}", shared | own), path)


@wrong_input
@pytest.mark.parametrize("kind", IMAGES)
def test_a_folder_of_wrong_images_is_refused(user, kind):
    spoil, said = IMAGES[kind]
    spoil(own_images(user))
    assert said in refused(user, "prepare", "folder")


@wrong_input
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"path": "nowhere"}, "nowhere has no folder train"),
        ({"size": 0}, "datasets.folder.size: Input should be greater than or equal to 1; found 0"),
        ({"colour": "cmyk"}, "datasets.folder.colour: Input should be 'rgb' or 'grey'; found 'cmyk'"),
        ({"validation": 1}, "cannot set 1 of 10 images aside"),
        ({"validation": 9}, "cannot set 9 of 10 images aside"),
        ({"file": "x"}, "datasets.folder.file: unknown key"),
    ],
)
def test_wrong_settings_of_a_folder_are_refused(user, changes, said):
    own_images(user, **changes)
    assert said in refused(user, "prepare", "folder")


def test_images_of_test_that_are_in_train_are_counted_and_said(user, capsys):

    root = own_images(user)
    code, said = user("prepare", "folder")
    assert (code, said) == (0, "")
    assert "test_images_in_train" not in opened(user.folder / "data/folder.safetensors")[0]
    for name in ("a.png", "b.png"):
        shutil.copy(root / "train/cat" / name, root / "test/dog" / name)
    code, said = user("prepare", "folder")
    assert (code, said) == (0, "folder: 2 test images are also training images, so accuracies are too high\n")
    assert opened(user.folder / "data/folder.safetensors")[0]["test_images_in_train"] == 2


# ---- downloads


@wrong_input
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be downloaded (CURE_OFFLINE is set)"),
        (b"", "truncated or altered"),
        (b"x" * 99, "(its md5 is"),
    ],
)
def test_a_download_that_is_missing_or_altered_is_named_with_its_md5(user, tmp_path, name, content, said):
    described(user, name)
    file = catalogue.entry("datasets", name).FILES[0]
    if content is not None:
        (tmp_path / "downloads" / name).mkdir(parents=True)
        (tmp_path / "downloads" / name / file.name).write_bytes(content)
    message = refused(user, "prepare", name)
    assert all(part in message for part in (file.name, said, file.md5))


# ---- settings, any edit


SECTIONS = {"run": RunSettings, "threat": Threat, "train": Train, "pretrain": Fit, "attack": AttackSuite}
SECTIONS |= {"corrupt": CorruptSuite, "grid": Grid}
VALUES = [None, True, 3, -1, 0, 2**70, 1.5, -0.1, float("inf"), float("nan"), "", "x", "8/255", [], [3], {}, {"x": 1}]
edits = st.tuples(
    st.sampled_from(list(places(QUICKSTART))),
    st.one_of(st.just(("delete", None)), st.tuples(st.just("set"), st.sampled_from(VALUES)), st.just(("rename", None))),
)


@wrong_input
@settings(max_examples=60)
@given(st.lists(edits, min_size=1, max_size=3))
def test_any_edit_of_the_settings_is_read_or_refused_by_name(made):
    raw, touched = copy.deepcopy(QUICKSTART), set()
    for (*inside, key), (how, value) in made:
        with contextlib.suppress(KeyError, TypeError, IndexError):  # an earlier edit took it away
            section = at(raw, inside)
            touched |= {str(part) for part in (*inside, key)}
            old = section.pop(key)
            if how != "delete":
                section[key if how == "set" else f"{key}x"] = value if how == "set" else old
    try:
        with pytest.MonkeyPatch.context() as patch:  # the file as it would be parsed, since YAML takes most of the time
            patch.setattr(check, "read", lambda path: raw)
            params = check.load(list(SECTIONS), "digits", "small", Path("params.yaml"))
        for name, kind in SECTIONS.items():
            params.get(name, kind)
    except UserError as found:  # it need not be wrong
        assert touched & {part for word in str(found).split() for part in word.strip(":,;'").split(".")}  # noqa: PT017


def test_a_path_that_is_too_long_is_told(user):
    weights = user.folder / "weights/digits/small/natural-s0.safetensors"
    said = refused(user, "cure", "eval", weights, "--attacks", "clean", "--out", "x" * 300)
    assert "x: File name too long" in said
