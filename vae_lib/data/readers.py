"""Readers of the official files. Each dataset has a pair of functions:

find_*() -> the paths of its files, downloaded if need be; raises DataMissing if they cannot be had.
read_*(paths, part) -> (images uint8 (N, C, H, W), targets (N,)) of the official "train" or "test" part.
Files that are there but damaged raise LabError, which names the file.
"""

import gzip
import os
import shutil
import socket
import threading
import uuid
import zlib

import numpy as np
import torchvision

from vae_lib import settings
from vae_lib.checks import LabError
from vae_lib.storage.files import reading


class DataMissing(LabError):
    """The files of a dataset are not on disk and could not be fetched."""


def reachable(host, seconds=3):
    """True if `host` accepts a connection within `seconds`, name look-up included."""
    connected = threading.Event()

    def connect():
        try:
            socket.create_connection((host, 443), timeout=seconds).close()
            connected.set()
        except OSError:
            pass

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return connected.is_set()


DOWNLOADING = ".vae-lib-download-"  # begins the names of temporary folders


def download(dataset_class, host, folder):
    """Fetch DATA_DIR/<folder> with torchvision, all or nothing; fails within seconds where there is no network."""
    where = settings.DATA_DIR
    how = f"put {folder}/ into {where} as data/README.md shows, or set VAE_DATA_DIR"
    if not reachable(host):
        raise DataMissing(f"there is no {folder}/ in {where}, and {host} cannot be reached; {how}.")
    temporary = where / f"{DOWNLOADING}{uuid.uuid4().hex}"
    print(f"Downloading {folder}/ from {host} ...")
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)  # a network that stops answering ends the attempt
    try:
        dataset_class(temporary, download=True)
        os.rename(temporary / folder, where / folder)
    except Exception as error:  # Google Drive's quota, for example, has an exception of its own
        if not (where / folder).exists():  # otherwise another kernel has fetched it meanwhile
            raise DataMissing(f"there is no {folder}/ in {where}, and the download failed ({error}); {how}.") from None
    finally:
        socket.setdefaulttimeout(previous)
        shutil.rmtree(temporary, ignore_errors=True)


MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def find_mnist():
    """The four idx files, packed or not, in DATA_DIR/MNIST/raw (torchvision's layout); downloaded if absent."""
    folder = settings.DATA_DIR / "MNIST" / "raw"
    wanted = [file for pair in MNIST_FILES.values() for file in pair]

    def on_disk():
        found = [[path for path in (folder / f"{file}.gz", folder / file) if path.exists()] for file in wanted]
        return [paths[0] for paths in found if paths]

    if not folder.exists():
        download(torchvision.datasets.MNIST, "ossci-datasets.s3.amazonaws.com", "MNIST")
    files = on_disk()
    if len(files) < len(wanted):
        raise LabError(f"{folder} holds {len(files)} of MNIST's 4 files; delete the folder or complete it.")
    return files


LARGEST_IDX = 2**26  # bytes; the largest file of MNIST unpacks to 47 million


def read_mnist(files, part):
    """MNIST's idx files -> images (N, 1, 28, 28), labels (N,)."""
    paths = [next(f for f in files if f.name.startswith(stem)) for stem in MNIST_FILES[part]]
    images, labels = map(read_idx, paths)
    for path, array, shape in zip(paths, (images, labels), ((28, 28), ())):
        if array.ndim == 0 or array.shape[1:] != shape or len(array) == 0:
            raise LabError(f"{path} holds no {part} images or labels of MNIST; delete it and fetch it again.")
    if len(images) != len(labels):
        raise LabError(f"{files[0].parent} has {len(images)} {part} images but {len(labels)} labels; fetch it again.")
    if labels.max() > 9:
        raise LabError(f"{paths[1]} has labels above 9, so it is no file of MNIST: delete it and fetch it again.")
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
        raise LabError(f"{path} is damaged ({error}); delete it and fetch it again.") from None


CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")


def find_cifar10():
    """The official binary release in DATA_DIR/cifar-10-batches-bin if it is there, else torchvision's pickles."""
    binary = settings.DATA_DIR / "cifar-10-batches-bin"
    pickled = settings.DATA_DIR / "cifar-10-batches-py"
    if binary.exists():
        files = [binary / file for file in CIFAR10_BATCHES if (binary / file).exists()]
        if len(files) < len(CIFAR10_BATCHES):
            raise LabError(f"{binary} holds {len(files)} of CIFAR-10's 6 files; delete the folder or complete it.")
        return files
    if not pickled.exists():
        download(torchvision.datasets.CIFAR10, "www.cs.toronto.edu", pickled.name)
    files = sorted(pickled.iterdir())
    if not files:
        raise LabError(f"{pickled} is empty; delete the folder or unpack cifar-10-python.tar.gz beside it.")
    return files


def read_cifar10(files, part):
    """CIFAR-10 in either official layout -> images (N, 3, 32, 32), labels (N,)."""
    if files[0].suffix != ".bin":
        return read_cifar10_pickles(files[0].parent, part)
    files = [path for path in files if path.name.startswith("data" if part == "train" else "test")]
    records = np.concatenate([read_cifar10_binary(path) for path in files])
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def read_cifar10_binary(path):
    """Records of 1 label byte and 3072 pixel bytes (red, green, blue planes): -> uint8 (N, 3073)."""
    with reading(path):
        data = np.fromfile(path, np.uint8)
    if len(data) == 0 or len(data) % 3073:
        raise LabError(f"{path} has {len(data):,} bytes, no multiple of 3,073: delete it and fetch it again.")
    records = data.reshape(-1, 3073)
    if records[:, 0].max() > 9:
        raise LabError(f"{path} has labels above 9, so it is no CIFAR-10 batch: delete it and fetch it again.")
    return records


def read_cifar10_pickles(folder, part):
    """torchvision's own files, which torchvision unpickles only when their md5 is right."""
    try:
        dataset = torchvision.datasets.CIFAR10(folder.parent, train=part == "train")
    except RuntimeError:
        raise LabError(f"{folder} is incomplete or damaged (wrong md5); delete it and fetch it again.") from None
    return dataset.data.transpose(0, 3, 1, 2), np.array(dataset.targets)
