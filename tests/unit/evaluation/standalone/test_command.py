"""`cure eval` and `cure compare` on files: our own, external and wrong ones."""

import csv
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from cure.errors import UserError
from cure.evaluation.standalone import command
from cure.evaluation.standalone.options import normalisation, seconds
from cure.evaluation.standalone.plan import Plan, published
from cure.evaluation.statistics.results import counts
from cure.storage import resume
from tests.support.command_line import FEW, call
from tests.support.method_harness import QUICKSTART
from tests.support.project import ROOT
from tests.support.stages import edit_header
from tests.support.stages import opened as opened_file


def document(folder: Path) -> dict:
    found: dict = json.loads((folder / "results.json").read_text())
    return found


@pytest.fixture
def run(weights, monkeypatch):
    """The `cure` command inside the pipeline's folder."""
    monkeypatch.chdir(weights.parents[3])
    return call


@pytest.fixture(scope="module")
def theirs(trained, tmp_path_factory):
    """An external checkpoint of the same network."""
    path = tmp_path_factory.mktemp("external") / "theirs.pt"
    torch.save({"state_dict": {f"module.{key}": t for key, t in trained.state_dict().items()}, "epoch": 9}, path)
    return path


@pytest.fixture(scope="module")
def params(pipeline, tmp_path_factory):
    """The pipeline's params with the model's width of the external checkpoint."""
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text((pipeline / "params.yaml").read_text().replace("    width: 16\n", "    width: 8\n"))
    return path


@dataclass(frozen=True)
class Made:
    """What a command that several tests look at printed, said, and left in the folder of `--out`."""

    shown: str
    said: str
    folder: Path


@pytest.fixture(scope="module")
def make(pipeline, tmp_path_factory):
    def make(name, *words):
        out = tmp_path_factory.mktemp("out")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(pipeline)
            code, shown, said = call("eval", *words, "--out", out)
        assert code in (0, 3), said
        return Made(shown, said, out / name)

    return make


@pytest.fixture(scope="module")
def ours(make, weights):
    return make("natural-s0", weights, *FEW, "--json")


@pytest.fixture(scope="module")
def same(make, theirs, params):
    """The same network from the file of somebody else."""
    options = ["--model", "small", "--data", "data/digits.safetensors", "--params", params]
    return make("theirs", theirs, *options, *FEW, "--json")


def numbers(text):
    return json.loads(text)[0]["accuracy"]


def test_a_checkpoint_of_ours_needs_no_option(run, weights):
    code, shown, said = run("eval", weights)
    assert code in (0, 3)
    assert re.search(r"natural-s0( +\d+\.\d\d){6} *\n( +\d+\.\d to \d+\.\d){6}", shown)
    assert "NRR (C&W-20)" in shown
    assert "15 of 15 checks are green" in said


def test_json_has_every_column_with_its_interval(ours):
    found = numbers(ours.shown)
    assert set(found) == {"clean", "pgd20", "worst"}
    assert all(one["low"] <= one["accuracy"] <= one["high"] for one in found.values())
    assert found["pgd20"]["images"] == 40
    assert found["pgd20"]["nrr_low"] < found["pgd20"]["nrr"] < found["pgd20"]["nrr_high"]


def test_an_external_checkpoint_has_the_same_numbers(ours, same):
    assert numbers(same.shown) == numbers(ours.shown)


