"""What every dataset is to load_dataset, and those of small images: MNIST and CIFAR-10. Those of files: folders.py.

To add one, write a class with the attributes and methods of Release (ArrayRelease and FolderRelease have most of them)
and put it into PUBLISHED of sample.py. To read another layout, add it to `layouts`, and a case to `read`.
"""

import copy
import gzip
import hashlib
import tarfile
import zipfile
import zlib
from itertools import chain, product

import numpy as np
import torch

from vae_lib import settings
from vae_lib.checks import LabError
from vae_lib.data.cache import Block, make_once
from vae_lib.data.decoding import decode_files, fit_images
from vae_lib.data.download import Remote, fetch, md5_of
from vae_lib.data.layouts import Layout, describe, next_step, search, under
from vae_lib.data.stores import Folder, Parquet, size_and_time
from vae_lib.storage.files import reading, writing

SPLITS = ("train", "val", "test")
BLOCK_BYTES = 2**25  # of images: decoded at a time, and again after an interruption
LARGEST_IDX = 2**26  # bytes; the largest file of MNIST unpacks to 47 million


class Release:
    """One dataset. load_dataset calls its methods in this order:

    located() -> look(), after a download if need be; DataMissing if that fails.
    look() -> a copy that knows its files; None if there are none, LabError if only some of them are there.
    stamp() -> a word that changes when one of the files does.
    split(split) -> (what decode needs for a split, sentences that a user must know).
    decode(chosen, size, crop, start) yields the images of a split as Blocks, from number `start` on, with one image at
        least. LabError for damaged files.
    factors(chosen), what else is known about each image.
    """

    name = None  # for load_dataset
    folders = ()  # of DATA_DIR that belong to no other dataset
    layouts = ()  # the first that lies there is read
    found = None  # the one that does
    source = "real"  # of its images: "real", or "sample" for those in the repository
    remotes, into = (), ""  # the files of a download, and the folder of DATA_DIR that they go to
    target_names = ()
    size = crop = None  # what size=None and crop=None of load_dataset mean
    required = True  # by the full profile
    is_large = False  # perhaps larger than memory

    @property
    def key(self):
        """What the names of its folders in the cache begin with."""
        return self.name

    @property
    def root(self):
        """Where its files lie, for sentences."""
        return self.found.folder

    def located(self):
        """A copy that knows its files, downloaded if there are none."""
        if (release := self.look()) is None:
            self.download(settings.PROFILE.network_seconds)
            release = self.look()
        return release

    def look(self):
        """A copy that knows its files, None if there are none."""
        found, nearest = search(self.layouts)
        if found is None and (nearest or self.own_folders()):
            raise self.unknown(nearest)
        return found and self.copy_of(found)

    def copy_of(self, found):
        """A copy that reads the layout that was found."""
        release = copy.copy(self)
        release.found = found
        return release

    def own_folders(self):
        """The folders that are there for this dataset, whatever is in them; empty ones do not count."""
        folders = (settings.DATA_DIR / name for name in self.folders)
        return [folder for folder in folders if folder.is_dir() and describe(folder) != "nothing"]

    def packed(self):
        """The archive that `look` unpacks; None if there is none, or if the files are there."""
        return None

    def unknown(self, nearest):
        """The LabError for files that are no whole layout: what lies there, and the step to take."""
        if nearest is None:
            folder = self.own_folders()[0]
            lies = f"{folder} holds {describe(folder)}, which is no layout of {self.name} that is known"
        else:
            folder, there = nearest.folder, some([*nearest.paths])
            lies = f"{folder} has {there} of {nearest.layout.kind}, but has no {some(nearest.missing)}"
        step = "complete it as data/README.md shows, or move it away"
        if folder != settings.DATA_DIR and Folder(folder).has_pictures():
            step += f", or read its pictures as folder:{folder}"
        return LabError(f"{lies}; {next_step(folder, step)}.")

    def stamp(self):
        files, others = {}, []
        for path in chain.from_iterable(self.found.paths.values()):
            if path.is_dir():
                files |= {f"{path}/{name}": word for name, word in Folder(path).files().items()}
            else:
                others.append(path)
        return stamp_of(files, *others)

    def factors(self, chosen):
        """What else is known about each image of a split: {name: numbers (N,)}."""
        return {}

    def download(self, seconds=None):
        """Fetch it, within so many seconds; DataMissing if that fails."""
        fetch(self.name, self.remotes, settings.DATA_DIR / self.into, seconds)


def stamp_of(files, *others):
    """A short hash that changes when one of the files of a store does, or one of the other paths."""
    parts = chain.from_iterable(files.items()), (" ".join(map(str, size_and_time(path))) for path in others)
    return hashlib.sha1("|".join(chain(*parts)).encode(errors="surrogateescape")).hexdigest()[:8]


