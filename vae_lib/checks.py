"""The one exception of the lab, and every check of an argument, once. The core stays free of them: they are called at
its edges, and two decorators put them around models and losses.
"""

import math
import re
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from functools import partial, wraps
from inspect import signature
from numbers import Integral, Real

import torch

LONGEST = 800  # characters of a message: what it quotes may be of any length


class LabError(ValueError):
    """Bad input, told in one sentence: what was wrong, where, what to do next."""

    def __init__(self, message=""):
        line = re.sub(r"\s*[\n\r\t]+\s*", " ", message.strip())
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        if len(line) > LONGEST:
            line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 + 5 :]}"
        super().__init__(line)

    def _render_traceback_(self):
        """Jupyter calls this: students see the sentence instead of a page of traceback."""
        return [f"{type(self).__name__}: {self}"]


def near_names(name, known):
    """The known names nearest to a misspelt one (capitals ignored), or else the first five, for a sentence."""
    by_lower = {other.lower(): other for other in known}
    near = [by_lower[match] for match in get_close_matches(str(name).lower(), by_lower)]
    return ", ".join(near or list(known)[:5]) or "none"


class Choices(dict):
    """The functions or classes that one argument chooses among, by name. LabError for an unknown name."""

    def __init__(self, argument, **meanings):
        super().__init__(meanings)
        self.argument = argument

    def __missing__(self, value):
        raise LabError(f"Unknown {self.argument} {value!r}; choose one of {', '.join(self)}.")


# --- numbers and sizes: each returns the value as Python's own type, since numpy's cannot be kept in a record ---


