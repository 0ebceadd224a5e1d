"""ImageDataset: the images of one split, with what a lesson needs to know about them."""

import mmap
from dataclasses import dataclass, replace

import numpy as np
import torch

from vae_lib.checks import LabError, check_bytes, check_indices, check_labelled, check_not_empty, near_names


@dataclass(eq=False, repr=False)
class ImageDataset(torch.utils.data.Dataset):
    """Items are (uint8 image, target); `__getitems__` gathers a whole batch at once, so a plain DataLoader is fast."""

    images: torch.Tensor  # uint8 (N, C, H, W)
    targets: torch.Tensor  # int64 (N,); of faces (N, attributes), each 0 or 1
    target_names: tuple[str, ...]  # of each value of a target; of faces, of each attribute
    name: str
    split: str
    source: str  # "real", "sample" (real images of data/sample) or "drawn"
    factors: dict | None = None  # tensors (N,): what drawn images were drawn from; of faces, which person
    mapped_file: mmap.mmap | None = None  # in which `images` lie, if their pages are to be released
    crop: int | None = None  # side of the centre square, in pixels of the release; None for the dataset's default

    def __post_init__(self):
        self.target_names, self.factors = tuple(self.target_names), self.factors or {}
        check_bytes("An ImageDataset holds", self.images, "of floats in [0, 1], give (255 * x).round().to(torch.uint8)")
        check_labelled(self.images, self.targets)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.targets[index]

    def __getitems__(self, indices):
        indices = check_indices("This", torch.as_tensor(indices), len(self))  # of a random Subset a list of tensors
        return list(zip(self.images[indices], self.targets[indices]))

    def __getstate__(self):
        return self.__dict__ | {"mapped_file": None}  # for copies, as workers of a DataLoader get them

    def __repr__(self):
        shape = "x".join(map(str, self.image_shape))
        return f"{self.source} {self.name}, {self.split}: {len(self):,} images of {shape}"

    @property
    def image_shape(self):
        """(channels, height, width)."""
        return tuple(self.images.shape[1:])

    @property
    def label(self):
        """For titles: 'cifar10' for the whole set, 'cifar10 (sample)' or 'faces (drawn)' otherwise."""
        return self.name if self.source == "real" else f"{self.name} ({self.source})"

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
        return replace(self, images=images, targets=targets, factors={}, mapped_file=None)

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
    """Pixels 0..255 (uint8) -> floats in [0, 1], on the device where they are. LabError for floats, which may be in
    [0, 1] already."""
    check_bytes("to_float takes", images, "floats in [0, 1] need no to_float, and whole numbers .to(torch.uint8)")
    return images.to(torch.float32, copy=True).div_(255)


def image_datasets(**given):
    """What was given as train, val or test, each as `as_images`; only val and test may be None. Given train and val
    must not be empty."""
    found = {
        name: None if dataset is None and name != "train" else as_images(dataset, name)
        for name, dataset in given.items()
    }
    check_not_empty(found["train"], found.get("val"))
    return list(found.values())


def as_images(dataset, argument="dataset"):
    """An ImageDataset as it is; torch's Subset of one, as `random_split` makes them, as one. LabError otherwise."""
    if isinstance(dataset, ImageDataset):
        return dataset
    if isinstance(dataset, torch.utils.data.Subset):
        whole, indices = as_images(dataset.dataset, argument), torch.as_tensor(np.array(dataset.indices))
        return whole.select(check_indices(argument, indices, len(whole)))
    kind = type(dataset)
    what = "None" if dataset is None else f"a {kind.__name__} of {kind.__module__.split('.')[0]}"
    raise LabError(f"{argument} must be an ImageDataset, or a Subset of one, not {what}; {way_to_images(dataset)}.")


def way_to_images(dataset):
    """How to get an ImageDataset instead of something else, for a sentence."""
    if isinstance(dataset, torch.utils.data.DataLoader):
        return "give its .dataset, since batches are made here"
    if isinstance(dataset, str) or type(dataset).__module__.startswith("torchvision."):
        name = dataset if isinstance(dataset, str) else type(dataset).__name__.lower()
        return f"vae_lib.load_dataset({name!r}) reads one"
    return "ImageDataset(images, targets, target_names, name, split, source) makes one of uint8 images (N, C, H, W)"
