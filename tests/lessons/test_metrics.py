"""Numbers on a dataset, against plain loops and against models whose likelihood is known in closed form."""

import math
from statistics import NormalDist

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from vae_lib import FCVAE, Autoencoder, ConvVAE, elbo_loss, kl_divergence, to_float
from vae_lib.checks import LabError
from vae_lib.data import ImageDataset
from vae_lib.engine.batches import batches
from vae_lib.evaluation import evaluate, per_image
from vae_lib.losses import ROUNDING
from vae_lib.metrics import (
    bits_per_dim,
    frechet_distance,
    importance_weighted_bound,
    in_use,
    kl_per_dimension,
    mean_and_error,
    nearest_images,
    posterior,
    precision_recall,
    rate,
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


@pytest.mark.parametrize(
    "given", [[torch.zeros(5, 2)], [torch.zeros(5, 1)], [[]], [torch.zeros(5), torch.zeros(4)], [3.0]]
)
def test_a_mean_is_one_of_numbers(given):
    with pytest.raises(LabError, match=r"numbers \(N,\), one at least|one entry for each of the 5 values, not \(4,\)"):
        mean_and_error(*given)


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


def test_of_large_images_fewer_are_decoded_at_once(tiny, monkeypatch):
    large = tiny.with_images(tiny.images.expand(-1, 3, -1, -1).repeat(1, 1, 8, 8), tiny.targets)  # 3x64x64
    model, sizes = FCVAE((3, 64, 64), (4,), 2), []
    monkeypatch.setattr(model, "decode", lambda z: sizes.append(len(z)) or FCVAE.decode(model, z))
    assert importance_weighted_bound(model, large, 100).shape == (64,)
    assert max(sizes) == 1200 and sum(sizes) == 6400  # of 32x32: 5,000


def test_measuring_changes_no_model_that_is_in_training(tiny):
    """One batch in training mode would move the statistics of batch normalisation."""
    model = ConvVAE((1, 8, 8), (4,), 2, batch_norm=True).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    bits_per_dim(model, tiny)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_autoencoder_has_no_kl(tiny):
    codes = posterior(Autoencoder((1, 8, 8), (16,), 3), tiny)
    for measure in (kl_per_dimension, in_use, split_kl, rate):
        with pytest.raises(LabError, match="an Autoencoder has none"):
            measure(*codes)


def test_the_bound_needs_a_posterior_and_a_draw(model, tiny):
    with pytest.raises(LabError, match="k=0: give a whole number"):
        importance_weighted_bound(model, tiny, 0)
    with pytest.raises(LabError, match="an Autoencoder has none"):
        importance_weighted_bound(Autoencoder((1, 8, 8), (16,), 3), tiny, 5)


# --- one variance for all images ---


class Constant(torch.nn.Module):
    """Decodes one grey value, whatever z; its posterior is the prior, or lies `offset` away from it."""

    def __init__(self, mean, offset=0.0):
        super().__init__()
        self.mean, self.offset = torch.nn.Parameter(torch.tensor(mean)), offset

    def encode(self, x):
        self.shape = x.shape[1:]
        return torch.full((len(x), 1), self.offset), torch.zeros(len(x), 1)

    def decode(self, z):
        return self.mean.expand(len(z), *self.shape)


def grey_images(*values, shape=(1, 8, 8)):
    """One image of each grey value."""
    images = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, *shape).clone()
    return ImageDataset(images, torch.zeros(len(values), dtype=torch.long), "0", "grey", "train", "real")


def test_the_gaussian_has_one_variance_for_all_images():
    """The first batch of 500 is easy (an error of 26/255), the second hard (an error of 102/255)."""
    data, model = grey_images(*[128] * 500, *[0] * 500), Constant(102 / 255)
    x = to_float(data.images)
    variance = (x - 102 / 255).square().mean()
    expected = -Normal(102 / 255, variance.sqrt()).log_prob(x).sum(dim=(1, 2, 3))
    losses, kls = per_image(model, data, "gaussian")
    torch.testing.assert_close(losses, expected.double(), rtol=1e-5, atol=1e-4)
    assert kls.abs().max() == 0
    assert evaluate(model, data, likelihood="gaussian").loss == pytest.approx(32 * (1 + math.log(math.tau * variance)))