def check_whole(name, value, least=1, most=None):
    """A whole number of at least `least` and at most `most`, as an int."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise LabError(f"{name}={value!r}: give a whole number {bounds}.")
    return int(value)


def check_number(name, value, least=-math.inf, above=-math.inf):
    """A finite number of at least `least` and above `above`."""
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < least or value <= above:
        bound = f" above {above}" if above > -math.inf else f" of at least {least}" if least > -math.inf else ""
        raise LabError(f"{name}={value!r}: give a finite number{bound}.")
    return value if isinstance(value, int | float) else float(value)


def check_choice(name, value, known):
    """One of the known values, and of the same type: 1 is not True."""
    for other in known:
        if isinstance(value, type(other)) and value == other:
            return other
    raise LabError(f"{name}={value!r}: choose one of {', '.join(map(str, known))}.")


def check_sizes(name, values, n=None):
    """Whole numbers of at least 1, as a tuple; n: how many, n=None: one at least, n=0: any number of them."""
    several = isinstance(values, Iterable) and not isinstance(values, str)
    values = tuple(values) if several else values
    whole = several and all(isinstance(value, Integral) and value >= 1 for value in values)
    if not whole or not (len(values) == n or n == 0 or (n is None and values)):
        example = "(channels, height, width)" if n == 3 else "(64, 32)"
        raise LabError(f"{name}={values!r}: give whole numbers of at least 1, such as {name}={example}.")
    return tuple(map(int, values))


# --- datasets and tensors ---


def check_not_empty(train, val):
    """At least one image to train on, and, if there is a validation set, to validate with."""
    if len(train) == 0 or (val is not None and len(val) == 0):
        raise LabError("The training or validation set is empty; give at least one image, or val=None.")


def check_bytes(what, images, floats):
    """Pixels from 0 to 255 as uint8; floats: what to do with others."""
    if not isinstance(images, torch.Tensor):
        kind = type(images).__name__
        raise LabError(f"{what} pixels as a tensor, not as {kind}; torch.as_tensor makes one of an array.")
    if images.dtype != torch.uint8:
        raise LabError(f"{what} pixels from 0 to 255 as uint8, not {images.dtype}; {floats}.")


def check_labelled(images, targets):
    """Images (N, C, H, W), and a target for each. What ends with 1 or 3 alone is taken for (N, H, W, C)."""
    if images.ndim != 4 or not isinstance(targets, torch.Tensor) or targets.shape[:1] != images.shape[:1]:
        given = f"a {type(targets).__name__}" if not isinstance(targets, torch.Tensor) else tuple(targets.shape)
        hint = "; images[:, None] gives grey ones their channel" if images.ndim == 3 else ""
        raise LabError(
            "An ImageDataset holds images (N, C, H, W) and a tensor with a target for each, (N,) or (N, attributes), "
            f"not {tuple(images.shape)} and {given}{hint}."
        )
    if images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        raise LabError(
            f"An ImageDataset holds images (N, C, H, W), and these look like (N, H, W, C): {tuple(images.shape)}; give "
            "images.permute(0, 3, 1, 2)."
        )


def check_indices(argument, indices, n):
    """Places of n images, as int64: torch would take a mask for the places 0 and 1."""
    if indices.dtype == torch.bool:
        raise LabError(f"{argument} is a Subset of a mask, but a Subset takes indices; give dataset.select(mask).")
    if len(indices) and not (-n <= indices.min() and indices.max() < n):
        raise LabError(f"{argument} is a Subset with indices from {indices.min()} to {indices.max()} of {n:,} images.")
    return indices.long()


def check_mask(name, mask, n):
    """True or False for each of n images: numbers 0 and 1 would be taken for places."""
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool or mask.shape != (n,):
        kind = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise LabError(f"{name} must be a tensor of bool ({n},), as dataset.attribute(name) gives it, not {kind}.")


def check_values(values, groups):
    """Numbers (N,) to take a mean of, one at least, and the group of each, if there are groups."""
    if values.ndim != 1 or not len(values):
        raise LabError(
            f"A mean and its error are taken of numbers (N,), one at least, not {tuple(values.shape)}: give one "
            "column, or flatten them."
        )
    if groups is not None and groups.shape != values.shape:
        raise LabError(f"groups must have one entry for each of the {len(values)} values, not {tuple(groups.shape)}.")


def check_finite(what, tensor):
    """No NaN, no infinity."""
    if not torch.isfinite(tensor).all():
        raise LabError(f"{what} not finite; look for NaN, or use smaller numbers.")


def check_posterior(mu, logvar):
    """Distributions of codes, not points: mu and logvar (N, latent_dim)."""
    if logvar is None:
        raise LabError("This needs a posterior to draw from; an Autoencoder has none: give a VAE.")
    if mu.ndim != 2 or mu.shape != logvar.shape:
        raise LabError(
            f"Give mu and logvar of one shape (N, latent_dim), not {tuple(mu.shape)}, {tuple(logvar.shape)}."
        )


def check_codes(z, latent_dim):
    """Codes (n, latent_dim)."""
    if z.ndim != 2 or z.shape[1] != latent_dim:
        raise LabError(f"Give codes of shape (n, {latent_dim}), not {tuple(z.shape)}.")


def check_features(a, b):
    """Two sets of finite features, (N, D) and (M, D), of at least two rows."""
    for features in (a, b):
        if features.ndim != 2 or len(features) < 2 or not features.shape[1] or a.shape[1] != features.shape[1]:
            shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
            raise LabError(f"Give two sets of the same features, (N, D) and (M, D), N and M at least 2, not {shapes}.")
        check_finite("The features are", features)


def check_images(x, image_shape, values=True):
    """Images (N, C, H, W) of this shape, floats, and by their mean (noise may lie outside) in [0, 1], not [-1, 1]."""
    if not isinstance(x, torch.Tensor):
        hint = "; give torch.as_tensor(images).float()" if hasattr(x, "__array__") else ""
        raise LabError(f"A model takes images as a tensor, not as {type(x).__name__}{hint}.")
    if tuple(x.shape[1:]) != image_shape:
        hint = " without the first side, the batch: give image[None]" if tuple(x.shape) == image_shape else ""
        raise LabError(f"This model takes images of shape (N, {str(image_shape)[1:]}, not {tuple(x.shape)}{hint}.")
    if not x.is_floating_point():
        raise LabError(f"Pixels must be floats in [0, 1], not {x.dtype}: use vae_lib.to_float(images).")
    if values and len(x):
        with suppress(RuntimeError):  # inside torch.func.vmap nobody may look; any other error comes again in a layer
            check_pixels(x)


def check_pixels(x):
    """Floats that are, by their mean, in [0, 1]."""
    if not abs(mean := x.mean().item()) <= 2:
        raise LabError(
            f"Pixels must be floats in [0, 1], and the mean of these is {mean:g}: give vae_lib.to_float(images) of "
            "uint8 pixels, and look for NaN."
        )
    if -1 <= x.amin() < -0.5 and x.amax() <= 1:  # noise would go beyond both ends
        raise LabError(
            f"Pixels must be floats in [0, 1], and these are from {x.amin():.2g} to {x.amax():.2g}: leave out what "
            "brought them to [-1, 1] (Normalize, tanh, 2 * x - 1), or give (x + 1) / 2."
        )


def check_floats(name, values):
    """A tensor of floats."""
    kind = values.dtype if isinstance(values, torch.Tensor) else type(values).__name__
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        hint = ": use vae_lib.to_float(images)" if kind is torch.uint8 else ""
        raise LabError(f"{name} must be a tensor of floats, not {kind}{hint}.")


def check_latent_dim(latent_dim, mu, logvar):
    """What an encoder gives: (N, latent_dim) twice, or once and None."""
    for name, part in (("means", mu), ("logvar", logvar)):
        if part is not None and part.shape[1:] != (latent_dim,):
            raise LabError(
                f"The encoder gives {name} of shape {tuple(part.shape)}, not (N, latent_dim={latent_dim}); let it end "
                "with 2 * latent_dim numbers an image (latent_dim in an Autoencoder)."
            )


# --- around the core ---

SIZES = {
    "image_shape": partial(check_sizes, n=3),
    "hidden": partial(check_sizes, n=0),
    "channels": check_sizes,
    "latent_dim": check_whole,
    "centre": lambda name, value: float(check_number(name, value)),
}
TRAINING = {
    **dict.fromkeys(("batch_size", "epochs", "patience"), partial(check_whole, most=2**32 - 1)),
    "seed": partial(check_whole, least=0, most=2**32 - 1),
    "lr": partial(check_number, above=0),
    **dict.fromkeys(("beta", "min_delta", "weight_decay"), partial(check_number, least=0)),
    "mirror": partial(check_choice, known=(False, True)),
}


def check_training(config, **choices):
    """The fields of a TrainConfig, in place; choices: {field: its known values}."""
    checks = TRAINING | {name: partial(check_choice, known=known) for name, known in choices.items()}
    for name, check in checks.items():
        object.__setattr__(config, name, check(name, getattr(config, name)))  # the dataclass is frozen


def checked_model(kind):
    """Decorator of a class of models: its sizes are checked when it is built, its images when they are encoded."""
    for name, wrap in (("__init__", checked_sizes), ("encode", checked_images)):
        if name in vars(kind):
            setattr(kind, name, wrap(vars(kind)[name]))
    return kind


def checked_sizes(build):
    """A constructor that takes its sizes checked, as Python's own numbers."""

    @wraps(build)
    def checked(self, *args, **options):
        given = signature(build).bind(self, *args, **options)
        given.apply_defaults()
        for name in SIZES.keys() & given.arguments.keys():
            given.arguments[name] = SIZES[name](name, given.arguments[name])
        build(*given.args, **given.kwargs)

    return checked


