"""Image datasets: one uint8 tensor each, memory-mapped from a cache that is decoded once.

A dataset is one line in DATASETS: how to find and read its official files (readers.py), what to draw in their place.
"""

import hashlib
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms.v2 import functional as transforms

from vae_lib import readers, settings, synthetic
from vae_lib.errors import LabError
from vae_lib.readers import DataMissing

SPLITS = ("train", "val", "test")


class ImageDataset(torch.utils.data.Dataset):
    """Images as one uint8 tensor (N, C, H, W), with what a lesson needs to know about them.

    targets: (N,) int64; target_names: name of each target value; source: "real" or "synthetic";
    factors: for synthetic images, the factors that they were drawn from, each a tensor (N,).
    Items are (uint8 image, target); `__getitems__` gathers a whole batch at once, so a plain DataLoader is fast.
    """

    def __init__(self, images, targets, target_names, name, split, source, factors=None):
        self.images = images
        self.targets = targets
        self.target_names = tuple(target_names)
        self.name = name
        self.split = split
        self.source = source
        self.factors = factors or {}

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.targets[index]

    def __getitems__(self, indices):
        return list(zip(self.images[indices], self.targets[indices]))

    def __repr__(self):
        return (
            f"{self.source} {self.name}, {self.split}: {len(self):,} images of {'x'.join(map(str, self.image_shape))}"
        )

    @property
    def image_shape(self):
        """(channels, height, width)."""
        return tuple(self.images.shape[1:])

    @property
    def label(self):
        """For titles: 'cifar10' for the real set, 'synthetic cifar10 stand-in' otherwise."""
        return self.name if self.source == "real" else f"synthetic {self.name} stand-in"

    def select(self, indices):
        """The dataset of these images only: a slice, a list of indices or a mask."""
        factors = {key: value[indices] for key, value in self.factors.items()}
        args = (self.images[indices], self.targets[indices], self.target_names, self.name, self.split, self.source)
        return ImageDataset(*args, factors)


@dataclass(frozen=True)
class DatasetEntry:
    """How to find, read and imitate one dataset."""

    find_files: Callable  # () -> list of paths; raises DataMissing
    read: Callable  # (paths, "train" | "test") -> images, targets
    draw: Callable  # (n, seed) -> images, targets, target_names, factors
    target_names: tuple[str, ...]


DATASETS = {
    "mnist": DatasetEntry(readers.find_mnist, readers.read_mnist, synthetic.draw_digits, tuple("0123456789")),
    "cifar10": DatasetEntry(
        readers.find_cifar10, readers.read_cifar10, synthetic.draw_objects, readers.CIFAR10_CLASSES
    ),
}


def to_float(images):
    """Pixels 0..255 (uint8) -> floats in [0, 1], on the device where they are."""
    return images.to(torch.float32).div_(255)


