"""Encoders, decoders and the two steps between them. Images are floats (N, C, H, W) in [0, 1]."""

from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from math import isfinite, prod
from numbers import Integral, Real

import torch
import torch.nn.functional as F
from torch import nn

from vae_lib.checks import LabError


def reparameterize(mu, logvar, generator=None):
    """z = mu + sigma * eps with eps ~ N(0, I): a sample of q(z|x) that gradients flow through.

    mu, logvar: (N, latent_dim) -> z (N, latent_dim). Kingma & Welling 2014, section 2.4.
    """
    eps = torch.randn(mu.shape, dtype=mu.dtype, device=mu.device, generator=generator)
    return mu + torch.exp(0.5 * logvar) * eps


class VAE(nn.Module):
    """An encoder to (mu, logvar), a reparameterised sample, a decoder to [0, 1].

    encoder: module (N, C, H, W) -> (N, 2 * latent_dim); decoder: module (N, latent_dim) -> logits (N, C, H, W).
    `config` rebuilds the model: {"class": ..., and the arguments of its constructor}. Its `centre` is subtracted from
    the pixels before the first layer: 0.5 makes photographs train much faster (LeCun et al. 1998, "Efficient BackProp",
    section 4.3), 0 suits digits on black.
    """

    def __init__(self, encoder, decoder, **config):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.config = {"class": type(self).__name__, **config}
        self.image_shape = tuple(config["image_shape"])
        self.latent_dim = config["latent_dim"]
        self.centre = config["centre"]

    def encode(self, x):
        """Posterior of each image: x (N, C, H, W) in [0, 1] -> mu, logvar, both (N, latent_dim) float32.

        Raises LabError for integer pixels, for NaN or a mean far from [0, 1], or for another image shape.
        """
        mu, logvar = self._features(x).chunk(2, dim=1)
        return mu, logvar.clamp(-30, 20)  # exp() of it stays finite in float32

    def _features(self, x):
        if tuple(x.shape[1:]) != self.image_shape:
            raise LabError(f"This model takes images of shape {self.image_shape}, not {tuple(x.shape[1:])}.")
        if not x.is_floating_point():
            raise LabError(f"Pixels must be floats in [0, 1], not {x.dtype}: use vae_lib.to_float(images).")
        if x.device.type == "cpu" or not self.training:  # a training step on a GPU must not wait for a value
            check_pixels(x)
        return self.encoder(x - self.centre).float()

    def decode(self, z):
        """Mean image of p(x|z): z (N, latent_dim) -> (N, C, H, W) float32 in [0, 1]."""
        return torch.sigmoid(self.decoder(z).float())

    def forward(self, x, generator=None):
        """Encode, sample, decode: x -> (x_hat, mu, logvar)."""
        mu, logvar = self.encode(x)
        return self.decode(reparameterize(mu, logvar, generator)), mu, logvar

    @torch.no_grad()
    def reconstruct(self, x):
        """Decode the posterior mean of each image, no sampling: x -> x_hat, the same shape."""
        return self.decode(self.encode(x)[0])

    @torch.no_grad()
    def sample(self, n, generator=None):
        """Decode n draws of the prior N(0, I): -> (n, C, H, W) in [0, 1]. The generator is a CPU generator."""
        z = torch.randn(n, self.latent_dim, generator=generator)
        return self.decode(z.to(next(self.parameters()).device))


def check_pixels(x):
    """LabError for NaN, and for pixels that were not divided by 255, told by their mean (noise has none)."""
    if len(x) and not abs(mean := x.mean().item()) <= 2:
        raise LabError(
            f"Pixels must be floats in [0, 1], and the mean of these is {mean:g}: give vae_lib.to_float(images) of "
            "uint8 pixels, and look for NaN."
        )


def whole_numbers(name, values):
    """The values as a tuple of ints; LabError, which names them, unless they are whole numbers of at least 1."""
    several = isinstance(values, Iterable) and not isinstance(values, str)
    values = tuple(values) if several else values
    if not several or not all(isinstance(n, Integral) and n >= 1 for n in values):
        raise LabError(f"{name}={values!r}: give whole numbers of at least 1, such as {name}=(64, 32).")
    return tuple(map(int, values))


