"""The VAE objective on one scale: per image, summed over pixels and channels, plus beta times the KL in nats."""

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
    differ (broadcasting would hide it). Kingma & Welling 2014, "Auto-Encoding Variational Bayes", appendix B.
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

    Kingma & Welling 2014, appendix C.1. For grey values its minimum is not 0. LabError for values outside [0, 1].
    """
    return F.binary_cross_entropy(x_hat, x, reduction="none").flatten(1).sum(dim=1)


LIKELIHOODS = Choices("likelihood", mse=squared_error, bce=binary_cross_entropy)


def reconstruction_error(x_hat, x, likelihood="mse"):
    """Reconstruction term of every image, (N,): squared error ("mse") or cross-entropy in nats ("bce").

    Raises LabError for an unknown likelihood, or when the shapes differ (broadcasting would hide it).
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
