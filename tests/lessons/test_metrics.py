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
    importance_weighted_bound,
    in_use,
    kl_per_dimension,
    mean_and_error,
    nearest_images,
    per_class_error,
    posterior,
    split_kl,
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


def test_a_dimension_is_in_use_from_a_tenth_of_a_nat_on():
    mu = torch.tensor([[0.44, 0.45, 0.0], [-0.44, -0.45, 0.0]])  # KL mu^2 / 2: 0.097 and 0.101 nats, and 0
    assert in_use(mu, torch.zeros(2, 3)).tolist() == [False, True, False]


# --- means and their errors ---


def test_an_error_is_the_scatter_of_the_mean():
    generator = torch.Generator().manual_seed(0)
    samples = 3 + 2 * torch.randn(2000, 50, generator=generator)
    estimates = [mean_and_error(sample) for sample in samples]
    assert torch.tensor([e.error for e in estimates]).mean().item() == pytest.approx(2 / 50**0.5, rel=0.02)
    assert torch.tensor([e.mean for e in estimates]).std().item() == pytest.approx(2 / 50**0.5, rel=0.05)
    values = torch.tensor([1.0, 2.0, 4.0])
    assert mean_and_error(values).error == pytest.approx((values.std() / 3**0.5).item())


def test_an_error_over_persons_counts_each_person_once():
    generator = torch.Generator().manual_seed(0)
    persons = torch.arange(400) % 40  # ten photographs each, all ten alike
    values = torch.randn(40, generator=generator)[persons]
    assert mean_and_error(values, persons).error == pytest.approx(mean_and_error(values[:40]).error)
    assert mean_and_error(values, persons).error > 3 * mean_and_error(values).error
    alone = mean_and_error(values, torch.arange(400).flip(0) * 7)  # groups of one
    assert alone == pytest.approx(mean_and_error(values))


def test_an_estimate_prints_as_the_course_writes_it():
    estimate = mean_and_error(torch.tensor([1.0, 2.0, 3.0, 4.0]) - 10)
    assert f"{estimate:.2f}" == "-7.50 ± 0.65" and f"{estimate:+.1f}" == "-7.5 ± 0.6"
    assert math.isnan(mean_and_error([5.0]).error) and mean_and_error([5.0]).mean == 5


# --- the parts of the KL ---


def test_the_parts_of_the_kl_add_up_to_it():
    generator = torch.Generator().manual_seed(0)
    mu, logvar = torch.randn(1200, 3, generator=generator), torch.randn(1200, 3, generator=generator) - 1
    information, marginal = split_kl(mu, logvar)
    measured = mean_and_error(information + marginal - kl_divergence(mu, logvar))
    assert abs(measured.mean) < 4 * measured.error < 0.5


def test_posteriors_that_never_meet_tell_which_image_it_is():
    mu = 100.0 * torch.arange(700)[:, None].expand(700, 2)
    information, marginal = split_kl(mu, torch.zeros(700, 2))
    assert information.tolist() == pytest.approx([math.log(700)] * 700)  # its ceiling
    information, marginal = split_kl(torch.zeros(700, 2), torch.zeros(700, 2))  # the prior, for every image
    assert information.abs().max() < 1e-6 and marginal.abs().max() < 1e-6


def test_the_parts_of_the_kl_where_both_are_known():
    """mu ~ N(0, 3), variance 1: the aggregate is N(0, 4), and I = log(4) / 2 in each dimension."""
    mu = 3**0.5 * torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    parts = [mean_and_error(part) for part in split_kl(mu, torch.zeros(4000, 1))]
    for part, known in zip(parts, (math.log(4) / 2, (4 - 1 - math.log(4)) / 2)):
        assert abs(part.mean - known) < 4 * part.error < 0.15


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
