# ruff: noqa: E501
"""Answers to the exercises of notebook 02_latent_dimension."""

PREDICTED = "def predicted_kl(variances, beta):\n"

INFORMATION = "def information(mu, logvar, z):\n"

IWAE = "def iwae_bound(log_weights):\n"

ANSWERS = {
    "predicted_kl": (
        PREDICTED,
        {
            "relu of the logarithm": "    ratio = (2 * variances / beta).clamp(min=1)\n    return torch.log(ratio).sum() / 2",
            "a loop": "    total = torch.zeros(())\n    for v in variances:\n        if v > beta / 2:\n            total = total + 0.5 * torch.log(v / (beta / 2))\n    return total",
            "torch.where": "    d = beta / 2\n    nats = torch.where(variances > d, variances.clamp(min=d).log() - math.log(d), torch.zeros(()))\n    return nats.sum() * 0.5",
            "with a helper": "    return gain(variances[variances > beta / 2], beta).sum()\n\n\ndef gain(v, beta):\n    return 0.5 * (v.log() + math.log(2) - math.log(beta))",
            "numpy": "    import numpy as np\n    v = variances.numpy()\n    return torch.tensor(0.5 * np.log(2 * v[2 * v > beta] / beta).sum())",
        },
        {
            "components below the price are not left out": "    return 0.5 * torch.log(2 * variances.clamp(min=1e-3) / beta).sum()",
            "logarithm of every variance": "    return 0.5 * torch.log(2 * variances / beta).sum()",
            "an error of beta is left": "    used = variances[variances > beta]\n    return 0.5 * torch.log(used / beta).sum()",
            "no factor 1/2": "    used = variances[variances > beta / 2]\n    return torch.log(2 * used / beta).sum()",
            "bits": "    used = variances[variances > beta / 2]\n    return 0.5 * torch.log2(2 * used / beta).sum()",
            "times beta": "    used = variances[variances > beta / 2]\n    return beta * 0.5 * torch.log(2 * used / beta).sum()",
            "one number a component": "    return 0.5 * torch.log((2 * variances / beta).clamp(min=1))",
            "the mean": "    return 0.5 * torch.log((2 * variances / beta).clamp(min=1)).mean()",
            "beta ignored": "    return 0.5 * torch.log((2 * variances).clamp(min=1)).sum()",
            "threshold beta": "    used = variances[variances > beta]\n    return 0.5 * torch.log(2 * used / beta).sum()",
            "in place": "    return 0.5 * torch.log(variances.mul_(2 / beta).clamp_(min=1)).sum()",
            "the largest ones come first": "    n = (variances > beta / 2).sum()\n    return 0.5 * torch.log(2 * variances[:n].clamp(min=beta / 2) / beta).sum()",
            "a Python number": "    used = variances[variances > beta / 2]\n    return (0.5 * torch.log(2 * used / beta).sum()).item()",
            "the check's numbers": "    return torch.tensor(2.4260 if beta == 0.5 else 1.7329)",
        },
        {
            "components below the price are not left out": "a component below the price has changed the sum",
            "logarithm of every variance": "a component below the price has changed the sum",
            "an error of beta is left": "the error that a component in use leaves is not beta / 2",
            "no factor 1/2": "twice the true value",
            "bits": "bits, not nats",
            "times beta": "beta times the nats is the price",
            "one number a component": "one number for all components",
        },
    ),
    "information": (
        INFORMATION,
        {
            "written out": "    log_q = -0.5 * ((z[:, None] - mu) ** 2 / logvar.exp() + logvar).sum(2)\n    return (log_q.diagonal() - torch.logsumexp(log_q, 1)).mean() + math.log(len(mu))",
            "a loop over images": "    total = 0\n    for n in range(len(z)):\n        log_q = Normal(mu, torch.exp(logvar / 2)).log_prob(z[n]).sum(1)\n        total = total + log_q[n] - (torch.logsumexp(log_q, 0) - math.log(len(z)))\n    return total / len(z)",
            "log_softmax": "    log_q = Normal(mu, torch.exp(logvar / 2)).log_prob(z.unsqueeze(1)).sum(-1)\n    return torch.log_softmax(log_q, dim=1).diag().mean() + math.log(len(z))",
            "a mixture of torch": "    from torch.distributions import Categorical, Independent, MixtureSameFamily\n    parts = Independent(Normal(mu, torch.exp(0.5 * logvar)), 1)\n    mixture = MixtureSameFamily(Categorical(logits=torch.zeros(len(mu))), parts)\n    return torch.mean(parts.log_prob(z) - mixture.log_prob(z))",
        },
        {
            "densities, not logarithms": "    q = Normal(mu, torch.exp(0.5 * logvar)).log_prob(z[:, None]).sum(2).exp()\n    return (q.diag().log() - q.mean(1).log()).mean()",
            "the mixture is a sum": "    log_q = Normal(mu, torch.exp(0.5 * logvar)).log_prob(z[:, None]).sum(2)\n    return (log_q.diag() - log_q.logsumexp(1)).mean()",
            "the KL to the prior": "    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(1).mean()",
            "one draw of the KL to the prior": "    log_q = Normal(mu, torch.exp(0.5 * logvar)).log_prob(z).sum(1)\n    return (log_q - Normal(0, 1).log_prob(z).sum(1)).mean()",
            "sign": "    log_q = Normal(mu, torch.exp(0.5 * logvar)).log_prob(z[:, None]).sum(2)\n    return (log_q.logsumexp(1) - math.log(len(z)) - log_q.diag()).mean()",
            "without the image itself": "    log_q = Normal(mu, torch.exp(0.5 * logvar)).log_prob(z[:, None]).sum(2)\n    others = log_q.masked_fill(torch.eye(len(z), dtype=torch.bool), -math.inf)\n    return (log_q.diag() - others.logsumexp(1) + math.log(len(z) - 1)).mean()",
            "the wrong axis": "    log_q = Normal(mu, torch.exp(0.5 * logvar)).log_prob(z[:, None]).sum(2)\n    return (log_q.diag() - log_q.logsumexp(0) + math.log(len(z))).mean()",
            "one number an image": "    log_q = Normal(mu, torch.exp(0.5 * logvar)).log_prob(z[:, None]).sum(2)\n    return log_q.diag() - log_q.logsumexp(1) + math.log(len(z))",
            "exp(logvar) as standard deviation": "    log_q = Normal(mu, torch.exp(logvar)).log_prob(z[:, None]).sum(2)\n    return (log_q.diag() - log_q.logsumexp(1) + math.log(len(z))).mean()",
            "mu instead of z": "    log_q = Normal(mu, torch.exp(0.5 * logvar)).log_prob(mu[:, None]).sum(2)\n    return (log_q.diag() - log_q.logsumexp(1) + math.log(len(z))).mean()",
            "mean of the logarithms": "    log_q = Normal(mu, torch.exp(0.5 * logvar)).log_prob(z[:, None]).sum(2)\n    return (log_q.diag() - log_q.mean(1)).mean()",
            "each dimension alone": "    log_q = Normal(mu, torch.exp(0.5 * logvar)).log_prob(z[:, None])\n    own = log_q.diagonal().T\n    return (own - log_q.logsumexp(1) + math.log(len(z))).sum(1).mean()",
            "a Gaussian in place of the mixture": "    own = Normal(mu, torch.exp(0.5 * logvar)).log_prob(z).sum(1)\n    return (own - Normal(z.mean(0), z.std(0) + 1e-6).log_prob(z).sum(1)).mean()",
            "calls the library": "    return split_kl(mu, logvar)[0].mean()",
            "in place": "    mu -= mu.mean(0)\n    log_q = Normal(mu, torch.exp(0.5 * logvar)).log_prob(z[:, None]).sum(2)\n    return (log_q.diag() - log_q.logsumexp(1) + math.log(len(z))).mean()",
        },
        {
            "densities, not logarithms": "densities are 0 or infinite in floating point",
            "the mixture is a sum": "the sum of the posteriors, not their mean",
            "the KL to the prior": "this is the KL to the prior",
            "sign": "negative: ln q(z|x) comes first",
            "without the image itself": "more than ln N",
            "one number an image": "one number, the mean over the images",
            "the wrong axis": "q(z) is over posteriors, not over draws",
            "exp(logvar) as standard deviation": "each posterior with its own variance",
        },
    ),
    "iwae_bound": (
        IWAE,
        {
            "shifted by the largest": "    largest = log_weights.max(dim=1, keepdim=True).values\n    return largest[:, 0] + (log_weights - largest).exp().mean(dim=1).log()",
            "equal parts": "    k = log_weights.size(1)\n    return torch.logsumexp(log_weights - math.log(k), dim=-1)",
            "a loop of logaddexp": "    total = log_weights[:, 0]\n    for column in log_weights.T[1:]:\n        total = torch.logaddexp(total, column)\n    return total - math.log(log_weights.shape[1])",
            "with a helper": "    return torch.stack([one(row) for row in log_weights])\n\n\ndef one(row):\n    top = row.max()\n    return top + torch.log(torch.exp(row - top).sum() / len(row))",
        },
        {
            "mean of the logarithms": "    return log_weights.mean(dim=1)",
            "sum instead of mean": "    return log_weights.logsumexp(dim=1)",
            "sign": "    return math.log(log_weights.shape[1]) - log_weights.logsumexp(dim=1)",
            "exp of everything": "    return log_weights.exp().mean(dim=1).log()",
            "exp in float64": "    return log_weights.double().exp().mean(dim=1).log()",
            "one shift for all rows": "    top = log_weights.max()\n    return top + (log_weights - top).exp().mean(dim=1).log()",
            "shifted by the smallest": "    low = log_weights.min(dim=1, keepdim=True).values\n    return low[:, 0] + (log_weights - low).exp().mean(dim=1).log()",
            "shifted by the mean": "    mean = log_weights.mean(dim=1, keepdim=True)\n    return mean[:, 0] + (log_weights - mean).exp().mean(dim=1).log()",
            "the wrong axis": "    return log_weights.logsumexp(dim=0) - math.log(len(log_weights))",
            "log N instead of log k": "    return log_weights.logsumexp(dim=1) - math.log(len(log_weights))",
            "mean over the images": "    return (log_weights.logsumexp(dim=1) - math.log(log_weights.shape[1])).mean()",
            "the largest weight": "    return log_weights.max(dim=1).values",
            "weights of 0 are left out": "    finite = log_weights.isfinite().sum(dim=1)\n    return log_weights.logsumexp(dim=1) - finite.log()",
            "clamped": "    return log_weights.clamp(-80, 80).exp().mean(dim=1).log()",
            "in place": "    top = log_weights.max(dim=1, keepdim=True).values\n    return top[:, 0] + log_weights.sub_(top).exp().mean(dim=1).log()",
            "the check's numbers": "    return torch.tensor([0.693147, -10000.0, 499.4338, 0.693147])",
        },
        {
            "mean of the logarithms": "the mean of the logarithms is the ELBO",
            "sum instead of mean": "the sum of the weights, not their mean",
            "sign": "the sign: this is a bound",
            "exp of everything": "exp is 0 or infinite there",
            "one shift for all rows": "exp is 0 or infinite there",
            "shifted by the smallest": "what is -inf minus -inf",
            "the wrong axis": "one number for each of the 4 images",
            "weights of 0 are left out": "not the logarithm of the mean weight: weights 0, 4",
        },
    ),
}