def test_a_factory_has_the_same_numbers(run, ours, theirs, tmp_path, monkeypatch):
    (tmp_path / "code_of_theirs.py").write_text(
        "from cure.storage.checkpoint import build\ndef make():\n    return build('small', {'width': 8}, 1, 10)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    _, shown, _ = run("eval", theirs, "--factory", "code_of_theirs:make", "--data", "digits", *FEW, "--json")
    sys.modules.pop("code_of_theirs", None)
    assert numbers(shown) == numbers(ours.shown)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchscript_with_two_outputs_and_a_normalisation(run, trained, tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = trained

        def forward(self, x):
            z = self.net(x * 0.5 + 0.5)
            return z, z.sum()

    torch.jit.trace(Two(), torch.rand(2, 1, 8, 8)).save(tmp_path / "two.pt")
    options = ["--trust-code", "--data", "digits", "--mean", "0.5", "--std", "0.5", *FEW]
    code, _, said = run("eval", tmp_path / "two.pt", *options, "--attacks", "clean")
    assert (code, "uses the first of its 2 outputs" in said) == (0, True), said


def test_several_checkpoints_make_one_sorted_table(run, weights, theirs, trained, tmp_path, params):
    weak = trained.state_dict() | {"linear.bias": torch.linspace(-3, 3, 10)}
    torch.save(weak, tmp_path / "weak.pt")
    options = ["--data", "data/digits.safetensors", "--params", params, "--model", "small", "--force", *FEW]
    _, shown, said = run("eval", tmp_path / "weak.pt", theirs, *options, "--attacks", "clean")
    names = re.findall(r"(?m)^ *(weak|theirs) ", shown)
    assert names == ["theirs", "weak"], said


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_another_program_under_the_same_name_takes_no_unit_of_the_first(run, trained, tmp_path):
    how = ["--trust-code", "--data", "digits", "--force", "--json", *FEW]
    found = []
    for net in (trained, nn.Sequential(nn.Flatten(), nn.Linear(64, 10))):
        torch.jit.trace(net, torch.rand(2, 1, 8, 8)).save(tmp_path / "net.pt")
        for name in ("network", "results.json"):  # with them the second program is refused
            (tmp_path / "out/net" / name).unlink(missing_ok=True)
        found.append(numbers(run("eval", tmp_path / "net.pt", *how, "--out", tmp_path / "out")[1])["pgd20"])
    assert found[1] == numbers(run("eval", tmp_path / "net.pt", *how)[1])["pgd20"]
    assert found[0] != found[1]


def test_two_checkpoints_of_one_name_need_two_folders(run, weights, tmp_path):
    code, _, said = run("eval", weights, weights, "--out", tmp_path / "out")
    assert (code, "two checkpoints are called natural-s0" in said) == (2, True)


def test_compare_refuses_another_radius(run, weights, ours, pipeline, tmp_path):
    (tmp_path / "params.yaml").write_text(
        (pipeline / "params.yaml").read_text().replace("eps: 0.15  #", "eps: 0.14  #")
    )
    options = ["--params", tmp_path / "params.yaml", "--data", "data/digits.safetensors"]
    code, _, said = run("eval", weights, *FEW, *options, "--out", tmp_path / "b")
    assert code in (0, 3), said
    code, _, said = run("compare", ours.folder, tmp_path / "b/natural-s0")
    assert (code, "eps 0.15, " in said) == (2, True), said


@pytest.fixture(scope="module")
def written(make, weights):
    """What `--out` leaves after every column of params.yaml."""
    return make("natural-s0", weights).folder


def test_results_have_robustbenchs_fields_beside_ours(written):
    found = document(written)
    entry = found["robustbench"]
    assert entry["dataset"] == "digits"
    assert entry["eps"] == "0.15"
    assert entry["clean_acc"] == f"{100 * found['accuracy']['clean']['accuracy']:.2f}"
    assert entry["autoattack_acc"] is None  # these iterations are not the published ones
    assert found["result"]["columns"]["aa"]["label"] == "custom"


def test_the_table_per_image_agrees_with_the_outcomes(written):
    found, lines = document(written), list(csv.DictReader((written / "per_image.csv").open()))
    outcomes = found["result"]["outcomes"]
    assert [int(line["index"]) for line in lines] == found["index"]
    assert "".join("01"[line["clean"] == line["label"]] for line in lines) == outcomes["clean"]
    robust = [
        "1" if line["pgd20"] == line["label"] and hit == "1" else "0"
        for line, hit in zip(lines, outcomes["clean"], strict=True)
    ]
    assert "".join(robust) == outcomes["pgd20"]
    seen = [line for line, hit in zip(lines, outcomes["aa"], strict=True) if hit != "-"]
    assert counts(outcomes, "aa").images == len(seen) == sum(line["aa"] != "" for line in lines)
    assert any(line["broken_by"] for line in lines)
    assert all(float(line["min_linf"]) >= 0 for line in lines if line["min_linf"])


def test_adversarial_images_are_a_tensor_in_test_order(written):
    x_adv = torch.load(written / "x_adv.pt", weights_only=True)
    assert x_adv.shape == (40, 1, 8, 8)
    assert x_adv.dtype == torch.float32


def test_the_same_command_again_computes_no_unit_twice(run, weights, written, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in (written / "units").iterdir()}
    first = document(written)
    run("eval", weights, "--out", written.parent)
    assert {path: path.stat().st_mtime_ns for path in (written / "units").iterdir()} == before
    assert document(written) == first


def other_weights(path, folder):
    """The same file with other weights, under the same name in another folder."""
    about, tensors = opened_file(path)
    folder.mkdir()
    save_file(
        {key: t * 1.01 if t.is_floating_point() else t for key, t in tensors.items()},
        folder / path.name,
        metadata={"cure": json.dumps(about)},
    )
    return folder / path.name


@pytest.mark.reliability("wrong inputs")
def test_another_network_of_the_same_name_does_not_replace_the_first(run, weights, tmp_path):
    other, out = other_weights(weights, tmp_path / "b"), tmp_path / "runs"
    assert run("eval", weights, "--attacks", "clean", "--out", out)[0] in (0, 3)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    code, _, said = run("eval", other, "--data", "digits", "--attacks", "clean", "--out", out)
    assert code == 2
    assert f"{out}/natural-s0: holds the evaluation of another network; name another folder, or delete it" in said
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.reliability("wrong inputs")
def test_units_and_notes_that_were_edited_change_no_number(run, weights, tmp_path):
    line = ("eval", weights, "--attacks", "clean,pgd20", "--budget", "1h", "--out", tmp_path)
    run(*line)
    made = document(tmp_path / "natural-s0")
    units = tmp_path / "natural-s0/units"
    for path in units.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
        save_file({name: t[:0].clone() for name, t in load_file(path).items()}, path, metadata=about)
    (note,) = units.glob("images-*")
    for text in ("many", "0", "-5"):
        note.write_text(text)
        (units / "layout").write_text("sideways") if (units / "layout").exists() else None
        _, _, said = run(*line)
        assert "as begun" not in said
        assert document(tmp_path / "natural-s0") == made
        assert note.read_text() == "40"


@pytest.mark.reliability("wrong inputs")
def test_a_trajectory_without_a_network_of_its_own_is_refused(run, weights, tmp_path):
    about, tensors = opened_file(weights)
    nested = {f"0.5/student/{key}": t for key, t in tensors.items()}
    path = tmp_path / "at-s0.safetensors"
    save_file(nested, path, metadata={"cure": json.dumps(about | {"kind": "trajectory", "method": "at"})})
    code, shown, said = run("eval", path, "--attacks", "clean")
    assert (code, shown) == (2, "")
    assert "at-s0.safetensors: holds no network that can be evaluated, but 0.5/student" in said


def test_a_budget_chooses_the_images_and_says_so(run, weights):
    _, shown, said = run("eval", weights, "--attacks", "clean,pgd20", "--budget", "1h", "--json")
    assert re.search(r"40 of 40 images, about [\d.e-]+ s of 3.6e\+03 s", said)
    assert numbers(shown)["clean"]["images"] == 40


def test_compare_says_what_can_be_claimed(run, ours, same):
    code, shown, _ = run("compare", ours.folder, same.folder)
    assert code == 0
    assert "no difference can be claimed between natural-s0 and theirs under pgd20: 0.0 points" in shown
    _, shown, _ = run("compare", ours.folder, same.folder, "--json")
    assert {one["column"]: one["p"] for one in json.loads(shown)} == {"clean": 1.0, "pgd20": 1.0, "worst": 1.0}


READERS = ("torch.load", "torch.jit.load", "torch.export.load", "safe_open", "load_file", "program_kind")


@pytest.fixture
def opened(monkeypatch):
    """How often each reader of files opened each file of a name, whichever module of cure called it."""
    counts = Counter()

    def counting(name, reader):
        def call(path, *words, **options):
            if isinstance(path, str | Path):  # not a member of an archive, nor a buffer
                counts[name, Path(path).name] += 1
            return reader(path, *words, **options)

        return call

    for reader in READERS:
        place, _, name = reader.rpartition(".")
        modules = [sys.modules[place]] if place else [m for key, m in sys.modules.items() if key.startswith("cure.")]
        for module in modules:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, counting(reader, getattr(module, name)))
    return lambda *files: {key: count for key, count in counts.items() if key[1] in files}


@pytest.fixture(scope="module")
def external(trained, theirs, tmp_path_factory):
    """The same network by kind of external file."""
    folder = tmp_path_factory.mktemp("kinds")
    save_file(trained.state_dict(), folder / "theirs.safetensors")
    torch.jit.trace(trained, torch.rand(2, 1, 8, 8)).save(folder / "script.pt")
    rows = torch.export.Dim("n", min=1, max=512)
    program = torch.export.export(trained, (torch.rand(3, 1, 8, 8),), dynamic_shapes=({0: rows},))
    torch.export.save(program, folder / "program.pt2")
    return {
        "state dict": (theirs, ["program_kind", "torch.load"]),
        "safetensors": (folder / "theirs.safetensors", ["safe_open"]),
        "TorchScript": (folder / "script.pt", ["program_kind", "torch.jit.load"]),
        "torch.export": (folder / "program.pt2", ["program_kind", "torch.export.load"]),
    }


def test_a_checkpoint_of_ours_is_opened_once(run, weights, opened):
    assert run("eval", weights, "--attacks", "clean")[0] == 0
    assert opened(weights.name) == {("safe_open", weights.name): 1}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["state dict", "safetensors", "TorchScript", "torch.export"])
