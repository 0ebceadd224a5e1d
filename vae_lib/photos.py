"""Photos of one's own: the face is found, and brought into CelebA's frame.

OpenCV's cascades (Viola & Jones 2001) find the face, then the eyes. OpenCV is an extra, `photos`; without it the centre
square is used. Points are complex numbers, x + iy, in pixels from the upper left corner: to turn is to multiply.
"""

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from vae_lib.checks import LabError, check_whole
from vae_lib.data import to_float
from vae_lib.data.decoding import HEIC, Unusable, fit_images, read_image, to_rgb
from vae_lib.data.loading import say_once
from vae_lib.plots import as_rgb, show_rows

SIZE, LEFT, RIGHT = (178, 218), 69.5 + 112j, 107.5 + 112j  # CelebA's frame, and where the pupils are in it
CROP = 148  # side of the centre square of the frame that models see
CROPS = {"celeba": CROP, "faces": CROP, "ffhq": CROP, "portraits": 178}  # of the datasets of faces
PANEL = 128  # pixels of each picture of show_photo
HINT = "With OpenCV the face would be found: pip install 'vae-lib[photos]' (in the repository: -e '.[photos]')."

SEARCHED = 480  # longer side of the picture in which faces are searched
ANGLES = (0, 25, -25, 50, -50)  # by which it is turned until a face with eyes is found, in degrees
IN_BOX = 0.31 + 0.38j, 0.69 + 0.38j  # where the pupils are in the box of a face, as parts of its side
VIEW, VIEW_LEFT, VIEW_RIGHT = (120, 60), 30 + 30j, 90 + 30j  # a picture of both eyes, and their place in it
NEAR = 30  # how far from it they are looked for
EYES = ("haarcascade_eye", "haarcascade_eye_tree_eyeglasses")
LOOKS = tuple(size * np.exp(1j * np.radians(angle)) for size in (0.92, 1.08) for angle in (-4, 4))


class Aligned(NamedTuple):
    """A photo in CelebA's frame."""

    image: torch.Tensor  # uint8 (3, 218, 178)
    how: str  # what was done, a sentence
    found: bool  # whether a face was


class Face(NamedTuple):
    """Where the pupils are in a photo; the left one is on the left of the photo."""

    left: complex
    right: complex

    def moved(self, start, turn):
        """The same points where a picture came from, of which `look` has made another."""
        return Face(start + turn * self.left, start + turn * self.right)


def align(photo):
    """A photo, by its path or as a PIL image, in CelebA's frame: an Aligned.

    It is turned, scaled and moved so that the pupils of the largest face come to their place; what lies outside repeats
    its edge. Without a face, its centre square fills the centre square that models see. LabError for no whole image.
    """
    photo = open_photo(photo)
    face, how = find_face(photo)
    if face is None:
        turn = min(photo.size) / CROP
        start = (complex(*photo.size) - turn * complex(*SIZE)) / 2
    else:
        start, turn = similarity(LEFT, RIGHT, face)
    frame = look(photo, start, turn, SIZE)
    return Aligned(pixels(frame), how, face is not None)


def crop_of(record):
    """The side of the centre square of CelebA's frame that a model of faces sees; None for a model of other things."""
    data = record["data"]
    in_frame = data["name"] != "ffhq" and data.get("crop")  # FFHQ's crops are of its own pixels
    return check_whole("crop", in_frame or CROPS[data["name"]], 1, SIZE[0]) if data["name"] in CROPS else None


def as_seen(photo, image_shape, crop=CROP):
    """What a model of images of this shape is given of a photo: -> (uint8 (C, H, W), what was done, a sentence).

    crop: as crop_of says. Without a face, or for a model of other things, it is the centre square.
    """
    channels, _, size = image_shape
    photo = open_photo(photo)
    aligned = Aligned(None, centre_of(photo), False) if crop is None else align(photo)
    if aligned.found:
        image = fit_images(aligned.image[None], size, crop)[0]
    else:
        image = pixels(ImageOps.fit(photo, (size, size), Image.Resampling.BILINEAR))
    if channels == 1:
        from torchvision.transforms.v2 import functional as transforms  # here, since importing it takes a second

        image = transforms.rgb_to_grayscale(image)
    return image, aligned.how


