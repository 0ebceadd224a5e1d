"""The VAE objective on one scale: per image, summed over pixels and channels, plus beta times the KL in nats."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from vae_lib.checks import LabError


class ElboLoss(NamedTuple):
    """Means over the images of a batch: loss = reconstruction + beta * kl."""

    loss: torch.Tensor
    reconstruction: torch.Tensor
    kl: torch.Tensor


def kl_divergence(mu, logvar):
    """KL(q(z|x) || N(0, I)) of a diagonal Gaussian posterior, in nats per image.

    mu, logvar: (N, latent_dim), logvar = log of the variance. Returns (N,), each >= 0. Raises LabError when the shapes
    differ (broadcasting would hide it). Kingma & Welling 2014, "Auto-Encoding Variational Bayes", appendix B.
    """
    if mu.shape != logvar.shape:
        raise LabError(f"mu has shape {tuple(mu.shape)}, logvar {tuple(logvar.shape)}; both are (N, latent_dim).")
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(dim=1)


def squared_error(x_hat, x):
    """Squared error summed over pixels and channels: (N, C, H, W) twice -> (N,).

    This is -log N(x; x_hat, sigma^2 = 1/2) up to a constant, so the sum with the KL is a true ELBO.
    """
    return F.mse_loss(x_hat, x, reduction="none").flatten(1).sum(dim=1)


def binary_cross_entropy(x_hat, x):
    """-log Bernoulli(x; x_hat) summed over pixels and channels, nats: (N, C, H, W) twice, in [0, 1] -> (N,).

    Kingma & Welling 2014, appendix C.1. For grey values strictly between 0 and 1 its minimum is not 0.
    Raises LabError for values outside [0, 1]; NaN gives NaN, as everywhere (but on a GPU, where torch allows neither).
    """
    try:
        errors = F.binary_cross_entropy(x_hat, x, reduction="none")
    except RuntimeError:  # torch refuses both, and other things
        if any((values < 0).any() or (values > 1).any() for values in (x_hat, x)):
            raise LabError("Cross-entropy needs images and reconstructions in [0, 1]; divide pixels by 255.") from None
        if not x_hat.isnan().any():
            raise
        errors = x_hat * math.nan
    return errors.flatten(1).sum(dim=1)


LIKELIHOODS = {"mse": squared_error, "bce": binary_cross_entropy}


def reconstruction_error(x_hat, x, likelihood="mse"):
    """Reconstruction term of every image, (N,): squared error ("mse") or cross-entropy in nats ("bce").

    Raises LabError for an unknown likelihood, or when the shapes differ (broadcasting would hide it).
    """
    if likelihood not in LIKELIHOODS:
        raise LabError(f"Unknown likelihood {likelihood!r}; choose one of {', '.join(LIKELIHOODS)}.")
    if x_hat.shape != x.shape:
        raise LabError(f"The reconstruction has shape {tuple(x_hat.shape)}, the images {tuple(x.shape)}.")
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
