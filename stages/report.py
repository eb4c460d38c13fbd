"""Report: build the table, the metrics, the figures and the page for the runs that `grid` names.

Reads results/, curves/, provenance/ and claims.yaml. Writes reports/, all in git: the page index.html, and its content
as Markdown and CSV. These files are table, findings (conclusions of the papers' figures, tested on our data), claims
(our numbers beside the papers'), pairs (which methods differ), ranks, overfitting, corruptions and attacks (every
attack, with intervals). metrics.json is for DVC. figures/ holds the figures, and data/ the table of each of them.
made.json records the commit and device that first produced the numbers.
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
