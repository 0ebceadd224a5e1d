"""Drawn faces: reproducible, fast, and drawn as their attributes and factors say."""

import time

import numpy as np
import pytest
import torch

from vae_lib.checks import LabError
from vae_lib.data.drawn_faces import FACE_ATTRIBUTES, draw_face, draw_faces

MIDDLE = dict(x=0, y=0, tilt=0, yaw=0, width=1, light=0, skin=1, hue=0.3, smile=-0.2)
EYES, MOUTH = slice(20, 40), slice(43, 60)  # rows of a 64x64 picture
PLACES = {
    "Bangs": slice(8, 34),
    "Bushy_Eyebrows": EYES,
    "Eyeglasses": EYES,
    "Mouth_Slightly_Open": MOUTH,
    "Mustache": slice(42, 50),
    "Smiling": MOUTH,
    "Wearing_Hat": slice(0, 30),
    "Wearing_Lipstick": MOUTH,
}


def one_face(**changes):
    """One face with middling factors and no attribute but those that are given: (3, 64, 64) in [0, 1]."""
    values = {**MIDDLE, **dict.fromkeys(FACE_ATTRIBUTES, 0), **changes}
    return draw_face({name: torch.full((1, 1, 1), float(v)) for name, v in values.items()}, 64, 148)[0]


@pytest.mark.parametrize("attribute", PLACES)
def test_an_attribute_is_drawn_where_it_belongs_and_nowhere_else(attribute):
    changes = {"smile": 0.9} if attribute == "Smiling" else {}
    changed = (one_face(**{attribute: 1}, **changes) - one_face()).abs().sum(dim=0)
    outside = changed.clone()
    outside[PLACES[attribute]] = 0
    assert changed.sum() > 10 and outside.max() < 1e-4


def test_hair_skin_and_sex_change_the_face():
    plain = one_face()
    black, blond, male = (one_face(**{name: 1}) for name in ("Black_Hair", "Blond_Hair", "Male"))
    assert black[:, 12, 32].mean() < plain[:, 12, 32].mean() - 0.1 < blond[:, 12, 32].mean() - 0.3  # top of the head
    assert (male - plain)[:, 50, 12].abs().sum() > 0.3  # no long hair beside the jaw
    assert (one_face(skin=0) > plain)[:, 40, 40].all()  # a cheek


def test_faces_keep_their_attributes_frequencies_and_factors():
    assert draw_faces(3, 7)[0].shape == (3, 3, 64, 64)
    images, targets, names, factors = draw_faces(2_000, 7, 32)
    assert images.shape == (2_000, 3, 32, 32) and images.dtype == np.uint8 and targets.shape == (2_000, 12)
    has = dict(zip(names, targets.T == 1))
    assert np.array_equal(factors["smile"] > 0.5, has["Smiling"]) and ((factors["skin"] == 0) == has["Pale_Skin"]).all()
    assert 0.45 < has["Smiling"].mean() < 0.55 and not (has["Black_Hair"] & has["Blond_Hair"]).any()
    male = has["Male"]
    assert has["Eyeglasses"][male].mean() > 1.5 * has["Eyeglasses"][~male].mean()  # a confound, as in CelebA
    assert not np.array_equal(draw_faces(2_000, 8, 32)[0], images)
    draw_faces.cache_clear()
    assert np.array_equal(draw_faces(2_000, 7, 32)[0], images)


def test_forced_attributes_leave_all_else_as_it_was():
    images, targets, names, factors = draw_faces(200, 3)
    column = names.index("Eyeglasses")
    changed, forced, _, others = draw_faces(200, 3, Eyeglasses=True)
    had = targets[:, column] == 1
    assert forced[:, column].all() and np.array_equal(changed[had], images[had])
    assert np.array_equal(np.delete(forced, column, 1), np.delete(targets, column, 1))
    assert all(np.array_equal(others[name], factors[name]) for name in factors)
    difference = np.abs(changed[~had].astype(int) - images[~had]).sum(axis=1)
    assert (difference[:, EYES].sum(axis=(1, 2)) > 1_000).all() and difference[:, 42:].sum() == 0
    smiling = draw_faces(200, 3, Smiling=True)[3]["smile"]
    assert (smiling > 0.5).all()
    with pytest.raises(LabError, match="'eyeglasses' is not drawn; .*: Eyeglasses"):
        draw_faces(200, 3, eyeglasses=True)


def test_the_same_faces_at_any_size_and_crop():
    small, large = draw_faces(20, 3, 32)[0], draw_faces(20, 3, 128)[0]
    shrunk = large.reshape(20, 3, 32, 4, 32, 4).mean(axis=(3, 5))
    assert np.abs(shrunk - small).mean() < 6
    cut = draw_faces(20, 3, 148, crop=148)[0][:, :, 10:138, 10:138]
    assert np.abs(draw_faces(20, 3, 128, crop=128)[0].astype(int) - cut).max() <= 1


def test_two_thousand_faces_in_seconds():
    draw_faces.cache_clear()
    start = time.process_time()  # others may compute beside it
    draw_faces(2_000, 99)
    assert time.process_time() - start < 6  # it takes 4 without AVX-512