def test_an_external_checkpoint_is_opened_once(run, external, params, opened, kind):
    path, readers = external[kind]
    options = ["--data", "data/digits.safetensors", "--params", params, "--attacks", "clean", "--trust-code"]
    code, _, said = run("eval", path, *options)
    assert code == 0, said
    assert opened(path.name) == {(reader, path.name): 1 for reader in readers}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["state dict", "safetensors", "TorchScript", "torch.export"])
def test_to_ask_for_the_data_set_opens_an_external_checkpoint_once(run, external, opened, kind):
    path, readers = external[kind]
    code, _, said = run("eval", path, "--trust-code")
    assert (code, "--data is needed" in said) == (2, True)
    early = [reader for reader in readers if reader not in ("torch.jit.load", "torch.export.load")]
    assert opened(path.name) == {(reader, path.name): 1 for reader in early}  # a program runs only to be evaluated


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["ours", "state dict", "TorchScript"])
def test_networks_that_share_a_surrogate_open_it_once(run, weights, external, params, opened, tmp_path, kind):
    own = {"ours": (tmp_path / "other.safetensors", ["safe_open"])}
    own["ours"][0].write_bytes(weights.read_bytes())
    surrogate, readers = (own | external)[kind]
    again = tmp_path / "again.safetensors"
    again.write_bytes(external["safetensors"][0].read_bytes())
    options = [
        "--data",
        "data/digits.safetensors",
        "--params",
        params,
        "--attacks",
        "pgd20",
        "--n",
        "20",
        "--trust-code",
    ]
    code, _, said = run("eval", external["safetensors"][0], again, "--surrogate", surrogate, *options)
    assert code in (0, 3), said
    once = {(reader, surrogate.name): 1 for reader in readers}
    once |= {("safe_open", name): 1 for name in ("theirs.safetensors", "again.safetensors")}
    assert opened("theirs.safetensors", "again.safetensors", surrogate.name) == once


