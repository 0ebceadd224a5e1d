"""Variational autoencoders in plain torch.nn. Images are floats (N, C, H, W) in [0, 1]."""

from functools import partial
from itertools import pairwise
from math import prod

import torch
from torch import nn

from vae_lib.checks import Choices, LabError, checked_model

RELUS = {"relu": partial(nn.ReLU, inplace=True), "leaky_relu": partial(nn.LeakyReLU, inplace=True)}
ACTIVATIONS = Choices("activation", **RELUS, silu=nn.SiLU)


def reparameterize(mu, logvar, generator=None):
    """z = mu + sigma * eps with eps ~ N(0, I): a sample of q(z|x) that gradients flow through.

    mu, logvar: (N, latent_dim) -> z (N, latent_dim). Kingma & Welling 2014, section 2.4.
    """
    eps = mu.new_empty(mu.shape).normal_(generator=generator)  # torch.compile refuses randn(generator=None)
    return mu + torch.exp(0.5 * logvar) * eps


@checked_model
class VAE(nn.Module):
    """An encoder to (mu, logvar), a reparameterised sample, a decoder to [0, 1].

    encoder: module (N, C, H, W) -> (N, 2 * latent_dim); decoder: module (N, latent_dim) -> logits (N, C, H, W).
    `config` rebuilds the model: {"class": ..., and the arguments of its constructor}. Its `centre` is subtracted from
    the pixels before the first layer: 0.5 makes photographs train much faster (LeCun et al. 1998, "Efficient BackProp",
    section 4.3), 0 suits digits on black.
    """

    def __init__(self, encoder, decoder, image_shape, latent_dim, centre=0.0, **config):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.image_shape = image_shape
        self.latent_dim = latent_dim
        self.centre = centre
        sizes = {"image_shape": image_shape, "latent_dim": latent_dim, "centre": centre}
        self.config = {"class": type(self).__name__, **sizes, **config}

    def encode(self, x):
        """Posterior of each image: x (N, C, H, W) in [0, 1] -> mu, logvar, both (N, latent_dim) float32.

        Raises LabError for integer pixels, for NaN or a mean far from [0, 1], for another image shape, and if the
        encoder gives other numbers.
        """
        mu, logvar = self.encoder(x - self.centre).float().chunk(2, dim=1)
        return mu.contiguous(), logvar.clamp(-30, 20)  # exp() of it stays finite in float32

    def decode(self, z):
        """Mean image of p(x|z): z (N, latent_dim) -> (N, C, H, W) float32 in [0, 1]."""
        return torch.sigmoid(self.decoder(z).float()).contiguous()

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
        z = torch.empty(n, self.latent_dim).normal_(generator=generator)
        return self.decode(z.to(next(self.parameters()).device))


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


@checked_model
class FCVAE(VAE):
    """Fully connected VAE: an image (C, H, W) of any size as one flat vector, `hidden` layers, a mirrored decoder."""

    def __init__(self, image_shape, hidden=(512, 256), latent_dim=128, centre=0.0):
        layers = fc_layers(image_shape, hidden, 2 * latent_dim, latent_dim)
        super().__init__(*layers, image_shape=image_shape, hidden=hidden, latent_dim=latent_dim, centre=centre)


@checked_model
class Autoencoder(VAE):
    """Plain autoencoder with FCVAE's layers: a point instead of a distribution, so logvar is None and the KL 0."""

    def __init__(self, image_shape, hidden=(512, 256), latent_dim=128, centre=0.0):
        layers = fc_layers(image_shape, hidden, latent_dim, latent_dim)
        super().__init__(*layers, image_shape=image_shape, hidden=hidden, latent_dim=latent_dim, centre=centre)

    def encode(self, x):
        """The code of each image: x (N, C, H, W) in [0, 1] -> (z, None), z (N, latent_dim)."""
        return self.encoder(x - self.centre).float(), None

    def forward(self, x, generator=None):
        """Encode, decode: x -> (x_hat, z, None). Nothing is sampled."""
        z, _ = self.encode(x)
        return self.decode(z), z, None


@checked_model
class ConvVAE(VAE):
    """Convolutional VAE: each entry of `channels` halves height and width by Conv(4, stride 2, padding 1).

    A linear layer maps the last feature map to (mu, logvar); the decoder mirrors the encoder with transposed
    convolutions. batch_norm: normalise after every convolution but the last. activation: relu | leaky_relu | silu.
    Raises LabError when a side of the image is not divisible by 2 ** len(channels).
    """

    def __init__(
        self, image_shape, channels=(32, 64, 128), latent_dim=128, batch_norm=False, activation="relu", centre=0.0
    ):
        colours, height, width = image_shape
        step = 2 ** len(channels)
        if height % step or width % step:
            raise LabError(
                f"{len(channels)} convolutions of stride 2 need image sides divisible by {step}, "
                f"not {height}x{width}: resize the images or use fewer channels."
            )

        def finish(n):
            """What follows a convolution to n channels."""
            return [*([nn.BatchNorm2d(n)] if batch_norm else []), ACTIVATIONS[activation]()]

        features = (channels[-1], height // step, width // step)
        down, up = [], []
        for n_in, n_out in pairwise((colours, *channels)):
            down += [nn.Conv2d(n_in, n_out, 4, stride=2, padding=1), *finish(n_out)]
        for n_in, n_out in pairwise(channels[::-1]):
            up += [nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1), *finish(n_out)]
        encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(prod(features), 2 * latent_dim))
        to_features = nn.Linear(latent_dim, prod(features)), nn.Unflatten(1, features)
        decoder = nn.Sequential(*to_features, *up, nn.ConvTranspose2d(channels[0], colours, 4, stride=2, padding=1))
        sizes = {"image_shape": image_shape, "channels": channels, "latent_dim": latent_dim}
        super().__init__(encoder, decoder, **sizes, batch_norm=batch_norm, activation=activation, centre=centre)
