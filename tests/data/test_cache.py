"""The cache: decoded once by one of many processes, resumed after a kill, read without a lock, done without."""

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
import warnings
from itertools import chain

import numpy as np
import pytest
import torch

from official_files import write_celeba, write_mnist
from vae_lib import load_dataset, settings
from vae_lib.checks import LabError
from vae_lib.data import cache, folders, releases
from vae_lib.data.cache import Block, cached, locked, make_once

fork = multiprocessing.get_context("fork")
N, LENGTH = 40, 8  # files, and how many of them a block has


def blocks(start):
    """Files 0 to 39, of which every seventh gives no image; the others have their number as their pixels."""
    for first in range(start, N, LENGTH):
        numbers = range(first, min(first + LENGTH, N))
        kept = np.array([i for i in numbers if i % 7 != 3])
        images = np.broadcast_to(kept[:, None, None, None], (len(kept), 3, 5, 5)).astype(np.uint8)
        yield Block(images, np.stack([kept, -kept], 1).astype(np.int64), [f"{i}.jpg" for i in numbers if i % 7 == 3])


def is_whole(block):
    kept = [i for i in range(N) if i % 7 != 3]
    assert block.images[:, 0, 0, 0].tolist() == kept and (block.images == block.images[:, :1, :1, :1]).all()
    assert block.targets.tolist() == [[i, -i] for i in kept]
    return block.skipped == [f"{i}.jpg" for i in range(N) if i % 7 == 3]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# --- many processes ---


def build(folder, barrier, decoded, results):
    def decode(start):
        decoded.put(os.getpid())
        for block in blocks(start):
            time.sleep(0.05)
            yield block

    settings.DATA_DIR = folder
    barrier.wait()
    results.put(is_whole(cached("all", "1", decode)))


def test_four_processes_decode_once(tmp_path):
    barrier, decoded, results = fork.Barrier(4), fork.Queue(), fork.Queue()
    builders = [fork.Process(target=build, args=(tmp_path, barrier, decoded, results)) for _ in range(4)]
    for builder in builders:
        builder.start()
    assert [results.get(timeout=30) for _ in builders] == [True] * 4
    assert decoded.get(timeout=5) and decoded.empty()
    assert names(tmp_path / "cache") == [".all.lock", "all-1"]


def test_who_waits_is_told_so(tmp_path, capsys):
    with locked(tmp_path / "it"):
        waiting = threading.Thread(
            target=make_once, args=(tmp_path / "it", lambda place: (place / "it").mkdir(parents=True))
        )
        waiting.start()
        waiting.join(1.5)
        assert waiting.is_alive() and not (tmp_path / "it").exists()
    waiting.join(30)
    assert (tmp_path / "it").is_dir() and "Another process is making" in capsys.readouterr().out


# --- interruptions ---