# --- the rate ---


def test_the_mean_rate_is_the_kl():
    mu, logvar = torch.tensor([[1.0, -2.0, 0.1]]), torch.tensor([[0.5, -3.0, 0.0]])
    rates = rate(mu.expand(40_000, 3), logvar.expand(40_000, 3))
    measured = mean_and_error(rates - kl_divergence(mu, logvar))
    assert abs(measured.mean) < 4 * measured.error < 0.1
    assert torch.equal(rates, rate(mu.expand(40_000, 3), logvar.expand(40_000, 3), seed=0))
    assert not torch.equal(rates, rate(mu.expand(40_000, 3), logvar.expand(40_000, 3), seed=1))


def test_the_rate_is_zero_under_a_prior_that_is_the_posterior():
    zeros = torch.zeros(50, 4)
    assert rate(zeros, zeros).tolist() == [0] * 50
    mu, logvar = torch.tensor([2.0, -1.0]).expand(50, 2), torch.tensor([-2.0, 1.0]).expand(50, 2)
    prior = Independent(Normal(mu[0], torch.exp(0.5 * logvar[0])), 1)
    torch.testing.assert_close(rate(mu, logvar, prior), torch.zeros(50).double(), atol=1e-5, rtol=0)
    wide = Independent(Normal(mu[0], 3 * torch.exp(0.5 * logvar[0])), 1)
    measured = mean_and_error(rate(mu.repeat(400, 1), logvar.repeat(400, 1), wide))
    assert measured.mean == pytest.approx(2 * (math.log(3) - 0.5 * (1 - 1 / 9)), abs=4 * measured.error)


def test_the_rate_does_not_depend_on_the_narrowness_of_the_posterior():
    """log q(z|x) of a draw is that of its noise: the mean is -H, however far the posterior lies from 0."""
    flat = type("Flat", (), {"log_prob": lambda self, z: torch.zeros(len(z))})()
    mu, logvar = torch.full((20_000, 1), 3.0), torch.full((20_000, 1), -12.0)
    measured = mean_and_error(rate(mu, logvar, flat))
    assert measured.mean == pytest.approx(6 - 0.5 * math.log(2 * math.pi * math.e), abs=4 * measured.error)


# --- bits per dimension ---


