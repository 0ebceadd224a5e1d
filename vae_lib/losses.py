"""The VAE objective on one scale: per image, summed over pixels and channels, plus beta times the KL in nats."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from vae_lib.checks import Choices, checked_loss, checked_probabilities


class ElboLoss(NamedTuple):
    """Means over the images of a batch: loss = reconstruction + beta * kl."""

    loss: torch.Tensor
    reconstruction: torch.Tensor
    kl: torch.Tensor


@checked_loss
def kl_divergence(mu, logvar):
    """KL(q(z|x) || N(0, I)) of a diagonal Gaussian posterior, in nats per image.

    mu, logvar: (N, latent_dim), logvar = log of the variance. Returns (N,), each >= 0. Raises LabError when the shapes
    differ (broadcasting would hide it), or for anything but floats. Kingma & Welling 2014, "Auto-Encoding Variational
    Bayes", appendix B.
    """
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(dim=1)


@checked_loss
def squared_error(x_hat, x):
    """Squared error summed over pixels and channels: (N, C, H, W) twice -> (N,).

    This is -log N(x; x_hat, sigma^2 = 1/2) up to a constant, so the sum with the KL is a true ELBO.
    """
    return F.mse_loss(x_hat, x, reduction="none").flatten(1).sum(dim=1)


@checked_loss
@checked_probabilities
def binary_cross_entropy(x_hat, x):
    """-log Bernoulli(x; x_hat) summed over pixels and channels, nats: (N, C, H, W) twice, in [0, 1] -> (N,).

    Kingma & Welling 2014, appendix C.1. Of grey values it is the mean over pictures of black and white pixels, white
    with probability x, and its minimum is not 0. LabError for values outside [0, 1] (on a GPU: NaN).
    """
    return F.binary_cross_entropy(x_hat, x, reduction="none").flatten(1).sum(dim=1)


ROUNDING = 1 / (12 * 255**2)  # the variance of what rounding to 256 grey values does to a pixel


def gaussian_nll(errors, pixels, variance=None):
    """-log N(x; x_hat, variance) of images whose squared errors are these, in nats, with all constants: (N,) -> (N,).

    pixels: how many an image has, times channels. variance: sigma^2 of every pixel; None: the mean squared error of
    these images, which makes the mean of the result smallest (not below that of rounding to 256 grey values).
    """
    if variance is None:
        variance = (errors.mean() / pixels).clamp(min=ROUNDING)
    return 0.5 * (errors / variance + pixels * torch.log(2 * math.pi * torch.as_tensor(variance)))


def optimal_gaussian(x_hat, x):
    """-log N(x; x_hat, sigma^2), sigma^2 the mean squared error of the batch, nats: (N, C, H, W) twice -> (N,).

    Rybkin, Daniilidis & Levine 2021, "Simple and effective VAE training with calibrated decoders".
    """
    return gaussian_nll(squared_error(x_hat, x), math.prod(x.shape[1:]))


LIKELIHOODS = Choices("likelihood", mse=squared_error, bce=binary_cross_entropy, gaussian=optimal_gaussian)


def reconstruction_error(x_hat, x, likelihood="mse"):
    """Reconstruction term of every image, (N,): squared error ("mse"), or in nats "bce" or "gaussian".

    Raises LabError for an unknown likelihood, for integers, or when the shapes differ (broadcasting would hide it).
    """
    return LIKELIHOODS[likelihood](x_hat, x)


def elbo_loss(x_hat, x, mu, logvar, beta=1.0, likelihood="mse"):
    """Negative ELBO (beta = 1) or beta-VAE objective, averaged over the images of the batch.

    x_hat, x: (N, C, H, W) in [0, 1]; mu, logvar: (N, latent_dim). A plain autoencoder passes logvar=None: KL 0.
    Returns ElboLoss(loss, reconstruction, kl): scalars per image; kl in nats, not yet times beta.
    Kingma & Welling 2014, equation 7; beta: Higgins et al. 2017, equation 4.
    """
    reconstruction = reconstruction_error(x_hat, x, likelihood).mean()
    kl = reconstruction.new_zeros(()) if logvar is None else kl_divergence(mu, logvar).mean()
    return ElboLoss(reconstruction + beta * kl, reconstruction, kl)
