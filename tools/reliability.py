"""Write docs/reliability.md: count the tests marked `reliability(topic)` by topic, and those that passed.

`make reliability` runs these tests and writes the page; tests/policy/test_reliability_page.py compares it with the
tests that pytest collects.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

TOPICS = {  # topic -> (description of the attempts, description of their success)
    "moments": ("moments at which a stage is killed", "resumed to the same bytes"),
    "second process": ("second processes on one run or download", "waited, never two at once"),
    "faults of disk and memory": ("disk-full and out-of-memory faults", "reported, nothing half-written"),
    "wrong inputs": ("wrong inputs", "reported by name, exit code 2"),
    "flags": ("networks built to raise a flag", "raised it"),
}
PAGE = """# Reliability

`make reliability` runs these tests, counts them and writes this page. All of them run on CPUs. No failure of a
GPU and no power loss is among them. The last row counts faults that were detected, and says nothing about false
alarms.

| what was tested | cases | expected | cases that met it |
|---|---:|---|---:|
{lines}

- **Killed.** SIGKILL, SIGTERM and Ctrl-C at seeded moments, among them half-written files and the instants before and
  after a rename, during update (CURE, ACT, LAS-AT), revise (RiFT), attack and corrupt. Training resumes at its last
  saved epoch, an attack at its last batch, corrupt at its last severity. tests/pipeline/test_crash.py
- **Second process.** A run is locked while it is trained or attacked; another process prints its owner and waits,
  even if the `dvc` that started the first was killed. tests/pipeline/test_second.py
- **Disk and memory.** A full disk, a read-only folder, a file that vanishes: exit code 2, old results unchanged.
  Out of memory, training suggests a batch size; an evaluation halves its batch, and reports that on stderr and in the
  result.
  tests/pipeline/test_disk.py, tests/unit/runtime/test_memory.py
- **Wrong inputs.** Settings, command lines, checkpoints, images, downloads, and random edits of params.yaml (counted as
  one). Pickled code is never run; a program is run only if it is trusted. tests/pipeline/test_bad_input.py,
  tests/unit/evaluation/standalone/test_command_wrong_inputs.py and others
- **Flags.** Randomness, zero or masked gradients, a clipped input, attacks that do not converge or have no effect,
  black box beating white box, PGD-20 stronger than AutoAttack, robust above clean, predictions that depend on the
  batch.
  tests/unit/evaluation/diagnostics/test_preflight.py,
  tests/unit/evaluation/diagnostics/test_gradient_masking.py

## Determinism

On the CPU, one seed and one number of threads give one dvc.lock: `cure verify RUN` repeats a run in a clean copy
and compares its files with dvc.lock, byte for byte. `run.cpu_isa: avx2` makes newer CPUs round like older ones.

On CUDA, `run.deterministic: true` restricts PyTorch to deterministic kernels (cuBLAS with a fixed workspace), and
an operation without one is an error. Nobody has tested this on a GPU. What to expect there:

- The same GPU model with the same driver, CUDA and PyTorch should repeat its bytes. Set `run.layout` and
  `attack.layout` to a name for that: `probe` picks the faster of two layouts in each run, and they round differently.
- Another GPU model or version chooses other kernels, which round differently, and training amplifies the difference.
- With `run.deterministic: false`, atomic additions may change the last bits from run to run.

Random numbers depend on none of this: order, augmentation and noise are functions of the seed, and evaluation noise is
drawn for each image on the CPU.
"""


def page(tried: Counter[str], held: Counter[str]) -> str:
    """Return the whole page."""
    rows = [f"| {what} | {tried[topic]} | {good} | {held[topic]} |" for topic, (what, good) in TOPICS.items()]
    return PAGE.format(lines="\n".join(rows))


class Ledger:
    """A pytest plugin that counts the marked tests that run and those that pass, also over several processes."""

    def __init__(self, path: Path) -> None:
        self.path, self.tried, self.held = path, Counter[str](), Counter[str]()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Write the topic of every marked test onto its reports; print the counts if pytest only collects."""
        marked = [(item, item.get_closest_marker("reliability")) for item in session.items]
        topics = [(item, marker.args[0]) for item, marker in marked if marker]
        for item, topic in topics:
            item.user_properties.append(("reliability", topic))
        if session.config.option.collectonly:
            print(json.dumps(Counter(topic for _, topic in topics)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a marked test, and whether it passed."""
        for topic in (value for name, value in report.user_properties if name == "reliability"):
            self.tried[str(topic)] += report.when == "setup"
            self.held[str(topic)] += report.when == "call" and report.passed

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the page after a whole run of the tests, in the process that receives all reports."""
        aside = session.config.option.collectonly or hasattr(session.config, "workerinput")
        if exitstatus != pytest.ExitCode.INTERRUPTED and not aside:
            self.path.write_text(page(self.tried, self.held), encoding="utf-8")
