"""docs/reliability.md holds what is collected today, and every line of it held."""

import json
import re
import subprocess
import sys
from collections import Counter

from tests.support.project import ROOT
from tools.reliability import TOPICS, page

PAGE = ROOT / "docs" / "reliability.md"


def test_the_page_counts_the_marked_tests_and_all_of_them_held():
    marked = [path for path in (ROOT / "tests").rglob("test_*.py") if "mark.reliability(" in path.read_text()]
    line = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--collect-only",
        "-m",
        "reliability",
        f"--reliability={PAGE}",
        *marked,
    ]
    shown = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    counts = Counter(json.loads(re.search(r"^\{.*\}$", shown, re.MULTILINE)[0]))
    assert set(counts) == set(TOPICS)
    assert PAGE.read_text() == page(counts, counts)
    assert counts["moments"] == 20
    assert counts["wrong inputs"] >= 60
