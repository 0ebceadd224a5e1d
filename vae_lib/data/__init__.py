"""Image datasets: one uint8 tensor each, memory-mapped from a cache that is decoded once.

A dataset is one entry of DATASETS: how to load its files (readers.py, folders.py), and what to draw in their place.
"""

import mmap
import sys
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import partial
from numbers import Integral

import numpy as np
import torch
from torchvision.transforms.v2 import functional as transforms
from tqdm import tqdm

from vae_lib import settings
from vae_lib.checks import LabError, near_names
from vae_lib.data import drawn as synthetic
from vae_lib.data import folders, readers
from vae_lib.data.cache import Block, cached, in_parts
from vae_lib.data.drawn_faces import draw_faces
from vae_lib.data.readers import DataMissing
from vae_lib.storage.files import remove_leftovers

SPLITS = ("train", "val", "test")
PART_BYTES = 2**25  # of images, decoded at a time and kept for the case of an interruption


class ImageDataset(torch.utils.data.Dataset):
    """Images as one uint8 tensor (N, C, H, W), with what a lesson needs to know about them.

    targets: (N,) int64; target_names: name of each target value; source: "real" or "synthetic";
    factors: for synthetic images, the factors that they were drawn from, each a tensor (N,).
    crop: side of the centre square that the images are, in pixels of the release; None for the dataset's default.
    Faces: targets (N, attributes), each 0 or 1; target_names are the attributes; `attribute` looks one up.
    Items are (uint8 image, target); `__getitems__` gathers a whole batch at once, so a plain DataLoader is fast.
    """

    def __init__(self, images, targets, target_names, name, split, source, factors=None, mapped_file=None):
        self.images = images
        self.targets = targets
        self.target_names = tuple(target_names)
        self.name = name
        self.split = split
        self.source = source
        self.factors = factors or {}
        self.mapped_file = mapped_file  # the mmap that `images` lies in, if it does
        self.crop = None

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.targets[index]

    def __getitems__(self, indices):
        return list(zip(self.images[indices], self.targets[indices]))

    def __getstate__(self):
        return self.__dict__ | {"mapped_file": None}  # for copies, as workers of a DataLoader get them

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

    @property
    def attribute_names(self):
        """Names of the attributes, () where each image has one class instead."""
        return self.target_names if self.targets.ndim == 2 else ()

    def attribute(self, name):
        """Which images have the attribute, e.g. "Smiling": bool (N,). LabError if there is no such attribute."""
        if name not in self.attribute_names:
            near = near_names(name, self.attribute_names)
            raise LabError(f"{self.label} has no attribute {name!r}; it has, for example: {near}.")
        return self.targets[:, self.target_names.index(name)] == 1

    def with_images(self, images, targets):
        """The same dataset with other images and their targets, without factors."""
        other = copy(self)  # leaves out the mapped file, as __getstate__ does
        other.images, other.targets, other.factors = images, targets, {}
        return other

    def select(self, indices):
        """The dataset of these images only: a slice, a list of indices or a mask."""
        part = self.with_images(self.images[indices], self.targets[indices])
        part.factors = {key: value[indices] for key, value in self.factors.items()}
        part.mapped_file = self.mapped_file if isinstance(indices, slice) else None
        return part

    def release_pages(self):
        """Give memory that mapped images take back to the system; they are read from the file again when needed.

        Nothing is released once the images were changed (torch counts its changes; it cannot see those made through
        `.numpy()`), since the file has no copy of them.
        """
        if self.mapped_file is not None and self.images._version == 0 and hasattr(mmap, "MADV_DONTNEED"):
            self.mapped_file.madvise(mmap.MADV_DONTNEED)


def to_float(images):
    """Pixels 0..255 (uint8) -> floats in [0, 1], on the device where they are."""
    return images.to(torch.float32).div_(255)


