"""Procedural stand-ins for the real datasets: drawn from known factors, the same for a seed on every machine.

Each draw_*(n, seed) returns images uint8 (n, C, H, W), targets int64 (n,), the target names, and the factors: a dict
of arrays (n,). The factors are the ground truth that a lesson can be checked against.
"""

import math
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

CHUNK = 2_000  # images drawn at a time, to bound memory

DIGIT_FONTS = [f"DejaVu{kind}" for kind in ("Sans", "Sans-Bold", "Sans-Oblique", "SansMono", "Serif", "Serif-Italic")]
DIGIT_FONTS += ["STIXGeneral", "STIXGeneralItalic", "cmr10", "cmss10", "cmtt10"]
TEXTURES = ("plain", "stripes", "checks")


@lru_cache(maxsize=4)
def draw_digits(n, seed):
    """n grey images (1, 28, 28) of digits: glyphs of matplotlib's fonts, bent, slanted, turned and moved.

    Factors: font, angle (radians), shear, scale, thickness (0 thin to 2 thick).
    """
    rng = np.random.default_rng([seed, 28])
    digit = rng.integers(0, 10, n)
    factors = {
        "font": rng.integers(0, len(DIGIT_FONTS), n),
        "angle": rng.normal(0, 0.12, n),
        "shear": rng.normal(0, 0.15, n),
        "scale": rng.uniform(0.85, 1.15, n),
        "thickness": rng.integers(0, 3, n),
    }
    shift = rng.normal(0, 0.04, (n, 2))
    bend = rng.normal(0, 0.05, (n, 2, 4, 4))  # displacement on a 4x4 grid, interpolated between
    glyphs = digit_glyphs()
    images = torch.empty(n, 1, 28, 28, dtype=torch.uint8)
    for start in range(0, n, CHUNK):
        part = slice(start, start + CHUNK)
        cos, sin = (f(factors["angle"][part]) / factors["scale"][part] for f in (np.cos, np.sin))
        rows = [cos, sin + factors["shear"][part], shift[part, 0], -sin, cos, shift[part, 1]]
        affine = torch.tensor(np.stack(rows, axis=1), dtype=torch.float32).reshape(-1, 2, 3)
        grid = F.affine_grid(affine, [len(affine), 1, 28, 28], align_corners=False)
        bent = F.interpolate(torch.tensor(bend[part], dtype=torch.float32), size=28, mode="bicubic")
        chosen = glyphs[digit[part], factors["font"][part], factors["thickness"][part]][:, None]
        drawn = F.grid_sample(chosen, grid + bent.permute(0, 2, 3, 1), align_corners=False)
        images[part] = to_uint8(drawn)
    return images.numpy(), digit, tuple("0123456789"), factors


@cache
def digit_glyphs(side=56):
    """Every digit in every font and thickness: float (10, fonts, 3, side, side) in [0, 1]."""
    import matplotlib  # a quarter of a second, and few need its fonts

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    glyphs = torch.zeros(10, len(DIGIT_FONTS), 3, side, side)
    for k, name in enumerate(DIGIT_FONTS):
        font = ImageFont.truetype(str(folder / f"{name}.ttf"), 44)
        for digit in range(10):
            picture = Image.new("L", (side, side))
            ImageDraw.Draw(picture).text((side / 2, side / 2), str(digit), fill=255, font=font, anchor="mm")
            glyph = torch.from_numpy(np.array(picture)).float()[None, None] / 255
            thick = F.max_pool2d(glyph, 3, stride=1, padding=1)
            glyphs[digit, k] = torch.cat([glyph, thick, F.max_pool2d(thick, 3, stride=1, padding=1)])[:, 0]
    return glyphs