@torch.no_grad()
def pictures(photo, model, crop=CROP):
    """The photo, what the model was given, its reconstruction: -> ((3, 3, PANEL, PANEL) in [0, 1], what was done)."""
    photo, device = open_photo(photo), next(model.eval().parameters()).device
    given, how = as_seen(photo, model.image_shape, crop)
    whole = pixels(ImageOps.pad(photo, (PANEL, PANEL), color="white"))
    shown = (whole, given, model.reconstruct(to_float(given[None]).to(device))[0].cpu())
    return torch.cat([F.interpolate(as_rgb(image), (PANEL, PANEL)) for image in shown]), how


def show_photo(photo, model, crop=CROP):
    """The photo, what a model of faces was given of it, and the reconstruction, side by side, with labels."""
    row, how = pictures(photo, model, crop)
    return show_rows({"": row}, f"used: {how}", ["the photo", "what the model was given", "its reconstruction"], 2.2)


def upload(model, photo, crop=CROP):
    """Widget: choose a photo of one's own, and see what show_photo shows; before that, of `photo`."""
    from ipywidgets import FileUpload  # takes longer than a command

    from vae_lib.widgets import panel

    def draw(file):
        chosen = open_photo(BytesIO(file[0]["content"]), file[0]["name"]) if file else photo
        return pictures(chosen, model, crop)[0]

    return panel(draw, file=FileUpload(accept=f"image/*,{','.join(HEIC)}", description="a photo"))


def open_photo(photo, name=None):
    """A photo, by its path, as an open file or a PIL image, upright and in RGB. LabError for no whole image."""
    if isinstance(photo, Image.Image):
        return to_rgb(ImageOps.exif_transpose(photo))
    name = Path(name or photo)
    if name.suffix.lower() in HEIC:
        read_heic(name)
    try:
        return read_image(photo, name)[0]
    except Unusable as why:
        raise LabError(f"{name} cannot be used ({why}); take another copy of it, or convert it to JPEG.") from None


