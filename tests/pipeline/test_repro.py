"""The pipeline under DVC, in a temporary clone: what runs, what does not, and that it ends in the same bytes."""

import json
import re

import pytest
from ruamel.yaml import YAML

from tests.support.clone import (
    ANALYSES,
    AT,
    ATTACKS,
    CORRUPTS,
    CURE,
    LAYERS,
    PREPARE,
    PRETRAIN,
    REVISE,
    ROBUST,
    ROWS,
    STAGES,
    STUDIED,
    TRADES,
    edited,
    ran,
    set_param,
)

PARAMS = {  # a changed value -> the stages that see it themselves; what lies downstream follows their outs
    "alpha": (0.5, {CURE}),
    "methods.cure.revise.network": ("last", {REVISE}),
    "methods.trades.beta": (3, {TRADES}),
    "methods.at.attack.steps": (3, {AT, LAYERS}),
    "pretrain.lr": (0.05, {PRETRAIN, STUDIED}),
    "train.lr": (0.05, {*ROBUST, REVISE, LAYERS}),
    "threat.eps": (0.14, {PRETRAIN, STUDIED, LAYERS, *ROBUST, REVISE, *ATTACKS, *ANALYSES, "report"}),
    "models.small.width": (8, {PRETRAIN, *ROBUST}),
    "models.small_resnet.width": (16, {STUDIED, LAYERS}),
    "layers.update.freeze_stem": (False, {LAYERS}),
    "layers.blocks.every.u1": (["layer2"], {LAYERS}),
    "layers.blocks.more": ({"u3": ["layer3"]}, set()),  # nobody asks for it
    "datasets.digits.augment.crop": (0, {PREPARE, PRETRAIN, STUDIED, LAYERS, *ROBUST, REVISE}),
    "attack.columns.pgd20.steps": (3, {*ATTACKS, "report"}),
    "attack.subset.aa": (30, {*ATTACKS, "report"}),
    "corrupt.severities": ([1], CORRUPTS),
    "report.title": ("Another", {"report"}),
    "report.figures": (["curves"], {"report"}),
    "train.snapshots": ([0.25], {*ROBUST, REVISE, LAYERS}),
    "analyse.images": (30, ANALYSES),
    "grid.seeds": ([0, 1], {f"{stage[:-1]}1" for stage in STAGES if stage.endswith("-0")} | {"report"}),
}


SHARED = {PRETRAIN, STUDIED, LAYERS, *ROBUST, REVISE, *ATTACKS, *CORRUPTS, *ANALYSES}  # all that hold a network


def line(path):
    """Something that the code computes."""
    path.write_text((path.read_text() if path.exists() else "") + "\nMORE = 1\n")


def prose(path):
    """Another docstring, a comment at a line's end and one of its own, and blank lines."""
    first, _, rest = path.read_text().partition("\n")
    assert first.startswith('"""')
    path.write_text(f'"""Said otherwise. {first[3:]}\n\n# a comment\n{rest}\n# another\n')


def message(path):
    """Another wording of what a person reads."""
    path.write_text(path.read_text().replace("did you mean", "do you mean"))


EDITS = {  # kind of edit -> edited file, edit, stages that run it
    "method": ("cure/methods/trades.py", line, {TRADES}),
    "part of methods": ("cure/methods/parts/rgp.py", line, {CURE, REVISE, "analyse@digits-small-cure-0"}),
    "model": ("cure/models/small.py", line, {PRETRAIN, *ROBUST, REVISE, *ATTACKS, *CORRUPTS, *ANALYSES}),
    "model of the study": ("cure/models/small_resnet.py", line, {STUDIED, LAYERS}),
    "data set": ("cure/datasets/digits.py", line, {PREPARE}),
    "shared module": ("cure/data/loader.py", line, SHARED),
    "module of training": ("cure/training/loop.py", line, {PRETRAIN, STUDIED, LAYERS, *ROBUST}),
    "module of the study": ("cure/training/layerwise.py", line, {LAYERS}),
    "module of freezing": ("cure/nn/freezing.py", line, {LAYERS}),
    "module of attacks": ("cure/evaluation/driver.py", line, ATTACKS),
    "docstring and comments": ("cure/data/loader.py", prose, set()),
    "message": ("cure/errors.py", message, {PREPARE, *SHARED, "report"}),
    "page": ("cure/reporting/html/page.html", line, {"report"}),
    "module of the report": ("cure/reporting/table.py", line, {"report"}),
    "attack": ("cure/attacks/pgd.py", line, ATTACKS),
    "unused attack": ("cure/attacks/another.py", line, set()),
    "corruption": ("cure/corruptions/gaussian_noise.py", line, CORRUPTS),
    "unused corruption": ("cure/corruptions/contrast.py", line, set()),
    "new corruption": ("cure/corruptions/another.py", line, set()),
    "figure": ("cure/figures/masks.py", line, {"report"}),
    "unused figure": ("cure/figures/another.py", line, set()),
    "analysis": ("cure/analyses/cka.py", line, ANALYSES),
    "unused analysis": ("cure/analyses/another.py", line, set()),
    "unused method": ("cure/methods/mart.py", line, set()),
    "stage": ("stages/update.py", line, ROBUST),
    "command": ("cure/cli.py", line, set()),
    "bytecode": ("cure/attacks/left_over.pyc", line, set()),
}