def blocks(start, n, image_bytes):
    """Cut start..n into slices of about BLOCK_BYTES each."""
    length = max(1, BLOCK_BYTES // image_bytes)
    return [slice(first, first + length) for first in range(start, n, length)]


def some(names, separator=", ", n=3):
    """The first few names, for a sentence."""
    return separator.join(names[:n]) + (f"{separator}..." if len(names) > n else "")


def whole_number(text):
    """The number that is written in at most nine digits; None for any other text."""
    return int(text) if text.isdecimal() and len(text) < 10 else None


def damaged(path, what):
    """The error for a file that is there but wrong."""
    return LabError(f"{path} {what}; delete it and fetch it again.")


def parquet_parts(*parts):
    """Parts of a layout of Parquet files, as Hugging Face names and nests them: train-*.parquet or train/*.parquet."""
    ways = ["".join(way) for way in product(("", "*/", "*/*/"), ("{0}*-*.parquet", "{0}*/*.parquet"))]
    return {f"{part}-*.parquet": [way.format(part) for way in ways] for part in parts}


# --- arrays ---


class ArrayRelease(Release):
    """Small images, all in memory. Subclasses have read(part): the images uint8 (N, C, H, W) and targets (N,) of the
    official part "train" or "test"; LabError for damaged files."""

    image_shape = None
    without_test = None  # the layout that has no labels of the test images

    def split(self, split):
        """None has an official validation part: it is every tenth training image."""
        if self.found.layout is self.without_test:
            tenths = {"train": range(2, 10), "val": [1], "test": [0]}[split]
            note = f"{self.name}: this copy has no labels of the test images, so 'test' is a tenth of the others."
            return ("train", tenths), [note]
        return {"train": ("train", range(1, 10)), "val": ("train", [0]), "test": ("test", range(10))}[split], []

    def decode(self, chosen, size, crop, start):
        part, last_digits = chosen
        images, targets = self.read(part)
        keep = np.isin(np.arange(len(images)) % 10, last_digits)
        images, targets = torch.from_numpy(images[keep]), targets[keep].astype(np.int64)
        for block in blocks(start, len(images), images.shape[1] * (size or images.shape[2]) ** 2):
            yield Block(fit_images(images[block], size, crop).numpy(), targets[block], [])

    def read_pictures(self, store, names, targets):
        """Image files of the release's own size, all of which must be whole: -> what `read` returns."""
        channels, height, width = self.image_shape
        if not names:
            raise damaged(store, "holds no images")
        block = decode_files(store, names, np.array(targets), width, None, (width, height))
        if block.skipped:
            raise damaged(store, f"is damaged ({block.skipped[0]})")
        return block.images[:, :channels], block.targets  # a grey picture has three equal channels

    def read_parquet(self, part):
        """What `read` returns, from the Parquet files of a part."""
        store = Parquet(self.found.folder, self.found.paths[f"{part}-*.parquet"])
        names = list(store.files())
        targets = store.numbers(names, ["label"])[:, 0]
        if not np.isin(targets, range(len(self.target_names))).all():
            raise damaged(store, f"has labels that are none of {self.name}'s")
        return self.read_pictures(store, names, targets)


MNIST_FILES = {  # md5
    "train-images-idx3": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1": "ec29112dd5afa0611ce80d1b7f02629c",
}
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist"


def idx_files(stem):
    """The names that people have for an idx file of MNIST, packed or not, also in a folder of its own name."""
    names = [f"{stem}-ubyte", f"{stem.replace('-idx', '.idx')}-ubyte"]
    return [*(f"{name}.gz" for name in names), *names, *(f"{name}/{name}" for name in names)]


class MNIST(ArrayRelease):
    """LeCun et al. 1998: idx files, the arrays of Keras, or Parquet files."""

    name, image_shape, folders = "mnist", (1, 28, 28), ("MNIST", "mnist")
    IDX = Layout(
        "MNIST's idx files",
        ("MNIST/raw", "MNIST", "mnist/raw", "mnist", ""),
        {f"{stem}-ubyte": idx_files(stem) for stem in MNIST_FILES},
    )
    NPZ = Layout("Keras's arrays of MNIST", (*folders, ""), {"mnist.npz": ["mnist.npz"]})
    PARQUET = Layout("MNIST in Parquet files", folders, parquet_parts("train", "test"))
    layouts = IDX, NPZ, PARQUET
    into = "MNIST/raw"
    remotes = tuple(Remote(f"{MNIST_URL}/{stem}-ubyte.gz", md5) for stem, md5 in MNIST_FILES.items())
    target_names = tuple("0123456789")

    def read(self, part):
        if self.found.layout is self.PARQUET:
            return self.read_parquet(part)
        if self.found.layout is self.NPZ:
            path = self.found.path("mnist.npz")
            paths, (images, labels) = [path, path], read_npz(path, f"x_{part}", f"y_{part}")
        else:
            stem = "train" if part == "train" else "t10k"
            paths = [self.found.path(f"{stem}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
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


def read_npz(path, *names):
    """Arrays of bytes in a .npz file, none of them pickled: LabError for any other content, and for more than
    LARGEST_IDX bytes."""
    try:
        with zipfile.ZipFile(path) as archive:
            if max(archive.getinfo(f"{name}.npy").file_size for name in names) > LARGEST_IDX:
                raise ValueError(f"more than {LARGEST_IDX:,} bytes")
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[name] for name in names]
        if any(array.dtype != np.uint8 for array in arrays):
            raise ValueError("no arrays of bytes")
        return arrays
    except Exception as error:  # a damaged archive raises almost anything
        raise damaged(path, f"is damaged ({error})") from None


CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
OF_CIFAR10 = ("cifar10", "cifar-10", "CIFAR10", "CIFAR-10", "CIFAR-10-images", "cifar-10-binary", "cifar-10-python")


class CIFAR10(ArrayRelease):
    """Krizhevsky 2009: the official binary release, torchvision's pickles, or pictures of 32x32 pixels."""

    name, image_shape, target_names = "cifar10", (3, 32, 32), CLASSES
    folders = (*OF_CIFAR10, "cifar-10-batches-bin", "cifar-10-batches-py")
    BINARY = Layout(
        "CIFAR-10's binary release",
        under(OF_CIFAR10, "cifar-10-batches-bin"),
        {f"{batch}.bin": [f"{batch}.bin"] for batch in BATCHES},
    )
    PICKLES = Layout(
        "torchvision's CIFAR-10",
        under(OF_CIFAR10, "cifar-10-batches-py"),
        {name: [name] for name in (*BATCHES, "batches.meta")},
    )
    KAGGLE = without_test = Layout(
        "Kaggle's CIFAR-10", OF_CIFAR10, {"train/": ["train/"], "trainLabels.csv": ["trainLabels.csv"]}
    )
    FOLDERS = Layout(
        "CIFAR-10 in a folder for each class",
        (*OF_CIFAR10, *(f"{folder}/{folder}" for folder in OF_CIFAR10)),
        {name: [name] for name in (f"{part}/{kind}/" for part, kind in product(("train", "test"), CLASSES))},
    )
    PARQUET = Layout("CIFAR-10 in Parquet files", OF_CIFAR10, parquet_parts("train", "test"))
    layouts = BINARY, PICKLES, FOLDERS, KAGGLE, PARQUET
    archives = (
        Remote("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
        Remote("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    )
    remotes = archives[:1]

    def look(self):
        if archive := self.packed():
            unpack_tar(archive, *(known.md5 for known in self.archives if known.name == archive.name))
        return super().look()

    def packed(self):
        folders = [settings.DATA_DIR, *(settings.DATA_DIR / name for name in OF_CIFAR10)]
        there = (path for known in self.archives for folder in folders if (path := folder / known.name).is_file())
        return next(there, None) if search(self.layouts)[0] is None else None

    def read(self, part):
        layout, folder = self.found.layout, self.found.folder
        if layout is self.PARQUET:
            return self.read_parquet(part)
        if layout is self.BINARY:
            files = [f"{batch}.bin" for batch in (BATCHES[:5] if part == "train" else BATCHES[5:])]
            records = np.concatenate([read_cifar10_binary(self.found.path(name)) for name in files])
            return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]
        if layout is self.KAGGLE:
            classes = read_kaggle_labels(path := self.found.path("trainLabels.csv"))
            there = (store := Folder(self.found.path("train/"))).files()
            if missing := [name for name in classes if name not in there]:
                lies = f"{path} names {len(missing):,} images that are not in train/ ({some(missing)})"
                raise LabError(f"{lies}; unpack or fetch both again.")
            return self.read_pictures(store, [*classes], [*classes.values()])
        if layout is self.FOLDERS:
            store = Folder(folder / part)
            names = [name for name in store.files() if name.split("/")[0] in CLASSES]
            return self.read_pictures(store, names, [CLASSES.index(name.split("/")[0]) for name in names])
        from torchvision import datasets  # here, since importing it takes a second

        try:  # torchvision unpickles its files only if their md5 is right
            dataset = datasets.CIFAR10(folder.parent, train=part == "train")
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


def read_kaggle_labels(path):
    """Kaggle's list of pictures, "id,label": {"id.png": number of its class}; LabError for any other content."""
    with reading(path), open(path, encoding="utf-8-sig", errors="replace") as lines:
        rows = [line.strip().split(",") for line in lines if line.strip()][1:]
    if not rows:
        raise damaged(path, "names no pictures")
    for row in rows:
        if len(row) != 2 or whole_number(row[0]) is None or row[1] not in CLASSES:
            raise damaged(path, f"has the row {','.join(row)}, which is no number and class of CIFAR-10")
    return {f"{int(number)}.png": CLASSES.index(label) for number, label in rows}


def unpack_tar(path, md5):
    """Unpack an archive that holds one folder of its own into DATA_DIR, all or nothing, if its md5 is right."""
    if (found := md5_of(path)) != md5:
        raise damaged(path, f"is not whole (its md5 is {found}, not {md5})")
    folder = settings.DATA_DIR / ("cifar-10-batches-bin" if "binary" in path.name else "cifar-10-batches-py")

    def extract(temporary):
        with tarfile.open(path) as archive:
            archive.extractall(temporary, filter="data")

    with writing(folder):
        make_once(folder, extract)
