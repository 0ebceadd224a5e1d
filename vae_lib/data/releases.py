"""The datasets as they are released: one class each, which knows where its files lie and what is in them.

To add one, write a class with the attributes and methods of Release (ArrayRelease and FolderRelease have most of them)
and put it into PUBLISHED, below. To read another layout of one, add its folder to `layouts`, and a case to `read`.
"""

import gzip
import hashlib
import os
import socket
import threading
import zipfile
import zlib
from contextlib import suppress
from itertools import chain
from pathlib import PurePath

import numpy as np
import torch
import torchvision

from vae_lib import settings
from vae_lib.checks import LabError
from vae_lib.data.cache import Block, make_once
from vae_lib.data.decoding import SUFFIXES, decode_files, fit_images, is_image_name
from vae_lib.engine.progress import progress_bar
from vae_lib.storage.files import reading, writing

SPLITS = ("train", "val", "test")
BLOCK_BYTES = 2**25  # of images: decoded at a time, and again after an interruption
LARGEST_IDX = 2**26  # bytes; the largest file of MNIST unpacks to 47 million


class DataMissing(LabError):
    """The files of a dataset are not on disk and could not be fetched."""


class Release:
    """One dataset. load_dataset calls its methods in this order:

    files() -> (its files, a stamp that changes when one of them does). They are downloaded if need be; DataMissing if
        they cannot be had, LabError if some are missing.
    split(files, split) -> (what decode needs for a split, sentences that a user must know).
    decode(chosen, size, crop, start) yields the images of a split as Blocks, from number `start` on, with one image at
        least. LabError for damaged files.
    factors(chosen), what else is known about each image.
    """

    name = None  # for load_dataset
    layouts = ()  # pairs (folder of DATA_DIR, the names that must be in it); the first that is there is read
    suffixes = ("",)  # that may follow these names, in order of preference
    source = "real"  # of its images: "real", or "sample" for those in the repository
    download_from = None  # torchvision's class and the host for a download, which makes the last layout
    target_names = ()
    size = crop = None  # what size=None and crop=None of load_dataset mean
    required = True  # by the full profile
    is_large = False  # perhaps larger than memory

    def is_on_disk(self):
        """True if DATA_DIR has a folder for it, whatever is in there."""
        return any((settings.DATA_DIR / folder).is_dir() for folder, _ in self.layouts)

    def find(self):
        """The paths of a layout, downloaded if there is none. LabError if some are missing."""
        if not self.is_on_disk():
            self.download()
        layouts = [(settings.DATA_DIR / folder, names) for folder, names in self.layouts]
        folder, names = next((layout for layout in layouts if layout[0].is_dir()), layouts[-1])
        found = [[path for suffix in self.suffixes if (path := folder / f"{name}{suffix}").exists()] for name in names]
        if missing := [name for name, paths in zip(names, found) if not paths]:
            raise LabError(f"{folder} has no {some(missing)}: complete it as data/README.md shows, or delete it.")
        return [paths[0] for paths in found]

    def factors(self, chosen):
        """What else is known about each image of a split: {name: numbers (N,)}."""
        return {}

    def download(self):
        """Fetch it with torchvision, all or nothing; DataMissing, within seconds, where there is no network."""
        dataset_class, host = self.download_from
        folder, where = self.layouts[-1][0].split("/")[0], settings.DATA_DIR
        how = f"put {folder}/ into {where} as data/README.md shows, or set VAE_DATA_DIR"
        if host in _unreachable or not reachable(host):
            _unreachable.add(host)
            raise DataMissing(f"there is no {folder}/ in {where}, and {host} cannot be reached; {how}.")
        print(f"Downloading {folder}/ from {host} ...")
        previous = socket.getdefaulttimeout()
        socket.setdefaulttimeout(10)  # a network that stops answering ends the attempt
        try:
            make_once(where / folder, lambda temporary: dataset_class(temporary, download=True))
        except Exception as error:  # Google Drive's quota, for example, has an exception of its own
            raise DataMissing(f"there is no {folder}/ in {where}, and the download failed ({error}); {how}.") from None
        finally:
            socket.setdefaulttimeout(previous)


def stamp_of(files, *others):
    """A short hash that changes when one of the scanned files does, or one of the other paths."""
    parts = chain.from_iterable(files.items()), (f"{path.stat().st_size} {path.stat().st_mtime_ns}" for path in others)
    return hashlib.sha1("|".join(chain(*parts)).encode(errors="surrogateescape")).hexdigest()[:8]


