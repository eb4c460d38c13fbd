"""Replay training steps from the snapshots in a training checkpoint, for the analyses."""

import copy
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cure.core.analysis import Phase, Replay
from cure.core.method import Batch, Method, Networks, TrainingPosition
from cure.core.noise import Stream, seed_for
from cure.core.tensors import Images, Labels
from cure.storage.checkpoint import Description, State, build, fill
from cure.training.schedule import epoch_of
from cure.training.step import Step

Batches = list[tuple[Images, Labels, Labels]]


@dataclass(frozen=True)
class Course:
    """The training of a run: method, settings, training checkpoint, curve, and the batches of the replays."""

    method: Method
    hyper: Any
    about: Description
    states: dict[str, State]
    history: list[dict[str, float]]
    batches: Batches
    seed: int

    def phases(self) -> list[Phase]:
        """Return the phases in the order of training; the final one has the networks after the last epoch."""
        shares = sorted({float(name.partition("/")[0]) for name in self.states if "/" in name})
        return [self._phase(share) for share in (*shares, 1.0)]

    def _phase(self, share: float) -> Phase:
        nets = self._networks(share)
        return Phase(share, dict(nets.student.named_parameters()), partial(self._replays, share, nets))

    def _networks(self, share: float) -> Networks:
        """Build student and companions, with their weights at this share of the schedule."""
        about, method = self.about, self.method
        student = build(about.model, about.settings, about.channels, len(about.classes))
        if method.prepare:
            method.prepare(student, self.hyper)
        nets = Networks(student, method.companions(self.hyper) if method.companions else {}, {})
        for name, net in nets.items():
            key = f"{share:g}/{name}" if share < 1 else name if name in self.states else "last"
            fill(net, self.states[key], f"the snapshot {key} of {about.method} does not fit {about.model}")
        return nets.to(self.batches[0][0].device)

    def _replays(self, share: float, nets: Networks) -> Iterator[Replay]:
        """Yield the step that would come next, once per batch, always from the same networks.

        The learning rate is 0, so no weight changes. Each step runs on a copy, because running statistics do change.
        """
        epoch = epoch_of(share, self.about.epoch)
        past = dict(self.history[epoch - 1]) if epoch else {}
        for number, (x, y, index) in enumerate(self.batches):
            own = copy.deepcopy(nets)
            own.ready()
            shown: dict[str, Any] = {}
            noise = Stream(seed_for(self.seed, number, "replay"), x.device)
            position = TrainingPosition(epoch=epoch + 1, step=epoch, past_means=past, epochs=self.about.epoch)
            batch = Batch(x, y, index, noise, position, watch=shown.__setitem__)
            optimizer = torch.optim.SGD(own.weights().values(), lr=0)
            Step(own, self.method, self.hyper, optimizer)(batch)
            weights = own.student.named_parameters()
            yield Replay({name: w.grad for name, w in weights if w.grad is not None}, shown)


def history(path: Path) -> list[dict[str, float]]:
    """Read a curve as one dictionary per epoch, without empty cells."""
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