def read_heic(name):
    """Teach PIL to read the photos of iPhones; LabError if it cannot."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise LabError(f"{name} is a HEIC file; pip install pillow-heif, or convert it to JPEG.") from None
    register_heif_opener()


def pixels(image):
    """An RGB image of PIL as uint8 (3, H, W)."""
    return torch.tensor(np.asarray(image)).permute(2, 0, 1)


def centre_of(photo):
    """What is done without a face, for a sentence."""
    side = min(photo.size)
    return f"its centre square, {side}x{side} pixels"


# --- geometry ---


def similarity(left, right, face):
    """How a picture is to be looked at so that the pupils come to two points: -> (start, turn) for `look`."""
    turn = (face.right - face.left) / (right - left)
    return face.left - turn * left, turn


def look(image, start, turn, size):
    """A part of an image, turned and scaled: the point z of the result shows the point start + turn * z.

    What lies outside the image repeats its edge. A large image is shrunk first; each pixel is the mean of four.
    """
    corners = [start + turn * complex(x, y) for x in (0, size[0]) for y in (0, size[1])]
    corners = np.array([(z.real, z.imag) for z in corners])
    shrink = max(1, int(abs(turn) / 2))
    low, high = np.floor(corners.min(axis=0)) - 2 * shrink, np.ceil(corners.max(axis=0)) + 2 * shrink
    first = low.clip(0, np.array(image.size) - 1).astype(int)
    last = np.minimum(np.maximum(high, first + 1), image.size).astype(int)
    before, after = (np.ceil(gap / shrink).astype(int).clip(0) for gap in (first - low, high - last))
    part = np.asarray(image.reduce(shrink, (*first, *last)))
    part = np.pad(part, [*zip(before[::-1], after[::-1]), (0, 0)][: part.ndim], "edge")
    start = (start - complex(*(first - before * shrink))) / shrink
    step = turn / shrink / 2
    matrix = (step.real, -step.imag, start.real, step.imag, step.real, start.imag)
    large = [2 * side for side in size]
    turned = Image.fromarray(part).transform(large, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    return turned.resize(size, Image.Resampling.BOX)


# --- the face ---


def find_face(photo):
    """The largest face in an upright RGB photo: -> (a Face, or None, and what is done with it, a sentence)."""
    try:
        import cv2  # noqa: F401
    except ImportError:
        say_once(HINT)
        return None, centre_of(photo)
    grey = photo.convert("L")
    boxed = None
    for angle in ANGLES:
        faces = faces_at(grey, angle)
        seen = [face for face in (refined(grey, face) for face in faces) if face is not None]
        if seen:
            note = f", the largest of {len(seen)} with both eyes" if len(faces) > 1 else ""
            return averaged(grey, seen[0]), f"its face{note}, in CelebA's frame"
        boxed = boxed or (faces and faces[0])
    if boxed:
        return boxed, "its face, in CelebA's frame, though roughly: no eyes were found"
    return None, f"{centre_of(photo)}, since no face was found"


def faces_at(grey, angle):
    """Where the pupils may be in the faces of a photo that is turned by some degrees, the largest first."""
    scale = max(1, max(grey.size) / SEARCHED)
    turn = scale * np.exp(1j * np.radians(angle))
    size = tuple(round(side / scale) for side in grey.size)
    start = complex(*grey.size) / 2 - turn * complex(*size) / 2
    if min(size) < 24:  # of the cascade
        return []
    boxes = detect("haarcascade_frontalface_alt2", look(grey, start, turn, size), 4, round(min(size) / 8))
    boxes = sorted(boxes, key=lambda box: -box[2])
    return [Face(*(complex(x, y) + side * z for z in IN_BOX)).moved(start, turn) for x, y, side, _ in boxes]


def refined(grey, face):
    """A Face whose pupils were seen where the face is thought to be; None if one of them was not."""
    for _ in range(2):
        if face is not None:
            face = eyes_in(grey, face)
    return face


def averaged(grey, face):
    """The mean of what is seen in pictures of a face that are turned and scaled a little."""
    seen = [eyes_in(grey, face, by) for by in LOOKS]
    seen = [face, *(other for other in seen if other is not None)]
    return Face(*np.mean(seen, axis=0))


def eyes_in(grey, face, by=1):
    """Look for the eyes near the pupils of a Face, in a picture that is turned and scaled `by`: a Face, or None."""
    middle = (VIEW_LEFT + VIEW_RIGHT) / 2
    start, turn = similarity(middle + by * (VIEW_LEFT - middle), middle + by * (VIEW_RIGHT - middle), face)
    view = look(grey, start, turn, VIEW)
    left, right = eye_in(view, VIEW_LEFT), eye_in(view, VIEW_RIGHT)
    return None if None in (left, right) else Face(left, right).moved(start, turn)


def eye_in(view, place):
    """The middle of what the cascades take for an eye near a place; None if there is nothing."""
    corner = place - complex(NEAR, NEAR)
    window = view.crop((corner.real, corner.imag, corner.real + 2 * NEAR, corner.imag + 2 * NEAR))
    boxes = [box for name in EYES for box in detect(name, window, 1, 26, 56)]
    if not boxes:
        return None
    x, y, width, height = np.median(boxes, axis=0)
    return corner + complex(x + width / 2, y + height / 2)


def detect(name, image, neighbours, least, most=SEARCHED):
    """The boxes (x, y, width, height) of `least` to `most` pixels in which a cascade sees what it was trained for."""
    sides = {"minSize": (least, least), "maxSize": (most, most)}
    return cascade(name).detectMultiScale(np.asarray(image), 1.1, neighbours, **sides)


@cache
def cascade(name):
    """A cascade that comes with OpenCV."""
    import cv2

    return cv2.CascadeClassifier(f"{cv2.data.haarcascades}{name}.xml")
