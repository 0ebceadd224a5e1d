"""The cache: each dataset is decoded once, into DATA_DIR/cache/<key>/, and memory-mapped from there.

One process decodes, under a lock; the others wait, and read. It writes to a hidden folder and renames it at the end, so
a folder <key> is whole or absent. After an interruption, the next process goes on behind the last Block in the folder.
"""

import io
import json
import math
import os
import shutil
import warnings
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import numpy as np

from vae_lib import settings
from vae_lib.storage.files import reason


class Block(NamedTuple):
    """Some decoded images of a dataset."""

    images: np.ndarray  # uint8 (n, C, H, W)
    targets: np.ndarray  # int64 (n,) or (n, attributes)
    skipped: list[str]  # the files that gave no image, each with the reason


def cached(variant, stamp, decode):
    """The images of a variant (dataset, split, size, crop), decoded once: -> a Block, memory-mapped from the cache.

    decode(start) yields Blocks from file number `start` on, with one image at least. stamp changes when a file does.
    What is in the cache is read without the lock. Where nothing can be written, the images are decoded to memory.
    """
    folder = cache_folder() / f"{variant}-{stamp}"
    try:
        if block := open_block(folder):
            return block
        with locked(cache_folder() / variant):
            return open_block(folder) or build(folder, cache_folder() / f".{variant}", decode)
    except (OSError, NotImplementedError) as error:  # the latter if the filesystem has no locks
        warnings.warn(
            f"No cache could be written to {cache_folder()} ({reason(error)}), so the images are decoded again each "
            "time; make room there, or let somebody who may write there load the dataset once.",
            stacklevel=2,
        )
    return joined(decode(0))


def joined(blocks):
    """Several Blocks as one, in memory."""
    images, targets, skipped = zip(*blocks)
    return Block(np.concatenate(images), np.concatenate(targets), list(chain.from_iterable(skipped)))


def cache_folder():
    """Where the decoded datasets lie."""
    return settings.DATA_DIR / "cache"


def open_block(folder):
    """The Block in a folder of the cache, or None if it is absent or damaged; OSError if the disk refuses.

    Memory-mapped copy-on-write: pages are read on demand, the files cannot change.
    """
    try:
        images, targets = (np.load(folder / f"{name}.npy", mmap_mode="c") for name in ("images", "targets"))
        skipped = json.loads((folder / "skipped.json").read_text(encoding="utf-8"))
        whole = all(array.offset + array.nbytes == os.path.getsize(array.filename) for array in (images, targets))
        kinds = images.dtype, images.ndim, targets.dtype, len(targets), type(skipped)
        whole &= kinds == (np.uint8, 4, np.int64, len(images), list) and all(isinstance(line, str) for line in skipped)
        return Block(images, targets, skipped) if whole else None
    except FileNotFoundError:
        return None
    except OSError:  # perhaps of this moment only, or of this user
        raise
    except Exception:  # a damaged file raises almost anything else
        return None


def build(folder, unfinished, decode):
    """Write what decode yields into the folder `unfinished`, then rename that to `folder`: -> the whole Block."""
    n, skipped = progress(unfinished, folder.name)
    if n == 0:
        shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for block in decode(n + len(skipped)):
            unfinished.mkdir(exist_ok=True)
            append(unfinished / "images.npy", block.images, n)
            append(unfinished / "targets.npy", block.targets, n)
            n, skipped = n + len(block.images), skipped + block.skipped
            state = {"key": folder.name, "images": n, "skipped": skipped, "files": n + len(skipped)}
            (unfinished / "progress.new").write_text(json.dumps(state), encoding="utf-8")
            os.replace(unfinished / "progress.new", unfinished / "progress.json")
        (unfinished / "skipped.json").write_text(json.dumps(skipped), encoding="utf-8")
        if open_block(unfinished) is None:
            raise OSError("what an interrupted process had decoded is damaged")
        shutil.rmtree(folder, ignore_errors=True)  # it is damaged, if it is there
        os.rename(unfinished, folder)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)  # it takes room on a disk that may be full
        raise
    return open_block(folder)


def append(path, rows, n):
    """Write rows behind the first n rows of a .npy file, in place of what follows them; the header comes last."""
    header = io.BytesIO()  # as long for any n, since numpy leaves room in it
    shape = {"shape": (n + len(rows), *rows.shape[1:])}
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(rows) | shape)
    with open(path, "r+b" if n else "wb") as file:
        file.seek(header.tell() + n * rows.itemsize * math.prod(rows.shape[1:]))
        file.write(np.ascontiguousarray(rows))
        file.seek(0)
        file.write(header.getvalue())


def progress(unfinished, key):
    """How far another process came before it was killed: -> (images, [files skipped]), (0, []) if that is of no use."""
    try:
        state = json.loads((unfinished / "progress.json").read_text(encoding="utf-8"))
        n, skipped = int(state["images"]), [str(line) for line in state["skipped"]]
        there = min(len(np.load(unfinished / name, mmap_mode="r")) for name in ("images.npy", "targets.npy"))
        if state["key"] == key and state["files"] == n + len(skipped) and 0 < n <= there:
            return n, skipped
    except Exception:  # absent or damaged: then it raises almost anything
        pass
    return 0, []


@contextmanager
def locked(path, seconds=-1):
    """Hold the lock of a path, a hidden file beside it. While another process holds it, wait, and say so.

    OSError if it cannot be had; filelock's Timeout if the wait takes longer than so many seconds (-1: never). The lock
    of a killed process is free. The file stays: to delete it would be a race.
    """
    from filelock import FileLock, Timeout  # takes a fifth of `import vae_lib`; most loads need no lock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=min(1, seconds) if seconds >= 0 else 1)
    except Timeout:
        print(f"Another process is making {path}; waiting for it.")
        lock.acquire(timeout=seconds)
    try:
        yield
    finally:
        lock.release()


def make_once(folder, make):
    """Make a folder, all or nothing, unless another process has made it: make(temporary) fills temporary/<its name>."""
    temporary = folder.with_name(f".{folder.name}.unfinished")
    with locked(folder):
        if not folder.exists():
            shutil.rmtree(temporary, ignore_errors=True)  # of a killed process
            try:
                make(temporary)
                os.rename(temporary / folder.name, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
