"""Every finding of every figure on made-up tables: one that bears the paper out and one that does not."""

import pandas as pd
import pytest

from cure import catalogue
from cure.params import read
from cure.reporting import evidence, findings
from tests.methods.rig import QUICKSTART
from tests.test_evidence import grid

Frame = pd.DataFrame


def curve(**ends: tuple[float, float]) -> Frame:
    """Best and last validation PGD accuracy."""
    lines = [(method, epoch, value) for method, pair in ends.items() for epoch, value in enumerate(pair)]
    return Frame(lines, columns=["method", "epoch", "val_pgd"])


def corrupted(**means: float) -> Frame:
    """Accuracy at severity 3, and at 5 the reverse of it."""
    lines = [(m, s, v if s == 3 else 100 - v) for m, v in means.items() for s in (3, 5)]
    return Frame(lines, columns=["method", "severity", "accuracy"])


def radii(**lines: tuple[float, float]) -> Frame:
    """Accuracy at the radii 0.1 and 0.2; at 0 all are alike."""
    places = [(m, r, v) for m, line in lines.items() for r, v in zip((0.0, 0.1, 0.2), (90.0, *line), strict=True)]
    return Frame(places, columns=["method", "radius", "accuracy"])


def critical(*values: float) -> Frame:
    return Frame({"method": "rift", "module": [f"conv{i}" for i in range(len(values))], "mrc": values})


def way(*pgd: float) -> Frame:
    """PGD accuracy at a = 0, 0.3 and 1 on the exported way, and a better way that is not exported."""
    own = Frame({"variant": "update", "a": [0.0, 0.3, 1.0], "pgd": pgd, "exported": [False, True, False]})
    other = Frame({"variant": "freeze", "a": [0.0, 0.3, 1.0], "pgd": [50.0, 90.0, 90.0], "exported": False})
    return pd.concat([own, other]).assign(method="rift")


def similar(**lines: tuple[float, ...]) -> Frame:
    """CKA of each layer with itself; across layers 0."""
    places = [
        (method, f"conv{i}", f"conv{j}", value if i == j else 0.0)
        for method, line in lines.items()
        for i, value in enumerate(line)
        for j in range(len(line))
    ]
    return Frame(places, columns=["method", "clean_layer", "adversarial_layer", "cka"])


def sized(at: float, *cure: float) -> Frame:
    """Gradients of three convolutions, AT's all alike, and a batch norm that does not count."""
    names = [f"conv{i}" for i in range(3)]
    conv = [("at", name, at, 4) for name in names]
    conv += [("cure", name, value, 4) for name, value in zip(names, cure, strict=True)]
    lines = [*conv, ("at", "bn", 1.0, 1), ("cure", "bn", 1.0 - at, 1)]
    return Frame(lines, columns=["method", "layer", "magnitude", "dims"]).assign(share=1.0)


def updated(norm: float, *late: float) -> Frame:
    """Shares of three convolutions at the end, another order of them at the start, and of a batch norm."""
    lines = [("bn", 1, share, norm) for share in (0.0, 1.0)]
    lines += [(f"conv{i}", 4, 1.0, value) for i, value in enumerate(late)]
    lines += [(f"conv{i}", 4, 0.0, 1.5 - value) for i, value in enumerate(late)]
    return Frame(lines, columns=["layer", "dims", "share", "network_wide"]).assign(method="cure")


def accuracies(**pairs: tuple[float, float]) -> Frame:
    """Natural and PGD accuracy of block sets in percent."""
    return Frame([(name, *pair) for name, pair in pairs.items()], columns=["method", "clean", "pgd"])


def course(**ends: tuple[float, float]) -> Frame:
    """PGD accuracy of block sets in the epochs 1 and 2."""
    lines = [(name, epoch, value) for name, pair in ends.items() for epoch, value in enumerate(pair, 1)]
    return Frame(lines, columns=["method", "epoch", "val_pgd"])


def singles(first: float, second: float) -> Frame:
    return accuracies(natural=(95, 0), u1=(first, 30), u2=(second, 30), u3=(80, 40), u4=(90, 30))


