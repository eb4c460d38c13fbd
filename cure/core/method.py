"""What a method is: the slots of the one training step, and what they are given.

Before every epoch, and then in every step (training/step.py), the slots run in this order:

    found  = before_epoch(nets, epoch, batches, hyper)    0  a pass over training images ahead of an epoch
    points = attack(nets, batch, hyper)                   1  the attack, or any other search for points
    terms  = loss(nets, batch, hyper)                     2  named terms: (weight, one value per example)
    grads  = combine_gradients(nets, batch, hyper, means) 3  a gradient rule; None: the plain backward pass
    after_step(nets, batch, hyper)                        4  companions that move by a rule of their own

`companions` (5) names the networks beside the student, `evaluated` the one that is judged, `select_network` (6) turns a
training checkpoint into one network.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from cure.core.noise import Noise
from cure.core.tensors import Flags, Images, Labels, PerExample, Tensor
from cure.settings.base import MethodSettings, ReviseSettings

Terms = dict[str, tuple[float, PerExample]]
"""Name -> (weight, values). The objective is the weighted sum of means; weight 0 is looked at, not optimised."""

Means = dict[str, tuple[float, Tensor]]
Gradients = dict[str, Tensor]


@dataclass(frozen=True)
class TrainingPosition:
    """Where training is when a step is taken. The default is the first step of the first epoch."""

    epoch: int = 1  # counts from 1
    step: int = 0  # optimiser steps taken before this one, over all epochs
    lr: float = 0.0  # learning rate of the epoch
    steps_per_epoch: int = 1
    past_means: Mapping[str, float | int] = field(default_factory=dict)  # of each term over the epoch before this one
    found: Mapping[str, Any] = field(default_factory=dict)  # what `before_epoch` returned
    epochs: int = 1  # of the whole schedule


@dataclass
class Batch:
    """One mini-batch: images, their noise, and the position of training.

    `index` is each image's place in its split. `points` carries what `attack` found to the later slots. `watch`
    receives named tensors for an analysis or a test. If several ranks share a batch, this is the part of one of them,
    and the others hold `images_on_other_ranks` more images.
    """

    x: Images  # (n, c, h, w) in [0, 1]
    y: Labels  # (n)
    index: Labels  # (n)
    noise: Noise
    position: TrainingPosition = field(default_factory=TrainingPosition)
    points: dict[str, Any] = field(default_factory=dict)
    watch: Callable[[str, Any], None] | None = None
    images_on_other_ranks: int = 0

    @property
    def x_adv(self) -> Images:
        """Return the adversarial images that `attack` found."""
        found: Images = self.points["adv"]
        return found

    def show(self, name: str, value: Any) -> None:
        """Pass `value` to `watch`, if it is set."""
        if self.watch is not None:
            self.watch(name, value)


@dataclass(frozen=True)
class Companion:
    """A network beside the student: a second student, a predictor, an averaged copy.

    `trained` ones share the student's optimiser settings, but for a weight decay of their own. `mode` is the mode in
    which it is forwarded.
    """

    build: Callable[[nn.Module], nn.Module]  # from the freshly initialised student
    trained: bool = False
    mode: Literal["train", "eval"] = "eval"
    weight_decay: float | None = None  # None: the schedule's


class Networks(nn.ModuleDict):
    """The student and its companions by name: nets.student, nets.revision, nets.robust, ..."""

    modes: dict[str, str]
    trained: tuple[str, ...]
    decays: dict[str, float]  # of the trained ones that have a weight decay of their own

    def __init__(self, student: nn.Module, companions: dict[str, Companion], teachers: dict[str, nn.Module]) -> None:
        built = {name: c.build(student) for name, c in companions.items()}
        super().__init__({"student": student, **built, **teachers})
        self.trained = ("student", *(name for name, c in companions.items() if c.trained))
        self.decays = {name: c.weight_decay for name, c in companions.items() if c.weight_decay is not None}
        self.modes = {"student": "train"} | {n: c.mode for n, c in companions.items()} | dict.fromkeys(teachers, "eval")
        for name, net in self.items():
            if name not in self.trained:  # a trained one may come with frozen parts
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
        """Every trained parameter, or those of the named networks; a companion's stand behind its name."""
        return dict(self._weights(networks or self.trained))

    def _weights(self, networks: tuple[str, ...]) -> Iterator[tuple[str, nn.Parameter]]:
        for name in networks:
            prefix = "" if name == "student" else f"{name}."
            named = self[name].named_parameters()
            yield from ((prefix + key, weight) for key, weight in named if weight.requires_grad)


Role = Literal["natural", "robust", "teacher"]
"""`natural` is the conserved network; params.yaml says under `roles` which methods are `robust` and `teacher`."""

BeforeEpoch = Callable[[Networks, int, Iterator[Batch], Any], dict[str, Any]]
"""Its batches are another shuffled and augmented pass over the training split, drawn as far as they are asked for."""

AttackSlot = Callable[[Networks, Batch, Any], dict[str, Any]]
Loss = Callable[[Networks, Batch, Any], Terms]
CombineGradients = Callable[[Networks, Batch, Any, Means], Gradients | None]
AfterStep = Callable[[Networks, Batch, Any], None]


@dataclass(frozen=True)
class Consolidation:
    """What `select_network` may use: networks of the training checkpoint, training batches, a validation score."""

    nets: dict[str, nn.Module]  # last, best and companions; only `robust` if there is no training checkpoint
    epochs: dict[str, int]  # of last, best and average
    batches: Callable[[int], Iterator[Batch]]  # augmented training batches of a 1-based epoch
    val: list[Batch]
    score: Callable[[nn.Module], dict[str, float]]  # clean and PGD accuracy on the validation split
    correct: Callable[[nn.Module, int], dict[str, Flags]]  # the same image by image, PGD's starts by number of the draw


SelectNetwork = Callable[[Consolidation, Any], tuple[nn.Module, int, dict[str, Any]]]
"""The one network, the epoch it stems from, and a report for people."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One entry of cure/methods: its citation, the class of its settings, and the slots that it fills."""

    cite: str
    hyper: type[MethodSettings]
    loss: Loss
    attack: AttackSlot | None = None
    combine_gradients: CombineGradients | None = None
    after_step: AfterStep | None = None
    companions: Callable[[Any], dict[str, Companion]] | None = None
    prepare: Callable[[nn.Module, Any], None] | None = None  # what training adds to the student: split batch norms
    teachers: tuple[Role, ...] = ()  # networks of other methods, used frozen and in eval mode
    init: Role | None = None  # the one whose weights it starts from
    start: Callable[[Any], Role | None] | None = None  # or the teacher that its settings choose to start from
    reads_parts: bool = False  # by name (core/network.py), so student and teachers are a Network
    before_epoch: BeforeEpoch | None = None
    evaluated: str = "student"  # the network that is validated, whose best epoch is kept, and that is evaluated
    select_network: SelectNetwork | None = None
    shows: tuple[str, ...] = ()  # what its slots hand to `batch.show`, for analyses
    revise: type[ReviseSettings] | None = None  # what `select_network` takes; None: it takes `hyper`

    @property
    def roles(self) -> list[Role]:
        """Every network of an earlier stage that the method asks for."""
        return sorted({*self.teachers} | ({self.init} if self.init else set()))

    @property
    def updates(self) -> bool:
        """Whether it has an update loop of its own."""
        return self.select_network is None or self.revise is not None
