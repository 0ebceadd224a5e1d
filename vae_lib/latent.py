"""Walks through latent space: between codes and images, along one dimension, and how even a walk is."""

import torch

from vae_lib.checks import Choices, LabError, check_finite, check_whole
from vae_lib.data import to_float


def lerp(a, b, t):
    """Straight line from a (t = 0) to b (t = 1): a, b (D,), t (steps,) -> (steps, D)."""
    return torch.lerp(a, b, t[:, None])


def slerp(a, b, t):
    """Arc from a (t = 0) to b (t = 1): the direction turns at constant speed, the norm changes linearly.

    a, b: (D,), t: (steps,) in [0, 1] -> (steps, D). For a zero vector and for parallel vectors it is the straight line.
    Raises LabError for opposite directions. Shoemake 1985, "Animating rotation with quaternion curves", for unit
    vectors; White 2016, "Sampling generative networks", section 2.1, for codes; extended here to different norms.
    """
    if not (a.any() and b.any()):
        return lerp(a, b, t)
    as_given = {"device": a.device, "dtype": a.dtype}
    a, b, t = (part.cpu().double() for part in (a, b, t))  # the square of a large number must not overflow
    norms = a.norm(), b.norm()
    start, end = a / norms[0], b / norms[1]
    apart, opposite = (start - end).norm(), (start + end).norm()
    if opposite < 1e-3:
        raise LabError("The two codes point in opposite directions, so no arc between them is the shortest: use lerp.")
    if apart < 1e-6:
        return lerp(a, b, t).to(**as_given)
    angle, t = 2 * torch.atan2(apart, opposite), t[:, None]  # arccos of the cosine would lose half of the digits
    direction = (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)
    return (direction * torch.lerp(norms[0], norms[1], t)).to(**as_given)


INTERPOLATIONS = Choices("interpolation", lerp=lerp, slerp=slerp)


@torch.no_grad()
def as_code(model, a):
    """The latent code (latent_dim,) of an image (C, H, W), floats in [0, 1] or uint8: its posterior mean. A code is
    returned as it is. Puts the model into evaluation mode. Raises LabError for other shapes, NaN and infinity."""
    model.eval()
    if not isinstance(a, torch.Tensor):
        raise LabError(f"Give an image or a code as a tensor, not {type(a).__name__}: torch.as_tensor makes one of it.")
    check_finite("The values of the image or code are", a)
    device, shape = next(model.parameters()).device, tuple(a.shape)
    if shape == (model.latent_dim,):
        return a.to(device)
    if shape != model.image_shape:
        wanted = f"an image of shape {model.image_shape} or a code of shape ({model.latent_dim},)"
        raise LabError(f"Give {wanted}, not {shape}.")
    x = to_float(a) if a.dtype == torch.uint8 else a
    return model.encode(x[None].to(device))[0][0]


@torch.no_grad()
def interpolate_codes(model, a, b, steps=10, kind="lerp"):
    """The codes of `interpolate`: (steps, latent_dim). The first and the last are those of a and b, exactly."""
    a, b, t = as_code(model, a), as_code(model, b), torch.linspace(0, 1, check_whole("steps", steps, least=2))
    codes = INTERPOLATIONS[kind](a, b, t.to(a.device))
    codes[0], codes[-1] = a, b  # not merely up to rounding
    return codes


@torch.no_grad()
def interpolate(model, a, b, steps=10, kind="lerp"):
    """Images on the way from a to b: (steps, C, H, W) in [0, 1]; the ends are the reconstructions of a and b.

    a, b: images (C, H, W), encoded to their posterior means, or codes (latent_dim,). kind: "lerp", the straight line,
    or "slerp", the arc. Raises LabError for a wrong shape, kind or number of steps, and for slerp of opposite codes.
    """
    return model.decode(interpolate_codes(model, a, b, steps, kind))


@torch.no_grad()
def interpolate_grid(model, corners, steps=6):
    """A plane through four images or codes, the corners: upper left, upper right, lower left, lower right.
    -> (steps * steps, C, H, W), row by row. Raises LabError for another number of corners."""
    if len(corners) != 4:
        raise LabError(f"A plane has 4 corners, not {len(corners)}: upper left, upper right, lower left, lower right.")
    upper_left, upper_right, lower_left, lower_right = corners
    left = interpolate_codes(model, upper_left, lower_left, steps)
    right = interpolate_codes(model, upper_right, lower_right, steps)
    return model.decode(torch.cat([interpolate_codes(model, a, b, steps) for a, b in zip(left, right)]))


def interpolate_loop(model, stations, steps=10, kind="slerp"):
    """A round trip through images or codes, each shown once: -> frames (len(stations) * steps, C, H, W)."""
    pairs = zip(stations, [*stations[1:], stations[0]])
    return torch.cat([interpolate(model, a, b, steps + 1, kind)[:-1] for a, b in pairs])


@torch.no_grad()
def decoded_plane(model, extent=3.0, n=15):
    """A two-dimensional latent space, z1 to the right, z2 up, both from -extent to extent: (n * n, C, H, W) by rows.
    LabError for a model with another number of dimensions."""
    if model.latent_dim != 2:
        raise LabError(f"A plane needs a model with 2 latent dimensions, and this one has {model.latent_dim}.")
    model.eval()
    side = torch.linspace(-extent, extent, n, device=next(model.parameters()).device)
    return model.decode(torch.cartesian_prod(side.flip(0), side).flip(1))
