"""`python -m tests.deps`: what every stage imports, written into every dvc.yaml; all else stays, to the byte."""

import re

from tests.closure import ROOT
from tests.dvc_items import SCALES, folders_loaded, of, reached

CODE = re.compile(r"    - \$\{root\}/((?:cure|stages)/[^${}\n]+\.(?:py|html))\n")
STAGE = re.compile(r"  (\w+):")


def rewritten(text):
    """A dvc.yaml in which each written list of deps names the code that its stage reaches, entries aside."""
    blocks = re.split(r"(?m)^(?=  \w+:)", text)
    return "".join(listed(block, name[1]) if (name := STAGE.match(block)) else block for block in blocks)


def listed(block, family):
    """One stage with its deps; without a list of its own, or without an item that could say more, as it is."""
    everyone = [item for scale in SCALES for item in of(scale, family)]
    if "    deps:\n" not in block or not everyone:
        return block
    entries = {f"cure/{folder}" for folder in folders_loaded(everyone[0].script)}
    lines = block.splitlines(keepends=True)
    found = [line for line in lines if (code := CODE.fullmatch(line)) and code[1].rpartition("/")[0] not in entries]
    place = lines.index(found[0] if found else "    params:\n")
    wanted = [f"    - ${{root}}/{name}\n" for name in sorted(reached(family))]
    kept = [[line for line in part if line not in found] for part in (lines[:place], lines[place:])]
    return "".join([*kept[0], *wanted, *kept[1]])


if __name__ == "__main__":
    for path in (
        folder / "dvc.yaml" for folder in (*SCALES.values(), ROOT / "pilot")
    ):  # whose text is the quickstart's
        before = path.read_text()
        path.write_text(rewritten(before))
        print(f"{path}: {'as before' if path.read_text() == before else 'rewritten'}")
