"""The objective over a whole dataset, without training."""

import math

import torch

from vae_lib.data.dataset import as_images, to_float
from vae_lib.engine.batches import batches
from vae_lib.losses import ElboLoss, gaussian_nll, kl_divergence, reconstruction_error
from vae_lib.models import reparameterize


def decoded(model, dataset, sample=False, seed=0):
    """Batch by batch x, x_hat, mu, logvar: the images as floats, decoded from the posterior mean, or with sample=True
    from one draw of z for each image (seeded)."""
    model.eval()
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    for images in batches(dataset):
        x = to_float(images.to(device))
        mu, logvar = model.encode(x)
        z = reparameterize(mu, logvar, generator) if sample and logvar is not None else mu
        yield x, model.decode(z), mu, logvar


@torch.no_grad()
def per_image(model, dataset, likelihood="mse", sample=False, seed=0):
    """Reconstruction term and KL of every image: two tensors (N,), float64 on the CPU. Arguments as in `evaluate`.

    "gaussian" takes one sigma^2 for all images: their mean squared error.
    """
    dataset = as_images(dataset)
    gaussian, reconstructions, kls = likelihood == "gaussian", [], []
    for x, x_hat, mu, logvar in decoded(model, dataset, sample, seed):
        reconstructions.append(reconstruction_error(x_hat, x, "mse" if gaussian else likelihood))
        kls.append(mu.new_zeros(len(x)) if logvar is None else kl_divergence(mu, logvar))
    reconstructions, kls = (torch.cat(parts).cpu().double() for parts in (reconstructions, kls))
    return gaussian_nll(reconstructions, math.prod(dataset.image_shape)) if gaussian else reconstructions, kls


def evaluate(model, dataset, beta=1.0, likelihood="mse", sample=False, seed=0):
    """Mean objective over a dataset: -> ElboLoss of floats, per image, kl in nats.

    Decodes the posterior mean, or with sample=True one draw of z per image (seeded), as in training. Like all of the
    library's measurements it leaves the model in eval(): a loop of your own calls model.train() again.
    """
    reconstruction, kl = (part.mean().item() for part in per_image(model, dataset, likelihood, sample, seed))
    return ElboLoss(reconstruction + beta * kl, reconstruction, kl)
