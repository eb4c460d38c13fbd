"""What made a cell: a sidecar that only the report reads, so that another GPU's name re-runs nothing.

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


def facts(run: RunSettings, device: torch.device) -> dict[str, Any]:
    """Device, PyTorch, CUDA, threads and the settings that decide roundings."""
    gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if gpu else f"CPU ({platform.machine()})",
        "torch": torch.__version__.split("+")[0],
        "cuda": torch.version.cuda if gpu else None,
        "threads": run.threads,
        "processes": distributed.count(),
        "deterministic": run.deterministic,
        "cpu_isa": run.cpu_isa,
        "layout": run.layout,
        "precision": run.precision,
        "tf32": run.tf32,
        "compile": run.compile,
        "graphs": run.graphs,
    }


def write(path: Path, run: RunSettings, device: torch.device, **more: Any) -> None:
    """Write the sidecar of one stage of one cell; on CUDA stderr hears of the most memory that was held."""
    if device.type == "cuda":  # not in the file, since a run that was resumed may have held less
        print(f"peak GPU memory: {torch.cuda.max_memory_allocated(device) // 2**20} MiB", file=sys.stderr)
    write_text(path, json.dumps(facts(run, device) | more, indent=1, sort_keys=True) + "\n")