def load_dataset(name, split="train", size=None, crop=None, limit=None):
    """An ImageDataset: name mnist | cifar10, split train | val | test.

    crop: side of the centre square to cut out first; size: side to resize to (default: as released);
    limit: only the first `limit` images. Validation is every tenth image of the official train split.
    Where the profile allows no real data, or in the lab profile none can be had, the images are synthetic: the
    dataset says so in `source`, and the lab profile prints a banner with the reason.
    Raises LabError for an unknown name or split, a bad size, or files that are there but damaged.
    """
    if name not in DATASETS:
        raise LabError(f"Unknown dataset {name!r}; choose one of {', '.join(DATASETS)}.")
    if split not in SPLITS:
        raise LabError(f"Unknown split {split!r} of {name}; choose one of {', '.join(SPLITS)}.")
    for argument, value in (("size", size), ("crop", crop), ("limit", limit)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise LabError(f"{argument}={value!r} for {name}: give a whole number of at least 1, or None.")
    if settings.PROFILE.real_data == "never":
        dataset = draw_synthetic(name, split, size, crop)
    else:
        try:
            dataset = load_real(name, split, size, crop)
        except DataMissing as missing:
            if settings.PROFILE.real_data == "required":
                raise
            show_synthetic_banner(name, str(missing))
            dataset = draw_synthetic(name, split, size, crop)
    return dataset if limit is None else dataset.select(slice(limit))


def draw_synthetic(name, split, size, crop):
    """The synthetic stand-in of a dataset; the three splits come from three seeds."""
    n = settings.PROFILE.synthetic_sizes[split]
    images, targets, names, factors = DATASETS[name].draw(n, seed=SPLITS.index(split))
    images = fit_images(torch.from_numpy(images), size, crop)
    factors = {key: torch.from_numpy(value) for key, value in factors.items()}
    return ImageDataset(images, torch.from_numpy(targets), names, name, split, "synthetic", factors)


_announced = set()


def show_synthetic_banner(name, reason):
    """Say once per dataset and session that the images are not real, why, and how to get real ones."""
    if name in _announced:
        return
    _announced.add(name)
    line = "=" * 100
    print(f"{line}\nSYNTHETIC DATA instead of {name}: {reason}\n{line}")


def fit_images(images, size, crop):
    """Cut the centre square of side `crop`, then resize it to `size`: uint8 (N, C, H, W) -> (N, C, size, size)."""
    if crop is not None:
        if crop > min(images.shape[2:]):
            raise LabError(f"crop={crop} is larger than the images of {images.shape[2]}x{images.shape[3]} pixels.")
        images = transforms.center_crop(images, [crop, crop])
    if size is not None and tuple(images.shape[2:]) != (size, size):
        images = transforms.resize(images, [size, size], antialias=True)
    return images


def show_setup(*datasets):
    """Print what a notebook's numbers depend on: profile, data, device, versions."""
    print(f"profile {settings.PROFILE.name} | {settings.hardware()}")
    for dataset in datasets:
        print(dataset)
    print(" | ".join(f"{name} {version}" for name, version in settings.versions().items()))


# --- the cache: DATA_DIR/cache/<key>/{images,targets}.npy, written under a temporary name and renamed ---


def load_real(name, split, size, crop):
    """The real dataset from its cache, built on first use (or again, if the files on disk have changed)."""
    entry = DATASETS[name]
    files = entry.find_files()
    stamp = "|".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)
    key = f"{name}-{split}-{size or 'full'}-{crop or 'whole'}-{hashlib.sha1(stamp.encode()).hexdigest()[:8]}"

    def decode():
        images, targets = entry.read(files, "test" if split == "test" else "train")
        if split != "test":  # neither release has a validation part: every tenth training image
            keep = (np.arange(len(images)) % 10 == 0) == (split == "val")
            images, targets = images[keep], targets[keep]
        return fit_images(torch.from_numpy(images), size, crop).numpy(), targets.astype(np.int64)

    images, targets = cached(key, decode)
    return ImageDataset(torch.from_numpy(images), torch.from_numpy(targets), entry.target_names, name, split, "real")


def cached(key, decode):
    """decode() -> (images, targets), kept as a memory-mapped folder `key` of the cache.

    Safe when two processes build it at once (the first rename wins, both read the same) and when one is killed
    (only a temporary folder is left, removed after an hour). Without a writable disk, it works from memory.
    """
    folder = settings.DATA_DIR / "cache" / key
    try:
        return open_arrays(folder)
    except FileNotFoundError:
        pass
    except (OSError, ValueError):  # damaged after it was written: make it again
        shutil.rmtree(folder, ignore_errors=True)
    arrays = decode()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder.parent)
        temporary = folder.parent / f".building-{uuid.uuid4().hex}"
        try:
            temporary.mkdir()
            for array_name, array in zip(("images", "targets"), arrays):
                np.save(temporary / f"{array_name}.npy", array)
            os.rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if not folder.is_dir():  # otherwise another process was first, and its folder is as good
            warnings.warn(f"No cache could be written ({error}); decoding again each time.", stacklevel=2)
            return arrays
    return open_arrays(folder)


def open_arrays(folder):
    """Memory-map (images, targets), copy-on-write: pages are read on demand, and nothing can change the files."""
    return tuple(np.load(folder / f"{name}.npy", mmap_mode="c") for name in ("images", "targets"))


def remove_leftovers(cache, older_than=3600):
    """Remove temporary folders of builds that were killed more than `older_than` seconds ago."""
    for folder in cache.glob(".building-*"):
        try:
            if time.time() - folder.stat().st_mtime > older_than:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:  # its owner has just renamed it
            pass
