"""Phrase the problems that an evaluation found in its own results for a reader of the page."""

import re

from cure.core.names import NAMES
from cure.evaluation.statistics.headings import headings
from cure.reporting.results import AttackResults, setting

MISSED = re.compile(
    r"(\w+) leaves \d+ of (\d+) images at eps \S+, (\w+) \d+: \w+ overestimates robustness, .* of (\d+)"
)
"""The message of evaluation/attack_columns.py: stronger column, its images, weaker column, images that it missed."""


def plain(attacks: AttackResults) -> list[str]:
    """Return a sentence for each problem, with its network."""
    titled = headings(attacks.values())
    several = len({run.seed for run in attacks}) > 1
    said = []
    for run, result in attacks.items():
        name = f"{NAMES.get(run.method, run.method)}, {setting(run)}" + (f", seed {run.seed}" if several else "")
        for problem in result.problems:
            if not (found := MISSED.match(problem)):
                said.append(f"{name}: {problem}.")
                continue
            column, images, other, missed = found.groups()
            strong = "a minimum-norm attack" if column in result.minima else titled(column)
            weak = "AutoAttack" if other.startswith("aa") else titled(other)
            said.append(
                f"{weak} missed {missed} of {images} images that {strong} broke ({name}): "
                f"its accuracy there is too high; the column Worst of every attack counts these images as broken."
            )
    return said
