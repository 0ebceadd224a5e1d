"""Small fabricated data sets in the layouts of the official releases."""

import gzip
import struct

import numpy as np
from PIL import Image

from vae_lib.data.releases import CIFAR10


def write_idx(path, array, pack=True):
    header = struct.pack(f">4B{array.ndim}i", 0, 0, 8, array.ndim, *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (gzip.open if pack else open)(path, "wb") as file:
        file.write(header + array.tobytes())


def write_mnist(folder, n=40, pack=True):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, stem in (("train", "train"), ("test", "t10k")):
        arrays[part] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), rng.integers(0, 10, n, dtype=np.uint8)
        for kind, array in zip(("images-idx3", "labels-idx1"), arrays[part]):
            write_idx(folder / "MNIST" / "raw" / f"{stem}-{kind}-ubyte{'.gz' if pack else ''}", array, pack)
    return arrays


def write_cifar10_binary(folder, n=20):
    rng = np.random.default_rng(0)
    target = folder / "cifar-10-batches-bin"
    target.mkdir(parents=True)
    records = {}
    for name in CIFAR10.layouts[0][1]:
        records[name] = rng.integers(0, 256, (n, 3073), dtype=np.uint8)
        records[name][:, 0] %= 10
        records[name].tofile(target / name)
    return records


NAMES = ("5_o_Clock_Shadow", "Eyeglasses", "Male", "Smiling", "Young")


def picture(seed, width=178, height=218):
    """A smooth random picture, which JPEG keeps almost as it is."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def write_celeba(folder, parts=(0,) * 40 + (1,) * 6 + (2,) * 5, missing=(), listed=()):
    """A CelebA of one image for each entry of `parts`, in the official layout: -> attributes (N, 5) as 0 and 1."""
    images = folder / "celeba" / "img_align_celeba"
    images.mkdir(parents=True)
    names = [f"{i + 1:06d}.jpg" for i in range(len(parts))]
    attributes = np.random.default_rng(1).integers(0, 2, (len(parts), len(NAMES)))
    for i, name in enumerate(names):
        if i not in missing:
            picture(i).save(images / name, quality=95)
    rows = [f"{name} {' '.join(f'{2 * value - 1:2d}' for value in row)}" for name, row in zip(names, attributes)]
    table = [str(len(parts)), " ".join(NAMES), *rows]
    (folder / "celeba" / "list_attr_celeba.txt").write_text("\n".join(table) + "\n")
    partition = [f"{name} {part}" for name, part in zip([*names, *listed], [*parts, *(0 for _ in listed)])]
    (folder / "celeba" / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")
    return attributes


def near(dataset, i, seed, crop):
    """True if image i of the dataset is the centre of picture(seed), up to JPEG."""
    side = dataset.image_shape[1]
    left, top = (178 - crop) // 2, (218 - crop) // 2
    box = (left, top, left + crop, top + crop)
    expected = np.asarray(picture(seed).resize((side, side), Image.Resampling.BILINEAR, box)).transpose(2, 0, 1)
    return np.abs(dataset.images[i].numpy().astype(int) - expected).mean() < 3


def files_below(folder):
    """{name: content} of the files in a folder, but not of locks, which stay."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path.relative_to(folder): path.read_bytes() for path in paths}