def checked(image_shape, latent_dim=1, centre=0.0):
    """The arguments that all models have in common; LabError if they are not (channels, height, width) and numbers."""
    image_shape = whole_numbers("image_shape", image_shape)
    if len(image_shape) != 3:
        raise LabError(f"image_shape={image_shape}: give (channels, height, width).")
    if not isinstance(latent_dim, Integral) or latent_dim < 1:
        raise LabError(f"latent_dim={latent_dim!r}: give a whole number of at least 1.")
    if not isinstance(centre, Real) or not isfinite(centre):
        raise LabError(f"centre={centre!r}: give the number that is subtracted from the pixels, such as 0.5.")
    return image_shape, int(latent_dim), float(centre)


def mlp(sizes):
    """Linear layers with ReLU between them: sizes (784, 512, 256) -> two layers."""
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU(inplace=True)]
    return layers[:-1]


def fc_layers(image_shape, hidden, n_out, latent_dim):
    """Encoder from a flattened image to n_out numbers, and the mirrored decoder from latent_dim numbers."""
    pixels = prod(image_shape)
    encoder = nn.Sequential(nn.Flatten(), *mlp((pixels, *hidden, n_out)))
    decoder = nn.Sequential(*mlp((latent_dim, *hidden[::-1], pixels)), nn.Unflatten(1, image_shape))
    return encoder, decoder


class FCVAE(VAE):
    """Fully connected VAE: the image as one flat vector, `hidden` layers, the mirror image as decoder.

    image_shape: (C, H, W), any size.
    """

    def __init__(self, image_shape, hidden=(512, 256), latent_dim=128, centre=0.0):
        image_shape, latent_dim, centre = checked(image_shape, latent_dim, centre)
        hidden = whole_numbers("hidden", hidden)
        encoder, decoder = fc_layers(image_shape, hidden, 2 * latent_dim, latent_dim)
        super().__init__(encoder, decoder, image_shape=image_shape, hidden=hidden, latent_dim=latent_dim, centre=centre)


class Autoencoder(VAE):
    """Plain autoencoder with FCVAE's layers: a point instead of a distribution, so logvar is None and the KL 0."""

    def __init__(self, image_shape, hidden=(512, 256), latent_dim=128, centre=0.0):
        image_shape, latent_dim, centre = checked(image_shape, latent_dim, centre)
        hidden = whole_numbers("hidden", hidden)
        encoder, decoder = fc_layers(image_shape, hidden, latent_dim, latent_dim)
        super().__init__(encoder, decoder, image_shape=image_shape, hidden=hidden, latent_dim=latent_dim, centre=centre)

    def encode(self, x):
        """The code of each image: x (N, C, H, W) in [0, 1] -> (z, None), z (N, latent_dim)."""
        return self._features(x), None

    def forward(self, x, generator=None):
        """Encode, decode: x -> (x_hat, z, None). Nothing is sampled."""
        z, _ = self.encode(x)
        return self.decode(z), z, None


