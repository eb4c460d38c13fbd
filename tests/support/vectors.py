"""Golden vectors: numbers of one iteration of the published code, read from a JSON description and its tensors."""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cure import catalogue
from cure.core.method import Batch, Method, Networks, TrainingPosition
from cure.core.network import Network, Normalisation, Part, pool
from cure.settings.base import Search
from cure.settings.sections import Schedule
from cure.training.schedule import sgd
from cure.training.step import Step


class Golden:
    """One description with its tensors in float64, and the list of compared tensors."""

    def __init__(self, path: Path) -> None:
        self.about = json.loads(path.read_text())
        stored = load_file(path.with_suffix(".safetensors"))
        self.tensors = {key: t.double() if t.is_floating_point() else t for key, t in stored.items()}
        self.hyper: dict[str, Any] = self.about.get("hyperparameters", {})
        self.compared: set[str] = set()

    @staticmethod
    def method_of(path: Path) -> str:
        return str(json.loads(path.read_text())["method"])

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Return every tensor under `prefix/`, by the rest of its name."""
        return {key.removeprefix(f"{prefix}/"): t for key, t in self.tensors.items() if key.startswith(f"{prefix}/")}

    def expect(self, name: str, ours: Tensor | float) -> None:
        """Assert |ours - golden| <= atol + rtol |golden| with the file's own tolerance; integers and masks exactly."""
        golden = self.tensors[name]
        self.compared.add(name)
        ours = torch.as_tensor(ours, dtype=golden.dtype if not isinstance(ours, Tensor) else None)
        assert ours.shape == golden.shape, f"{name}: {tuple(ours.shape)}, not {tuple(golden.shape)}"
        if not golden.is_floating_point():
            assert torch.equal(ours, golden), name
            return
        tolerance = self._tolerance(name)
        excess = (ours - golden).abs() - (tolerance["atol"] + tolerance["rtol"] * golden.abs())
        assert excess.max() <= 0, f"{name}: beyond its tolerance by {float(excess.max()):.3g}"

    def expect_group(self, prefix: str, ours: dict[str, Tensor], skip: tuple[str, ...] = ()) -> None:
        """Compare each golden tensor under `prefix/` with ours of that name, except for names that end in `skip`."""
        for name in self.group(prefix):
            if not name.endswith(skip):
                self.expect(f"{prefix}/{name}", ours[name])

    def excuse(self, *prefixes: str) -> None:
        """Mark outputs as not compared, for the reason that the test gives."""
        self.compared |= {name for name in self.tensors if name.startswith(prefixes)}

    def assert_all_compared(self) -> None:
        inputs = {"x", "y", *self.about.get("random_tensors", [])}
        left = [n for n in self.tensors if n not in self.compared | inputs and not n.startswith("before/")]
        assert not left, f"not compared: {left}"

    def _tolerance(self, name: str) -> dict[str, float]:
        entry = self.about["tensors"].get(name) or self.about["tensors"][_starred(name, self.about["tensors"])]
        found = entry["tolerance"]
        default: dict[str, float] = self.about["tolerance_default"]
        return default if found in ("default", "exact") else found

    def network(self, name: str, prepare: Callable[[nn.Module], None] | None = None) -> "GoldenNet":
        """Build the network called `name`, in the state before the iteration."""
        state = self.group(f"before/{name}")
        normalisation = None
        if "input_mean" in self.hyper:
            normalisation = Normalisation(mean=self.hyper["input_mean"], std=self.hyper["input_std"])
        net = GoldenNet(state, normalisation).double()
        if prepare is not None:
            prepare(net)
        net.load_state_dict(state)
        return net

    def search(self, start: str | None = None, **changes: Any) -> Search:
        """Return the attack, with a start that the description words as `gaussian 0.001, not clipped`, for example."""
        words = start or self.hyper["start"]
        kind = words.split()[0].strip(",")
        settings = {
            "eps": self.hyper.get("eps"),
            "step": self.hyper.get("step_size"),
            "steps": self.hyper.get("steps"),
            "start": kind,
            "sigma": 0.001,  # without effect, since the draw itself is recorded
            "clip_start": "clipped" in words and "not clipped" not in words,
        }
        return Search(**(settings | changes))


def _starred(name: str, descriptions: dict[str, Any]) -> str:
    fitting = [d for d in descriptions if d.endswith("/*") and name.startswith(d[:-1])]
    return max(fitting, key=len)


