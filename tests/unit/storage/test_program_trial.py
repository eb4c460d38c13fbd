"""TorchScript and torch.export files are programs: refused untrusted, tried in a process of their own where trusted."""

import io
import os
import signal
import subprocess
import threading
import time
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from cure.errors import UserError
from cure.storage.checkpoint import build
from cure.storage.exported_program import Fixed, program_kind, read_program
from cure.storage.external_checkpoint import Loading, Shape, network
from cure.storage.open_checkpoint import open_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated
CPU = torch.device("cpu")


def read(path, *, trust=False, seconds=60, **how):
    loading, example = Loading(trust_code=trust, **how), torch.rand(2, 1, 8, 8)
    return network(open_checkpoint(path), loading, Shape(1, 10), {}, example, seconds).net


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return build("small", {"width": 4}, 1, 10).eval()


@pytest.fixture(scope="module")
def files(net, tmp_path_factory):
    """The network as a program, by kind of file."""
    folder = tmp_path_factory.mktemp("programs")
    torch.jit.trace(net, torch.rand(2, 1, 8, 8)).save(folder / "script.pt")
    rows = torch.export.Dim("n", min=1, max=64)
    program = torch.export.export(net, (torch.rand(3, 1, 8, 8),), dynamic_shapes=({0: rows},))
    torch.export.save(program, folder / "program.pt2")
    return {"TorchScript": folder / "script.pt", "torch.export": folder / "program.pt2"}


@pytest.fixture
def unread(monkeypatch):
    """Fail where PyTorch is asked to load a program."""
    for module in (torch.jit, torch.export):
        monkeypatch.setattr(module, "load", lambda *_, **__: pytest.fail("a program was loaded"))


