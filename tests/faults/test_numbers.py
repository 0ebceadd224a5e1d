"""Numbers: NaN, constant images, one image, one latent dimension, beta and lr far off: refused, or a finite result."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from vae_lib.attributes import attribute_vector, manipulate
from vae_lib.checks import LabError
from vae_lib.classifier import AttributeClassifier, accuracy, fit_classifier
from vae_lib.evaluation import evaluate
from vae_lib.latent import as_code, interpolate
from vae_lib.losses import LIKELIHOODS, elbo_loss
from vae_lib.metrics import importance_weighted_bound, kl_per_dimension, posterior
from vae_lib.models import FCVAE, Autoencoder, ConvVAE
from vae_lib.pretrained import load_pretrained, save_pretrained
from vae_lib.storage.weights import round_to_half
from vae_lib.training import TrainConfig, fit

MODELS = {
    "fc": lambda latent_dim=4: FCVAE((1, 8, 8), (16,), latent_dim),
    "autoencoder": lambda latent_dim=4: Autoencoder((1, 8, 8), (16,), latent_dim),
    "conv": lambda latent_dim=4: ConvVAE((1, 8, 8), (4, 8), latent_dim),
    "batch norm": lambda latent_dim=4: ConvVAE((1, 8, 8), (4, 8), latent_dim, batch_norm=True),
    "batch norm, 1x1": lambda latent_dim=4: ConvVAE((1, 8, 8), (4, 8, 8), latent_dim, batch_norm=True),
}
TRAININGS = {  # images, latent dimensions, what is special in the configuration
    "batch of 1": (5, 4, dict(batch_size=1)),
    "last batch of 1": (17, 4, dict(batch_size=8)),
    "dataset smaller than a batch": (5, 4, dict(batch_size=128)),
    "one image": (1, 4, dict(batch_size=8)),
    "latent 1": (32, 1, dict(batch_size=8)),
    "beta 0": (32, 4, dict(batch_size=8, beta=0)),
    "beta 1e6": (32, 4, dict(batch_size=8, beta=1e6)),
    "lr 1e3": (32, 4, dict(batch_size=8, lr=1e3)),
    "lr 1e-30": (32, 4, dict(batch_size=8, lr=1e-30)),
}


def is_finite(value):
    """Whether all numbers of a tensor, or of what is made of lists and dicts, are finite."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    return bool(torch.isfinite(value).all()) if isinstance(value, torch.Tensor) else math.isfinite(value)


def one_line(error):
    """The sentence of an error, which must be one printable line."""
    assert str(error).isprintable() and str(error).endswith(".")
    return str(error)


def train_and_keep(model, dataset, config):
    """Train, save in half precision, load again, compare: -> the sentence of the LabError, or "" if all is finite."""
    try:
        record = fit(model, dataset, dataset, config, progress=False)
        assert len(record["history"]) == config.epochs and is_finite(record["history"])
        assert is_finite(model.state_dict())
        round_to_half(model)
        save_pretrained("small", model, record)
    except LabError as error:
        assert is_finite(model.state_dict())  # the last good weights
        return one_line(error)
    again, _ = load_pretrained("small")
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values()))
    assert is_finite(evaluate(again, dataset)) and is_finite(posterior(again, dataset)[0])
    return ""


@pytest.mark.parametrize("training", TRAININGS)
def test_trainings_are_finite_or_refused_and_what_they_made_can_be_kept(tiny, training, note):
    n, latent_dim, special = TRAININGS[training]
    sentences = []
    for build, likelihood in product(MODELS.values(), LIKELIHOODS):
        torch.manual_seed(0)
        config = TrainConfig(epochs=3, likelihood=likelihood, **special)
        sentences.append(train_and_keep(build(latent_dim), tiny.select(slice(n)), config))
    refused = [sentence for sentence in sentences if sentence]
    outcome = f"{len(sentences) - len(refused)} finite, {len(refused)} refused"
    note(training, len(sentences), outcome, next(iter(refused), ""))
    assert not refused or training == "lr 1e3"


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_training_that_diverges_is_stopped_at_its_last_good_weights(tiny, likelihood, monkeypatch, note):
    model, calls = MODELS["fc"](), []
    decode = model.decode

    def diverge_later(z):
        calls.append(1)
        return decode(z) * (torch.nan if len(calls) > 6 else 1.0)  # in the second epoch, of four batches and a test

    monkeypatch.setattr(model, "decode", diverge_later)
    with pytest.raises(LabError, match="not finite in epoch 2") as caught:
        fit(model, tiny, tiny, TrainConfig(epochs=3, batch_size=16, likelihood=likelihood), progress=False)
    note("a training that becomes NaN", 1, "stopped; the model has its last good weights", one_line(caught.value))
    assert is_finite(model.state_dict())


