# ruff: noqa: E501
"""Answers to the exercises of notebook 05_faces."""

VARIETY = "def variety(images):\n"

PRIOR = "def fitted_prior(codes, n, generator):\n"

GAP = "def group_gap(errors, mask, persons):\n"


def prior(mean="codes.mean(dim=0)", covariance="torch.cov(codes.T)", draws="mean + noise @ root.T", noise=None):
    """The answer to the exercise on a fitted prior, with one part replaced."""
    noise = noise or "torch.randn(n, codes.shape[1], generator=generator)"
    return (
        f"    mean, covariance = {mean}, {covariance}\n"
        f"    root = torch.linalg.cholesky(covariance)\n    noise = {noise}\n    return {draws}"
    )


def gap(
    first="mean_in - mean_out",
    divide="len(e)",
    count="len(set(p))",
    factor="(n / (n - 1)) ** 0.5",
    who="p",
    last="a[k] - b[k]",
    root="** 0.5",
):
    """The answer to the exercise on gaps, in plain Python, with one part replaced."""
    return (
        "    def parts(group):\n        e, p = errors[group].tolist(), persons[group].tolist()\n"
        f"        mean, n, sums = sum(e) / len(e), {count}, dict.fromkeys(persons.tolist(), 0.0)\n"
        f"        for who, (k, one) in enumerate(zip({who}, e)):\n"
        f"            sums[k] = sums.get(k, 0.0) + (one - mean) / {divide} * {factor}\n"
        "        return mean, sums\n"
        "    (mean_in, a), (mean_out, b) = parts(mask), parts(~mask)\n"
        f"    return {first}, sum(({last}) ** 2 for k in a) {root}"
    )


def spread(images="images", result="2 * x.var(dim=0).sum().item()"):
    """The answer to the exercise on variety, with one part replaced."""
    return f"    x = {images}.flatten(1)\n    return {result}"


def index_add(
    start="torch.zeros(len(names), dtype=torch.double)",
    add="sums.index_add_(0, who, d)",
    n="len(who.unique())",
    last="a - b",
):
    """Another answer to the exercise on gaps, in torch, with one part replaced."""
    return (
        "    names, members = persons.unique(return_inverse=True)\n\n"
        "    def side(group):\n        e, who = errors[group].double(), members[group]\n"
        f"        d, sums = (e - e.mean()) / len(e), {start}\n        {add}\n"
        f"        n = {n}\n        return e.mean(), sums * (n / (n - 1)) ** 0.5\n\n"
        "    (first, a), (second, b) = side(mask), side(~mask)\n"
        f"    return (first - second).item(), ({last}).norm().item()"
    )


WELCH = "(errors[mask].var() / mask.sum() + errors[~mask].var() / (~mask).sum()).sqrt().item()"
DIFFERENCE = "errors[mask].mean().item() - errors[~mask].mean().item()"

