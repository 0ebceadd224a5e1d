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
        },
        {
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
        },
    ),
}
