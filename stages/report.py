"""Report: the table, metrics, figures and the page of every run that `grid` names.

Reads results/, curves/, provenance/ and claims.yaml. Writes reports/, all in git: index.html, which a person opens, and
what stands in it as Markdown and CSV: table, findings (what the papers say of their figures, and what our data say),
claims (ours beside the papers'), pairs (who beats whom), overfitting, corruptions, attacks (every attack, with
intervals); metrics.json for DVC, figures/ and, in data/, the table behind each of them; and made.json, which remembers
the commit and device the numbers were first made with.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the code of this copy, not the installed one

from cure.runtime.terminal import stage
from cure.settings.check import load


def reads() -> list[str]:
    """The params that dvc.yaml declares for this stage."""
    from cure.reporting.build import READS

    return READS


def main() -> str:
    """Rebuild reports/ from results/ and curves/."""
    from cure.reporting import build

    build.show(build.build(load(reads())))
    return f"{build.FOLDER / 'index.html'}"


if __name__ == "__main__":
    stage(main)
