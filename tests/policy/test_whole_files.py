"""A test that kills its worker, or waits for ever, fails by its name; every other test runs."""

import itertools
import re
import subprocess
import sys

import pytest

CONFTEST = """
from tests.support.whole_files import WholeFiles

def pytest_xdist_make_scheduler(config, log):
    return WholeFiles(config, log)
"""
FILE = """
import os, signal, time
import pytest

@pytest.mark.parametrize("k", range({tests}))
def test_it(k):
    if k == {last}:
        {ends}
"""
KILLED = "os.kill(os.getpid(), signal.SIGSEGV)"
CASES = [(*case, KILLED) for case in itertools.product((1, 2), (1, 6), (0, 3))] + [(2, 6, 3, "time.sleep(600)")]


@pytest.mark.parametrize(("workers", "tests", "where", "ends"), CASES)
def test_one_fails_and_all_others_run(tmp_path, workers, tests, where, ends):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for number in range(6):
        code = ends if number == where else "pass"
        (tmp_path / f"test_{number}.py").write_text(FILE.format(tests=tests, last=tests // 2, ends=code))
    wait = ["-o", "faulthandler_timeout=2", "-o", "faulthandler_exit_on_timeout=true"]
    command = [sys.executable, "-m", "pytest", "-n", str(workers), "-rf", "-c", "/dev/null", "--rootdir", "."]
    command += [*wait, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert re.search(rf"^FAILED \S*test_{where}\.py::test_it\[{tests // 2}\]", done.stdout, re.M), done.stdout
    assert f"1 failed, {6 * tests - 1} passed" in done.stdout
    assert done.returncode == 1
