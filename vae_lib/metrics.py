"""Numbers on a whole dataset: means with their errors, losses per image, latent codes and what they carry."""

import math
from typing import NamedTuple

import torch

from vae_lib.checks import (
    LabError,
    check_choice,
    check_features,
    check_number,
    check_posterior,
    check_values,
    check_whole,
)
from vae_lib.data.dataset import as_images, to_float
from vae_lib.engine.batches import batches
from vae_lib.evaluation import decoded, per_image
from vae_lib.losses import ROUNDING, gaussian_nll, kl_divergence, reconstruction_error
from vae_lib.models import reparameterize


class Estimate(NamedTuple):
    """A mean and its standard error, two floats or two tensors; f"{estimate:.2f}" of floats is "72.56 ± 0.25"."""

    mean: float
    error: float

    def __format__(self, digits):
        return f"{self.mean:{digits}} ± {self.error:{digits.removeprefix('+')}}"


def mean_and_error(values, groups=None):
    """The mean of values (N,) and one standard error of it, an Estimate: what "±" stands for in the whole course.

    The values are taken as independent, or, with groups (N,), as such those of different groups only: of one person's
    photographs, say. Of a paired comparison, pass the differences. The error is NaN for a single value or group.
    Liang & Zeger 1986; with groups of one it is the usual standard deviation / sqrt(N). LabError for other shapes.
    """
    values = torch.as_tensor(values).detach().double().cpu()
    groups = None if groups is None else torch.as_tensor(groups)
    check_values(values, groups)
    deviations = values - values.mean()
    if groups is not None:
        _, members = groups.unique(return_inverse=True)
        deviations = torch.zeros(members.max() + 1, dtype=torch.double).index_add(0, members.cpu(), deviations)
    n = len(deviations)
    scatter = deviations.square().sum() * n / (n - 1) if n > 1 else torch.tensor(math.nan)
    return Estimate(values.mean().item(), scatter.sqrt().item() / len(values))


@torch.no_grad()
def posterior(model, dataset):
    """q(z|x) of every image: -> mu, logvar, both (N, latent_dim), on the CPU; of an Autoencoder (codes, None)."""
    model.eval()
    device = next(model.parameters()).device
    mu, logvar = zip(*(model.encode(to_float(images.to(device))) for images in batches(dataset)))
    return torch.cat(mu).cpu(), None if logvar[0] is None else torch.cat(logvar).cpu()


@torch.no_grad()
def nearest_images(images, dataset):
    """For each image the nearest one of a dataset: -> indices (N,), squared distances (N,), on the CPU.
    images: floats (N, C, H, W) in [0, 1], as large as those of the dataset; distances are summed over the pixels."""
    queries, distances = images.flatten(1), []
    for others in batches(dataset):
        others = to_float(others.to(queries.device)).flatten(1)
        squares = queries.square().sum(1, keepdim=True) + others.square().sum(1)
        distances.append(squares - 2 * (queries @ others.T))  # (a - b)^2 = a^2 + b^2 - 2ab
    distance, index = torch.cat(distances, dim=1).min(dim=1)
    return index.cpu(), distance.clamp(min=0).cpu()


def kl_per_dimension(mu, logvar):
    """KL to the prior of each latent dimension, averaged over the images: mu, logvar (N, latent_dim) -> (latent_dim,).

    In nats; the sum is the mean of `kl_divergence`. It is an upper bound of what the dimension tells about an image.
    LabError for the codes of an Autoencoder.
    """
    check_posterior(mu, logvar)
    return kl_divergence(mu.reshape(-1, 1), logvar.reshape(-1, 1)).view_as(mu).mean(dim=0)


IN_USE = 0.1  # nats


def in_use(mu, logvar):
    """Which latent dimensions are in use: their KL, averaged over the images, exceeds 0.1 nat.

    mu, logvar: (N, latent_dim) -> bool (latent_dim,). The "active units" of Burda et al. 2016 are those in which the
    variance of mu over the images exceeds 0.01; that counts dimensions, too, which tell less than 0.01 nat.
    """
    return kl_per_dimension(mu, logvar) > IN_USE


