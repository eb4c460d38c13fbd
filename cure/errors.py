"""The exception class for errors that a user can fix, and helpers for its messages."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(Exception):
    """An error that the user can fix. Its message gives the place, the value found and those allowed. Exit code 2."""


def did_you_mean(found: str, allowed: list[str]) -> str:
    """Return the end of a message about an unknown name: the nearest allowed name, or all of them.

    `did_you_mean("bets", ["alpha", "beta"])` is ", did you mean beta?"; without a similar name it is "; known: alpha,
    beta".
    """
    near = get_close_matches(found, allowed, n=1)
    return f", did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(allowed)) or 'none'}"


def first_sentence(problem: Exception) -> str:
    """Return the class and the first sentence of an exception, in at most 200 characters."""
    said = (str(problem).strip().splitlines() or [""])[0].split(". ")[0]
    return f"{type(problem).__name__}: {said}"[:200].rstrip(": ")


@contextmanager
def exit_refused(who: str) -> Iterator[None]:
    """Turn sys.exit() in third-party code into a `UserError`, since it would end the command without a message.

    Args:
        who: owner of the code, as the message names it.

    Raises:
        UserError: the block called sys.exit().
    """
    try:
        yield
    except SystemExit as left:
        raise UserError(f"{who}: its code called sys.exit({left.code!r}); take that call out") from None
