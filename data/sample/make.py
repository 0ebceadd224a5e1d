"""How the files of this folder were made from the published sets: python data/sample/make.py SOURCE

SOURCE holds MNIST/, cifar-10-batches-*/ (data/README.md) and free_faces/: london/NNN_neutral.jpg, NNN_smiling.jpg and
congress/ID.jpg, as published. faces.csv, with pupils and attributes, is read and not made: it was written by eye.
"""

import csv
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
COLUMNS, QUALITY = 50, 70  # of the sheets, of JPEG
OFFSET = 0.625  # of 40 tried, the one with which the shipped models' test losses keep the order of the whole sets best
COUNTS = {"mnist": {"train": 2_000, "val": 500, "test": 1_000}, "cifar10": {"train": 1_000, "val": 250, "test": 1_000}}
SIZE, PUPILS = (178, 218), ((69.5, 112), (107.5, 112))  # CelebA's frame, and where the pupils are in it


def balanced(targets, n):
    """n indices, as many of each of ten classes: number i is of class i % 10.

    Of each class the first one, and others spread evenly over the set.
    """
    steps = np.arange(n // 10) + OFFSET
    steps[0] = 0
    members = [np.flatnonzero(targets == k) for k in range(10)]
    chosen = [of_class[(steps * len(of_class) / len(steps)).astype(int)] for of_class in members]
    return np.stack(chosen, axis=1).reshape(-1)


def write_sheet(images, path):
    """Images (n, C, H, W), 50 in a row, as one PNG."""
    n, c, height, width = images.shape
    rows = images.reshape(n // COLUMNS, COLUMNS, c, height, width).transpose(0, 3, 1, 4, 2)
    sheet = rows.reshape(n // COLUMNS * height, COLUMNS * width, c)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(sheet.squeeze()).save(path, optimize=True)


def align(image, left, right):
    """Turn, scale and move a photograph so that the pupils (x, y) come to their place in CelebA's frame.

    What lies outside it is filled with the nearest pixel, as in CelebA. Each pixel is the mean of sixteen.
    """
    pad, fine = max(image.size), 4
    pixels = np.pad(np.asarray(image.convert("RGB")), ((pad, pad), (pad, pad), (0, 0)), "edge")
    turn = complex(right[0] - left[0], right[1] - left[1]) / (PUPILS[1][0] - PUPILS[0][0])  # of the frame, in the photo
    start = complex(*left) - turn * complex(*PUPILS[0]) + complex(pad, pad)
    step = turn / fine
    matrix = (step.real, -step.imag, start.real, step.imag, step.real, start.imag)
    large = Image.fromarray(pixels).transform([fine * side for side in SIZE], Image.AFFINE, matrix, Image.BICUBIC)
    return large.resize(SIZE, Image.BOX)


def main(source):
    os.environ["VAE_DATA_DIR"], os.environ["VAE_PROFILE"] = str(source), "full"
    from vae_lib import load_dataset  # reads both variables

    for name, counts in COUNTS.items():
        for split, n in counts.items():
            dataset = load_dataset(name, split)
            chosen = balanced(dataset.targets.numpy(), n)
            write_sheet(dataset.images.numpy()[chosen], HERE / name / f"{split}.png")
    with open(HERE / "faces.csv", newline="") as file:
        for row in csv.DictReader(file):
            left, right = ([float(row[f"{side}_{axis}"]) for axis in "xy"] for side in ("left", "right"))
            path = HERE / "faces" / row["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(source / "free_faces" / row["file"]) as image:
                align(image, left, right).save(path, quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