def split_kl(mu, logvar, seed=0):
    """The two parts of the mean KL to the prior: -> information, marginal, (N,) each, in nats, float64.

    With q(z), the aggregate posterior, the mixture of the posteriors of these N images: E KL(q(z|x) || p(z)) =
    I(x; z) + KL(q(z) || p(z)). The means are estimates of the two parts, from one draw of z for each image:
    log q(z|x) - log q(z), none of which exceeds ln N, and log q(z) - log p(z). Where the first nears ln N, the second
    is far above its value for more images: even posteriors whose means fill the prior get such a second part.
    mu, logvar: (N, latent_dim). LabError for the codes of an Autoencoder. Hoffman & Johnson 2016, "ELBO surgery",
    section 2.
    """
    check_posterior(mu, logvar)
    mu, logvar = mu.double(), logvar.double()
    z = reparameterize(mu, logvar, torch.Generator(mu.device).manual_seed(seed))
    precision = torch.exp(-logvar)
    offsets = (mu.square() * precision + logvar).sum(dim=1)  # of each component, without the constant of all Gaussians
    own = -0.5 * ((z - mu).square() * precision + logvar).sum(dim=1)
    mixture = torch.cat(
        [
            torch.logsumexp(draws @ (mu * precision).T - 0.5 * (draws.square() @ precision.T + offsets), dim=1)
            for draws in z.split(500)
        ]
    ) - math.log(len(mu))
    return own - mixture, mixture + 0.5 * z.square().sum(dim=1)


@torch.no_grad()
def importance_weighted_bound(model, dataset, k, likelihood="mse", seed=0):
    """Lower bound of log p(x) from k draws of z, for every image: (N,) float64, in nats, on the scale of `elbo_loss`.

    log mean_i p(x|z_i) p(z_i) / q(z_i|x), beta = 1. With k = 1 its expectation is the ELBO, minus `elbo_loss`; it grows
    with k, towards log p(x). As in `elbo_loss`, "mse" leaves out the constant of its Gaussian, -pixels/2 log(pi).
    LabError for k < 1 or an Autoencoder. Burda et al. 2016, "Importance Weighted Autoencoders", equation 8.
    """
    k = check_whole("k", k)
    check_choice("likelihood", likelihood, ("mse", "bce"))  # "gaussian" would take its variance from these very draws
    model.eval()
    dataset = as_images(dataset)
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    bounds, at_once = [], 5_000 * min(1, 3 * 32**2 / math.prod(dataset.image_shape))  # pictures to decode: 60 MB
    for images in dataset.images.split(max(1, int(at_once / k))):
        x = to_float(images.to(device))
        mu, logvar = model.encode(x)
        check_posterior(mu, logvar)
        x, mu, logvar = (part.repeat_interleave(k, dim=0) for part in (x, mu, logvar))
        z = reparameterize(mu, logvar, generator)
        log_likelihood = -reconstruction_error(model.decode(z), x, likelihood)
        log_prior_over_q = 0.5 * ((z - mu).square() / logvar.exp() + logvar - z.square()).sum(dim=1)
        log_weights = (log_likelihood + log_prior_over_q).cpu().double().view(-1, k)
        bounds.append(log_weights.logsumexp(dim=1) - math.log(k))
    return torch.cat(bounds)


# --- on one scale: nats and bits ---


def rate(mu, logvar, prior=None, seed=0):
    """What a draw z of each posterior costs under a prior: log q(z|x) - log p(z), (N,), in nats; prior=None: N(0, I).

    Its mean estimates the mean KL to that prior, so that reconstruction + rate is the negative ELBO with it.
    mu, logvar: (N, latent_dim); prior: of `priors.fit_prior`, or anything with log_prob(z). float64. LabError for the
    codes of an Autoencoder.
    """
    check_posterior(mu, logvar)
    mu, logvar = mu.double(), logvar.double()
    z = reparameterize(mu, logvar, torch.Generator(mu.device).manual_seed(seed))
    log_q = standard_normal((z - mu) * torch.exp(-0.5 * logvar)) - 0.5 * logvar.sum(dim=1)
    return log_q - (standard_normal(z) if prior is None else prior.log_prob(z))


