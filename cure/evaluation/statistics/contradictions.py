"""Check that the parts of an attack's result agree, so that an edited number cannot enter a table."""

from cure.evaluation.statistics.results import AttackResult, MinimumResult, RunAttackResult
from cure.storage.records import parse


def parse_attack(text: bytes) -> RunAttackResult:
    """Read a result of the stage `attack`; raise ValueError if it is damaged or contradicts itself."""
    result = parse(RunAttackResult, text)
    refuse_contradictions(result)
    return result


def refuse_contradictions(result: AttackResult) -> None:
    """Raise ValueError if outcomes contradict each other or the lists of broken images.

    A column for networks that draw at random uses the mean of several forward passes, so it may differ from `clean`.
    """
    worst, clean = result.outcomes.get("worst", ""), result.outcomes["clean"]
    for name, about in result.columns.items():
        left = result.outcomes.get(name, "")
        if about.label.startswith("rand") or not left:
            continue
        for image, (survives, right) in enumerate(zip(left, clean, strict=True)):
            if survives == "1" and right == "0":
                raise ValueError(f"image {image} survives {name}, but is misclassified without an attack")
            if worst and worst[image] == "1" and survives == "0":
                raise ValueError(f"image {image} survives `worst`, but not {name}")
        if isinstance(about, MinimumResult):
            continue
        for attack, images in about.broken_by.items():
            if (odd := next((image for image in images if left[image] != "0"), None)) is not None:
                raise ValueError(f"image {odd} survives {name}, but {attack} broke it")
