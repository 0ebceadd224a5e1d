"""Priors fitted to the codes of a trained model: what stands in for N(0, I) when new images are drawn.

Each has sample(n, generator=None) -> z (n, latent_dim), for model.decode, and log_prob(z) -> (n,), in nats.
"""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from vae_lib.checks import Choices, LabError, check_codes, check_finite, check_whole
from vae_lib.data.dataset import as_images
from vae_lib.engine.progress import progress_bar
from vae_lib.engine.schedule import one_cycle, set_learning_rate
from vae_lib.metrics import posterior, standard_normal
from vae_lib.models import reparameterize

TINY = 1e-6  # a code may have no spread


class Mixture:
    """A mixture of Gaussians: weights (K,), means (K, latent_dim), covariances (K, latent_dim, latent_dim)."""

    def __init__(self, weights, means, covariances):
        gaussians = MultivariateNormal(means.double(), covariances.double())
        self.distribution = MixtureSameFamily(Categorical(weights.double()), gaussians)
        self.weights, self.means, self.factors = weights, gaussians.loc, gaussians.scale_tril

    def sample(self, n, generator=None):
        """n draws: (n, latent_dim). The generator is a CPU generator."""
        noise = torch.randn(check_whole("n", n, least=0), self.means.shape[1], generator=generator).double()
        of = torch.multinomial(self.weights, max(n, 1), replacement=True, generator=generator)[:n]
        draws = self.means[of].clone()
        for component in of.unique():
            draws[of == component] += noise[of == component] @ self.factors[component].T
        return draws.float()

    def log_prob(self, z):
        """Log density of codes: (n, latent_dim) -> (n,), in nats. LabError for another width."""
        check_codes(z, self.means.shape[1])
        return self.distribution.log_prob(z.double()).to(z.dtype)


class Flow(nn.Module):
    """A flow of N(0, I) to the codes, along dz/dt = velocity(z, t), t from 0 to 1, z in units of the codes' own spread.

    Lipman et al. 2023, "Flow matching for generative modeling", with straight paths (their section 4.1, sigma_min = 0).
    Untrained it is the Gaussian with `mean` and `std`: the network learns in what the codes differ from it.
    """

    def __init__(self, latent_dim, hidden=512):
        super().__init__()
        latent_dim, hidden = check_whole("latent_dim", latent_dim), check_whole("hidden", hidden)
        self.config = {"class": "Flow", "latent_dim": latent_dim, "hidden": hidden}
        self.latent_dim = latent_dim
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("std", torch.ones(latent_dim))
        sizes = (latent_dim + 16, hidden, hidden, hidden)
        layers = [part for n_in, n_out in pairwise(sizes) for part in (nn.Linear(n_in, n_out), nn.SiLU())]
        last = nn.Linear(hidden, 2 * latent_dim)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def velocity(self, z, t):
        """Where z moves at time t: z (n, latent_dim), t (n, 1) -> (n, latent_dim)."""
        angles = math.pi * t * torch.arange(1, 9, device=t.device)
        shift, gain = self.layers(torch.cat([z, angles.cos(), angles.sin()], dim=1)).chunk(2, dim=1)
        of_gaussian = (2 * t - 1) / (t.square() + (1 - t).square())  # times z: the velocity if the codes are N(0, I)
        return shift + (of_gaussian + gain) * z

    @torch.no_grad()
    def sample(self, n, generator=None, steps=10):
        """n draws: (n, latent_dim). The generator is a CPU generator; steps: of the solver (Runge & Kutta, order 4)."""
        z = torch.randn(check_whole("n", n, least=0), self.latent_dim, generator=generator).to(self.mean.device)

        def velocity(z, t):
            return self.velocity(z, torch.full((n, 1), t, device=z.device))

        return self.mean + self.std * runge_kutta(velocity, z, 0.0, 1.0, steps)

    @torch.no_grad()
    def log_prob(self, z, steps=10):
        """Log density of codes: (n, latent_dim) -> (n,), in nats, by the change of volume on the way back; no gradient.

        Chen et al. 2018, "Neural ordinary differential equations", section 4. The trace is exact, so it costs
        latent_dim times as much as `sample`. LabError for another width.
        """
        check_codes(z, self.latent_dim)
        jacobians = torch.func.vmap(torch.func.jacrev(lambda z, t: self.velocity(z[None], t[None])[0]))

        def velocity_and_growth(state, t):
            z, t = state[:, :-1], torch.full((len(state), 1), t, device=state.device)
            growth = jacobians(z, t).diagonal(dim1=1, dim2=2).sum(dim=1, keepdim=True)
            return torch.cat([self.velocity(z, t), growth], dim=1)

        logs = []
        for part in ((z.to(self.mean.dtype) - self.mean) / self.std).split(1_000):
            start = torch.cat([part, part.new_zeros(len(part), 1)], dim=1)
            end = runge_kutta(velocity_and_growth, start, 1.0, 0.0, steps)
            noise, growth = end[:, :-1], end[:, -1]
            logs.append(standard_normal(noise) + growth)
        return torch.cat(logs) - self.std.log().sum()