def test_cross_entropy_refuses_what_is_no_probability(note):
    x, sentences = torch.rand(3, 1, 4, 4), []
    for bad in (x * 255, x - 1, torch.full_like(x, torch.inf)):
        for pair in ((bad, x), (x, bad)):
            with pytest.raises(LabError) as caught:
                elbo_loss(*pair, torch.zeros(3, 2), torch.zeros(3, 2), likelihood="bce")
            sentences.append(one_line(caught.value))
    assert elbo_loss(x * torch.nan, x, torch.zeros(3, 2), torch.zeros(3, 2), likelihood="bce").loss.isnan()
    with pytest.raises(RuntimeError, match="dtype|type"):  # another fault is not called by this name
        elbo_loss(x, x.double(), torch.zeros(3, 2), torch.zeros(3, 2), likelihood="bce")
    note("cross-entropy of pixels outside [0, 1]", len(sentences), "refused", sentences[0])


@pytest.mark.parametrize("value", [0, 128, 255])
def test_constant_images_are_trained_and_measured(tiny, value, note):
    dataset = tiny.with_images(torch.full_like(tiny.images, value), (tiny.targets[:, None] == torch.arange(2)).long())
    dataset.target_names = ("Zero", "One")
    for build in MODELS.values():
        torch.manual_seed(0)
        model = build()
        assert train_and_keep(model, dataset, TrainConfig(epochs=2, batch_size=16)) == ""
        mu, logvar = posterior(model, dataset)
        assert is_finite(evaluate(model, dataset, sample=True)) and is_finite(mu)
        vector = attribute_vector(model, dataset, "Zero")
        assert is_finite(vector) and vector.norm() < 1e-4 * (1 + mu.norm())  # all codes are alike
        assert mu.var(dim=0).max() < 1e-6
        if logvar is not None:
            assert is_finite(kl_per_dimension(mu, logvar)) and is_finite(importance_weighted_bound(model, dataset, 5))
    note("all pixels 0, 128 or 255", len(MODELS), "finite losses, codes and vectors")


@pytest.mark.parametrize("n", [1, 5, 17, 32])
def test_a_classifier_learns_from_few_images_and_from_constant_ones(tiny, n, note):
    targets = torch.stack([tiny.targets % 2, torch.ones_like(tiny.targets)], dim=1)
    tries = 0
    for images in (tiny.images, torch.zeros_like(tiny.images)):
        for lr in (1e-3, 1e3):
            dataset = tiny.with_images(images, targets).select(slice(n))
            dataset.target_names = ("Odd", "Always")
            torch.manual_seed(0)
            classifier = AttributeClassifier((1, 8, 8), dataset.target_names, (4, 8, 8))
            config = TrainConfig(epochs=2, batch_size=16, lr=lr)
            history = fit_classifier(classifier, dataset, torch.ones(n), config)
            assert len(history) == 2 and is_finite(history) and is_finite(accuracy(classifier, dataset))
            assert is_finite(classifier.state_dict())
            tries += 1
    note("a classifier of 1 to 32 images, lr up to 1e3", tries, "finite")


WRONG_PIXELS = {
    "NaN": torch.full((1, 8, 8), torch.nan),
    "one NaN": torch.zeros(1, 8, 8).index_fill_(2, torch.tensor([3]), torch.nan),
    "Inf": torch.full((1, 8, 8), torch.inf),
    "-Inf": torch.full((1, 8, 8), -torch.inf),
    "floats from 0 to 255": torch.linspace(0, 255, 64).view(1, 8, 8),
}


