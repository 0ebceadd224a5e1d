"""The stand-ins: reproducible, fast, and drawn as their factors say."""

import hashlib
import time

import numpy as np
import pytest

from vae_lib import synthetic
from vae_lib.synthetic import draw_digits, draw_objects

DRAWERS = {draw_digits: (1, 28, 28), draw_objects: (3, 32, 32)}


@pytest.mark.parametrize("draw", DRAWERS, ids=lambda draw: draw.__name__)
def test_shape_types_and_seeds(draw):
    images, targets, names, factors = draw(300, 5)
    assert images.shape == (300, *DRAWERS[draw]) and images.dtype == np.uint8
    assert set(targets) == set(range(10)) and len(names) == 10
    assert all(len(values) == 300 for values in factors.values())
    draw.cache_clear()
    again, other = draw(300, 5), draw(300, 6)
    assert np.array_equal(again[0], images) and np.array_equal(again[1], targets)
    assert not np.array_equal(other[0], images)


@pytest.mark.parametrize("draw", DRAWERS, ids=lambda draw: draw.__name__)
def test_ten_thousand_images_in_seconds(draw):
    draw.cache_clear()
    start = time.perf_counter()
    images = draw(10_000, 99)[0]
    assert time.perf_counter() - start < 20
    assert len({hashlib.sha1(image.tobytes()).digest() for image in images}) == 10_000  # no two alike


@pytest.mark.parametrize("draw", DRAWERS, ids=lambda draw: draw.__name__)
def test_classes_can_be_told_apart(draw):
    """Nearest neighbour on another seed's images beats chance by far, so class means something."""
    images, targets, _, _ = draw(2_000, 0)
    tests, truths, _, _ = draw(300, 1)
    a, b = (x.reshape(len(x), -1).astype(np.float32) / 255 for x in (images, tests))
    distances = (b**2).sum(1)[:, None] - 2 * b @ a.T + (a**2).sum(1)
    accuracy = (targets[distances.argmin(1)] == truths).mean()
    assert accuracy > (0.8 if draw is draw_digits else 0.15)


def test_objects_have_the_colour_of_their_factor():
    images, _, _, factors = draw_objects(500, 3)
    plain = factors["texture"] == 0
    hue = synthetic.hue_to_rgb(synthetic.torch.tensor(factors["hue"])[:, None, None])[:, :, 0, 0].numpy()
    rows = ((factors["y"] + 1) * 16).astype(int)
    columns = ((factors["x"] + 1) * 16).astype(int)
    centre = images[np.arange(500), :, rows, columns] / 255
    solid = plain & ~np.isin(draw_objects(500, 3)[1], [synthetic.SHAPES.index(s) for s in ("ring", "crescent")])
    assert np.abs(centre - hue)[solid].max() < 0.02


def test_thicker_digits_have_more_ink():
    images, _, _, factors = draw_digits(3_000, 4)
    ink = [images[factors["thickness"] == t].mean() for t in range(3)]
    assert ink[0] < ink[1] < ink[2]
