"""Read params.yaml into frozen, typed settings of one stage and one run.

Four rules spare repetition. A section may name a `preset:` of its `presets:`, whose values override it. Any value may
be a mapping from data sets or models to values (with `default:`), of which a run takes its own. `threat:` gives the
defaults of every attack. A method's `train:` overrides the common `train:` under the protocol `paper`. Its `matched:`
overrides its settings under `matched`, and the `train:` inside holds the few values that a fair comparison allows.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cure import catalogue
from cure.errors import UserError, did_you_mean
from cure.settings.base import Ball, DelayedSettings, Settings, is_epoch
from cure.settings.plain_data import refuse_odd, with_epochs_as_numbers
from cure.settings.problems import Problems, fill
from cure.settings.sections import Train

S = TypeVar("S", bound=Settings)
FILE = Path("params.yaml")
OWN_UNDER_MATCHED = ("average", "lr", "select", "weight_decay")
"""Keys allowed in the `train:` of a method's `matched:`: two numbers to tune for each method, and a weight average."""


def read(path: Path = FILE) -> dict[str, Any]:
    """Read a params file as plain data.

    Args:
        path: the file, in YAML 1.2.

    Returns:
        Sections by name, with keys that are epochs as integers.

    Raises:
        UserError: the file is missing, is not valid YAML, has a key twice or has no sections.
    """
    try:
        if not path.is_file() and not path.is_dir() and path.exists():
            raise UserError(f"{path}: a device or a pipe, not a file")
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        refuse_odd(raw)
        json.dumps(raw, default=str, skipkeys=True)  # fails on a mapping that contains itself through an anchor
        with_epochs_as_numbers(raw)
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run this in a folder with a params.yaml, such as quickstart/") from None
    except OSError as problem:
        raise UserError(f"{path}: cannot be read: {problem.strerror}") from None
    except (YAMLError, ValueError, LookupError, OverflowError, RecursionError) as problem:  # ruamel wraps only some
        raise UserError(f"{path}: not valid YAML: {' '.join(str(problem).split())}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: has no sections")
    return raw