def with_member(source: Path, path: Path, name: str, content: bytes, called: str | None = None) -> Path:
    """A copy of an archive in which one member has other bytes, and perhaps another name."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for member in old.namelist():
            hit = member.endswith(name)
            new.writestr(member.replace(name, called or name) if hit else member, content if hit else old.read(member))
    return path


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("kind", ["TorchScript", "torch.export"])
def test_a_program_that_is_not_trusted_is_refused_unread(files, unread, kind):
    with pytest.raises(UserError) as refused:
        read(files[kind])
    assert f"a {kind} file is a program: loading it runs its code" in str(refused.value)
    assert "--trust-code (Python: trust_code=True)" in str(refused.value)


class Malicious:
    """Calls something when it is unpickled."""

    def __init__(self, call, *words) -> None:
        self.call, self.words = call, words

    def __reduce__(self):
        return self.call, self.words


def pickled(held) -> bytes:
    out = io.BytesIO()
    torch.save(held, out)
    return out.getvalue()


HIDDEN = {  # member of a torch.export file -> its name in a file that wants to be taken for something else
    "sample_inputs/model.pt": "sample_inputs/model.pt",
    "models/model.json": "models/model.JSON",
    "/models/model.json": "/MODELS/model.json",
    "weights/model_weights_config.json": "weights/model_weights_config.PT",
}


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("member", HIDDEN)
def test_no_name_of_a_member_makes_a_program_load(files, unread, tmp_path, member):
    trap = pickled(Malicious(os.mkdir, str(tmp_path / "ran")))
    path = with_member(files["torch.export"], tmp_path / "evil.pt2", member, trap, HIDDEN[member])
    with pytest.raises(UserError, match=r"is a program|not a readable checkpoint"):
        read(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("folder", ["CODE/", "kode/"])
def test_no_name_of_a_folder_makes_a_script_load(files, unread, tmp_path, folder):
    with zipfile.ZipFile(files["TorchScript"]) as old, zipfile.ZipFile(tmp_path / "evil.pt", "w") as new:
        for member in old.namelist():
            new.writestr(member.replace("code/", folder), old.read(member))
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read(tmp_path / "evil.pt")


@pytest.mark.parametrize("kind", ["TorchScript", "torch.export"])
def test_a_trusted_program_is_evaluated_as_it_is(net, files, kind):
    x = torch.rand(5, 1, 8, 8)
    images = x.clone().requires_grad_()
    found = read(files[kind], trust=True)
    torch.testing.assert_close(found(images), net(x))
    assert torch.autograd.grad(found(images).sum(), images)[0].abs().sum() > 0
    assert not any(module.training for module in found.modules())


class Endless(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while bool(x.sum() == x.sum()):
            x = x + 0
        return x


@pytest.fixture
def endless(tmp_path, monkeypatch):
    """A program without end; and the processes that were started."""
    torch.jit.script(Endless()).save(tmp_path / "endless.pt")
    started, start = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **how: started.append(start(*words, **how)) or started[-1])
    return tmp_path / "endless.pt", started


@pytest.mark.reliability("wrong inputs")
def test_a_program_without_end_is_ended_at_the_limit(endless):
    path, started = endless
    with pytest.raises(UserError, match=r"took more than 0.5 s to load and to run once; preflight.program_seconds"):
        read(path, trust=True, seconds=0.5)
    assert [child.poll() for child in started] == [-signal.SIGKILL]


@pytest.mark.reliability("wrong inputs")
def test_a_program_without_end_is_ended_by_ctrl_c(endless):
    path, started = endless
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        read(path, trust=True, seconds=60)
    assert time.monotonic() - begun < 30
    assert [child.poll() for child in started] == [-signal.SIGKILL]


@pytest.mark.reliability("wrong inputs")
def test_a_program_that_exits_with_success_is_refused(files, tmp_path):
    path = with_member(
        files["torch.export"], tmp_path / "evil.pt2", "sample_inputs/model.pt", pickled(Malicious(os._exit, 0))
    )
    with pytest.raises(UserError, match=r"the program ended its process before it had run once \(exit code 0\)"):
        read(path, trust=True)


@pytest.mark.reliability("wrong inputs")
def test_what_its_process_cannot_read_is_said_and_not_read_here(files, unread, tmp_path):
    path = with_member(files["torch.export"], tmp_path / "cut.pt2", "models/model.json", b'{"graph_module": {"gra')
    with pytest.raises(UserError, match=r"cut.pt2: not a readable torch.export file \("):
        read(path, trust=True)


JSON = {
    "nothing": b"",
    "half": b'{"graph_module": {"gra',
    "a list": b"[]",
    "null": b"null",
    "no keys": b"{}",
    "a number": b"3",
    "other bytes": bytes(range(128, 256)),
    "brackets without end": b"[" * 100_000,
}


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("member", ["models/model.json", "weights/model_weights_config.json"])
@pytest.mark.parametrize("kind", JSON)
def test_wrong_json_inside_is_one_sentence(files, tmp_path, member, kind):
    path = with_member(files["torch.export"], tmp_path / "odd.pt2", member, JSON[kind])
    with pytest.raises(UserError, match=r"odd.pt2: not a readable torch.export file \(") as refused:
        read_program(path, "torch.export", CPU)
    assert "\n" not in str(refused.value)


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("content", [b"", b"def forward(self", bytes(range(128, 256))])
def test_wrong_code_inside_is_one_sentence(tmp_path, content):
    torch.jit.script(Endless()).save(tmp_path / "script.pt")
    with zipfile.ZipFile(tmp_path / "script.pt") as archive:
        name = next(name for name in archive.namelist() if name.endswith(".py"))
    path = with_member(tmp_path / "script.pt", tmp_path / "odd.pt", name.partition("/")[2], content)
    with pytest.raises(UserError, match=r"odd.pt: not a readable TorchScript file \(") as refused:
        read_program(path, "TorchScript", CPU)
    assert "\n" not in str(refused.value)


def test_a_frozen_program_has_no_mode_and_is_in_eval_mode(net, tmp_path):
    torch.jit.save(
        torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval())), tmp_path / "a.pt"
    )
    found = Fixed(read_program(tmp_path / "a.pt", "TorchScript", CPU), "")
    assert not found.train().training
    assert found(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_of_a_program_there_is_one(files):
    with pytest.raises(UserError, match=r"--key ema: .*script.pt has only one network; leave --key out"):
        read(files["TorchScript"], trust=True, key="ema")


def test_files_of_older_versions_of_torch_export_are_programs_too(tmp_path):
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
    assert program_kind(tmp_path / "old.pt2") == "torch.export"
