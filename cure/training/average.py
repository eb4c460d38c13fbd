"""Keep a weight average beside the student, with running statistics of its own.

The student's running statistics belong to other weights; an average that used them would compute another function. So
the statistics are estimated anew before every validation. If the method trains on attacked images, the estimate uses
images attacked through the average.
"""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from cure.core.method import Batch, Method, Networks
from cure.errors import UserError
from cure.nn.averaging import average_, snapshot, warmed
from cure.nn.batchnorm import SplitBatchNorm2d, branch, reestimating
from cure.runtime import distributed
from cure.settings.sections import EpochAverage, Fit, Snapshots


class Average:
    """The average of a network's weights during training, as `fit.average` configures it."""

    def __init__(self, net: nn.Module, fit: Fit, steps_per_epoch: int) -> None:
        self.net = copy.deepcopy(net).requires_grad_(False)
        self.fit, self.steps_per_epoch = fit, steps_per_epoch
        steps = range(steps_per_epoch * fit.epochs)
        first = next((step for step in steps if self._decay(step) is not None), None)
        if first is None:
            raise UserError(
                f"train.average: none of the {len(steps)} steps is averaged; lower `begin`, or `every` for snapshots"
            )
        self.first_epoch = 1 + first // steps_per_epoch

    def follow(self, net: nn.Module, step: int) -> None:
        """Update the average from the network, if an update is due after this 0-based step."""
        if (decay := self._decay(step)) is not None:
            average_(self.net, net, decay)

    def _decay(self, step: int) -> float | None:
        """Return the average's own weight in the update after this step, or None without an update."""
        how = self.fit.average
        if isinstance(how, Snapshots):
            return snapshot(step, self.steps_per_epoch, how.begin, how.every)
        if isinstance(how, EpochAverage):
            epoch, left = divmod(step + 1, self.steps_per_epoch)
            return None if left or epoch < how.begin else how.decay if epoch > how.begin else 0.0
        assert how is not None
        return warmed(how, step + 1)

    def estimate(self, nets: Networks, method: Method, hyper: Any, batches: Iterable[Batch]) -> None:
        """Replace the running statistics by their plain mean over `batches`, attacked if the method attacks.

        The attack uses the average, with its previous statistics, in place of the student; `nets` do not change. With
        split batch norms, each branch receives the points of its name.
        """
        found = copy.deepcopy(self.net)
        stand_in = _in_place_of_the_student(nets, self.net, method)
        branches = next((list(norm) for norm in found.modules() if isinstance(norm, SplitBatchNorm2d)), ["adv"])
        with reestimating(found):
            for batch in batches:
                with distributed.batch_of(len(batch.y) + batch.images_on_other_ranks):
                    points = method.attack(stand_in, batch, hyper) if method.attack is not None else {}
                for name in branches:
                    with torch.no_grad(), branch(found, name):
                        found(points.get(name, batch.x))
        distributed.agree(found)
        self.net.load_state_dict(found.state_dict())


def _in_place_of_the_student(nets: Networks, average: nn.Module, method: Method) -> Networks:
    """Return networks with the average as the student and copies of the companions, which an attack may change."""
    stand_in = copy.copy(nets)
    shared = (*method.teachers, "student")
    others = {name: net if name in shared else copy.deepcopy(net) for name, net in nets.items()}
    stand_in._modules = others | {"student": average}
    stand_in.ready()
    return stand_in