def checked_images(encode):
    """An `encode` that takes its images checked, and gives codes of the model's dimension; a training step on a GPU, or
    a compiler, must not wait for values."""

    @wraps(encode)
    def checked(self, x):
        hurried = torch.compiler.is_compiling() or (self.training and getattr(x, "is_cuda", False))
        check_images(x, self.image_shape, values=not hurried)
        codes = encode(self, x)
        check_latent_dim(self.latent_dim, *codes)
        return codes

    return checked


def checked_loss(loss):
    """Decorator of a function of two tensors of floats, which must have one shape: broadcasting would hide the
    difference, and pixels up to 255 would only make a larger loss."""
    names = list(signature(loss).parameters)

    @wraps(loss)
    def checked(*args, **options):
        given = dict(zip(names, args)) | options
        for name, values in given.items():
            check_floats(name, values)
        shapes = [tuple(tensor.shape) for tensor in given.values()]
        if len(set(shapes)) > 1:
            raise LabError(f"{' and '.join(names)} must have the same shape, not {' and '.join(map(str, shapes))}.")
        return loss(*args, **options)

    return checked


def checked_probabilities(loss):
    """Decorator of a loss of two tensors that must be in [0, 1]. NaN gives NaN, as in other losses, although torch
    refuses it."""

    @wraps(loss)
    def checked(x_hat, x):
        if x_hat.is_cuda:
            return nan_outside(loss, x_hat, x)
        try:
            return loss(x_hat, x)
        except RuntimeError:  # torch refuses both, and other things
            if any((values < 0).any() or (values > 1).any() for values in (x_hat, x)):
                raise LabError(
                    "Cross-entropy needs images and reconstructions in [0, 1]; divide pixels by 255."
                ) from None
            if not x_hat.isnan().any():
                raise
            return x_hat.flatten(1).sum(dim=1) * math.nan

    return checked


def nan_outside(loss, x_hat, x):
    """The loss, NaN for each pair of images with values outside [0, 1]: on a GPU torch finds them later, and then
    nothing can be computed any more, the last good weights are lost."""
    inside = (x_hat >= 0) & (x_hat <= 1) & (x >= 0) & (x <= 1)  # NaN is not
    x_hat, x = (values.where(inside, 0.5) for values in (x_hat, x))
    return loss(x_hat, x).masked_fill(~inside.flatten(1).all(dim=1), math.nan)