def test_bits_of_a_model_that_knows_nothing(tiny):
    model, x = Constant(0.4), to_float(tiny.images)
    errors = (x - 0.4).square().sum(dim=(1, 2, 3)).double()
    bits = bits_per_dim(model, tiny)
    torch.testing.assert_close(bits, (errors / 64 + 0.5 * math.log(math.pi)) / math.log(2) + 8, rtol=1e-6, atol=0)
    variance = errors.mean() / 64
    expected = 0.5 * (errors / 64 / variance + torch.log(2 * math.pi * variance)) / math.log(2) + 8
    torch.testing.assert_close(bits_per_dim(model, tiny, "gaussian"), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(bits_per_dim(model, tiny, "gaussian", variance=0.5), bits, rtol=1e-6, atol=0)
    assert bits.shape == (64,) and bits.dtype == torch.float64
    for variance in (0.05, 0.5):  # the mean squared error is the best one
        assert bits_per_dim(model, tiny, "gaussian", variance).mean() > expected.mean()


@pytest.mark.parametrize("likelihood", ["mse", "gaussian", "discretised"])
def test_a_nat_of_kl_costs_its_bits(likelihood):
    data = grey_images(*range(100, 120))
    bits = [
        bits_per_dim(Constant(0.4, offset), data, likelihood, None if likelihood == "mse" else 0.1)
        for offset in (0.0, 8.0)
    ]
    expected = torch.full((20,), 0.5 * 8**2 / 64 / math.log(2), dtype=torch.double)
    torch.testing.assert_close(bits[1] - bits[0], expected)


def test_a_uniform_distribution_has_eight_bits():
    """A density of 1, and a grey value that a code of 8 bits names exactly."""
    data = grey_images(102, shape=(1, 1, 1))
    assert bits_per_dim(Constant(102 / 255), data, "gaussian", 1 / math.tau).item() == pytest.approx(8, abs=1e-6)
    code_of_8_bits = Constant(102 / 255, offset=math.sqrt(2 * math.log(256)))
    assert bits_per_dim(code_of_8_bits, data, "discretised", ROUNDING / 100).item() == pytest.approx(8, abs=1e-6)


def bin_probability(k, mean, deviation):
    """The Gaussian's density, summed over the grey value k; black and white reach out to where nothing is left."""
    low = (k - 0.5) / 255 if k > 0 else min(0, mean) - 10 * deviation
    high = (k + 0.5) / 255 if k < 255 else max(1, mean) + 10 * deviation
    parts, density = 200 if 0 < k < 255 else 10_000, NormalDist(mean, deviation).pdf
    width = (high - low) / parts
    return sum(density(low + (part + 0.5) * width) for part in range(parts)) * width


@pytest.mark.parametrize(("mean", "deviation"), [(0.4, 0.03), (0.0, 0.03), (1.0, 0.2), (-0.05, 0.04), (1.1, 0.5)])
def test_the_discretised_gaussian_against_sums(mean, deviation):
    grey = (0, 1, 2, 3, 90, 102, 150, 253, 254, 255)
    expected = [bin_probability(k, mean, deviation) for k in grey]
    known = [k for k, p in zip(grey, expected) if p > 1e-200]
    bits = bits_per_dim(Constant(mean), grey_images(*known, shape=(1, 1, 1)), "discretised", deviation**2)
    assert len(known) >= 6
    assert bits.tolist() == pytest.approx([-math.log2(p) for p in expected if p > 1e-200], rel=1e-4, abs=1e-5)


def test_a_pixel_far_from_its_mean_costs_what_the_tail_says():
    """-log of the upper tail of N(0, 1) is z^2 / 2 + log(z sqrt(2 pi)), up to 1 / z^2."""
    for deviation in (0.1, 0.05, 0.02, 0.002):
        z = 254.5 / 255 / deviation
        expected = (0.5 * z**2 + math.log(z * math.sqrt(math.tau))) / math.log(2)
        for mean, grey in ((0.0, 255), (1.0, 0)):
            bits = bits_per_dim(Constant(mean), grey_images(grey, shape=(1, 1, 1)), "discretised", deviation**2)
            assert bits.item() == pytest.approx(expected, abs=3 / z**2 + 1e-6 * expected)


@pytest.mark.parametrize("mean", [0.0, 1.0, 0.5, 100 / 255, 0.3217, -0.3, 1.2])
@pytest.mark.parametrize("variance", [ROUNDING, 1e-3, 0.05, 1e6])
def test_the_probabilities_of_the_grey_values_add_up_to_one(mean, variance):
    data = grey_images(*range(256), shape=(1, 1, 1))
    bits = bits_per_dim(Constant(mean), data, "discretised", variance)
    assert (2**-bits).sum().item() == pytest.approx(1, abs=1e-4) and bits.min() >= 0
    if variance == 1e6:  # nothing is left between black and white
        assert bits[[0, 255]].tolist() == pytest.approx([1, 1], abs=0.01)


def test_the_discretised_pixels_of_an_image_are_multiplied():
    data = grey_images(90, 100, 102, shape=(3, 4, 4))
    data.images[:, 1] += 7
    single = [grey_images(*(k + more for k in (90, 100, 102)), shape=(1, 1, 1)) for more in (0, 7)]
    low, high = (bits_per_dim(Constant(0.4), images, "discretised", 1e-3) for images in single)
    torch.testing.assert_close(bits_per_dim(Constant(0.4), data, "discretised", 1e-3), (2 * low + high) / 3)


def test_the_discretised_gaussian_is_the_density_where_grey_values_are_narrow():
    """Up to their width: 1/255 there, 1/256 in the density."""
    noise = torch.randn(20, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    data = grey_images(*[0] * 20)
    data.images = (128 + 12 * noise).round().clamp(0, 255).byte()
    density, probability = (bits_per_dim(Constant(0.5), data, likelihood) for likelihood in ("gaussian", "discretised"))
    expected = torch.full((20,), math.log2(256 / 255), dtype=torch.double)
    torch.testing.assert_close(density - probability, expected, atol=1e-3, rtol=0)


def test_the_densities_and_the_probability_use_the_same_draws():
    """Images away from black and white: both follow each draw of z."""
    model = LinearGaussian(shift=0.0)
    data = grey_images(*range(110, 140), shape=(1, 3, 3))
    for seed in (0, 5):
        pair = [bits_per_dim(model, data, kind, 0.01, seed) for kind in ("gaussian", "discretised")]
        torch.testing.assert_close(pair[0] - math.log2(256 / 255), pair[1], atol=0.01, rtol=0)
    assert (pair[0] - bits_per_dim(model, data, "gaussian", 0.01, 0)).abs().mean() > 1


def test_bits_of_a_model_whose_likelihood_is_known(nine_pixels):
    model = LinearGaussian(shift=0.0)
    truth = -model.log_likelihood(to_float(nine_pixels.images)).double() / (9 * math.log(2)) + 8
    bits = torch.stack([bits_per_dim(model, nine_pixels, seed=seed) for seed in range(40)])
    measured = mean_and_error((bits - truth).flatten())
    assert abs(measured.mean) < 4 * measured.error < 0.1
    off = torch.stack([bits_per_dim(LinearGaussian(shift=0.4), nine_pixels, seed=seed) for seed in range(40)])
    assert off.mean() > bits.mean() + 0.02


def test_perfect_reconstructions_have_finite_bits():
    data = grey_images(102, 102)
    for likelihood in ("gaussian", "discretised"):
        assert torch.isfinite(bits_per_dim(Constant(102 / 255), data, likelihood)).all()
    expected = 0.5 * math.log2(math.tau * ROUNDING) + 8
    assert bits_per_dim(Constant(102 / 255), data, "gaussian")[0].item() == pytest.approx(expected, abs=1e-3)


def test_bits_need_a_likelihood_of_grey_values(model, tiny):
    with pytest.raises(LabError, match="likelihood='bce': choose one of mse, gaussian, discretised"):
        bits_per_dim(model, tiny, "bce")


# --- the Frechet distance ---


def features_with(mean, factor, n=200, seed=0):
    """n features whose mean is exactly this, and whose covariance is exactly factor @ factor.T."""
    mean, factor = torch.as_tensor(mean).double(), torch.as_tensor(factor).double()
    noise = torch.randn(n, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    noise = noise - noise.mean(dim=0)
    root = torch.linalg.cholesky(noise.T.cov().view(len(mean), -1))
    return (factor @ torch.linalg.solve_triangular(root, noise.T, upper=False)).T + mean


def test_frechet_distance_of_known_gaussians():
    a = features_with([1.0, 2.0, 3.0], torch.diag(torch.tensor([1.0, 2.0, 3.0])))
    b = features_with([1.5, 2.0, 1.0], torch.diag(torch.tensor([2.0, 0.5, 3.0])), n=300, seed=1)
    assert frechet_distance(a, b) == pytest.approx(0.5**2 + 2**2 + 1 + 1.5**2)
    factors = torch.tensor([[[1.0, 0.0], [0.8, 0.6]], [[2.0, 0.0], [-1.5, 0.3]]]).double()  # they do not commute
    a, b = (features_with([0.0, 0.0], factor, seed=seed) for seed, factor in enumerate(factors))
    cov_a, cov_b = factors @ factors.mT
    product = cov_a @ cov_b
    root_trace = (product.trace() + 2 * product.det().sqrt()).sqrt()  # of a 2x2 matrix
    assert frechet_distance(a, b) == pytest.approx((cov_a.trace() + cov_b.trace() - 2 * root_trace).item())


def test_frechet_distance_of_moved_and_scaled_features():
    a = features_with([1.0, -1.0, 0.0], torch.tensor([[1.0, 0.2, 0], [0.1, 2, 0], [0, 0.5, 0.7]]))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a.flip(0)) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + torch.tensor([3.0, 0.0, 4.0])) == pytest.approx(25)
    centred = a - a.mean(dim=0)
    assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * a.T.cov().trace().item())


