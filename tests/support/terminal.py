"""A terminal of a given width: what a person sees of a program, or of a view that rich draws."""

import io
import os
import pty
import re
import subprocess
import termios
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyte
import pyte.modes
from rich.console import Console

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
HEIGHT = 50


def screen(written: str, width: int, height: int = 500) -> list[str]:
    """Return the lines that a terminal shows after this was written to it."""
    shown = pyte.Screen(width, height)
    shown.set_mode(pyte.modes.LNM)
    pyte.Stream(shown).feed(written)
    return "\n".join(line.rstrip() for line in shown.display).rstrip("\n").split("\n")


def console(width: int, height: int = HEIGHT) -> Console:
    """Return a console that writes to a terminal of this size; `seen` reads it."""
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, emoji=False, markup=False)


def seen(console: Console) -> list[str]:
    """Return the lines that the terminal of a console shows now."""
    assert isinstance(console.file, io.StringIO)
    return screen(console.file.getvalue(), console.width)


def drawn(view: object, width: int) -> list[str]:
    """Return the lines of a printed view."""
    on = console(width)
    on.print(view)
    return seen(on)


def ran(words: Sequence[str | Path], width: int, folder: Path) -> tuple[int, list[str]]:
    """Run a command on a pseudo-terminal; return its exit code and what the terminal shows at the end."""
    main, own = pty.openpty()
    termios.tcsetwinsize(own, (HEIGHT, width))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    env |= {"TERM": "xterm-256color"}
    process = subprocess.Popen([*map(str, words)], cwd=folder, env=env, stdin=own, stdout=own, stderr=own)
    os.close(own)
    said = bytearray()
    try:
        while part := os.read(main, 1 << 16):
            said += part
    except OSError:  # EIO: nothing holds the other end any longer
        pass
    os.close(main)
    return process.wait(timeout=60), screen(said.decode(errors="replace"), width)


def cells(lines: Iterable[str]) -> list[list[str]]:
    """Return the cells of each line of printed tables, which two or more spaces part."""
    return [re.split(r" {2,}", line.strip()) for line in lines]


def broken(lines: Sequence[str], parts: Iterable[str]) -> set[str]:
    """Return the parts that stand whole on no line."""
    return {part for part in parts if not any(part in line for line in lines)}
