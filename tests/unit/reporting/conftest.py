"""A pipeline folder with made-up results of three rows and two seeds, and its report."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from cure.cli import report
from cure.storage.paths import Run
from tests.support.project import ROOT
from tests.support.results import ROWS

SHARES = {"natural": (0.95, 0.05), "at": (0.8, 0.5), "trades": (0.85, 0.52)}  # clean, and under every attack
IMAGES = 200
TITLE = "<script>alert('title')</script> & others"


def params() -> str:
    """Those of the quickstart, for these rows, two seeds and a title that HTML must escape."""
    yaml, out = YAML(typ="safe", pure=True), io.StringIO()
    raw = yaml.load((ROOT / "quickstart/params.yaml").read_text())
    for key, names in raw["grid"].items():
        if key not in ("datasets", "models", "pretrain", "seeds", "layers"):
            raw["grid"][key] = [name for name in names if name in ROWS]
    raw["grid"] |= {"seeds": [0, 1], "analyse": [], "pretrain": ["small"]}
    raw["grid"]["layers"]["models"] = []
    raw["report"]["against"] = ["at"]
    raw["report"]["title"] = TITLE
    yaml.dump(raw, out)
    return out.getvalue()


def attacked(method: str, seed: int) -> dict:
    """Outcomes of the right shares; AutoAttack and the smallest perturbations saw every fourth image."""
    draws = np.random.default_rng([seed, len(method)])
    clean, robust = SHARES[method]
    right = draws.random(IMAGES) < clean
    alive = right & (draws.random(IMAGES) < robust / clean)
    rows = list(range(0, IMAGES, 4))
    text = "".join("1" if one else "0" for one in alive)
    part = "".join(text[i] if i in rows else "-" for i in range(IMAGES))
    outcomes = {"clean": "".join("1" if one else "0" for one in right), "pgd20": text, "cw20": text, "aa": part}
    outcomes |= {"min_linf": part, "worst": part}
    about = {"label": "", "package": "", "broken_by": {}}
    columns = dict.fromkeys(("pgd20", "cw20"), about) | {"aa": about | {"label": "standard", "package": "none 1"}}
    for norm in ("linf", "l2"):
        lengths = [float(0.15 + 0.1 * draws.random()) if alive[i] else float(0.14 * draws.random()) for i in rows]
        columns[f"min_{norm}"] = about | {"norm": norm, "rows": rows, "distances": lengths}
    last = {"epoch": 3, "outcomes": {"clean": outcomes["clean"], "pgd20": "0" * 20 + text[20:]}}
    about = {"problems": [], "eps": 0.15, "epoch": 2, "last": None if method == "natural" else last}
    return {"images": IMAGES, "outcomes": outcomes, "columns": columns, "seed": 0, "batch": IMAGES} | about


def corrupted(method: str, seed: int) -> dict:
    clean = int(SHARES[method][0] * IMAGES)
    correct = {name: {str(s): clean - 10 * s - seed for s in range(1, 6)} for name in ("contrast", "fog")}
    about = {"source": "generated", "version": "1", "extra": [], "missing": {"frost": "not listed in params.yaml"}}
    categories = {"contrast": "digital", "fog": "weather", "frost": "weather"}
    return about | {"images": IMAGES, "clean": clean, "correct": correct, "categories": categories}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder before its report."""
    root = tmp_path_factory.mktemp("report") / "pipeline"
    for method in ROWS:
        for seed in (0, 1):
            run = Run("digits", "small", method, seed)
            texts = {run.result("attack"): json.dumps(attacked(method, seed))}
            texts[run.result("corrupt")] = json.dumps(corrupted(method, seed))
            texts[run.curve] = f"epoch,val_clean,val_pgd\n1,0.5,0.3\n2,0.7,0.{6 + seed}\n3,0.8,0.5\n"
            for path, text in texts.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
    (root / "params.yaml").write_text(params())
    return root


@pytest.fixture(scope="session")
def reports(folder: Path) -> Path:
    """What `cure report` made of it."""
    report(folder)
    return folder / "reports"