def load_dataset(name, split="train", size=None, crop=None, limit=None):
    """An ImageDataset: name mnist | cifar10 | celeba | ffhq, split train | val | test.

    crop: side of the centre square to cut out first; size: side to resize to; limit: only the first `limit` images.
    Defaults: MNIST and CIFAR-10 as released; CelebA the centre 148x148 resized to 64; FFHQ the whole square at 128.
    Validation is every tenth image of the train split where the release has none (or, for part of CelebA, where no
    official test image is there: then test is the official validation part, and a line says so).
    Where the profile allows no real data, or in the lab profile none can be had, the images are synthetic: the
    dataset says so in `source`, and the lab profile prints a banner with the reason. Nobody is required to have FFHQ.
    Raises LabError for an unknown name or split, a bad size, or files that are there but damaged.
    """
    if name not in DATASETS:
        raise LabError(f"Unknown dataset {name!r}; choose one of {', '.join(DATASETS)}.")
    if split not in SPLITS:
        raise LabError(f"Unknown split {split!r} of {name}; choose one of {', '.join(SPLITS)}.")
    for argument, value, least in (("size", size, 2), ("crop", crop, 1), ("limit", limit, 1)):
        if value is not None and (not isinstance(value, Integral) or value < least):
            raise LabError(f"{argument}={value!r} for {name}: give a whole number of at least {least}, or None.")
    size, crop, limit = (None if value is None else int(value) for value in (size, crop, limit))
    entry = DATASETS[name]
    size, crop = size or entry.size, crop or entry.crop
    if settings.PROFILE.real_data == "never":
        dataset = draw_synthetic(name, split, size, crop)
    else:
        remove_leftovers(settings.DATA_DIR, readers.DOWNLOADING, hours=24)
        try:
            dataset = entry.load(name, split, size, crop)
        except DataMissing as missing:
            if settings.PROFILE.real_data == "required" and entry.required:
                raise
            line = "=" * 100
            say_once(f"{line}\nSYNTHETIC DATA instead of {name}: {missing}\n{line}")
            dataset = draw_synthetic(name, split, size, crop)
    dataset.crop = None if crop == entry.crop else crop
    return dataset if limit is None else dataset.select(slice(limit))


_said = set()


def say_once(sentence):
    """Print what a user must know about a dataset, once a session."""
    if sentence not in _said:
        _said.add(sentence)
        print(sentence)


def load_arrays(name, split, size, crop, find_files, read, target_names):
    """The ImageDataset of a release that is a few files of arrays (readers.py), through the cache."""
    files = find_files()
    stamp = folders.stamp_of({}, *files)

    def decode():
        images, targets = read(files, "test" if split == "test" else "train")
        if split != "test":  # neither release has a validation part: every tenth training image
            keep = (np.arange(len(images)) % 10 == 0) == (split == "val")
            images, targets = images[keep], targets[keep]
        yield Block(fit_images(torch.from_numpy(images), size, crop).numpy(), targets.astype(np.int64), [])

    images, targets, _ = cached(f"{name}-{split}-{size or 'full'}-{crop or 'whole'}-{stamp}", decode)
    return ImageDataset(torch.from_numpy(images), torch.from_numpy(targets), target_names, name, split, "real")


