"""load_dataset: from the name of a dataset to its images, real ones if the profile allows and the disk has them."""

import mmap
from numbers import Integral

import torch

from vae_lib import settings
from vae_lib.checks import LabError
from vae_lib.data.cache import cached
from vae_lib.data.dataset import ImageDataset
from vae_lib.data.releases import DATASETS, SPLITS, DataMissing, some


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
    release = DATASETS[name]
    size, crop = size or release.size, crop or release.crop
    if settings.PROFILE.real_data == "never":
        dataset = draw_synthetic(name, split, size, crop)
    else:
        try:
            dataset = load_real(name, split, size, crop)
        except DataMissing as missing:
            if settings.PROFILE.real_data == "required" and release.required:
                raise
            line = "=" * 100
            say_once(f"{line}\nSYNTHETIC DATA instead of {name}: {missing}\n{line}")
            dataset = draw_synthetic(name, split, size, crop)
    dataset.crop = None if crop == release.crop else crop
    return dataset if limit is None else dataset.select(slice(limit))


def load_real(name, split, size, crop):
    """The real images of a dataset, through the cache. DataMissing if they cannot be had."""
    release = DATASETS[name]
    files, stamp = release.files()
    chosen, notes = release.split(files, split)
    if not chosen:
        raise LabError(" ".join([f"{release.root} holds no image for the {split} split; add some.", *notes]))
    variant = f"{name}-{split}-{size or 'full'}-{crop or 'whole'}"
    images, targets, skipped = cached(variant, stamp, lambda start: release.decode(chosen, size, crop, start))
    if skipped:
        n = len(images) + len(skipped)
        notes.append(f"{name}, {split}: {len(skipped):,} of {n:,} files skipped: {some(skipped, '; ')}.")
    for note in notes:
        say_once(note)
    mapped_file = images.base if release.is_large and isinstance(images.base, mmap.mmap) else None
    images, targets = torch.from_numpy(images), torch.from_numpy(targets)
    return ImageDataset(images, targets, release.target_names, name, split, "real", mapped_file=mapped_file)


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


_said = set()


def say_once(sentence):
    """Print what a user must know about a dataset, once a session."""
    if sentence not in _said:
        _said.add(sentence)
        print(sentence)