CASES = {  # figure -> (bears the paper out, does not) for each of its findings
    "curves": [(curve(at=(0.5, 0.4), cure=(0.5, 0.5)), curve(at=(0.5, 0.5), cure=(0.5, 0.45)))],
    "corruptions": [
        (corrupted(cure=60, at=50, trades=55, mart=58), corrupted(cure=57, at=50, trades=55, mart=58)),
    ],
    "survival": [
        (
            radii(cure=(60, 30), at=(50, 20), trades=(55, 25), mart=(58, 28)),
            radii(cure=(60, 30), at=(50, 20), trades=(55, 25), mart=(58, 30)),
        ),
    ],
    "criticality": [(critical(0.09, 3.0, 12.9), critical(1.0, 3.0, 6.0))],
    "cka": [
        (similar(natural=(0.9, 0.2, 0.1), at=(0.9, 0.8, 0.7)), similar(natural=(0.9, 0.9, 0.9), at=(0.9, 0.8, 0.7))),
        (similar(at=(0.9, 0.9, 0.5)), similar(at=(0.6, 0.7, 0.7))),
        (similar(natural=(0.1,), cure=(0.5,), at=(0.9,)), similar(natural=(0.1,), cure=(0.95,), at=(0.9,))),
    ],
    "gradients": [(sized(0.3, 0.1, 0.2, 0.4), sized(0.3, 0.1, 0.5, 0.4))],
    "rgp": [
        (updated(0.95, 0.7, 0.7, 0.7), updated(0.6, 0.7, 0.7, 0.7)),
        (updated(0.9, 0.6, 0.9, 0.7), updated(0.9, 0.8, 0.6, 0.7)),
    ],
    "interpolation": [(way(50.0, 50.3, 49.0), way(50.0, 49.9, 51.0))],
    "layers": [
        (singles(45, 70), singles(70, 45)),
        (accuracies(u23=(86, 52), all=(84, 50)), accuracies(u23=(86, 50), all=(84, 50))),
        (
            accuracies(u1=(45, 30), u2=(70, 35), u12=(75, 45), all=(84, 50)),
            accuracies(u1=(45, 30), u2=(70, 35), u12=(85, 45), all=(84, 50)),
        ),
    ],
    "layers_curves": [
        (course(all=(50, 45), u34=(50, 44), u23=(51, 50)), course(all=(50, 45), u34=(49, 50), u23=(51, 50))),
        (
            course(all=(50, 45), u1=(30, 29), u2=(35, 34), u12=(45, 44)),
            course(all=(50, 45), u1=(30, 29), u2=(35, 34), u12=(51, 49)),
        ),
    ],
}
BLOCK_SETS = read(QUICKSTART)["layers"]["blocks"]["every"]
FINDINGS = {
    f"{name}-{i}": (finding, name, i)
    for name in catalogue.names("figures")
    for i, finding in enumerate(catalogue.entry("figures", name).FIGURE.findings)
}
every_finding = pytest.mark.parametrize("key", FINDINGS)


@every_finding
def test_it_can_come_out_either_way(key: str) -> None:
    finding, name, i = FINDINGS[key]
    agreeing, disagreeing = CASES[name][i]
    for frame, expected in ((agreeing, True), (disagreeing, False)):
        ours, agrees = finding.judge(frame.assign(setting="digits/small", seed=0))
        assert (agrees, ours != "") == (expected, True)


@every_finding
def test_it_needs_the_rows_that_it_reads(key: str) -> None:
    finding, name, i = FINDINGS[key]
    assert set(finding.rows) <= {*catalogue.names("methods"), *BLOCK_SETS}
    assert set(finding.rows) <= set(CASES[name][i][0]["method"])


def test_seeds_are_averaged_before_they_are_judged() -> None:
    bad, good = (frame.assign(setting="digits/small") for frame in CASES["corruptions"][0][::-1])
    judge = catalogue.entry("figures", "corruptions").FIGURE.findings[0].judge
    ours, _ = judge(pd.concat([good.assign(seed=0), bad.assign(seed=1)]))
    assert "CURE 58.5 %" in ours


def test_a_row_that_the_grid_lacks_is_named_and_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = CASES["corruptions"][0][0].assign(setting="digits/small", seed=0)
    monkeypatch.setattr(evidence, "table", lambda name, grid: data[data["method"] != "cure"])
    (line,) = findings.table(["corruptions"], grid()).to_dict("records")
    assert (line["agrees"], line["ours"]) == ("not measured", "no row CURE")


def test_a_figure_without_data_says_what_it_lacks() -> None:
    (line,) = findings.table(["criticality"], grid()).to_dict("records")
    assert (line["agrees"], line["ours"]) == ("not measured", "no RiFT row in this grid")


def test_the_page_has_a_line_for_each_setting_and_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = CASES["corruptions"][0]
    data = pd.concat([good.assign(setting="digits/small"), bad.assign(setting="cifar10/resnet18")]).assign(seed=0)
    monkeypatch.setattr(evidence, "table", lambda name, grid: data)
    text = findings.page(findings.table(["corruptions"], grid()))
    assert "- 1 yes, 1 no, 0 not measured." in text
    assert text.count("| digits/small |") == text.count("| cifar10/resnet18 |") == 1
