"""Run attacks on batches of images. One attack on one batch is a work item: the unit of resume and of sharing.

A sequence's attacks run in order on the images that are still classified correctly. Before an attack, these survivors
are fixed and cut into batches. A work item depends on nothing but its batch and the seed. So work items may run in any
order and in any process, or be taken from an earlier run. Its results are verified by the network itself, in full
precision.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import torch
from torch import nn

from cure.core.attack import Attack, AttackSequence, distance
from cure.core.method import Batch
from cure.core.noise import PerImage
from cure.core.tensors import Images, Labels, Tensor
from cure.errors import UserError
from cure.evaluation.measure import frozen
from cure.evaluation.work_items import Examples, Outcome, Store, WorkItem, digest, identity, sound
from cure.runtime.memory import halving
from cure.settings.base import AttackPrecision

T = TypeVar("T")
ROUNDING = 1e-6  # tolerance of the radius in float32; relative for radii above 1


class Unfinished(Exception):
    """Work items of other processes are missing; call again when they are in the store."""


class Driver:
    """Attacks one network on one set of images.

    Args:
        net: the network that verifies results: images (n, c, h, w) in [0, 1] to logits (n, classes).
        data: images, labels and places.
        batch: images per batch.
        seed: of the attacks' noise, together with an image's place.
        attacked: the module that attacks use, such as the network's folded copy; by default `unfolded`.
        unfolded: the module that attacks use on a network that draws at random; by default `net`.
        precision: of attacks; tf32 multiplies with 10-bit mantissas, on CUDA alone.
        store: finished work items, which are not computed again.
        share: (rank, ranks): this process computes every ranks-th work item.
        patience: seconds to wait for another process' work items before checking again; None raises `Unfinished`.
        on_progress: receives each batch of each attack: its name, images broken, images attacked.
    """

    def __init__(
        self,
        net: nn.Module,
        data: Examples,
        *,
        batch: int,
        seed: int,
        attacked: nn.Module | None = None,
        unfolded: nn.Module | None = None,
        precision: AttackPrecision = "fp32",
        store: Store | None = None,
        share: tuple[int, int] = (0, 1),
        patience: float | None = None,
        on_progress: Callable[[str, int, int], object] | None = None,
    ) -> None:
        low, high = float(data.x.min()), float(data.x.max())
        if not 0 <= low <= high <= 1:
            raise UserError(f"images: values from {low:g} to {high:g}, not in [0, 1]; normalise inside the network")
        self.net, self.data, self.batch, self.seed = net, data, batch, seed
        self.unfolded = unfolded or net
        self.attacked = attacked or self.unfolded
        self.patience, self.precision = patience, effective(precision, data.x.device)
        self.store, self.share, self.on_progress = (
            {} if store is None else store,
            share,
            on_progress or (lambda *_: None),
        )
        self.identity = identity(seed, self.precision, net=net, attacked=self.attacked)
        self._clean: dict[int, Labels] = {}

    def clean(self, passes: int = 1) -> Labels:
        """Return the network's predictions for the unchanged images (n); they are computed once."""
        if passes not in self._clean:
            self._clean[passes] = self._fitting(lambda batch: self._see(batch, passes), "clean images")
        return self._clean[passes].clone()

    def run(self, sequence: AttackSequence) -> Outcome:
        """Run all attacks of the sequence, beginning with the clean predictions.

        If memory runs out, the sequence restarts with half the batch size, which the outcome records. With several
        processes it raises UserError instead.
        """
        return self._fitting(lambda batch: self._run(sequence, batch), " and ".join(sequence.attacks))

    def _fitting(self, work: Callable[[int], T], label: str) -> T:
        return halving(self.batch, work, label, shared=self.share[1] > 1)

    def _see(self, batch: int, passes: int) -> Labels:
        with self._alone():
            everyone = self._cut(torch.arange(len(self.data)), batch)
            return torch.cat([self._predicted(self.data[rows].x, passes) for rows in everyone])

    def _run(self, sequence: AttackSequence, batch: int) -> Outcome:
        everyone, predicted, x = torch.arange(len(self.data)), self.clean(sequence.passes), self.data.x.cpu()
        clean = predicted == self.data.y.cpu()
        found = Outcome(clean, predicted, x.clone(), torch.where(clean, torch.inf, 0.0), batch)
        for name, attack in sequence.attacks.items():
            batches = self._cut((clean if sequence.norm else found.robust).nonzero()[:, 0], batch)
            items = [self._work_item(sequence, name, attack, self.data[part], i) for i, part in enumerate(batches)]
            while missing := items.count(None):
                if self.patience is None:
                    raise Unfinished(
                        f"{name}: {missing} of {len(items)} work items are another share's and not there yet"
                    )
                time.sleep(self.patience)
                own = [(sequence, name, attack, self.data[part], i) for i, part in enumerate(batches)]
                items = [item or self._work_item(*one) for item, one in zip(items, own, strict=True)]
            found.broken_by[name] = everyone[:0]
            for part, item in zip(batches, items, strict=True):
                if item is not None:
                    found.keep_shown(part, item)
                    rows = part[item["rows"]]
                    found.take(name, rows, item, distance(item["x_adv"], x[rows], sequence.metric))
            for _ in range(len(batches), len(self._cut(everyone, batch))):
                self.on_progress(name, 0, 0)
        return found

    def _cut(self, rows: Labels, batch: int) -> list[Tensor]:
        return [part for part in torch.split(rows, batch) if len(part)]

    def _work_item(
        self, sequence: AttackSequence, name: str, attack: Attack, part: Examples, place: int
    ) -> WorkItem | None:
        """Return the stored work item, a newly computed one, or None if another process must compute it."""
        key = digest([self.identity, name, sequence.facts, sequence.passes, sequence.eps], vars(part))
        with suppress(KeyError):
            item = self.store[key]
            if sound(item, part):
                self.on_progress(name, len(item["rows"]), len(part))
                return item
        rank, ranks = self.share
        if place % ranks != rank:
            return None
        with self._alone():
            item = self.store[key] = self._fresh(sequence, name, attack, part)
        self.on_progress(name, len(item["rows"]), len(part))
        return item

    def _fresh(self, sequence: AttackSequence, name: str, attack: Attack, part: Examples) -> WorkItem:
        noise, shown = PerImage(self.seed, part.index), dict[str, Tensor]()
        with multiplying(tf32=self.precision == "tf32"):
            seen = self.attacked if sequence.passes == 1 else self.unfolded
            x_adv = attack(seen, Batch(part.x, part.y, part.index, noise, watch=shown.__setitem__))
        predicted = self._predicted(x_adv, sequence.passes)
        wrong = predicted != part.y.cpu()
        allowed = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(1)
        if sequence.eps is not None:
            allowed &= distance(x_adv, part.x, sequence.ball) <= outermost(sequence.eps)
        if outside := int((wrong & ~allowed.cpu()).sum()):
            print(f"{name}: {outside} images left the ball or [0, 1] and do not count", file=sys.stderr, flush=True)
        wrong &= allowed.cpu()
        found = {"rows": wrong.nonzero()[:, 0], "predicted": predicted[wrong], "x_adv": x_adv.cpu()[wrong]}
        return found | {name: value.cpu() for name, value in shown.items()}

    def _predicted(self, x: Images, passes: int) -> Labels:
        with torch.no_grad():
            seen = [self.net(x) for _ in range(passes)]
        z = seen[0] if passes == 1 else torch.stack(seen).softmax(2).mean(0)
        if not bool(z.isfinite().all()):
            raise UserError("the network's logits are not finite on some images, so its predictions mean nothing")
        return z.argmax(1).cpu()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Freeze the networks, compute in full precision, and seed random numbers without changing the caller's."""
        devices = [self.data.x.device] if self.data.x.is_cuda else []
        with torch.random.fork_rng(devices), frozen(self.net), frozen(self.attacked), full_precision():
            torch.manual_seed(self.seed)
            yield


def outermost(eps: float) -> float:
    """Return the largest distance that counts as within eps."""
    return eps + ROUNDING * max(1.0, eps)


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute in full float32 inside the block, without TF32 and autocast."""
    with multiplying(tf32=False), torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
        yield


@contextmanager
def multiplying(*, tf32: bool) -> Iterator[None]:
    """Let CUDA multiply with 10-bit mantissas (TF32) or with all bits."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products


def effective(precision: AttackPrecision, device: torch.device) -> AttackPrecision:
    """Return the precision in which a device computes: TF32 exists on CUDA only."""
    return "fp32" if precision == "tf32" and device.type != "cuda" else precision
