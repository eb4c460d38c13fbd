"""Every attack column of one network: what the stage attack and `cure eval` share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cure import catalogue
from cure.core.attack import Chain
from cure.core.folding import twin
from cure.core.tensors import Flags, Labels
from cure.engine.driver import ROUNDING, Driver
from cure.engine.loader import Split, as_float
from cure.engine.outcomes import Result
from cure.engine.units import Examples, Outcome, Store
from cure.params import armed
from cure.schema import AttackSuite, Threat

Tick = Callable[[str], None]


@dataclass(frozen=True)
class Column:
    """What one chain did to some of the images: `rows` are their places."""

    chain: Chain
    rows: Labels
    outcome: Outcome

    def safe(self, eps: float) -> Flags:
        """Correct, and without a verified adversarial image in the L-inf ball of this radius."""
        return self.outcome.clean & (self.outcome.distance > eps + ROUNDING)


def chains(suite: AttackSuite, threat: Threat, classes: int) -> dict[str, Chain]:
    """The columns of the suite, each with its settings over the threat model."""

    def bind(settings: dict[str, Any]) -> Chain:
        entry = catalogue.entry("attacks", settings["attack"])
        own = {key: value for key, value in settings.items() if key != "attack"}
        hyper = entry.Hyper.model_validate(armed(entry.Hyper, own, threat.model_dump()))
        chain: Chain = entry.chain(hyper, classes, suite.seed)
        return chain

    return {name: bind(settings) for name, settings in suite.columns.items()}


def attacked(
    net: nn.Module, split: Split, columns: dict[str, Chain], suite: AttackSuite, tick: Tick, store: Store | None = None
) -> dict[str, Column]:
    """Every column on the whole split, or on as many of its images, evenly spread, as the suite gives it."""
    data = Examples(as_float(split.images), split.labels, torch.arange(len(split), device=split.labels.device))
    fast, found = twin(net, data.x[: suite.batch], suite.layout), dict[str, Column]()
    for name, chain in columns.items():
        rows = split.places(suite.subset.get(name, len(split)))
        driver = Driver(
            net,
            data[rows],
            batch=suite.batch,
            seed=suite.seed,
            twin=fast,
            store=store,
            tick=lambda note, name=name: tick(f"{name}: {note}"),  # type: ignore[misc]
        )
        found[name] = Column(chain, rows.cpu(), driver.run(chain))
    return found


def units(images: int, columns: dict[str, Chain], suite: AttackSuite) -> int:
    """How many batches `attacked` makes, over all attacks."""
    seen = {name: min(images, suite.subset.get(name, images)) for name in columns}
    return sum(-(-seen[name] // suite.batch) * len(chain.attacks) for name, chain in columns.items())


def result(columns: dict[str, Column], images: int, suite: AttackSuite, eps: float) -> Result:
    """The columns as plain data: one character per image, 1 correct, 0 not, - not looked at.

    `worst` is over everything that was run: correct only without any verified adversarial image within `eps`, on the
    images that every column with a ball looked at. AutoAttack's own number is its column alone. A chain that seeks the
    smallest perturbation is counted at `eps` in the L-inf norm, and its distances stand apart.
    """
    ball = {name: column for name, column in columns.items() if column.chain.norm is None}
    linf = {name: column for name, column in columns.items() if column.chain.norm == "linf"}
    clean = next(column for column in columns.values() if len(column.rows) == images).outcome.clean
    flags = {name: _spread(column.outcome.robust, column.rows, images) for name, column in ball.items()}
    flags |= {name: _spread(column.safe(eps), column.rows, images) for name, column in linf.items()}
    worst = torch.stack([clean.long(), *(_spread(c.safe(eps), c.rows, images) for c in ball.values())]).amin(0)
    for name in linf:
        worst[(flags[name] == 0) & (worst == 1)] = 0
    outcomes = {"clean": clean.long(), **flags, "worst": worst}
    return {
        "images": images,
        "outcomes": {name: "".join("-01"[int(hit) + 1] for hit in flag) for name, flag in outcomes.items()},
        "columns": {name: _about(column) for name, column in columns.items()},
        "problems": _problems(ball, linf, eps),
        "seed": suite.seed,
        "batch": suite.batch,
    }


def _spread(flags: Flags, rows: Labels, images: int) -> torch.Tensor:
    """1, 0, and -1 where an image was not looked at."""
    out = torch.full((images,), -1)
    out[rows] = flags.long()
    return out


def _about(column: Column) -> dict[str, Any]:
    chain, found = column.chain, column.outcome
    said: dict[str, Any] = {"label": chain.label, "package": chain.facts.get("package", "")}
    said["broken_by"] = {name: sorted(column.rows[rows].tolist()) for name, rows in found.broken_by.items()}
    if chain.norm is not None:
        lengths = [round(float(length), 7) for length in found.distance]  # float32 has no more digits
        said |= {"norm": chain.norm, "rows": column.rows.tolist()}
        said["distances"] = [None if length == float("inf") else length for length in lengths]
    return said


def _problems(ball: dict[str, Column], linf: dict[str, Column], eps: float) -> list[str]:
    """Smallest perturbations are upper bounds, so where they beat AutoAttack, AutoAttack was too weak."""
    found = []
    for name, strong in ball.items():
        for other, minimum in linf.items() if strong.chain.label else ():
            both = torch.isin(strong.rows, minimum.rows), torch.isin(minimum.rows, strong.rows)
            robust, curve = strong.safe(eps)[both[0]], minimum.safe(eps)[both[1]]
            if curve.sum() < robust.sum():
                found.append(
                    f"{other} leaves {int(curve.sum())} of {len(curve)} images at eps, {name} {int(robust.sum())}: "
                    f"{name} overestimates robustness"
                )
    return found
