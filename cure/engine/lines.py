"""How an evaluation says what it doubts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One check of a report: green (`passed`) or red, with what was found and what a red one asks for."""

    name: str
    passed: bool
    found: str
    advice: str


def first_sentence(problem: Exception) -> str:
    """Kind and first sentence of an exception, of at most 200 characters."""
    said = (str(problem).strip().splitlines() or [""])[0].split(". ")[0]
    return f"{type(problem).__name__}: {said}"[:200].rstrip(": ")
