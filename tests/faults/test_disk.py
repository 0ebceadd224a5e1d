"""Disks: full, read-only, on another filesystem, in oddly named folders, and shared by many processes."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

from official_files import write_celeba, write_cifar10_binary, write_mnist
from vae_lib import load_dataset, settings
from vae_lib.checks import LabError
from vae_lib.data.cache import cache_folder, open_block
from vae_lib.models import FCVAE
from vae_lib.pretrained import load_pretrained, save_pretrained
from vae_lib.storage.files import WRITING
from vae_lib.training import TrainConfig, fit

FACES = (0,) * 60 + (1,) * 6
BUILT = "[!.]*"  # in the folder of the cache, beside hidden locks


@pytest.fixture
def small_disk(tmp_path):
    """A filesystem of four megabytes of its own, mounted in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("no filesystem can be mounted on this system")
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no filesystem can be mounted here, which needs root ({mount.stderr.strip()})")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk):
    """Leave no byte."""
    with open(disk / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4_096))
        except OSError:
            pass


def faces_from_disk():
    """Training faces, with the warnings that were shown: -> (images, sentences)."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        images = load_dataset("celeba", size=32).images
    return images, [str(warning.message) for warning in shown]


@pytest.fixture
def faces(use_profile):
    """Where a small CelebA lies, and its training images at 32x32, decoded with room to write."""
    use_profile("lab")
    write_celeba(settings.DATA_DIR, parts=FACES)
    return load_dataset("celeba", size=32).images.clone()


def test_full_disk_while_the_cache_is_built(faces, small_disk, note):
    (small_disk / "celeba").symlink_to(settings.DATA_DIR / "celeba")
    settings.DATA_DIR = small_disk  # reset by the fixture own_folders
    fill(small_disk)
    images, (sentence,) = faces_from_disk()
    note("full disk while the cache is built", 1, "decoded to memory, same images", sentence)
    assert torch.equal(images, faces)
    assert "No space left on device" in sentence and "make room" in sentence
    assert not list(cache_folder().glob(BUILT))
    (small_disk / "filler").unlink()
    images, shown = faces_from_disk()
    assert torch.equal(images, faces) and not shown and len(list(cache_folder().glob(BUILT))) == 1


def test_full_disk_while_training(small_disk, tiny, note):
    """The old checkpoint stays, and with room again the run ends as it would have without the interruption."""
    config = TrainConfig(epochs=6, batch_size=16, patience=9)
    checkpoint = small_disk / "run.checkpoint"

    def trained(checkpoint=None, stop=None):
        torch.manual_seed(0)
        model = FCVAE((1, 8, 8), (64,), 4)
        forward = model.forward

        def count_and_forward(x, generator=None):
            calls.append(1)
            if len(calls) == stop:
                fill(small_disk)
            return forward(x, generator)

        calls, model.forward = [], count_and_forward
        fit(model, tiny, None, config, checkpoint, progress=False)
        return model.state_dict()

    expected = trained()
    with pytest.raises(LabError) as caught:
        trained(checkpoint, stop=10)  # in the third epoch
    note(
        "full disk while a model is trained",
        1,
        "the epochs before are kept; same weights in the end",
        str(caught.value),
    )
    assert "No space left on device" in str(caught.value) and "make room" in str(caught.value)
    assert [path.name for path in small_disk.iterdir()] == ["filler", "run.checkpoint"]
    (small_disk / "filler").unlink()
    found = trained(checkpoint)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_full_disk_while_weights_are_saved(small_disk, note):
    path = small_disk / "model.safetensors"
    save_pretrained(path, old := FCVAE((1, 8, 8), (16,), 4), {"model": old.config})
    fill(small_disk)
    with pytest.raises(LabError, match="make room there") as caught:
        save_pretrained(path, FCVAE((1, 8, 8), (64,), 4), {})
    note("full disk while weights are saved", 1, "the old file is whole", str(caught.value))
    model, _ = load_pretrained(path)
    weight = model.encoder[1].weight
    assert torch.equal(weight, old.encoder[1].weight.half().float())
    assert sorted(path.name for path in small_disk.iterdir()) == ["filler", "model.safetensors"]


def test_read_only_folder(faces, small_disk, note):
    settings.DATA_DIR = small_disk
    write_celeba(small_disk, parts=FACES)
    write_mnist(small_disk)
    load_dataset("mnist")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    images, (sentence,) = faces_from_disk()
    note("data in a read-only folder", 1, "decoded to memory, same images; a cache made before is used", sentence)
    assert torch.equal(images, faces) and "Read-only file system" in sentence
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_dataset("mnist")) == 36  # from the cache
    with pytest.raises(LabError, match="Read-only file system"):
        save_pretrained(small_disk / "model.safetensors", FCVAE((1, 8, 8), (16,), 4), {})
    (key,) = cache_folder().glob(BUILT)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    os.truncate(key / "images.npy", 500)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.warns(UserWarning, match="decoded again each time"):
        assert len(load_dataset("mnist")) == 36  # a damaged cache that cannot be made again


def test_a_cache_that_cannot_be_opened_for_a_moment_is_kept(faces, monkeypatch, note):
    def busy(*args, **kwargs):
        raise OSError(24, "Too many open files")

    before = {path: path.stat().st_mtime_ns for path in cache_folder().rglob("*.npy")}
    with monkeypatch.context() as patch:
        patch.setattr(np, "load", busy)
        images, (sentence,) = faces_from_disk()
    note("the disk refuses to open the cache for a moment", 1, "decoded to memory; the cache is kept", sentence)
    assert torch.equal(images, faces) and "Too many open files" in sentence
    assert {path: path.stat().st_mtime_ns for path in cache_folder().rglob("*.npy")} == before


def test_folders_of_others_are_never_removed(tmp_path, note):
    """Only those that are called as ours, and in which nothing was written for an hour."""
    ours, busy, drafts = (tmp_path / name for name in (f"{WRITING}0", f"{WRITING}1", ".writing-drafts"))
    for folder in (ours, busy, drafts):
        folder.mkdir()
        (folder / "thesis.tex").write_text("all of it")
        os.utime(folder, (0, 0))
        if folder != busy:
            os.utime(folder / "thesis.tex", (0, 0))
    save_pretrained(tmp_path / "model.safetensors", FCVAE((1, 8, 8), (16,), 4), {})
    assert drafts.exists() and busy.exists() and not ours.exists()
    note("old folders beside a file that is written", 3, "only what a killed process of ours left is removed")


def test_data_on_another_filesystem(faces, small_disk, note):
    """In three ways: the whole folder is there, only the dataset is, or only the cache."""
    here = settings.DATA_DIR
    (small_disk / "celeba").symlink_to(here / "celeba")
    (small_disk / "other").mkdir()
    (there := here.parent / "there").mkdir()
    (there / "celeba").symlink_to(here / "celeba")
    (there / "cache").symlink_to(small_disk / "other")
    for folder in (small_disk, there):
        settings.DATA_DIR = folder
        for _ in range(2):  # decoded, then from the cache
            images, shown = faces_from_disk()
            assert torch.equal(images, faces) and not shown
    assert (small_disk / "cache").stat().st_dev != here.stat().st_dev
    note("data or cache on another filesystem, linked", 2, "same images, one cache")


ODD = ("with some spaces", "Übung für Möwen 数据", "[0-9]*", "'quoted' \"twice\"", "-x", "a%20b#c;d&e")


def test_odd_folders(tmp_path, faces, monkeypatch, note):
    for name in ODD:
        settings.DATA_DIR = tmp_path / name / "data"
        write_celeba(settings.DATA_DIR, parts=FACES)
        for _ in range(2):  # decoded, then from the cache
            images, shown = faces_from_disk()
            assert torch.equal(images, faces) and not shown
        monkeypatch.chdir(tmp_path / name)
        model = FCVAE((1, 8, 8), (16,), 4)
        path = save_pretrained(Path("weights.safetensors"), model, {"model": model.config})
        assert load_pretrained(str(path.absolute()))[0].latent_dim == 4
    note("spaces, quotes, `[*]`, `-x`, non-ASCII letters in folder names", len(ODD), "data, cache, weights found")


@pytest.mark.slow
def test_the_commands_in_an_odd_folder(tmp_path, note):
    folder = tmp_path / ODD[1]
    folder.mkdir()
    environment = os.environ | {"VAE_PROFILE": "quick", "OMP_NUM_THREADS": "1", "VAE_DATA_DIR": str(folder / "data")}

    def vae(*arguments):
        command = [sys.executable, "-m", "vae_lib", *arguments]
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr

    weights, model = "größe 2.safetensors", "--data mnist --model fc --hidden 16 --latent 2 --epochs 1 --limit 100"
    vae("train", *model.split(), "--out", weights)
    vae("generate", "--model", weights, "--samples", "4", "--out", "Bilder für alle/")
    vae("reconstruct", "Bilder für alle", "--model", weights, "--out", "zurück.png")
    assert len(list((folder / "Bilder für alle").iterdir())) == 4 and (folder / "zurück.png").stat().st_size > 500
    note(
        "`vae train`, `generate`, `reconstruct` in a folder with spaces and umlauts",
        3,
        "files written where they should be",
    )


# --- many at once ---

LOAD = """
import json, sys, torch
from vae_lib import load_dataset
sets = [load_dataset(name, split) for name in ("celeba", "mnist", "cifar10") for split in ("train", "val", "test")]
print(json.dumps([[s.source, len(s), int(s.images.sum(dtype=torch.int64)), int(s.targets.sum())] for s in sets]))
"""


def shared_folder(folder):
    """A data folder with three datasets, the environment that points to it, and what LOAD should print."""
    write_celeba(folder, parts=(0,) * 250 + (1,) * 10 + (2,) * 10)
    write_mnist(folder, n=3_000)
    write_cifar10_binary(folder, n=500)
    return os.environ | {"VAE_PROFILE": "lab", "VAE_DATA_DIR": str(folder), "OMP_NUM_THREADS": "1"}


def four_processes(code, environment):
    """Run code in four processes at once: -> the last line of each, which must not complain."""
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, env=environment, stdout=PIPE, stderr=PIPE, text=True) for _ in range(4)]
    ends = [process.communicate() for process in processes]
    assert [err for _, err in ends] == [""] * 4  # no warning either
    return [out.splitlines()[-1] for out, _ in ends]


@pytest.mark.slow
def test_four_processes_share_a_data_folder(tmp_path, use_profile, note):
    environment = shared_folder(tmp_path)
    answers = []
    for _ in range(5):
        answers += four_processes(LOAD, environment)
        built = list((tmp_path / "cache").glob(BUILT))
        assert len(built) == 9 and all(open_block(path) for path in built)
        for path in tmp_path.glob("cache/*/*"):
            path.unlink()  # the folders stay: a damaged cache, which all four find at once
    assert len(set(answers)) == 1 and {row[0] for row in json.loads(answers[0])} == {"real"}
    note("four processes share a data folder", len(answers), "same images for all; one whole cache of each set")


@pytest.mark.slow
def test_four_processes_unpack_an_archive(tmp_path, note):
    environment = shared_folder(tmp_path)
    images, tries = tmp_path / "celeba" / "img_align_celeba", 5
    shutil.make_archive(images, "zip", images.parent, images.name)
    for _ in range(tries):
        shutil.rmtree(images)
        code = "import vae_lib; print(len(vae_lib.load_dataset('celeba')))"
        assert four_processes(code, environment) == ["250"] * 4
        assert len(list(images.iterdir())) == 270
    assert [path.name for path in (tmp_path / "celeba").glob(".*")] == [".img_align_celeba.lock"]
    note("four processes find CelebA's .zip", 4 * tries, "one unpacks it, all use it")


@pytest.mark.slow
def test_two_notebooks_share_a_data_folder(tmp_path, note):
    environment = shared_folder(tmp_path)

    def run(number):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(LOAD)])
        NotebookClient(notebook, timeout=300, coalesce_streams=True).execute(env=environment)
        return "".join(output["text"] for output in notebook.cells[0].outputs).splitlines()[-1]

    for _ in range(3):
        with ThreadPoolExecutor(2) as threads:
            first, second = threads.map(run, range(2))
        assert first == second and '"real"' in first
        assert len(list((tmp_path / "cache").glob(BUILT))) == 9
        subprocess.run(["rm", "-r", tmp_path / "cache"], check=True)
    note("two notebooks share a data folder", 3, "same images in both")
