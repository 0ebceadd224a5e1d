"""The cache: each dataset is decoded once, into DATA_DIR/cache/<key>/, and memory-mapped from there.

Everything is written under a temporary name and renamed, so a folder <key> is whole or absent.
"""

import io
import json
import os
import shutil
import uuid
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

import numpy as np

from vae_lib import settings
from vae_lib.storage.files import reason, remove_leftovers, replacing

BUILDING, PARTS = ".building-", ".parts-"  # begin the names of temporary folders


class Block(NamedTuple):
    """Some decoded images of a dataset."""

    images: np.ndarray  # uint8 (n, C, H, W)
    targets: np.ndarray  # int64 (n,) or (n, attributes)
    skipped: list[str]  # the files that gave no image, each with the reason


def cached(key, decode):
    """decode() -> an iterable of Blocks, kept as the folder `key` of the cache: -> one Block, memory-mapped.

    Safe when two processes build it at once (the first rename wins, both read the same) and when one is killed
    (only temporary folders are left, removed later). Without a writable disk, it works from memory.
    """
    folder = cache_folder() / key
    block, problem = None, None
    try:
        if (block := open_block(folder)) is not None:
            return block
        cache_folder().mkdir(parents=True, exist_ok=True)
        remove_leftovers(cache_folder(), BUILDING)
        remove_leftovers(cache_folder(), PARTS, hours=24, keep=parts_folder(key))
        if folder.exists() and open_block(folder) is None:  # damaged after it was written
            shutil.rmtree(folder, ignore_errors=True)
        temporary = cache_folder() / f"{BUILDING}{uuid.uuid4().hex}"
        try:
            temporary.mkdir()
            write_blocks(temporary, decode())
            os.rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        problem = reason(error)
    with suppress(OSError):
        block = open_block(folder)  # perhaps of another process, which was first: it is as good
    if block is None:
        warnings.warn(
            f"No cache could be written to {cache_folder()} ({problem}), so the images are decoded again each time; "
            "make room there, or let somebody who may write there load the dataset once.",
            stacklevel=2,
        )
        images, targets, skipped = zip(*decode())
        block = Block(np.concatenate(images), np.concatenate(targets), list(chain.from_iterable(skipped)))
    shutil.rmtree(parts_folder(key), ignore_errors=True)
    return block


def cache_folder():
    """Where the decoded datasets lie."""
    return settings.DATA_DIR / "cache"


def open_block(folder):
    """What write_blocks wrote, or None if it is absent or damaged; OSError if the disk refuses.

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


def write_blocks(folder, blocks):
    """Write Blocks one after another, never all at once: images.npy, targets.npy, skipped.json."""
    targets, skipped, n = [], [], 0
    with open(folder / "images.npy", "wb") as file:
        for block in blocks:
            if file.tell() == 0:
                write_header(file, (0, *block.images.shape[1:]))
            file.write(np.ascontiguousarray(block.images))
            targets.append(block.targets)
            skipped += block.skipped
            n += len(block.images)
        file.seek(0)  # numpy leaves room in its header for the first side of the shape to grow
        write_header(file, (n, *block.images.shape[1:]))
    np.save(folder / "targets.npy", np.concatenate(targets))
    (folder / "skipped.json").write_text(json.dumps(skipped), encoding="utf-8")


def write_header(file, shape):
    """The header of a .npy file of bytes."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def in_parts(key, n, decode_part, length):
    """The Blocks decode_part(slice(0, length)), decode_part(slice(length, 2 * length)), ... of n files.

    Each is kept on disk until the folder `key` is there, so that a decoding that was killed goes on where it stopped.
    While one part is being written, the next is decoded.
    """

    def part(start):
        try:
            with open(part_path(key, start, length), "rb") as file, np.load(file) as arrays:
                return Block(arrays["images"], arrays["targets"], arrays["skipped"].tolist())
        except Exception:  # absent, or damaged: then it raises almost anything
            return decode_part(slice(start, start + length))

    with ThreadPoolExecutor(1) as background:
        ahead = background.submit(part, 0)
        for start in range(0, n, length):
            block = ahead.result()
            if start + length < n:
                ahead = background.submit(part, start + length)
            if not part_path(key, start, length).exists():
                save_part(part_path(key, start, length), block)
            yield block


def save_part(path, block):
    """Keep a Block; a disk that is full or read-only costs only the chance to go on after a kill."""
    buffer = io.BytesIO()  # since a zip file that cannot be written complains once more when it is deleted
    np.savez(buffer, images=block.images, targets=block.targets, skipped=np.array(block.skipped, dtype=str))
    with suppress(OSError), replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def part_path(key, start, length):
    """Where the part of `length` files from number `start` on lies."""
    return parts_folder(key) / f"{start:08d}-{length}.npz"


def parts_folder(key):
    """Where the parts of an unfinished decoding lie."""
    return cache_folder() / f"{PARTS}{key}"