def runge_kutta(f, z, start, end, steps):
    """The solution of dz/dt = f(z, t) at time `end`, from z at time `start`, by the classical method of order 4."""
    h = (end - start) / check_whole("steps", steps)
    for t in (start + h * k for k in range(steps)):
        k1 = f(z, t)
        k2 = f(z + h / 2 * k1, t + h / 2)
        k3 = f(z + h / 2 * k2, t + h / 2)
        k4 = f(z + h * k3, t + h)
        z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return z


def flow_matching_loss(flow, z, generator=None):
    """Squared error of the velocity, summed over the dimensions, averaged over codes z (n, latent_dim): a scalar.

    z in units of the flow: of mean 0, standard deviation 1. Lipman et al. 2023, equation 23.
    """
    noise = torch.randn(z.shape, generator=generator, device=z.device)
    t = torch.rand(len(z), 1, generator=generator, device=z.device)
    error = flow.velocity(torch.lerp(noise, z, t), t) - (z - noise)
    return error.square().sum(dim=1).mean()


def fit_mixture(mu, logvar, seed, components=20):
    """scikit-learn's mixture, fitted to one draw of each image's posterior."""
    from sklearn.mixture import GaussianMixture  # here, since importing it takes a second

    z = draw(mu, logvar, torch.Generator().manual_seed(seed)).double()
    needed = check_whole("components", components) * z.shape[1]
    if len(z) <= needed:
        fewer = "fewer components" if len(z) > z.shape[1] else "a smaller latent_dim, or kind='flow'"
        raise LabError(
            f"{components} Gaussians in {z.shape[1]} dimensions need more than {needed} images, not {len(z)}: "
            f"give more images, or {fewer}."
        )
    mean, std = z.mean(dim=0), z.std(dim=0).clamp(min=TINY)  # scikit-learn's regularisation has an absolute size
    fitted = GaussianMixture(components, random_state=seed).fit(((z - mean) / std).numpy())
    weights, means, covariances = map(torch.as_tensor, (fitted.weights_, fitted.means_, fitted.covariances_))
    return Mixture(weights, mean + std * means, std[:, None] * covariances * std)


def fit_gaussian(mu, logvar, seed):
    """A single Gaussian with the full covariance of the codes."""
    return fit_mixture(mu, logvar, seed, components=1)


@torch.enable_grad()
def fit_flow(mu, logvar, seed, steps=4_000, batch_size=512, lr=2e-3, progress=True):
    """A flow, trained on codes drawn anew in each step; its weights are the mean over the last steps."""
    check_whole("steps", steps), check_whole("batch_size", batch_size)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow = Flow(mu.shape[1])
    z = draw(mu, logvar, generator)
    flow.mean.copy_(z.mean(dim=0))
    flow.std.copy_(z.std(dim=0).clamp(min=TINY))
    decay = max(0, 1 - 8 / steps)
    average = torch.optim.swa_utils.AveragedModel(flow, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay))
    optimizer = torch.optim.Adam(flow.parameters(), lr, fused=True)
    with progress_bar(steps * batch_size, "flow", disable=not progress) as bar:
        for step in range(steps):
            set_learning_rate(optimizer, lr * one_cycle(step / steps, warm_up=0))
            some = torch.randint(len(mu), (batch_size,), generator=generator)
            z = draw(mu[some], None if logvar is None else logvar[some], generator)
            loss = flow_matching_loss(flow, (z - flow.mean) / flow.std, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update_parameters(flow)
            bar.update(batch_size)
    check_finite("The loss of the flow is", loss)
    flow.load_state_dict(average.module.state_dict())
    return flow.eval()


def draw(mu, logvar, generator):
    """One draw of each posterior; the codes of an autoencoder are points."""
    return mu if logvar is None else reparameterize(mu, logvar, generator)


KINDS = Choices("kind of prior", gaussian=fit_gaussian, mixture=fit_mixture, flow=fit_flow)


def fit_prior(model, dataset, kind="gaussian", seed=0, **options):
    """A prior fitted to the codes that `model` gives the images of `dataset`: draws of q(z|x), of all images together.

    kind: "gaussian", one with a full covariance; "mixture" of 20 such (components=...); "flow", a network trained for a
    minute (steps=...). Fit it on training images. LabError for another kind, or too few images.
    Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4, fit the first two (with 10).
    """
    fit, dataset = KINDS[kind], as_images(dataset)
    if len(dataset) < 2:
        raise LabError(f"A prior is fitted to the codes of at least 2 images, not {len(dataset)}.")
    mu, logvar = posterior(model, dataset)
    check_finite("The codes are", mu)
    return fit(mu, logvar, check_whole("seed", seed, least=0, most=2**32 - 1), **options)
