# ruff: noqa: E501
"""Answers to the exercises of notebook 06_latent_arithmetic."""

VECTOR = "def vector_of(codes, mask):\n"

FREQUENCY = "def frequency_gaps(has, column):\n"

TAKE_OUT = "def take_out(v, m):\n"

ANSWERS = {
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
}
