from pathlib import Path

import pandas as pd

from cure.core.settings import Settings
from cure.reporting import beside, claims
from cure.reporting.methods import PAGE, page
from cure.schema import AttackSuite

CLAIMS = Path(__file__).parents[1] / "claims.yaml"


def suite() -> Settings:
    shown = {"table": ["cw20"], "nrr": "cw20", "columns": {"cw20": {}}}
    return AttackSuite(images=1, batch=1, seed=0, layout="contiguous", subset={}, **shown)


def means(setting: str) -> pd.DataFrame:
    return pd.DataFrame(
        [{"setting": setting, "method": "cure", "clean": 12.34, "pgd20": 5.0, "cw20": 4.0, "nrr_cw20": 6.0}]
    )


def test_ours_and_theirs_stand_in_lines_of_their_own() -> None:
    text = beside.page(means("cifar10/resnet18"), claims.load(CLAIMS), suite(), {"cure": "3 epochs, CPU"})
    ours = [line for line in text.splitlines() if "| **ours** |" in line]
    theirs = [line for line in text.splitlines() if "| cure, Table 1 |" in line]
    assert ours == ["| CURE | **ours** | 12.34 | 5.00 |  | 4.00 | 6.00 | 3 epochs, CPU |"]
    assert len(theirs) == 1
    assert "86.76 | 54.92 | 49.69 | 52.48 | 65.04" in theirs[0]
    assert "misprinted" in text


def test_a_setting_that_no_paper_prints_says_so() -> None:
    text = beside.page(means("digits/small"), claims.load(CLAIMS), suite(), {"cure": "3 epochs, CPU"})
    assert "No paper prints a number for digits/small." in text


def test_the_page_of_methods_is_current() -> None:
    assert PAGE.read_text() == page(), "run `python -m cure.reporting.methods`"


def test_the_cost_of_a_step_is_the_least_that_its_equation_needs() -> None:
    lean = {"natural": 3, "at": 23, "trades": 27, "mart": 26, "fat": 23, "st_at": 60, "act": 26, "cure": 33}
    lean |= {"ard": 24, "iad": 28, "part": 24, "vfd": 27, "arat": 26}
    for method, passes in lean.items():
        found = page().partition(f"`{method}`. ")[2].splitlines()[0]
        assert found.endswith(f"passes per image: {passes}.")
