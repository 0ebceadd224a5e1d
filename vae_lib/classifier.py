"""A classifier that judges edited faces: a small network that reads attributes off a picture, apart from the VAE."""

import itertools
from math import prod

import torch
import torch.nn.functional as F
from torch import nn

from vae_lib import settings
from vae_lib.checks import LabError, check_images, check_mask, check_sizes
from vae_lib.data import to_float
from vae_lib.engine.batches import batches, training_batches
from vae_lib.engine.device import model_on_device
from vae_lib.engine.progress import progress_bar
from vae_lib.engine.schedule import learning_rate, set_learning_rate
from vae_lib.training import TrainConfig, make_optimizer

CONFIG = TrainConfig(batch_size=128, lr=4e-3, epochs=6, weight_decay=0.05, schedule="one-cycle", mirror=True, seed=0)


class AttributeClassifier(nn.Module):
    """Reads attributes off a face: images (N, C, H, W) in [0, 1] -> one logit for each attribute, (N, attributes).

    Each entry of `channels` halves height and width; LabError for images that are one pixel before the last of them.
    Faces are aligned, so the last layer may look at places.
    """

    def __init__(self, image_shape, attributes, channels=(16, 32, 64, 128)):
        super().__init__()
        image_shape = check_sizes("image_shape", image_shape, n=3)
        attributes, channels = tuple(attributes), check_sizes("channels", channels)
        if min(image_shape[1:]) <= 2 ** (len(channels) - 1):  # torch's bfloat16 gradient of that layer is wrong
            raise LabError(f"Images of {image_shape} are one pixel before the last convolution; give fewer channels.")
        sizes = {"image_shape": image_shape, "attributes": attributes, "channels": channels}
        self.config = {"class": "AttributeClassifier", **sizes}
        layers = []
        for n_in, n_out in zip((image_shape[0], *channels), channels):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
        sides = [-(-side // 2 ** len(channels)) for side in image_shape[1:]]
        head = nn.Linear(channels[-1] * prod(sides), len(attributes))
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), head)

    def forward(self, x):
        return self.layers(x - 0.5)


def independence_weights(a, b):
    """Weights of images that make two attributes independent: a, b bool (N,) -> (N,), P(a) P(b) / P(a, b), of mean 1.
    Kamiran & Calders 2012, "Data preprocessing techniques for classification without discrimination", section 4.2."""
    check_mask("a", a, len(a))
    check_mask("b", b, len(a))
    weights = torch.zeros(len(a))
    for group_a, group_b in itertools.product((a, ~a), (b, ~b)):
        both = group_a & group_b
        weights[both] = group_a.float().mean() * group_b.float().mean() / both.float().mean()
    return weights / weights.mean()


@torch.no_grad()
def reconstructions(model, dataset):
    """The dataset as the model gives it back: every image replaced by the decoded posterior mean."""
    model.eval()
    device = next(model.parameters()).device
    images = [model.reconstruct(to_float(part.to(device))).mul(255).round() for part in batches(dataset)]
    return dataset.with_images(torch.cat(images).to(torch.uint8).cpu(), dataset.targets)


def with_reconstructions(model, dataset):
    """The images of a dataset, followed by their reconstructions."""
    images = torch.cat([dataset.images, reconstructions(model, dataset).images])
    return dataset.with_images(images, dataset.targets.repeat(2, 1))


def fit_classifier(classifier, dataset, weights, config, name="classifier"):
    """Train in place with the mean cross-entropy of the attributes (nats), each image weighted.
    weights: (N,), of mean 1. -> history: one dict an epoch, {"epoch", "train_loss"}. LabError if the dataset has other
    attributes, or in another order."""
    if [*classifier.config["attributes"]] != [*dataset.target_names]:
        raise LabError(
            "The classifier must have the attributes of the dataset in their order: build it with target_names."
        )
    targets, history = dataset.targets.float(), []
    with model_on_device(classifier, config.precision), progress_bar(config.epochs * len(dataset), name) as bar:
        optimizer = make_optimizer(classifier, config)
        for epoch in range(1, config.epochs + 1):
            classifier.train()
            total = 0.0
            for indices, x, done in training_batches(dataset, config, epoch, settings.DEVICE):
                set_learning_rate(optimizer, learning_rate(config, done))
                y, w = targets[indices].to(settings.DEVICE), weights[indices].to(settings.DEVICE)
                losses = F.binary_cross_entropy_with_logits(classifier(x).float(), y, reduction="none").mean(dim=1)
                loss = (w * losses).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(x)
                bar.update(len(x))
            history.append({"epoch": epoch, "train_loss": (total / len(dataset)).item()})
    classifier.eval()
    return history


@torch.no_grad()
def probabilities(classifier, images):
    """Probability of each attribute in each picture: images (N, C, H, W) in [0, 1] -> (N, attributes) on the CPU."""
    check_images(images, tuple(classifier.config["image_shape"]))
    classifier.eval()
    device = next(classifier.parameters()).device
    return torch.cat([torch.sigmoid(classifier(part.to(device))).cpu() for part in images.split(500)])


@torch.no_grad()
def read_codes(classifier, model, codes):
    """Probability of each attribute in the pictures of codes: codes (N, latent_dim) -> (N, attributes) on the CPU."""
    model.eval()
    with model_on_device(model, "auto"):
        pictures = (model.decode(part.to(settings.DEVICE)) for part in codes.split(250))
        return torch.cat([probabilities(classifier, part) for part in pictures])


def accuracy(classifier, dataset):
    """Share of the images of a dataset on which the classifier is right: {attribute of the dataset: share}."""
    read = torch.cat([probabilities(classifier, to_float(part)) for part in batches(dataset)]) > 0.5
    read = read[:, [classifier.config["attributes"].index(name) for name in dataset.target_names]]
    right = (read == (dataset.targets == 1)).float().mean(dim=0)
    return dict(zip(dataset.target_names, right.tolist()))
