"""A ruler for edited faces: a small network that reads attributes off a picture, trained apart from the VAE."""

import torch
import torch.nn.functional as F

from vae_lib import settings
from vae_lib.data import to_float
from vae_lib.engine.steps import at_work, autocast, prepare, training_batches
from vae_lib.metrics import batches
from vae_lib.models import AttributeClassifier
from vae_lib.storage.weights import (
    describe_run,
    difference,
    load_pretrained,
    pretrained_path,
    round_to_half,
    save_pretrained,
)
from vae_lib.training import TrainConfig, affordable, progress_bar, refuse_or_tell

CONFIG = TrainConfig(batch_size=128, lr=4e-3, epochs=6, weight_decay=0.05, schedule="one-cycle", mirror=True, seed=0)


def load_or_train_classifier(name, model, train, test, balance=None):
    """The attribute classifier called `name`: loaded if its shipped weights fit, else trained as the profile allows.

    It learns from the images of `train` and from their reconstructions by the VAE `model`, since it is to judge
    decoded pictures. balance: two attributes, made independent by weighting the images: a classifier that has seen
    glasses mostly on men takes glasses for a sign of a man. Profiles work as in `train_or_load`.
    -> (AttributeClassifier in evaluation mode, record); record["test"] = {"photographs", "reconstructions"}: the
    accuracies on `test`.
    """
    torch.manual_seed(CONFIG.seed)
    classifier = AttributeClassifier(train.image_shape, train.target_names)
    run = describe_run(classifier, train, None, CONFIG)
    run["data"]["balance"] = None if balance is None else list(balance)
    profile = settings.PROFILE
    writes_results = profile.writes_results and train.source == "real"
    path = pretrained_path(name)
    if profile.loads_weights and path.exists():
        shipped, record = load_pretrained(name)
        other = difference(run, record)
        if other is None:
            return shipped, record
        refuse_or_tell(path, "classifier", other, writes_results)
    weights = torch.ones(len(train)) if balance is None else independence_weights(*map(train.attribute, balance))
    pictures = with_reconstructions(model, train)
    history = fit_classifier(classifier, pictures, weights.repeat(2), affordable(CONFIG, pictures), name)
    if writes_results:
        round_to_half(classifier)
    record = {
        **run,
        "history": history,
        "test": {
            "photographs": accuracy(classifier, test),
            "reconstructions": accuracy(classifier, reconstructions(model, test)),
        },
        **settings.surroundings(),
    }
    if writes_results:
        save_pretrained(name, classifier, record)
    return classifier, record


def independence_weights(a, b):
    """Weights of images under which two attributes are independent: a, b bool (N,) -> (N,), of mean 1.

    P(a) P(b) / P(a, b), "reweighing" of Kamiran & Calders 2012, "Data preprocessing techniques for classification
    without discrimination", section 4.2.
    """
    weights = torch.zeros(len(a))
    for group_a in (a, ~a):
        for group_b in (b, ~b):
            both = group_a & group_b
            weights[both] = group_a.float().mean() * group_b.float().mean() / both.float().mean()
    return weights / weights.mean()


@torch.no_grad()
def reconstructions(model, dataset):
    """The dataset as the model gives it back: every image replaced by the decoded posterior mean."""
    model.eval()
    device = next(model.parameters()).device
    images = [model.reconstruct(to_float(part.to(device))).mul(255).round() for part in batches(dataset)]
    images = torch.cat(images).to(torch.uint8).cpu()
    return dataset.with_images(images, dataset.targets)


def with_reconstructions(model, dataset):
    """The images of a dataset, followed by their reconstructions."""
    images = torch.cat([dataset.images, reconstructions(model, dataset).images])
    return dataset.with_images(images, dataset.targets.repeat(2, 1))


def fit_classifier(classifier, dataset, weights, config, name="classifier"):
    """Train in place with the mean cross-entropy of the attributes (nats), each image weighted: -> history.

    weights: (N,), of mean 1. History: one dict an epoch, {"epoch", "train_loss"}.
    """
    targets, history = dataset.targets.float(), []
    with at_work(classifier), progress_bar(config.epochs * len(dataset), name) as bar:
        optimizer = prepare(classifier, config)
        for epoch in range(1, config.epochs + 1):
            classifier.train()
            total = 0.0
            for indices, x, _ in training_batches(dataset, optimizer, config, epoch, settings.DEVICE):
                with autocast(settings.DEVICE, config.precision):
                    logits = classifier(x)
                y, w = targets[indices].to(settings.DEVICE), weights[indices].to(settings.DEVICE)
                losses = F.binary_cross_entropy_with_logits(logits.float(), y, reduction="none").mean(dim=1)
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
    classifier.eval()
    device = next(classifier.parameters()).device
    return torch.cat([torch.sigmoid(classifier(part.to(device))).cpu() for part in images.split(500)])


@torch.no_grad()
def read_codes(classifier, model, codes):
    """Probability of each attribute in the pictures of codes: codes (N, latent_dim) -> (N, attributes) on the CPU."""
    model.eval()
    device, read = next(model.parameters()).device, []
    for part in codes.split(250):
        with autocast(device, "auto"):
            images = model.decode(part.to(device))
        read.append(probabilities(classifier, images))
    return torch.cat(read)


def accuracy(classifier, dataset):
    """Share of the images of a dataset on which the classifier is right: {attribute: share}."""
    read = torch.cat([probabilities(classifier, to_float(part)) for part in batches(dataset)]) > 0.5
    right = (read == (dataset.targets == 1)).float().mean(dim=0)
    return dict(zip(dataset.target_names, right.tolist()))
