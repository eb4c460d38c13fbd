"""The one exception that a user is meant to read."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(Exception):
    """Something the user can mend: where it is, what was found, what is allowed, what to do. Exit code 2."""


def did_you_mean(found: str, allowed: list[str]) -> str:
    """`, did you mean beta?` or, without a near miss, `; known: alpha, beta`."""
    near = get_close_matches(found, allowed, n=1)
    return f", did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(allowed)) or 'none'}"


def first_sentence(problem: Exception) -> str:
    """Kind and first sentence of an exception, of at most 200 characters."""
    said = (str(problem).strip().splitlines() or [""])[0].split(". ")[0]
    return f"{type(problem).__name__}: {said}"[:200].rstrip(": ")


@contextmanager
def exit_refused(who: str) -> Iterator[None]:
    """Turn sys.exit() in code that is not ours into a refusal, where it would end the command without a word.

    Args:
        who: whose code it is, as the message names it.

    Raises:
        UserError: the block called sys.exit().
    """
    try:
        yield
    except SystemExit as left:
        raise UserError(f"{who}: its code called sys.exit({left.code!r}); take that call out") from None
