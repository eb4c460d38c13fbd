"""What made a run: a sidecar that only the report reads, so that another GPU's name re-runs nothing.

It holds no time, no revision and no machine name: the same lock file on the same kind of device writes the same
bytes, and so the same dvc.lock.
"""

import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from cure.runtime import distributed
from cure.settings.sections import RunSettings
from cure.storage.files import write_text


def facts(run_settings: RunSettings, device: torch.device) -> dict[str, Any]:
    """Device, PyTorch, CUDA, threads and the settings that decide roundings."""
    gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if gpu else f"CPU ({platform.machine()})",
        "torch": torch.__version__.split("+")[0],
        "cuda": torch.version.cuda if gpu else None,
        "threads": run_settings.threads,
        "processes": distributed.count(),
        "deterministic": run_settings.deterministic,
        "cpu_isa": run_settings.cpu_isa,
        "layout": run_settings.layout,
        "precision": run_settings.precision,
        "tf32": run_settings.tf32,
        "compile": run_settings.compile,
        "graphs": run_settings.graphs,
    }


def write(path: Path, run_settings: RunSettings, device: torch.device, **more: Any) -> None:
    """Write the sidecar of one stage of one run; on CUDA stderr hears of the most memory that was held."""
    if device.type == "cuda":  # not in the file, since a run that was resumed may have held less
        print(f"peak GPU memory: {torch.cuda.max_memory_allocated(device) // 2**20} MiB", file=sys.stderr)
    write_text(path, json.dumps(facts(run_settings, device) | more, indent=1, sort_keys=True) + "\n")
