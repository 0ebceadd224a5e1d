"""ImageDataset: the images of one split, with what a lesson needs to know about them."""

import mmap
from dataclasses import dataclass, replace

import torch

from vae_lib.checks import LabError, near_names


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
        if self.images.dtype != torch.uint8:
            raise LabError(f"An ImageDataset holds pixels from 0 to 255 as uint8, not {self.images.dtype}.")

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.targets[index]

    def __getitems__(self, indices):
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
    """Pixels 0..255 (uint8) -> floats in [0, 1], on the device where they are."""
    return images.to(torch.float32, copy=True).div_(255)
