"""Record software and device of a run in a provenance file, which only the report reads: another GPU re-runs nothing.

It holds no time, no revision and no machine name. So the same lock file on the same kind of device writes the same
bytes, and dvc.lock does not change.
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
    """Return device, PyTorch, CUDA, threads, processes and the settings that decide rounding."""
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
    """Write the provenance file of one stage of one run; on CUDA, print the peak GPU memory to stderr."""
    if device.type == "cuda":  # not in the file, since a resumed run may have used less
        print(f"peak GPU memory: {torch.cuda.max_memory_allocated(device) // 2**20} MiB", file=sys.stderr)
    write_text(path, json.dumps(facts(run_settings, device) | more, indent=1, sort_keys=True) + "\n")
