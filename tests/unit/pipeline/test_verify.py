"""What `cure verify` prints: a line for each output, whole on a terminal of any width, and a sentence at the end."""

from pathlib import Path

import pytest

from cure.pipeline import verify
from cure.pipeline.verify import DIFFERS, EQUAL, Line
from tests.support import terminal
from tests.support.terminal import broken

RUN = "digits/small/cure_eff-s0"
DIGEST, OTHER = "25fa27ebebb3d4aa988bb7273c3de7f9", "ef12d39134b4d4aa988bb7273c3de7f9"
SAME = Line(f"trajectories/{RUN}.safetensors", DIGEST, DIGEST)
ANOTHER = Line(f"results/{RUN}-attack.json", DIGEST, OTHER)
MISSING = Line(f"curves/{RUN}.csv", DIGEST, "-")
EVERY = f"{RUN}: every output (2) has"
SOME = f"{RUN}: 2 of 3 outputs differ from dvc.lock: {ANOTHER.out}, {MISSING.out}"


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize(
    ("found", "code", "said"), [([SAME, SAME], EQUAL, EVERY), ([SAME, ANOTHER, MISSING], DIFFERS, SOME)]
)
def test_outputs_and_digests_are_whole_and_a_sentence_ends_it(
    width: int, found: list[Line], code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = terminal.console(width)
    monkeypatch.setattr(verify, "page", lambda: on)
    monkeypatch.setattr(verify, "verify", lambda run, folder: found)
    assert verify.show(RUN, Path()) == code
    lines = terminal.seen(on)
    assert not broken(lines, {line.out for line in found} | {DIGEST[: verify.SHOWN]})
    assert (OTHER[: verify.SHOWN] in "\n".join(lines)) == (ANOTHER in found)
    assert terminal.ELLIPSIS not in "".join(lines)
    end = lines[max(place for place, line in enumerate(lines) if not line) :]
    assert " ".join(line.strip() for line in end if line).startswith(said)


def test_an_output_that_was_not_made_is_not_equal() -> None:
    assert not Line("weights/x", "-", "-").equal
    assert [SAME.equal, ANOTHER.equal, MISSING.equal] == [True, False, False]