def blocks(start, n, image_bytes):
    """Cut start..n into slices of about BLOCK_BYTES each."""
    length = max(1, BLOCK_BYTES // image_bytes)
    return [slice(first, first + length) for first in range(start, n, length)]


def some(names, separator=", ", n=3):
    """The first few names, for a sentence."""
    return separator.join(names[:n]) + (f"{separator}..." if len(names) > n else "")


_unreachable = set()  # hosts; within a session none is tried twice, since a network that drops packets costs seconds


def reachable(host, seconds=3):
    """True if `host` accepts a connection within `seconds`, name look-up included."""
    connected = threading.Event()

    def connect():
        with suppress(OSError):
            socket.create_connection((host, 443), timeout=seconds).close()
            connected.set()

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return connected.is_set()


def damaged(path, what):
    """The error for a file that is there but wrong."""
    return LabError(f"{path} {what}; delete it and fetch it again.")


# --- arrays ---


class ArrayRelease(Release):
    """A few files of arrays. Subclasses have read(paths, part): the images uint8 (N, C, H, W) and targets (N,) of the
    official part "train" or "test"; LabError for damaged files."""

    def files(self):
        paths = self.find()
        return paths, stamp_of({}, *paths)

    def split(self, paths, split):  # none has an official validation part: it is every tenth training image
        part, last_digits = {"train": ("train", range(1, 10)), "val": ("train", [0])}.get(split, ("test", range(10)))
        return (paths, part, last_digits), []

    def decode(self, chosen, size, crop, start):
        paths, part, last_digits = chosen
        images, targets = self.read(paths, part)
        keep = np.isin(np.arange(len(images)) % 10, last_digits)
        images, targets = torch.from_numpy(images[keep]), targets[keep].astype(np.int64)
        for block in blocks(start, len(images), images.shape[1] * (size or images.shape[2]) ** 2):
            yield Block(fit_images(images[block], size, crop).numpy(), targets[block], [])


class MNIST(ArrayRelease):
    """LeCun et al. 1998: idx files, in torchvision's layout."""

    name = "mnist"
    stems = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    layouts = (("MNIST/raw", [f"{stem}-ubyte" for stem in stems]),)
    suffixes = (".gz", "")
    download_from = torchvision.datasets.MNIST, "ossci-datasets.s3.amazonaws.com"
    target_names = tuple("0123456789")

    def read(self, paths, part):
        paths = paths[:2] if part == "train" else paths[2:]
        images, labels = map(read_idx, paths)
        for path, array, shape in zip(paths, (images, labels), ((28, 28), ())):
            if array.ndim == 0 or array.shape[1:] != shape or len(array) == 0:
                raise damaged(path, f"holds no {part} images or labels of MNIST")
        if len(images) != len(labels):
            raise damaged(paths[0].parent, f"has {len(images)} {part} images but {len(labels)} labels")
        if labels.max() > 9:
            raise damaged(paths[1], "has labels above 9, so it is no file of MNIST")
        return images[:, None], labels


def read_idx(path):
    """The array in an idx file of bytes (.gz or not): magic 0x0000 08 ndim, ndim big-endian sizes, the bytes.

    LabError for any other content, and for more than LARGEST_IDX bytes: a small .gz may unpack to any size.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            data = file.read(LARGEST_IDX + 1)
        if len(data) > LARGEST_IDX:
            raise ValueError(f"more than {LARGEST_IDX:,} bytes")
        if data[:3] != b"\x00\x00\x08":
            raise ValueError("not an idx file of bytes")
        ndim = data[3]
        sizes = np.frombuffer(data, ">u4", ndim, offset=4).tolist()
        return np.frombuffer(data, np.uint8, offset=4 + 4 * ndim).reshape(sizes).copy()
    except (OSError, EOFError, IndexError, ValueError, zlib.error) as error:
        raise damaged(path, f"is damaged ({error})") from None


class CIFAR10(ArrayRelease):
    """Krizhevsky 2009: the official binary release, or torchvision's pickles."""

    name = "cifar10"
    batches = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    layouts = (
        ("cifar-10-batches-bin", [f"{batch}.bin" for batch in batches]),
        ("cifar-10-batches-py", [*batches, "batches.meta"]),
    )
    download_from = torchvision.datasets.CIFAR10, "www.cs.toronto.edu"
    target_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def read(self, paths, part):
        if paths[0].suffix == ".bin":
            records = [read_cifar10_binary(path) for path in (paths[:5] if part == "train" else paths[5:])]
            records = np.concatenate(records)
            return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]
        folder = paths[0].parent
        try:  # torchvision unpickles its files only if their md5 is right
            dataset = torchvision.datasets.CIFAR10(folder.parent, train=part == "train")
        except RuntimeError:
            raise damaged(folder, "is incomplete or damaged (wrong md5)") from None
        return dataset.data.transpose(0, 3, 1, 2), np.array(dataset.targets)