def test_frechet_distance_is_symmetric_and_does_not_see_rotations():
    generator = torch.Generator().manual_seed(0)
    a, b = (scale * torch.randn(60, 5, generator=generator).double().cumsum(dim=1) for scale in (1, 1.5))
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator).double()).Q
    distance = frechet_distance(a, b)
    assert distance > 1 and distance == pytest.approx(frechet_distance(b, a))
    assert distance == pytest.approx(frechet_distance(a @ rotation + 7, b @ rotation + 7))
    assert 4 * distance == pytest.approx(frechet_distance(2 * a, 2 * b))


def test_frechet_distance_of_fewer_images_than_features():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(10, 40, generator=generator)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + 1) == pytest.approx(40, rel=1e-5)
    left, right = torch.zeros(8, 40), torch.zeros(9, 40)  # they share no direction: nothing overlaps
    left[:, :20], right[:, 20:] = torch.randn(8, 20, generator=generator), torch.randn(9, 20, generator=generator)
    traces = sum(part.T.cov().trace().item() for part in (left, right))
    moved = (left.mean(dim=0) - right.mean(dim=0)).square().sum().item()
    assert frechet_distance(left, right) == pytest.approx(moved + traces, rel=1e-5)


def test_frechet_distance_of_one_feature():
    a, b = features_with([1.0], [[2.0]]), features_with([4.0], [[0.5]], n=50, seed=1)
    assert frechet_distance(a, b) == pytest.approx(3**2 + 1.5**2)


