"""Datasets that come as folders of image files, CelebA and FFHQ: which files they have, and how one is decoded.

Each dataset has find_*() -> an ImageFolder, whose `choose(split)` names the files of a split.
"""

import hashlib
import os
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePath

import numpy as np
import torch
import torchvision
from PIL import Image, ImageOps
from tqdm import tqdm

from vae_lib import settings
from vae_lib.checks import LabError
from vae_lib.data.cache import Block
from vae_lib.data.readers import DataMissing, download
from vae_lib.storage.files import WRITING, reading, remove_leftovers, replacing, writing

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
CELEBA_IMAGES = 202_599
CELEBA_SIDES = (178, 218)  # width and height of every aligned image


@dataclass(frozen=True)
class ImageFolder:
    """The image files of a dataset."""

    root: Path
    stamp: str  # changes when a file does
    target_names: tuple[str, ...]
    choose: Callable  # split -> (names of its files, relative to root; sentences that a user must know)
    read_targets: Callable  # names -> int64 (N, attributes)
    sides: tuple[int, int] | None = None  # width and height that every image must have


def scan(root):
    """Every image file below `root`, sorted: -> {name relative to root: "size mtime"}. Hidden files are left out."""
    found, folders = {}, [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                    folders.append(entry.path)
                elif is_image_name(entry.name) and entry.is_file():
                    stat = entry.stat()
                    found[entry.path[len(str(root)) + 1 :].replace(os.sep, "/")] = f"{stat.st_size} {stat.st_mtime_ns}"
    if not found:
        raise LabError(
            f"{root} holds no images ({', '.join(SUFFIXES)}); fill it as data/README.md shows, or delete it."
        )
    return dict(sorted(found.items()))


def is_image_name(name):
    """True for image files, but not for hidden ones, such as the ._*.jpg that macOS leaves beside unpacked images."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def stamp_of(files, *others):
    """A short hash that changes when one of the scanned files does, or one of the other paths."""
    parts = chain.from_iterable(files.items()), (f"{path.stat().st_size} {path.stat().st_mtime_ns}" for path in others)
    return hashlib.sha1("|".join(chain(*parts)).encode(errors="surrogateescape")).hexdigest()[:8]


# --- CelebA (Liu et al. 2015): img_align_celeba/*.jpg, list_attr_celeba.txt, list_eval_partition.txt ---


def find_celeba():
    """DATA_DIR/celeba in its official layout, all images or some of them; downloaded through torchvision if absent."""
    folder = settings.DATA_DIR / "celeba"
    if not folder.is_dir():
        download(torchvision.datasets.CelebA, "drive.google.com", "celeba")
    images, attributes, partition = (
        folder / name for name in ("img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt")
    )
    if not images.exists() and (archive := images.with_suffix(".zip")).exists():
        unpack(archive, images)
    remove_leftovers(folder, WRITING)  # of an unpacking that was killed
    for path in (images, attributes, partition):
        if not path.exists():
            raise LabError(f"{folder} has no {path.name}: complete the folder as data/README.md shows, or delete it.")
    files = scan(images)
    return ImageFolder(
        root=images,
        stamp=stamp_of(files, attributes, partition),
        target_names=attribute_names(attributes),
        choose=lambda split: choose_celeba(list(files), read_partition(partition, files), split),
        read_targets=lambda names: read_attributes(attributes, names),
        sides=CELEBA_SIDES,
    )


def unpack(archive, folder):
    """Write the image files of a .zip archive into a new folder, all or nothing; the first of several processes wins.

    Only the last part of each name counts, so that nothing can leave the folder. LabError for a file that is no whole
    archive, and, before anything is written, for one that would unpack to far more than it holds.
    """
    try:
        with reading(archive), zipfile.ZipFile(archive) as file, writing(folder), replacing(folder) as temporary:
            members = {PurePath(member.filename).name: member for member in file.infolist()}
            members = {name: member for name, member in members.items() if is_image_name(name)}
            if sum(member.file_size for member in members.values()) > 2 * archive.stat().st_size:
                raise ValueError("it would unpack to more than twice its size, which no archive of JPEG files does")
            if not members:
                raise ValueError("it holds no images")
            temporary.mkdir()
            bar = tqdm(members.items(), f"unpacking {archive.name}", unit=" images", mininterval=1, file=sys.stdout)
            for name, member in bar:
                (temporary / name).write_bytes(file.read(member))
    except LabError:
        if not folder.exists():
            raise
    except Exception as error:  # a damaged archive raises almost anything
        raise LabError(
            f"{archive} cannot be unpacked ({error}); delete it and fetch it again: where its "
            "quota is spent, Google Drive sends a web page instead."
        ) from None


def choose_celeba(names, partition, split):
    """The official parts. What is not there is replaced: test by the official validation part, val by a tenth of train,
    and if neither is there, test by another tenth of train."""
    notes = []
    train, val, test = ([name for name in names if partition.get(name) == part] for part in range(3))
    unlisted = [name for name in names if partition.get(name) not in range(3)]
    if len(names) < CELEBA_IMAGES:
        notes.append(f"{len(names):,} of CelebA's {CELEBA_IMAGES:,} images are on disk.")
    if unlisted:
        notes.append(
            f"{len(unlisted):,} images that list_eval_partition.txt does not name are left out: {some(unlisted)}."
        )
    if not test and not val:
        notes.append("All are of the official train part: 'test' is a tenth of them, 'val' a tenth of the others.")
        train, test = tenth(train)
    elif not test:
        notes.append(
            f"None is of the official test part: 'test' is the official validation part ({len(val):,} images)."
        )
        val, test = [], val
    if not val:
        notes.append(f"'val' is every tenth of the {len(train):,} images of the train part.")
        train, val = tenth(train)
    return {"train": train, "val": val, "test": test}[split], notes


def tenth(names):
    """Split off every tenth item for validation: -> (train, val)."""
    return [name for i, name in enumerate(names) if i % 10], names[::10]


def read_rows(path, names, columns, allowed):
    """The lines of a text table that begin with one of the names: {name: int8 (columns,)}.

    LabError for a line that does not hold so many of the allowed numbers, and for a name that is there twice.
    """
    wanted, rows = set(names), {}
    with reading(path), open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            name, _, values = line.partition(" ")
            if name not in wanted:
                continue
            if name in rows:
                raise LabError(f"{path}, line {number}: {name} is there a second time; fetch the file again.")
            try:
                row = [allowed[value] for value in values.split()]
            except KeyError as error:
                raise LabError(
                    f"{path}, line {number}: {error} after {name} is none of {', '.join(allowed)}; fetch it again."
                ) from None
            if len(row) != columns:
                raise LabError(f"{path}, line {number}: not {columns} numbers after {name}; fetch the file again.")
            rows[name] = np.array(row, np.int8)
    return rows


def read_partition(path, names):
    """{name: 0 train, 1 validation, 2 test} of list_eval_partition.txt."""
    return {name: row.item() for name, row in read_rows(path, names, 1, {"0": 0, "1": 1, "2": 2}).items()}


def attribute_names(path):
    """The attributes that the second line of list_attr_celeba.txt names."""
    with reading(path), open(path, encoding="utf-8", errors="replace") as lines:
        names = tuple([*(line for _, line in zip(range(2), lines)), "", ""][1].split())
    if "Smiling" not in names or len(set(names)) < len(names):
        raise LabError(f"{path}: the second line should name the attributes, Smiling among them; fetch the file again.")
    return names


def read_attributes(path, names):
    """-1 and 1 of list_attr_celeba.txt as 0 and 1: int64 (N, attributes), a row for each file name."""
    rows = read_rows(path, names, len(attribute_names(path)), {"-1": 0, "1": 1})
    if missing := [name for name in names if name not in rows]:
        raise LabError(f"{path} has no row for {len(missing):,} of the images ({some(missing)}); fetch the file again.")
    return np.stack([rows[name] for name in names]).astype(np.int64)


# --- FFHQ (Karras et al. 2019), or any other folder of images ---


def find_ffhq():
    """The images in DATA_DIR/ffhq, however nested; a random 80 % (seed 0) are train and val, the others test."""
    root = settings.DATA_DIR / "ffhq"
    if not root.is_dir():
        raise DataMissing(
            f"there is no ffhq/ in {settings.DATA_DIR}; put any folder of square face images there, "
            "for example FFHQ's thumbnails128x128/, as data/README.md shows."
        )
    files = scan(root)

    def choose(split):
        names = np.random.default_rng(0).permutation(list(files)).tolist()
        cut = round(0.8 * len(names))
        train, val = tenth(names[:cut])
        return {"train": train, "val": val, "test": names[cut:]}[split], []

    return ImageFolder(root, stamp_of(files), (), choose, lambda names: np.zeros((len(names), 0), np.int64))


# --- decoding ---


def decode_image(path, size, crop=None, sides=None):
    """One image file, of any mode and orientation -> uint8 (3, size, size).

    The centre square of side `crop` (default: as large as fits) is resized to `size`. Raises ValueError, saying why,
    if it is no whole image, smaller than the crop, or not of the given sides (width, height).
    """
    try:
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            image = to_rgb(image)
    except MemoryError:  # perhaps the fault of other programs, so the file must not be marked as damaged
        raise LabError(f"{path} needs more memory than there is; close other programs, or remove the file.") from None
    except Exception as error:  # a decoder may raise anything on a damaged file
        if getattr(error, "errno", None):  # the disk's fault, not the file's: trying again may help
            raise LabError(f"{path} cannot be read ({error.strerror}); see to the disk and try again.") from None
        raise ValueError("no whole image") from None
    width, height = image.size
    if sides is not None and (width, height) != sides:
        raise ValueError(f"{width}x{height} pixels, not {sides[0]}x{sides[1]}")
    side = min(width, height) if crop is None else crop
    left, top = (width - side) // 2, (height - side) // 2
    if min(left, top) < 0:
        raise ValueError(f"{width}x{height} pixels, smaller than the crop of {crop}")
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box)).transpose(2, 0, 1)


def to_rgb(image):
    """A PIL image of any mode as 8-bit RGB: 16-bit values scaled down, transparency laid over white."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def decode_files(folder, names, targets, size, crop):
    """Decode the named files in parallel: -> a Block, without the files that are no usable images.

    Threads suffice, since PIL decodes outside Python's lock; each takes some files at a time.
    """
    images = np.empty((len(names), 3, size, size), np.uint8)
    batch = max(1, len(names) // 20)
    skipped = {}

    def decode_batch(start):
        for i in range(start, min(start + batch, len(names))):
            try:
                images[i] = decode_image(folder.root / names[i], size, crop, folder.sides)
            except LabError:
                raise
            except ValueError as error:
                skipped[i] = f"{names[i]}: {error}"

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(decode_batch, range(0, len(names), batch)))  # list() raises what a thread has raised
    if skipped:
        kept = [i for i in range(len(names)) if i not in skipped]
        images, targets = images[kept], targets[kept]
    return Block(images, targets, [skipped[i] for i in sorted(skipped)])


def some(names, separator=", ", n=3):
    """The first few names, for a sentence."""
    return separator.join(names[:n]) + (f"{separator}..." if len(names) > n else "")
