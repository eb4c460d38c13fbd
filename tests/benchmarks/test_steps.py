"""One step of every method against the authors' pass structure, and RiFT's criticality, which has no step."""

import pytest

from cure.methods.parts.criticality import criticality
from tests.support.counters import cost
from tests.support.race import CUDA, clock, fresh, race
from tests.support.released.baselines import criticality as released_criticality
from tests.support.steps import BATCHES, CASES, Case, batch_of, steps

pytestmark = pytest.mark.benchmark(timer=clock)
LARGE = 6  # so many of the cases on ResNet-18 too, on a CPU


@pytest.mark.parametrize("network", BATCHES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row)
def test_step(benchmark, case: Case, network: str) -> None:
    if network == "resnet18" and not CUDA and case not in CASES[:LARGE] and case.precision == "fp32":
        pytest.skip("a bar of its own is on the small network alone")
    ours, theirs = steps(case, network)
    facts = {
        "row": case.row,
        "network": network,
        "bars": {case.theirs: dict(case.bars).get("cuda" if CUDA else network)},
    }
    if network == "small_resnet":  # what is counted is the same for both
        facts["cost"] = [cost(act, network, BATCHES[network]) for act in (ours, theirs)]
    few = network == "resnet18" or not case.bars  # rounds where no bar is near, or each takes long
    race(benchmark, ours, {case.theirs: theirs}, rounds=3 if few else 7, table="steps", **facts)


def test_criticality(benchmark) -> None:
    network, module, epochs, name = "small_resnet", "layer3.0.conv1", 5, "RiFT's repository"
    net, batch = fresh(network).eval(), batch_of(network)
    how = {"eps": 0.1, "epochs": epochs, "lr": 1.0, "rule": "max"}

    def ours() -> object:
        return criticality(net, [(batch.x, batch.y)], module, **how)

    def theirs() -> object:
        return released_criticality(net, batch.x, batch.y, module, epochs)

    costs = [cost(act, network, len(batch.y)) for act in (ours, theirs)]
    facts = {"row": "RiFT, criticality of a module", "network": network, "bars": {name: None}, "cost": costs}
    race(benchmark, ours, {name: theirs}, rounds=5, table="steps", **facts)
