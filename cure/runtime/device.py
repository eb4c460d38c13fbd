"""Where a stage computes, set up so that a second run gives the same bits."""

import os
import shutil

import torch

from cure.errors import UserError
from cure.runtime.memory import keep_freed_memory
from cure.settings.sections import RunSettings

WITHOUT_GPU = "CURE_WITHOUT_GPU"
"""Set by `cure grid` where it runs a stage on a machine without a GPU because dvc.yaml says that it needs none."""
_PORTABLE = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}


def missing_device(run_settings: RunSettings) -> str | None:
    """Why `run.device` cannot be had here and what to do, or None."""
    if run_settings.device != "cuda" or torch.cuda.is_available() or os.environ.get(WITHOUT_GPU):
        return None
    return (
        "run.device is cuda, but PyTorch finds no CUDA device on this machine. Run the pipeline where there is one; "
        "or, on a laptop, use the same commands inside quickstart/; or set run.device to cpu in params.yaml"
    )


def set_up(run_settings: RunSettings) -> torch.device:
    """Fix threads, kernels and instruction set, and return the device; refuses if it is not there."""
    if problem := missing_device(run_settings):
        raise UserError(problem)
    if run_settings.compile and not shutil.which(os.environ.get("CXX", "g++")):
        raise UserError(
            "run.compile: torch.compile needs a C++ compiler, and g++ is not here; install it or set it to false"
        )
    if run_settings.cpu_isa == "avx2":  # read by the libraries at their first call, which is still to come
        os.environ.update(_PORTABLE)
    torch.set_num_threads(run_settings.threads)
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = run_settings.tf32
    if run_settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.set_deterministic_debug_mode("error")
        # nothing here reads what nobody wrote
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    cuda = run_settings.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if cuda else "cpu")
