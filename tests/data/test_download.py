"""Downloads from a local server that stalls, trickles, cuts, corrupts, or knows no ranges."""

import dataclasses
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from official_files import files_below, write_cifar10_binary, write_mnist
from vae_lib import load_dataset, settings
from vae_lib.checks import LabError
from vae_lib.cli.parser import main
from vae_lib.data import download
from vae_lib.data.download import DataMissing, Remote, fetch
from vae_lib.data.releases import CIFAR10, MNIST

NETWORK = socket.getaddrinfo, socket.socket.connect  # before conftest.py blocks them
CONTENT = np.random.default_rng(0).bytes(600_000)
CUT = 200_000  # bytes, after which something happens
BUDGET = 0.5  # seconds


class Server(ThreadingHTTPServer):
    """Sends `files` by name, as `behaviour` says, which may interrupt it after `cut` bytes.

    `requests` lists (name, Range) of each request.
    """

    daemon_threads, request_queue_size = True, 50

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests, self.behaviour, self.cut, self.over = {}, [], "", CUT, threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def remote(self, name, content=CONTENT):
        self.files[name] = content
        return Remote(f"http://127.0.0.1:{self.server_port}/{name}", hashlib.md5(content).hexdigest())


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name, behaviour, wanted = self.path.strip("/"), self.server.behaviour, self.headers["Range"]
        content, start = self.server.files[name], 0
        self.server.requests.append((name, wanted))
        if wanted and behaviour != "knows no ranges":
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if behaviour == "never answers":
            return self.server.over.wait(20)
        if behaviour == "error":
            return self.send_error(503)
        if behaviour == "sends its headers byte by byte":
            return self.slowly(b"HTTP/1.0 200 OK\r\nX-Long: " + b"x" * 1000)
        if start >= len(content):
            return self.send_error(416)
        if behaviour == "changes a byte":
            content = content[:CUT] + bytes([content[CUT] ^ 1]) + content[CUT + 1 :]
        self.send_response(206 if start else 200)
        if behaviour != "does not say how long":
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + self.server.cut if behaviour in ("cuts", "stalls", "trickles") else len(content)
        self.wfile.write(content[start:end])
        if behaviour == "stalls":
            self.server.over.wait(20)
        if behaviour == "trickles":
            self.slowly(content[end : end + 1000])

    def slowly(self, content):
        for byte in content:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.server.over.wait(0.02):
                return

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A Server, which may be reached; no other host may."""
    monkeypatch.setattr(download, "_waited", 0.0)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)

    def connect(self, address):
        assert address[0] == "127.0.0.1"
        return NETWORK[1](self, address)

    monkeypatch.setattr(socket, "getaddrinfo", NETWORK[0])
    monkeypatch.setattr(socket.socket, "connect", connect)
    server = Server()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder():
    return settings.DATA_DIR / "raw"


def partial(name="set", file="a.bin"):
    """Where the unfinished part of a file lies."""
    return settings.DATA_DIR / f".{name}.unfinished" / f"{file}.part"


def put_partial(content):
    partial().parent.mkdir(parents=True)
    partial().write_bytes(content)


def fails(*arguments, **options):
    """The sentence of the DataMissing of a fetch, and the seconds that it took."""
    start = time.monotonic()
    with pytest.raises(DataMissing) as caught:
        fetch(*arguments, **options)
    sentence = str(caught.value)
    assert str(settings.DATA_DIR) in sentence and "`vae data fetch set` " in sentence and "README" in sentence
    return sentence, time.monotonic() - start


# --- what is kept, and what is asked for ---


def test_files_come_once(server, folder):
    remotes = [server.remote("a.bin"), server.remote("b.bin", CONTENT[:77])]
    for _ in range(2):
        fetch("set", remotes, folder)
    assert files_below(settings.DATA_DIR) == {Path("raw/a.bin"): CONTENT, Path("raw/b.bin"): CONTENT[:77]}
    assert server.requests == [("a.bin", None), ("b.bin", None)]
    (folder / "b.bin").unlink()
    fetch("set", remotes, folder)
    assert len(server.requests) == 3 and (folder / "b.bin").read_bytes() == CONTENT[:77]
    assert not partial().parent.exists()


def test_it_goes_on_after_every_cut(server, folder):
    server.behaviour = "cuts"
    fetch("set", [server.remote("a.bin")], folder)
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=200000-", "bytes=400000-"]


KILLED = """
import sys
from pathlib import Path
from vae_lib.data.download import Remote, fetch
fetch("set", [Remote(*sys.argv[1:3])], Path(sys.argv[3]))
"""


def test_it_goes_on_after_a_killed_process(server, folder):
    remote, server.behaviour = server.remote("a.bin"), "stalls"
    environment = os.environ | {"VAE_DATA_DIR": str(settings.DATA_DIR), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", KILLED, remote.url, remote.md5, folder], env=environment)
    while not (partial().exists() and partial().stat().st_size == CUT) and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    server.behaviour = ""
    fetch("set", [remote], folder)
    assert files_below(settings.DATA_DIR) == {Path("raw/a.bin"): CONTENT}
    assert server.requests[-1] == ("a.bin", "bytes=200000-")


@pytest.mark.parametrize("behaviour", ["knows no ranges", "does not say how long"])
def test_servers_that_can_less(server, folder, behaviour):
    put_partial(b"x" * 1000 if behaviour == "knows no ranges" else CONTENT[:1000])
    server.behaviour = behaviour
    fetch("set", [server.remote("a.bin")], folder)
    assert (folder / "a.bin").read_bytes() == CONTENT and len(server.requests) == 1


def test_a_partial_file_that_is_whole(server, folder):
    put_partial(CONTENT)  # its process was killed before it renamed it
    fetch("set", [server.remote("a.bin")], folder)
    assert files_below(settings.DATA_DIR) == {Path("raw/a.bin"): CONTENT}


def test_a_partial_file_that_is_too_long_is_begun_anew(server, folder):
    put_partial(CONTENT + b"!")
    remote = server.remote("a.bin")
    assert "another file than the released one" in fails("set", [remote], folder)[0]
    assert not files_below(settings.DATA_DIR)
    fetch("set", [remote], folder)
    assert (folder / "a.bin").read_bytes() == CONTENT


def test_a_changed_byte_is_noticed_and_not_kept(server, folder):
    remotes = [server.remote("a.bin", CONTENT[:77]), server.remote("b.bin")]
    server.behaviour = "changes a byte"
    remotes[0] = server.remote("a.bin", CONTENT[: CUT + 1])
    sentence, _ = fails("set", remotes, folder)
    assert f"{remotes[0].url} sent another file than the released one (its md5 is " in sentence
    assert "downloads it" in sentence and not files_below(settings.DATA_DIR)
    server.behaviour = ""
    fetch("set", remotes, folder)
    assert len(files_below(settings.DATA_DIR)) == 2


def test_another_file_of_that_name_is_left_alone(server, folder):
    folder.mkdir(parents=True)
    (folder / "b.bin").write_bytes(b"mine")
    with pytest.raises(LabError, match=r"b.bin is not whole \(its md5 is .*; delete it") as caught:
        fetch("set", [server.remote("a.bin"), server.remote("b.bin")], folder)
    assert type(caught.value) is LabError and (folder / "b.bin").read_bytes() == b"mine" and not server.requests


# --- time ---


@pytest.mark.parametrize(
    ("behaviour", "kept", "why"),
    [
        (
            "stalls",
            CUT,
            r"a.bin stopped at 0.2 of 0.6 MB \(.*\); `vae data fetch set` goes on after the 0.2 MB that came",
        ),
        ("trickles", CUT, r"a.bin stopped at 0.2 of 0.6 MB \(the time is over\); `vae data fetch set` goes on after"),
        ("never answers", 0, r"127.0.0.1:\d+ cannot be reached \(.*\); `vae data fetch set` downloads it"),
        (
            "sends its headers byte by byte",
            0,
            r"127.0.0.1:\d+ cannot be reached \(.*\); `vae data fetch set` downloads it",
        ),
        ("error", 0, "answers 503 Service Unavailable for a.bin; `vae data fetch set` downloads it"),
    ],
)
def test_a_budget_is_kept_and_what_came_too(server, folder, behaviour, kept, why):
    remote, server.behaviour = server.remote("a.bin"), behaviour
    sentence, seconds = fails("set", [remote], folder, seconds=BUDGET)
    assert re.search(why, sentence) and seconds < BUDGET + 2
    assert (partial().stat().st_size if partial().exists() else 0) in range(kept, kept + 100)
    asked = len(server.requests)
    again, seconds = fails("set", [remote], folder, seconds=BUDGET)
    assert again == sentence and seconds < 0.7 and len(server.requests) == asked  # one try a session
    server.behaviour = ""
    fetch("set", [remote], folder)
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert not kept or server.requests[-1][1] is not None


def test_a_session_waits_for_all_datasets_together(server, folder):
    remote, server.behaviour = server.remote("a.bin"), "never answers"
    fails("set", [remote], folder, seconds=1)
    elsewhere = dataclasses.replace(remote, url=remote.url.replace("127.0.0.1", "127.0.0.2"))
    sentence, seconds = fails("set", [elsewhere], folder, seconds=1)
    assert seconds < 0.7 and f"there is no set in {settings.DATA_DIR}; `vae data fetch set` downloads it" in sentence


def test_without_a_budget_silence_ends_a_try(server, folder, monkeypatch):
    monkeypatch.setattr(download, "SILENCE", 0.6)
    remote, server.behaviour = server.remote("a.bin"), "stalls"
    fetch("set", [remote], folder)  # each try brings something
    assert len(server.requests) == 3 and (folder / "a.bin").read_bytes() == CONTENT
    server.files["a.bin"], server.behaviour = CONTENT, "never answers"
    (folder / "a.bin").unlink()
    _, seconds = fails("set", [remote], folder)
    assert seconds < 5


def test_no_time_means_no_try(server, folder):
    put_partial(CONTENT[:CUT])
    sentence, _ = fails("set", [server.remote("a.bin")], folder, seconds=0)
    assert "goes on after the 0.2 MB that came" in sentence and not server.requests
    assert partial().stat().st_size == CUT


def test_a_network_that_drops_packets_costs_seconds(monkeypatch):
    def dropped(*args, **kwargs):
        threading.Event().wait(5)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", dropped)
    start = time.perf_counter()
    assert not download.reachable("example.org", seconds=0.5)
    assert time.perf_counter() - start < 2


# --- processes and disks ---


def test_two_at_once_do_not_write_the_same_file(server, folder):
    remote, server.behaviour = server.remote("a.bin"), "cuts"
    threads = [threading.Thread(target=fetch, args=("set", [remote], folder)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (folder / "a.bin").read_bytes() == CONTENT and len(server.requests) == 3


def test_it_waits_no_longer_for_another_process(server, folder):
    settings.DATA_DIR.mkdir(parents=True)
    with FileLock(settings.DATA_DIR / ".set.lock"):
        sentence, seconds = fails("set", [server.remote("a.bin")], folder, seconds=0.5)
    assert "another process is downloading it" in sentence and 0.3 < seconds < 3 and not server.requests


@pytest.mark.skipif(sys.platform != "linux", reason="needs setrlimit")
def test_a_full_disk_is_no_missing_network(server, folder):
    import resource

    remote, before = server.remote("a.bin"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CUT, before[1]))
    try:
        with pytest.raises(LabError, match=r"cannot be written \(File too large\).*make room there") as caught:
            fetch("set", [remote], folder, seconds=BUDGET)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert type(caught.value) is LabError
    fetch("set", [remote], folder, seconds=BUDGET)
    assert (folder / "a.bin").read_bytes() == CONTENT and server.requests[-1][1] is not None


def test_where_nobody_may_write_nothing_is_fetched(server, folder, monkeypatch):
    def refused(self, *args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refused)
    sentence, _ = fails("set", [server.remote("a.bin")], folder, seconds=BUDGET)
    assert "it cannot be written to (Read-only file system)" in sentence and not server.requests


# --- datasets ---


@pytest.fixture
def mnist(server, lab, tmp_path, monkeypatch):
    """A small MNIST on the server, which load_dataset waits for no longer than BUDGET."""
    monkeypatch.setattr(settings, "PROFILE", dataclasses.replace(settings.PROFILE, network_seconds=BUDGET))
    write_mnist(tmp_path / "served")
    files = {path.name: path.read_bytes() for path in (tmp_path / "served" / "MNIST" / "raw").iterdir()}
    monkeypatch.setattr(MNIST, "remotes", [server.remote(name, content) for name, content in sorted(files.items())])
    return files


def test_a_notebook_does_not_wait_and_the_command_goes_on(server, mnist, lab, capsys):
    server.behaviour, server.cut = "stalls", 100
    start = time.monotonic()
    assert [load_dataset("mnist", split).source for split in ("train", "val", "test")] == ["sample"] * 3
    assert time.monotonic() - start < BUDGET + 1
    out = capsys.readouterr().out
    assert out.count("the embedded sample") == 1 and "`vae data fetch mnist`" in out and not (lab / "MNIST").exists()
    server.behaviour = ""
    assert main(["data", "fetch", "mnist"]) == 0
    assert "mnist: fetched, 80 images in " in capsys.readouterr().out
    asked = len(server.requests)
    assert main(["data", "fetch", "mnist"]) == 0 and "is there already" in capsys.readouterr().out
    assert load_dataset("mnist", "test").source == "real" and len(server.requests) == asked
    assert {path.name: path.read_bytes() for path in (lab / "MNIST" / "raw").iterdir()} == mnist


def test_in_the_lab_it_is_fetched_on_first_use(server, mnist, lab):
    assert load_dataset("mnist", "test").source == "real"
    load_dataset("mnist", "train")
    assert len(server.requests) == 4 and {path.name for path in lab.iterdir() if path.is_dir()} == {"MNIST", "cache"}


def test_cifar10_is_fetched_and_unpacked(server, lab, tmp_path, monkeypatch, capsys):
    write_cifar10_binary(tmp_path / "served")
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "served" / "cifar-10-batches-bin", "cifar-10-batches-bin")
    remote = server.remote("cifar-10-binary.tar.gz", (tmp_path / "cifar-10-binary.tar.gz").read_bytes())
    monkeypatch.setattr(CIFAR10, "remotes", [remote])
    monkeypatch.setattr(CIFAR10, "archives", [remote])
    server.behaviour = "cuts"
    assert main(["data", "fetch", "cifar10"]) == 0 and "120 images" in capsys.readouterr().out
    assert len(load_dataset("cifar10", "test")) == 20


# --- Google Drive ---


def quota_is_spent(root, download):
    (root / "celeba").mkdir(parents=True)
    raise RuntimeError("Too many users have viewed or downloaded this file recently.\nTry again later.")


def disk_is_full(root, download):
    raise OSError(28, "No space left on device")


def test_google_drive_is_never_asked_in_a_hurry(lab):
    with pytest.raises(DataMissing, match="`vae data fetch celeba` tries Google Drive, whose quota is often spent"):
        download.with_torchvision("celeba", quota_is_spent, "drive.google.com", seconds=20)
    assert not lab.exists()


def test_a_failing_google_drive_leaves_nothing(lab, monkeypatch):
    monkeypatch.setattr(download, "reachable", lambda *_: True)
    with pytest.raises(DataMissing, match=r"failed \(Too many users.* Try again later.\); put celeba/ there as"):
        download.with_torchvision("celeba", quota_is_spent, "drive.google.com")
    assert [path.name for path in lab.iterdir()] == [".celeba.lock"] and socket.getdefaulttimeout() is None
    with pytest.raises(LabError, match="no room for celeba/") as caught:
        download.with_torchvision("celeba", disk_is_full, "drive.google.com")
    assert type(caught.value) is LabError


def test_a_whole_celeba_comes_from_google_drive(lab, monkeypatch):
    def fetched(root, download):
        (root / "celeba").mkdir(parents=True)
        (root / "celeba" / "list_attr_celeba.txt").write_text("whole")

    monkeypatch.setattr(download, "reachable", lambda *_: True)
    download.with_torchvision("celeba", fetched, "drive.google.com")
    assert files_below(lab) == {Path("celeba/list_attr_celeba.txt"): b"whole"}