@pytest.mark.parametrize("pixels", WRONG_PIXELS)
def test_pixels_that_are_no_numbers_from_0_to_1_are_refused(pixels, note):
    image, sentences = WRONG_PIXELS[pixels], []
    for build in MODELS.values():
        model = build().eval()
        uses = (
            lambda: model.encode(image[None]),  # noqa: B023 (called at once)
            lambda: model.reconstruct(image[None]),  # noqa: B023
            lambda: model(image[None]),  # noqa: B023
            lambda: as_code(model, image),  # noqa: B023
            lambda: interpolate(model, image, torch.zeros(1, 8, 8), 3),  # noqa: B023
            lambda: manipulate(model, image[None], torch.ones(4), [0, 1]),  # noqa: B023
        )
        for use in uses:
            with pytest.raises(LabError) as caught:
                use()
            sentences.append(one_line(caught.value))
    note("NaN, infinity or 255 among the pixels", len(sentences), "refused", sentences[0])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_codes_that_are_no_numbers_are_refused(value, note):
    code, sentences = torch.full((4,), value), []
    for build in MODELS.values():
        model = build().eval()
        uses = (
            lambda: as_code(model, code),  # noqa: B023
            lambda: interpolate(model, code, torch.ones(4), 3),  # noqa: B023
            lambda: interpolate(model, torch.ones(4), code, 3, "slerp"),  # noqa: B023
            lambda: manipulate(model, code, torch.ones(4), [0, 1]),  # noqa: B023
            lambda: manipulate(model, torch.ones(4), code, [0, 1]),  # noqa: B023
            lambda: manipulate(model, torch.ones(4), torch.ones(4), [0, value]),  # noqa: B023
        )
        for use in uses:
            with pytest.raises(LabError) as caught:
                use()
            sentences.append(one_line(caught.value))
    note("NaN or infinity in codes, vectors, weights", len(sentences), "refused", sentences[0])


NO_NUMBERS = (math.nan, math.inf, -math.inf, -1, "1", None, [1], 1j, torch.tensor(1.0))
WRONG_CONFIGURATIONS = {
    **dict.fromkeys(("lr", "beta", "min_delta", "weight_decay"), NO_NUMBERS),
    **dict.fromkeys(("batch_size", "epochs", "patience"), (0, -1, 1.5, math.nan, "8", True, None)),
    "seed": (-1, 1.5, "0", None, 2**64),
    "mirror": ("yes", None, 2),
    "likelihood": ("MSE", None, 0, ["mse"]),
    "schedule": ("cosine", None, 0),
    "precision": ("float16", None, 16),
}


def test_configurations_that_cannot_be_are_refused(note):
    sentences = []
    for field, values in WRONG_CONFIGURATIONS.items():
        for value in values:
            try:
                TrainConfig(**{field: value})
            except LabError as error:
                assert field in one_line(error)
                sentences.append(one_line(error))
            else:
                pytest.fail(f"TrainConfig({field}={value!r}) is taken")
    note("impossible configurations of a training", len(sentences), "refused", sentences[0])


WRONG_SIZES = {
    "latent_dim": (0, -1, 1.5, "8", None, math.nan, [8]),
    "layers": ((0,), (-4,), (4.0,), ("4",), None, 4, (4, None), "48", [[4]]),
    "image_shape": ((3,), (), (1, 8), (1, 8, 0), (1, -8, 8), (1, 8.0, 8), (1, 8, 8, 8), None, 8, "188"),
    "centre": (math.nan, math.inf, "0", None, [0.5]),
}


def test_models_that_cannot_be_are_refused(note):
    sentences = []
    for kind, layers in ((FCVAE, "hidden"), (Autoencoder, "hidden"), (ConvVAE, "channels")):
        for argument, values in (*WRONG_SIZES.items(), *([("layers", [()])] if kind is ConvVAE else [])):
            for value in values:
                name = layers if argument == "layers" else argument
                with pytest.raises(LabError) as caught:
                    kind(**{"image_shape": (1, 8, 8), layers: (4,), name: value})
                sentences.append(one_line(caught.value))
    note("impossible sizes of a model", len(sentences), "refused", sentences[0])


def test_numbers_of_numpy_and_lists_are_taken_and_kept(tiny, note):
    config = TrainConfig(
        batch_size=np.int64(16),
        lr=np.float32(1e-3),
        epochs=np.int32(1),
        beta=1,
        min_delta=np.float64(0.5),
        seed=np.uint8(3),
    )
    sizes = ([16], (16,), np.array([16]), range(16, 17), torch.Size([16]))
    for hidden in sizes:
        model = FCVAE(np.array([1, 8, 8]), hidden, np.int64(4), np.float32(0.5))
        assert train_and_keep(model, tiny, config) == ""
    codes = np.ones((2, 4), np.float32)
    assert manipulate(model, torch.from_numpy(codes), codes[0], np.array([0.0, 1.0])).shape == (2, 2, 1, 8, 8)
    note("numbers and arrays of numpy, lists, ranges as sizes", len(sizes), "taken, and kept with the weights")


def test_a_training_set_is_not_empty(tiny, note):
    with pytest.raises(LabError, match="empty") as caught:
        fit(MODELS["fc"](), tiny.select(slice(0)), None, TrainConfig(), progress=False)
    note("no image to train on", 1, "refused", one_line(caught.value))
