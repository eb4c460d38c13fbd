"""One run on several processes of this machine, by torchrun: `run.processes` in params.yaml, each with a GPU.

Gradients are averaged by torch.distributed itself and not by DistributedDataParallel, whose hooks see .backward()
alone: CURE's mask, AWP's perturbation and LAS-AT's reward need the mean over ranks of gradients taken apart.
"""

import atexit
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta

import torch
import torch.distributed as group
from torch import nn

from cure.core.method import Networks
from cure.errors import UserError
from cure.runtime import device, distributed
from cure.settings.sections import RunSettings

PATIENCE = timedelta(days=7)  # of ranks for the first, which may wait for a run; torchrun ends them where one dies


def set_up(run_settings: RunSettings) -> torch.device:
    """The device of this rank, in a group of all; the first to come here is replaced by torchrun, which starts them.

    Refuses more processes than there are GPUs.
    """
    if run_settings.processes > 1 and "LOCAL_RANK" not in os.environ:
        _refuse(run_settings)  # once, and not as torchrun tells of it
        os.environ.setdefault("OMP_NUM_THREADS", str(run_settings.threads))
        many = f"--nproc-per-node={run_settings.processes}"
        os.execv(sys.executable, [sys.executable, "-m", "torch.distributed.run", "--standalone", many, *sys.argv])
    where = device.set_up(run_settings)
    if "LOCAL_RANK" not in os.environ:
        return where
    if where.type == "cuda":
        where = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(where)
    backend = "cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo"  # flags lie on the host
    group.init_process_group(backend, timeout=PATIENCE)
    atexit.register(group.destroy_process_group)
    return where


def _refuse(run_settings: RunSettings) -> None:
    """Refuse what no process could do."""
    if problem := device.missing_device(run_settings):
        raise UserError(problem)
    there = torch.cuda.device_count() if run_settings.device != "cpu" else 0
    if 0 < there < run_settings.processes:
        raise UserError(
            f"run.processes: {run_settings.processes}; this machine has {there} CUDA devices, and each takes one"
        )
    if run_settings.sync_batchnorm and not there:
        raise UserError("run.sync_batchnorm: PyTorch has SyncBatchNorm on CUDA alone; set it to false on a CPU")


@contextmanager
def alone(lock: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """The first rank holds the lock; the others come in when it does."""
    with lock() if distributed.rank() == 0 else nullcontext():
        distributed.wait()
        yield


def synchronised(nets: Networks, run_settings: RunSettings) -> Networks:
    """`nets` with batch statistics over all ranks where `run.sync_batchnorm` asks for it."""
    if not run_settings.sync_batchnorm or run_settings.processes == 1:
        return nets
    synced: Networks = nn.SyncBatchNorm.convert_sync_batchnorm(nets)  # type: ignore[no-untyped-call]
    return synced
