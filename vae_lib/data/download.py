"""Files from the network: a download goes on after any interruption, and counts only if its md5 is right.

Plain urllib: pooch, the library for this, starts anew after an interruption, and has no limit for the whole time.
"""

import errno
import hashlib
import math
import os
import queue
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from vae_lib import settings
from vae_lib.checks import LabError
from vae_lib.data.cache import locked, make_once
from vae_lib.engine.progress import progress_bar
from vae_lib.storage.files import reading, reason, writing

SILENCE = 10  # seconds without a byte, after which a connection is given up
CHUNK = 2**18  # bytes
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class DataMissing(LabError):
    """The files of a dataset are not on disk and could not be fetched."""


class Unavailable(Exception):
    """Why a download did not come to its end."""


@dataclass(frozen=True)
class Remote:
    """A file to download."""

    url: str
    md5: str

    @property
    def name(self):
        return self.url.rsplit("/", 1)[1]


# Within a session, a host that failed is not asked again, and load_dataset waits no longer than the profile says.
_unreachable = set()  # (host, why)
_waited = 0.0  # seconds


def fetch(name, remotes, folder, seconds=None):
    """Download the files of a dataset into a folder, all or nothing. Until all are whole, they lie in a hidden folder
    of DATA_DIR, from where a later call goes on, also after a killed process.

    seconds: how long that may take; 0: nothing is tried; None: as long as bytes come, whatever failed before.
    DataMissing if it fails; LabError if the disk does, or if another file of that name is in the folder.
    """
    global _waited
    if all([is_whole(folder / remote.name, remote.md5) for remote in remotes]):
        return
    began, unfinished = time.monotonic(), settings.DATA_DIR / f".{name}.unfinished"
    end = math.inf if seconds is None else began + seconds - _waited
    try:
        if seconds is not None:
            check_network(remotes[0].url, end)
        with writing(folder), only_one(name, end):
            for remote in remotes:
                if not (folder / remote.name).exists():  # another process may have brought it
                    download(remote, unfinished / remote.name, end)
            move(unfinished, folder)
    except Unavailable as why:
        if seconds:
            _unreachable.add((urlsplit(remotes[0].url).netloc, str(why)))
        raise DataMissing(missing(name, unfinished, f", and {why}" if str(why) else "")) from None
    finally:
        if seconds is not None:
            _waited += time.monotonic() - began


def missing(name, unfinished, why):
    """The sentence for a dataset that could not be fetched: how far it came, and how to go on."""
    kept = sum(map(size_of, unfinished.glob("*")))
    step = f"goes on after the {megabytes(kept)} MB that came" if kept else "downloads it"
    return (
        f"there is no {name} in {settings.DATA_DIR}{why}; `vae data fetch {name}` {step}, "
        "or put the files there as data/README.md shows."
    )


def is_whole(path, md5):
    """True if a file is there; LabError if it is another one, which is left alone."""
    if not path.exists():
        return False
    with reading(path):
        found = md5_of(path)
    if found != md5:
        raise LabError(f"{path} is not whole (its md5 is {found}, not {md5}); delete it and fetch it again.")
    return True


def check_network(url, end):
    """Unavailable if there is no time, or no way to a host: it is tried once a session, for at most three seconds."""
    host = urlsplit(url).netloc
    if host in (failed := dict(_unreachable)):
        raise Unavailable(failed[host])
    if left(end) <= 0:
        raise Unavailable
    if not reachable(host, min(3, left(end))):
        raise Unavailable(f"{host} cannot be reached")


def reachable(host, seconds=3):
    """True if `host` accepts a connection within `seconds`, name look-up included."""
    address = urlsplit(f"//{host}")
    try:
        within(seconds, lambda: socket.create_connection((address.hostname, address.port or 443), seconds).close())
    except Unavailable:
        return False
    return True


def within(seconds, ask):
    """What a function that asks the network returns; Unavailable if it fails, or takes longer than so many seconds.

    It runs in a thread, which is then left alone: a name look-up, or headers that come byte by byte, cannot be ended.
    """
    answers = queue.SimpleQueue()

    def run():
        try:
            answers.put((ask(), None))
        except (OSError, HTTPException, ValueError) as error:
            answers.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        answer, error = answers.get(timeout=max(0, seconds))
    except queue.Empty:
        raise Unavailable(f"nothing came for {seconds:.0f} s" if seconds > 0.5 else "the time is over") from None
    if error is not None:
        raise Unavailable(reason(getattr(error, "reason", error)))
    return answer


def left(end):
    """The seconds until a time."""
    return end - time.monotonic()


