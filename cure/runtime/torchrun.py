"""Run a stage in `run.processes` processes of this machine, started by torchrun, each on its own GPU (or on the CPU).

Gradients are averaged by torch.distributed directly. DistributedDataParallel averages only those of .backward(), by
hooks, but CURE's mask, AWP's perturbation and LAS-AT's reward use the mean over ranks of separate gradients.
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

PATIENCE = timedelta(days=7)  # ranks wait for the first, which may wait for a lock; torchrun ends all if one dies


def set_up(run_settings: RunSettings) -> torch.device:
    """Return the device of this rank, after joining the group of all ranks.

    With several processes, the first call replaces this process by torchrun, which starts them. Raises UserError if
    there are more processes than GPUs.
    """
    if run_settings.processes > 1 and "LOCAL_RANK" not in os.environ:
        _refuse(run_settings)  # before torchrun starts, so that the message is printed once and without its report
        os.environ.setdefault("OMP_NUM_THREADS", str(run_settings.threads))
        many = f"--nproc-per-node={run_settings.processes}"
        os.execv(sys.executable, [sys.executable, "-m", "torch.distributed.run", "--standalone", many, *sys.argv])
    where = device.set_up(run_settings)
    if "LOCAL_RANK" not in os.environ:
        return where
    if where.type == "cuda":
        where = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(where)
    backend = "cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo"  # flags are on the host
    group.init_process_group(backend, timeout=PATIENCE)
    atexit.register(group.destroy_process_group)
    return where


def _refuse(run_settings: RunSettings) -> None:
    """Raise UserError for a missing device, for fewer GPUs than processes, or for SyncBatchNorm without a GPU."""
    if problem := device.missing_device(run_settings):
        raise UserError(problem)
    there = torch.cuda.device_count() if run_settings.device != "cpu" else 0
    if 0 < there < run_settings.processes:
        raise UserError(
            f"run.processes: {run_settings.processes}; this machine has {there} CUDA devices, and each takes one"
        )
    if run_settings.sync_batchnorm and not there:
        raise UserError("run.sync_batchnorm: PyTorch has SyncBatchNorm on CUDA only; set it to false on a CPU")


@contextmanager
def alone(lock: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Hold the lock on the first rank; the other ranks enter the block after it is acquired."""
    with lock() if distributed.rank() == 0 else nullcontext():
        distributed.wait()
        yield


def synchronised(nets: Networks, run_settings: RunSettings) -> Networks:
    """Convert batch norms to SyncBatchNorm if `run.sync_batchnorm` is set and there are several processes."""
    if not run_settings.sync_batchnorm or run_settings.processes == 1:
        return nets
    synced: Networks = nn.SyncBatchNorm.convert_sync_batchnorm(nets)  # type: ignore[no-untyped-call]
    return synced
