"""From image files, or arrays of the size of the release, to images of the size that was asked for."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image, ImageOps

from vae_lib.checks import LabError
from vae_lib.data.cache import Block

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".jfif", ".tif", ".tiff")
HEIC = (".heic", ".heif")  # photos of iPhones


def is_image_name(name):
    """True for image files, but not for hidden ones, such as the ._*.jpg that macOS leaves beside unpacked images."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def fit_images(images, size, crop):
    """Cut the centre square of side `crop`, then resize it to `size`: uint8 (N, C, H, W) -> (N, C, size, size)."""
    from torchvision.transforms.v2 import functional as transforms  # here, since importing it takes a second

    if crop is not None:
        if crop > min(images.shape[2:]):
            raise LabError(f"crop={crop} is larger than the images of {images.shape[2]}x{images.shape[3]} pixels.")
        images = transforms.center_crop(images, [crop, crop])
    if size is not None and tuple(images.shape[2:]) != (size, size):
        images = transforms.resize(images, [size, size], antialias=True)
    return images


def decode_image(file, size, crop=None, sides=None, name=None):
    """One image, of any mode and orientation, from a path or an open file -> uint8 (3, size, size).

    The centre square of side `crop` (default: as large as fits) is resized to `size`. Raises ValueError, saying why,
    if it is no whole image, smaller than the crop, or not of the given sides (width, height). name: for messages.
    """
    name = name or file
    try:
        with Image.open(file) as image:
            ImageOps.exif_transpose(image, in_place=True)
            image = to_rgb(image)
    except MemoryError:  # perhaps the fault of other programs, so the file must not be marked as damaged
        raise LabError(f"{name} needs more memory than there is; close other programs, or remove the file.") from None
    except Exception as error:  # a decoder may raise anything on a damaged file
        if getattr(error, "errno", None):  # the disk's fault, not the file's: trying again may help
            raise LabError(f"{name} cannot be read ({error.strerror}); see to the disk and try again.") from None
        if isinstance(error, Image.DecompressionBombError):
            raise ValueError("more pixels than are read") from None
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


def decode_files(store, names, targets, size, crop, sides=None):
    """Decode the named files of a store in parallel: -> a Block, without the files that are no usable images.

    Threads suffice, since PIL decodes outside Python's lock; each takes some files at a time.
    """
    images = np.empty((len(names), 3, size, size), np.uint8)
    batch = max(1, len(names) // 20)
    skipped = {}

    def decode_batch(start):
        for i in range(start, min(start + batch, len(names))):
            try:
                images[i] = decode_image(store.open(names[i]), size, crop, sides, f"{store}/{names[i]}")
            except LabError:
                raise
            except ValueError as error:
                skipped[i] = f"{names[i]}: {error}"

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(decode_batch, range(0, len(names), batch)))  # list() raises what a thread has raised
    kept = [i for i in range(len(names)) if i not in skipped]
    return Block(images[kept], targets[kept], [skipped[i] for i in sorted(skipped)])