def test_help_and_docs_say_that_a_file_may_be_a_program(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    _, shown, _ = call("eval", "--help")
    assert "Run the code in TorchScript and torch.export files, which are programs" in " ".join(shown.split())
    page = (ROOT / "docs/evaluate.md").read_text()
    assert "| a program: TorchScript or torch.export | `--trust-code` (Python: `trust_code=True`) | the program" in page


def test_a_key_names_the_network_in_the_table(run, trained, params, tmp_path):
    weak = trained.state_dict() | {"linear.bias": torch.linspace(-30, 30, 10)}
    torch.save({"raw": weak, "ema": trained.state_dict()}, tmp_path / "both.pt")
    options = ["--data", "data/digits.safetensors", "--params", params, "--model", "small", "--attacks", "clean"]
    code, _, said = run("eval", tmp_path / "both.pt", *options)
    assert (code, "holds 2 networks that fit: raw, ema; name one by --key" in said) == (2, True)
    code, shown, said = run("eval", tmp_path / "both.pt", *options, "--key", "ema", "--out", tmp_path / "out")
    assert (code, "both:ema: weights of ema, not of raw" in said) == (0, True)
    assert re.search(r"(?m)^ *both:ema ", shown)
    assert (tmp_path / "out/both-ema/results.json").exists()


REFUSALS = {
    "absent": (["absent.pt", "--data", "digits"], "absent.pt: not found"),
    "no data": (["{theirs}"], "--data is needed"),
    "no such data": (["{theirs}", "--data", "digit"], "no such data set, did you mean digits?"),
    "no such attack": (["{weights}", "--attacks", "pgd2"], "no column 'pgd2', did you mean pgd20"),
    "no such model": (["{theirs}", "--data", "digits", "--model", "smal"], "no entry 'smal', did you mean small?"),
    "another width": (["{theirs}", "--data", "digits", "--model", "small"], "does not fit small"),
    "fits none": (["{theirs}", "--data", "digits"], "fits none of small, small_resnet; name its --model"),
    "ours with a model": (["{weights}", "--model", "small"], "describe themselves"),
    "mean without std": (["{theirs}", "--data", "digits", "--mean", "0.5"], "--mean and --std: give both or neither"),
    "nothing": (["--data", "digits"], "nothing to evaluate"),
    "no budget": (["{weights}", "--budget", "0s"], "--budget 0s: not a time; allowed: 90s, 10m, 2h"),
    "nothing to transfer to": (
        ["{weights}", "--attacks", "clean", "--surrogate", "{weights}"],
        "--surrogate: nothing is attacked; name a column beside clean",
    ),
    "no column": (["{weights}", "--attacks", ","], "--attacks: no attack given"),
    "no folder": (["{weights}", "--out", "{theirs}"], "theirs.pt: a file; name a folder"),
    "other data": (["{weights}", "--data", "{other}"], "not the file that these weights were trained with"),
}


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("name", REFUSALS)
def test_what_makes_no_sense_is_refused_in_one_sentence(run, weights, theirs, pipeline, tmp_path, name):
    words, said = REFUSALS[name]
    other = tmp_path / "other.safetensors"
    other.write_bytes((pipeline / "data/digits.safetensors").read_bytes() + b" ")
    places = {"weights": weights, "theirs": theirs, "other": pipeline / "data/digits.safetensors"}
    if name == "other data":
        other.write_bytes((pipeline / "data/digits.safetensors").read_bytes())
        edit_header(other, source="elsewhere")
        places["other"] = other
    code, _, refused = run("eval", *(word.format(**places) for word in words))
    assert code == 2
    assert said in refused


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), (None, None)])
def test_times(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "s", "-1m", "inf", "nan", "ten"])
def test_no_times(text):
    with pytest.raises(UserError, match="not a time"):
        seconds(text)


