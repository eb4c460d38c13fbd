"""The texts name files and modules that are there."""

import re

import pytest

from tests.support.project import ROOT

TEXTS = ["README.md", "CONTRIBUTING.md", "Makefile", *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]
FILE = re.compile(r"(?<![\w./-])((?:[\w-]+/)+\w+\.(?:py|yaml|md))\b")
AROUND = ("", "cure", "quickstart")
MODULE = re.compile(r"python3? -m ((?:cure|pilot|tests|tools)\.[\w.]*\w)")


def named(text):
    """Every file that the text names, from one of the folders AROUND; what stands for any name is left out."""
    words = {*FILE.findall(text), *(module.replace(".", "/") + ".py" for module in MODULE.findall(text))}
    return {word for word in words if not word.endswith("/NAME.py")}


@pytest.mark.parametrize("text", TEXTS)
def test_the_files_that_a_text_names_are_there(text):
    found = named((ROOT / text).read_text())
    assert sorted(name for name in found if not any((ROOT / folder / name).exists() for folder in AROUND)) == []


def test_files_and_modules_are_told_from_other_words():
    text = "cure/methods/NAME.py, nn/masks.py, results/x-attack.json; `python -m tools.costs`: core/gone.py."
    assert named(text) == {"nn/masks.py", "tools/costs.py", "core/gone.py"}
