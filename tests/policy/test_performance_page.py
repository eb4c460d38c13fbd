"""docs/performance.md as it is made of what benchmarks note."""

import json

import pytest

from tools.performance import page

STEP = {
    "table": "steps",
    "row": "CURE",
    "network": "resnet18",
    "bars": {"four backward passes": 0.68},
    "cost": [{"passes": 33, "operations": 2153, "held": 10}, {"passes": 39, "operations": 2355, "held": 20}],
    "seconds": [2.0, 1.0, 3.0],
    "ratios": {"four backward passes": [0.9, 0.5, 0.7]},
    "device": "cpu",
    "torch": "2.15.0",
}
PEAK = STEP | {"table": "peak", "flops": 8e9, "each": {"mm": 1e9, "conv": 1e9}, "bars": {}}
PEAK |= {"seconds": [1.0, 1.0], "ratios": {"mm": [10.0, 10.0], "conv": [16.0, 16.0]}}
MACHINE = {"cpu": {"brand_raw": "A CPU"}, "processor": "", "python_version": "3.11.7", "system": "Linux"}


@pytest.fixture
def made(tmp_path):
    """The page of runs, one file each."""

    def make(*runs):
        for i, run in enumerate(runs):
            found = {"benchmarks": [{"extra_info": run}], "machine_info": MACHINE, "datetime": "2026-11-21T13:00:00"}
            (tmp_path / f"{i}.json").write_text(json.dumps(found))
        return page([tmp_path / f"{i}.json" for i in range(len(runs))])

    return make


def test_a_line_has_counts_the_median_ratio_its_spread_and_the_bar(made) -> None:
    line = (
        "| CURE | resnet18 | four backward passes | 33 / 39 | 2153 / 2355 | 0.50 | 0.70 | 0.50 - 0.90 | 0.68 | **no** |"
    )
    assert line in made(STEP)
    assert "| 0.70 | yes |" in made(STEP | {"bars": {"four backward passes": 0.7}})


def test_a_bar_that_is_not_met_is_explained_and_no_other(made) -> None:
    assert "- CURE (resnet18).\n  Passes are counted" in made(STEP)
    assert "Where a bar is not met" not in made(STEP | {"bars": {"four backward passes": 0.9}})
    assert "Where a bar is not met" not in made(STEP | {"bars": {"four backward passes": None}})
    assert "Where a bar is not met" in made(STEP | {"bars": {}, "limit": 1.5})


def test_half_precision_has_flags_beside_those_of_another_seed_and_distances(made) -> None:
    flags = {"robust_fp32": 0.5, "robust_bf16": 0.51, "flags_differ": 0.02, "flags_differ_by_chance": 0.03}
    half = STEP | {
        "table": "precision",
        "row": "at",
        "flags": {"CE": flags},
        "apart": {"bf16": 0.25, "bf16_attack": 0.1},
    }
    assert "| at | CE | 50.0 % | 51.0 % | 2.0 % | 3.0 % | 0.25 | 0.10 |" in made(STEP, half)
    assert "### bfloat16" not in made(STEP)


def test_a_limit_in_seconds_is_held_against_the_median(made) -> None:
    assert "| 2 s |  | 2.5 s | yes |" in made(STEP | {"limit": 2.5})


def test_files_of_one_device_are_one_part_and_machine_and_date_are_named(made) -> None:
    found = made(STEP, STEP | {"row": "TRADES"}, STEP | {"device": "NVIDIA H100", "row": "AT", "peak": [50, 100]})
    assert [line for line in found.splitlines() if line.startswith("## ")] == ["## A CPU", "## NVIDIA H100"]
    assert "2026-11-21, PyTorch 2.15.0, Python 3.11.7, Linux; process time of one thread" in found
    assert found.index("| CURE") < found.index("| TRADES") < found.index("## NVIDIA H100") < found.index("| AT |")
    assert "| 0.68 | **no** | 0.50 |" in found.partition("## NVIDIA")[2]


def test_the_share_is_of_the_faster_product(made) -> None:
    assert "| CURE | resnet18 | 16 | 50% |" in made(PEAK)


def test_a_later_run_replaces_a_line(made) -> None:
    found = made(STEP, STEP | {"ratios": {"four backward passes": [0.4]}})
    assert found.count("| CURE |") == 1
    assert "| 0.40 | 0.40 - 0.40 | 0.68 | yes |" in found


def test_the_conclusion_has_the_range_of_ratios_and_counts_missed_bars(made) -> None:
    other = STEP | {"row": "TRADES", "ratios": {"four backward passes": [0.5]}}
    assert "A step takes 0.50 to 0.70 times the other code's time. 1 of 2 comparisons with a bar miss it." in made(
        STEP, other
    )
