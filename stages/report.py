"""Report: build the table, metrics, figures and the page of every run that `grid` names.

Reads results/, curves/, provenance/ and claims.yaml. Writes reports/, all in git: index.html, the page for people, and
its content as Markdown and CSV. These are table, findings (the conclusions of the papers' figures, and our data on
them), claims (our numbers beside the papers'), pairs (which methods differ), overfitting, corruptions and attacks
(every attack, with intervals). metrics.json is for DVC; figures/ and, in data/, the table behind each of them;
made.json records the commit and device with which the numbers were first made.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the code of this copy, not the installed one

from cure.runtime.terminal import stage
from cure.settings.check import load


def reads() -> list[str]:
    """Return the params that dvc.yaml declares for this stage."""
    from cure.reporting.build import READS

    return READS


def main() -> str:
    """Rebuild reports/ from results/ and curves/."""
    from cure.reporting import build

    build.show(build.build(load(reads())))
    return f"{build.FOLDER / 'index.html'}"


if __name__ == "__main__":
    stage(main)
