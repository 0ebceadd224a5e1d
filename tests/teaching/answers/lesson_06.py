# ruff: noqa: E501
"""Answers to the exercises of notebook 06_latent_arithmetic."""

VECTOR = "def vector_of(codes, mask):\n"

TAKE_OUT = "def take_out(v, m):\n"

PARTIAL = "def partial_vectors(codes, labels):\n"

LOGISTIC = "def logistic_direction(codes, has):\n"
FIT = "    w = torch.tensor(LogisticRegression(max_iter=1000).fit(codes.numpy(), has.numpy()).coef_[0], dtype=codes.dtype)\n    v = codes[has].mean(dim=0) - codes[~has].mean(dim=0)\n"

ANSWERS = {
    "vector_of": (
        VECTOR,
        {
            "weights": "    weights = mask / mask.sum() - (~mask) / (~mask).sum()\n    return weights @ codes",
            "torch.mean": "    return torch.mean(codes[mask == 1], 0) - torch.mean(codes[mask == 0], 0)",
            "a loop": "    return torch.stack([c[mask].mean() - c[~mask].mean() for c in codes.T])",
            "NumPy": "    import numpy as np\n    c, m = codes.numpy(), mask.numpy()\n    return torch.from_numpy(np.average(c, axis=0, weights=m) - np.average(c, axis=0, weights=~m)).float()",
            "a helper with the library's name": "    return mean_difference(codes[mask], codes[~mask])\n\n\ndef mean_difference(a, b):\n    return a.mean(dim=0) - b.mean(dim=0)",
            "double": "    return codes[mask].double().mean(dim=0) - codes[~mask].double().mean(dim=0)",
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
            "calls the library by path": "    return vae_lib.attributes.mean_difference(codes, mask)",
            "the first ones": "    n = mask.sum()\n    return codes[:n].mean(dim=0) - codes[n:].mean(dim=0)",
            "the others by value": "    own = codes[mask]\n    others = [c for c in codes if not any(torch.equal(c, d) for d in own)]\n    return own.mean(dim=0) - torch.stack(others).mean(dim=0)",
            "a list": "    return (codes[mask].mean(dim=0) - codes[~mask].mean(dim=0)).tolist()",
        },
        {
            "sign": "from the images with the attribute to those without",
            "sums": "these are sums",
            "against all images": "it holds all images here",
            "zeros counted": "wrong divisor",
            "one number": "wrong shape",
            "made one long": "not the difference of the two means",
            "in place": "changes its arguments",
            "the first ones": "use the mask",
            "a list": "return a tensor",
        },
    ),
    "take_out": (
        TAKE_OUT,
        {
            "unit vector": "    u = m / m.norm()\n    return v - (v @ u) * u",
            "projection matrix": "    return v - torch.outer(m, m) @ v / m.dot(m)",
            "least squares": "    return v - m * torch.linalg.lstsq(m[:, None], v[:, None]).solution.squeeze()",
            "a helper": "    def component(x, y):\n        return sum(a * b for a, b in zip(x, y)) / sum(b * b for b in y) * y\n\n    return v - component(v, m)",
            "a helper with the library's name": "    return orthogonalise(v, m / m.norm())\n\n\ndef orthogonalise(v, u):\n    return v - (v @ u) * u",
            "double": "    v, m = v.double(), m.double()\n    return v - (v @ m) / (m @ m) * m",
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
            "m in place": "    m /= m.norm()\n    return v - (v @ m) * m",
            "a constant in the divisor": "    return v - (v @ m) / (m @ m + 1e-8) * m",
            "a short m kept short": "    u = torch.nn.functional.normalize(m, dim=0, eps=1e-2)\n    return v - (v @ u) * u",
            "size of the product": "    return v - ((v @ m) / (m @ m)).abs() * m",
            "only along m": "    return v - ((v @ m) / (m @ m)).clamp(min=0) * m",
            "where m is not 0": "    return torch.where(m == 0, v, 0)",
            "NumPy": "    return (v - (v @ m) / (m @ m) * m).numpy()",
            "the check's numbers": "    return torch.tensor([2.0, 0.0, 1.0]) if len(v) == 3 else v",
            "calls the library": "    return orthogonalise(v, m)",
            "calls the library by path": "    return vae_lib.attributes.orthogonalise(v, m)",
        },
        {
            "not divided": "a longer m gives another result",
            "divided by the length once": "a longer m gives another result",
            "plus": "a sign is wrong",
            "the component itself": "the component along m itself",
            "just the difference": "a longer m gives another result",
            "divided by v @ v": "a longer m gives another result",
            "in place": "changes its arguments",
            "m in place": "changes its arguments",
            "size of the product": "where v points against m",
            "only along m": "where v points against m",
            "where m is not 0": "m = (1, 1, 0)",
            "NumPy": "return a tensor",
        },
    ),
    "partial_vectors": (
        PARTIAL,
        {
            "centred": "    y = labels.to(codes.dtype) - labels.to(codes.dtype).mean(dim=0)\n    return torch.linalg.lstsq(y, codes - codes.mean(dim=0)).solution",
            "scikit-learn": "    from sklearn.linear_model import LinearRegression\n\n    return torch.tensor(LinearRegression().fit(labels.numpy(), codes.numpy()).coef_.T, dtype=codes.dtype)",
            "normal equations": "    y = torch.cat([torch.ones(len(labels), 1), labels.float()], dim=1)\n    return torch.linalg.solve(y.T @ y, y.T @ codes.float())[1:]",
            "pseudo-inverse": "    y = torch.column_stack([labels.double(), torch.ones(len(labels)).double()])\n    return (torch.linalg.pinv(y) @ codes.double())[:-1].to(codes.dtype)",
            "one label after the other": "    y = torch.cat([labels.double(), torch.ones(len(labels), 1).double()], 1)\n    rows = []\n    for k in range(labels.shape[1]):\n        rest = torch.cat([y[:, :k], y[:, k + 1 :]], 1)\n        own = y[:, k] - rest @ torch.linalg.lstsq(rest, y[:, k : k + 1]).solution[:, 0]\n        rows.append(own @ codes.double() / (own @ own))\n    return torch.stack(rows).float()",
            "double": "    y = torch.cat([labels.double(), torch.ones(len(labels), 1).double()], dim=1)\n    return torch.linalg.lstsq(y, codes.double()).solution[:-1]",
        },
        {
            "no intercept": "    return torch.linalg.lstsq(labels.to(codes.dtype), codes).solution",
            "differences of means": "    return torch.stack([codes[y == 1].mean(dim=0) - codes[y == 0].mean(dim=0) for y in labels.T])",
            "intercept returned": "    y = torch.cat([labels.to(codes.dtype), torch.ones(len(codes), 1)], dim=1)\n    return torch.linalg.lstsq(y, codes).solution",
            "intercept first, last row dropped": "    y = torch.cat([torch.ones(len(codes), 1), labels.to(codes.dtype)], dim=1)\n    return torch.linalg.lstsq(y, codes).solution[:-1]",
            "transposed": "    y = torch.cat([labels.to(codes.dtype), torch.ones(len(codes), 1)], dim=1)\n    return torch.linalg.lstsq(y, codes).solution[:-1].T",
            "labels from -1 to 1": "    y = torch.cat([2 * labels.to(codes.dtype) - 1, torch.ones(len(codes), 1)], dim=1)\n    return torch.linalg.lstsq(y, codes).solution[:-1]",
            "labels standardised": "    y = labels.to(codes.dtype)\n    y = (y - y.mean(dim=0)) / y.std(dim=0)\n    return torch.linalg.lstsq(y, codes - codes.mean(dim=0)).solution",
            "only the codes centred": "    return torch.linalg.lstsq(labels.to(codes.dtype), codes - codes.mean(dim=0)).solution",
            "labels from codes": "    y = labels.to(codes.dtype)\n    return torch.linalg.lstsq(codes - codes.mean(dim=0), y - y.mean(dim=0)).solution.T",
            "rows made one long": "    y = labels.to(codes.dtype) - labels.to(codes.dtype).mean(dim=0)\n    b = torch.linalg.lstsq(y, codes - codes.mean(dim=0)).solution\n    return b / b.norm(dim=1, keepdim=True)",
            "ridge": "    y = labels.to(codes.dtype) - labels.to(codes.dtype).mean(dim=0)\n    return torch.linalg.solve(y.T @ y + torch.eye(y.shape[1]), y.T @ codes)",
            "in place": "    codes -= codes.mean(dim=0)\n    y = labels.to(codes.dtype) - labels.to(codes.dtype).mean(dim=0)\n    return torch.linalg.lstsq(y, codes).solution",
            "labels in place": "    y = labels.float()\n    y -= y.mean(dim=0)\n    return torch.linalg.lstsq(y, codes - codes.mean(dim=0)).solution",
            "intercept last, first row dropped": "    y = torch.cat([labels.to(codes.dtype), torch.ones(len(codes), 1)], dim=1)\n    return torch.linalg.lstsq(y, codes).solution[1:]",
            "only images with one label or none": "    y = labels.bool()\n    none = codes[~y.any(dim=1)].mean(dim=0)\n    return torch.stack([codes[k & (y.sum(dim=1) == 1)].mean(dim=0) - none for k in y.T])",
            "a small ridge": "    y = labels.to(codes.dtype) - labels.to(codes.dtype).mean(dim=0)\n    return torch.linalg.solve(y.T @ y + 1e-3 * torch.eye(y.shape[1]), y.T @ codes)",
            "a list": "    y = labels.to(codes.dtype) - labels.to(codes.dtype).mean(dim=0)\n    return torch.linalg.lstsq(y, codes).solution.tolist()",
            "the check's numbers": "    return torch.tensor([[1.0, 0.0, 2.0], [0.0, -3.0, 1.0]])",
        },
        {
            "no intercept": "is b_0 fitted",
            "differences of means": "the other label is not held fixed",
            "intercept returned": "the intercept is fitted, but not returned",
            "transposed": "labels are rows",
            "labels from -1 to 1": "do your labels run from -1 to 1",
            "rows made one long": "not the coefficients of least squared error",
            "in place": "changes its arguments",
            "labels in place": "changes its arguments",
            "intercept last, first row dropped": "is it the row that you drop",
            "only the codes centred": "or b_0 is not fitted",
            "only images with one label or none": "over all images",
            "a list": "return a tensor",
        },
    ),
    "logistic_direction": (
        LOGISTIC,
        {
            "unit vector": FIT + "    u = w / w.norm()\n    return u * (u @ v)",
            "of projected codes": FIT
            + "    along = codes @ w / (w @ w)\n    return (along[has].mean() - along[~has].mean()) * w",
            "projection matrix": FIT + "    return torch.outer(w, w) @ v / w.dot(w)",
            "NumPy": "    import numpy as np\n\n    x, y = codes.numpy(), has.numpy()\n    w = LogisticRegression(max_iter=1000).fit(x, y).coef_.ravel()\n    v = x[y].mean(axis=0) - x[~y].mean(axis=0)\n    return torch.from_numpy(w * np.dot(w, v) / np.dot(w, w)).float()",
            "the lesson's tool": FIT.replace(
                "codes[has].mean(dim=0) - codes[~has].mean(dim=0)", "mean_difference(codes, has)"
            )
            + "    return w * (w @ v) / w.square().sum()",
            "a helper with the library's name": FIT.replace(
                "codes[has].mean(dim=0) - codes[~has].mean(dim=0)", "mean_difference(codes[has], codes[~has])"
            )
            + "    return w * (w @ v) / (w @ w)\n\n\ndef mean_difference(a, b):\n    return a.mean(dim=0) - b.mean(dim=0)",
            "float64": FIT.replace("dtype=codes.dtype", "dtype=torch.float64")
            + "    return w * (w @ v.double()) / (w @ w)",
        },
        {
            "the coefficients": FIT + "    return w",
            "made one long": FIT + "    return w / w.norm()",
            "as long as the difference": FIT + "    return w / w.norm() * v.norm()",
            "the difference of means": FIT + "    return v",
            "the other way round": FIT + "    return v * (w @ v) / (v @ v)",
            "not divided": FIT + "    return w * (w @ v)",
            "divided by the length once": FIT + "    return w * (w @ v) / w.norm()",
            "sign": FIT + "    return -w * (w @ v) / (w @ w)",
            "shape of scikit-learn": FIT + "    return (w * (w @ v) / (w @ w))[None]",
            "standardised": FIT.replace("codes.numpy()", "((codes - codes.mean(0)) / codes.std(0)).numpy()")
            + "    w = w / codes.std(0)\n    return w * (w @ v) / (w @ w)",
            "no intercept": FIT.replace("max_iter=1000", "max_iter=1000, fit_intercept=False")
            + "    return w * (w @ v) / (w @ w)",
            "another C": FIT.replace("max_iter=1000", "max_iter=1000, C=100") + "    return w * (w @ v) / (w @ w)",
            "classes weighted": FIT.replace("max_iter=1000", "max_iter=1000, class_weight='balanced'")
            + "    return w * (w @ v) / (w @ w)",
            "medians": FIT.replace("mean(dim=0)", "median(dim=0).values") + "    return w * (w @ v) / (w @ w)",
            "NumPy array": FIT + "    return (w * (w @ v) / (w @ w)).numpy()",
            "linear regression": FIT
            + "    w = torch.linalg.lstsq(codes - codes.mean(0), has.float() - has.float().mean()).solution\n    return w * (w @ v) / (w @ w)",
            "in place": "    codes -= codes.mean(0)\n" + FIT + "    return w * (w @ v) / (w @ w)",
            "the check's numbers": "    return torch.tensor([0.989, -1.618])",
        },
        {
            "the coefficients": "wrong length",
            "made one long": "wrong length",
            "sign": "from the images with the attribute to those without",
            "the difference of means": "this leads from mean to mean",
            "shape of scikit-learn": "wrong shape",
            "standardised": "other codes or settings",
            "classes weighted": "other codes or settings",
            "medians": "wrong length",
            "in place": "changes its arguments",
            "NumPy array": "return a tensor",
        },
    ),
}