def read_cifar10_binary(path):
    """Records of 1 label byte and 3072 pixel bytes (red, green, blue planes): -> uint8 (N, 3073)."""
    with reading(path):
        data = np.fromfile(path, np.uint8)
    if len(data) == 0 or len(data) % 3073:
        raise damaged(path, f"has {len(data):,} bytes, no multiple of 3,073")
    records = data.reshape(-1, 3073)
    if records[:, 0].max() > 9:
        raise damaged(path, "has labels above 9, so it is no CIFAR-10 batch")
    return records


# --- folders of image files ---


class FolderRelease(Release):
    """Image files below the folder `root`, by names relative to it."""

    is_large = True
    sides = None  # width and height that every image must have

    @property
    def root(self):
        """Where the image files are."""
        return settings.DATA_DIR / self.layouts[0][0]

    def read_targets(self, names):
        """int64 (N, attributes)."""
        return np.zeros((len(names), 0), np.int64)

    def decode(self, names, size, crop, start):
        if crop is not None and self.sides is not None and crop > min(self.sides):
            raise LabError(f"crop={crop} is larger than the images of {self.sides[1]}x{self.sides[0]} pixels.")
        targets, usable = self.read_targets(names), start > 0
        with progress_bar(len(names), f"decoding {self.name}", start) as bar:
            for part in blocks(start, len(names), 3 * size**2):
                block = decode_files(self.root, names[part], targets[part], size, crop, self.sides)
                bar.update(len(names[part]))
                usable |= len(block.images) > 0
                yield block
        if not usable:
            raise LabError(f"None of the {len(names):,} files in {self.root} is usable: {block.skipped[0]}.")


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
        kinds = ", ".join(SUFFIXES)
        raise LabError(f"{root} holds no images ({kinds}); fill it as data/README.md shows, or delete it.")
    return dict(sorted(found.items()))


def every_tenth(names):
    """Split off every tenth item for validation: -> (train, val)."""
    return [name for i, name in enumerate(names) if i % 10], names[::10]


class FFHQ(FolderRelease):
    """Karras et al. 2019, or any other folder of images, however nested."""

    name = "ffhq"
    layouts = (("ffhq", ()),)
    size = 128
    required = False

    def download(self):
        how = "put any folder of square faces there, for example FFHQ's thumbnails128x128/, as data/README.md shows"
        raise DataMissing(f"there is no ffhq/ in {settings.DATA_DIR}; {how}.")

    def files(self):
        self.find()
        files = scan(self.root)
        return files, stamp_of(files)

    def split(self, files, split):
        """A random 80 % (seed 0) are train and val, the others test."""
        names = np.random.default_rng(0).permutation(list(files)).tolist()
        cut = round(0.8 * len(names))
        train, val = every_tenth(names[:cut])
        return {"train": train, "val": val, "test": names[cut:]}[split], []