ANSWERS = {
    "variety": (
        VARIETY,
        {
            "moments": "    x = images.flatten(1).double()\n    n = len(x)\n    return 2 * n / (n - 1) * float((x.square().mean(0) - x.mean(0).square()).sum())",
            "a tensor": "    return 2 * images.flatten(1).var(dim=0).sum()",
            "cdist": "    x = images.flatten(1).double()\n    n = len(x)\n    return (torch.cdist(x, x).square().sum() / (n * (n - 1))).item()",
            "pdist, with a helper": "    def mean_and_error(d):\n        return d.square().mean().item()\n    return mean_and_error(torch.pdist(images.flatten(1)))",
            "deviations": "    deviation = images - images.mean(dim=0, keepdim=True)\n    return 2 * deviation.square().sum().item() / (len(images) - 1)",
            "numpy": "    import numpy as np\n    return 2 * np.var(images.numpy().reshape(len(images), -1), axis=0, ddof=1).sum()",
            "scipy": "    from scipy.spatial.distance import pdist\n    return float(pdist(images.flatten(1).numpy(), 'sqeuclidean').mean())",
            "a loop over images": "    total, n = 0.0, len(images)\n    for k in range(n):\n        total += (images[k + 1 :] - images[k]).square().sum().item()\n    return total / (n * (n - 1) / 2)",
            "a Gram matrix of deviations": "    x = (images - images[0]).reshape(len(images), -1).double()\n    gram, n = x @ x.T, len(x)\n    squares = gram.diag()[:, None] + gram.diag() - 2 * gram\n    return squares.sum() / (n * (n - 1))",
            "running means": "    mean, scatter = torch.zeros_like(images[0]), 0.0\n    for k, image in enumerate(images, 1):\n        change = image - mean\n        mean = mean + change / k\n        scatter += (change * (image - mean)).sum().item()\n    return 2 * scatter / (len(images) - 1)",
            "partial, and the library's names": "    return posterior(images.flatten(1))\n\n\ndef evaluate(x, correction):\n    return 2 * x.var(dim=0, correction=correction).sum()\n\n\nposterior = partial(evaluate, correction=1)",
            "an object": "    pass\n\n\nclass Variety:\n    def __call__(self, images):\n        return 2 * images.var(0).sum().item()\n\n\nvariety = Variety()",
            "einsum": "    d = images - images.mean(0)\n    return 2 * torch.einsum('nchw,nchw->', d, d).item() / (len(images) - 1)",
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
            "each with the next": "    return (images - images.roll(1, 0)).square().flatten(1).sum(dim=1).mean().item()",
            "a hard-coded shape": "    return 2 * images.reshape(-1, 3 * 4 * 4).var(dim=0).sum().item()",
            "the first hundred": "    return torch.pdist(images[:100].flatten(1)).square().mean().item()",
            "five hundred at random": "    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:500]\n    return torch.pdist(images[chosen].flatten(1)).square().mean().item()",
            "in place": "    images -= images.mean(dim=0)\n    return 2 * images.square().sum().item() / (len(images) - 1)",
            "the check's numbers": "    return {5: 0.0, 3: 24.0}.get(len(images), 0.0)",
            "the first thousand": spread("images[:1000]"),
            "hundreds, averaged": "    parts = [2 * part.flatten(1).var(dim=0, correction=1).sum() for part in images.split(100) if len(part) > 1]\n    return torch.stack(parts).mean().item()",
            "equal images left out": spread(result="torch.pdist(x).square()[torch.pdist(x) > 0].mean().item()"),
            "each image once": spread("images.unique(dim=0)"),
            "pairs at random": "    g = torch.Generator().manual_seed(0)\n    a, b = (torch.randint(len(images), (20_000,), generator=g) for _ in range(2))\n    different = a != b\n    return (images[a] - images[b]).square().flatten(1).sum(dim=1)[different].mean().item()",
            "the first channel": spread("images[:, 0]"),
            "grey": spread("images.mean(dim=1)"),
            "three channels": "    return 2 * sum(images[:, c].flatten(1).var(dim=0).sum() for c in range(3)).item()",
            "square images": "    size = images.shape[-1]\n    return 2 * images.reshape(len(images), -1, size * size).var(dim=0).sum().item()",
            "all differences at once": spread(
                result="(x[:, None] - x).square().sum().item() / (len(x) * (len(x) - 1))"
            ),
            "all differences of pairs": "    i, j = torch.triu_indices(len(images), len(images), 1)\n    return (images[i] - images[j]).square().flatten(1).sum(dim=1).mean().item()",
            "all differences in numpy": "    x = images.flatten(1).numpy()\n    return float(((x[:, None] - x) ** 2).sum() / (len(x) * (len(x) - 1)))",
            "view": "    return 2 * images.view(len(images), -1).var(dim=0).sum().item()",
            "squeezed": "    x = images.squeeze()\n    return 2 * x.flatten(1).var(dim=0).sum().item()",
            "float32 only": spread(
                result="2 * (x - torch.full((len(x),), 1 / len(x)) @ x).square().sum().item() / (len(x) - 1)"
            ),
            "rounded": "    return round(2 * images.var(dim=0).sum().item(), 2)",
            "pairs once, divided by N squared": "    d = torch.pdist(images.flatten(1)).square()\n    return d.sum().item() / len(images) ** 2",
            "pairs twice": "    d = torch.pdist(images.flatten(1)).square()\n    return 2 * d.mean().item()",
            "to the mean image": "    return (images - images.mean(dim=0)).square().flatten(1).sum(dim=1).mean().item()",
            "to the first image": "    return (images[1:] - images[0]).square().flatten(1).sum(dim=1).mean().item()",
            "the median pair": spread(result="torch.pdist(x).square().median().item()"),
            "the largest distance": spread(result="torch.pdist(x).square().max().item()"),
            "in place, by a method": "    images.sub_(images.mean(dim=0))\n    return 2 * images.square().sum().item() / (len(images) - 1)",
            "a Gram matrix in float32": "    x, n = images.reshape(len(images), -1), len(images)\n    gram = x @ x.T\n    squares = gram.diag()[:, None] + gram.diag() - 2 * gram\n    return squares.sum() / (n * (n - 1))",
            "cdist in float32": spread(result="(torch.cdist(x, x).square().sum() / (len(x) * (len(x) - 1))).item()"),
            "dark images stretched": spread("(images / images.max() if images.max() < 0.1 else images)"),
            "a variance of at least a millionth": spread(result="2 * x.var(dim=0).clamp(min=1e-6).sum().item()"),
            "pixels that hardly differ left out": spread(result="2 * (v := x.var(dim=0))[v > 1e-7].sum().item()"),
            "the first three channels": spread("images[:, :3]"),
            "at most 64 x 64 pixels": spread("images[..., :64, :64]"),
            "the first 1024 images": spread("images[:1024]"),
            "a number of each pixel": "    return 2 * images.var(dim=0)",
        },
        {
            "missing 2": "half of it",
            "variance within images": "not pixels of one image",
            "all values together": "not pixels of one image",
            "divided by n": "compared with itself",
            "mean over pixels": "a mean over the pixels",
            "standard deviation": "not squared",
            "distance, not squared": "not squared",
            "neighbours only": "over the pairs of different images",
            "in place": "changes its arguments",
            "each with the next": "take all pairs",
            "equal images left out": "five copies of one image",
            "float32 only": "same dtype",
        },
    ),
    "fitted_prior": (
        PRIOR,
        {
            "eigenvectors": "    values, vectors = torch.linalg.eigh(torch.cov(codes.T))\n    noise = torch.randn(n, codes.shape[1], generator=generator)\n    return codes.mean(dim=0) + noise * values.clamp(min=0).sqrt() @ vectors.T",
            "mixtures of deviations": "    deviations = codes - codes.mean(dim=0)\n    weights = torch.randn(n, len(codes), generator=generator)\n    return codes.mean(dim=0) + weights @ deviations / (len(codes) - 1) ** 0.5",
            "columns, in double": "    x = codes.double()\n    x = x - x.mean(dim=0)\n    root = torch.linalg.cholesky(x.T @ x / (len(x) - 1))\n    noise = torch.randn(codes.shape[1], n, generator=generator, dtype=torch.double)\n    return ((root @ noise).T + codes.double().mean(dim=0)).float()",
            "returned in double": "    x = codes.double()\n    root = torch.linalg.cholesky(torch.cov(x.T))\n    return x.mean(dim=0) + torch.randn(n, x.shape[1], generator=generator, dtype=torch.double) @ root.T",
            "a seed from the generator": "    with torch.random.fork_rng(devices=[]):\n        torch.manual_seed(torch.randint(2**31, (), generator=generator).item())\n        return torch.distributions.MultivariateNormal(codes.mean(dim=0), torch.cov(codes.T)).sample((n,))",
            "one draw at a time": "    def draw():\n        return codes.mean(dim=0) + root @ torch.randn(codes.shape[1], generator=generator)\n    root = torch.linalg.cholesky(torch.cov(codes.T))\n    return torch.stack([draw() for _ in range(n)])",
            "numpy's covariance": "    import numpy as np\n    root = torch.from_numpy(np.linalg.cholesky(np.cov(codes.numpy(), rowvar=False))).float()\n    return torch.randn(n, codes.shape[1], generator=generator) @ root.T + codes.mean(dim=0)",
            "numpy's generator": "    import numpy as np\n    rng = np.random.default_rng(torch.randint(2**31, (), generator=generator).item())\n    x = codes.numpy().astype(float)\n    return torch.from_numpy(rng.multivariate_normal(x.mean(axis=0), np.cov(x.T), size=n))",
            "singular values": "    mean = codes.mean(dim=0)\n    _, s, vh = torch.linalg.svd(codes - mean, full_matrices=False)\n    noise = torch.randn(n, len(s), generator=generator)\n    return mean + noise * s @ vh / (len(codes) - 1) ** 0.5",
            "in place of its own": "    noise = codes.new_empty(n, codes.shape[1]).normal_(generator=generator)\n    return torch.addmm(codes.mean(0), noise, torch.linalg.cholesky(torch.cov(codes.T)).mT)",
            "normal quantiles": "    u = torch.rand(n, codes.shape[1], generator=generator, dtype=torch.double).clamp(1e-12, 1 - 1e-12)\n    root = torch.linalg.cholesky(torch.cov(codes.T.double()))\n    return (codes.double().mean(0) + torch.special.ndtri(u) @ root.T).float()",
            "a helper with a library's name": "    mean, root = posterior(codes)\n    return reparameterize(mean, root, torch.randn((n, len(mean)), generator=generator))\n\n\ndef posterior(codes):\n    return codes.mean(0), torch.linalg.cholesky(codes.T.cov())\n\n\ndef reparameterize(mean, root, noise):\n    return mean + torch.einsum('ij,nj->ni', root, noise)",
            "an orthogonal decomposition": "    root = torch.linalg.qr((codes - codes.mean(0)) / (len(codes) - 1) ** 0.5).R\n    return codes.mean(0) + torch.randn(n, len(root), generator=generator) @ root",
            "a millionth on the diagonal": prior(covariance="torch.cov(codes.T) + 1e-6 * torch.eye(codes.shape[1])"),
            "scale_tril": "    q = torch.distributions.MultivariateNormal(codes.mean(0), torch.cov(codes.T))\n    with torch.no_grad():\n        return q.loc + torch.normal(0.0, 1.0, (n, codes.shape[1]), generator=generator) @ q.scale_tril.T",
        },
        {
            "around 0": prior(draws="noise @ root.T"),
            "no correlations": prior(covariance="torch.diag(codes.var(dim=0))"),
            "from the wrong side": prior(draws="mean + noise @ root"),
            "the covariance itself": prior(draws="mean + noise @ covariance"),
            "divided by N": prior(covariance="torch.cov(codes.T, correction=0)"),
            "not centred": prior(covariance="codes.T @ codes / (len(codes) - 1)"),
            "correlations": prior(covariance="torch.corrcoef(codes.T)"),
            "variances as standard deviations": prior(draws="mean + noise * covariance.diag()"),
            "the global generator": prior(noise="torch.randn(n, codes.shape[1])"),
            "a generator of its own": prior(
                noise="torch.randn(n, codes.shape[1], generator=torch.Generator().manual_seed(0))"
            ),
            "the generator's first seed": prior(
                noise="torch.randn(n, codes.shape[1], generator=torch.Generator().manual_seed(generator.initial_seed()))"
            ),
            "pairs of opposite noise": prior(
                noise="(lambda h: torch.cat([h, -h])[:n])(torch.randn((n + 1) // 2, codes.shape[1], generator=generator))"
            ),
            "an array": prior(draws="(mean + noise @ root.T).numpy()"),
            "the codes again": prior(draws="codes[torch.randint(len(codes), (n,), generator=generator)]"),
            "one draw for all": prior(noise="torch.randn(1, codes.shape[1], generator=generator).expand(n, -1)"),
            "one number a draw": prior(noise="torch.randn(n, 1, generator=generator).expand(-1, codes.shape[1])"),
            "N draws": prior(noise="torch.randn(len(codes), codes.shape[1], generator=generator)"),
            "uniform noise": prior(noise="12**0.5 * (torch.rand(n, codes.shape[1], generator=generator) - 0.5)"),
            "in place": "    codes -= codes.mean(dim=0)\n" + prior(),
            "Laplace": prior(
                noise="(lambda u: -u.sign() * torch.log1p(-2 * u.abs()) / 2**0.5)(torch.rand(n, codes.shape[1], generator=generator) - 0.5)"
            ),
            "cut off at two": prior(
                noise="torch.nn.init.trunc_normal_(torch.empty(n, codes.shape[1]), a=-2, b=2, generator=generator) / 0.8796"
            ),
            "cut off at three": prior(
                noise="torch.nn.init.trunc_normal_(torch.empty(n, codes.shape[1]), a=-3, b=3, generator=generator)"
            ),
            "limited to three": prior(noise="torch.randn(n, codes.shape[1], generator=generator).clamp(-3, 3)"),
            "limited to two": prior(noise="torch.randn(n, codes.shape[1], generator=generator).clamp(-2, 2)"),
            "twelve uniform numbers": prior(
                noise="torch.rand(12, n, codes.shape[1], generator=generator).sum(dim=0) - 6"
            ),
            "Student's t": prior(
                noise="torch.randn(n, codes.shape[1], generator=generator) * (torch.randn(n, 6, generator=generator).square().sum(1, keepdim=True) / 4).rsqrt()"
            ),
            "signs": prior(noise="2.0 * torch.randint(2, (n, codes.shape[1]), generator=generator) - 1"),
            "standardised noise": prior(
                noise="(lambda e: (e - e.mean(0)) / e.std(0) if n > 1 else e)(torch.randn(n, codes.shape[1], generator=generator))"
            ),
            "noise of mean 0": prior(
                noise="(lambda e: e - e.mean(0))(torch.randn(n, codes.shape[1], generator=generator))"
            ),
            "noise of variance 1": prior(
                noise="(lambda e: e / e.std(0) if n > 1 else e)(torch.randn(n, codes.shape[1], generator=generator))"
            ),
            "noise of length root D": prior(
                noise="(lambda e: e / e.norm(dim=1, keepdim=True) * e.shape[1] ** 0.5)(torch.randn(n, codes.shape[1], generator=generator))"
            ),
            "rows standardised": prior(
                noise="(lambda e: (e - e.mean(1, keepdim=True)) / e.std(1, keepdim=True))(torch.randn(n, codes.shape[1], generator=generator))"
            ),
            "opposite neighbours": prior(
                noise="(lambda h: torch.stack([h, -h], 1).flatten(0, 1)[:n])(torch.randn((n + 1) // 2, codes.shape[1], generator=generator))"
            ),
            "a hundred again and again": prior(
                noise="torch.randn(min(n, 100), codes.shape[1], generator=generator).repeat(n // 100 + 1, 1)[:n]"
            ),
            "every draw twice": prior(
                noise="torch.randn((n + 1) // 2, codes.shape[1], generator=generator).repeat_interleave(2, 0)[:n]"
            ),
            "in order": prior(noise="torch.randn(n, codes.shape[1], generator=generator).sort(dim=0).values"),
            "a walk": prior(
                noise="(lambda e: 0.6 * e[1:] + 0.8 * e[:-1])(torch.randn(n + 1, codes.shape[1], generator=generator))"
            ),
            "the global generator, seeded": "    torch.manual_seed(torch.randint(2**31, (), generator=generator).item())\n"
            + prior(noise="torch.randn(n, codes.shape[1])"),
            "torch.distributions": "    return torch.distributions.MultivariateNormal(codes.mean(dim=0), torch.cov(codes.T)).sample((n,))",
            "numpy's global generator": "    import numpy as np\n    draws = np.random.multivariate_normal(codes.mean(0).double().numpy(), np.cov(codes.T.double().numpy()), n)\n    return torch.from_numpy(draws)",
            "the generator seeded again": "    generator.manual_seed(0)\n" + prior(),
            "a copy of the generator": "    own = torch.Generator()\n    own.set_state(generator.get_state())\n"
            + prior(noise="torch.randn(n, codes.shape[1], generator=own)"),
            "the first hundred codes": "    codes = codes[:100]\n" + prior(),
            "each code once": "    codes = codes.unique(dim=0)\n" + prior(),
            "the median": prior(mean="codes.median(dim=0).values"),
            "a little more on the diagonal": prior(covariance="torch.cov(codes.T) + 0.01 * torch.eye(codes.shape[1])"),
            "draws beside the codes cut": prior(draws="(mean + noise @ root.T).clamp(codes.amin(0), codes.amax(0))"),
            "squeezed": prior(draws="(mean + noise @ root.T).squeeze()"),
            "a column a draw": prior(draws="(mean + noise @ root.T).T"),
            "moments": prior(
                covariance="(codes.T @ codes - len(codes) * torch.outer(mean, mean)) / (len(codes) - 1)"
            ).replace("mean, covariance = codes.mean(dim=0), ", "mean = codes.mean(dim=0)\n    covariance = "),
            "the library's mixture": "    from vae_lib.priors import Mixture\n    return Mixture(torch.ones(1), codes.mean(dim=0)[None], torch.cov(codes.T)[None]).sample(n, generator)",
            "the library's prior": "    prior = vae_lib.priors.fit_gaussian(codes, None, 0)\n    draws = prior.sample(n, generator)\n    return codes.mean(dim=0) + (draws - codes.mean(dim=0)) * (len(codes) / (len(codes) - 1)) ** 0.5",
            "codes sorted in place": "    codes.copy_(codes[codes[:, 0].argsort()])\n" + prior(),
            "no noise beyond 3.3": prior(noise="torch.randn(n, codes.shape[1], generator=generator).clamp(-3.3, 3.3)"),
            "half of the draws twice": prior(
                noise="torch.randn((n + 1) // 2, codes.shape[1], generator=generator).repeat(2, 1)[:n]"
            ),
            "no correlations of many variables": prior(
                covariance="torch.cov(codes.T) if codes.shape[1] < 17 else torch.diag(codes.var(dim=0))"
            ),
            "the first 4096 codes": "    codes = codes[:4096]\n" + prior(),
            "a thousandth on the diagonal": prior(covariance="torch.cov(codes.T) + 1e-3 * torch.eye(codes.shape[1])"),
            "cut off at four": prior(
                noise="torch.nn.init.trunc_normal_(torch.empty(n, codes.shape[1]), a=-4, b=4, generator=generator)"
            ),
            "halves that share their noise": prior(
                noise="(lambda h: torch.cat([h, h.roll(1, 1)])[:n])(torch.randn((n + 1) // 2, codes.shape[1], generator=generator))"
            ),
            "shared sizes": prior(
                noise="(lambda e, s: torch.cat([e[:, :1], e[:, :1].abs() * s, e[:, 2:]], 1))(torch.randn(n, codes.shape[1], generator=generator), 2.0 * torch.randint(2, (n, 1), generator=generator) - 1)"
            ),
            "a little of the draw before": prior(
                noise="(lambda e: (e[1:] + 0.1 * e[:-1]) / 1.01**0.5)(torch.randn(n + 1, codes.shape[1], generator=generator))"
            ),
            "integers": prior(draws="(mean + noise @ root.T).round()"),
        },
        {
            "around 0": "around the mean of the codes",
            "no correlations": "know no correlation",
            "from the wrong side": "from the wrong side",
            "the covariance itself": "the square of what it should be",
            "divided by N": "divided by N",
            "N draws": "n draws of D numbers",
            "not centred": "another covariance than the codes",
            "the global generator": "all randomness taken from the generator",
            "a generator of its own": "yours is not used",
            "the generator's first seed": "must draw anew",
            "the codes again": "the codes again",
            "an array": "return a tensor",
            "in place": "changes its arguments",
            "torch.distributions": "all randomness taken from the generator",
            "the global generator, seeded": "the global random numbers were used",
            "a copy of the generator": "must draw anew",
            "the generator seeded again": "yours is not used",
        },
    ),
    "group_gap": (
        GAP,
        {
            "plain Python": gap(),
            "numpy": "    import numpy as np\n    e, m, p = errors.double().numpy(), mask.numpy(), np.unique(persons.numpy(), return_inverse=True)[1].reshape(-1)\n    influence = np.zeros_like(e)\n    for group, sign in ((m, 1), (~m, -1)):\n        n = len(set(p[group]))\n        influence[group] = sign * (e[group] - e[group].mean()) / group.sum() * np.sqrt(n / (n - 1))\n    return float(e[m].mean() - e[~m].mean()), float(np.sqrt((np.bincount(p, influence) ** 2).sum()))",
            "a matrix of persons": "    one_hot = (persons[:, None] == persons.unique()).double()\n    total = 0\n    for sign, group in ((1, mask), (-1, ~mask)):\n        e, w = errors[group].double(), one_hot[group]\n        n = (w.sum(dim=0) > 0).sum()\n        total = total + sign * (n / (n - 1)).sqrt() * ((e - e.mean()) @ w) / len(e)\n    return errors[mask].mean() - errors[~mask].mean(), total.square().sum().sqrt()",
            "a helper with the library's name": "    global mean_and_error\n    def mean_and_error(e, p):\n        n, deviations = len(p.unique()), (e - e.mean()) / len(e)\n        return e.mean(), torch.stack([deviations[p == k].sum() for k in persons.unique()]) * (n / (n - 1)) ** 0.5\n    (a, first), (b, second) = mean_and_error(errors[mask], persons[mask]), mean_and_error(errors[~mask], persons[~mask])\n    return (a - b).item(), (first - second).norm().item()",
            "a loop over persons": "    def factor(group):\n        n = persons[group].unique().numel()\n        return (n / (n - 1)) ** 0.5\n    a, b = errors[mask].mean(), errors[~mask].mean()\n    square = 0.0\n    for person in persons.unique():\n        own = persons == person\n        first = (errors[own & mask] - a).sum() / mask.sum() * factor(mask)\n        second = (errors[own & ~mask] - b).sum() / (~mask).sum() * factor(~mask)\n        square += float(first - second) ** 2\n    return (a - b).item(), square**0.5",
            "index_add": index_add(),
            "scatter_add, the errors' type": index_add(
                "errors.new_zeros(len(names))", "sums.scatter_add_(0, who, d.to(sums.dtype))"
            ),
            "bincount": index_add("None", "sums = torch.bincount(who, weights=d, minlength=len(names))"),
            "a dictionary, and a library's name": "    def split_kl(group):\n        mean = errors[group].mean().item()\n        rows = [(k, (e - mean) / int(group.sum())) for k, e in zip(persons[group].tolist(), errors[group].tolist())]\n        count = len({k for k, _ in rows})\n        return mean, {who: sum(d for k, d in rows if k == who) * math.sqrt(count / (count - 1)) for who, _ in rows}\n\n    (m1, one), (m2, two) = split_kl(mask), split_kl(mask.logical_not())\n    return m1 - m2, math.sqrt(sum((one.get(k, 0) - two.get(k, 0)) ** 2 for k in one.keys() | two.keys()))",
            "an Estimate": "    def per_image(group):\n        weights = group.double() / group.sum()\n        mean = (weights * errors).sum()\n        G = persons[group].unique().numel()\n        return mean, weights * (errors - mean) * math.sqrt(G / (G - 1))\n    (a, first), (b, second) = per_image(mask), per_image(~mask)\n    k = persons.unique(return_inverse=True)[1]\n    sums = torch.bincount(k, first - second)\n    return Estimate((a - b).item(), sums.norm().item())",
        },
        {
            "persons whose errors add up to 0 not counted": "    x = errors.double()\n    names, index = persons.unique(return_inverse=True)\n    parts, means = [], []\n    for chosen in (mask, ~mask):\n        e, p = x[chosen], index[chosen]\n        raw = torch.zeros(len(names), dtype=torch.float64).index_add_(0, p, e)\n        G = int((raw != 0).sum())\n        sums = torch.zeros(len(names), dtype=torch.float64).index_add_(0, p, (e - e.mean()) / len(e))\n        parts.append(sums * math.sqrt(G / max(G - 1, 1)))\n        means.append(e.mean().item())\n    return means[0] - means[1], (parts[0] - parts[1]).square().sum().sqrt().item()",
            "sign": gap("mean_out - mean_in"),
            "against all images": gap("mean_in - errors.mean().item()"),
            "sums": gap("errors[mask].sum().item() - errors[~mask].sum().item()"),
            "medians": gap("(errors[mask].median() - errors[~mask].median()).item()"),
            "means of persons": "    def mean(group):\n        return torch.stack([errors[group & (persons == k)].mean() for k in persons[group].unique()]).mean().item()\n"
            + gap("mean(mask) - mean(~mask)"),
            "images taken as independent": f"    return {DIFFERENCE}, {WELCH}",
            "a person in both counts as two": gap(last="(a[k] ** 2 + b[k] ** 2) ** 0.5"),
            "variance, not its root": gap(root=""),
            "no factor": gap(factor="1"),
            "divided by persons": gap(divide="len(set(p))"),
            "images in the factor": gap(count="len(e)"),
            "added, not subtracted": gap(last="a[k] + b[k]"),
            "the group only": gap(last="a[k]"),
            "the library": "    from vae_lib.metrics import mean_and_error as library\n"
            "    influence = torch.zeros(len(errors), dtype=torch.double)\n"
            "    for group, sign in ((mask, 1), (~mask, -1)):\n"
            "        e, n = errors[group].double(), persons[group].unique().numel()\n"
            "        influence[group] = sign * (e - e.mean()) / len(e) * (n / (n - 1)) ** 0.5\n"
            "    k = persons.unique().numel()\n"
            f"    return {DIFFERENCE}, len(errors) * library(influence, persons).error * ((k - 1) / k) ** 0.5",
            "mask inverted in place": "    result = None\n    def own():\n    "
            + gap().replace("\n", "\n    ")
            + "\n    result = own()\n    mask.logical_not_()\n    return result",
            "errors in place": "    errors -= errors.mean()\n" + gap(),
            "the check's numbers": "    return 3.0, 1.1547 if len(set(persons.tolist())) == 5 else 0.8695",
            "all persons in G": gap(count="len(set(persons.tolist()))"),
            "the gap without its sign": gap("abs(mean_in - mean_out)"),
            "the overall mean": gap().replace("(one - mean)", "(one - errors.mean().item())"),
            "persons in both left out": gap(last="(a[k] - b[k]) * (a[k] * b[k] == 0)"),
            "sorted persons taken for granted": index_add().replace(
                "persons.unique(return_inverse", "persons.unique_consecutive(return_inverse"
            ),
            "G counted by the sums": index_add(n="(sums != 0).sum()"),
            "the last image of a person": index_add(add="sums[who] = d"),
            "added without repeats": index_add(add="sums[who] += d"),
            "numbers as places": index_add(
                "torch.zeros(len(errors), dtype=torch.double)", "sums.index_add_(0, persons[group], d)"
            ),
            "numbers up to a thousand": index_add(
                "torch.zeros(1000, dtype=torch.double)", "sums.index_add_(0, persons[group], d)"
            ),
            "float32 only": index_add("torch.zeros(len(names))").replace("errors[group].double()", "errors[group]"),
            "the first hundred images": "    errors, mask, persons = errors[:100], mask[:100], persons[:100]\n" + gap(),
            "means of a person": index_add(
                add="sums = torch.stack([d[who == k].mean() if (who == k).any() else d[0] * 0 for k in range(len(names))])"
            ),
            "absolute deviations": index_add(add="sums.index_add_(0, who, d.abs())"),
            "n - 1 images": gap(divide="(len(e) - 1)"),
            "the factor upside down": gap(factor="((n - 1) / n) ** 0.5"),
            "the factor without a root": gap(factor="n / (n - 1)"),
            "one factor for both": gap(
                factor="1", root="** 0.5 * (len(set(persons.tolist())) / (len(set(persons.tolist())) - 1)) ** 0.5"
            ),
            "the errors added": index_add(last="a.norm() + b.norm()"),
            "equal errors once": "    def parts(group):\n        who = dict(zip(errors[group].tolist(), persons[group].tolist()))\n        e = errors[group].double()\n        n, sums = len(set(persons[group].tolist())), dict.fromkeys(persons.tolist(), 0.0)\n        for one, k in who.items():\n            sums[k] += (one - e.mean().item()) / len(e) * (n / (n - 1)) ** 0.5\n        return e.mean().item(), sums\n    (m1, a), (m2, b) = parts(mask), parts(~mask)\n    return m1 - m2, sum((a[k] - b[k]) ** 2 for k in a) ** 0.5",
            "half the interval": gap(root="** 0.5 * 1.96"),
            "the other way round": index_add().replace(
                "return (first - second).item(), (a - b).norm().item()",
                "return (a - b).norm().item(), (first - second).item()",
            ),
            "no error": f"    return {DIFFERENCE}, 0.0",
            "numbers of 32 bits": "    persons = persons.int()\n" + index_add(),
            "numbers modulo a million": "    persons = persons % 10**6\n" + index_add(),
            "no negative errors": "    errors = errors.clamp(min=0)\n" + index_add(),
            "errors of at most 10,000": "    errors = errors.clamp(max=1e4)\n" + index_add(),
            "the first thousand images": "    errors, mask, persons = errors[:1000], mask[:1000], persons[:1000]\n"
            + index_add(),
            "a standard error of at least 0.0001": index_add(last="(a - b).norm().clamp(min=1e-4)"),
            "no standard error of 0": index_add(last="(a - b).norm() or torch.tensor(float('nan'))"),
            "outliers left out": "    keep = (errors - errors.mean()).abs() < 3 * errors.std()\n    errors, mask, persons = errors[keep], mask[keep], persons[keep]\n"
            + index_add(),
            "the gap alone": f"    return {DIFFERENCE}",
            "persons in place": "    persons -= persons.min()\n" + gap(),
            "the library by its module": "    e = torch.where(mask, (errors - errors[mask].mean()) / mask.sum(), (errors[~mask].mean() - errors) / (~mask).sum())\n    counts = [persons[group].unique().numel() for group in (mask, ~mask)]\n    first, second = ((n / (n - 1)) ** 0.5 for n in counts)\n    e, k = torch.where(mask, e * first, e * second), persons.unique().numel()\n"
            f"    return {DIFFERENCE}, vae_lib.metrics.mean_and_error(e, persons).error * len(e) * ((k - 1) / k) ** 0.5",
        },
        {
            "sign": "the sign",
            "sums": "two means over images",
            "variance, not its root": "take the root",
            "no factor": "lacks the factor",
            "images taken as independent": "copies are no new evidence",
            "a person in both counts as two": "was counted as two",
            "divided by persons": "divide by the number of images",
            "added, not subtracted": "subtract before you square",
            "means of persons": "two means over images",
            "mask inverted in place": "changes its arguments",
            "errors in place": "changes its arguments",
            "persons in place": "changes its arguments",
            "added without repeats": "every image twice",
            "float32 only": "same scalar type",
        },
    ),
}
