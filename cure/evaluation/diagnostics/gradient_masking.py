"""Detect gradient masking: signs that an attack failed and the network is weaker than its numbers.

Carlini et al., "On evaluating adversarial robustness", 2019; Croce and Hein, ICML 2020. Outcomes
(evaluation/statistics/paired_outcomes.py) have the names of columns: `clean`; white-box attacks, whose names begin with
pgd, cw, fgsm, apgd or fab; `aa`, `square`, `transfer`, `min_linf` or, in the L2 ball, `min_l2` (counted at eps); `far`,
PGD-20 at a multiple of eps; `unbounded`, PGD-20 bounded by [0, 1] alone, with sign steps for either norm; and `path`,
PGD-20 up to its first adversarial iterate.

Pintor et al., "Indicators of attack failure", NeurIPS 2022, name six ways in which an attack fails. These checks detect
them:

1. unavailable gradients: `progress` (attack_path.py), and `gradients` of the preflight 2. unstable predictions:
`determinism` of the preflight 3. silent success, an iterate was adversarial and the returned one is not: `silent
success` 4. incomplete optimisation: `converged` (attack_path.py), and `steps`, by the images that more steps break 5.
transfer beats the white box: `transfer`, if another network is given, and `black box` 6. an attack without a bound
fails: `unbounded`, and `far` at a multiple of eps
"""

from collections.abc import Callable

from cure.evaluation.diagnostics.check import Check, more_than
from cure.evaluation.statistics.paired_outcomes import digits, paired_outcomes, worst
from cure.evaluation.statistics.results import AttackResult, MinimumResult
from cure.settings.sections import Masking

Outcomes = dict[str, str]
Verdict = tuple[bool, str]
LADDER = ("pgd", "cw", "fgsm")
PARTS = ("apgd", "fab")


def masking(outcomes: Outcomes, rules: Masking) -> list[Check]:
    """Run each check whose outcomes are available.

    A gap is red if it exceeds its threshold and, by the exact McNemar test on the same images, is not due to chance.
    """
    lines = []
    for name, (check, advice) in CHECKS.items():
        verdict = check(outcomes, rules)
        if verdict is not None:
            lines.append(Check(name, *verdict, advice))
    return lines


def apart(result: AttackResult) -> Outcomes:
    """Return the columns of a result and, for a sequence of several attacks, the survivors after each attack."""
    found = {name: outcome for name, outcome in result.outcomes.items() if name != "worst"}
    for column, about in result.columns.items():
        if len(about.broken_by) > 1 and not isinstance(about, MinimumResult):
            found |= parts(found, column, about.broken_by)
    return found


def parts(outcomes: Outcomes, column: str, broken_by: dict[str, list[int]]) -> Outcomes:
    """Return the survivors after each attack of a sequence, given the images that each broke.

    `column` has the survivors of the whole sequence.
    """
    left = [start if seen != "-" else "-" for start, seen in zip(outcomes["clean"], outcomes[column], strict=True)]
    found = {}
    for name, rows in broken_by.items():
        for row in rows:
            left[row] = "0"
        found[name] = "".join(left)
    return found


def _named(outcomes: Outcomes, *starts: str) -> dict[str, str]:
    return {name: outcome for name, outcome in outcomes.items() if name.startswith(starts)}


def _below(names: tuple[str, str], low: str, high: str, by: float, rules: Masking) -> Verdict:
    """Return green unless the first outcome is more than `by` below the second, and not by chance."""
    counts = paired_outcomes(high, low)
    above, below = counts.right
    found = f"{names[0]} leaves {below} of {counts.images} images, {names[1]} {above}"
    return counts.difference <= by or counts.p("greater") >= rules.level, found


def _black_box(outcomes: Outcomes, rules: Masking) -> Verdict | None:
    white = list(_named(outcomes, *LADDER, *PARTS).values())
    if not white or "square" not in outcomes:
        return None
    together = worst([*white, outcomes["square"]])
    seen = "".join("-" if black == "-" else w for w, black in zip(worst(white), outcomes["square"], strict=True))
    return _below(("white box and Square", "white box alone"), together, seen, rules.slack, rules)


def _transfer(outcomes: Outcomes, rules: Masking) -> Verdict | None:
    white = list(_named(outcomes, *LADDER, *PARTS).values())
    if not white or "transfer" not in outcomes:
        return None
    return _below(("transfer", "white box"), outcomes["transfer"], worst(white), rules.slack, rules)


