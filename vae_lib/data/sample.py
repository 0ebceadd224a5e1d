"""The embedded sample: real images that lie in the repository, for every dataset that is not on disk.

data/sample/README.md says where they come from, and how the files were made.
"""

import csv

import numpy as np
import torch
from PIL import Image

from vae_lib import settings
from vae_lib.data import folders
from vae_lib.data.cache import Block
from vae_lib.data.decoding import fit_images
from vae_lib.data.folders import FFHQ, CelebA, FolderRelease
from vae_lib.data.releases import CIFAR10, MNIST, Release
from vae_lib.data.stores import Folder


class Sheets(Release):
    """A PNG for each split, of small square images, 50 in a row. Image number i, row by row, is of class i % 10."""

    source = "sample"
    columns = 50

    def __init__(self, release, image_shape):
        self.name, self.target_names, self.image_shape = release.name, release.target_names, image_shape

    @property
    def root(self):
        """The folder of the sheets."""
        return settings.SAMPLE_DIR / self.name

    def located(self):
        return self

    def split(self, split):
        return self.root / f"{split}.png", []

    def decode(self, path, size, crop, start):
        channels, side, _ = self.image_shape
        with Image.open(path) as sheet:
            tiles = np.asarray(sheet).reshape(sheet.height // side, side, self.columns, side, channels)
        images = tiles.transpose(0, 2, 4, 1, 3).reshape(-1, channels, side, side)[start:]
        targets = np.arange(start, start + len(images)) % 10
        yield Block(fit_images(torch.from_numpy(images), size, crop).numpy(), targets, [])


class FreeFaces(FolderRelease):
    """Photographs in CelebA's frame, with four of its attributes, and who is shown.

    Train and val are official portraits of the US Congress, one a person. Test is the Face Research Lab London Set: 102
    people, neutral and smiling, who agreed to be shown "in their original or altered forms": only they are edited.
    """

    source, name = "sample", "faces"
    size, crop, sides = 64, 148, (178, 218)
    target_names = ("Smiling", "Eyeglasses", "Male", "Young")

    @property
    def root(self):
        return settings.SAMPLE_DIR / "faces"

    @property
    def store(self):
        return Folder(self.root)

    def located(self):
        return self

    def rows(self):
        """The rows of faces.csv, by the names of the files."""
        path = self.root.with_suffix(".csv")
        with open(path, newline="", encoding="utf-8") as file:
            return {row["file"]: row for row in csv.DictReader(file)}

    def split(self, split):
        files = list(self.rows())
        train, val = folders.every_tenth([name for name in files if name.startswith("congress/")])
        test = [name for name in files if name.startswith("london/")]
        who = "train and val are portraits of the US Congress, test is people of London: see data/sample/README.md"
        return {"train": train, "val": val, "test": test}[split], [f"faces: {who}."]

    def read_targets(self, names):
        rows = self.rows()
        return np.array([[int(rows[name][attribute]) for attribute in self.target_names] for name in names], np.int64)

    def factors(self, names):
        person = {name: row["person"] for name, row in self.rows().items()}
        number = {name: k for k, name in enumerate(dict.fromkeys(person.values()))}
        return {"person": np.array([number[person[name]] for name in names])}


class Portraits(FFHQ):
    """The portraits of the US Congress, read as any other folder of photographs is."""

    source, name = "sample", "portraits"

    @property
    def root(self):
        return settings.SAMPLE_DIR / "faces" / "congress"

    def own_folders(self):
        return [self.root]


FACES, PORTRAITS = FreeFaces(), Portraits()
PUBLISHED = {release.name: release for release in (MNIST(), CIFAR10(), CelebA(), FFHQ())}
DATASETS = PUBLISHED | {"faces": FACES, "portraits": PORTRAITS}
EMBEDDED = {
    "mnist": Sheets(MNIST, (1, 28, 28)),
    "cifar10": Sheets(CIFAR10, (3, 32, 32)),
    "celeba": FACES,
    "ffhq": PORTRAITS,
    "faces": FACES,
    "portraits": PORTRAITS,
}
