"""`cure download`, from a server on this machine that stands in for Zenodo."""

import contextlib
import hashlib
import http.server
import io
import tarfile
import threading
import time
from typing import ClassVar

import numpy as np
import pytest

from cure.data import cifar_c, published_corruptions
from cure.data import download as fetching
from cure.data.cifar_c import download
from cure.data.published_corruptions import Archive
from cure.errors import UserError
from cure.storage import resume
from cure.storage.files import md5sum

NAMES = ("contrast", "fog", "labels")


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `content`; notes the ranges asked for; may ignore them, or break off after so many bytes."""

    content = b""
    ranged, stop = True, None
    length: ClassVar[str | None] = None  # what it says, if not the truth
    drip: ClassVar[float] = 0.0  # seconds between two bytes
    slow_headers = False
    asked: ClassVar[list]
    gate: ClassVar[threading.Event]

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranged else 0
        if start and start >= len(self.content):
            self.send_error(416)
            return
        part = self.content[start:]
        if self.slow_headers:
            self._trickle(b"HTTP/1.0 200 OK\r\nX: " + b"x" * 99)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(part)) if self.length is None else self.length)
        self.end_headers()
        self.gate.wait()
        if self.drip:
            self._trickle(part)
        else:
            self.wfile.write(part[: self.stop])

    def _trickle(self, part):
        with contextlib.suppress(OSError):  # the other side has gone
            for k in range(len(part)):
                self.wfile.write(part[k : k + 1])
                self.wfile.flush()
                time.sleep(self.drip)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    class Mine(Server):
        asked: ClassVar[list] = []
        gate: ClassVar[threading.Event] = threading.Event()

    Mine.gate.set()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mine) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        Mine.url = f"http://127.0.0.1:{running.server_port}/CIFAR-10-C.tar"
        yield Mine
        running.shutdown()
        thread.join()


@pytest.fixture
def archive(server, tmp_path, monkeypatch):
    """A published archive of tiny arrays, on the server and in the table."""
    monkeypatch.setenv("CURE_DOWNLOADS", str(tmp_path / "downloads"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(resume, "FOLDER", tmp_path / "scratch")
    source, md5s = tmp_path / "source", {}
    source.mkdir()
    for k, name in enumerate(NAMES):
        np.save(source / f"{name}.npy", np.full((5000, 2), k, np.uint8))
        md5s[name] = md5sum(source / f"{name}.npy")
    with tarfile.open(tmp_path / "x.tar", "w") as packed:
        packed.add(source, "CIFAR-10-C")
    server.content = (tmp_path / "x.tar").read_bytes()
    found = Archive("cifar10", "CIFAR-10-C", server.url, md5sum(tmp_path / "x.tar"), md5s)
    monkeypatch.setitem(published_corruptions.ARCHIVES, "cifar10", found)
    return found


def left(archive):
    """What lies beside the archive's folder."""
    return sorted(path.name for path in archive.folder.parent.iterdir() if path != archive.folder)


def test_the_arrays_are_fetched_verified_and_put_in_place(archive, server):
    assert download(cifar_c.archive("cifar10-c"))
    assert archive.absent(["contrast", "fog"]) == []
    assert archive.array("fog")[0].tolist() == [1, 1]
    assert left(archive) == ["CIFAR-10-C.lock"]
    assert server.asked == [None]


def test_what_is_there_is_not_fetched_again(archive, server):
    download(archive)
    assert not download(archive)
    assert server.asked == [None]


def test_a_download_that_broke_off_goes_on_where_it_stopped(archive, server):
    server.stop = 700
    with pytest.raises(UserError, match=r"broken off after 700 of .* bytes.*resumes the download"):
        download(archive)
    assert archive.absent(NAMES)
    server.stop = None
    assert download(archive)
    assert server.asked == [None, "bytes=700-"]


def test_a_server_without_ranges_starts_anew(archive, server):
    part = archive.folder.parent / "CIFAR-10-C.tar.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"old" * 10)
    server.ranged = False
    assert download(archive)


def test_a_whole_partial_file_is_taken_as_it_is(archive, server):
    part = archive.folder.parent / "CIFAR-10-C.tar.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(server.content)
    assert download(archive)
    assert server.asked == [f"bytes={len(server.content)}-"]


def test_an_archive_put_there_by_hand_is_taken(archive, server):
    archive.folder.parent.mkdir(parents=True)
    (archive.folder.parent / "CIFAR-10-C.tar").write_bytes(server.content)
    assert download(archive)
    assert server.asked == []


@pytest.mark.reliability("wrong inputs")
def test_another_archive_is_refused_and_deleted(archive, server):
    server.content = server.content[:-1] + b"x"
    with pytest.raises(UserError, match="not the published file"):
        download(archive)
    assert not archive.folder.exists()
    assert left(archive) == ["CIFAR-10-C.lock"]


@pytest.mark.reliability("wrong inputs")
def test_an_archive_with_another_array_is_not_put_in_place(archive, monkeypatch):
    monkeypatch.setitem(archive.md5s, "fog", "0" * 32)
    with pytest.raises(UserError, match="lacks the published fog"):
        download(archive)
    assert not archive.folder.exists()


