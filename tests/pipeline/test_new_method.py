"""A new method under DVC: one file, two lines of params, its own runs."""

import json

import pytest

from tests.support.clone import (
    ROWS,
    measured,
    ran,
    runs,
)

TOY = '''"""TOY: adversarial training by the Brier score, sum_k (p_k - 1[k = y])^2, p = softmax f(x')."""

import torch.nn.functional as F

from cure.adversarial.pgd import ce_objective, pgd
from cure.core.method import Method
from cure.settings.base import MethodSettings, Search


class Hyper(MethodSettings):
    """The attack."""

    attack: Search


def attack(nets, batch, hyper):
    """x' = PGD on CE."""
    return {"adv": pgd(nets.student, batch, hyper.attack, ce_objective)}


def loss(nets, batch, hyper):
    """The Brier score of x'."""
    p = nets.student(batch.x_adv).softmax(dim=1)
    return {"robust": (1.0, (p - F.one_hot(batch.y, p.shape[1])).square().sum(dim=1))}


METHOD = Method(cite="nobody", hyper=Hyper, loss=loss, attack=attack)
'''


@pytest.fixture(scope="session")
def extended(made, tmp_path_factory):
    """A copy of `made` with a method of a newcomer, reproduced, and what that printed."""
    clone = made.copy(tmp_path_factory.mktemp("extended"))
    (clone.root / "cure/methods/toy.py").write_text(TOY)
    text = clone.params.read_text()
    for before, line in (
        ("  update:\n", "  - toy\n"),
        ("methods:\n", "  toy: {attack: {steps: 2, start: uniform, clip_start: true}}\n"),
    ):
        text = text.replace(before, before + line, 1)
    clone.params.write_text(text)
    return clone, clone.run("dvc", "repro")


def test_a_new_method_is_one_file_and_two_lines_of_params(extended):
    clone, _ = extended
    changed = clone.run("git", "status", "--porcelain", "-uall", folder=".").splitlines()
    ours = {
        line[3:]
        for line in changed
        if not line[3:].startswith(("quickstart/reports/", "quickstart/code/", "quickstart/dvc.lock"))
    }
    assert ours == {"cure/methods/toy.py", "quickstart/params.yaml"}
    assert clone.run("git", "diff", "--numstat", "params.yaml").split()[:2] == ["2", "0"]


def test_a_new_method_runs_its_own_cells_and_the_report_alone(extended):
    _, output = extended
    own = {"toy": "update"}
    assert sorted(ran(output)) == sorted({*runs("", own), *measured(own), "report"})


def test_a_new_method_has_a_row_and_a_curve(extended):
    clone, _ = extended
    metrics = json.loads((clone.quickstart / "reports/metrics.json").read_text())
    assert list(metrics["digits/small"]) == [*ROWS, "toy"]
    assert ",toy," in (clone.quickstart / "reports/curves.csv").read_text()
