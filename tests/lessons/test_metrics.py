"""Numbers on a dataset, against plain loops and against models whose likelihood is known in closed form."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from vae_lib import FCVAE, Autoencoder, elbo_loss, kl_divergence, to_float
from vae_lib.checks import LabError
from vae_lib.engine.batches import batches
from vae_lib.evaluation import evaluate, per_image
from vae_lib.metrics import (
    active_units,
    importance_weighted_bound,
    kl_per_dimension,
    nearest_images,
    per_class_error,
    posterior,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return FCVAE((1, 8, 8), hidden=(16,), latent_dim=3).eval()


def test_metrics_against_a_plain_loop(model, tiny):
    errors, kls = per_image(model, tiny)
    for k in (0, 63):
        x = tiny.images[k : k + 1].float() / 255
        mu, logvar = model.encode(x)
        assert errors[k].item() == pytest.approx(((model.decode(mu) - x) ** 2).sum().item(), rel=1e-5)
        assert kls[k].item() == pytest.approx((0.5 * (mu**2 + logvar.exp() - logvar - 1)).sum().item(), rel=1e-4)
    by_class = per_class_error(model, tiny)
    assert by_class["3"] == pytest.approx(errors[tiny.targets == 3].mean().item())
    total = evaluate(model, tiny, beta=2.0)
    assert total.loss == pytest.approx(errors.mean().item() + 2 * kls.mean().item())
    assert evaluate(model, tiny, sample=True, seed=1) == evaluate(model, tiny, sample=True, seed=1)
    assert evaluate(model, tiny, sample=True, seed=1) != evaluate(model, tiny, sample=True, seed=2)


def test_posterior_is_that_of_the_encoder(model, tiny, monkeypatch):
    monkeypatch.setattr("vae_lib.engine.batches.BATCH", 10)
    torch.testing.assert_close(posterior(model, tiny), tuple(model.encode(to_float(tiny.images))))
    assert posterior(Autoencoder((1, 8, 8), (16,), 3), tiny)[1] is None


def test_nearest_images_are_found_in_any_batch(tiny, monkeypatch):
    monkeypatch.setattr("vae_lib.engine.batches.BATCH", 10)
    wanted = [63, 5, 17]
    others = tiny.select(slice(None))
    others.images = torch.randint(0, 256, tiny.images.shape, dtype=torch.uint8)
    queries = to_float(others.images[wanted])
    queries[0, 0, 0, 0] += 0.5
    index, distance = nearest_images(queries, others)
    assert index.tolist() == wanted and distance.tolist() == pytest.approx([0.25, 0, 0], abs=1e-4)


def test_large_images_come_in_small_batches(tiny):
    large = tiny.select(slice(None))
    large.images = large.images.repeat(1, 3, 16, 16)  # 3x128x128
    sizes = [len(images) for images in batches(large)]
    assert max(sizes) == 31 and sum(sizes) == 64 and next(batches(tiny)).shape[0] == 64


def test_kl_per_dimension_adds_up_to_the_kl(model, tiny):
    mu, logvar = posterior(model, tiny)
    parts = kl_per_dimension(mu, logvar)
    assert parts.shape == (3,) and parts.sum().item() == pytest.approx(kl_divergence(mu, logvar).mean().item())
    one_speaks = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert kl_per_dimension(one_speaks, torch.zeros(2, 2)).tolist() == [0.5, 0]


def test_active_units_follow_the_image():
    images = torch.linspace(-1, 1, 101)
    mu = torch.stack([images, torch.full_like(images, 5.0), 0.05 * images, 0.5 * images], dim=1)
    assert active_units(mu).tolist() == [True, False, False, True]  # a large mean that never moves says nothing
    assert active_units(mu, threshold=1e-4).tolist() == [True, False, True, True]


# --- the importance-weighted bound, where log p(x) is known ---


class LinearGaussian(torch.nn.Module):
    """p(z) = N(0, I), p(x|z) = N(W z + b, I/2), and q(z|x) = the true posterior, its mean off by `shift`.

    The columns of W are orthogonal, so that the true posterior is a diagonal Gaussian.
    """

    def __init__(self, shift):
        super().__init__()
        torch.manual_seed(0)
        columns = torch.linalg.qr(torch.randn(9, 2)).Q * torch.tensor([1.5, 0.7])
        self.weight, self.b, self.shift = torch.nn.Parameter(columns), 0.3, shift

    def encode(self, x):
        precision = 1 + 2 * self.weight.square().sum(dim=0)
        mu = 2 * (x.flatten(1) - self.b) @ self.weight / precision
        return mu + self.shift, -precision.log().expand_as(mu)

    def decode(self, z):
        return (z @ self.weight.T + self.b).view(-1, 1, 3, 3)

    def log_likelihood(self, x):
        covariance = self.weight @ self.weight.T + 0.5 * torch.eye(9)
        mean = torch.full((9,), self.b)
        return MultivariateNormal(mean, covariance).log_prob(x.flatten(1)).detach()


@pytest.fixture
def nine_pixels(tiny):
    data = tiny.select(slice(None))
    data.images = data.images[:, :, :3, :3]
    return data


CONSTANT = -9 / 2 * math.log(math.pi)  # of N(x; x_hat, I/2), left out of the squared error


@pytest.mark.parametrize("k", [1, 7])
def test_the_bound_is_exact_for_the_true_posterior(nine_pixels, k):
    model = LinearGaussian(shift=0.0)
    bound = importance_weighted_bound(model, nine_pixels, k) + CONSTANT
    expected = model.log_likelihood(to_float(nine_pixels.images)).double()
    torch.testing.assert_close(bound, expected, atol=1e-4, rtol=1e-5)


def test_the_bound_grows_with_k_towards_the_likelihood(nine_pixels):
    model = LinearGaussian(shift=0.4)
    means = [importance_weighted_bound(model, nine_pixels, k).mean().item() + CONSTANT for k in (1, 10, 100, 5_000)]
    truth = model.log_likelihood(to_float(nine_pixels.images)).mean().item()
    assert means[0] + 0.1 < means[1] < means[2] < truth + 0.05
    assert means[3] == pytest.approx(truth, abs=0.05)


@pytest.mark.parametrize("likelihood", ["mse", "bce"])
def test_one_draw_is_the_elbo(model, tiny, likelihood):
    with torch.no_grad():
        model.encoder[-1].weight.mul_(8)  # an untrained posterior is nearly the prior: nothing to get wrong
    draws = [importance_weighted_bound(model, tiny, 1, likelihood, seed).mean().item() for seed in range(40)]
    x = to_float(tiny.images)
    mu, logvar = model.encode(x)
    elbos = [-elbo_loss(model(x)[0], x, mu, logvar, likelihood=likelihood).loss.item() for _ in range(40)]
    assert kl_divergence(mu, logvar).mean() > 3
    spread = torch.tensor(draws + elbos).std().item() / math.sqrt(20)
    assert sum(draws) / 40 == pytest.approx(sum(elbos) / 40, abs=4 * spread)


def test_the_bound_does_not_depend_on_the_chunks(model, tiny):
    """Images are taken 5,000 // k at a time; each must keep its own k draws."""
    many = importance_weighted_bound(model, tiny, 2_000)
    few = importance_weighted_bound(model, tiny, 500, seed=1)
    torch.testing.assert_close(many, few, atol=0.5, rtol=0)
    assert (many - many.mean()).abs().max() > 0.5  # the images differ by more than that


def test_the_bound_needs_a_posterior_and_a_draw(model, tiny):
    with pytest.raises(LabError, match="k=0: give a whole number"):
        importance_weighted_bound(model, tiny, 0)
    with pytest.raises(LabError, match="an Autoencoder has none"):
        importance_weighted_bound(Autoencoder((1, 8, 8), (16,), 3), tiny, 5)