def _steps(outcomes: Outcomes, rules: Masking) -> Verdict | None:
    if not {"pgd20", "pgd100"} <= set(outcomes):
        return None
    return _below(("pgd100", "pgd20"), outcomes["pgd100"], outcomes["pgd20"], rules.steps_gap, rules)


def _losses(outcomes: Outcomes, rules: Masking) -> Verdict | None:
    if not {"pgd20", "cw20"} <= set(outcomes):
        return None
    ce, cw = outcomes["pgd20"], outcomes["cw20"]
    low, found = _below(("pgd20", "cw20"), ce, cw, rules.losses_gap, rules)
    high, _ = _below(("cw20", "pgd20"), cw, ce, rules.losses_gap, rules)
    return low and high, found


def _far(outcomes: Outcomes, rules: Masking) -> Verdict | None:
    if "far" not in outcomes:
        return None
    return _leaves(f"PGD-20 at {rules.radius:g} eps or more", outcomes["far"], rules.remaining, rules)


def _unbounded(outcomes: Outcomes, rules: Masking) -> Verdict | None:
    if "unbounded" not in outcomes:
        return None
    return _leaves("PGD-20 without a bound", outcomes["unbounded"], rules.slack, rules)


def _leaves(name: str, outcome: str, share: float, rules: Masking) -> Verdict:
    """Return green unless more than this share of the images survives an attack, and not by chance."""
    seen = digits(outcome)
    left, images = int((seen == 1).sum()), int((seen >= 0).sum())
    return not more_than(share, left, images, rules.level), f"{name} leaves {left} of {images} images"


def _silent_success(outcomes: Outcomes, rules: Masking) -> Verdict | None:
    if not {"pgd20", "path"} <= set(outcomes):
        return None
    names = "pgd20 up to its first adversarial iterate", "pgd20"
    return _below(names, outcomes["path"], outcomes["pgd20"], rules.slack, rules)


def _autoattack(outcomes: Outcomes, rules: Masking) -> Verdict | None:
    weaker = _named(outcomes, *LADDER)
    if not weaker or "aa" not in outcomes:
        return None
    counts = {name: paired_outcomes(outcomes["aa"], outcome) for name, outcome in weaker.items()}
    name = max(counts, key=lambda name: (counts[name].difference, counts[name].images))
    return _below((name, "aa"), weaker[name], outcomes["aa"], rules.slack, rules)


def _minimum(outcomes: Outcomes, rules: Masking) -> Verdict | None:
    minimum = next((name for name in ("min_linf", "min_l2") if name in outcomes), None)
    if minimum is None or "aa" not in outcomes:
        return None
    return _below((f"{minimum} at eps", "aa"), outcomes[minimum], outcomes["aa"], rules.slack, rules)


def _clean(outcomes: Outcomes, rules: Masking) -> Verdict | None:
    attacked = {name: outcome for name, outcome in outcomes.items() if name != "clean"}
    if not attacked or "clean" not in outcomes:
        return None
    counts = {name: paired_outcomes(outcome, outcomes["clean"]) for name, outcome in attacked.items()}
    name = max(counts, key=lambda name: (counts[name].difference, counts[name].images))
    return _below(("clean", name), outcomes["clean"], attacked[name], 0.0, rules)


BLIND = "misleading gradients: find what hides them and attack through it; the lowest number is an upper bound"
CHECKS: dict[str, tuple[Callable[[Outcomes, Masking], Verdict | None], str]] = {
    "black box": (_black_box, BLIND),
    "transfer": (_transfer, BLIND),
    "steps": (_steps, "PGD-20 has not converged: report the longer attack, or AutoAttack"),
    "losses": (_losses, "one of the losses saturates: report the lower number, or AutoAttack"),
    "far": (_far, BLIND),
    "unbounded": (_unbounded, BLIND),
    "silent success": (
        _silent_success,
        "PGD-20 loses adversarial images: report an attack that keeps its first adversarial iterate, e.g. AutoAttack",
    ),
    "autoattack": (_autoattack, "AutoAttack was misled: report the worst case over all attacks, look for randomness"),
    "minimum": (_minimum, "AutoAttack missed images that a search for the smallest perturbation found: report both"),
    "clean": (_clean, "an attack cannot raise accuracy: the images, labels or preprocessing of the two differ"),
}
