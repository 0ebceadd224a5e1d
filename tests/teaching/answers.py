# ruff: noqa: E501
"""Right and wrong answers to every exercise, as a class of students would hand them in: the autograder's own test.

ANSWERS: {notebook: {exercise: (the beginning of the answer, {style: body that is right}, {mistake: body that is wrong})}}
"""

KL = "def kl_divergence(mu, logvar):\n"
ELBO_1D = "def monte_carlo_elbo(x, m, s, n):\n"
Z = "def reparameterize(mu, logvar):\n"
SIZE = "def choose_size(losses, tolerance):\n"
BY_CLASS = "def error_by_class(errors, targets, n_classes):\n"
ELBO = "def my_elbo(x_hat, x, mu, logvar, beta=1.0):\n"
SLERP = "def slerp(a, b, t):\n"
WALK = "def my_interpolate(model, a, b, steps):\n"
VARIETY = "def variety(images):\n"
GAP = "def group_gap(errors, mask):\n"
VECTOR = "def vector_of(codes, mask):\n"
FREQUENCY = "def frequency_gaps(has, column):\n"
TAKE_OUT = "def take_out(v, m):\n"
FOLDER = "class ImageFolder(torch.utils.data.Dataset):\n"

SLERP_GUARDS = """
    cosine = torch.dot(a, b) / (a.norm() * b.norm())
    if cosine < -1 + 1e-6:
        raise ValueError("opposite")
    if cosine > 1 - 1e-6:
        return (1 - t) * a + t * b
    angle = torch.arccos(cosine)
"""
ARC = "(torch.sin((1 - t) * angle) * a / a.norm() + torch.sin(t * angle) * b / b.norm()) / torch.sin(angle)"
MU = "    with torch.no_grad():\n        mu, logvar = model.encode(torch.stack([a, b]))\n"
T = "        t = torch.linspace(0, 1, steps)[:, None]\n"


def sides(down, up):
    """Both functions of the exercise on convolutions."""
    return (
        f"def conv_side(n, kernel, stride, padding):\n    {down}\n\n"
        f"def transposed_conv_side(n, kernel, stride, padding):\n    {up}\n"
    )


def folder(paths='sorted(folder.glob("*.jpg"))', length="len(self.paths)", item=None):
    """The class of the exercise on datasets, with one part replaced."""
    item = item or 'to_float(transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB")))'
    return (
        f"    def __init__(self, folder):\n        self.paths = {paths}\n"
        f"    def __len__(self):\n        return {length}\n"
        f"    def __getitem__(self, index):\n        return {item}\n"
    )


RIGHT_DOWN, RIGHT_UP = (
    "return (n + 2 * padding - kernel) // stride + 1",
    "return (n - 1) * stride - 2 * padding + kernel",
)