ACTIVATIONS = {
    "relu": partial(nn.ReLU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "silu": nn.SiLU,
}


class ConvTranspose2d(nn.ConvTranspose2d):
    """nn.ConvTranspose2d, its bias added afterwards: oneDNN's own bias gradient takes a tenth of a training step."""

    def forward(self, x):
        y = F.conv_transpose2d(x, self.weight, None, self.stride, self.padding)
        return y + self.bias.to(y.dtype)[:, None, None]


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d that also takes a single value per channel, such as one image at the end of an epoch: it has no
    variance, so it is normalised as in evaluation."""

    def forward(self, x):
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class ToImage(nn.ConvTranspose2d):
    """nn.ConvTranspose2d(kernel 4, stride 2, padding 1) for few output channels, where oneDNN is slow: each 2x2 block
    of output pixels sees 3x3 inputs, so it is a convolution to 4 times the channels, reshuffled into pixels.

    Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?".
    """

    def forward(self, x):
        n_in, n_out = self.weight.shape[:2]
        taps = F.pad(self.weight, (1, 1, 1, 1)).view(n_in, n_out, 3, 2, 3, 2).flip(2, 4)
        kernel = taps.permute(1, 3, 5, 0, 2, 4).reshape(4 * n_out, n_in, 3, 3)
        return F.pixel_shuffle(F.conv2d(x, kernel, self.bias.repeat_interleave(4), padding=1), 2)


class ConvVAE(VAE):
    """Convolutional VAE: each entry of `channels` halves height and width by Conv(4, stride 2, padding 1).

    A linear layer maps the last feature map to (mu, logvar); the decoder mirrors the encoder with transposed
    convolutions. batch_norm: normalise after every convolution but the last. activation: relu | leaky_relu | silu.
    Raises LabError when a side of the image is not divisible by 2 ** len(channels).
    """

    def __init__(
        self,
        image_shape,
        channels=(32, 64, 128),
        latent_dim=128,
        batch_norm=False,
        activation="relu",
        centre=0.0,
    ):
        image_shape, latent_dim, centre = checked(image_shape, latent_dim, centre)
        channels = whole_numbers("channels", channels)
        if not channels:
            raise LabError("A convolutional model has at least one convolution; give channels=(32, 64), for example.")
        step = 2 ** len(channels)
        if image_shape[1] % step or image_shape[2] % step:
            raise LabError(
                f"{len(channels)} convolutions of stride 2 need image sides divisible by {step}, "
                f"not {image_shape[1]}x{image_shape[2]}: resize the images or use fewer channels."
            )
        if activation not in ACTIVATIONS:
            raise LabError(f"Unknown activation {activation!r}; choose one of {', '.join(ACTIVATIONS)}.")

        def finish(n):
            """What follows a convolution to n channels."""
            return [*([BatchNorm2d(n)] if batch_norm else []), ACTIVATIONS[activation]()]

        features = (channels[-1], image_shape[1] // step, image_shape[2] // step)
        down, up = [], []
        for n_in, n_out in zip((image_shape[0], *channels), channels):
            down += [nn.Conv2d(n_in, n_out, 4, stride=2, padding=1), *finish(n_out)]
        for n_in, n_out in zip(channels[::-1], channels[-2::-1]):
            up += [ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1), *finish(n_out)]
        encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(prod(features), 2 * latent_dim))
        decoder = nn.Sequential(
            nn.Linear(latent_dim, prod(features)),
            nn.Unflatten(1, features),
            *up,
            ToImage(channels[0], image_shape[0], 4, stride=2, padding=1),
        )
        super().__init__(
            encoder,
            decoder,
            image_shape=image_shape,
            channels=channels,
            latent_dim=latent_dim,
            batch_norm=batch_norm,
            activation=activation,
            centre=centre,
        )


class AttributeClassifier(nn.Module):
    """Reads attributes off a face: images (N, C, H, W) in [0, 1] -> one logit for each attribute, (N, attributes).

    Each entry of `channels` halves height and width; the faces are aligned, so the last layer may look at places.
    Raises LabError for images that are down to one pixel before the last of them.
    """

    def __init__(self, image_shape, attributes, channels=(16, 32, 64, 128)):
        super().__init__()
        image_shape, *_ = checked(image_shape)
        attributes, channels = tuple(attributes), whole_numbers("channels", channels)
        if min(image_shape[1:]) <= 2 ** (len(channels) - 1):  # torch's bfloat16 gradient of that layer is wrong
            raise LabError(f"Images of {image_shape} are one pixel before the last convolution; give fewer channels.")
        self.config = {
            "class": "AttributeClassifier",
            "image_shape": image_shape,
            "attributes": attributes,
            "channels": channels,
        }
        layers = []
        for n_in, n_out in zip((image_shape[0], *channels), channels):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), BatchNorm2d(n_out), nn.ReLU(inplace=True)]
        sides = [-(-side // 2 ** len(channels)) for side in image_shape[1:]]
        head = nn.Linear(channels[-1] * prod(sides), len(attributes))
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), head)

    def forward(self, x):
        return self.layers(x - 0.5)


def build_model(config):
    """The model, untrained, whose `config` this is; LabError if it names an unknown class or argument, or a bad one."""
    classes = {kind.__name__: kind for kind in (Autoencoder, FCVAE, ConvVAE, AttributeClassifier)}
    arguments = {key: value for key, value in config.items() if key != "class"}
    try:
        return classes[config["class"]](**arguments)
    except LabError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise LabError(f"No model can be built from the configuration {config}: {error}.") from None


def count_parameters(model):
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
