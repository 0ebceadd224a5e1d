"""The best linear VAE has a closed form. Beside it, a network has to learn only what is left."""

import torch
import torch.nn.functional as F
from torch import nn

from vae_lib.checks import LabError
from vae_lib.data.dataset import as_images, to_float
from vae_lib.engine.batches import batches
from vae_lib.models import Autoencoder


class Plus(nn.Module):
    """The sum of what a fixed part and a network make of the same input."""

    def __init__(self, fixed, network):
        super().__init__()
        self.fixed, self.network = fixed.requires_grad_(False), network

    def forward(self, x):
        return self.fixed(x) + self.network(x)


def principal_components(dataset):
    """Of the images with every 2x2 pixels replaced by their mean: -> mean (C*H*W/4,), variances l (n,) over the images
    along n directions, the largest first, and these unit vectors (n, C*H*W/4). A mean counts for its four pixels."""
    halves = torch.cat([F.avg_pool2d(to_float(images), 2).flatten(1) for images in batches(dataset)])
    mean = halves.mean(dim=0)
    halves -= mean
    variances, directions = torch.linalg.eigh(4 / len(halves) * halves.T @ halves)
    return mean, variances.flip(0), directions.T.flip(0)


def check_linear(model, dataset):
    """LabError unless a linear VAE of these images can be put beside the model."""
    shape = "x".join(map(str, dataset.image_shape))
    if isinstance(model, Autoencoder):
        raise LabError("An Autoencoder has no variances of q(z|x) to solve for; take a VAE.")
    if isinstance(model.encoder, Plus):
        raise LabError("This model has a linear part already; build a new one.")
    if model.image_shape != dataset.image_shape or model.image_shape[1] % 2 or model.image_shape[2] % 2:
        raise LabError(f"The images are of {shape}; give a model of that shape, and images whose sides are even.")


@torch.no_grad()
def add_linear_vae(model, dataset):
    """Put the linear VAE with the least squared error + KL on these images, at half their resolution and to first order
    in the decoder's sigmoid, beside the encoder and the decoder of a model, whose outputs are added to its own; it
    stays fixed in training: -> the model, changed in place.

    A direction of variance l > 1/2 is coded by w/l of its coordinate, with the variance 1/(2l) of q(z|x), and decoded
    by w, w^2 = l - 1/2; for the others a code costs more nats than it saves error. Tipping & Bishop 1999,
    "Probabilistic principal component analysis", eq. 7, with sigma^2 = 1/2, since the squared error is -log p(x|z) of
    this variance. The decoder adds before its sigmoid, so its slope there is that of the logit at the mean image.
    dataset: images of the model's shape. Such a model is not saved: its `config` does not name the linear part.
    LabError for an autoencoder, for other shapes and odd sides, and if the model has a linear part.
    """
    dataset = as_images(dataset)
    check_linear(model, dataset)
    mean, variances, directions = principal_components(dataset)
    k = min(model.latent_dim, int((variances > 0.5).sum()))
    l, directions = variances[:k, None], directions[:k]  # noqa: E741 (as in the formula)
    colours, height, width = model.image_shape
    encoder, decoder = nn.Linear(len(mean), 2 * model.latent_dim), nn.Linear(model.latent_dim, len(mean))
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        parameter.zero_()
    w = (l - 0.5).sqrt()
    encoder.weight[:k] = 2 * w / l * directions  # 2: the coordinate among four pixels, from that of their means
    encoder.bias[:k] = encoder.weight[:k] @ (model.centre - mean)
    encoder.bias[model.latent_dim :][:k] = -(2 * l[:, 0]).log()
    mean = mean.clamp(0.01, 0.99)
    decoder.weight[:, :k] = (w * directions / (2 * mean * (1 - mean))).T
    decoder.bias.copy_(mean.logit())
    shrink = nn.AvgPool2d(2), nn.Flatten(), encoder
    grow = decoder, nn.Unflatten(1, (colours, height // 2, width // 2)), nn.Upsample(scale_factor=2)
    model.encoder = Plus(nn.Sequential(*shrink), model.encoder)
    model.decoder = Plus(nn.Sequential(*grow), model.decoder)
    return model