def megabytes(size):
    return f"{size / 1e6:.1f}"


def md5_of(path):
    """The md5 sum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


# --- one file ---


def download(remote, path, end):
    """Write one file, unless it is there. It is called .part until it is whole, and goes on from there as long as each
    try brings something. Unavailable if the network fails, or sends another file, which is deleted."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    came = size_of(partial)
    while True:
        try:
            receive(remote, partial, end)
            break
        except Unavailable:
            if size_of(partial) <= came or left(end) <= 0:
                raise
            came = size_of(partial)
    if (found := md5_of(partial)) != remote.md5:
        partial.unlink()
        raise Unavailable(f"{remote.url} sent another file than the released one (its md5 is {found}), now deleted")
    os.replace(partial, path)


def receive(remote, partial, end):
    """Append to a partial file what it lacks. A server that knows no ranges sends all of it, in place of what is there;
    one that has nothing to add (416) leaves it to the md5. Unavailable if it ends too early."""
    host = urlsplit(remote.url).netloc
    try:  # nothing closes the answer, since that would wait for a thread that still reads
        answer = within(min(SILENCE, left(end)), lambda: request(remote.url, size_of(partial)))
    except Unavailable as why:
        raise Unavailable(f"{host} cannot be reached ({why})") from None
    if answer.status == 416:
        return
    if answer.status not in (200, 206):
        raise Unavailable(f"{host} answers {answer.status} {answer.reason} for {remote.name}")
    with open(partial, "ab" if answer.status == 206 else "wb") as file:
        begun = file.tell()
        total = None if answer.length is None else begun + answer.length
        try:
            with progress_bar(total, f"downloading {remote.name}", begun, unit="B") as bar:
                while chunk := within(min(SILENCE, left(end)), lambda: answer.read1(CHUNK)):
                    file.write(chunk)
                    file.flush()  # a killed process loses nothing
                    bar.update(len(chunk))
            if total and file.tell() < total:
                raise Unavailable("the connection was cut")
        except Unavailable as why:
            came = f"{megabytes(file.tell())} of {megabytes(total) if total else 'unknown'} MB"
            raise Unavailable(f"{remote.name} stopped at {came} ({why})") from None


def request(url, start):
    """The answer to a request for what a file has from byte `start` on; an error of the server is an answer, too."""
    try:
        return urlopen(Request(url, headers={"Range": f"bytes={start}-"} if start else {}), timeout=SILENCE)
    except HTTPError as error:
        return error


def size_of(path):
    """The size of a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


# --- several processes ---


@contextmanager
def only_one(name, end):
    """Only one process downloads a dataset. Unavailable if another one does until the time is over, or if nobody may
    write there."""
    from filelock import Timeout  # takes a fifth of `import vae_lib`

    try:
        with locked(settings.DATA_DIR / name, -1 if end == math.inf else max(0, left(end))):
            yield
    except Timeout:
        raise Unavailable("another process is downloading it") from None
    except NotImplementedError:
        raise Unavailable("its file system knows no locks") from None
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        raise Unavailable(f"it cannot be written to ({reason(error)})") from None


def move(unfinished, folder):
    """Put whole files into their place, in one step if the folder is new. Nothing if another process has done so."""
    if not unfinished.exists():
        return
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.rename(unfinished, folder)
        return
    for path in unfinished.iterdir():
        os.replace(path, folder / path.name)
    unfinished.rmdir()


# --- Google Drive ---


def with_torchvision(name, dataset_class, host, seconds=None):
    """Download a dataset from Google Drive, all or nothing, as torchvision does: only if no time is given, since it
    cannot be resumed. DataMissing if that fails."""
    where = settings.DATA_DIR
    how = f"put {name}/ there as data/README.md shows, or set VAE_DATA_DIR"
    if seconds is not None:
        tries = f"`vae data fetch {name}` tries Google Drive, whose quota is often spent"
        raise DataMissing(f"there is no {name}/ in {where}; {tries}, or {how}.")
    if not reachable(host):
        raise DataMissing(f"there is no {name}/ in {where}, and {host} cannot be reached; {how}.")
    print(f"Downloading {name}/ from {host} ...")
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)  # a network that stops answering ends the attempt
    try:
        make_once(where / name, lambda temporary: dataset_class(temporary, download=True))
    except Exception as error:  # Google Drive's quota, for example, has an exception of its own
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise LabError(f"{where} has no room for {name}/ ({reason(error)}); make room there.") from None
        raise DataMissing(f"there is no {name}/ in {where}, and the download failed ({error}); {how}.") from None
    finally:
        socket.setdefaulttimeout(previous)
