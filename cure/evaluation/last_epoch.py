"""The network of the last epoch on the same test images as the evaluated one: what robust overfitting costs.

Rice et al., "Overfitting in adversarially robust deep learning", ICML 2020, report best and last beside each other; so
does CURE's Table 3.
"""

from typing import Any

from torch import nn

from cure.evaluation.attack_columns import OnProgress, attacked, chains, examples_of, result, units
from cure.evaluation.evaluated_run import Bench
from cure.evaluation.statistics.results import Result
from cure.evaluation.work_items import Store
from cure.settings.sections import AttackSuite, Threat
from cure.storage import checkpoint
from cure.storage.paths import Cell
from cure.storage.training_checkpoint import trajectory


class Last:
    """The columns `suite.last` of the network after the last epoch of a cell's own training."""

    def __init__(self, cell: Cell, bench: Bench, suite: AttackSuite, threat: Threat) -> None:
        self.bench, self.threat = bench, threat
        self.suite = suite.model_copy(update={"columns": {name: suite.columns[name] for name in suite.last}})
        self.chains = chains(self.suite, threat, len(bench.about.classes))
        self.epoch, self.net = _network(cell, bench) if suite.last else (None, None)

    @property
    def units(self) -> int:
        """How often `outcomes` ticks."""
        return units(len(self.bench.split), self.chains, self.suite) if self.net is not None else 0

    def outcomes(self, best: Result, tick: OnProgress, store: Store) -> dict[str, Any] | None:
        """{epoch, outcomes: clean and each column}; the evaluated network's own where it is of the last epoch.

        None without a training of its own, and where the last network is of another form than the evaluated one.
        """
        if self.epoch is None:
            return None
        found = best["outcomes"]
        if self.net is not None:
            data = examples_of(self.bench.split)
            columns = attacked(self.net, data, self.chains, self.suite, tick, store)
            found = result(columns, data, self.suite, self.threat.eps)["outcomes"]
        return {"epoch": self.epoch, "outcomes": {name: found[name] for name in ("clean", *self.suite.last)}}


def _network(cell: Cell, bench: Bench) -> tuple[int | None, nn.Module | None]:
    """The last epoch, and its network where it is not the evaluated one."""
    if not cell.trajectory.exists():  # it consolidates another row
        return None, None
    about, states = trajectory(cell, bench.about.data_digest)
    if about.epoch == bench.about.epoch:
        return about.epoch, None
    if set(states["last"]) != set(bench.net.state_dict()):
        return None, None
    net = checkpoint.network(bench.about, states["last"], cell.trajectory)
    return about.epoch, net.to(bench.device)