class Fragile:
    """A file that is cut off in the middle of one of many writes."""

    writes, last = 0, 0

    def __init__(self, *args):
        self.file = open(*args)  # noqa: SIM115

    def write(self, data):
        data = bytes(data)
        Fragile.writes += 1
        if Fragile.writes > Fragile.last:
            self.file.write(data[: len(data) // 2] if len(data) > 200 else b"")
            raise KeyboardInterrupt
        self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


@pytest.mark.parametrize("last", range(20))
def test_an_interruption_in_any_write_costs_one_block(last, monkeypatch, no_warning):
    """Five blocks are written, each with four writes: images, their header, targets, their header."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Fragile, "writes", 0)
        patch.setattr(Fragile, "last", last)
        patch.setattr(cache, "open", Fragile, raising=False)
        cached("it", "1", blocks)
    assert not (settings.DATA_DIR / "cache" / "it-1").exists()
    starts = []
    assert is_whole(cached("it", "1", lambda start: starts.append(start) or blocks(start)))
    assert starts == [LENGTH * (last // 4)]


@pytest.mark.parametrize("call", ["replace", "rename"])
def test_an_interruption_before_a_name_is_changed_costs_one_block(call, monkeypatch, no_warning):
    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, call, stop)
        cached("it", "1", blocks)
    starts = []
    assert is_whole(cached("it", "1", lambda start: starts.append(start) or blocks(start)))
    assert starts == [0 if call == "replace" else N]
    assert names(settings.DATA_DIR / "cache") == [".it.lock", "it-1"]


def load_until_killed(folder, decoded):
    settings.DATA_DIR, settings.PROFILE = folder, settings.PROFILES["lab"]
    decode = folders.decode_files

    def slow(root, files, *args):
        decoded.put(files[0])
        if files[0] == "000025.jpg":
            time.sleep(60)
        return decode(root, files, *args)

    folders.decode_files = slow
    load_dataset("celeba")


def test_a_killed_decoding_goes_on_where_it_stopped(lab, monkeypatch):
    write_celeba(lab)
    complete = load_dataset("celeba").images.clone()
    shutil.rmtree(lab / "cache")
    monkeypatch.setattr(releases, "BLOCK_BYTES", 8 * 3 * 64**2)  # five blocks of 8 images
    decoded, decode = fork.Queue(), folders.decode_files
    process = fork.Process(target=load_until_killed, args=(lab, decoded))
    process.start()
    while decoded.get(timeout=30) != "000025.jpg":
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert names(lab / "cache") == [".celeba-train-64-148", ".celeba-train-64-148.lock"]

    again = []
    monkeypatch.setattr(folders, "decode_files", lambda root, *args: again.append(args[0][0]) or decode(root, *args))
    assert torch.equal(load_dataset("celeba").images, complete)
    assert again == ["000025.jpg", "000033.jpg"]
    load_dataset("celeba")
    assert len(again) == 2 and not (lab / "cache" / ".celeba-train-64-148").exists()


def interrupted(stamp):
    def decode(start):
        yield from list(blocks(start))[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("it", stamp, decode)


def test_what_was_decoded_of_other_files_is_thrown_away(no_warning):
    interrupted("1")
    starts = []
    assert is_whole(cached("it", "2", lambda start: starts.append(start) or blocks(start))) and starts == [0]
    assert names(settings.DATA_DIR / "cache") == [".it.lock", "it-2"]
    interrupted("3")
    interrupted("4")
    assert names(settings.DATA_DIR / "cache") == [".it", ".it.lock", "it-2"]  # nothing piles up


@pytest.mark.parametrize("damage", ["images", "targets", "progress"])
def test_a_damaged_unfinished_decoding_starts_again(damage, no_warning):
    interrupted("1")
    path = settings.DATA_DIR / "cache" / ".it" / f"{damage}.{'json' if damage == 'progress' else 'npy'}"
    path.write_bytes(path.read_bytes()[:150] if damage != "progress" else b"")
    assert is_whole(cached("it", "1", blocks))


def test_an_error_in_decoding_leaves_no_cache():
    def decode(start):
        yield next(blocks(start))
        raise LabError("a file cannot be read")

    with pytest.raises(LabError):
        cached("it", "1", decode)
    assert names(settings.DATA_DIR / "cache") == [".it", ".it.lock"]
    assert is_whole(cached("it", "1", blocks))


# --- damage, and disks that cannot be written ---


@pytest.mark.parametrize("kept", [0, 100, 500])
@pytest.mark.parametrize("file", ["images.npy", "targets.npy", "skipped.json"])
def test_a_damaged_cache_is_made_again(file, kept, no_warning):
    cached("it", "1", blocks)
    path = settings.DATA_DIR / "cache" / "it-1" / file
    path.write_bytes(path.read_bytes()[:kept][:-1])
    assert is_whole(cached("it", "1", blocks)) and is_whole(cached("it", "1", None))


def test_a_cache_of_former_versions_is_read(no_warning):
    """They had no progress.json, and numpy wrote the arrays."""
    folder = settings.DATA_DIR / "cache" / "it-1"
    folder.mkdir(parents=True)
    images, targets, skipped = zip(*blocks(0))
    np.save(folder / "images.npy", np.concatenate(images))
    np.save(folder / "targets.npy", np.concatenate(targets))
    (folder / "skipped.json").write_text(json.dumps([*chain(*skipped)]))
    assert is_whole(cached("it", "1", None))


def test_changing_images_in_memory_leaves_the_cache_alone(lab):
    write_mnist(lab)
    first = load_dataset("mnist", "test")
    original = first.images.clone()
    first.images.zero_()
    assert torch.equal(load_dataset("mnist", "test").images, original)


REFUSALS = [
    PermissionError(13, "Permission denied"),
    OSError(37, "No locks available"),
    NotImplementedError("no flock"),
]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_without_a_lock_a_cache_is_read_but_not_made(error, monkeypatch):
    def refuse(*args, **kwargs):
        raise error

    cached("there", "1", blocks)
    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_whole(cached("there", "1", None))
    with pytest.warns(UserWarning, match="No cache could be written to .*decoded again each time"):
        assert is_whole(cached("missing", "1", blocks))
    assert "missing-1" not in names(settings.DATA_DIR / "cache")


def test_a_disk_that_is_full_half_way_gives_its_room_back(monkeypatch):
    def full_after(path, rows, n, append=cache.append):
        if n > 20:
            raise OSError(28, "No space left on device")
        append(path, rows, n)

    monkeypatch.setattr(cache, "append", full_after)
    with pytest.warns(UserWarning, match=r"No cache could be written to .* \(No space left on device\)"):
        assert is_whole(cached("it", "1", blocks))
    assert names(settings.DATA_DIR / "cache") == [".it.lock"]


def test_a_file_where_the_cache_should_be(lab):
    write_celeba(lab)
    (lab / "cache").write_text("")
    with pytest.warns(UserWarning, match="No cache could be written"):
        assert len(load_dataset("celeba")) == 40
