"""A training of four epochs on random images, as the training loop receives it."""

import dataclasses
from typing import Any

import torch

from cure import catalogue
from cure.core.method import Networks
from cure.data.loader import Split
from cure.settings.base import Search
from cure.settings.params import Params
from cure.settings.sections import Fit, RunSettings
from cure.storage.checkpoint import build
from cure.storage.paths import Run
from cure.training.job import Job
from cure.training.loop import Task

RUN = RunSettings(
    device="cpu",
    threads=1,
    deterministic=False,
    cpu_isa="native",
    layout="channels_last",
    precision="fp32",
    tf32=False,
    compile=False,
    graphs=False,
    processes=1,
    sync_batchnorm=False,
)
SEARCH = Search(eps=0.1, step=0.05, steps=2, start="uniform", clip_start=True)


def split(seed: int, n: int) -> Split:
    draws = torch.Generator().manual_seed(seed)
    return Split(
        torch.randint(256, (n, 1, 8, 8), generator=draws).to(torch.uint8), torch.randint(3, (n,), generator=draws)
    )


def task(**changes: Any) -> Task:
    """Return TRADES for four epochs of three batches, from one seed."""
    torch.manual_seed(0)
    settings = {
        "epochs": 4,
        "batch": 8,
        "lr": 0.05,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 5e-4,
        "drops": {3: 0.1},
        "lr_schedule": "drops",
        "select": "best",
        "average": None,
        "average_images": 16,
        "validate_every": 1,
        "validate_attack": SEARCH.model_dump(),
        "snapshots": [],
    }
    entry = catalogue.entry("methods", "trades")
    attack = SEARCH.model_copy(update={"start": "gaussian", "sigma": 0.001})
    job = Job(
        stage="update",
        run=Run("digits", "small", "trades", 0),
        params=of_run(RUN),
        method=entry.METHOD,
        hyper=entry.Hyper(beta=6, forward_again=False, attack=attack),
        fit=Fit(**(settings | changes)),
    )
    nets = Networks(build("small", {"width": 4}, 1, 3), {}, {})
    return Task(job, nets, split(1, 20), split(2, 12), torch.device("cpu"))


def of_run(run_settings: RunSettings) -> Params:
    """Return the part of params.yaml that the loop reads."""
    augment = {"padding": "zero", "crop": 1, "flip": True}
    raw = {"run": run_settings.model_dump(), "datasets": {"digits": {"augment": augment}}}
    return Params(raw, ["run", "datasets.digits.augment"], "digits", "small")


def with_run_settings(work: Task, **changes: Any) -> Task:
    """Return the same training with other run settings."""
    job = dataclasses.replace(work.job, params=of_run(RUN.model_copy(update=changes)))
    return dataclasses.replace(work, job=job)


def with_method(work: Task, **slots: Any) -> Task:
    """Return the same training with other slots of the method."""
    job = dataclasses.replace(work.job, method=dataclasses.replace(work.job.method, **slots))
    return dataclasses.replace(work, job=job)