@lru_cache(maxsize=4)
def draw_objects(n, seed):
    """n colour images (3, 32, 32): one of ten shapes, with a colour and a texture, on a background.

    Factors: hue, texture (index into TEXTURES), angle (radians), scale (radius as a share of half the image), x, y
    (centre, -1 to 1), background_hue.
    """
    rng = np.random.default_rng([seed, 32])
    shape = rng.integers(0, len(SHAPES), n)
    hue = rng.uniform(0, 1, n)
    factors = {
        "hue": hue,
        "texture": rng.integers(0, len(TEXTURES), n),
        "angle": rng.uniform(-0.5, 0.5, n),
        "scale": rng.uniform(0.4, 0.75, n),
        "x": rng.uniform(-0.25, 0.25, n),
        "y": rng.uniform(-0.25, 0.25, n),
        "background_hue": (hue + rng.uniform(0.25, 0.75, n)) % 1,  # never the colour of the object
    }
    clouds = rng.normal(0, 0.12, (n, 1, 4, 4))
    images = torch.empty(n, 3, 32, 32, dtype=torch.uint8)
    for start in range(0, n, CHUNK):
        part = slice(start, start + CHUNK)
        f = {name: torch.tensor(v[part], dtype=torch.float32)[:, None, None] for name, v in factors.items()}
        u, v = object_coordinates(f)
        mask = torch.zeros_like(u)
        for k, inside in enumerate(INSIDE.values()):
            members = torch.from_numpy(shape[part] == k)
            place = u[members], v[members]
            distance = inside(*place, torch.hypot(*place))
            mask[members] = (distance * f["scale"][members] * 16 + 0.5).clamp(0, 1)  # one pixel of soft edge
        stripes, checks = torch.sin(9 * u) > 0, (torch.sin(7 * u) > 0) ^ (torch.sin(7 * v) > 0)
        dark = ((f["texture"] == 1) & stripes) | ((f["texture"] == 2) & checks)
        colour = hue_to_rgb(f["hue"]) * (1 - 0.5 * dark.float())[:, None]
        light = torch.linspace(0.75, 0.45, 32)[:, None] + F.interpolate(
            torch.tensor(clouds[part], dtype=torch.float32), size=32, mode="bicubic"
        )
        background = (0.5 + 0.5 * hue_to_rgb(f["background_hue"])) * light
        images[part] = to_uint8(torch.lerp(background, colour, mask[:, None]))
    return images.numpy(), shape, SHAPES, factors


def object_coordinates(factors):
    """Coordinates (n, 32, 32) in which each object is upright, centred, and of radius 1."""
    axis = (torch.arange(32) + 0.5) / 16 - 1
    dx, dy = axis[None, None, :] - factors["x"], axis[None, :, None] - factors["y"]
    cos, sin = torch.cos(factors["angle"]), torch.sin(factors["angle"])
    return (cos * dx + sin * dy) / factors["scale"], (cos * dy - sin * dx) / factors["scale"]


def polygon(u, v, corners):
    """Inside distance of a regular polygon with one corner up."""
    angles = [2 * math.pi * (k + 0.5) / corners for k in range(corners)]
    edges = [u * math.sin(angle) - v * math.cos(angle) for angle in angles]
    return math.cos(math.pi / corners) - torch.stack(edges).amax(dim=0)


def bar(u, v, half_width):
    """Inside distance of a bar along u."""
    return torch.minimum(1 - u.abs(), half_width - v.abs())


def heart(u, v):
    """Inside distance of a heart: two lobes, and a wedge below them."""
    lobes = 0.55 - torch.hypot(u.abs() - 0.45, v + 0.35)
    return torch.maximum(lobes, torch.minimum((0.85 - u.abs() - v) / 1.41, v + 0.35))


INSIDE = {  # roughly the distance of a point to the edge of a shape of radius 1: positive inside; r = hypot(u, v)
    "disc": lambda u, v, r: 1 - r,
    "square": lambda u, v, r: 0.85 - torch.maximum(u.abs(), v.abs()),
    "triangle": lambda u, v, r: polygon(u, v, 3),
    "star": lambda u, v, r: (0.7 + 0.3 * torch.cos(5 * torch.atan2(u, -v)) - r) / 1.5,
    "ring": lambda u, v, r: 0.25 - (r - 0.75).abs(),
    "cross": lambda u, v, r: torch.maximum(bar(u, v, 0.3), bar(v, u, 0.3)),
    "heart": lambda u, v, r: heart(u, v),
    "crescent": lambda u, v, r: torch.minimum(1 - r, torch.hypot(u - 0.5, v) - 0.75),
    "hexagon": lambda u, v, r: polygon(u, v, 6),
    "bar": lambda u, v, r: bar(u, v, 0.35),
}
SHAPES = tuple(INSIDE)


def hue_to_rgb(hue):
    """A bright colour of each hue in [0, 1): (n, 1, 1) -> (n, 3, 1, 1)."""
    phase = hue[:, None] + torch.tensor([0, 2 / 3, 1 / 3])[:, None, None]
    return 0.55 + 0.4 * torch.cos(2 * math.pi * phase)


def to_uint8(images):
    """[0, 1] floats -> 0..255."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)
