"""Moving a control changes the picture; what goes wrong is said. (tests/test_browser.py does it in a real browser.)"""

import io
import time

import numpy as np
import pytest
import torch
from PIL import Image

from vae_lib import FCVAE, interpolate, widgets
from vae_lib.checks import LabError
from vae_lib.plots import to_png


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = FCVAE((1, 8, 8), (16,), 2).eval()
    with torch.no_grad():
        model.decoder[0].weight.mul_(10)  # so that small steps are visible
    return model


@pytest.fixture
def images(tiny):
    return tiny.images[:3]


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_interpolation_slider_moves_the_picture(model, images):
    box = widgets.interpolation(model, images, ["a", "b", "c"])
    before = box.picture.value
    for name, value in [("position", 0.9), ("second", 2), ("first", 1), ("kind", "slerp")]:
        previous = box.picture.value
        box.controls[name].value = value
        assert box.picture.value != previous, name
    assert box.message.value == "" and box.picture.value != before
    expected = to_png(widgets.between(model, images, 1, 2, "slerp", 0.9))
    assert (pixels(box.picture.value) == pixels(expected)).all()  # the static twin shows the same


def test_between_is_a_step_of_interpolate(model, images):
    walk = interpolate(model, images[0], images[1], steps=5, kind="slerp")
    shown = widgets.between(model, images, 0, 1, "slerp", 0.25)
    torch.testing.assert_close(shown, walk[[0, 1, 4]])


def test_every_control_has_a_label(model, images):
    boxes = (
        widgets.interpolation(model, images, "abc"),
        widgets.dimensions(model, images[0], [1]),
        widgets.plane(model),
    )
    for box in boxes:
        assert all(control.description for control in box.controls.values())


def test_dimension_sliders_start_at_the_code_and_move_one_dimension(model, images):
    box = widgets.dimensions(model, images[0], torch.tensor([1, 0]))
    code = model.encode(images[:1].float() / 255)[0][0]
    assert [control.value for control in box.controls.values()] == pytest.approx([code[1].item(), code[0].item()])
    before = box.picture.value
    box.controls["z1"].value = 3.0
    assert box.picture.value != before
    reconstruction, changed = widgets.moved(model, images[0], z1=3.0)
    torch.testing.assert_close(reconstruction, model.decode(code[None])[0])
    torch.testing.assert_close(changed, model.decode(torch.stack([code[0], torch.tensor(3.0)])[None])[0])


def test_attribute_sliders_add_their_vectors(model, images):
    vectors = {"Smiling": torch.tensor([1.0, 0.0]), "Male": torch.tensor([0.0, -2.0])}
    box = widgets.attributes(model, images, ["a", "b", "c"], vectors)
    assert [control.description for control in box.controls.values()] == ["face", "Smiling", "Male"]
    still = pixels(to_png(model.reconstruct(images[:1].float() / 255).repeat(2, 1, 1, 1)))
    assert (pixels(box.picture.value) == still).all()  # all sliders at 0
    for name, value in [("Smiling", 2.0), ("Male", -1.0), ("face", 1)]:
        previous = box.picture.value
        box.controls[name].value = value
        assert box.picture.value != previous, name
    code = model.encode(images[1:2].float() / 255)[0]
    with torch.no_grad():
        expected = model.decode(torch.cat([code, code + torch.tensor([2.0, 2.0])]))
    torch.testing.assert_close(widgets.edited(model, images, vectors, 1, Smiling=2.0, Male=-1.0), expected)
    assert (pixels(box.picture.value) == pixels(to_png(expected))).all()


def test_the_map_follows_the_pointer(model):
    box = widgets.plane(model, extent=2.0)
    before = box.picture.value
    centre_of_the_first_image = 400 / 15 / 2
    shown = (400 - centre_of_the_first_image, centre_of_the_first_image)  # upper right
    box.go({"relativeX": shown[0], "relativeY": shown[1], "boundingRectWidth": 400, "boundingRectHeight": 400})
    assert [control.value for control in box.controls.values()] == pytest.approx([2.0, 2.0])
    box.go({"relativeX": 200, "relativeY": 400, "boundingRectWidth": 400, "boundingRectHeight": 400})
    assert [control.value for control in box.controls.values()] == pytest.approx([0.0, -2.0])  # not off the map
    assert box.picture.value != before
    assert (pixels(box.picture.value) == pixels(to_png(widgets.decoded_point(model, 0, -2)))).all()


def test_the_map_is_the_plane(model):
    images = widgets.decoded_plane(model, extent=2.0, n=3).view(3, 3, 1, 8, 8)
    for row, z2 in enumerate((2, 0, -2)):
        for column, z1 in enumerate((-2, 0, 2)):
            torch.testing.assert_close(images[row, column], widgets.decoded_point(model, z1, z2)[0])


def test_an_interpolation_needs_two_images(model, images):
    with pytest.raises(LabError, match="at least two images"):
        widgets.interpolation(model, images[:1], "a")


def test_errors_surface_and_go_away(model):
    opposite = torch.stack([torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.0])])
    box = widgets.interpolation(model, opposite, ["a", "b"])
    assert box.message.value == ""
    box.controls["kind"].value = "slerp"
    assert "opposite directions" in box.message.value and box.picture.layout.visibility == "hidden"
    box.controls["kind"].value = "lerp"
    assert box.message.value == "" and box.picture.layout.visibility == "visible"


def test_answers_in_time(model, images):
    box = widgets.interpolation(model, images, "abc")
    seconds = []
    for position in torch.linspace(0.1, 0.9, 9).tolist():
        start = time.perf_counter()
        box.controls["position"].value = position
        seconds.append(time.perf_counter() - start)
    assert sorted(seconds)[4] < 0.15
