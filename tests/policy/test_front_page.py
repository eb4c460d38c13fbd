"""README: short, its tables as the reports and the catalogue have them, its Python and that of docs/evaluate.md run."""

from pathlib import Path

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


@pytest.mark.parametrize("page", front_page.PAGES)
def test_the_made_parts_are_as_reports_and_catalogue_have_them(page: str) -> None:
    text = (ROOT / page).read_text()
    assert front_page.rewritten(text, front_page.PAGES[page]) == text


def test_a_part_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AssertionError, match="no part results"):
        front_page.rewritten("# cure\n", ("results",))


@pytest.mark.parametrize(("agrees", "answer"), [("no", "No, at this scale"), ("not told apart", "Not told apart")])
def test_the_verdict_on_cure_is_that_of_the_finding(tmp_path: Path, agrees: str, answer: str) -> None:
    lines = [
        "figure,source,said,ours,agrees",
        "curves,a,b,c,yes",
        f'ratio,CURE,it is above,"NRR: CURE 29, AT 33",{agrees}',
    ]
    (tmp_path / "findings.csv").write_text("\n".join(lines) + "\n")
    verdicts = ["clean,CURE beats AT", "clean,CURE beats AWP", "clean,Natural beats CURE", "cw20,AT beats CURE"]
    (tmp_path / "pairs.csv").write_text("\n".join(["column,verdict", *verdicts, "nrr_cw20,not told apart"]) + "\n")
    (said,) = front_page.verdict(tmp_path)
    assert said.startswith(f"**Is CURE above its baselines in NRR? {answer}")
    assert "NRR: CURE 29, AT 33. In clean accuracy CURE beats AT and AWP." in said
    assert "Under C&W-20 it is beaten by AT, and in NRR by no robust method." in said


def test_several_seeds_have_intervals_over_images_and_training_runs(tmp_path: Path) -> None:
    (tmp_path / "attacks.csv").write_text("method,column,images,accuracy,low,high,nrr,nrr_low,nrr_high\n")
    names = [*front_page.COLUMNS, "nrr_cw20"]
    lines = [f"{name},{60 if name == 'aa' else 539},cure,{50 + k},40,{60 + k}" for k, name in enumerate(names)]
    (tmp_path / "ranks.csv").write_text("column,images,method,mean,low,high\n" + "\n".join(lines) + "\n")
    head, _, row = front_page.results(tmp_path)
    assert head == "| method | Clean | PGD-20 | C&W-20 | AA (60) | NRR (C&W-20) |"
    assert row.startswith("| CURE | 50.00 (40.0 to 60.0) | 51.00 (40.0 to 61.0) |")
    assert row.endswith("| 54.00 (40.0 to 64.0) |")


def test_methods_of_one_seed_have_a_table_without_intervals(tmp_path: Path) -> None:
    lines = ["method,clean,pgd20,cw20,aa,nrr_cw20", "at,1,2,3,4,5", "fat,84.44,50.06,40,30,54.321"]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    head, _, row = front_page.once(tmp_path)
    assert head == "| method | Clean | PGD-20 | C&W-20 | AA | NRR (C&W-20) |"
    assert row == "| FAT | 84.4 | 50.1 | 40.0 | 30.0 | 54.3 |"


def test_the_detected_difference_is_the_median_over_pairs(tmp_path: Path) -> None:
    lines = [
        f"{name},{60 if name == 'aa' else 539},{k}" for name in (*front_page.COLUMNS, "nrr_cw20") for k in (1, 2, 4)
    ]
    (tmp_path / "pairs.csv").write_text("\n".join(["column,images,detectable", *lines, "worst,539,9"]) + "\n")
    head, _, row = front_page.detected(tmp_path)
    assert "AA (60 images) | NRR (539 images)" in head
    assert row == "| points | 2.0 | 2.0 | 2.0 | 2.0 | 2.0 |"


def test_a_finding_says_which_variant_of_a_study_it_is_about(tmp_path: Path) -> None:
    lines = ["figure,setting,source,said,ours,agrees", 'layers,"a/b, fine-tuned",CURE,s,o,no', "curves,a/b,CURE,s,o,no"]
    (tmp_path / "findings.csv").write_text("\n".join(lines) + "\n")
    assert front_page.findings(tmp_path)[2:] == ["| CURE | s | fine-tuned: o | no |", "| CURE | s | o | no |"]


def test_overfitting_is_a_line_for_each_run(tmp_path: Path) -> None:
    head = "method,best_epoch,last_epoch,test_pgd20_best,test_pgd20_last,test_pgd20_difference"
    (tmp_path / "overfitting.csv").write_text(f"{head}\nnatural,1,24,0,0,0\nat,9,48,29.25,27.5,-1.75\n")
    head, _, row = front_page.overfitting(tmp_path)
    assert head == "| method | best epoch | of | PGD-20, best | last | last - best |"
    assert row == "| AT | 9 | 48 | 29.25 | 27.50 | -1.75 |"


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