class GoldenNet(Network):
    """The golden_net of the description, with channels and classes derived from its state."""

    def __init__(self, state: dict[str, Tensor], normalisation: Normalisation | None) -> None:
        super().__init__(normalisation)
        first, second, last = state["conv1.weight"], state["conv2.weight"], state["fc.weight"]
        self.conv1 = nn.Conv2d(first.shape[1], first.shape[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first.shape[0])
        self.conv2 = nn.Conv2d(second.shape[1], second.shape[0], 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(second.shape[0])
        self.fc = nn.Linear(last.shape[1], last.shape[0])

    def parts(self) -> list[Part]:
        return [
            ("layer1", lambda x: self.bn1(self.conv1(x)).relu()),
            ("layer2", lambda x: self.bn2(self.conv2(x)).relu()),
            ("pooled", pool),
            ("logits", self.fc),
        ]


class Recorded:
    """Noise that returns recorded starts one by one, then a recorded jitter; every chance is true."""

    def __init__(self, *starts: Tensor, jitter: Tensor | None = None) -> None:
        self.starts = list(starts)
        self.jitter = jitter

    def uniform(self, x: Tensor, width: float | Tensor) -> Tensor:
        return self.starts.pop(0)

    def normal(self, x: Tensor, sigma: float) -> Tensor:
        return self.starts.pop(0) if self.starts else sigma * self.jitter

    def chance(self, probability: float) -> bool:
        return probability > 0


class Iteration:
    """One call of the product's step on golden inputs, and everything observable about it."""

    def __init__(
        self,
        golden: Golden,
        method: Method,
        hyper: Any,
        *,
        student: str = "model",
        companions: dict[str, nn.Module] | None = None,
        teachers: dict[str, nn.Module] | None = None,
        noise: Recorded | None = None,
        step: int = 0,
        epoch: int = 1,
        past: dict[str, float | int] | None = None,
        lr: float | None = None,
        epochs: int = 1,
    ) -> None:
        declared = method.companions(hyper) if method.companions else {}
        built = {
            name: dataclasses.replace(declared[name], build=lambda student, net=net: net)
            for name, net in (companions or {}).items()
        }
        prepare = method.prepare and partial(method.prepare, hyper=hyper)
        self.nets = Networks(golden.network(student, prepare), built, teachers or {}).double()
        self.nets.ready()
        self.seen: dict[str, Any] = {}
        self.history: dict[str, list[Any]] = {}
        self.forwards: dict[str, list[Tensor]] = {}
        for name, net in self.nets.items():
            net.register_forward_hook(lambda module, _, out, name=name: self._note(name, module, out))
        schedule = Schedule(
            epochs=epochs,
            batch=len(golden.tensors["y"]),
            lr=lr or golden.hyper["lr"],
            momentum=golden.hyper["momentum"],
            weight_decay=golden.hyper.get("weight_decay_robust", golden.hyper.get("weight_decay")),
            nesterov=golden.hyper.get("nesterov", False),
            drops={},
            lr_schedule="drops",
        )
        self.x, self.y, self.schedule = golden.tensors["x"], golden.tensors["y"], schedule
        self.noise = noise or Recorded(golden.tensors["start"])
        self.step = Step(self.nets, method, hyper, sgd(self.nets, schedule))
        self.take(epoch, step, past)

    def take(self, epoch: int, step: int, past: dict[str, float | int] | None = None) -> None:
        """Take one more step of the same networks and optimiser; `forwards` and `seen` are those of this step."""
        self.forwards.clear()
        self.seen.clear()
        self.nets.ready()
        position = TrainingPosition(epoch, step, self.schedule.lr, past_means=past or {}, epochs=self.schedule.epochs)
        self.batch = Batch(self.x, self.y, torch.arange(len(self.y)), self.noise, position, watch=self.watch)
        self.terms = self.step(self.batch)

    def _note(self, name: str, module: nn.Module, out: Tensor) -> None:
        self.forwards.setdefault(f"{name}/{'train' if module.training else 'eval'}", []).append(out.detach())

    def watch(self, name: str, value: Any) -> None:
        self.seen[name] = value
        self.history.setdefault(name, []).append(value)

    @property
    def x_adv(self) -> Tensor:
        return self.batch.x_adv

    @property
    def total(self) -> Tensor:
        """Return the objective of the last step, at the weights before it."""
        return torch.stack([weight * mean.detach() for weight, mean in self.seen["means"].values()]).sum()

    def gradients(self, network: str = "student") -> dict[str, Tensor]:
        return {name: w.grad for name, w in self.nets[network].named_parameters() if w.grad is not None}

    def state(self, name: str = "student") -> dict[str, Tensor]:
        return self.nets[name].state_dict()

    def expect_weight_perturbation(self, golden: Golden, gamma: float, prefix: str = "") -> None:
        """Compare v of AWP, which the file gives without gamma."""
        wide, moves = self.batch.points["perturbation"]
        found = {id(w): move / gamma for w, move in zip(wide, moves, strict=True)}
        golden.expect_group(
            f"{prefix}awp/v", {name: found.get(id(w)) for name, w in self.nets.student.named_parameters()}
        )


def method(name: str):
    return catalogue.entry("methods", name)
