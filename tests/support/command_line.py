"""Run the `cure` command in this process."""

from typer.testing import CliRunner

from cure.cli import app
from cure.errors import UserError

FEW = ["--attacks", "clean,pgd20", "--n", "40"]
"""Options that make `cure eval` brief."""


def call(*words):
    """Run the `cure` command; return exit code, standard output, and messages."""
    found = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(found.exception, UserError):
        return 2, found.stdout, str(found.exception)
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.stdout, found.stderr
