"""A small library for a course on variational autoencoders."""

from vae_lib.attributes import attribute_vector, manipulate
from vae_lib.checks import LabError
from vae_lib.data import ImageDataset, load_dataset, to_float
from vae_lib.latent import interpolate
from vae_lib.losses import elbo_loss, kl_divergence
from vae_lib.models import FCVAE, Autoencoder, ConvVAE, reparameterize
from vae_lib.pretrained import load_or_repeat, load_pretrained, save_pretrained, train_or_load
from vae_lib.settings import reduced
from vae_lib.storage.records import show_setup
from vae_lib.training import TrainConfig, fit
