"""Draw the output of a command on a terminal: `python -m tools.terminal_picture FILE.svg COMMAND ...`.

The picture shows the command; docs/terminal.svg was drawn at the root after a run of the quickstart.
"""

import fcntl
import os
import pty
import shlex
import struct
import sys
import termios
from io import StringIO
from itertools import groupby
from pathlib import Path

import pyte
import pyte.screens
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROWS, COLUMNS = 200, 100
COLOURS = {"brown": "yellow"}  # names of pyte -> names of rich


def screen(command: list[str]) -> pyte.Screen:
    """Run the command on a pseudo-terminal; return the screen after it ends."""
    shown = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(shown)
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    while True:
        try:
            output = os.read(terminal, 65536)
        except OSError:  # the program has ended
            break
        if not output:
            break
        stream.feed(output)
    os.waitpid(child, 0)
    return shown


def style(char: pyte.screens.Char) -> str:
    """Return the style of a character in the notation of rich."""
    colour = "" if char.fg == "default" else COLOURS.get(char.fg, char.fg.replace("bright", "bright_"))
    return f"{'bold ' * char.bold}{colour}".strip()


def text(shown: pyte.Screen) -> Text:
    """Return the text of a screen with its colours, without empty lines at the end."""
    lines = []
    for row in range(ROWS):
        chars = [shown.buffer[row][column] for column in range(COLUMNS)]
        line = Text.assemble(*(("".join(char.data for char in same), how) for how, same in groupby(chars, style)))
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return Text("\n").join(lines)


def picture(drawn: Text, title: str) -> str:
    """Return an SVG that does not load a font from the network."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print(drawn, soft_wrap=True)
    start, _, rest = CONSOLE_SVG_FORMAT.partition("    @font-face {{")
    style = rest[rest.index("    .{unique_id}-matrix") :].replace("Fira Code, ", "")
    return console.export_svg(title=title, code_format=start + style, unique_id="terminal")


def main() -> None:
    """Run the command and write the picture."""
    path, *command = sys.argv[1:]
    drawn = Text.assemble("$ " + shlex.join(command) + "\n", text(screen(command)))
    Path(path).write_text(picture(drawn, Path(command[0]).name), encoding="utf-8")


if __name__ == "__main__":
    main()