@pytest.mark.parametrize(("mean", "std"), [("a", "b"), ("0.5", "0"), ("0.5;0.5", "1;1")])
def test_no_normalisations(mean, std):
    with pytest.raises(UserError, match="numbers separated by commas"):
        normalisation(mean, std)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"outcomes": 3}'])
def test_compare_refuses_what_is_no_result(run, weights, tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    code, _, said = run("compare", path, path)
    assert code == 2
    assert "not found" in said or "not a result" in said


def test_another_networks_images_are_tried_as_well(run, weights, tmp_path):
    run("eval", weights, *FEW, "--surrogate", weights, "--out", tmp_path / "out")
    named = [line["name"] for line in document(tmp_path / "out" / "natural-s0")["masking"]]
    assert "transfer" in named


def test_without_a_surrogate_there_is_no_such_line(ours):
    named = [line["name"] for line in document(ours.folder)["masking"]]
    assert {"steps", "far", "unbounded", "silent success", "converged", "progress", "clean"} <= set(named)
    assert "transfer" not in named


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.rand(2, 1, 8, 8))])
def test_a_program_saved_in_training_mode_is_noticed(run, tmp_path, make):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))
    make(net).save(tmp_path / "training.pt")
    code, _, said = run("eval", tmp_path / "training.pt", "--trust-code", "--data", "digits", *FEW)
    assert code == 2
    assert re.search(r"eval mode: .* in training mode; call net.eval\(\), of a saved program before it is saved", said)


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.pt"
    path.write_text("no checkpoint")
    return path


def test_a_bad_checkpoint_loses_no_table(run, theirs, bad, params):
    options = ["--data", "data/digits.safetensors", "--params", params, "--model", "small", *FEW]
    code, shown, said = run("eval", theirs, bad, *options)
    assert code == 2
    assert re.search(r"(?m)^ *theirs ", shown)
    assert f"error: {bad}: not a readable checkpoint" in said
    code, shown, said = run("eval", bad, theirs, *options, "--json")
    assert (code, [one["subject"] for one in json.loads(shown)]) == (2, ["theirs"])


class Exhausted(nn.Module):
    """Fails as PyTorch does where memory ends, after the preflight."""

    def __init__(self, net):
        super().__init__()
        self.net, self.left = net, 80

    def forward(self, x):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("out of memory. Tried to allocate 2 GiB")
        return self.net(x)


def test_a_network_that_fails_under_attack_is_refused_in_one_sentence(run, trained, monkeypatch):
    monkeypatch.setattr("cure.storage.external_checkpoint.from_factory", lambda *_: Exhausted(trained))
    code, _, said = run("eval", "--factory", "a:b", "--data", "digits", *FEW)
    assert (code, said) == (2, "a:b: failed under attack (RuntimeError: out of memory)")


