"""Set up the device of a stage so that a second run gives the same bits."""

import os
import shutil

import torch

from cure.errors import UserError
from cure.runtime.memory import keep_freed_memory
from cure.settings.sections import RunSettings

WITHOUT_GPU = "CURE_WITHOUT_GPU"
"""`cure grid` sets this variable for stages that run on a machine without a GPU; dvc.yaml marks them `gpu: false`."""
_PORTABLE = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}


def missing_device(run_settings: RunSettings) -> str | None:
    """Return why `run.device` is not available here and what to do, or None if it is available."""
    if run_settings.device != "cuda" or torch.cuda.is_available() or os.environ.get(WITHOUT_GPU):
        return None
    return (
        "run.device is cuda, but PyTorch finds no CUDA device on this machine. Run the pipeline where there is one; "
        "or, on a laptop, use the same commands inside quickstart/; or set run.device to cpu in params.yaml"
    )


def set_up(run_settings: RunSettings) -> torch.device:
    """Fix threads, kernels and instruction set; return the device. Raises UserError without device or compiler."""
    if problem := missing_device(run_settings):
        raise UserError(problem)
    if run_settings.compile and not shutil.which(os.environ.get("CXX", "g++")):
        raise UserError(
            "run.compile: torch.compile needs a C++ compiler, and $CXX (or g++) was not found; install it or set the "
            "key to false"
        )
    if run_settings.cpu_isa == "avx2":  # the libraries read these at their first call, which comes later
        os.environ.update(_PORTABLE)
    torch.set_num_threads(run_settings.threads)
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = run_settings.tf32
    if run_settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.set_deterministic_debug_mode("error")
        # filling costs time, and this code does not read uninitialised memory
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    cuda = run_settings.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if cuda else "cpu")
