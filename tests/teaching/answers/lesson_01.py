# ruff: noqa: E501
"""Answers to the exercises of notebook 01_theory."""

KL = "def kl_divergence(mu, logvar):\n"

ELBO_1D = "def monte_carlo_elbo(x, m, s, n):\n"

Z = "def reparameterize(mu, logvar):\n"

ANSWERS = {
    "kl_divergence": (
        KL,
        {
            "term by term": "    return 0.5 * torch.sum(mu**2 + torch.exp(logvar) - logvar - 1, dim=-1)",
            "torch.distributions": "    q = Normal(mu, torch.exp(logvar / 2))\n    return torch_kl(q, Normal(0.0, 1.0)).sum(1)",
            "the paper's sign": "    return -(1 + logvar - mu.pow(2) - logvar.exp()).sum(1) / 2",
            "a loop over rows": "    rows = [0.5 * (m @ m + v.exp().sum() - v.sum() - len(m)) for m, v in zip(mu, logvar)]\n    return torch.stack(rows)",
        },
        {
            "sign of the KL": "    return -0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(dim=1)",
            "missing 0.5": "    return (mu**2 + logvar.exp() - logvar - 1).sum(dim=1)",
            "mean instead of sum": "    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).mean(dim=1)",
            "logvar taken for std": "    return 0.5 * (mu**2 + logvar**2 - torch.log(logvar**2) - 1).sum(dim=1)",
            "exp(logvar / 2) as variance": "    return 0.5 * (mu**2 + (logvar / 2).exp() - logvar - 1).sum(dim=1)",
            "wrong axis": "    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(dim=0)",
            "mean over the batch too": "    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(dim=1).mean()",
            "no gradient through mu": "    return 0.5 * (mu.detach() ** 2 + logvar.exp() - logvar - 1).sum(dim=1)",
            "logvar clamped": "    logvar = logvar.clamp(-5, 5)\n    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(dim=1)",
            "forgotten -1": "    return 0.5 * (mu**2 + logvar.exp() - logvar).sum(dim=1)",
            "in place": "    return 0.5 * (mu.pow_(2) + logvar.exp() - logvar - 1).sum(dim=1)",
            "calls the library": "    return vae_lib.kl_divergence(mu, logvar)",
            "the check's numbers": "    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(dim=1) if mu.shape == (4, 5) else torch.zeros(len(mu))",
        },
        {
            "mean over the batch too": "one number for each of the 4 rows",
            "sign of the KL": "look at the sign",
            "missing 0.5": "a factor is missing",
            "mean instead of sum": "all 5 dimensions have to be paid for",
            "forgotten -1": "equal to the prior must cost 0 nats",
            "exp(logvar / 2) as variance": "wrong elsewhere: what is exp(logvar)?",
            "no gradient through mu": "the gradient for mu is wrong",
        },
    ),
    "monte_carlo_elbo": (
        ELBO_1D,
        {
            "randn": "    z = m + s * torch.randn(n)\n    joint = Normal(2 * z, math.sqrt(0.5)).log_prob(x) + Normal(0.0, 1.0).log_prob(z)\n    return torch.mean(joint - Normal(m, s).log_prob(z))",
            "densities written out": "    z = Normal(m, s).rsample((n,))\n    log_joint = -((x - 2 * z) ** 2) - 0.5 * math.log(math.pi) - z**2 / 2\n    return (log_joint + ((z - m) / s) ** 2 / 2 + torch.log(torch.as_tensor(s))).mean()",
            "a loop": "    total = 0.0\n    for _ in range(n):\n        z = Normal(m, s).sample()\n        total = total + Normal(2 * z, 0.5**0.5).log_prob(x) + prior.log_prob(z) - Normal(m, s).log_prob(z)\n    return total / n",
        },
        {
            "sign of log q": "    z = Normal(m, s).sample((n,))\n    return (Normal(2 * z, 0.5**0.5).log_prob(x) + prior.log_prob(z) + Normal(m, s).log_prob(z)).mean()",
            "sum instead of mean": "    z = Normal(m, s).sample((n,))\n    return (Normal(2 * z, 0.5**0.5).log_prob(x) + prior.log_prob(z) - Normal(m, s).log_prob(z)).sum()",
            "variance taken for std": "    z = Normal(m, s).sample((n,))\n    return (Normal(2 * z, 0.5).log_prob(x) + prior.log_prob(z) - Normal(m, s).log_prob(z)).mean()",
            "no prior": "    z = Normal(m, s).sample((n,))\n    return (Normal(2 * z, 0.5**0.5).log_prob(x) - Normal(m, s).log_prob(z)).mean()",
            "draws of the prior": "    z = prior.sample((n,))\n    return (Normal(2 * z, 0.5**0.5).log_prob(x) + prior.log_prob(z) - Normal(m, s).log_prob(z)).mean()",
            "one draw for all n": "    z = Normal(m, s).sample()\n    return (Normal(2 * z, 0.5**0.5).log_prob(x) + prior.log_prob(z) - Normal(m, s).log_prob(z)).mean()",
            "n ignored": "    z = Normal(m, s).sample((1000,))\n    return (Normal(2 * z, 0.5**0.5).log_prob(x) + prior.log_prob(z) - Normal(m, s).log_prob(z)).mean()",
            "closed form": "    return exact_elbo(m, s)",
            "x of the check": "    x, z = 1.5, Normal(m, s).sample((n,))\n    return (Normal(2 * z, 0.5**0.5).log_prob(torch.tensor(x)) + prior.log_prob(z) - Normal(m, s).log_prob(z)).mean()",
            "same draws in each call": "    z = m + s * torch.randn(n, generator=torch.Generator().manual_seed(0))\n    return (Normal(2 * z, 0.5**0.5).log_prob(x) + prior.log_prob(z) - Normal(m, s).log_prob(z)).mean()",
            "no average": "    z = Normal(m, s).sample((n,))\n    return Normal(2 * z, 0.5**0.5).log_prob(x) + prior.log_prob(z) - Normal(m, s).log_prob(z)",
        },
        {
            "no average": "one number a call",
            "sum instead of mean": "n times the true value",
            "sign of log q": "log q(z) has the wrong sign",
            "no prior": "log p(z) is missing",
            "variance taken for std": "not a variance",
            "n ignored": "the scatter must fall with n",
            "same draws in each call": "draw anew in each",
        },
    ),
    "reparameterize": (
        Z,
        {
            "rsample": "    return Normal(mu, torch.exp(logvar / 2)).rsample()",
            "sqrt of the variance": "    eps = torch.randn(mu.shape)\n    return mu + eps * logvar.exp().sqrt()",
            "minus the noise": "    return mu - (logvar * 0.5).exp() * torch.normal(torch.zeros_like(mu), torch.ones_like(mu))",
        },
        {
            "variance taken for std": "    return mu + torch.exp(logvar) * torch.randn_like(mu)",
            "logvar taken for std": "    return mu + logvar * torch.randn_like(mu)",
            "drawn directly": "    return Normal(mu, torch.exp(0.5 * logvar)).sample()",
            "no gradient through mu": "    return mu.detach() + torch.exp(0.5 * logvar) * torch.randn_like(mu)",
            "no gradient through logvar": "    return mu + torch.exp(0.5 * logvar).detach() * torch.randn_like(mu)",
            "uniform noise": "    return mu + torch.exp(0.5 * logvar) * torch.rand_like(mu)",
            "one noise for the batch": "    return mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape[1])",
            "one noise for all dimensions": "    return mu + torch.exp(0.5 * logvar) * torch.randn(len(mu), 1)",
            "same noise in each call": "    return mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))",
            "in place": "    with torch.no_grad():\n        logvar.mul_(0.5)\n    return mu + logvar.exp() * torch.randn_like(mu)",
            "logvar clamped": "    return mu + torch.exp(0.5 * logvar.clamp(-3, 2)) * torch.randn_like(mu)",
            "the mean only": "    return mu + 0 * logvar",
            "calls the library": "    return vae_lib.reparameterize(mu, logvar)",
        },
        {
            "variance taken for std": "is its variance, 9",
            "uniform noise": "must scatter around mu",
            "drawn directly": "the draw itself has no gradient",
            "one noise for the batch": "all rows have the same noise",
            "one noise for all dimensions": "both columns have the same noise",
            "same noise in each call": "drawn anew in each call",
            "no gradient through mu": "z does not follow mu",
            "no gradient through logvar": "z does not follow logvar",
        },
    ),
}
