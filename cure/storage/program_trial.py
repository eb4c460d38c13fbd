"""Load and run a trusted program once in a separate process, and only then in this one.

Inside PyTorch's interpreter no signal reaches Python, so a program that never ends could not be interrupted here. Its
own process can be ended by the time limit and by Ctrl-C.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from cure.errors import UserError
from cure.storage.exported_program import Fixed, read_program
from cure.storage.files import sha256


def trusted_program(path: Path, kind: str, example: Tensor, seconds: float) -> Fixed:
    """Load a program that the user trusts, after a separate process has loaded and run it once.

    Args:
        path: the file.
        kind: the result of `exported_program.program_kind`.
        example: images (n, c, h, w), on the device of the evaluation.
        seconds: time limit of the first loading and the first forward pass together.

    Returns:
        The program on the device of `example`.

    Raises:
        UserError: the program cannot be read, exceeds the limit, or ends its process.
    """
    _try(path, kind, example, seconds)
    return Fixed(read_program(path, kind, example.device), sha256(path))


def _try(path: Path, kind: str, example: Tensor, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        told = [str(path), kind, str(example.device), json.dumps(list(example.shape)), str(report)]
        # -P: a module in the working folder must not replace one of cure's
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "cure.storage.program_trial", *told],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # processes that the program starts end with it
        )
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise UserError(
                f"{path}: the program was ended, since it took more than {seconds:g} s to load and to run once; "
                "preflight.program_seconds in params.yaml sets this limit"
            ) from None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if not report.exists():  # whatever the exit code, since the program may have called exit(0)
            raise UserError(f"{path}: the program ended its process before it had run once (exit code {code})")
        if said := report.read_text():
            raise UserError(said)


def _main(path: str, kind: str, device: str, shape: str, report: str) -> None:
    """Load and run the program; write the reason to the file `report` if it cannot be loaded, else an empty text."""
    said = ""
    try:
        program = Fixed(read_program(Path(path), kind, torch.device(device)), "")
        with torch.no_grad(), suppress(Exception):  # the preflight checks report why a forward pass fails
            program(torch.full(json.loads(shape), 0.5, device=device))
    except UserError as why:
        said = str(why)
    Path(report).write_text(said)


if __name__ == "__main__":
    _main(*sys.argv[1:])
