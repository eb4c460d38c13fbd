"""What a person sees of the result of `evaluate`."""

import dataclasses
import html.parser

import pytest

from cure import evaluate
from cure.evaluation.standalone.outputs import summary


@pytest.fixture(scope="module")
def found(trained, test_images):
    return evaluate(trained, test_images[0][:20], test_images[1][:20], attacks="clean, fgsm", eps="38/255", classes=10)


def test_the_repr_is_one_short_line(found):
    robust, worst = (100 * found.accuracy(name) for name in ("fgsm", "worst"))
    clean = f"clean {100 * found.accuracy('clean'):.2f} %"
    assert repr(found) == f"<Small on 20 images, Linf, eps 38/255: {clean}, fgsm {robust:.2f} %, worst {worst:.2f} %>"


def test_flags_are_counted_in_the_repr_and_told_in_the_summary(found):
    doubted = type(found)(**vars(found) | {"preflight": [dataclasses.replace(found.preflight[0], passed=False)]})
    (flag,) = doubted.flags
    assert repr(doubted).endswith("; 1 flag>")
    assert f"\nflag: {flag}" in doubted.summary()
    assert "flag" not in found.summary()


def test_the_summary_has_a_line_for_each_attack(found):
    title, empty, head, *lines = found.summary().splitlines()
    assert (title, empty) == ("Small on 20 images, Linf, eps 38/255", "")
    assert head.split("  ")[0] == "attack"
    assert [line.split()[0] for line in lines] == ["clean", "fgsm", "worst"]
    low, high = found.interval("fgsm")
    numbers = f"{100 * found.accuracy('fgsm'):.2f}", f"{100 * low:.1f} to {100 * high:.1f}"
    assert all(number in lines[1] for number in numbers)
    assert f"{100 * found.nrr('fgsm'):.2f}" in lines[1]


def test_the_table_for_pandas_has_the_numbers_of_results_json(found):
    table = found.to_pandas()
    assert table.index.name == "attack"
    assert list(table.index) == ["clean", "fgsm", "worst"]
    assert list(table.columns) == ["images", "accuracy", "low", "high", "nrr", "nrr_low", "nrr_high"]
    assert table.loc["fgsm"].to_dict() == summary(found, "fgsm")
    assert table.loc["clean"].isna().sum() == 3
    assert table["images"].dtype.kind == "i"


class Cells(html.parser.HTMLParser):
    """The texts of all cells, and the tags that stay open."""

    def __init__(self):
        super().__init__()
        self.open, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_a_notebook_gets_the_same_table(found):
    named = type(found)(**vars(found) | {"subject": dataclasses.replace(found.subject, name="<b>net</b>")})
    cells = Cells()
    cells.feed(named._repr_html_())
    assert cells.open == []
    assert cells.texts[0] == "<b>net</b> on 20 images, Linf, eps 38/255"
    words = [text for line in found.summary().splitlines()[3:] for text in line.split("  ") if text]
    assert [word.strip() for word in words] == cells.texts[7:]


def test_corruptions_are_a_row_of_their_own(trained, test_images):
    how = {"attacks": "clean", "norm": "L2", "corruptions": [1], "classes": 10}
    found = evaluate(trained, test_images[0][:10], test_images[1][:10], **how)
    assert repr(found).startswith("<Small on 10 images, L2, eps 0.5, step 0.0586: clean ")
    assert found.to_pandas().loc["corrupted", "accuracy"] == found.corrupted_accuracy
    line = found.summary().splitlines()[-1]
    assert line.split()[:3] == ["corrupted", "10", f"{100 * found.corrupted_accuracy:.2f}"]
