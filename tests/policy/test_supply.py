"""Nothing talks to a network by itself: no import does, and DVC reports nothing home."""

import subprocess
import sys
import tomllib

import pytest
from dvc.config import Config

from tests.support.project import ROOT

EVERYTHING = """
import importlib, pkgutil, sys

def silent(event, found):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto", "urllib.Request"):
        print(event, found, file=sys.stderr)
        sys.exit(9)

sys.addaudithook(silent)
import cure
for module in pkgutil.walk_packages(cure.__path__, "cure."):
    importlib.import_module(module.name)
for name in sys.argv[1:]:
    importlib.import_module(f"stages.{name}")
"""


def listen(code, *words):
    line = [sys.executable, "-c", code, *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_no_import_asks_the_network():
    done = listen(EVERYTHING, *(path.stem for path in (ROOT / "stages").glob("*.py")))
    assert done.returncode == 0, done.stderr


def test_a_connection_would_have_been_seen():
    asking = "\nimport urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')"
    silent = EVERYTHING.split("import cure\n")[0]
    assert listen(silent + asking).returncode == 9


@pytest.mark.parametrize("key", ["analytics", "check_update"])
def test_dvc_neither_reports_nor_asks_for_updates(key):
    assert Config(str(ROOT / ".dvc"), validate=True)["core"][key] is False


def test_the_lock_file_is_the_one_of_the_project_and_names_a_hash_for_every_download():
    locked = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    files = [file for package in locked for file in [*package.get("wheels", []), package.get("sdist")] if file]
    assert len(locked) > 50
    assert [file["url"] for file in files if not file.get("hash", "").startswith("sha256:")] == []
    assert {next(iter(package["source"])) for package in locked} <= {"registry", "editable"}
