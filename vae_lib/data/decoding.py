"""From image files, or arrays of the size of the release, to images of the size that was asked for."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image, ImageOps

from vae_lib.checks import LabError
from vae_lib.data.cache import Block
from vae_lib.storage.files import reason

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".jfif", ".tif", ".tiff")
HEIC = (".heic", ".heif")  # photos of iPhones
LARGE = 89_478_485  # pixels, of which PIL warns; a JPEG of more is read at a half or a quarter of its sides
LARGEST, LARGEST_JPEG = 2 * LARGE, 2**30
Image.MAX_IMAGE_PIXELS = LARGEST_JPEG  # PIL would warn and refuse before a JPEG can be asked for fewer pixels


class Unusable(ValueError):
    """Why an image file gives no picture, in a few words."""


def is_image_name(name):
    """True for image files, but not for hidden ones, such as the ._*.jpg that macOS leaves beside unpacked images."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def fit_images(images, size, crop):
    """Cut the centre square of side `crop`, then resize it to `size`: uint8 (N, C, H, W) -> (N, C, size, size)."""
    if crop is not None and crop > min(images.shape[2:]):
        raise LabError(f"crop={crop} is larger than the images of {images.shape[2]}x{images.shape[3]} pixels.")
    if crop is None and (size is None or tuple(images.shape[2:]) == (size, size)):
        return images
    from torchvision.transforms.v2 import functional as transforms  # here, since importing it takes a second

    if crop is not None:
        images = transforms.center_crop(images, [crop, crop])
    if size is not None and tuple(images.shape[2:]) != (size, size):
        images = transforms.resize(images, [size, size], antialias=True)
    return images


def decode_image(file, size, crop=None, sides=None, name=None):
    """One image, of any mode and orientation, from a path or an open file -> uint8 (3, size, size).

    The centre square of side `crop` (default: as large as fits) is resized to `size`. Raises ValueError, saying why,
    if it is no whole image, smaller than the crop, or not of the given sides (width, height). name: for messages.
    """
    image, shrunk = read_image(file, name or file)
    crop = crop and crop / shrunk
    width, height = image.size
    if sides is not None and (width, height) != sides:
        raise ValueError(f"{width}x{height} pixels, not {sides[0]}x{sides[1]}")
    side = min(width, height) if crop is None else crop
    left, top = (width - side) // 2, (height - side) // 2
    if min(left, top) < 0:
        raise ValueError(f"{width}x{height} pixels, smaller than the crop of {crop:g}")
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box)).transpose(2, 0, 1)


def read_image(file, name):
    """An image file of any mode and orientation, by its path or open: -> (a PIL image, upright, RGB; how many times
    smaller its sides are than in the file). Of several pictures, as in a GIF, the first.

    Unusable if it is no whole image, or has too many pixels; LabError, with the name, if disk or memory fail.
    """
    try:
        with Image.open(file) as image:
            shrunk = shrink(image)
            ImageOps.exif_transpose(image, in_place=True)
            return to_rgb(image), shrunk
    except Unusable:
        raise
    except MemoryError:  # perhaps the fault of other programs, so the file must not be marked as damaged
        raise LabError(f"{name} needs more memory than there is; close other programs, or make it smaller.") from None
    except Image.DecompressionBombError:
        raise Unusable("more pixels than are read") from None
    except Exception as error:  # a decoder may raise anything on a damaged file
        if getattr(error, "errno", None):  # the disk's fault, not the file's: trying again may help
            why = f"{name} cannot be read ({reason(error)})"
            raise LabError(f"{why}; look at its name, its permissions and the disk, and try again.") from None
        raise Unusable("no whole image") from None


def shrink(image):
    """Have an open JPEG of very many pixels decoded at a half or a quarter of its sides: -> how many times smaller."""
    pixels = image.width * image.height
    is_jpeg = image.format in ("JPEG", "MPO")
    if pixels > (LARGEST_JPEG if is_jpeg else LARGEST):
        raise Unusable("more pixels than are read")
    if pixels <= LARGE or not is_jpeg:
        return 1
    times = 2 if pixels <= 4 * LARGE else 4
    image.draft(None, (image.width // times, image.height // times))
    return times


def to_rgb(image):
    """A PIL image of any mode as 8-bit RGB: other numbers scaled, transparency laid over white."""
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(to_bytes(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def to_bytes(values):
    """Brightness of 16 bits, or from 0 to 1, in 8 bits. Unusable for other numbers, of which white is not known."""
    is_whole = values.dtype.kind != "f"
    white = 65_535 if is_whole else 1
    if not (values.min() >= 0 and values.max() <= white):  # also for NaN
        raise Unusable(f"numbers from {values.min():g} to {values.max():g}, not from 0 to {white}")
    return (values >> 8 if is_whole else np.rint(255 * values)).astype(np.uint8)


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