ANSWERS = {
    "01_theory": {
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
        ),
    },
    "02_latent_dimension": {
        "choose_size": (
            SIZE,
            {
                "a sorted loop": "    for size in sorted(losses):\n        if losses[size] - min(losses.values()) <= tolerance:\n            return size",
                "numpy": "    import numpy as np\n    sizes, values = map(np.array, zip(*sorted(losses.items())))\n    return int(sizes[values <= values.min() + tolerance][0])",
                "filter": "    limit = min(losses.values()) + tolerance\n    return sorted(filter(lambda size: losses[size] <= limit, losses))[0]",
            },
            {
                "the lowest loss": "    return min(losses, key=losses.get)",
                "the largest size": "    lowest = min(losses.values())\n    return max(size for size, loss in losses.items() if loss <= lowest + tolerance)",
                "the first in the dictionary": "    lowest = min(losses.values())\n    return next(size for size, loss in losses.items() if loss <= lowest + tolerance)",
                "relative tolerance": "    lowest = min(losses.values())\n    return min(size for size, loss in losses.items() if loss <= lowest * (1 + tolerance))",
                "strictly less": "    lowest = min(losses.values())\n    return min(size for size, loss in losses.items() if loss < lowest + tolerance or loss == lowest)",
                "the loss, not the size": "    lowest = min(losses.values())\n    return min(loss for size, loss in losses.items() if loss <= lowest + tolerance)",
                "compared with the neighbour": "    sizes = sorted(losses)\n    for a, b in zip(sizes, sizes[1:]):\n        if losses[a] - losses[b] <= tolerance:\n            return a\n    return sizes[-1]",
                "compared with the largest size": "    last = losses[max(losses)]\n    return min(size for size, loss in losses.items() if loss <= last + tolerance)",
                "empties the dictionary": "    lowest = min(losses.values())\n    for size in sorted(losses):\n        if losses.pop(size) <= lowest + tolerance:\n            return size",
                "the check's numbers": "    return {40.0: 10, 31.2: 5, 30.0: 5, 30.1: 5}[next(iter(losses.values()))]",
            },
        ),
        "error_by_class": (
            BY_CLASS,
            {
                "a loop": "    means = torch.zeros(n_classes)\n    for k in range(n_classes):\n        means[k] = errors[targets == k].mean()\n    return means",
                "bincount": "    return torch.bincount(targets, errors, n_classes) / torch.bincount(targets, minlength=n_classes)",
                "numpy": "    return np.array([errors[targets == k].mean() for k in range(n_classes)])\n\n\nimport numpy as np",
                "one-hot": "    member = torch.nn.functional.one_hot(targets, n_classes).float()\n    return errors @ member / member.sum(dim=0)",
            },
            {
                "sum instead of mean": "    return torch.stack([errors[targets == k].sum() for k in range(n_classes)])",
                "divided by all images": "    return torch.stack([errors[targets == k].sum() / len(errors) for k in range(n_classes)])",
                "median": "    return torch.stack([errors[targets == k].median() for k in range(n_classes)])",
                "classes from 1": "    return torch.stack([errors[targets == k + 1].mean() for k in range(n_classes)])",
                "the other images": "    return torch.stack([errors[targets != k].mean() for k in range(n_classes)])",
                "one number": "    return errors.mean()",
                "sorts the input": "    errors[:] = errors[targets.argsort()]\n    targets[:] = targets.sort().values\n    return torch.stack([errors[targets == k].mean() for k in range(n_classes)])",
                "the check's numbers": "    return torch.tensor([2.0, 10.0, 3.0])",
                "sorted results": "    return torch.stack([errors[targets == k].mean() for k in range(n_classes)]).sort(descending=True).values",
            },
        ),
    },
    "03_fc_vs_conv": {
        "conv_side": (
            "",
            {
                "numpy": sides("return np.floor((n + 2 * padding - kernel) / stride) + 1", RIGHT_UP).replace(
                    "def", "import numpy as np\n\ndef", 1
                ),
                "math.floor": sides(
                    "import math\n    return math.floor((n + 2 * padding - kernel) / stride + 1)",
                    "return stride * (n - 1) + kernel - 2 * padding",
                ),
                "count the positions": sides("return len(range(0, n + 2 * padding - kernel + 1, stride))", RIGHT_UP),
                "ask torch": sides(
                    "return nn.Conv2d(1, 1, kernel, stride, padding)(torch.zeros(1, 1, n, n)).shape[-1]",
                    "return nn.ConvTranspose2d(1, 1, kernel, stride, padding)(torch.zeros(1, 1, n, n)).shape[-1]",
                ),
            },
            {
                "no +1": sides("return (n + 2 * padding - kernel) // stride", RIGHT_UP),
                "padding on one side": sides("return (n + padding - kernel) // stride + 1", RIGHT_UP),
                "not rounded": sides("return (n + 2 * padding - kernel) / stride + 1", RIGHT_UP),
                "rounded up": sides("return -(-(n + 2 * padding - kernel) // stride) + 1", RIGHT_UP),
                "side over stride": sides("return n // stride", "return n * stride"),
                "padding added in the decoder": sides(RIGHT_DOWN, "return (n - 1) * stride + 2 * padding + kernel"),
                "no kernel in the decoder": sides(RIGHT_DOWN, "return (n - 1) * stride - 2 * padding"),
                "n instead of n - 1": sides(RIGHT_DOWN, "return n * stride - 2 * padding + kernel"),
                "swapped": sides(RIGHT_UP, RIGHT_DOWN),
                "the check's numbers": sides(
                    "return {32: 16, 16: 8, 28: 14, 15: 4, 7: 7}[n]", "return {32: 64, 16: 32, 28: 55, 15: 47, 7: 7}[n]"
                ),
            },
        ),
        "my_elbo": (
            ELBO,
            {
                "mse_loss": "    error = F.mse_loss(x_hat, x, reduction='sum') / len(x)\n    kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum() / len(x)\n    return error + beta * kl, error, kl",
                "flatten": "    error = ((x - x_hat) ** 2).flatten(1).sum(1).mean()\n    kl = (mu**2 + logvar.exp() - logvar - 1).sum(1).mean() / 2\n    return (beta * kl + error, error, kl)",
                "distributions": "    from torch.distributions import Normal, kl_divergence\n    kl = kl_divergence(Normal(mu, logvar.exp().sqrt()), Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum(dim=1).mean(dim=0)\n    error = torch.einsum('nchw,nchw->n', x_hat - x, x_hat - x).mean()\n    return error + beta * kl, error, kl",
            },
            {
                name: body
                for name, error, kl, result in [
                    ("mean over pixels", "F.mse_loss(x_hat, x)", "", ""),
                    (
                        "sum over the batch",
                        "(x_hat - x).square().sum()",
                        "0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()",
                        "",
                    ),
                    ("absolute error", "(x_hat - x).abs().sum(dim=(1, 2, 3)).mean()", "", ""),
                    ("root of the error", "(x_hat - x).square().sum(dim=(1, 2, 3)).sqrt().mean()", "", ""),
                    ("sign of the KL", "", "-0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(dim=1).mean()", ""),
                    ("missing 0.5", "", "(mu**2 + logvar.exp() - logvar - 1).sum(dim=1).mean()", ""),
                    ("mean over latent dimensions", "", "0.5 * (mu**2 + logvar.exp() - logvar - 1).mean()", ""),
                    (
                        "std taken for logvar",
                        "",
                        "0.5 * (mu**2 + logvar**2 - (logvar**2 + 1e-9).log() - 1).sum(dim=1).mean()",
                        "",
                    ),
                    (
                        "no gradient through mu",
                        "",
                        "0.5 * (mu.detach() ** 2 + logvar.exp() - logvar - 1).sum(dim=1).mean()",
                        "",
                    ),
                    (
                        "beta inside kl",
                        "",
                        "beta * 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(dim=1).mean()",
                        "error + kl, error, kl",
                    ),
                    ("beta forgotten", "", "", "error + kl, error, kl"),
                    ("beta on the error", "", "", "beta * error + kl, error, kl"),
                    ("parts swapped", "", "", "error + beta * kl, kl, error"),
                    ("minus the KL", "", "", "error - beta * kl, error, kl"),
                    ("in place", "x_hat.detach().sub_(x).square().sum(dim=(1, 2, 3)).mean()", "", ""),
                    ("calls the library", "", "", "elbo_loss(x_hat, x, mu, logvar, beta=beta)"),
                ]
                for body in [
                    f"    error = {error or '(x_hat - x).square().sum(dim=(1, 2, 3)).mean()'}\n"
                    f"    kl = {kl or '0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(dim=1).mean()'}\n"
                    f"    return {result or 'error + beta * kl, error, kl'}"
                ]
            },
        ),
    },
    "04_interpolation": {
        "slerp": (
            SLERP,
            {
                "in the plane of a and b": "    u = a / a.norm()\n    w = b - (b @ u) * u\n    if w.norm() < 1e-3 * b.norm():\n        if a @ b < 0:\n            raise ValueError('opposite')\n        return a + t * (b - a)\n    angle = torch.atan2(w.norm(), b @ u)\n    w = w / w.norm()\n    return torch.lerp(a.norm(), b.norm(), t) * (torch.cos(t * angle) * u + torch.sin(t * angle) * w)",
                "math": "    import math\n    cosine = float(a @ b / a.norm() / b.norm())\n    if cosine <= -1 + 1e-6:\n        raise ValueError('no shortest arc')\n    if cosine >= 1 - 1e-6:\n        return a * (1 - t) + b * t\n    w = math.acos(cosine)\n    size = float((1 - t) * a.norm() + t * b.norm())\n    return size / math.sin(w) * (math.sin((1 - t) * w) * a / a.norm() + math.sin(t * w) * b / b.norm())",
                "functional": "    u, v = F_normalize(a), F_normalize(b)\n    angle = torch.arccos((u * v).sum().clamp(-1, 1))\n    if torch.isclose(angle, torch.tensor(torch.pi), atol=2e-3):\n        raise ValueError\n    if angle < 2e-3:\n        return torch.lerp(a, b, t)\n    weights = torch.sin(torch.tensor([1 - t, t]) * angle) / torch.sin(angle)\n    return (weights @ torch.stack([u, v])) * torch.lerp(a.norm(), b.norm(), t)\n\n\ndef F_normalize(v):\n    return v / torch.linalg.vector_norm(v)",
            },
            {
                "the straight line": "    if torch.cosine_similarity(a, b, dim=0) < -1 + 1e-6:\n        raise ValueError\n    return (1 - t) * a + t * b",
                "line, then normalised": SLERP_GUARDS
                + "    line = (1 - t) * a / a.norm() + t * b / b.norm()\n    return line / line.norm() * ((1 - t) * a.norm() + t * b.norm())",
                "length lost": SLERP_GUARDS + f"    return {ARC}",
                "length of the first": SLERP_GUARDS + f"    return a.norm() * {ARC}",
                "directions not normalised": SLERP_GUARDS
                + "    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)",
                "backwards": SLERP_GUARDS + f"    t = 1 - t\n    return {ARC} * ((1 - t) * a.norm() + t * b.norm())",
                "opposite is not refused": SLERP_GUARDS.replace(
                    'raise ValueError("opposite")', "return (1 - t) * a + t * b"
                )
                + f"    return {ARC} * ((1 - t) * a.norm() + t * b.norm())",
                "parallel forgotten": SLERP_GUARDS.replace("if cosine > 1 - 1e-6", "if False")
                + f"    return {ARC} * ((1 - t) * a.norm() + t * b.norm())",
                "obtuse refused": SLERP_GUARDS.replace("cosine < -1 + 1e-6", "cosine < -0.9")
                + f"    return {ARC} * ((1 - t) * a.norm() + t * b.norm())",
                "a line where the angle is small": SLERP_GUARDS.replace("cosine > 1 - 1e-6", "cosine > 0.9")
                + f"    return {ARC} * ((1 - t) * a.norm() + t * b.norm())",
                "only exact opposites refused": SLERP_GUARDS.replace(
                    "cosine < -1 + 1e-6", "torch.equal(a / a.norm(), -b / b.norm())"
                )
                + f"    return {ARC} * ((1 - t) * a.norm() + t * b.norm())",
                "in place": SLERP_GUARDS
                + f"    size = (1 - t) * a.norm() + t * b.norm()\n    a /= a.norm()\n    return {ARC} * size",
                "calls the library": "    return vae_lib.latent.slerp(a, b, t)",
            },
        ),
        "my_interpolate": (
            WALK,
            {
                "torch.lerp": MU
                + "        weights = torch.linspace(0, 1, steps).view(-1, 1)\n        return model.decode(torch.lerp(mu[0], mu[1], weights))",
                "a loop": "    with torch.no_grad():\n        start, end = model.encode(a[None])[0], model.encode(b[None])[0]\n        codes = [start + k / (steps - 1) * (end - start) for k in range(steps)]\n        return torch.cat([model.decode(z) for z in codes])",
                "matrix product": MU
                + "        t = torch.arange(steps) / (steps - 1)\n        return model.decode(torch.stack([1 - t, t], dim=1) @ mu)",
            },
            {
                "in pixels": "    t = torch.linspace(0, 1, steps).view(-1, 1, 1, 1)\n    return (1 - t) * a + t * b",
                "draws instead of means": MU
                + "        z = vae_lib.reparameterize(mu, logvar)\n"
                + T
                + "        return model.decode((1 - t) * z[0] + t * z[1])",
                "backwards": MU + T + "        return model.decode(t * mu[0] + (1 - t) * mu[1])",
                "the end is missing": MU
                + "        t = (torch.arange(steps) / steps)[:, None]\n        return model.decode((1 - t) * mu[0] + t * mu[1])",
                "ends are the photographs": MU
                + T
                + "        walk = model.decode((1 - t) * mu[0] + t * mu[1])\n        walk[0], walk[-1] = a, b\n        return walk",
                "between reconstructions": MU
                + "        start, end = model.decode(mu)\n        t = torch.linspace(0, 1, steps).view(-1, 1, 1, 1)\n        return (1 - t) * start + t * end",
                "logvar taken for mu": MU.replace("mu, logvar", "logvar, mu")
                + T
                + "        return model.decode((1 - t) * mu[0] + t * mu[1])",
                "model of the lesson": MU.replace("model.", "digit_vae.")
                + T
                + "        return digit_vae.decode((1 - t) * mu[0] + t * mu[1])",
                "only the inner steps": MU
                + "        t = torch.linspace(0, 1, steps + 2)[1:-1, None]\n        return model.decode((1 - t) * mu[0] + t * mu[1])",
                "calls the library": "    return interpolate(model, a, b, steps)",
            },
        ),
    },
    "05_faces": {
        "ImageFolder": (
            FOLDER,
            {
                "os.listdir": folder(
                    "[folder / name for name in sorted(__import__('os').listdir(folder)) if name.endswith('.jpg')]"
                ),
                "torchvision.io": folder(
                    item="__import__('torchvision').io.decode_image(str(self.paths[index]), 'RGB') / 255"
                ),
                "transforms": folder(
                    item="transforms.to_dtype(transforms.to_image(Image.open(self.paths[index]).convert('RGB')), torch.float32, scale=True)"
                ),
            },
            {
                "not sorted": folder('list(folder.glob("*.jpg"))[::-1]'),
                "backwards": folder('sorted(folder.glob("*.jpg"), reverse=True)'),
                "every file": folder("sorted(folder.iterdir())"),
                "bytes": folder(item='transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB"))'),
                "0 to 255": folder(
                    item='transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB")).float()'
                ),
                "grey stays grey": folder(item="to_float(transforms.pil_to_tensor(Image.open(self.paths[index])))"),
                "height, width, channels": folder(
                    item='to_float(transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB"))).permute(1, 2, 0)'
                ),
                "blue, green, red": folder(
                    item='to_float(transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB"))).flip(0)'
                ),
                "upside down": folder(
                    item='to_float(transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB"))).flip(1)'
                ),
                "scaled to [-1, 1]": folder(
                    item='2 * to_float(transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB"))) - 1'
                ),
                "listed anew each time": folder(
                    "folder",
                    "len(list(self.paths.glob('*.jpg')))",
                    "to_float(transforms.pil_to_tensor(Image.open(sorted(self.paths.glob('*.jpg'))[index]).convert('RGB')))",
                ),
                "divided by 256": folder(
                    item='transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB")) / 256'
                ),
                "one short": folder(length="len(self.paths) - 1"),
                "the check's number": folder(length="400"),
                "the next one": folder(
                    item='to_float(transforms.pil_to_tensor(Image.open(self.paths[index - 1]).convert("RGB")))'
                ),
            },
        ),
        "variety": (
            VARIETY,
            {
                "moments": "    x = images.flatten(1).double()\n    n = len(x)\n    return 2 * n / (n - 1) * float((x.square().mean(0) - x.mean(0).square()).sum())",
                "a tensor": "    return 2 * images.flatten(1).var(dim=0).sum()",
                "cdist": "    x = images.flatten(1).double()\n    n = len(x)\n    return (torch.cdist(x, x).square().sum() / (n * (n - 1))).item()",
                "deviations": "    deviation = images - images.mean(dim=0, keepdim=True)\n    return 2 * deviation.square().sum().item() / (len(images) - 1)",
            },
            {
                "missing 2": "    return images.flatten(1).var(dim=0).sum().item()",
                "divided by n": "    return 2 * images.flatten(1).var(dim=0, correction=0).sum().item()",
                "mean over pixels": "    return 2 * images.flatten(1).var(dim=0).mean().item()",
                "standard deviation": "    return 2 * images.flatten(1).std(dim=0).sum().item()",
                "variance within images": "    return 2 * images.flatten(1).var(dim=1).sum().item()",
                "all values together": "    return 2 * images.var().item() * images[0].numel()",
                "neighbours only": "    return (images[1:] - images[:-1]).square().flatten(1).sum(dim=1).mean().item()",
                "distance, not squared": "    x = images.flatten(1)\n    return torch.pdist(x).mean().item()",
                "in place": "    images -= images.mean(dim=0)\n    return 2 * images.square().sum().item() / (len(images) - 1)",
                "the check's numbers": "    return {2: 12.0, 3: 24.0}.get(len(images), 0.0)",
            },
        ),
        "group_gap": (
            GAP,
            {
                "std": "    a, b = errors[mask], errors[~mask]\n    return float(a.mean() - b.mean()), float((a.std() ** 2 / len(a) + b.std() ** 2 / len(b)) ** 0.5)",
                "numpy": "    import numpy as np\n    a, b = errors[mask].numpy(), errors[~mask].numpy()\n    return float(a.mean() - b.mean()), float(np.sqrt(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size))",
                "statistics": "    import statistics\n    a, b = errors[mask].tolist(), errors[~mask].tolist()\n    gap = statistics.mean(a) - statistics.mean(b)\n    return gap, (statistics.variance(a) / len(a) + statistics.variance(b) / len(b)) ** 0.5",
            },
            {
                name: f"    a, b = errors[mask], errors[~mask]\n    return {gap or '(a.mean() - b.mean()).item()'}, {width or '(a.var() / len(a) + b.var() / len(b)).sqrt().item()'}"
                for name, gap, width in [
                    ("sign", "(b.mean() - a.mean()).item()", ""),
                    ("against all images", "(a.mean() - errors.mean()).item()", ""),
                    ("sums", "(a.sum() - b.sum()).item()", ""),
                    ("medians", "(a.median() - b.median()).item()", ""),
                    ("variance, not its root", "", "(a.var() / len(a) + b.var() / len(b)).item()"),
                    ("divided by n", "", "(a.var(correction=0) / len(a) + b.var(correction=0) / len(b)).sqrt().item()"),
                    ("not divided by the size", "", "(a.var() + b.var()).sqrt().item()"),
                    ("std taken for the variance", "", "(a.std() / len(a) + b.std() / len(b)).sqrt().item()"),
                    ("one group only", "", "(a.var() / len(a)).sqrt().item()"),
                    ("standard errors added", "", "(a.std() / len(a) ** 0.5 + b.std() / len(b) ** 0.5).item()"),
                    ("scatter of all", "", "(errors.var() / len(errors)).sqrt().item()"),
                    ("the check's numbers", "3.0", "(2 / 2 + 1 / 3) ** 0.5"),
                ]
            },
        ),
    },
    "06_latent_arithmetic": {
        "vector_of": (
            VECTOR,
            {
                "weights": "    weights = mask / mask.sum() - (~mask) / (~mask).sum()\n    return weights @ codes",
                "torch.mean": "    return torch.mean(codes[mask == 1], 0) - torch.mean(codes[mask == 0], 0)",
                "a loop": "    return torch.stack([c[mask].mean() - c[~mask].mean() for c in codes.T])",
            },
            {
                "sign": "    return codes[~mask].mean(dim=0) - codes[mask].mean(dim=0)",
                "sums": "    return codes[mask].sum(dim=0) - codes[~mask].sum(dim=0)",
                "against all images": "    return codes[mask].mean(dim=0) - codes.mean(dim=0)",
                "only those with it": "    return codes[mask].mean(dim=0)",
                "one number": "    return codes[mask].mean() - codes[~mask].mean()",
                "medians": "    return codes[mask].median(dim=0).values - codes[~mask].median(dim=0).values",
                "made one long": "    v = codes[mask].mean(dim=0) - codes[~mask].mean(dim=0)\n    return v / v.norm()",
                "in place": "    codes[~mask] *= -1\n    return codes[mask].mean(dim=0) + codes[~mask].mean(dim=0)",
                "zeros counted": "    return (codes * mask[:, None]).mean(dim=0) - (codes * ~mask[:, None]).mean(dim=0)",
                "the check's numbers": "    return torch.tensor([2.0, -2.0])",
                "calls the library": "    return mean_difference(codes, mask)",
            },
        ),
        "frequency_gaps": (
            FREQUENCY,
            {
                "counts": "    mask = has[:, column]\n    return has[mask].sum(0) / mask.sum() - has[~mask].sum(0) / (~mask).sum()",
                "a loop": "    mask = has[:, column]\n    return torch.stack([has[mask, k].float().mean() - has[~mask, k].float().mean() for k in range(has.shape[1])])",
                "the lesson's tool": "    return mean_difference(has.float(), has[:, column])",
                "matrix product": "    x = has.double()\n    m = x[:, column]\n    return (m @ x / m.sum() - (1 - m) @ x / (1 - m).sum()).float()",
            },
            {
                "sign": "    mask = has[:, column]\n    return has[~mask].float().mean(dim=0) - has[mask].float().mean(dim=0)",
                "against all images": "    mask = has[:, column]\n    return has[mask].float().mean(dim=0) - has.float().mean(dim=0)",
                "absolute": "    mask = has[:, column]\n    return (has[mask].float().mean(dim=0) - has[~mask].float().mean(dim=0)).abs()",
                "counts, not shares": "    mask = has[:, column]\n    return has[mask].float().sum(dim=0) - has[~mask].float().sum(dim=0)",
                "divided by all": "    mask = has[:, column]\n    return (has[mask].float().sum(dim=0) - has[~mask].float().sum(dim=0)) / len(has)",
                "row for column": "    mask = has[column]\n    return (has[:, mask].float().mean(dim=1) - has[:, ~mask].float().mean(dim=1))[: has.shape[1]]",
                "without itself": "    mask = has[:, column]\n    gaps = has[mask].float().mean(dim=0) - has[~mask].float().mean(dim=0)\n    gaps[column] = 0\n    return gaps",
                "condition turned round": "    m = has[:, column]\n    return torch.stack([m[k].float().mean() - m[~k].float().mean() for k in has.T])",
                "correlation": "    return torch.corrcoef(has.float().T)[column]",
                "in place": "    mask = has[:, column].clone()\n    has[:, column] = True\n    return has[mask].float().mean(dim=0) - has[~mask].float().mean(dim=0)",
                "the check's numbers": "    return torch.tensor([1.0, 0.75, -0.75])",
                "calls the library": "    return vae_lib.attributes.frequency_gaps(has, column)",
            },
        ),
        "take_out": (
            TAKE_OUT,
            {
                "unit vector": "    u = m / m.norm()\n    return v - (v @ u) * u",
                "projection matrix": "    return v - torch.outer(m, m) @ v / m.dot(m)",
                "least squares": "    return v - m * torch.linalg.lstsq(m[:, None], v[:, None]).solution.squeeze()",
            },
            {
                "not divided": "    return v - (v @ m) * m",
                "divided by the length once": "    return v - (v @ m) / m.norm() * m",
                "plus": "    return v + (v @ m) / (m @ m) * m",
                "the component itself": "    return (v @ m) / (m @ m) * m",
                "divided by v @ v": "    return v - (v @ m) / (v @ v) * m",
                "the other way round": "    return m - (v @ m) / (v @ v) * v",
                "made one long": "    rest = v - (v @ m) / (m @ m) * m\n    return rest / rest.norm()",
                "just the difference": "    return v - m",
                "cosine for the factor": "    return v - torch.cosine_similarity(v, m, dim=0) * m",
                "in place": "    v -= (v @ m) / (m @ m) * m\n    return v",
                "the check's numbers": "    return torch.tensor([2.0, 0.0, 1.0]) if len(v) == 3 else v",
                "calls the library": "    return orthogonalise(v, m)",
            },
        ),
    },
}