class CelebA(FolderRelease):
    """Liu et al. 2015, all images or some of them: img_align_celeba/, list_attr_celeba.txt, list_eval_partition.txt."""

    name = "celeba"
    layouts = (("celeba", ("img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt")),)
    download_from = torchvision.datasets.CelebA, "drive.google.com"
    size, crop, sides = 64, 148, (178, 218)
    n_images = 202_599

    @property
    def root(self):
        return super().root / "img_align_celeba"

    @property
    def target_names(self):
        """The attributes, which the second line of their list names."""
        path = self.root.with_name("list_attr_celeba.txt")
        with reading(path), open(path, encoding="utf-8", errors="replace") as lines:
            names = tuple([*(line for _, line in zip(range(2), lines)), "", ""][1].split())
        if "Smiling" not in names or len(set(names)) < len(names):
            raise damaged(f"{path}:", "the second line should name the attributes, Smiling among them")
        return names

    def files(self):
        if not self.root.exists() and (archive := self.root.with_suffix(".zip")).exists():
            unpack(archive, self.root)
        _, *lists = self.find()
        files = scan(self.root)
        return files, stamp_of(files, *lists)

    def split(self, files, split):
        """The official parts. What is not there is replaced: test by the official validation part, val by a tenth of
        train, and if neither is there, test by another tenth of train."""
        parts = read_rows(self.root.with_name("list_eval_partition.txt"), files, 1, {"0": 0, "1": 1, "2": 2})
        train, val, test = ([name for name in files if name in parts and parts[name] == part] for part in range(3))
        unlisted = [name for name in files if name not in parts]
        notes = []
        if len(files) < self.n_images:
            notes.append(f"{len(files):,} of CelebA's {self.n_images:,} images are on disk.")
        if unlisted:
            left_out = f"{len(unlisted):,} images that list_eval_partition.txt does not name are left out"
            notes.append(f"{left_out}: {some(unlisted)}.")
        if not test and not val:
            notes.append("All are of the official train part: 'test' is a tenth of them, 'val' a tenth of the others.")
            train, test = every_tenth(train)
        elif not test:
            replaced = f"'test' is the official validation part ({len(val):,} images)"
            notes.append(f"None is of the official test part: {replaced}.")
            val, test = [], val
        if not val:
            notes.append(f"'val' is every tenth of the {len(train):,} images of the train part.")
            train, val = every_tenth(train)
        return {"train": train, "val": val, "test": test}[split], notes

    def factors(self, names):
        """Which person each photograph shows, if identity_CelebA.txt is there."""
        path = self.root.with_name("identity_CelebA.txt")
        if not path.exists():
            return {}
        with reading(path), open(path, encoding="utf-8", errors="replace") as lines:
            rows = [line.split() for line in lines]
        persons = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}
        if missing := [name for name in names if name not in persons]:
            raise damaged(path, f"names no person for {len(missing):,} of the images ({some(missing)})")
        return {"person": np.array([persons[name] for name in names])}

    def read_targets(self, names):
        path = self.root.with_name("list_attr_celeba.txt")
        rows = read_rows(path, names, len(self.target_names), {"-1": 0, "1": 1})
        if missing := [name for name in names if name not in rows]:
            raise damaged(path, f"has no row for {len(missing):,} of the images ({some(missing)})")
        return np.stack([rows[name] for name in names]).astype(np.int64)


def unpack(archive, folder):
    """Write the image files of a .zip archive into a new folder, all or nothing; one of several processes does it.

    Only the last part of each name counts, so that nothing can leave the folder. LabError for a file that is no whole
    archive, and, before anything is written, for one that would unpack to far more than it holds.
    """

    def extract(temporary):
        with reading(archive), zipfile.ZipFile(archive) as file, writing(folder):
            members = {PurePath(member.filename).name: member for member in file.infolist()}
            members = {name: member for name, member in members.items() if is_image_name(name)}
            if sum(member.file_size for member in members.values()) > 2 * archive.stat().st_size:
                raise ValueError("it would unpack to more than twice its size, which no archive of JPEG files does")
            if not members:
                raise ValueError("it holds no images")
            (temporary / folder.name).mkdir(parents=True)
            with progress_bar(len(members), f"unpacking {archive.name}") as bar:
                for name, member in members.items():
                    (temporary / folder.name / name).write_bytes(file.read(member))
                    bar.update()

    try:
        with writing(folder):
            make_once(folder, extract)
    except LabError:
        raise
    except Exception as error:  # a damaged archive raises almost anything
        hint = "where its quota is spent, Google Drive sends a web page instead"
        raise LabError(f"{archive} cannot be unpacked ({error}); delete it and fetch it again: {hint}.") from None


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
            values = values.split()
            others = [value for value in values if value not in allowed]
            where = f"{path}, line {number}:"
            if name in rows:
                raise damaged(where, f"{name} is there a second time")
            if others:
                raise damaged(where, f"{others[0]!r} after {name} is none of {', '.join(allowed)}")
            if len(values) != columns:
                raise damaged(where, f"not {columns} numbers after {name}")
            rows[name] = np.array([allowed[value] for value in values], np.int8)
    return rows


PUBLISHED = {release.name: release for release in (MNIST(), CIFAR10(), CelebA(), FFHQ())}