def override(base: dict[Any, Any], top: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return `base` overridden by `top`: settings in both are merged one level deep, mappings by epoch are replaced."""

    def settings(value: Any) -> bool:
        return isinstance(value, dict) and all(isinstance(key, str) and not is_epoch(key) for key in value)

    both = {k: {**base[k], **v} for k, v in top.items() if settings(v) and settings(base.get(k))}
    return {**base, **top, **both}


def update_key(name: str, method: Any) -> str:
    """Return the key of the section that a method of cure/methods is trained with."""
    return f"methods.{name}.update" if method.revise else f"methods.{name}"


def revise_key(name: str, method: Any) -> str:
    """Return the key of the section that a method's `select_network` takes."""
    return f"methods.{name}.revise" if method.revise else f"methods.{name}"


def for_run(value: Any, dataset: str, model: str, where: str) -> Any:
    """Replace each mapping by data set or model, at any depth, by the value of this run.

    Args:
        value: a section, or any part of it.
        dataset: data set of the run.
        model: model of the run.
        where: key of `value`, for messages.

    Raises:
        UserError: a mapping has a value for both, or for neither and no default.
    """
    if not isinstance(value, dict):
        return value
    places = {*catalogue.names("datasets"), *catalogue.names("models")}
    if value and set(value) <= {*places, "default"} and set(value) & places:
        hits = [key for key in (dataset, model) if key in value] or ["default"]
        if len(hits) > 1:
            raise UserError(f"{where}: both {dataset} and {model} have a value; remove one of them")
        if hits[0] not in value:
            raise UserError(f"{where}: no value for {dataset} or {model}, and no default")
        return for_run(value[hits[0]], dataset, model, where)
    return {key: for_run(inner, dataset, model, f"{where}.{key}") for key, inner in value.items()}


def preset(section: Any, where: str) -> Any:
    """Return a section overridden by the preset that it names."""
    if not isinstance(section, dict) or not {"preset", "presets"} & set(section):
        return section
    base = {key: value for key, value in section.items() if key not in ("preset", "presets")}
    if "presets" not in section:
        raise UserError(f"{where}.presets: missing, but preset names one of them")
    known = mapping(section["presets"], f"{where}.presets")
    name = str(section.get("preset"))
    if name not in known:
        raise UserError(f"{where}.preset: no preset {name!r}{did_you_mean(name, list(map(str, known)))}")
    return override(base, mapping(known[name], f"{where}.presets.{name}"))


def mapping(value: Any, where: str) -> dict[Any, Any]:
    """Return `value` if it is a mapping, {} if it is None, and refuse anything else."""
    if value is not None and not isinstance(value, dict):
        raise UserError(f"{where}: not a mapping; found {value!r}")
    return value or {}


def with_threat_defaults(kind: type[Settings], section: Any, threat: Mapping[Any, Any]) -> Any:
    """Add the threat model as defaults to `section` if it is an attack, and to every attack inside it."""
    if not isinstance(section, dict):
        return section
    inside = {
        name: with_threat_defaults(field.annotation, section[name], threat)
        for name, field in kind.model_fields.items()
        if name in section and isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
    }
    under = {key: value for key, value in threat.items() if key in kind.model_fields} if issubclass(kind, Ball) else {}
    return {**under, **section, **inside}


class Params:
    """The settings that one stage declared, for one run. Reading any other key is an error.

    `declared` are the keys under `params:` of the stage in dvc.yaml, so a stage cannot read what DVC does not track.

    Example:
        >>> params = Params(read(), ["methods.trades", "train", "threat"], "cifar10", "resnet18")
        >>> hyper, train = params.method("methods.trades", trades.Hyper)
    """

    def __init__(self, raw: dict[str, Any], declared: list[str], dataset: str = "", model: str = "") -> None:
        self.raw, self.declared, self.dataset, self.model = raw, declared, dataset, model

    @classmethod
    def recorded(cls, text: Mapping[str, Any], dataset: str, model: str) -> "Params":
        """Return the settings that a network was made with, from the `as_text` that its file carries."""
        raw: dict[str, Any] = {}
        for key, value in text.items():
            *outer, last = key.split(".")
            section = raw
            for part in outer:
                section = section.setdefault(part, {})
            section[last] = value
        return cls(raw, list(text), dataset, model)

    def get(self, key: str, kind: type[S]) -> S:
        """Return a section as settings.

        Args:
            key: key of the section, with dots: `attack`, `methods.at`.
            kind: settings class to check it with.

        Raises:
            UserError: the section is missing, not declared or has mistakes.
        """
        problems = Problems()
        found = fill(kind, self._section(key, kind), key, problems)
        if found is None:
            raise UserError("\n".join(problems))
        return found

    def method(self, key: str, kind: type[S]) -> tuple[S, Train]:
        """Return a method's settings and its training schedule.

        Under the protocol `paper` the method's `train:` overrides the common one. Under `matched` the common one holds,
        and the method's `matched:` overrides its settings. The `train:` inside may hold a learning rate and a weight
        decay that were tuned for the method, and a weight average if the method is one (`average`, `select`). It may
        hold nothing else. The protocol speaks of methods: the `train:` of `layers.update` always overrides.

        Args:
            key: key of the method's section, as `update_key` returns it, or `layers.update`.
            kind: settings class of the method.

        Raises:
            UserError: a section is missing, not declared or has mistakes, or the method begins after its last epoch.
        """
        section = dict(mapping(self._section(key, kind), key))
        own = mapping(section.pop("train", None), f"{key}.train")
        base = mapping(self._section("train", Train), "train")
        compared = key.startswith("methods.")
        common = dict(mapping(section.pop("matched", None) if compared else None, f"{key}.matched"))
        tuned = mapping(common.pop("train", None), f"{key}.matched.train")
        problems, matched = Problems(), compared and base.get("protocol") == "matched"
        for name in tuned.keys() - set(OWN_UNDER_MATCHED) if matched else ():
            allowed = ", ".join(OWN_UNDER_MATCHED)
            problems.append(f"{key}.matched.train.{name}: common to all methods; allowed here: {allowed}")
        hyper = fill(kind, override(section, common) if matched else section, key, problems)
        where = f"{key}.matched.train" if matched and tuned else f"{key}.train"
        train = fill(Train, {**base, **(tuned if matched else own)}, where, problems)
        if train is not None and isinstance(hyper, DelayedSettings) and hyper.begin > train.epochs:
            problems.append(f"{key}.begin: {hyper.begin}, but it is trained for {train.epochs} epochs")
        if hyper is None or train is None or problems:
            raise UserError("\n".join(problems))
        return hyper, train

    def role(self, role: str) -> str:
        """Return the method that plays `natural`, `robust` or `teacher`."""
        return role if role == "natural" else str(self._raw(f"roles.{role}"))

    def as_text(self) -> dict[str, Any]:
        """Return the declared keys with their values as written, for the header of a weights file."""
        return {key: self._raw(key) for key in self.declared}

    def _section(self, key: str, kind: type[Settings]) -> Any:
        section = for_run(preset(self._raw(key), key), self.dataset, self.model, key)
        if "threat" in self.declared:
            threat = mapping(for_run(self._raw("threat"), self.dataset, self.model, "threat"), "threat")
            section = with_threat_defaults(kind, section, threat)
        shared = {name: for_run(self._raw(name), self.dataset, self.model, name) for name in kind.top_level}
        if not isinstance(section, dict):
            return section
        if doubled := set(shared) & set(section):
            raise UserError("\n".join(f"{key}.{name}: belongs at the top of the file" for name in sorted(doubled)))
        return {**section, **shared}

    def _raw(self, key: str) -> Any:
        if key not in self.declared:
            raise UserError(f"{key}: this stage reads it but does not declare it under params: in dvc.yaml")
        value: Any = self.raw
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise UserError(f"{key}: missing")
            value = value[part]
        return value
