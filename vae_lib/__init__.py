"""A small library for a course on variational autoencoders."""

from vae_lib.attributes import attribute_vector, manipulate
from vae_lib.checks import LabError
from vae_lib.data import ImageDataset, load_dataset, show_setup, to_float
from vae_lib.latent import interpolate
from vae_lib.losses import elbo_loss, kl_divergence
from vae_lib.models import FCVAE, Autoencoder, ConvVAE, reparameterize
from vae_lib.storage.weights import load_pretrained
from vae_lib.training import TrainConfig, fit, load_or_repeat, train_or_load

__all__ = [
    "FCVAE",
    "Autoencoder",
    "ConvVAE",
    "ImageDataset",
    "LabError",
    "TrainConfig",
    "attribute_vector",
    "elbo_loss",
    "fit",
    "interpolate",
    "kl_divergence",
    "load_dataset",
    "load_or_repeat",
    "load_pretrained",
    "manipulate",
    "reparameterize",
    "show_setup",
    "to_float",
    "train_or_load",
]
