"""The contract of a method: the slots of the one training step, and their arguments.

Before every epoch, and then in every step (training/step.py), the slots run in this order:

    found  = before_epoch(nets, epoch, batches, hyper)    0  a pass over training images ahead of an epoch
    points = attack(nets, batch, hyper)                   1  the attack, or any other search for points
    terms  = loss(nets, batch, hyper)                     2  named terms: (weight, one value per example)
    grads  = combine_gradients(nets, batch, hyper, means) 3  a gradient rule; None: the plain backward pass
    after_step(nets, batch, hyper)                        4  companions that move by a rule of their own

`companions` (5) returns the networks beside the student, `evaluated` names the one that is evaluated, `select_network`
(6) turns a training checkpoint into one network.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from cure.core.noise import Noise
from cure.core.tensors import Flags, Images, Labels, PerExample, Tensor
from cure.settings.base import MethodSettings, ReviseSettings

Terms = dict[str, tuple[float, PerExample]]
"""Name -> (weight, values). The objective is the weighted sum of means. Terms of weight 0 are only reported."""

Means = dict[str, tuple[float, Tensor]]
Gradients = dict[str, Tensor]


@dataclass(frozen=True)
class TrainingPosition:
    """The position of a step in training. The default is the first step of the first epoch."""

    epoch: int = 1  # counts from 1
    step: int = 0  # optimiser steps taken before this one, over all epochs
    lr: float = 0.0  # learning rate of the epoch
    steps_per_epoch: int = 1  # optimiser steps of an epoch
    past_means: Mapping[str, float | int] = field(default_factory=dict)  # mean of each term over the previous epoch
    found: Mapping[str, Any] = field(default_factory=dict)  # the result of `before_epoch`
    epochs: int = 1  # of the whole schedule


@dataclass
class Batch:
    """One mini-batch: images, their noise, and the position of training.

    `index` is the place of each image in its split. `points` holds the results of `attack` for the later slots.
    `watch` receives named tensors for an analysis or a test. If several ranks share a batch, this is the part of one of
    them, and the others hold `images_on_other_ranks` more images.
    """

    x: Images  # (n, c, h, w) in [0, 1]
    y: Labels  # (n)
    index: Labels  # (n)
    noise: Noise  # source of the random draws
    position: TrainingPosition = field(default_factory=TrainingPosition)  # of the step in training
    points: dict[str, Any] = field(default_factory=dict)  # name -> result of `attack`
    watch: Callable[[str, Any], None] | None = None
    images_on_other_ranks: int = 0  # 0 without several ranks

    @property
    def x_adv(self) -> Images:
        """Return the adversarial images (n, c, h, w) that `attack` found."""
        found: Images = self.points["adv"]
        return found

    def show(self, name: str, value: Any) -> None:
        """Pass a value to `watch`, if it is set.

        Args:
            name: The name of the value, such as x_adv.
            value: A tensor or a mapping of tensors.
        """
        if self.watch is not None:
            self.watch(name, value)


@dataclass(frozen=True)
class Companion:
    """A network beside the student: a second student, a predictor, an averaged copy."""

    build: Callable[[nn.Module], nn.Module]  # from the freshly initialised student
    trained: bool = False  # whether the optimiser moves it, with the student's settings
    mode: Literal["train", "eval"] = "eval"  # mode in which the step forwards it
    weight_decay: float | None = None  # of a trained one; None: that of the schedule


class Networks(nn.ModuleDict):
    """The student, its companions and its teachers by name: nets.student, nets.revision, nets.robust, ..."""

    modes: dict[str, str]
    trained: tuple[str, ...]
    decays: dict[str, float]  # of the trained networks with a weight decay of their own

    def __init__(self, student: nn.Module, companions: dict[str, Companion], teachers: dict[str, nn.Module]) -> None:
        built = {name: c.build(student) for name, c in companions.items()}
        super().__init__({"student": student, **built, **teachers})
        self.trained = ("student", *(name for name, c in companions.items() if c.trained))
        self.decays = {name: c.weight_decay for name, c in companions.items() if c.weight_decay is not None}
        self.modes = {"student": "train"} | {n: c.mode for n, c in companions.items()} | dict.fromkeys(teachers, "eval")
        for name, net in self.items():
            if name not in self.trained:  # a trained network may be built with frozen parts
                net.requires_grad_(False)

    def __getattr__(self, name: str) -> nn.Module:
        module = super().__getattr__(name)
        assert isinstance(module, nn.Module)
        return module

    def ready(self) -> None:
        """Put every network into the mode in which the step forwards it."""
        for name, net in self.items():
            net.train(self.modes[name] == "train")

    def weights(self, *networks: str) -> dict[str, nn.Parameter]:
        """Return every trained parameter by name, or those of the named networks.

        The names of the student's parameters are its own; those of a companion begin with the companion's name.
        """
        return dict(self._weights(networks or self.trained))

    def _weights(self, networks: tuple[str, ...]) -> Iterator[tuple[str, nn.Parameter]]:
        for name in networks:
            prefix = "" if name == "student" else f"{name}."
            named = self[name].named_parameters()
            yield from ((prefix + key, weight) for key, weight in named if weight.requires_grad)


Role = Literal["natural", "robust", "teacher"]
"""`natural` is the conserved network. params.yaml sets under `roles` which methods are `robust` and `teacher`."""

BeforeEpoch = Callable[[Networks, int, Iterator[Batch], Any], dict[str, Any]]
"""The batches are another shuffled and augmented pass over the training split, drawn only as far as it iterates."""

AttackSlot = Callable[[Networks, Batch, Any], dict[str, Any]]
"""From networks, batch and settings to the points by name; adversarial images (n, c, h, w) have the name `adv`."""

Loss = Callable[[Networks, Batch, Any], Terms]
"""Its terms have one value per image (n)."""

CombineGradients = Callable[[Networks, Batch, Any, Means], Gradients | None]
"""It gets the mean of every term with its graph, and returns a gradient for each of `nets.weights()`."""

AfterStep = Callable[[Networks, Batch, Any], None]


@dataclass(frozen=True)
class Consolidation:
    """The inputs of `select_network`: networks of the training checkpoint, training batches, a validation score."""

    nets: dict[str, nn.Module]  # last, best and companions; only `robust` if there is no training checkpoint
    epochs: dict[str, int]  # 1-based epoch of last, best and average
    batches: Callable[[int], Iterator[Batch]]  # augmented training batches of a 1-based epoch
    val: list[Batch]  # batches of the validation split
    score: Callable[[nn.Module], dict[str, float]]  # clean and PGD accuracy on the validation split
    correct: Callable[[nn.Module, int], dict[str, Flags]]  # the same per image; the number seeds PGD's starts


SelectNetwork = Callable[[Consolidation, Any], tuple[nn.Module, int, dict[str, Any]]]
"""The one network, the epoch that it comes from, and a report for people."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One entry of cure/methods, as its module names it `METHOD`: citation, settings class and the slots that it fills.

    Example:
        >>> METHOD = Method(cite="Madry et al. 2018", hyper=Hyper, attack=attack, loss=loss)
    """

    cite: str  # authors and year of the paper
    hyper: type[MethodSettings]  # settings class of the section methods.NAME, or methods.NAME.update with `revise`
    loss: Loss  # terms of the objective
    attack: AttackSlot | None = None  # finds the points that later slots read from `batch.points`; x' is `adv`
    combine_gradients: CombineGradients | None = None  # None, as a slot or a result: a plain backward pass
    after_step: AfterStep | None = None  # moves companions by a rule of their own
    companions: Callable[[Any], dict[str, Companion]] | None = None  # from the settings: networks beside the student
    prepare: Callable[[nn.Module, Any], None] | None = None  # changes the student before training: split batch norms
    teachers: tuple[Role, ...] = ()  # networks of other methods, frozen and in eval mode
    init: Role | None = None  # the role whose weights the student starts from
    start: Callable[[Any], Role | None] | None = None  # or the teacher that the settings choose as the start
    reads_parts: bool = False  # reads parts by name: its networks must be a `Network` (core/network.py)
    before_epoch: BeforeEpoch | None = None  # runs ahead of every epoch
    evaluated: str = "student"  # the network that is validated, selected by its best epoch, and evaluated
    select_network: SelectNetwork | None = None  # turns a training checkpoint into one network
    shows: tuple[str, ...] = ()  # names that its slots pass to `batch.show`, for analyses
    revise: type[ReviseSettings] | None = None  # settings class of `select_network`; None: it takes `hyper`

    @property
    def roles(self) -> list[Role]:
        """Return the roles of all networks of earlier stages that the method needs."""
        return sorted({*self.teachers} | ({self.init} if self.init else set()))

    @property
    def updates(self) -> bool:
        """Return whether the method has an update loop of its own."""
        return self.select_network is None or self.revise is not None