def standard_normal(z):
    """log N(z; 0, I): (N, latent_dim) -> (N,), in nats."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)


@torch.no_grad()
def bits_per_dim(model, dataset, likelihood="mse", variance=None, seed=0):
    """Estimate, from one draw of z, of the ELBO's upper bound of -log2 p(x): (N,) float64, bits per dimension.

    For each image and each of its pixels and channels, of 256 grey values; a uniform distribution has 8. likelihood:
    "mse", a Gaussian with sigma^2 = 1/2; "gaussian", sigma^2 = variance, or if that is None the mean squared error of
    this dataset; "discretised", the same Gaussian, its density integrated over each grey value (Ho et al. 2020,
    "Denoising diffusion probabilistic models", equation 13): the only one of the three that is a probability of pixels
    and never below 0. The densities count a grey value as 1/256 wide. LabError for another likelihood, or an
    Autoencoder, whose codes are free.
    """
    check_choice("likelihood", likelihood, ("mse", "gaussian", "discretised"))
    dataset = as_images(dataset)
    pixels, device = math.prod(dataset.image_shape), next(model.parameters()).device
    check_posterior(*model.eval().encode(to_float(dataset.images[:1].to(device))))
    if variance is not None:
        check_number("variance", variance, above=0)
    if variance is not None and likelihood == "mse":
        raise LabError('likelihood="mse" has the variance 1/2; give another one with "gaussian" or "discretised".')
    errors, kl = per_image(model, dataset, "mse", sample=True, seed=seed)
    if likelihood == "mse":
        variance = 0.5
    elif variance is None:
        variance = max(errors.mean().item() / pixels, ROUNDING)
    if likelihood == "discretised":
        return (discretised_nll(model, dataset, variance, seed) + kl) / (pixels * math.log(2))
    return (gaussian_nll(errors, pixels, variance) + kl) / (pixels * math.log(2)) + 8


@torch.no_grad()
def discretised_nll(model, dataset, variance, seed):
    """-log of the probability of each image's grey values, (N,) float64, nats: the Gaussian around the decoded draw
    (the same as in `per_image`), integrated over each grey value, and beyond black and white."""
    half, sigma, losses = 0.5 / 255, math.sqrt(variance), []
    for x, x_hat, _, _ in decoded(model, dataset, sample=True, seed=seed):
        x, x_hat = x.cpu().double(), x_hat.cpu()
        lower = torch.where(x > 0, (x - half - x_hat) / sigma, -math.inf)
        upper = torch.where(x < 1, (x + half - x_hat) / sigma, math.inf)
        mirrored = lower + upper > 0  # small probabilities keep their digits in the lower tail
        lower, upper = torch.where(mirrored, -upper, lower), torch.where(mirrored, -lower, upper)
        log_upper, log_lower = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
        log_p = log_upper + torch.log(-torch.expm1(log_lower - log_upper))
        losses.append(-log_p.flatten(1).sum(dim=1))
    return torch.cat(losses)


# --- the quality of samples, in any features ---


def frechet_distance(features_a, features_b):
    """Squared Frechet distance of the Gaussians with the means and covariances of two sets of features (N, D): a float.

    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), in squared units of the features. 0 for the same set; of finite
    samples of one distribution it is above 0, about as 1/N, and by how much depends on the distribution, too (Chong &
    Forsyth 2020). With the features
    of one Inception network it is the FID (Heusel et al. 2017); with others it is not. LabError for fewer than two
    rows, or different features.
    """
    a, b = (torch.as_tensor(features).double() for features in (features_a, features_b))
    check_features(a, b)
    cov_a, cov_b = (torch.atleast_2d(features.T.cov()) for features in (a, b))
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    overlap = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    spread = cov_a.trace() + cov_b.trace() - 2 * overlap
    return ((a.mean(dim=0) - b.mean(dim=0)).square().sum() + spread).clamp(min=0).item()


def precision_recall(features_real, features_fake, k=3):
    """Shares of the fakes among the real ones and of the real ones among the fakes: -> (precision, recall), 0 to 1.

    A point lies among others if it is in a ball around one of them that reaches to its k-th nearest neighbour there.
    features: (N, D) and (M, D); both shares depend on N and M, so compare only equal ones. LabError for k >= N or M.
    Kynkaanniemi et al. 2019, "Improved precision and recall metric for assessing generative models", section 2.
    """
    real, fake = (torch.as_tensor(features).double() for features in (features_real, features_fake))
    check_features(real, fake)
    k = check_whole("k", k, most=min(len(real), len(fake)) - 1)
    return among(fake, real, k), among(real, fake, k)


def among(points, others, k):
    """The share of the points that lie within the reach of `others`; the nearest neighbour of a point is itself."""

    def distances(some):
        return torch.cdist(some, others, compute_mode="donot_use_mm_for_euclid_dist")

    radii = torch.cat([distances(part).kthvalue(k + 1, dim=1).values for part in others.split(1_000)])
    found = torch.cat([(distances(part) <= radii).any(dim=1) for part in points.split(1_000)])
    return found.double().mean().item()


def count_parameters(model):
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
