"""The texts name files and modules that are there."""

import re

import pytest

from tests.support.commands import TEXTS
from tests.support.project import ROOT

FILE = re.compile(r"(?<![\w./-])((?:[\w-]+/)+\w+\.(?:py|yaml|md))\b")
AROUND = ("", "cure", "docs", "quickstart")
SHOWN = re.compile(r"`(\S+\.py)`:\n\n```python")
MODULE = re.compile(r"python3? -m ((?:cure|pilot|tests|tools)\.[\w.]*\w)")


def named(text):
    """Every file that the text names, from one of the folders AROUND; neither stand-ins for names nor what it shows."""
    words = {*FILE.findall(text), *(module.replace(".", "/") + ".py" for module in MODULE.findall(text))}
    return {word for word in words if not word.endswith("/NAME.py")} - {*SHOWN.findall(text)}


@pytest.mark.parametrize("text", [*TEXTS, "Makefile"])
def test_the_files_that_a_text_names_are_there(text):
    found = named((ROOT / text).read_text())
    assert sorted(name for name in found if not any((ROOT / folder / name).exists() for folder in AROUND)) == []


def test_files_and_modules_are_told_from_other_words():
    text = "cure/methods/NAME.py, nn/masks.py, results/x-attack.json; `python -m tools.costs`: core/gone.py."
    text += "\n`cure/models/new.py`:\n\n```python\n"
    assert named(text) == {"nn/masks.py", "tools/costs.py", "core/gone.py"}
