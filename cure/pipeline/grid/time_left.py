"""The time until all stages have ended: an estimate from the stages that ended and those that run."""

import re
from collections.abc import Collection, Mapping
from heapq import heappop, heappush
from itertools import count
from statistics import mean

ENOUGH = 0.5  # of the stages to come are of a kind that is known


def kind(stage: str) -> str:
    """Return the kind of a stage: attack, of attack_update_from_natural@digits-small-vfd-0."""
    return re.split("[@_]", stage)[0]


def expected(took: Mapping[str, float], stages: Collection[str]) -> dict[str, float]:
    """Estimate how long stages take: as long as others of their kind, else as long as the others.

    Args:
        took: Stages with their known seconds.
        stages: The stages to estimate.

    Returns:
        Seconds of each stage; none where too few are of a kind in `took`.
    """
    known = dict[str, list[float]]()
    for stage, seconds in took.items():
        known.setdefault(kind(stage), []).append(seconds)
    if not took or sum(kind(stage) in known for stage in stages) < ENOUGH * len(stages):
        return {}
    usual = mean(took.values())
    return {stage: mean(known.get(kind(stage), [usual])) for stage in stages}


def makespan(
    running: Mapping[str, float], to_come: Mapping[str, float], needs: Mapping[str, Collection[str]], workers: int
) -> float:
    """Return the seconds until all stages have ended, if a free worker takes a stage as soon as its needs are done.

    Args:
        running: Stages under way, with their seconds to go.
        to_come: Stages that will start, in the order in which workers take them, with their seconds.
        needs: The stages that each one depends on; those in neither mapping are done.
        workers: The number of stages that run at a time.
    """
    order, waiting, now = count(), dict(to_come), 0.0
    ends = list[tuple[float, int, str]]()
    for stage, seconds in running.items():
        heappush(ends, (seconds, next(order), stage))
    left = {*running, *to_come}
    while left:
        for stage in [stage for stage in waiting if left.isdisjoint(needs[stage])]:
            if len(ends) >= max(1, workers):
                break
            heappush(ends, (now + waiting.pop(stage), next(order), stage))
        now, _, ended = heappop(ends)
        left.discard(ended)
    return now
