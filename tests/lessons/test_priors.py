"""Priors on codes of two dimensions, against densities that are known."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from vae_lib import FCVAE, Autoencoder, priors
from vae_lib.checks import LabError
from vae_lib.data import ImageDataset
from vae_lib.priors import Flow, Mixture, fit_prior, flow_matching_loss, runge_kutta


class Codes(torch.nn.Module):
    """A model whose posteriors are given; the two pixels of an image are its number."""

    def __init__(self, mu, logvar):
        super().__init__()
        self.mu, self.logvar = torch.nn.Parameter(mu, requires_grad=False), logvar

    def encode(self, x):
        numbers = (255 * x.flatten(1)).round().long() @ torch.tensor([256, 1])
        return self.mu[numbers], None if self.logvar is None else self.logvar[numbers]


def numbered(n):
    """n images of 1x1x2 pixels: their numbers."""
    images = torch.stack([torch.arange(n) // 256, torch.arange(n) % 256], dim=1).byte().view(n, 1, 1, 2)
    return ImageDataset(images, torch.zeros(n, dtype=torch.long), "0", "numbered", "train", "real")


def fit_codes(mu, logvar, kind, seed=0, **options):
    return fit_prior(Codes(mu, logvar), numbered(len(mu)), kind, seed, **options)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


MEAN, FACTOR = torch.tensor([1.0, -2.0]), torch.tensor([[1.0, 0.0], [1.2, 0.5]])
NARROW = 2 * math.log(0.5)  # the logvar of a standard deviation of 1/2


def correlated(n=4_000):
    """Posteriors of standard deviation 1/2 whose means have this mean and covariance, and what they add up to."""
    mu = MEAN + torch.randn(n, 2, generator=seeded(3)) @ FACTOR.T
    return mu, torch.full((n, 2), NARROW), MultivariateNormal(MEAN, FACTOR @ FACTOR.T + 0.25 * torch.eye(2))


def blobs(n=1_000, share=0.5):
    """Posteriors of standard deviation 1/2 around (-3, 0) and (3, 0), and what they add up to."""
    mu = torch.zeros(n, 2)
    mu[:, 0] = torch.where(torch.arange(n) < share * n, -3, 3)
    gaussians = Independent(Normal(torch.tensor([[-3.0, 0.0], [3.0, 0.0]]), 0.5), 1)
    whole = MixtureSameFamily(Categorical(torch.tensor([share, 1 - share])), gaussians)
    return mu, torch.full((n, 2), NARROW), whole


def total_probability(prior, centre, width, n=40, **options):
    """The integral of its density over a square."""
    side = (torch.arange(n) + 0.5) / n * width - width / 2
    z = torch.cartesian_prod(side, side) + centre
    return prior.log_prob(z, **options).exp().sum().item() * (width / n) ** 2


def assert_moments(z, distribution, tolerance):
    torch.testing.assert_close(z.mean(dim=0), distribution.mean, atol=tolerance, rtol=0)
    covariance = getattr(distribution, "covariance_matrix", None)
    covariance = torch.diag(distribution.variance) if covariance is None else covariance
    torch.testing.assert_close(z.T.cov(), covariance, atol=3 * tolerance, rtol=0)


# --- one Gaussian and many ---


def test_a_gaussian_is_fitted_to_draws_of_the_posteriors():
    mu, logvar, whole = correlated()
    prior = fit_codes(mu, logvar, "gaussian")
    assert_moments(prior.sample(20_000, seeded(0)), whole, 0.07)
    z = whole.sample((200,))
    torch.testing.assert_close(prior.log_prob(z), whole.log_prob(z), atol=0.25, rtol=0)
    assert total_probability(prior, MEAN, 16) == pytest.approx(1, abs=1e-3)


def test_a_gaussian_is_the_kind_that_is_fitted_if_none_is_named():
    mu, logvar, _ = correlated(300)
    z = fit_prior(Codes(mu, logvar), numbered(300)).sample(5, seeded(0))
    assert torch.equal(z, fit_codes(mu, logvar, "gaussian").sample(5, seeded(0)))


def test_the_codes_of_an_autoencoder_are_points():
    mu, _, _ = correlated(500)
    prior = fit_codes(mu, None, "gaussian")
    expected = MultivariateNormal(mu.mean(dim=0), mu.T.cov(correction=0))
    torch.testing.assert_close(prior.log_prob(mu), expected.log_prob(mu), atol=1e-3, rtol=0)


def test_a_mixture_finds_the_blobs():
    mu, logvar, whole = blobs(share=0.25)
    prior = fit_codes(mu, logvar, "mixture", components=2)
    z = prior.sample(4_000, seeded(0))
    assert (z[:, 0] < 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (z[:, 0].abs() < 1).float().mean() < 0.01
    assert_moments(z, whole, 0.15)
    real = whole.sample((500,))
    assert (prior.log_prob(real) - whole.log_prob(real)).abs().mean() < 0.1
    assert total_probability(prior, torch.zeros(2), 12) == pytest.approx(1, abs=1e-3)


def test_a_mixture_has_twenty_gaussians():
    mu, logvar, _ = blobs(n=300)
    assert fit_codes(mu, logvar, "mixture").means.shape == (20, 2)


def test_a_mixture_by_hand():
    weights = torch.tensor([0.2, 0.5, 0.3])
    means = torch.tensor([[0.0, 0.0], [12.0, 3.0], [-6.0, 9.0]])
    factors = torch.tensor([[[1.0, 0.0], [0.9, 0.3]], [[0.5, 0.0], [-0.6, 0.2]], [[0.3, 0.0], [0.0, 1.5]]])
    prior = Mixture(weights, means, factors @ factors.mT)
    z = 6 * torch.randn(50, 2, generator=seeded(0))
    logs = torch.stack([MultivariateNormal(m, scale_tril=f).log_prob(z) for m, f in zip(means, factors)], dim=1)
    torch.testing.assert_close(prior.log_prob(z), torch.logsumexp(logs + weights.log(), dim=1))
    draws = prior.sample(40_000, seeded(0))
    centred = means - weights @ means
    torch.testing.assert_close(draws.mean(dim=0), weights @ means, atol=0.2, rtol=0)
    covariance = (weights[:, None, None] * (factors @ factors.mT + centred[:, :, None] * centred[:, None])).sum(dim=0)
    torch.testing.assert_close(draws.T.cov(), covariance, atol=1, rtol=0)
    second = draws[(draws - means[1]).norm(dim=1) < 5]
    assert len(second) / len(draws) == pytest.approx(0.5, abs=0.02)
    torch.testing.assert_close(second.T.cov(), factors[1] @ factors[1].T, atol=0.03, rtol=0)


# --- the solver ---


def test_the_solver_has_order_four():
    one = torch.ones(1, dtype=torch.double)
    errors = [(runge_kutta(lambda z, t: z, one, 0.0, 1.0, n) - math.e).abs().item() for n in (5, 10, 20)]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.15) and errors[1] / errors[2] == pytest.approx(16, rel=0.1)
    assert errors[2] < 1e-6


def test_the_solver_takes_time_into_account():
    one = torch.ones(1, dtype=torch.double)
    assert runge_kutta(lambda z, t: 4 * t**3 + 0 * z, one, 1.0, 2.0, 1).item() == pytest.approx(16)  # Simpson's rule
    end = runge_kutta(lambda z, t: math.cos(t) * z, one, 0.5, 2.0, 40)
    assert end.item() == pytest.approx(math.exp(math.sin(2) - math.sin(0.5)), rel=1e-6)
    back = runge_kutta(lambda z, t: math.cos(t) * z, end, 2.0, 0.5, 40)
    assert back.item() == pytest.approx(1, rel=1e-6)


def test_the_solver_needs_a_step():
    with pytest.raises(LabError, match="steps=0: give a whole number of at least 1"):
        runge_kutta(lambda z, t: z, torch.ones(1), 0.0, 1.0, 0)


# --- flows ---


class StraightPaths(Flow):
    """The velocity that takes N(0, I) to N(mean, deviation^2) along straight paths, in closed form."""

    def __init__(self, mean, deviation):
        super().__init__(len(mean))
        self.target_mean, self.target_variance = mean, deviation.square()

    def velocity(self, z, t):
        variance = (1 - t).square() + t.square() * self.target_variance
        growth = (t * self.target_variance - (1 - t)) / variance
        return self.target_mean + growth * (z - t * self.target_mean)


@pytest.fixture
def straight():
    return StraightPaths(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0]))


def test_a_flow_whose_velocity_is_known(straight):
    target = Independent(Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0])), 1)
    z = straight.sample(20_000, seeded(0))
    noise = torch.randn(20_000, 2, generator=seeded(0))
    torch.testing.assert_close(z, target.base_dist.loc + noise * target.base_dist.scale, atol=1e-3, rtol=0)
    z = z[:1_500]  # more than are taken at a time
    torch.testing.assert_close(straight.log_prob(z), target.log_prob(z), atol=2e-3, rtol=0)
    assert straight.log_prob(z[7:9]).tolist() == pytest.approx(straight.log_prob(z)[7:9].tolist(), abs=1e-5)


def test_the_loss_is_least_for_the_velocity_that_is_known(straight):
    """Then it is what the straight paths through one point differ by."""
    z = straight.target_mean + torch.randn(40_000, 2, generator=seeded(1)) * straight.target_variance.sqrt()
    t = ((torch.arange(1_000) + 0.5) / 1_000)[:, None]
    s = straight.target_variance
    scatter = 1 + s - (t * s - (1 - t)).square() / ((1 - t).square() + t.square() * s)
    least = flow_matching_loss(straight, z, seeded(0)).item()
    assert least == pytest.approx(scatter.sum(dim=1).mean().item(), rel=0.02)
    for mean, variance in ((0.3, 1.0), (0.0, 1.5)):
        other = StraightPaths(straight.target_mean + mean, (straight.target_variance * variance).sqrt())
        assert flow_matching_loss(other, z, seeded(0)).item() > least + 0.02


def test_an_untrained_flow_is_the_standard_normal():
    torch.manual_seed(0)
    z, noise = Flow(3).sample(50, seeded(0)), torch.randn(50, 3, generator=seeded(0))
    torch.testing.assert_close(z, noise, atol=1e-3, rtol=0)
    expected = Independent(Normal(torch.zeros(3), torch.ones(3)), 1).log_prob(z)
    torch.testing.assert_close(Flow(3).log_prob(z), expected, atol=1e-3, rtol=0)


def test_a_flow_changes_the_volume_as_its_jacobian_says():
    """The same way in many small steps, and the derivative of where it ends with respect to where it starts."""
    torch.manual_seed(0)
    flow, start = Flow(2), torch.tensor([[0.5, -1.0], [-1.5, 0.3]])
    untrained = flow.velocity
    flow.velocity = lambda z, t: untrained(z, t) + torch.sin(2 * z + z.flip(1) + 3 * t)

    def end(z):
        for k in range(100):
            middle = z + flow.velocity(z[None], torch.full((1, 1), k / 100))[0] / 200
            z = z + flow.velocity(middle[None], torch.full((1, 1), (k + 0.5) / 100))[0] / 100
        return z

    growth = torch.stack([torch.autograd.functional.jacobian(end, z).det().log() for z in start])
    ends = torch.stack([end(z) for z in start]).detach()
    noise = Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
    torch.testing.assert_close(flow.log_prob(ends), noise.log_prob(start) - growth, atol=2e-3, rtol=0)
    assert growth.abs().max() > 0.5 and (ends - start).norm(dim=1).min() > 0.3


def test_a_flow_of_another_number_of_dimensions():
    torch.manual_seed(0)
    for latent_dim in (1, 5):
        z = Flow(latent_dim).sample(7, seeded(0), steps=3)
        assert z.shape == (7, latent_dim) and Flow(latent_dim).log_prob(z, steps=3).shape == (7,)
    with pytest.raises(LabError, match="latent_dim=0"):
        Flow(0)


SHORT = {"steps": 2_500, "batch_size": 64, "progress": False}


@pytest.fixture
def small(monkeypatch):
    """Flows of a small network."""
    monkeypatch.setattr(priors, "Flow", partial(Flow, hidden=32))


@pytest.fixture(scope="module")
def trained():
    """A flow on two blobs, and what they add up to."""
    mu, logvar, whole = blobs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(priors, "Flow", partial(Flow, hidden=32))
        return fit_codes(mu, logvar, "flow", **SHORT), whole


def test_a_flow_leaves_the_middle_of_two_blobs_empty(trained):
    z = trained[0].sample(2_000, seeded(0))
    assert (z[:, 0].abs() < 1.2).float().mean() < 0.06  # 0.31 of the Gaussian with the same moments
    assert (z[:, 0] < 0).float().mean().item() == pytest.approx(0.5, abs=0.06)
    assert z[:, 0].std().item() == pytest.approx(3.04, abs=0.25) and z[:, 1].std().item() == pytest.approx(0.5, abs=0.1)
    assert z.mean(dim=0).abs().max() < 0.3


def test_the_density_of_a_flow_is_that_of_the_blobs(trained):
    flow, whole = trained
    z = whole.sample((300,))
    gap = whole.log_prob(z) - flow.log_prob(z)  # its mean is the KL
    assert -0.1 < gap.mean() < 0.3 and gap.abs().median() < 0.3
    moments = Independent(Normal(torch.zeros(2), torch.tensor([3.04, 0.5])), 1)
    assert flow.log_prob(z).mean() > moments.log_prob(z).mean() + 0.5
    assert total_probability(flow, torch.zeros(2), 10, n=45, steps=10) == pytest.approx(1, abs=0.05)


def test_the_same_generator_gives_the_same_codes(trained):
    mu, logvar, _ = blobs()
    for prior in (trained[0], fit_codes(mu, logvar, "gaussian"), fit_codes(mu, logvar, "mixture", components=2)):
        assert torch.equal(prior.sample(9, seeded(4)), prior.sample(9, seeded(4)))
        assert not torch.equal(prior.sample(9, seeded(4)), prior.sample(9, seeded(5)))
        assert prior.sample(9).shape == (9, 2) and not prior.sample(9).requires_grad
        assert prior.log_prob(mu[:9]).shape == (9,) and not prior.log_prob(mu[:9]).requires_grad


def test_a_flow_finds_mean_and_scale_of_the_codes(small):
    """Codes far from N(0, I): their own units are found even in a few steps."""
    mu, logvar, whole = correlated(1_000)
    scale, shift = torch.tensor([100.0, 0.1]), torch.tensor([-500.0, 3.0])
    flow = fit_codes(scale * mu + shift, logvar + 2 * scale.log(), "flow", steps=500, batch_size=64, progress=False)
    z = (flow.sample(1_000, seeded(0)) - shift) / scale
    torch.testing.assert_close(z.mean(dim=0), whole.mean, atol=0.5, rtol=0)
    torch.testing.assert_close(z.std(dim=0), whole.variance.sqrt(), atol=0.5, rtol=0)
    real = whole.sample((200,))
    gap = whole.log_prob(real) - scale.log().sum() - flow.log_prob(scale * real + shift)
    assert gap.mean().abs() < 0.8


@pytest.mark.parametrize("kind", ["gaussian", "mixture", "flow"])
def test_the_same_seed_gives_the_same_prior(kind, small):
    mu, logvar, _ = blobs(n=100)
    options = SHORT | {"steps": 20} if kind == "flow" else {}
    torch.manual_seed(1)
    first = fit_codes(mu, logvar, kind, 3, **options).sample(5, seeded(0))
    torch.manual_seed(2)
    assert torch.equal(first, fit_codes(mu, logvar, kind, 3, **options).sample(5, seeded(0)))
    assert not torch.equal(first, fit_codes(mu, logvar, kind, 4, **options).sample(5, seeded(0)))


# --- with the models of the lab, and errors ---


@pytest.mark.parametrize("build", [FCVAE, Autoencoder])
@pytest.mark.parametrize("kind", ["gaussian", "mixture", "flow"])
def test_what_a_prior_draws_is_decoded(tiny, build, kind, small):
    torch.manual_seed(0)
    model = build((1, 8, 8), hidden=(16,), latent_dim=3)
    options = {"gaussian": {}, "mixture": {"components": 5}, "flow": {"steps": 3, "progress": False}}
    prior = fit_prior(model, tiny, kind, **options[kind])
    z = prior.sample(4, seeded(0))
    assert z.shape == (4, 3) and z.dtype == torch.float32
    assert model.decode(z).shape == (4, 1, 8, 8) and torch.isfinite(prior.log_prob(z)).all()


def test_an_unknown_prior_is_refused(tiny):
    with pytest.raises(LabError, match="Unknown kind of prior 'vamp'; choose one of gaussian, mixture, flow"):
        fit_prior(FCVAE((1, 8, 8), hidden=(16,), latent_dim=3), tiny, "vamp")


def test_a_mixture_needs_more_images_than_gaussians():
    mu, logvar, _ = blobs(n=20)
    with pytest.raises(LabError, match="20 Gaussians in 2 dimensions need more than 40 images, not 20"):
        fit_codes(mu, logvar, "mixture")
    assert fit_codes(mu, logvar, "mixture", components=9).means.shape == (9, 2)
    with pytest.raises(LabError, match="not 2: give more images, or a smaller latent_dim, or kind='flow'"):
        fit_codes(mu[:2], logvar[:2], "gaussian")


@pytest.mark.parametrize("prior", [Flow(3), Mixture(torch.ones(1), torch.zeros(1, 3), torch.eye(3)[None])])
def test_codes_and_numbers_of_draws_are_checked(prior):
    assert prior.sample(0).shape == (0, 3)
    with pytest.raises(LabError, match="n=-1: give a whole number of at least 0"):
        prior.sample(-1)
    for wrong in (torch.zeros(4, 1), torch.zeros(3), torch.zeros(4, 2, 3)):
        with pytest.raises(LabError, match=r"Give codes of shape \(n, 3\)"):
            prior.log_prob(wrong)
    assert prior.log_prob(torch.zeros(2, 3).double()).tolist() == pytest.approx(
        2 * [-1.5 * math.log(math.tau)], abs=1e-4
    )


@pytest.mark.parametrize("scale", [1e-4, 1e4])
@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
def test_the_scale_of_the_codes_does_not_matter(kind, scale):
    mu, logvar, whole = correlated()
    prior = fit_codes(scale * mu, logvar + 2 * math.log(scale), kind)
    assert_moments(prior.sample(4_000, seeded(1)) / scale, whole, 0.1)


def test_nearly_dependent_codes_have_a_gaussian():
    mu = torch.randn(200, 1, generator=seeded(0)).repeat(1, 6)
    z = fit_codes(mu, None, "gaussian").sample(1_000, seeded(0))
    assert (z - z[:, :1]).abs().max() < 0.1 and z[:, 0].std().item() == pytest.approx(1, abs=0.2)


def test_fitting_leaves_the_random_state_alone(small):
    mu, logvar, _ = correlated(100)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit_codes(mu, logvar, "flow", steps=3, progress=False)
    assert torch.equal(torch.rand(3), expected)


def test_what_cannot_be_fitted_is_said(small):
    mu, logvar, _ = correlated(100)
    with pytest.raises(LabError, match="at least 2 images, not 1"):
        fit_codes(mu[:1], logvar[:1], "flow")
    with pytest.raises(LabError, match="The codes are not finite"):
        fit_codes(mu / 0, logvar, "flow")
    with pytest.raises(LabError, match="The loss of the flow is not finite"):
        fit_codes(mu, logvar, "flow", steps=20, lr=1e12, progress=False)
    with pytest.raises(LabError, match="seed=-1: give a whole number"):
        fit_codes(mu, logvar, "gaussian", seed=-1)
