"""Evaluate the network of the last epoch on the same test images as the evaluated one, to measure robust overfitting.

Rice et al., "Overfitting in adversarially robust deep learning", ICML 2020, report the best and the last epoch side by
side; so does CURE's Table 3.
"""

from torch import nn

from cure.evaluation.attack_columns import OnProgress, attack_sequences, attacked, examples_of, result, work_items
from cure.evaluation.evaluated_run import EvaluatedRun
from cure.evaluation.statistics.results import AttackResult, LastEpochResult
from cure.evaluation.work_items import Store
from cure.settings.sections import AttackSuite, Threat
from cure.storage import checkpoint
from cure.storage.paths import Run
from cure.storage.training_checkpoint import load_training_checkpoint


class LastEpoch:
    """The columns `suite.last` of the network after the last epoch of a run's own training."""

    def __init__(self, run: Run, evaluated: EvaluatedRun, suite: AttackSuite, threat: Threat) -> None:
        self.evaluated, self.threat = evaluated, threat
        self.suite = suite.model_copy(update={"columns": {name: suite.columns[name] for name in suite.last}})
        self.attack_sequences = attack_sequences(self.suite, threat, len(evaluated.about.classes))
        self.epoch, self.net = _network(run, evaluated) if suite.last else (None, None)

    @property
    def work_items(self) -> int:
        """Return how many progress events `outcomes` reports."""
        return work_items(len(self.evaluated.split), self.attack_sequences, self.suite) if self.net is not None else 0

    def outcomes(self, best: AttackResult, on_progress: OnProgress, store: Store) -> LastEpochResult | None:
        """Attack the last epoch's network; reuse the outcomes in `best` if that is the evaluated network.

        Return None for a method without a training of its own, or if the shapes of the last network differ from those
        of the evaluated one.
        """
        if self.epoch is None:
            return None
        found = best.outcomes
        if self.net is not None:
            data = examples_of(self.evaluated.split)
            columns = attacked(self.net, data, self.attack_sequences, self.suite, on_progress, store)
            found = result(columns, data, self.suite, self.threat.eps).outcomes
        outcomes = {name: found[name] for name in ("clean", *self.suite.last)}
        return LastEpochResult(epoch=self.epoch, outcomes=outcomes)


def _network(run: Run, evaluated: EvaluatedRun) -> tuple[int | None, nn.Module | None]:
    """Return the last epoch and its network; None for a network that is evaluated already, is missing or misfits."""
    if not run.training_checkpoint.exists():  # the method consolidates another run's network
        return None, None
    about, states = load_training_checkpoint(run, evaluated.about.data_digest)
    if about.epoch == evaluated.about.epoch:
        return about.epoch, None
    if set(states["last"]) != set(evaluated.net.state_dict()):
        return None, None
    net = checkpoint.network(evaluated.about, states["last"], run.training_checkpoint)
    return about.epoch, net.to(evaluated.device)
