"""README: short, its tables as the reports and the catalogue have them, its Python and that of docs/evaluate.md run."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

from cure.storage.checkpoint import build
from tests.support.commands import BLOCK, TEXTS
from tests.support.project import ROOT
from tools import front_page

README = (ROOT / "README.md").read_text()
RUN_ELSEWHERE = {"docs/own_loop.md", "docs/add.md"}  # test_own_loop_page.py, test_add_page.py
RUN_HERE = ["README.md", "docs/evaluate.md"]


def python(text: str) -> list[str]:
    return [block for kind, block in BLOCK.findall((ROOT / text).read_text()) if kind == "python"]


def test_the_tables_are_as_reports_and_catalogue_have_them() -> None:
    assert front_page.rewritten(README) == README


def test_a_part_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AssertionError, match="no part results"):
        front_page.rewritten("# cure\n")


def test_several_seeds_have_a_mean_and_a_deviation() -> None:
    seeds = [{"accuracy": value, "low": "0", "high": "1"} for value in ("50.0", "52.0", "54.0")]
    assert front_page.cell(seeds, "accuracy", "low", "high") == "52.00 ± 2.00"
    assert front_page.cell(seeds[:1], "accuracy", "low", "high") == "50.00 (0.0 to 1.0)"


def test_the_page_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_every_page_with_python_is_run() -> None:
    assert {text for text in TEXTS if python(text)} == {*RUN_HERE, *RUN_ELSEWHERE}


@pytest.fixture(scope="module")
def digits() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A small network that has learnt scikit-learn's digits, with images and labels of these."""
    torch.manual_seed(0)
    found = load_digits()
    x, y = torch.tensor(found.images / 16, dtype=torch.float32)[:, None], torch.tensor(found.target)
    net = build("small", {"width": 8}, 1, 10).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for step in range(60):
        part = slice(step % 12 * 128, step % 12 * 128 + 128)
        optimizer.zero_grad()
        cross_entropy(net(x[part]), y[part]).backward()
        optimizer.step()
    return net.eval(), x[-40:], y[-40:]


@pytest.mark.parametrize("text", RUN_HERE)
def test_the_python_of_a_page_runs(text: str, digits, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    net, images, labels = digits
    names = {"torch": torch, "net": net, "images": images, "labels": labels}
    for number, block in enumerate(python(text)):
        small = block.replace('"cifar10"', '"digits", n=40').replace('"cuda"', '"cpu"').replace(", aa", "")
        exec(compile(small, f"{text}, block {number}", "exec"), names)
        assert names["found"].accuracy("clean") > 0.5
