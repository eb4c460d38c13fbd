"""Provide `from cure import training_step`: the training step of a method for the caller's own loop."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from torch import nn

from cure.core.method import Batch, Method, Networks, TrainingPosition
from cure.core.network import Network
from cure.core.noise import Stream, seed_for
from cure.core.tensors import Images, Labels, Tensor
from cure.errors import UserError
from cure.runtime import distributed
from cure.settings.base import DelayedSettings
from cure.settings.bounds import SEEDS
from cure.settings.problems import Problems, fill
from cure.training.loader_checks import check_batch, length
from cure.training.step import Step


class TrainingStep:
    """The training step of a method, which counts its own position in the training. Build it with `training_step`.

    Call it with images x (n, c, h, w) in [0, 1] and class numbers y (n), int64. It returns the mean of each loss term
    as a tensor on the device. `nets` holds the caller's network (`student`), companions and teachers by name;
    `evaluated` is the one to evaluate.
    """

    def __init__(self, step: Step, epochs: int, seed: int) -> None:
        self.nets, self.evaluated = step.nets, step.nets[step.method.evaluated]
        self._step, self._epochs, self._seed = step, epochs, seed
        self._device = next(step.nets.student.parameters()).device
        self._noise: Stream | None = None
        self._position = TrainingPosition()
        self._taken = self._images = 0  # steps and images in this epoch
        self._sums = dict[str, Tensor]()

    def begin_epoch(self, epoch: int, loader: Iterable[Any]) -> None:
        """Begin an epoch: set modes, seed the noise, and run the method's `before_epoch`.

        Args:
            epoch: The number of the epoch, from 1 to `epochs`.
            loader: Gives (x, y) batches and has a length. Only methods with a `before_epoch` draw batches from it here.

        Raises:
            UserError: `epoch` is out of range, or `loader` has no length or no batch.
        """
        method, nets = self._step.method, self.nets
        if not isinstance(epoch, int) or not 1 <= epoch <= self._epochs:
            raise UserError(f"epoch is {epoch!r}; a whole number from 1 to {self._epochs} (`epochs`)")
        steps = length(loader)
        past, noise = self.means(), Stream(seed_for(self._seed, epoch, "noise"), self._device)
        nets.ready()
        found: dict[str, Any] = {}
        if method.before_epoch is not None:
            ahead = Stream(seed_for(self._seed, epoch, "noise before"), self._device)
            position = TrainingPosition(epoch, epochs=self._epochs)
            batches = (self._batch(x, y, ahead, position) for x, y, *_ in loader)
            found = method.before_epoch(nets, epoch, batches, self._step.hyper)
        self._position = TrainingPosition(epoch, (epoch - 1) * steps, 0.0, steps, past, found, self._epochs)
        self._noise, self._taken, self._images, self._sums = noise, 0, 0, {}

    def __call__(self, x: Images, y: Labels) -> dict[str, Tensor]:
        """Take one step: attack, losses, backward, optimiser, companions. The first batch of an epoch is checked."""
        now = self._position
        if self._noise is None:
            raise UserError("step: no epoch has begun; call step.begin_epoch(epoch, loader) before each epoch")
        if self._taken == now.steps_per_epoch:
            had = f"epoch {now.epoch} had its {self._taken} batches"
            raise UserError(f"step: {had}; call step.begin_epoch(epoch, loader) before the next epoch")
        if not self._taken:
            check_batch(x, y)
        lr = float(self._step.optimizer.param_groups[0]["lr"])
        means = self._step(self._batch(x, y, self._noise, replace(now, step=now.step + self._taken, lr=lr)))
        for name, mean in means.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(mean)) + mean * len(y)
        self._taken += 1
        self._images += len(y)
        return means

    def means(self) -> dict[str, float]:
        """Return the mean of each term over the images of this epoch so far. This waits for the device."""
        sums = torch.stack(list(self._sums.values())).tolist() if self._sums else []
        return {name: total / self._images for name, total in zip(self._sums, sums, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """Return the state between epochs, except for the caller's network and optimiser."""
        own = {name: self.nets[name].state_dict() for name in self._companions()}
        return {"companions": own, "sums": dict(self._sums), "images": self._images}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that was taken at the end of an epoch; call `begin_epoch` next.

        Args:
            state: The result of `state_dict`.

        Raises:
            UserError: The state belongs to a method with other companions.
        """
        if list(state["companions"]) != self._companions():
            found, wanted = (", ".join(names) or "none" for names in (state["companions"], self._companions()))
            raise UserError(
                f"the state is of another method: its companions are {found}, not {wanted}; load a state of this method"
            )
        for name, own in state["companions"].items():
            self.nets[name].load_state_dict(own)
        self._sums, self._images = dict(state["sums"]), state["images"]
        self._noise = None

    def _companions(self) -> list[str]:
        return [name for name in self.nets if name not in ("student", *self._step.method.teachers)]

    def _batch(self, x: Images, y: Labels, noise: Stream, position: TrainingPosition) -> Batch:
        x, y = x.to(self._device, non_blocking=True), y.to(self._device, non_blocking=True)
        return Batch(x, y, torch.arange(len(y), device=self._device), noise, position)


def training_step(
    method: ModuleType | Method,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    /,
    *,
    epochs: int,
    teachers: Mapping[str, nn.Module] | None = None,
    seed: int = 0,
    **settings: Any,
) -> TrainingStep:
    """Build the training step of a method for your own loop: `step.begin_epoch(epoch, loader)`, then `step(x, y)`.

    A method that starts from another network (CURE) requires `net` with that network's weights, since `net` is not
    initialised here. Trained companions join `optimizer` with the settings of its first group: build a scheduler
    afterwards.

    Args:
        method: a module of cure.methods, or a Method of your own.
        net: the network to train, on its device: images (n, c, h, w) in [0, 1] to logits (n, classes).
        optimizer: holds the weights of `net`: any PyTorch optimiser whose step needs no closure.
        epochs: length of the training, which the schedules of some methods read.
        teachers: trained networks by role, which are moved to the device of `net`, frozen and put into eval mode.
        seed: of the noise. Together with the epoch it determines every random draw of an attack.
        settings: the fields of the method's `Hyper`; an attack is a dict.

    Returns:
        The step, for one process.

    Raises:
        UserError: wrong settings, teachers, network or optimiser.

    Example:
        >>> step = training_step(trades, net, optimizer, epochs=76, beta=6, forward_again=False, attack={...})
    """
    name, entry = _entry(method)
    for what, value, least in (("epochs", epochs, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or not least <= value < SEEDS:
            raise UserError(f"{what} is {value!r}; a whole number from {least} to {SEEDS - 1}")
    hyper = _hyper(name, entry, settings, epochs)
    given = dict(teachers or {})
    _fits(name, entry, net, given)
    held = _held(optimizer, net)
    if not entry.prepare:  # weights of net that the caller leaves out stay out
        held |= {id(weight) for weight in net.parameters()}
    nets = _networks(entry, net, given, hyper)
    _add(optimizer, nets, held)
    return TrainingStep(Step(nets, entry, hyper, optimizer), epochs, seed)


def _entry(method: Any) -> tuple[str, Method]:
    entry = getattr(method, "METHOD", method)
    if not isinstance(entry, Method):
        raise UserError(f"method is {method!r}; a module such as `from cure.methods import trades`, or a Method")
    name = method.__name__.rpartition(".")[2] if isinstance(method, ModuleType) else entry.cite
    if not entry.updates:
        raise UserError(f"{name} has no training step: it changes a trained network, in the stage revise of a pipeline")
    return name, entry


def _hyper(name: str, method: Method, settings: dict[str, Any], epochs: int) -> Any:
    problems = Problems()
    hyper = fill(method.hyper, settings, "", problems)
    if isinstance(hyper, DelayedSettings) and hyper.begin > epochs:
        problems.append(f"begin: {hyper.begin}, but epochs is {epochs}")
    if problems:
        raise UserError("\n  ".join([f"{name} has wrong arguments:", *problems]))
    return hyper


def _fits(name: str, method: Method, net: nn.Module, teachers: dict[str, nn.Module]) -> None:
    """Raise UserError for networks that the method cannot use."""
    if distributed.count() > 1:
        raise UserError(
            f"training_step: {distributed.count()} processes; it takes one. For more, set run.processes of a pipeline"
        )
    if set(teachers) != set(method.teachers):
        found, wanted = (", ".join(sorted(roles)) or "none" for roles in (teachers, method.teachers))
        raise UserError(f"teachers: {found}, but {name} needs: {wanted}; pass them as teachers={{ROLE: network}}")
    for what, one in {"net": net, **{f"teachers: {role}": one for role, one in teachers.items()}}.items():
        if not isinstance(one, nn.Module) or not any(True for _ in one.parameters()):
            raise UserError(f"{what} is a {type(one).__name__}; a torch.nn.Module with weights is needed")
        if method.reads_parts and not isinstance(one, Network):
            raise UserError(
                f"{what} is a {type(one).__name__}, but {name} reads parts of its networks by name; pass a "
                "cure.core.network.Network, such as those of cure/models"
            )
        if one is net and what != "net":
            raise UserError(f"{what} is net itself, which would be frozen; pass another network or a copy")


def _held(optimizer: Any, net: nn.Module) -> set[int]:
    """Return the ids of the optimiser's weights; raise UserError if it cannot train `net` in a plain step."""
    held = {id(weight) for group in getattr(optimizer, "param_groups", []) for weight in group["params"]}
    if not held & {id(weight) for weight in net.parameters()}:
        raise UserError("optimizer: holds no weight of net; build a torch.optim.Optimizer from net.parameters()")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise UserError(
            f"optimizer: {type(optimizer).__name__} needs a closure; use an optimiser without one, such as SGD"
        )
    return held


def _networks(method: Method, net: nn.Module, teachers: dict[str, nn.Module], hyper: Any) -> Networks:
    """Build the networks on the device of `net`, companions in its precision."""
    if method.prepare:
        method.prepare(net, hyper)
    weight = next(net.parameters())
    companions = method.companions(hyper) if method.companions else {}
    nets = Networks(net, companions, teachers)
    for role in teachers:
        nets[role].to(weight.device)
    for companion in companions:
        nets[companion].to(weight.device, weight.dtype)
    return nets


def _add(optimizer: torch.optim.Optimizer, nets: Networks, held: set[int]) -> None:
    """Add a parameter group for each network of the method, with the settings of the optimiser's first group."""
    first = {key: value for key, value in optimizer.param_groups[0].items() if key not in ("params", "param_names")}
    for name in nets.trained:
        if added := [weight for weight in nets.weights(name).values() if id(weight) not in held]:
            if "initial_lr" in first:
                raise UserError("optimizer: has a scheduler already, but the method adds weights; build it afterwards")
            decay = {"weight_decay": nets.decays[name]} if name in nets.decays else {}
            optimizer.add_param_group({"params": added, **first, **decay})
