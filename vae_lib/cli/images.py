"""What the commands read and write: photos in, pictures out, and what --out may be."""

import os
import tempfile
from glob import glob
from pathlib import Path

import numpy as np
import torch

from vae_lib import photos, settings
from vae_lib.checks import LabError
from vae_lib.data.decoding import HEIC, SUFFIXES, is_image_name
from vae_lib.data.releases import some
from vae_lib.plots import to_png
from vae_lib.storage.files import replacing, writing

GRID_PIXELS = 128  # width of a picture in a grid, about: small ones are enlarged


def list_photos(paths):
    """The paths, each folder replaced by the images that lie in it, sorted. LabError if there is nothing."""
    listed = []
    for path in matching(paths):
        found = photos_in(path) if path.is_dir() else [path]
        if not found or not path.exists():
            kinds = ", ".join((*SUFFIXES, *HEIC))
            raise LabError(f"There is no photo at {path}; name an image ({kinds}), or a folder that holds some.")
        listed += found
    return listed


def photos_in(folder):
    """The images that lie in a folder itself, sorted."""
    return sorted(file for file in folder.iterdir() if is_photo_name(file.name) and not file.is_dir())


def left_out(folder):
    """What else lies in a folder of photos: names, also of folders, but not of what is hidden."""
    others = sorted({*folder.iterdir()} - {*photos_in(folder)})
    return [f"{path.name}{'/' * path.is_dir()}" for path in others if not path.name.startswith(".")]


def matching(paths):
    """The paths; a pattern such as *.jpg, which Windows and quotes leave to the program, becomes what matches it."""
    for path in map(os.path.expanduser, paths):
        yield from [Path(path)] if Path(path).exists() else map(Path, sorted(glob(path)) or [path])


def is_photo_name(name):
    """True for image files, also of iPhones, but not for hidden ones."""
    return is_image_name(name) or (name.lower().endswith(HEIC) and not name.startswith("."))


def read_photos(paths, image_shape, crop=None, invert=False, of_digits=False):
    """Photos, and those in folders, as a model is given them: -> uint8 (N, C, H, W). What was done is printed.

    crop: of CelebA's frame, into which a face is brought; None for the centre square. of_digits: for a model of MNIST,
    of which a photo that is mostly light is told to look like paper. Damaged files of a folder are left out. LabError
    for a damaged photo that is named itself, or no whole image.
    """
    images, damaged, named = [], [], {*matching(paths)}
    for path in list_photos(paths):
        try:
            image, how = photos.as_seen(path, image_shape, crop)
        except LabError as error:
            if path in named:
                raise
            damaged.append(error)
            continue
        image = 255 - image if invert else image
        print(f"{path}: {how}{', inverted' if invert else ''}")
        if of_digits and image.float().mean() > 127:
            step = f"{'leave out' if invert else 'add'} --invert"
            print(f"{path} is mostly light, as ink on paper is, but MNIST's digits are light on dark: {step}.")
        images.append(image)
    for folder in filter(Path.is_dir, matching(paths)):
        if others := left_out(folder):
            print(f"{folder}: left out: {len(others):,} ({some(others)})")
    if not images:
        raise damaged[0]
    for error in damaged:
        print(f"left out: {error}")
    return torch.stack(images)


def check_may_be_edited(paths):
    """LabError if one of the photos is a portrait of data/sample: identifiable officials are not edited."""
    for photo in list_photos(paths):
        if settings.SAMPLE_DIR / "faces" / "congress" in photo.resolve().parents:
            raise LabError(f"{photo} shows an official, who is never edited; take one of data/sample/faces/london.")


def save_pictures(out, grid, columns, singles):
    """Write a grid of images (N, C, H, W) to the PNG file `out`, or single ones into the folder `out`, all or nothing.

    singles (N, C, H, W) are called 000.png, 001.png, ...; (rows, columns, C, H, W) 000_00.png, 000_01.png, ...
    Prints the path. A file there is replaced. LabError if the disk refuses.
    """
    if not torch.isfinite(grid).all():  # it holds the single ones, too
        raise LabError("The pictures hold values that are not numbers; use smaller weights or a smaller temperature.")
    with writing(out), replacing(out.absolute()) as temporary:
        if out.suffix:
            temporary.write_bytes(to_png(grid, columns, GRID_PIXELS))
        else:
            temporary.mkdir()
            for place in np.ndindex(singles.shape[:-3]):
                name = "_".join(f"{number:0{3 - k}}" for k, number in enumerate(place))  # three digits, then two
                (temporary / f"{name}.png").write_bytes(to_png(singles[place][None], columns=1, pixels=1))
    print(f"written: {out}")


def check_pictures_out(out, photos=()):
    """LabError unless pictures can go there: a .png file that is no photo, or a folder that is empty or new."""
    if not out.name or (out.suffix and out.suffix.lower() != ".png"):
        raise LabError(f"--out {out}: give a name that ends in .png, for a grid, or a new folder, for single files.")
    if out.exists() and out.is_dir() == bool(out.suffix):
        raise LabError(f"{out} is there already and is a {'folder' if out.is_dir() else 'file'}; choose another --out.")
    if out.is_dir() and any(out.iterdir()):
        raise LabError(f"The folder {out} is not empty; choose another --out, or empty it first.")
    if out.exists() and any(photo.exists() and photo.samefile(out) for photo in list_photos(photos)):
        raise LabError(f"--out {out} would overwrite that photo; choose another name.")


def check_file_out(out, suffix):
    """LabError unless a file of this kind can be written there."""
    if out.suffix != suffix:
        raise LabError(f"--out {out}: give a file name that ends in {suffix}.")
    if out.is_dir():
        raise LabError(f"--out {out} is a folder; give the name of a file.")
    check_writable(out)


def check_writable(out):
    """LabError unless something can be written there; the folder that it is to lie in is made."""
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out.parent).close()