def test_an_interrupted_run_shows_what_it_has(run, weights, theirs, params, monkeypatch):
    begun = []
    measured = command.measure

    def interrupted(subject, *words, **options):
        begun.append(subject.name)
        if len(begun) > 1:
            raise KeyboardInterrupt
        return measured(subject, *words, **options)

    monkeypatch.setattr(command, "measure", interrupted)
    options = ["--data", "data/digits.safetensors", "--params", params, "--model", "small", *FEW]
    code, shown, said = run("eval", theirs, theirs, *options)
    assert code == 130
    assert re.search(r"(?m)^ *theirs ", shown)
    assert "interrupted" in said


def test_without_a_terminal_each_attack_leaves_a_line(ours):
    lines = [line for line in ours.said.splitlines() if line.startswith("natural-s0: ") and " survive" in line]
    probes = ["probe pgd100", "probe far", "probe unbounded", "probe path"]
    assert [line.split(": ")[1] for line in lines] == ["clean", "pgd20", *probes]
    assert re.search(r"natural-s0: pgd20: \d+ of \d+ survive, \d+\.\d \(\d+\.\d to \d+\.\d\) %", ours.said)


def test_the_file_of_the_settings_is_named(ours):
    assert "settings: params.yaml" in ours.said.splitlines()


def test_another_projects_params_are_passed_over(run, theirs, tmp_path, monkeypatch, pipeline):
    project = tmp_path / "project"
    project.mkdir()
    (project / "params.yaml").write_text("train:\n  lr: 0.1\nmodels: [a]\n")
    monkeypatch.chdir(project)
    data = ["--data", pipeline / "data/digits.safetensors", "--attacks", "clean"]
    monkeypatch.setattr(
        "cure.storage.external_checkpoint.from_factory", lambda *_: nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    )
    _, _, said = run("eval", "--factory", "a:b", *data, "--force")
    assert f"{project / 'params.yaml'}: another project's (no section threat or attack), skipped" in said
    assert f"settings: {published()}" in said
    assert "eps 8/255" in said


@pytest.mark.parametrize("text", ["threat:\n  eps: 0.1\n", "attack:\n  - [\n"])
def test_a_broken_params_file_of_ours_is_not_passed_over(run, tmp_path, monkeypatch, pipeline, text):
    (tmp_path / "params.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    code, _, said = run("eval", "--factory", "a:b", "--data", pipeline / "data/digits.safetensors")
    assert code == 2
    assert str(tmp_path / "params.yaml") in said


def test_a_prepared_data_set_is_kept_in_the_scratch_folder(run, weights, monkeypatch, tmp_path):
    monkeypatch.setattr(resume, "FOLDER", tmp_path / "scratch")
    (tmp_path / "params.yaml").write_text(QUICKSTART.read_text())  # beside no prepared file
    for _ in range(2):
        code, _, _ = run("eval", weights, "--params", tmp_path / "params.yaml", "--attacks", "clean")
        assert code == 0
    assert len(list((tmp_path / "scratch/prepared").glob("digits-*.safetensors"))) == 1


def test_the_number_of_images_is_kept_for_the_same_command_alone(run, weights, tmp_path, monkeypatch):
    out = ["--out", tmp_path / "out", "--attacks", "clean,pgd20", "--json"]
    monkeypatch.setattr(Plan, "seconds", lambda self, pace, images: float(images))
    assert numbers(run("eval", weights, *out, "--budget", "10s")[1])["clean"]["images"] == 10
    monkeypatch.setattr(Plan, "seconds", lambda self, pace, images: 2.0 * images)
    _, shown, said = run("eval", weights, *out, "--budget", "10s")
    assert (numbers(shown)["clean"]["images"], "10 of 40 images, as begun" in said) == (10, True)
    assert numbers(run("eval", weights, *out, "--budget", "30s")[1])["clean"]["images"] == 15


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_refused_network_costs_no_attack(run, trained, tmp_path):
    torch.jit.trace(nn.Sequential(trained, nn.Softmax(dim=1)), torch.rand(2, 1, 8, 8)).save(tmp_path / "soft.pt")
    words = ["--trust-code", "--data", "digits", *FEW, "--out", tmp_path / "out"]
    code, _, said = run("eval", tmp_path / "soft.pt", *words)
    assert code == 2
    assert "logits: rows are not negative and sum to one: probabilities" in said
    assert not (tmp_path / "out").exists()