def load_folder(name, split, size, crop, find):
    """The ImageDataset of a release that is a folder of image files (folders.py), through the cache."""
    folder = find()
    names, notes = folder.choose(split)
    key = f"{name}-{split}-{size}-{crop or 'whole'}-{folder.stamp}"
    if not names:
        raise LabError(" ".join([f"{folder.root} holds no image for the {split} split; add some.", *notes]))
    if crop is not None and folder.sides is not None and crop > min(folder.sides):
        raise LabError(f"crop={crop} is larger than the images of {folder.sides[1]}x{folder.sides[0]} pixels.")

    def decode():
        targets, kept, skipped = folder.read_targets(names), 0, []

        def decode_part(part):
            return folders.decode_files(folder, names[part], targets[part], size, crop)

        with tqdm(total=len(names), desc=f"decoding {name}", unit=" images", mininterval=1, file=sys.stdout) as bar:
            for block in in_parts(key, len(names), decode_part, length=max(1, PART_BYTES // (3 * size**2))):
                kept += len(block.images)
                skipped += block.skipped
                bar.update(len(block.images) + len(block.skipped))
                yield block
        if not kept:
            raise LabError(f"None of the {len(names):,} files in {folder.root} is usable: {skipped[0]}.")

    images, targets, skipped = cached(key, decode)
    mapped_file = images.base if isinstance(images.base, mmap.mmap) else None
    for note in notes:
        say_once(note)
    if skipped:
        say_once(f"{name}, {split}: {len(skipped):,} of {len(names):,} files skipped: {folders.some(skipped, '; ')}.")
    images, targets = torch.from_numpy(images), torch.from_numpy(targets)
    return ImageDataset(images, targets, folder.target_names, name, split, "real", mapped_file=mapped_file)


def draw_synthetic(name, split, size, crop):
    """The synthetic stand-in of a dataset; the three splits come from three seeds.

    Images above 64x64 are fewer (an eighth for twice the side), so that a lesson on them stays short.
    """
    n = max(1, round(settings.PROFILE.synthetic_sizes[split] * min(1, (64 / (size or 32)) ** 3)))
    images, targets, names, factors = DATASETS[name].draw(n, SPLITS.index(split), size, crop)
    factors = {key: torch.from_numpy(value) for key, value in factors.items()}
    targets = torch.from_numpy(targets)
    images = torch.from_numpy(images.copy())  # whoever changes them leaves those of the next call alone
    return ImageDataset(images, targets, names, name, split, "synthetic", factors)


def fit_drawn(draw):
    """draw(n, seed) at one size -> draw(n, seed, size, crop): cut and resized as a real image would be."""

    def draw_and_fit(n, seed, size, crop):
        images, *others = draw(n, seed)
        return fit_images(torch.from_numpy(images), size, crop).numpy(), *others

    return draw_and_fit


def fit_images(images, size, crop):
    """Cut the centre square of side `crop`, then resize it to `size`: uint8 (N, C, H, W) -> (N, C, size, size)."""
    if crop is not None:
        if crop > min(images.shape[2:]):
            raise LabError(f"crop={crop} is larger than the images of {images.shape[2]}x{images.shape[3]} pixels.")
        images = transforms.center_crop(images, [crop, crop])
    if size is not None and tuple(images.shape[2:]) != (size, size):
        images = transforms.resize(images, [size, size], antialias=True)
    return images


@dataclass(frozen=True)
class DatasetEntry:
    """How to load and imitate one dataset."""

    load: Callable  # (name, split, size, crop) -> the real ImageDataset; raises DataMissing
    draw: Callable  # (n, seed, size, crop) -> images, targets, target_names, factors
    size: int | None = None  # what size=None and crop=None mean
    crop: int | None = None
    required: bool = True  # by the full profile


DIGITS = dict(find_files=readers.find_mnist, read=readers.read_mnist, target_names=tuple("0123456789"))
OBJECTS = dict(find_files=readers.find_cifar10, read=readers.read_cifar10, target_names=readers.CIFAR10_CLASSES)
DATASETS = {
    "mnist": DatasetEntry(partial(load_arrays, **DIGITS), fit_drawn(synthetic.draw_digits)),
    "cifar10": DatasetEntry(partial(load_arrays, **OBJECTS), fit_drawn(synthetic.draw_objects)),
    "celeba": DatasetEntry(partial(load_folder, find=folders.find_celeba), draw_faces, size=64, crop=148),
    "ffhq": DatasetEntry(partial(load_folder, find=folders.find_ffhq), draw_faces, size=128, required=False),
}


def show_setup(*datasets):
    """Print what a notebook's numbers depend on: profile, data, device, versions."""
    print(f"profile {settings.PROFILE.name} | {settings.hardware()}")
    for dataset in datasets:
        print(dataset)
    print(" | ".join(f"{name} {version}" for name, version in settings.versions().items()))
