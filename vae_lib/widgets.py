"""Interactive cells: labelled controls around a plain drawing function, which returns images.

A notebook calls the same function with fixed values below each widget, so that a page without a kernel shows a picture.
"""

import html
from functools import partial

import ipywidgets
import torch
from ipyevents import Event

from vae_lib.checks import LabError
from vae_lib.latent import INTERPOLATIONS, as_code, decoded_plane
from vae_lib.plots import to_png


def panel(draw, **controls):
    """Controls above a picture: whenever one changes, draw(name=value, ...) -> images (N, C, H, W) is shown again.
    An error is shown in words. The parts are attributes: controls, picture, message."""
    picture, message = ipywidgets.Image(format="png"), ipywidgets.HTML()

    def update(change=None):
        try:
            picture.value = to_png(draw(**{name: control.value for name, control in controls.items()}))
            message.value = ""
        except Exception as error:  # in a callback nobody would see it
            message.value = f"<b>{type(error).__name__}:</b> {html.escape(str(error))}"
        picture.layout.visibility = "hidden" if message.value else "visible"

    for control in controls.values():
        control.observe(update, "value")
    update()
    layout = ipywidgets.Layout(align_items="flex-start")  # otherwise the picture is stretched to the width of the page
    box = ipywidgets.VBox([*controls.values(), picture, message], layout=layout)
    box.controls, box.picture, box.message = controls, picture, message
    return box


def slider(label, low, high, value):
    """A labelled slider of 100 steps, which answers while it is dragged, and to the arrow keys."""
    style = {"description_width": "initial"}  # as wide as the label
    return ipywidgets.FloatSlider(value, min=low, max=high, step=(high - low) / 100, description=label, style=style)


@torch.no_grad()
def between(model, images, first, second, kind, position):
    """Three images: reconstruction of images[first], the one at `position` (0 to 1) on the way, of images[second].
    images: a sequence of images (C, H, W) or codes (latent_dim,)."""
    a, b = as_code(model, images[first]), as_code(model, images[second])
    return model.decode(INTERPOLATIONS[kind](a, b, torch.tensor([0.0, position, 1.0], device=a.device)))


def interpolation(model, images, names):
    """Widget: walk between two of the images. names: a label for each image."""
    if len(images) < 2:
        raise LabError("An interpolation needs at least two images.")
    choices = [(name, k) for k, name in enumerate(names)]
    codes = [as_code(model, image) for image in images]  # once, not at every move of the slider
    return panel(
        partial(between, model, codes),
        first=ipywidgets.Dropdown(options=choices, value=0, description="from"),
        second=ipywidgets.Dropdown(options=choices, value=1, description="to"),
        kind=ipywidgets.ToggleButtons(options=list(INTERPOLATIONS), description="path"),
        position=slider("position", 0.0, 1.0, 0.5),
    )


@torch.no_grad()
def moved(model, image, **values):
    """Two images: the reconstruction of an image or code; the same with dimensions set: moved(model, x, z17=2.0)."""
    codes = as_code(model, image).repeat(2, 1)
    for name, value in values.items():
        codes[1, int(name.removeprefix("z"))] = value
    return model.decode(codes)


def dimensions(model, image, chosen):
    """Widget: one slider for each chosen latent dimension of an image, starting at its posterior mean."""
    code = as_code(model, image)
    sliders = {f"z{k}": slider(f"dimension {k}", -4.0, 4.0, code[k].clamp(-4, 4).item()) for k in map(int, chosen)}
    return panel(partial(moved, model, code), **sliders)


@torch.no_grad()
def edited(model, images, vectors, face, **weights):
    """Two images: the reconstruction of images[face]; the same with each named vector added, times its weight.
    images: a sequence of images (C, H, W) or codes (latent_dim,); vectors: {name: (latent_dim,)}."""
    code = as_code(model, images[face])
    changed = code + sum(weight * vectors[name].to(code.device) for name, weight in weights.items())
    return model.decode(torch.stack([code, changed]))


def attributes(model, images, names, vectors):
    """Widget: choose one of the images, and add the vectors with a slider for each. names: a label for each image."""
    codes = [as_code(model, image) for image in images]
    face = ipywidgets.Dropdown(options=[(name, k) for k, name in enumerate(names)], value=0, description="face")
    sliders = {name: slider(name, -4.0, 4.0, 0.0) for name in vectors}
    return panel(partial(edited, model, codes, vectors), face=face, **sliders)


@torch.no_grad()
def decoded_point(model, z1, z2):
    """One image: the point (z1, z2) of a two-dimensional latent space, decoded."""
    return model.decode(torch.tensor([[float(z1), float(z2)]], device=next(model.parameters()).device))


def plane(model, extent=3.0, n=15):
    """Widget: a map of the two-dimensional latent space; the place under the pointer (or the sliders') is decoded."""
    box = panel(partial(decoded_point, model), **{z: slider(z, -extent, extent, 0.0) for z in ("z1", "z2")})
    layout = ipywidgets.Layout(width="450px", height="450px")
    chart = ipywidgets.Image(value=to_png(decoded_plane(model, extent, n), n, 28), format="png", layout=layout)

    def go(event):
        """Set both sliders to the place of a mouse event on the map."""
        edge = extent * n / (n - 1)  # the outermost images have their centres at the extent
        box.controls["z1"].value = edge * (2 * event["relativeX"] / event["boundingRectWidth"] - 1)
        box.controls["z2"].value = edge * (1 - 2 * event["relativeY"] / event["boundingRectHeight"])

    Event(source=chart, watched_events=["click", "mousemove"], wait=40).on_dom_event(go)
    whole = ipywidgets.HBox([chart, box])
    whole.controls, whole.picture, whole.message, whole.go = box.controls, box.picture, box.message, go
    return whole