def test_frechet_distance_of_features_far_from_zero_in_single_precision():
    a = features_with([0.0, 0.0], torch.eye(2)).float()
    assert frechet_distance(1000 + a, 1000 + 2 * a) == pytest.approx(2, rel=1e-3)


def test_frechet_distance_of_one_distribution_falls_with_the_number_of_images():
    generator = torch.Generator().manual_seed(0)
    means = [
        sum(frechet_distance(*torch.randn(2, n, 6, generator=generator)) for _ in range(60)) / 60 for n in (100, 400)
    ]
    assert means[1] > 0 and 3.3 < means[0] / means[1] < 4.8  # as 1/N: 4


# --- precision and recall ---


def on_a_line(*values):
    return torch.tensor(values)[:, None]


@pytest.mark.parametrize(("k", "precision", "recall"), [(1, 3 / 5, 3 / 4), (2, 3 / 5, 1)])
def test_precision_and_recall_by_hand(k, precision, recall):
    """Reach of the real ones, k = 1: 1, 1, 1, 8; k = 2: 2, 1, 2, 9. Of the fakes: 1, 1, 3.5, 1, 1, then 4.5 to 26."""
    real, fake = on_a_line(0.0, 1, 2, 10), on_a_line(0.5, 1.5, 5, 30, 31)
    assert precision_recall(real, fake, k) == pytest.approx((precision, recall))
    assert precision_recall(fake, real, k) == pytest.approx((recall, precision))


def test_the_neighbour_itself_lies_within_its_reach():
    assert precision_recall(on_a_line(0.0, 1), on_a_line(2.0, 2.5), k=1) == (0.5, 0.0)


