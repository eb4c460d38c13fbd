"""Every finding of every figure on made-up tables: one that bears the paper out and one that does not."""

import math

import pandas as pd
import pytest

from cure import catalogue
from cure.core.finding import Claim
from cure.reporting import evidence, findings
from cure.settings.params import read
from tests.support.method_harness import QUICKSTART
from tests.support.results import SUITE, loaded

Frame = pd.DataFrame
IMAGES = 1000


def right(percent: float) -> str:
    """Outcomes of the images: the first ones are correct, so that the less accurate network has no image of its own."""
    return ("1" * round(percent * IMAGES / 100)).ljust(IMAGES, "0")


def curve(**ends: tuple[float, float]) -> Frame:
    """Best and last validation PGD accuracy; nothing of the test split."""
    lines = [(method, epoch, value) for method, pair in ends.items() for epoch, value in enumerate(pair)]
    absent = dict.fromkeys(("tested", "best_outcome", "last_outcome"), math.nan)
    return Frame(lines, columns=["method", "epoch", "val_pgd"]).assign(**absent)


def on_test(**ends: tuple[float, float]) -> Frame:
    """Best and last accuracy in percent on the test split; on the validation split all fall alike."""
    found = curve(**dict.fromkeys(ends, (0.5, 0.4))).assign(tested="pgd20")
    texts = {f"{end}_outcome": [right(ends[m][i]) for m in found["method"]] for i, end in enumerate(("best", "last"))}
    return found.assign(**texts)


def corrupted(**means: float) -> Frame:
    """Accuracy at severity 3, and at 5 the reverse of it."""
    lines = [(m, s, v if s == 3 else 100 - v) for m, v in means.items() for s in (3, 5)]
    return Frame(lines, columns=["method", "severity", "accuracy"]).assign(images=IMAGES)


def radii(**lines: tuple[float, float]) -> Frame:
    """Accuracy at the radii 0.1 and 0.2; at 0 all are alike."""
    places = [(m, r, v) for m, line in lines.items() for r, v in zip((0.0, 0.1, 0.2), (90.0, *line), strict=True)]
    found = Frame(places, columns=["method", "radius", "accuracy"])
    return found.assign(outcome=[right(value) for value in found["accuracy"]])


def critical(*values: float) -> Frame:
    return Frame({"method": "rift", "module": [f"conv{i}" for i in range(len(values))], "mrc": values})


def way(*pgd: float) -> Frame:
    """PGD accuracy at a = 0, 0.3 and 1 on the exported way, and a better way that is not exported."""
    own = Frame({"variant": "update", "a": [0.0, 0.3, 1.0], "pgd": pgd, "exported": [False, True, False]})
    other = Frame({"variant": "freeze", "a": [0.0, 0.3, 1.0], "pgd": [50.0, 90.0, 90.0], "exported": False})
    return pd.concat([own, other]).assign(method="rift", images=IMAGES)


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


def pulled(adversarial: float, clean: float) -> Frame:
    """Cosines of AR-AT's two sides at the last stage; those of other stages and of AT are the other way round."""
    sides = {"adversarial": adversarial, "clean": clean, "both": 0.0}
    places = [("arat", "layer1.bn1", -3), ("arat", "layer2.0.bn1", 0.9), ("arat", "layer2.0.bn2", 1.1)]
    places += [("at", "layer2.0.bn2", -1)]
    lines = [(method, bn, side, sign * value) for method, bn, sign in places for side, value in sides.items()]
    return Frame(lines, columns=["method", "layer", "pulled", "cosine"]).assign(opposed=0.5)


def accuracies(**pairs: tuple[float, float]) -> Frame:
    """Natural and PGD accuracy of block sets in percent."""
    found = Frame([(name, *pair) for name, pair in pairs.items()], columns=["method", "clean", "pgd"])
    texts = {f"{measure}_outcome": [right(value) for value in found[measure]] for measure in ("clean", "pgd")}
    return found.assign(images=IMAGES, **texts)


