"""load_dataset: from a name to images, of the whole set where it can be had, else of the embedded sample."""

import mmap
from contextlib import contextmanager
from functools import partial

import torch

from vae_lib import settings
from vae_lib.checks import LabError, check_whole
from vae_lib.data.cache import cached, joined
from vae_lib.data.dataset import ImageDataset
from vae_lib.data.download import DataMissing
from vae_lib.data.drawn_faces import draw_faces
from vae_lib.data.folders import OwnFolder
from vae_lib.data.layouts import check_data_dir
from vae_lib.data.releases import SPLITS, some
from vae_lib.data.sample import DATASETS, EMBEDDED
from vae_lib.storage.files import reason

RESTORE = "restore data/sample with git, or get the whole set (data/README.md)"


def load_dataset(name, split="train", size=None, crop=None, limit=None):
    """An ImageDataset: name mnist | cifar10 | celeba | ffhq | faces | portraits, or folder:PATH for any pictures.

    split: train | val | test. crop: side of the centre square to cut out first; size: side to resize to; limit: only
    the first `limit` images; of a folder that is sorted by class, evenly spread ones. Defaults: MNIST and
    CIFAR-10 as released; CelebA and faces the centre 148x148 resized to 64; FFHQ the whole centre square at 128, a
    folder's pictures at 64. Validation is every tenth image of the train split where the release has none (or, for part
    of CelebA, where no official test image is there: then test is the official validation part, and a line says so).
    Where the profile uses no other data, or in the lab profile none can be had, the images are those of data/sample: of
    MNIST and CIFAR-10 a part, instead of CelebA and FFHQ the free faces, and then a line says so. `source` is "real" or
    "sample". The full profile needs the whole sets, but not FFHQ. "faces" and "portraits" lie in data/sample, and
    folder:PATH where it says, in every profile.
    Raises LabError for an unknown name or split, a bad size, or files that are there but damaged.
    """
    if name not in DATASETS and not str(name).startswith("folder:"):
        raise LabError(f"Unknown dataset {name!r}; choose one of {', '.join(DATASETS)}, or folder:PATH for your own.")
    if split not in SPLITS:
        raise LabError(f"Unknown split {split!r} of {name}; choose one of {', '.join(SPLITS)}.")
    size, crop, limit = (
        None if value is None else check_whole(argument, value, least)
        for argument, value, least in (("size", size, 2), ("crop", crop, 1), ("limit", limit, 1))
    )
    release = find(name)
    with whole_sample(release):
        dataset = read(release, split, size or release.size, crop or release.crop)
    dataset.crop = None if crop in (None, release.crop) else crop
    if release.source == "sample" and settings.PROFILE.sample_images:
        side = dataset.image_shape[1]
        # A model sees a training image once an epoch; the others are encoded, decoded and judged for every table: in
        # the quick profile 88 of 64x64, with enough of each kind for notebook 6, and 31 of 128x128.
        share = (64 / side) ** 3 if split == "train" else (52 / side) ** 1.5
        n = settings.PROFILE.sample_images[split] * min(1, share)
        dataset = dataset.select(slice(max(1, round(n))))
    return dataset if limit is None or limit >= len(dataset) else limited(dataset, limit)


def limited(dataset, limit):
    """The first images of a dataset; of one in which one class follows the other, evenly spread ones, since the first
    are alike."""
    targets = dataset.targets
    if targets.ndim == 1 and 1 < len(targets.unique()) == 1 + (targets.diff() != 0).sum():
        return dataset.select(torch.arange(limit) * len(dataset) // limit)
    return dataset.select(slice(limit))


def find(name):
    """The release to read for the name of a dataset, which knows its files. DataMissing if the profile requires what
    cannot be had."""
    if name.startswith("folder:"):
        return OwnFolder(name.removeprefix("folder:")).located()
    release = DATASETS[name]
    if settings.PROFILE.real_data != "never" and release.source == "real":
        check_data_dir()
        try:
            return release.located()
        except DataMissing as missing:
            if settings.PROFILE.real_data == "required" and release.required:
                raise
            if not settings.SAMPLE_DIR.is_dir():
                raise DataMissing(f"{name}: {missing} {no_sample()}") from None
            absent = "" if settings.DATA_DIR.is_dir() else f" There is no folder {settings.DATA_DIR}."
            say_once(f"{name}: the embedded sample of real images (data/sample) is used, since {missing}{absent}")
    release = EMBEDDED[name]
    with whole_sample(release):
        return release.located()


@contextmanager
def whole_sample(release):
    """LabError for anything that goes wrong with the files of the sample, which come with the repository."""
    try:
        yield
    except LabError:
        raise
    except Exception as error:  # a decoder may raise anything on a damaged file
        if release.source != "sample":
            raise
        if not settings.SAMPLE_DIR.is_dir():
            raise LabError(no_sample()) from None
        raise LabError(f"{release.root} is damaged or incomplete ({reason(error)}); {RESTORE}.") from None


def without(skipped, names):
    """The names of the files that were not skipped; skipped: a line "name: why" for each that was."""
    gone = {line.rpartition(": ")[0] for line in skipped}
    return [name for name in names if name not in gone]


def no_sample():
    """What to do where the sample is not there at all, a sentence."""
    how = settings.WITHOUT_CLONE or RESTORE
    return f"There is no sample in {settings.SAMPLE_DIR}: {how}."


def read(release, split, size, crop):
    """The images of a split, through the cache; those of the sample are few, and decoded anew."""
    chosen, notes = release.split(split)
    if not chosen:
        raise LabError(" ".join([f"{release.root} holds no image for the {split} split; add some.", *notes]))
    if release.source == "sample":
        images, targets, skipped = joined(release.decode(chosen, size, crop, 0))
        if skipped:
            raise ValueError(skipped[0])
    else:
        variant = f"{release.key}-{split}-{size or 'full'}-{crop or 'whole'}"
        decode = partial(release.decode, chosen, size, crop)
        images, targets, skipped = cached(variant, release.stamp(), decode)
    if skipped:
        n = len(images) + len(skipped)
        notes.append(f"{release.name}, {split}: {len(skipped):,} of {n:,} files skipped: {some(skipped, '; ')}.")
    for note in notes:
        say_once(note)
    known = release.factors(without(skipped, chosen) if skipped else chosen)  # of files in this order
    factors = {key: torch.from_numpy(value) for key, value in known.items()}
    mapped_file = images.base if release.is_large and isinstance(images.base, mmap.mmap) else None
    images, targets = torch.from_numpy(images), torch.from_numpy(targets)
    about = release.target_names, release.name, split, release.source
    return ImageDataset(images, targets, *about, factors, mapped_file)


def load_drawn_faces(size=64, crop=None):
    """Drawn faces, whose true factors are known (drawn_faces.py), as many as the profile says: an ImageDataset."""
    images, targets, names, factors = draw_faces(settings.PROFILE.drawn_images, 0, size, crop)
    images, targets = torch.tensor(images), torch.tensor(targets)  # whoever changes them leaves the next call's alone
    factors = {key: torch.tensor(value) for key, value in factors.items()}
    return ImageDataset(images, targets, names, "faces", "train", "drawn", factors)


_said = set()


def say_once(sentence):
    """Print what a user must know about a dataset, once a session."""
    if sentence not in _said:
        _said.add(sentence)
        print(sentence)