@pytest.mark.reliability("wrong inputs")
def test_paths_inside_the_archive_cannot_leave_the_folder(archive, server, tmp_path):
    with tarfile.open(tmp_path / "bad.tar", "w") as packed:
        about = tarfile.TarInfo("../../fog.npy")
        about.size = 3
        packed.addfile(about, io.BytesIO(b"abc"))
    server.content = (tmp_path / "bad.tar").read_bytes()
    moved = Archive(archive.dataset, archive.name, archive.url, md5sum(tmp_path / "bad.tar"), archive.md5s)
    with pytest.raises(UserError, match="lacks the published contrast, fog, labels"):
        download(moved)
    assert list(tmp_path.rglob("fog.npy")) == [tmp_path / "source" / "fog.npy"]


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("said", ["abc", "-5", "1e9", "9" * 5000, "0x10"])
def test_a_server_that_says_no_length_is_told(archive, server, said):
    server.length = said
    with pytest.raises(
        UserError, match=rf"the server's Content-Length is '{said[:16]}', which is not a number of bytes"
    ):
        download(archive)
    assert not archive.folder.exists()


def test_a_server_that_does_not_say_how_much_comes_is_taken(archive, server):
    server.length = ""
    assert download(archive)


@pytest.mark.reliability("wrong inputs")
def test_a_trickle_is_given_up_and_its_bytes_are_kept(archive, server, monkeypatch):
    monkeypatch.setattr(fetching, "PATIENCE", 0.3)
    server.drip = 0.01
    with pytest.raises(
        UserError, match=r"only \d+ bytes came in \d s\)\. Connect to a network and run the command again"
    ):
        download(archive)
    assert (archive.folder.parent / "CIFAR-10-C.tar.part").stat().st_size > 0
    server.drip = 0.0
    assert download(archive)


@pytest.mark.reliability("wrong inputs")
def test_headers_that_trickle_are_given_up_as_well(archive, server, monkeypatch):
    monkeypatch.setattr(fetching, "PATIENCE", 0.2)
    server.slow_headers, server.drip = True, 0.01
    with pytest.raises(UserError, match=r"no answer within 0\.2 s"):
        download(archive)


def test_without_a_terminal_a_line_tells_how_far_a_download_is(archive, server, monkeypatch, capsys):
    monkeypatch.setattr(fetching, "INTERVAL", 0.0)
    server.content += bytes(2**21)
    moved = Archive(archive.dataset, archive.name, archive.url, hashlib.md5(server.content).hexdigest(), archive.md5s)
    assert download(moved)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "CIFAR-10-C.tar: 2 of 2 MiB"
    pace = fetching.Pace("x", 0, 0)
    pace.take(3 * 2**20)
    assert capsys.readouterr().err == "x: 3 MiB\n"


def test_without_a_network_it_says_what_to_do(archive):
    gone = Archive(archive.dataset, archive.name, "http://127.0.0.1:9/x.tar", archive.md5, archive.md5s)
    with pytest.raises(UserError, match=r"cannot be downloaded \(.*refused.*\)\. Connect to a network"):
        download(gone)


def test_offline_it_refuses_without_asking_anybody(archive, server, monkeypatch):
    monkeypatch.setenv("CURE_OFFLINE", "1")
    with pytest.raises(UserError, match=r"\(CURE_OFFLINE is set\).* yourself as .*CIFAR-10-C\.tar \(md5"):
        download(archive)
    assert server.asked == []


def test_a_file_that_lies_there_altered_is_named_and_kept(archive, server):
    archive.folder.parent.mkdir(parents=True)
    tar = archive.folder.parent / "CIFAR-10-C.tar"
    tar.write_bytes(server.content[:-1])
    with pytest.raises(UserError, match=rf"CIFAR-10-C\.tar: truncated or altered \(its md5 is not {archive.md5}\)"):
        download(archive)
    assert tar.exists()
    assert server.asked == []


@pytest.mark.reliability("second process")
def test_a_second_process_waits_and_finds_it_done(archive, server, capsys):
    server.gate.clear()
    first = threading.Thread(target=download, args=(archive,))
    first.start()
    while not server.asked:
        time.sleep(0.001)
    answers = []
    second = threading.Thread(target=lambda: answers.append(download(archive)))
    second.start()
    said = ""
    for _ in range(60_000):  # a minute at most
        if said := capsys.readouterr().err:
            break
        time.sleep(0.001)
    server.gate.set()
    assert said.startswith("download CIFAR-10-C: process ")
    assert said.endswith("waiting until it ends\n")
    for thread in (first, second):
        thread.join()
    assert answers == [False]
    assert server.asked == [None]


def test_other_names_are_refused():
    with pytest.raises(UserError, match="nothing called 'cifar10', did you mean cifar10-c"):
        cifar_c.archive("cifar10")
    assert cifar_c.archive("cifar100-c").name == "CIFAR-100-C"
