"""The objective against closed forms, Monte Carlo, torch.distributions, and its own invariants."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Independent, Normal
from torch.distributions import kl_divergence as torch_kl

from vae_lib import elbo_loss, kl_divergence
from vae_lib.checks import LabError, nan_outside
from vae_lib.losses import ROUNDING, gaussian_nll, reconstruction_error


def posterior(n=6, latent_dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mu = torch.randn(n, latent_dim, generator=generator, dtype=torch.float64)
    return mu, torch.randn(n, latent_dim, generator=generator, dtype=torch.float64)


def images(n=4, shape=(3, 8, 8), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *shape, generator=generator), torch.rand(n, *shape, generator=generator)


def test_kl_equals_torch_distributions():
    mu, logvar = posterior()
    q = Independent(Normal(mu, torch.exp(0.5 * logvar)), 1)
    prior = Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)
    torch.testing.assert_close(kl_divergence(mu, logvar), torch_kl(q, prior))


def test_kl_equals_monte_carlo():
    mu, logvar = posterior(n=3)
    q, prior = Normal(mu, torch.exp(0.5 * logvar)), Normal(torch.zeros_like(mu), torch.ones_like(mu))
    torch.manual_seed(0)
    z = q.sample((200_000,))
    ratios = (q.log_prob(z) - prior.log_prob(z)).sum(dim=2)
    error = ratios.std(dim=0) / math.sqrt(len(z))
    assert ((ratios.mean(dim=0) - kl_divergence(mu, logvar)).abs() < 4 * error).all()


def test_kl_is_zero_only_at_the_prior():
    zeros = torch.zeros(2, 7)
    assert kl_divergence(zeros, zeros).tolist() == [0, 0]
    for mu, logvar in [(zeros + 0.1, zeros), (zeros, zeros + 0.1), (zeros, zeros - 0.1)]:
        assert (kl_divergence(mu, logvar) > 0).all()


def test_elbo_values_by_hand():
    x, x_hat = torch.zeros(2, 1, 2, 3), torch.full((2, 1, 2, 3), 0.5)
    mu, logvar = torch.ones(2, 4), torch.zeros(2, 4)
    losses = elbo_loss(x_hat, x, mu, logvar, beta=10)
    assert losses._fields == ("loss", "reconstruction", "kl")
    assert [value.item() for value in losses] == [6 * 0.25 + 10 * 2, 6 * 0.25, 2]
    bce = elbo_loss(x_hat, x, mu, logvar, likelihood="bce")
    assert bce.reconstruction.item() == pytest.approx(6 * math.log(2))


@pytest.mark.parametrize("likelihood", ["mse", "bce", "gaussian"])
def test_elbo_is_a_mean_over_images(likelihood):
    x, x_hat = images()
    mu, logvar = (t.float() for t in posterior(n=4))
    once = torch.stack(elbo_loss(x_hat, x, mu, logvar, 0.7, likelihood))
    doubled = [torch.cat([t, t]) for t in (x_hat, x, mu, logvar)]
    torch.testing.assert_close(torch.stack(elbo_loss(*doubled, 0.7, likelihood)), once)


def test_elbo_is_a_sum_over_pixels_and_channels():
    x, x_hat = images()
    mu, logvar = (t.float() for t in posterior(n=4))
    wide = [torch.cat([t, t], dim=3) for t in (x_hat, x)]
    once, twice = elbo_loss(x_hat, x, mu, logvar), elbo_loss(*wide, mu, logvar)
    torch.testing.assert_close(twice.reconstruction, 2 * once.reconstruction)
    torch.testing.assert_close(twice.kl, once.kl)


def test_autoencoder_has_no_kl():
    x, x_hat = images()
    losses = elbo_loss(x_hat, x, torch.ones(4, 3), None)
    assert losses.kl == 0 and losses.loss == losses.reconstruction


def test_bce_is_the_bernoulli_likelihood():
    x, x_hat = images()
    expected = -torch.distributions.Bernoulli(x_hat, validate_args=False).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(reconstruction_error(x_hat, x, "bce"), expected)


def test_on_a_gpu_values_outside_make_the_loss_of_their_image_nan():
    """There torch would end all computing."""

    def loss(x_hat, x):
        return F.binary_cross_entropy(x_hat, x, reduction="none").flatten(1).sum(dim=1)

    x, x_hat = images()
    x_hat = x_hat.clone()
    x_hat[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    plain, guarded = (x_hat.clone().requires_grad_() for _ in range(2))
    expected, found = loss(plain, x), nan_outside(loss, guarded, x)
    assert torch.equal(found, expected)
    slopes = (torch.autograd.grad(of.sum(), by)[0] for of, by in ((expected, plain), (found, guarded)))
    assert torch.equal(*slopes)
    x_hat[0, 0, 0, 0], x_hat[1, 0, 0, 0], x[2, 0, 0, 0] = math.nan, -0.1, 255
    found = nan_outside(loss, x_hat, x)
    assert found.isnan().tolist() == [True, True, True, False] and torch.equal(found[3], expected[3])


# --- the Gaussian with the best variance ---


def normal_nll(x_hat, x, variance):
    return -Normal(x_hat, variance**0.5).log_prob(x).sum(dim=(1, 2, 3))


def test_the_gaussian_is_that_of_torch_with_the_mean_squared_error_as_variance():
    x, x_hat = images()
    variance = F.mse_loss(x_hat, x)
    torch.testing.assert_close(reconstruction_error(x_hat, x, "gaussian"), normal_nll(x_hat, x, variance))
    for variance in (0.5, 0.01, torch.tensor(3.0)):
        errors = (x_hat - x).square().sum(dim=(1, 2, 3))
        torch.testing.assert_close(gaussian_nll(errors, 192, variance), normal_nll(x_hat, x, variance))


def test_no_other_variance_gives_a_lower_mean():
    x, x_hat = images()
    best, variance = reconstruction_error(x_hat, x, "gaussian").mean(), F.mse_loss(x_hat, x)
    for factor in (0.5, 0.9, 1.1, 2):
        assert normal_nll(x_hat, x, factor * variance).mean() > best + 0.1


def test_the_gradient_of_the_gaussian_is_that_of_the_log_error():
    x, x_hat = images()
    x_hat.requires_grad_()
    (gradient,) = torch.autograd.grad(reconstruction_error(x_hat, x, "gaussian").mean(), x_hat)
    (expected,) = torch.autograd.grad(192 / 2 * F.mse_loss(x_hat, x).log(), x_hat)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("error", [0.0, 0.5 * ROUNDING**0.5])
def test_the_variance_is_not_below_that_of_rounding(error):
    x, _ = images()
    x_hat = (x + error).requires_grad_()
    loss = reconstruction_error(x_hat, x, "gaussian").mean()
    assert loss.item() == pytest.approx(normal_nll(x_hat, x, ROUNDING).mean().item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, x_hat)
    torch.testing.assert_close(gradient, (x_hat - x).detach() / ROUNDING / len(x))


def test_rounding_to_grey_values_has_this_variance():
    x = (torch.arange(100_000, dtype=torch.double) + 0.5) / 100_000
    assert (x - (255 * x).round() / 255).square().mean().item() == pytest.approx(ROUNDING, rel=0.004)


def test_elbo_with_the_gaussian():
    x, x_hat = images()
    mu, logvar = (t.float() for t in posterior(n=4))
    losses = elbo_loss(x_hat, x, mu, logvar, beta=0.3, likelihood="gaussian")
    # 96 * (1 + log(2 pi MSE)): the squared error costs half a nat in each pixel
    expected = 96 * (1 + math.log(2 * math.pi * F.mse_loss(x_hat, x).item()))
    assert losses.reconstruction.item() == pytest.approx(expected, rel=1e-5)
    assert losses.kl.item() == pytest.approx(kl_divergence(mu, logvar).mean().item())
    assert losses.loss.item() == pytest.approx(expected + 0.3 * losses.kl.item(), rel=1e-5)


# --- errors ---


@pytest.mark.parametrize("likelihood", ["mse", "bce", "gaussian"])
def test_other_shapes_are_refused_by_every_likelihood(likelihood):
    x, x_hat = images()
    with pytest.raises(LabError, match="x_hat and x must have the same shape"):
        reconstruction_error(x_hat[:1], x, likelihood)


@pytest.mark.parametrize("likelihood", ["mse", "bce", "gaussian"])
def test_pixels_that_are_no_floats_are_refused_by_every_likelihood(likelihood):
    x, x_hat = images()
    with pytest.raises(LabError, match="x must be a tensor of floats, not torch.uint8: use vae_lib.to_float"):
        reconstruction_error(x_hat, (255 * x).byte(), likelihood)
    with pytest.raises(LabError, match="logvar must be a tensor of floats, not NoneType"):
        kl_divergence(torch.zeros(2, 3), None)  # of an Autoencoder


def test_bad_input_is_refused():
    x, x_hat = images()
    with pytest.raises(LabError, match="likelihood 'l1'"):
        elbo_loss(x_hat, x, *posterior(n=4), likelihood="l1")
    with pytest.raises(LabError, match="shape"):
        elbo_loss(x_hat[:1], x, *posterior(n=4))  # would broadcast