def course(**ends: tuple[float, float]) -> Frame:
    """PGD accuracy of block sets in the epochs 1 and 2."""
    lines = [(name, epoch, value) for name, pair in ends.items() for epoch, value in enumerate(pair, 1)]
    return Frame(lines, columns=["method", "epoch", "val_pgd"]).assign(images=IMAGES)


def singles(first: float, second: float) -> Frame:
    return accuracies(natural=(95, 0), u1=(first, 30), u2=(second, 30), u3=(80, 40), u4=(90, 30))


def beside(**pairs: tuple[float, float]) -> Frame:
    """Clean accuracy and accuracy under C&W; a second column has the clean accuracies again."""
    lines = [(name, clean, robust, 2 * clean * robust / (clean + robust)) for name, (clean, robust) in pairs.items()]
    found = Frame(lines, columns=["method", "clean_accuracy", "accuracy", "nrr"]).assign(column="cw20")
    texts = {"clean_outcome": "clean_accuracy", "outcome": "accuracy"}
    return found.assign(**{name: [right(value) for value in found[of]] for name, of in texts.items()})


CASES = {  # figure -> (bears the paper out, does not) for each of its findings
    "curves": [(on_test(at=(50, 45), cure=(50, 50)), on_test(at=(50, 50), cure=(50, 51)))],
    "corruptions": [
        (corrupted(cure=65, at=50, trades=55, mart=58), corrupted(cure=50, at=50, trades=55, mart=58)),
        (corrupted(rift=60, at=50).query("severity == 3"), corrupted(rift=50, at=60).query("severity == 3")),
    ],
    "ratio": [
        (
            beside(natural=(95, 1), cure=(85, 54), at=(84, 50), trades=(82, 51), mart=(78, 52)),
            beside(cure=(85, 50), at=(84, 50), trades=(82, 51), mart=(84, 55)),
        )
    ],
    "tradeoff": [
        (beside(natural=(95, 1), at=(84, 50)), beside(natural=(84, 1), at=(95, 50))),
        (beside(rift=(86, 49), at=(84, 50)), beside(rift=(84, 51), at=(86, 50))),
    ],
    "survival": [
        (
            radii(cure=(60, 32), at=(50, 20), trades=(55, 25), mart=(58, 28)),
            radii(cure=(60, 30), at=(50, 20), trades=(55, 25), mart=(58, 35)),
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
    "invariance": [(pulled(0.2, -0.3), pulled(0.2, 0.1))],
    "interpolation": [(way(50.0, 56.0, 49.0), way(50.0, 44.0, 51.0))],
    "layers": [
        (singles(45, 70), singles(70, 45)),
        (accuracies(u23=(86, 52), all=(84, 50)), accuracies(u23=(86, 48), all=(84, 50))),
        (
            accuracies(u1=(45, 30), u2=(70, 35), u12=(75, 45), all=(84, 50)),
            accuracies(u1=(45, 30), u2=(70, 35), u12=(85, 45), all=(84, 50)),
        ),
    ],
    "layers_curves": [
        (course(all=(50, 44), u34=(50, 44), u23=(51, 50)), course(all=(50, 45), u34=(49, 50), u23=(51, 50))),
        (
            course(all=(50, 44), u1=(30, 29), u2=(35, 34), u12=(44, 43)),
            course(all=(50, 44), u1=(30, 29), u2=(35, 34), u12=(57, 56)),
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
    for frame, expected in ((agreeing, "yes"), (disagreeing, "no")):
        ours, verdict = finding.judge(frame.assign(setting="digits/small", seed=0))
        assert (findings.answer(verdict), ours != "") == (expected, True)


CLOSE = {  # figure -> a table for each of its findings whose accuracies differ as the paper says, but too little
    "curves": [on_test(at=(50, 49.9), cure=(50, 50))],
    "corruptions": [
        corrupted(cure=60, at=50, trades=55, mart=58),
        corrupted(rift=50.1, at=50).query("severity == 3"),
    ],
    "ratio": [beside(cure=(85, 52.1), at=(84, 50), trades=(82, 51), mart=(85, 52))],
    "tradeoff": [beside(natural=(84.1, 1), at=(84, 50)), beside(rift=(84.1, 50), at=(84, 50))],
    "survival": [radii(cure=(60, 30), at=(50, 20), trades=(55, 25), mart=(58, 29.9))],
    "interpolation": [way(50.0, 50.3, 49.0)],
    "layers": [
        singles(45, 45.1),
        accuracies(u23=(86, 50.1), all=(84, 50)),
        accuracies(u1=(45, 30), u2=(70, 35), u12=(75, 49.9), all=(84, 50)),
    ],
    "layers_curves": [
        course(all=(50, 49), u34=(50, 44), u23=(51, 51)),
        course(all=(50, 44), u1=(30, 29), u2=(35, 34), u12=(49, 48)),
    ],
}
close = [(key, CLOSE[name][i]) for key, (_, name, i) in FINDINGS.items() if name in CLOSE]


@pytest.mark.parametrize(("key", "frame"), close, ids=[key for key, _ in close])
def test_accuracies_too_close_are_not_told_apart(key: str, frame: Frame) -> None:
    _, verdict = FINDINGS[key][0].judge(frame.assign(setting="digits/small", seed=0))
    assert findings.answer(verdict) == "not told apart"


@pytest.mark.parametrize("key", [key for key, (_, name, _) in FINDINGS.items() if name not in CLOSE])
def test_numbers_without_an_interval_say_so(key: str) -> None:
    finding, name, i = FINDINGS[key]
    frame = CASES[name][i][0].assign(setting="digits/small")
    assert finding.judge(frame.assign(seed=0))[0].endswith("; one network, no interval")
    two = pd.concat([frame.assign(seed=seed) for seed in (0, 1)])
    assert finding.judge(two)[0].endswith("; so in 2 of 2 networks, no interval")


@pytest.mark.parametrize("key", [key for key, (_, name, _) in FINDINGS.items() if name not in CLOSE])
def test_networks_that_disagree_are_not_told_apart(key: str) -> None:
    finding, name, i = FINDINGS[key]
    good, bad = (frame.assign(setting="digits/small") for frame in CASES[name][i])
    told, verdict = finding.judge(pd.concat([good.assign(seed=0), good.assign(seed=1), bad.assign(seed=2)]))
    assert told.endswith("; so in 2 of 3 networks, no interval")
    assert findings.answer(verdict) == "not told apart"


def judged(frame: Frame) -> tuple[str, str]:
    """Robust overfitting, told and answered."""
    ours, verdict = FINDINGS["curves-0"][0].judge(frame.assign(setting="digits/small", seed=0))
    return ours, findings.answer(verdict)


def test_overfitting_is_judged_on_the_test_split_and_not_by_who_falls_less() -> None:
    ours, agrees = judged(on_test(at=(50, 45), cure=(50, 49)))
    assert agrees == "no"
    assert ours == "on 1000 test images under PGD-20, last minus best epoch: CURE -1.00 points, AT -5.00"


@pytest.mark.parametrize(("cure", "agrees"), [((0.5, 0.5), "yes"), ((0.5, 0.49), "no")])
def test_without_last_networks_overfitting_is_judged_on_the_validation_split(cure: tuple, agrees: str) -> None:
    ours, found = judged(curve(at=(0.5, 0.4), cure=cure))
    assert found == agrees
    assert ours.startswith("on the validation split, last minus best epoch: CURE")
    assert ours.endswith("no interval")


def test_that_one_of_many_comparisons_is_the_other_way_round_must_hold_among_all() -> None:
    behind = Claim([right(50)], [right(50.7)])  # 7 images of the second alone: p = 0.016
    assert findings.answer([behind]) == "no"
    assert findings.answer([behind] * 4) == "not told apart"


def test_the_same_images_of_more_seeds_are_no_more_images() -> None:
    small = Claim([right(50.4)], [right(50)])  # 4 images: p = 0.125
    assert findings.answer([small]) == "not told apart"
    assert findings.answer([Claim(small.first * 3, small.second * 3)]) == "not told apart"


STEADY, MOVED = ([54.0, 54.5, 53.5], [50.0, 50.5, 49.5]), ([54.0, 58.0, 50.0], [50.0, 46.0, 54.0])


@pytest.mark.parametrize(("seeds", "agrees"), [(STEADY, "yes"), (MOVED, "not told apart")])
def test_with_several_seeds_a_claim_is_about_methods(seeds: tuple, agrees: str) -> None:
    outcomes = [[right(percent) for percent in side] for side in seeds]
    assert findings.answer([Claim(*outcomes)]) == agrees
    assert findings.answer([Claim([outcomes[0][0]], [outcomes[1][0]])]) == "yes"  # of the first two networks
    assert findings.answer([Claim(*((side, 100 * IMAGES) for side in seeds))]) == agrees
    assert findings.answer([Claim(*(([side[0]], 100 * IMAGES) for side in seeds))]) == "yes"


def test_networks_of_the_same_runs_are_compared_run_by_run() -> None:
    runs = [50.0, 60.0, 70.0], [48.0, 58.0, 68.0]
    outcomes = [[right(percent) for percent in side] for side in runs]
    for first, second in (outcomes, [(side, 100 * IMAGES) for side in runs]):
        assert findings.answer([Claim(first, second)]) == "not told apart"
        assert findings.answer([Claim(first, second, same_runs=True)]) == "yes"


@every_finding
def test_it_needs_the_rows_that_it_reads(key: str) -> None:
    finding, name, i = FINDINGS[key]
    assert set(finding.rows) <= {*catalogue.names("methods"), *BLOCK_SETS}
    assert set(finding.rows) <= set(CASES[name][i][0]["method"])


def test_seeds_are_averaged_before_they_are_judged() -> None:
    bad, good = (frame.assign(setting="digits/small") for frame in CASES["corruptions"][0][::-1])
    judge = catalogue.entry("figures", "corruptions").FIGURE.findings[0].judge
    ours, _ = judge(pd.concat([good.assign(seed=0), bad.assign(seed=1)]))
    assert "CURE 57.5 %" in ours


def test_a_row_that_the_grid_lacks_is_named_and_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = CASES["corruptions"][0][0].assign(setting="digits/small", seed=0)
    monkeypatch.setattr(evidence, "table", lambda name, results, suite: data[data["method"] != "cure"])
    line, other = findings.table(["corruptions"], loaded(), SUITE).to_dict("records")
    assert (line["agrees"], line["ours"]) == ("not measured", "no row CURE")
    assert other["ours"] == "no row RiFT"


def test_a_figure_without_data_says_what_it_lacks() -> None:
    (line,) = findings.table(["criticality"], loaded(), SUITE).to_dict("records")
    assert (line["agrees"], line["ours"]) == ("not measured", "no RiFT row in this grid")


@every_finding
def test_it_can_come_out_either_way_with_several_seeds(key: str) -> None:
    finding, name, i = FINDINGS[key]
    for frame, expected in zip(CASES[name][i], ("yes", "no"), strict=True):
        seeds = pd.concat([frame.assign(setting="digits/small", seed=seed) for seed in (0, 1, 2)])
        assert findings.answer(finding.judge(seeds)[1]) == expected


def test_the_page_says_which_unit_its_claims_have() -> None:
    found = findings.table(["criticality"], loaded(), SUITE)
    assert "the tests compare these networks only: how another training run would come out" in findings.page(found, 1)
    assert "The tests compare methods" in findings.page(found, 3)
    assert "from 3 seeds of each method" in findings.page(found, 3)


def test_the_page_has_a_line_for_each_setting_and_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = CASES["corruptions"][0]
    data = pd.concat([good.assign(setting="digits/small"), bad.assign(setting="cifar10/resnet18")]).assign(seed=0)
    monkeypatch.setattr(evidence, "table", lambda name, results, suite: data)
    text = findings.page(findings.table(["corruptions"], loaded(), SUITE), 1)
    assert "- 1 yes, 1 no, 0 not told apart, 2 not measured." in text  # RiFT's finding
    assert text.count("| digits/small |") == text.count("| cifar10/resnet18 |") == 2
