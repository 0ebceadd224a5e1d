"""Drawn faces, whose true factors are known: the same for a seed on every machine, with attributes really drawn."""

import math
from functools import lru_cache

import numpy as np
import torch

from vae_lib.checks import LabError, near_names

FACE_ATTRIBUTES = (
    *("Bangs", "Black_Hair", "Blond_Hair", "Bushy_Eyebrows", "Eyeglasses", "Male", "Mouth_Slightly_Open"),
    *("Mustache", "Pale_Skin", "Smiling", "Wearing_Hat", "Wearing_Lipstick"),
)
SKIN = torch.tensor([[0.98, 0.86, 0.79], [0.87, 0.65, 0.51], [0.45, 0.29, 0.21]])  # pale, medium, dark
HAIR = torch.tensor([[0.10, 0.09, 0.10], [0.40, 0.25, 0.15], [0.88, 0.74, 0.44]])  # black, brown, blond
WHITE, DARK, RED, ROSE = ((0.95, 0.95, 0.93), (0.12, 0.09, 0.09), (0.75, 0.12, 0.18), (0.76, 0.42, 0.38))


@lru_cache(maxsize=4)
def draw_faces(n, seed, size=64, crop=None, **forced):
    """n colour images (3, size, size) of faces, drawn as the centre `crop` (148 by default) of CelebA's 178x218 frame.

    Targets: FACE_ATTRIBUTES, each 0 or 1 and really drawn; the names are CelebA's. As there, some go together: among
    the Male, lipstick is rare, a mustache possible, glasses twice as frequent and blond hair rarer.
    Factors: x, y (shift in pixels of the frame), tilt (radians), yaw (features moved sideways), width (of the face),
    light (from the left or the right), skin (0 pale to 2 dark), hue (of the background), smile (of the lips, -1 to 1).
    forced: attributes that all faces have, or none, with all else as without it: draw_faces(9, 0, Smiling=True) and
    draw_faces(9, 0, Smiling=False) are the same nine people. Raises LabError if an attribute is not drawn.
    """
    for name in forced:
        if name not in FACE_ATTRIBUTES:
            raise LabError(f"{name!r} is not drawn; there is, for example: {near_names(name, FACE_ATTRIBUTES)}.")
    rng = np.random.default_rng([seed, 178])
    has = draw_attributes(n, rng) | {name: np.full(n, value) for name, value in forced.items()}
    factors = {
        "x": rng.normal(0, 1.5, n),
        "y": rng.normal(0, 1.5, n),
        "tilt": rng.normal(0, 0.05, n),
        "yaw": rng.normal(0, 2.5, n),
        "width": rng.uniform(0.92, 1.1, n),
        "light": rng.uniform(-1, 1, n),
        "skin": np.where(has["Pale_Skin"], 0, rng.uniform(0.5, 2, n)),
        "hue": rng.uniform(0, 1, n),
        "smile": np.where(has["Smiling"], rng.uniform(0.7, 1, n), rng.uniform(-0.35, 0.05, n)),
    }
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    chunk = max(1, 500_000 // size**2)  # small enough for the processor's cache
    for start in range(0, n, chunk):
        part = slice(start, start + chunk)
        drawn = {name: torch.tensor(v[part], dtype=torch.float32)[:, None, None] for name, v in (factors | has).items()}
        images[part] = (draw_face(drawn, size, crop or 148).clamp(0, 1) * 255).round().to(torch.uint8)
    targets = np.stack([has[name] for name in FACE_ATTRIBUTES], axis=1).astype(np.int64)
    return images.numpy(), targets, FACE_ATTRIBUTES, factors


def draw_attributes(n, rng):
    """Which of the n faces have which attribute, about as often as in CelebA: {name: bool (n,)}."""

    def chance(share):
        return rng.uniform(0, 1, n) < share

    has = {"Male": chance(0.42), "Smiling": chance(0.5), "Pale_Skin": chance(0.12), "Wearing_Hat": chance(0.08)}
    male, smiling = has["Male"], has["Smiling"]
    hair = rng.uniform(0, 1, n) + 0.12 * male
    has["Blond_Hair"], has["Black_Hair"] = hair < 0.24, hair > 0.66
    has["Bangs"] = chance(0.2) & ~has["Wearing_Hat"]
    has["Bushy_Eyebrows"] = chance(np.where(male, 0.3, 0.08))
    has["Eyeglasses"] = chance(np.where(male, 0.2, 0.1))
    has["Mouth_Slightly_Open"] = chance(np.where(smiling, 0.7, 0.25))
    has["Mustache"] = male & chance(0.25)
    has["Wearing_Lipstick"] = chance(np.where(male, 0.01, 0.75))
    return has


class Canvas:
    """Pictures (n, 3, size, size) to paint shapes on, with the coordinates of each pixel in a face.

    u, v: upright coordinates in pixels of CelebA's frame, the origin between the eyes, v downwards; w: u after the
    turn of the head, for the features.
    """

    def __init__(self, f, size, crop):
        self.pixel = crop / size
        axis = (torch.arange(size) + 0.5) * self.pixel - crop / 2
        dx, dy = axis[None, None, :] - f["x"], axis[None, :, None] - 2 - f["y"]  # eyes 2 pixels below the middle
        cos, sin = torch.cos(f["tilt"]), torch.sin(f["tilt"])
        self.u, self.v = cos * dx + sin * dy, cos * dy - sin * dx
        self.w = self.u - f["yaw"]
        background = (0.4 + 0.25 * hue_to_rgb(f["hue"])) * (1 - dy / 300)[:, None]
        self.picture = background.expand(len(f["x"]), 3, size, size)

    def paint(self, distance, colour, opacity=1.0):
        """Lay a colour over the points inside a shape (distance > 0, in pixels of the frame), softly at its edge."""
        mask = (distance / self.pixel + 0.5).clamp(0, 1) * opacity
        if isinstance(colour, tuple):
            colour = torch.tensor(colour)[:, None, None]
        self.picture = torch.lerp(self.picture, colour, mask[:, None])


def ellipse(x, y, a, b):
    """Roughly the distance to the edge of an ellipse with half axes a and b: positive inside."""
    return (1 - torch.hypot(x / a, y / b)) * min(b, 40)


def stroke(distance, half_width, x, half_length):
    """Inside distance of a line, from the distance to it and the place along it."""
    return torch.minimum(half_width - distance.abs(), half_length - x.abs())


def draw_face(f, size, crop):
    """Paint the layers of faces, back to front: factors and attributes (n, 1, 1) -> pictures (n, 3, size, size)."""
    canvas = Canvas(f, size, crop)
    u, v, paint = canvas.u, canvas.v, canvas.paint
    skin = blend(SKIN, f["skin"]) * (1 + 0.2 * f["light"] * u / 45 - 0.08 * (v / 60) ** 2)[:, None]
    strands = 1 + 0.2 * torch.sin(canvas.w / 2.5 + 6 * f["hue"]) + 0.15 * f["light"] * u / 45
    hair = blend(HAIR, 1 + f["Blond_Hair"] - f["Black_Hair"]) * strands[:, None]
    cloth, width = 0.7 * hue_to_rgb((f["hue"] + 0.5) % 1), 41 * f["width"]
    long_hair = torch.minimum(width + 16 - u.abs() + 0.1 * v.clamp(min=0), ellipse(u, v - 30, 75, 100))
    short_hair = ellipse(u, v + 4, width + 7, 56)
    paint(torch.where(f["Male"] > 0, short_hair, torch.maximum(short_hair, long_hair)), hair)
    paint(torch.minimum(21 - u.abs(), v - 20), 0.78 * skin)  # neck
    paint(v - 74 - 0.006 * u**2, cloth)
    paint(ellipse(u, v - 9, width * (1 + (0.1 * f["Male"] - 0.06) * (v / 60).clamp(0, 1)), 57), skin)
    paint(ellipse(canvas.w.abs() - 25, v - 22, 13, 9), RED, 0.12 * (1 - f["Male"]))  # cheeks
    hairline = torch.where(f["Bangs"] > 0, 2 * torch.sin(u / 2) - 17, 0.014 * u**2 - 38)
    paint(torch.minimum(ellipse(u, v + 4, width + 8, 58), hairline - v), hair)
    draw_eyes(canvas, f, skin, hair)
    paint(stroke(canvas.w.abs() - 2 - 0.1 * v, 1.1, v - 10, 10), 0.8 * skin, 0.7)  # nose
    paint(ellipse(canvas.w, v - 23, 8.5, 4), 0.82 * skin)
    draw_mouth(canvas, f, hair)
    hat = 0.8 * hue_to_rgb((f["hue"] + 0.3) % 1)
    paint(torch.minimum(-27 - v, ellipse(u, v + 20, width + 12, 55)), hat, f["Wearing_Hat"])
    paint(stroke(v + 26 - 0.003 * u**2, 5, u, width + 17), 0.7 * hat, f["Wearing_Hat"])
    return canvas.picture


def draw_eyes(canvas, f, skin, hair):
    """Eyes, brows, and glasses."""
    v, paint = canvas.v, canvas.paint
    x = canvas.w.abs() - 19.5  # from the middle of an eye, outwards
    paint(ellipse(x, v, 11, 6.5), 0.88 * skin)
    paint(ellipse(x, v, 9, 4.6), WHITE)
    paint(ellipse(x, v, 4.3, 4.3), 0.5 * hue_to_rgb((f["hue"] + 0.6) % 1))
    paint(ellipse(x, v, 2.2, 2.2), DARK)
    paint(stroke(v + 4.3 - 0.05 * x**2, 1.0, x, 9), DARK)  # lashes
    paint(stroke(v + 13 - 0.035 * (x + 2) ** 2, 1.4 + 1.6 * f["Bushy_Eyebrows"], x, 11), 0.6 * hair)
    rim = (torch.hypot(x, 1.15 * (v - 1)) - 14.5).abs()
    bridge, temple = stroke(v + 2, 1.3, canvas.w, 6), torch.minimum(1.3 - (v + 2).abs(), x - 13)
    face = ellipse(canvas.u, v - 9, 43, 57)
    for shape in (1.8 - rim, bridge, torch.minimum(temple, face)):
        paint(shape, DARK, f["Eyeglasses"])


def draw_mouth(canvas, f, hair):
    """Lips that smile, teeth between them, a mustache above them."""
    w, paint, smile = canvas.w, canvas.paint, f["smile"]
    half = 13 + 5 * smile.clamp(min=0)
    y = canvas.v - 42 - smile * (2.5 - 7.5 * (w / half) ** 2)  # below the line of the lips, whose corners a smile lifts
    taper = (1 - (w / half) ** 2).clamp(min=0)
    lips = torch.lerp(*(torch.tensor(colour)[:, None, None] for colour in (ROSE, RED)), f["Wearing_Lipstick"][:, None])
    opening = (2 + 4 * f["smile"].clamp(min=0)) * f["Mouth_Slightly_Open"] * taper
    paint(stroke(y, 1.2 + 3.2 * taper + opening, w, 18), lips, taper.clamp(max=0.15) / 0.15)
    paint(torch.minimum(opening - (y - 0.5).abs(), 9 * taper - 1.5), DARK, f["Mouth_Slightly_Open"])
    teeth = torch.minimum(torch.minimum(opening - 0.5 - (y - 0.5).abs(), 1.2 - y), 9 * taper - 1.5)
    paint(teeth, WHITE, f["Mouth_Slightly_Open"] * f["Smiling"])
    paint(stroke(y, 0.7, w, 18), DARK, (1 - f["Mouth_Slightly_Open"]) * taper.clamp(max=0.1) / 0.1)
    paint(stroke(canvas.v - 31 - 0.012 * w**2, 2.8, w, 14), 0.7 * hair, f["Mustache"])


def blend(colours, position):
    """Colours (3, 3) at positions 0 to 2, mixed in between: (n, 1, 1) -> (n, 3, 1, 1)."""
    first, second, third = colours[:, :, None, None]
    p = position[:, None]
    return torch.lerp(torch.lerp(first, second, p.clamp(0, 1)), third, (p - 1).clamp(0, 1))


def hue_to_rgb(hue):
    """A bright colour of each hue in [0, 1): (n, 1, 1) -> (n, 3, 1, 1)."""
    phase = hue[:, None] + torch.tensor([0, 2 / 3, 1 / 3])[:, None, None]
    return 0.55 + 0.4 * torch.cos(2 * math.pi * phase)