def test_a_fresh_clone_runs_every_stage_once(built):
    assert sorted(ran(built[1])) == sorted(STAGES)


def test_a_second_repro_runs_the_stages_code_and_show_alone_and_ends_with_the_table(made):
    before = made.run("git", "rev-parse", "HEAD")
    output = made.run("dvc", "repro")
    assert re.findall(r"^Running stage '(.*)'", output, re.MULTILINE) == ["code/dvc.yaml:code", "show"]
    end = output[output.index("Running stage 'show'") :]
    assert re.search(r"^AT +\d+\.\d\d ", end, re.MULTILINE)
    assert f"report: {made.root.resolve() / 'quickstart/reports/index.html'}\n" in end
    assert made.run("git", "status", "--porcelain", folder=".") == ""
    assert made.run("git", "rev-parse", "HEAD") == before


def test_bytecode_is_written_and_changes_nothing(made):
    assert list((made.root / "cure").rglob("*.pyc"))
    made.digest()
    assert made.stale() == set()


@pytest.mark.parametrize("key", PARAMS)
def test_a_changed_param_reaches_the_stages_that_read_it(made, key):
    value, expected = PARAMS[key]
    with edited(made.params, set_param(key, value)):
        assert made.stale() == expected


@pytest.mark.parametrize("kind", EDITS)
def test_an_edit_reaches_the_stages_that_run_it(made, kind):
    name, edit, expected = EDITS[kind]
    with edited(made.root / name, edit):
        made.digest()
        assert made.stale() == expected
        changed = made.run("git", "diff", "--unified=0", "--", "code").splitlines()
    made.run("git", "checkout", "-q", "--", "code")
    moved = {text.split()[-1] for text in changed if text.startswith("+") and not text.startswith("+++")}
    assert (moved == {name}) if expected else (moved <= {name})


def test_a_text_of_code_names_the_modules_of_its_stage(made):
    lines = (made.quickstart / "code/stages/prepare.txt").read_text().splitlines()
    names = [text.split()[1] for text in lines]
    assert {"stages/prepare.py", "cure/data/prepare.py", "cure/storage/files.py"} <= set(names)
    assert names == sorted(names)
    assert all(re.fullmatch(r"[0-9a-f]{16} (cure|stages)/[\w/]+\.py", text) for text in lines)


def test_the_lock_file_knows_these_stages_and_their_files_are_there(made):
    lock = YAML(typ="safe").load((made.quickstart / "dvc.lock").read_text())["stages"]
    assert set(lock) == {*STAGES, "show"}
    outs = [out["path"] for stage in lock.values() for out in stage.get("outs", [])]
    assert [out for out in outs if not (made.quickstart / out).exists()] == []


def test_the_report_has_every_row(made):
    metrics = json.loads((made.quickstart / "reports/metrics.json").read_text())
    assert list(metrics["digits/small"]) == list(ROWS)


def test_a_deleted_result_comes_back_as_it_was(made, tmp_path):
    clone, attack, update = made.copy(tmp_path), "attack_update@digits-small-at-0", AT
    lock = YAML(typ="safe").load((clone.quickstart / "dvc.lock").read_text())["stages"]
    outs = [out for stage in (attack, update) for out in lock[stage]["outs"]]
    lost = {out["path"]: out["md5"] for out in outs if "provenance" not in out["path"]}  # runs share these
    before = {name: (clone.quickstart / name).read_bytes() for name in [*lost, "reports/index.html"]}
    for name, digest in lost.items():  # from the cache too, so that it must be computed again
        (clone.quickstart / name).unlink()
        (clone.quickstart / ".dvc/cache/files/md5" / digest[:2] / digest[2:]).unlink()
    for name in ("index.html", "table.md", "figures/tradeoff.png"):  # made.json remembers the commit
        (clone.quickstart / "reports" / name).unlink()
    output = clone.run("dvc", "repro", "--no-run-cache")
    assert set(ran(output)) == {attack, update, "report"}
    assert {name: (clone.quickstart / name).read_bytes() for name in before} == before
    assert clone.run("git", "status", "--porcelain") == ""