def test_precision_and_recall_take_three_neighbours():
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(60, 3, generator=generator), torch.randn(80, 3, generator=generator) + 0.5
    shares = [precision_recall(real, fake, k) for k in (1, 2, 3, 4)]
    assert precision_recall(real, fake) == shares[2] and len(set(shares)) == 4 and shares == sorted(shares)


def test_precision_and_recall_of_known_distributions():
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 400, 2, generator=generator)
    assert min(precision_recall(real, fake)) > 0.9
    assert precision_recall(real, fake + 100) == (0, 0)
    assert precision_recall(real, real) == (1, 1)
    collapsed = real[:1] + 1e-4 * fake
    precision, recall = precision_recall(real, collapsed)
    assert precision == 1 and recall < 0.01
    wide = precision_recall(real, 8 * fake)
    assert wide[0] < 0.4 and wide[1] > 0.9


@pytest.mark.parametrize("k", [0, 5, 1.5])
def test_k_is_below_the_number_of_images(k):
    with pytest.raises(LabError, match=rf"k={k}: give a whole number from 1 to 4"):
        precision_recall(torch.rand(5, 2), torch.rand(9, 2), k)
    with pytest.raises(LabError, match=rf"k={k}: give a whole number from 1 to 4"):
        precision_recall(torch.rand(9, 2), torch.rand(5, 2), k)


@pytest.mark.parametrize("measure", [frechet_distance, precision_recall])
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.rand(9, 2), torch.rand(9, 3), r"Give two sets of the same features, .* not \(9, 2\) and \(9, 3\)"),
        (torch.rand(9), torch.rand(9), r"\(N, D\) and \(M, D\), .* not \(9,\) and \(9,\)"),
        (torch.rand(9, 2), torch.rand(9), r"not \(9, 2\) and \(9,\)"),
        (torch.rand(9, 1, 8, 8), torch.rand(9, 1, 8, 8), r"not \(9, 1, 8, 8\) and"),
        (torch.rand(1, 2), torch.rand(9, 2), r"N and M at least 2, not \(1, 2\)"),
        (torch.rand(9, 2), torch.rand(0, 2), r"not \(9, 2\) and \(0, 2\)"),
        (torch.rand(9, 2), torch.full((9, 2), math.nan), "The features are not finite; look for NaN"),
        (torch.full((9, 2), math.inf), torch.rand(9, 2), "The features are not finite; look for NaN"),
    ],
)
def test_features_that_cannot_be_compared(measure, a, b, message):
    with pytest.raises(LabError, match=message) as error:
        measure(a, b)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


@pytest.mark.parametrize("variance", [0, -1.0, math.nan, math.inf, "a", True])
def test_a_variance_is_a_positive_number(tiny, variance):
    with pytest.raises(LabError, match="variance=.*give a finite number above 0"):
        bits_per_dim(Constant(0.4), tiny, "gaussian", variance)


def test_half_has_no_other_variance(tiny):
    with pytest.raises(LabError, match="has the variance 1/2"):
        bits_per_dim(Constant(0.4), tiny, "mse", 0.1)


def test_the_rate_needs_distributions_of_one_shape():
    for mu, logvar in ((torch.zeros(10, 3), torch.zeros(1, 3)), (torch.zeros(10, 1), torch.zeros(10, 3))):
        with pytest.raises(LabError, match="of one shape"):
            rate(mu, logvar)
    with pytest.raises(LabError, match="an Autoencoder has none"):
        rate(torch.zeros(10, 3), None)


def test_features_may_be_arrays_and_many():
    a, b = torch.randn(2, 2_300, 3, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(a.numpy(), b.numpy()) == frechet_distance(a, b)
    distances = torch.cdist(a.double(), b.double()), torch.cdist(b.double(), b.double())
    expected = (distances[0] <= distances[1].kthvalue(4, dim=1).values).any(dim=1).double().mean().item()
    assert precision_recall(b.numpy(), a.numpy())[0] == pytest.approx(expected)
    with pytest.raises(LabError, match="Give two sets of the same features"):
        frechet_distance(torch.zeros(5, 0), torch.zeros(5, 0))
