"""The linear VAE in closed form: its loss is the theory's, nothing near is better, and training leaves it alone."""

from contextlib import contextmanager, suppress

import pytest
import torch
import torch.nn.functional as F

from vae_lib import (
    FCVAE,
    Autoencoder,
    ConvVAE,
    ImageDataset,
    LabError,
    TrainConfig,
    elbo_loss,
    fit,
    save_pretrained,
    to_float,
    training,
)
from vae_lib.evaluation import evaluate
from vae_lib.linear import add_linear_vae, principal_components

VARIANCES = torch.tensor([6.0, 3.0, 1.5, 0.3])  # of planted directions, over images of 3x16x32 pixels


@contextmanager
def interrupted_after(epochs):
    """Ctrl-C, as it were, after that many epochs were saved."""
    saved, save = [], training.save_checkpoint

    def counted(*args):
        save(*args)
        saved.append(len(args[-1]["history"]))
        if saved[-1] == epochs:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(training, "save_checkpoint", counted)
        yield


def dataset(images):
    return ImageDataset(images, torch.zeros(len(images)), "0", "planted", "train", "real")


@pytest.fixture(scope="module")
def planted():
    """Images of low contrast, where the sigmoid is nearly its tangent: four directions, constant over 2x2 pixels."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(3 * 8 * 16, 4, generator=generator))[0].T
    coordinates = torch.randn(4000, 4, generator=generator) * VARIANCES.sqrt()
    x = 0.4 + F.interpolate((coordinates @ directions / 2).view(-1, 3, 8, 16), scale_factor=2)
    return dataset((x * 255).round().clamp(0, 255).to(torch.uint8))


def silent(images, latent_dim=6):
    """A model of which only the linear part answers."""
    model = ConvVAE(images.image_shape, (4, 4), latent_dim, centre=0.5)
    for parameter in model.parameters():
        parameter.data.zero_()
    return add_linear_vae(model, images)


def test_components_are_the_planted_ones(planted):
    mean, variances, directions = principal_components(planted)
    assert torch.allclose(variances[:4], VARIANCES, rtol=0.1) and variances[4] < 0.05
    assert mean.mean() == pytest.approx(0.4, abs=0.005)
    assert torch.allclose(directions @ directions.T, torch.eye(len(directions)), atol=1e-4)


def test_its_loss_is_that_of_the_formula(planted):
    """Of each used direction log(2l)/2 nats and an error of 1/2, of the others their variance."""
    model, (_, variances, _) = silent(planted), principal_components(planted)
    used, left = variances[:3], variances[3:].sum()
    losses = evaluate(model, planted, sample=True)
    assert losses.kl == pytest.approx((0.5 * (2 * used).log()).sum().item(), rel=0.01)
    assert losses.reconstruction == pytest.approx((left + 0.5 * 3).item(), rel=0.05)
    mu, logvar = model.encode(to_float(planted.images))
    assert (mu[:, 3:] == 0).all() and (logvar[:, 3:] == 0).all()  # the prior


def test_nothing_near_is_better(planted):
    model, x = silent(planted), to_float(planted.images)

    def loss():
        with torch.no_grad():
            x_hat, mu, logvar = model(x, torch.Generator().manual_seed(0))
            return elbo_loss(x_hat, x, mu, logvar).loss.item()

    best = loss()
    for part in (model.encoder.fixed, model.decoder.fixed):
        for weights in part.parameters():
            before, step = weights.clone(), 0.1 * weights.abs().max() * torch.randn_like(weights).sign()
            for change in (step, -step):
                weights.copy_(before + change)
                assert loss() > best - 0.01
            weights.copy_(before)


def test_fewer_latent_dimensions_take_the_largest(planted):
    losses = evaluate(silent(planted, latent_dim=2), planted, sample=True)
    assert losses.kl == pytest.approx(0.5 * (2 * VARIANCES[:2]).log().sum().item(), rel=0.05)


def test_images_without_differences_need_no_code():
    black = dataset(torch.zeros(20, 1, 4, 4, dtype=torch.uint8))
    losses = evaluate(silent(black), black, sample=True)
    assert losses.kl == 0 and losses.reconstruction < 0.01  # the mean, which a sigmoid does not quite reach


def test_training_leaves_it_alone(planted):
    model = add_linear_vae(ConvVAE(planted.image_shape, (4, 4), 6, centre=0.5), planted)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit(model, planted.select(slice(100)), None, TrainConfig(batch_size=50, epochs=1), progress=False)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed and all(".network." in name for name in changed)


def test_what_cannot_have_a_linear_part_is_refused_unchanged(planted):
    odd = dataset(torch.zeros(5, 1, 7, 7, dtype=torch.uint8))
    twice = add_linear_vae(ConvVAE(planted.image_shape, (4,), 2), planted)
    for model, images, why in (
        (Autoencoder(planted.image_shape, (4,), 2), planted, "no variances"),
        (twice, planted, "a linear part already"),
        (FCVAE((1, 7, 7), (4,), 2), odd, "sides are even"),
        (FCVAE((1, 28, 28), (4,), 2), planted, "model of that shape"),
    ):
        before = list(model.state_dict())
        with pytest.raises(LabError, match=why):
            add_linear_vae(model, images)
        assert list(model.state_dict()) == before


def test_a_model_that_could_not_be_loaded_again_is_not_saved(planted, tmp_path):
    model = add_linear_vae(ConvVAE(planted.image_shape, (4, 4), 6), planted)
    with pytest.raises(LabError, match=r"could not be loaded again: ConvVAE of its config has no decoder\.fixed"):
        save_pretrained(tmp_path / "a.safetensors", model, {})
    assert not (tmp_path / "a.safetensors").exists()


def test_a_run_with_a_linear_part_is_resumed(planted, tmp_path):
    """The fixed weights have no moments of Adam."""
    images, results = planted.select(slice(100)), []
    for name, stops in (("whole", (2,)), ("resumed", (1, 2))):
        for stop in stops:
            torch.manual_seed(0)
            model = add_linear_vae(ConvVAE(planted.image_shape, (4, 4), 6, centre=0.5), planted)
            config = TrainConfig(batch_size=50, epochs=2)
            with interrupted_after(stop):
                fit(model, images, None, config, checkpoint=tmp_path / f"{name}.checkpoint", progress=False)
        results.append(model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(state.values() for state in results)))
