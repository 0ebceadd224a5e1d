"""Small fabricated data sets in the layouts of the official releases."""

import gzip
import io
import struct
import zipfile

import numpy as np
from PIL import Image

from vae_lib.data.releases import BATCHES, CLASSES


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


def write_mnist_npz(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{f"{kind}_{part}": array for part in arrays for kind, array in zip("xy", arrays[part])})


def write_cifar10_binary(folder, n=20):
    rng = np.random.default_rng(0)
    target = folder / "cifar-10-batches-bin"
    target.mkdir(parents=True)
    records = {}
    for name in (f"{batch}.bin" for batch in BATCHES):
        records[name] = rng.integers(0, 256, (n, 3073), dtype=np.uint8)
        records[name][:, 0] %= 10
        records[name].tofile(target / name)
    return records


def write_kaggle_cifar10(folder, records):
    """The training records as train/1.png, ... and trainLabels.csv."""
    (folder / "train").mkdir(parents=True)
    rows = np.concatenate([records[f"{batch}.bin"] for batch in BATCHES[:5]])
    lines = ["id,label"]
    for number, row in enumerate(rows, start=1):
        Image.fromarray(row[1:].reshape(3, 32, 32).transpose(1, 2, 0)).save(folder / "train" / f"{number}.png")
        lines.append(f"{number},{CLASSES[row[0]]}")
    (folder / "trainLabels.csv").write_text("\n".join(lines) + "\n")


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


def kaggle_list(path, first="image_id", values=("-1", "1"), end="\n", begin=""):
    """Write a list of CelebA again as Kaggle's .csv has it."""
    rows = [line.split() for line in path.read_text().splitlines() if ".jpg" in line]
    names = NAMES if len(rows[0]) > 2 else ("partition",)
    translated = dict(zip(("-1", "1"), values)) if len(rows[0]) > 2 else {}
    lines = [(first, *names), *([row[0], *(translated.get(value, value) for value in row[1:])] for row in rows)]
    path.with_suffix(".csv").write_bytes((begin + end.join(map(",".join, lines))).encode())
    path.unlink()


def write_celeba_hq(folder, numbers):
    """CelebAMask-HQ: photograph i is image numbers[i] of CelebA; each has a mask: -> attributes as 0 and 1."""
    masks = folder / "CelebAMask-HQ-mask-anno" / "0"
    for place in (folder / "CelebA-HQ-img", masks):
        place.mkdir(parents=True)
    attributes = np.random.default_rng(1).integers(0, 2, (len(numbers), len(NAMES)))
    for i in range(len(numbers)):
        picture(i, 100, 100).save(folder / "CelebA-HQ-img" / f"{i}.jpg", quality=95)
        Image.new("L", (50, 50), 255).save(masks / f"{i:05d}_skin.png")
    rows = [f"{i}.jpg  {' '.join(str(2 * value - 1) for value in row)}" for i, row in enumerate(attributes)]
    table = "\n".join([str(len(numbers)), " ".join(NAMES), *rows])
    (folder / "CelebAMask-HQ-attribute-anno.txt").write_text(table + "\n")
    lines = [f"{i:<12}{number - 1:<12}{number:06d}.jpg" for i, number in enumerate(numbers)]
    mapping = "\n".join(["idx         orig_idx    orig_file", *lines])
    (folder / "CelebA-HQ-to-CelebA-mapping.txt").write_text(mapping + "\n")
    return attributes


def write_zip(path, entries, compression=zipfile.ZIP_STORED):
    """A .zip archive: {name or ZipInfo: content}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def encoded(image, kind="PNG"):
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, quality=95)
    return file.getvalue()


def write_parquet(path, contents, column="image", rows_in_a_group=7, **columns):
    """Encoded images and other columns, as Hugging Face writes them."""
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(contents)]
    parquet.write_table(pyarrow.table({column: images, **columns}), path, row_group_size=rows_in_a_group)


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
