"""The ruler of notebook 6: what it learns, how its images are weighted, when it is loaded."""

from dataclasses import asdict, replace

import pytest
import torch

from vae_lib import ConvVAE, TrainConfig, pretrained, settings, to_float
from vae_lib.checks import LabError
from vae_lib.classifier import (
    AttributeClassifier,
    accuracy,
    fit_classifier,
    independence_weights,
    probabilities,
    read_codes,
    reconstructions,
    with_reconstructions,
)
from vae_lib.data import ImageDataset
from vae_lib.pretrained import load_or_train_classifier, pretrained_path

NAMES = ("bright", "left", "noise")


@pytest.fixture
def patches():
    """400 images of 3x16x16: bright or dark all over, and with a white left or right edge; the third is a coin."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (400, 3), generator=generator)
    images = (targets[:, 0] * 100 + 50)[:, None, None, None].repeat(1, 3, 16, 16)
    for row, image in zip(targets, images):
        image[:, :, : 4 if row[1] else 16][:, :, None if row[1] else 12 :] = 255
    return ImageDataset(images.to(torch.uint8), targets, NAMES, "patches", "train", "real")


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return ConvVAE((3, 16, 16), (8, 16), latent_dim=4, centre=0.5).eval()


def trained(dataset, weights, epochs=8):
    torch.manual_seed(0)
    classifier = AttributeClassifier(dataset.image_shape, dataset.target_names, channels=(8, 16))
    config = TrainConfig(batch_size=32, lr=3e-3, epochs=epochs, schedule="one-cycle")
    history = fit_classifier(classifier, dataset, weights, config)
    return classifier, history


def test_learns_what_can_be_learned(patches):
    classifier, history = trained(patches.select(slice(300)), torch.ones(300))
    assert not classifier.training
    read = accuracy(classifier, patches.select(slice(300, None)))
    assert read["bright"] > 0.95 and read["left"] > 0.95 and 0.3 < read["noise"] < 0.7
    assert [row["epoch"] for row in history] == list(range(1, 9))
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_images_of_weight_zero_teach_nothing(patches):
    wrong = torch.arange(400) % 2 == 1
    patches.targets[wrong] = 1 - patches.targets[wrong]
    classifier, _ = trained(patches, 2.0 * ~wrong)
    assert accuracy(classifier, patches.select(~wrong))["bright"] > 0.95
    assert accuracy(classifier, patches.select(wrong))["bright"] < 0.05


def test_weighted_attributes_are_independent():
    a = torch.tensor([1, 1, 1, 1, 1, 1, 0, 0, 0, 0], dtype=torch.bool)
    b = torch.tensor([1, 1, 1, 1, 0, 0, 1, 0, 0, 0], dtype=torch.bool)
    weights = independence_weights(a, b)
    assert abs(weights.mean() - 1) < 1e-6
    share_a, share_b = ((weights * mask).sum() / weights.sum() for mask in (a, b))
    torch.testing.assert_close((weights * (a & b)).sum() / weights.sum(), share_a * share_b)
    torch.testing.assert_close(weights[0], torch.tensor(0.6 * 0.5 / 0.4))  # P(a) P(b) / P(a, b)
    assert torch.equal(independence_weights(a, torch.ones(10, dtype=torch.bool)), torch.ones(10))  # nothing to balance
    assert abs(independence_weights(a, a | b).mean() - 1) < 1e-6  # one of the four groups is empty


def test_slips_are_told(patches):
    weights = torch.ones(len(patches))
    classifier = AttributeClassifier(patches.image_shape, patches.target_names[::-1])
    with pytest.raises(LabError, match="attributes of the dataset in their order"):
        fit_classifier(classifier, patches, weights, TrainConfig(epochs=1))
    with pytest.raises(LabError, match="Pixels must be floats"):
        probabilities(classifier, patches.images[:2])
    with pytest.raises(LabError, match="a must be a tensor of bool"):
        independence_weights(patches.targets[:, 0], patches.targets[:, 1])


def test_reads_codes_as_it_reads_their_pictures(patches, vae):
    classifier, _ = trained(patches, torch.ones(400), epochs=1)
    z = torch.randn(600, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = probabilities(classifier, vae.decode(z))
    read = read_codes(classifier, vae, z)
    assert read.dtype == torch.float32 and read.shape == (600, 3) and read.min() >= 0 and read.max() <= 1
    torch.testing.assert_close(read, expected, atol=0.02, rtol=0)  # bfloat16 where the machine is fast at it


def test_learns_from_photographs_and_reconstructions(patches, vae):
    both = with_reconstructions(vae, patches)
    assert len(both) == 800 and torch.equal(both.images[:400], patches.images)
    torch.testing.assert_close(
        to_float(both.images[400:]), vae.reconstruct(to_float(patches.images)), atol=0.003, rtol=0
    )
    assert torch.equal(both.targets[400:], patches.targets)


def test_is_shipped_by_the_full_profile_and_loaded_where_it_fits(patches, vae, use_profile, capsys, monkeypatch):
    monkeypatch.setattr(pretrained, "CONFIG", replace(pretrained.CONFIG, epochs=1))
    use_profile("full")
    made, record = load_or_train_classifier("c", vae, patches, patches, balance=("bright", "left"))
    assert pretrained_path("c").exists() and record["profile"] == "full"
    assert record["test"]["photographs"] == accuracy(made, patches)
    assert record["test"]["reconstructions"] == accuracy(made, reconstructions(vae, patches))
    use_profile("lab")
    loaded, again = load_or_train_classifier("c", vae, patches, patches, balance=("bright", "left"))
    x = to_float(patches.images[:5])
    torch.testing.assert_close(probabilities(loaded, x), probabilities(made, x))
    assert again["test"] == record["test"]
    capsys.readouterr()
    few = patches.select(slice(100))
    few.targets, few.target_names = few.targets[:, :1], few.target_names[:1]  # another set of photographs
    loaded, _ = load_or_train_classifier("c", vae, few, few, balance=("bright", "left"))
    assert loaded.config["attributes"] == made.config["attributes"] and not capsys.readouterr().out
    few.target_names = ("other",)
    load_or_train_classifier("c", vae, few, few, balance=None)
    assert "the shipped weights do not fit" in capsys.readouterr().out
    drawn = replace(patches, source="drawn", name="drawn")
    load_or_train_classifier("c", vae, drawn, patches, balance=("bright", "left"))
    assert "data name is 'drawn' here" in capsys.readouterr().out
    _, fresh = load_or_train_classifier("c", vae, patches, patches)
    assert "data balance is None here and ['bright', 'left'] there" in capsys.readouterr().out
    use_profile("full")
    with pytest.raises(LabError, match="holds another run .*delete it"):
        load_or_train_classifier("c", vae, patches, patches)
    assert fresh["profile"] == "lab" and len(list(settings.PRETRAINED_DIR.iterdir())) == 1


def test_weights_go_with_their_images_and_reconstructions(patches, vae, monkeypatch):
    given = {}

    def spy(classifier, dataset, weights, config, name):
        given.update(dataset=dataset, weights=weights, config=config)
        return []

    monkeypatch.setattr(pretrained, "fit_classifier", spy)
    monkeypatch.setattr(settings, "PROFILE", replace(settings.PROFILE, images_per_training=1_000))
    _, record = load_or_train_classifier("c", vae, patches, patches, balance=("bright", "left"))
    both = given["dataset"]
    assert len(both) == 800 and record["data"]["train"] == 400 and record["config"] == asdict(given["config"])
    assert torch.equal(both.images, with_reconstructions(vae, patches).images)
    expected = independence_weights(both.attribute("bright"), both.attribute("left"))
    assert expected.std() > 0
    torch.testing.assert_close(given["weights"], expected)
    monkeypatch.setattr(settings, "PROFILE", replace(settings.PROFILE, images_per_training=500))
    _, record = load_or_train_classifier("c", vae, patches, patches, balance=("bright", "left"))
    assert len(given["dataset"]) == 500 == len(given["weights"]) and record["data"]["train"] == 250


def test_is_not_shipped_when_images_are_drawn(patches, vae, use_profile, monkeypatch):
    monkeypatch.setattr(pretrained, "CONFIG", replace(pretrained.CONFIG, epochs=1))
    use_profile("full")
    patches.source = "sample"
    load_or_train_classifier("c", vae, patches, patches)
    assert not pretrained_path("c").exists()
