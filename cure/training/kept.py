"""The results that a training run keeps: history, best networks and snapshots."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from cure.storage.checkpoint import State
from cure.training.sanity_checks import Row


def copied(net: nn.Module) -> State:
    """Return a detached copy of a network's state dict."""
    return {key: t.detach().clone() for key, t in net.state_dict().items()}


@dataclass
class Best:
    """The weights of the epoch with the highest validation PGD accuracy."""

    epoch: int = 0
    score: float = -1.0
    weights: State = field(default_factory=dict)

    def see(self, epoch: int, score: float, net: nn.Module) -> None:
        """Keep this network if its score exceeds all before."""
        if score > self.score:
            self.epoch, self.score, self.weights = epoch, score, copied(net)


@dataclass
class TrainingCheckpoint:
    """The result of a training run: one row of history per epoch, and networks by name.

    A snapshot is named SHARE/NETWORK. Companions are included, so that a step can be replayed. All weights stay on the
    device of the training.
    """

    history: list[Row] = field(default_factory=list)
    best: Best = field(default_factory=Best)
    average: Best = field(default_factory=Best)
    snapshots: dict[str, State] = field(default_factory=dict)

    @classmethod
    def resumed(cls, state: dict[str, Any]) -> "TrainingCheckpoint":
        """Restore the results from the state in a resume file."""
        parts = dict(state["parts"])
        numbers = state["kept"]
        kept = cls(numbers["history"], Best(**numbers["best"]), Best(**numbers["average"]))
        for name, best in kept._bests().items():
            best.weights = parts.pop(name)
        kept.snapshots = parts
        return kept

    def numbers(self) -> dict[str, Any]:
        """Return everything except the weights."""
        bests = {name: asdict(replace(best, weights={})) for name, best in self.named().items()}
        return {"history": self.history} | bests

    def parts(self) -> dict[str, State]:
        """Return the state dicts by name; a name is never used for other weights."""
        return {name: best.weights for name, best in self._bests().items()} | self.snapshots

    def named(self) -> dict[str, Best]:
        """Return both best networks under their names in `train.select`."""
        return {"best": self.best, "average": self.average}

    def _bests(self) -> dict[str, Best]:
        return {f"{name} of epoch {best.epoch}": best for name, best in self.named().items() if best.epoch}
