# ruff: noqa: E501
"""Answers to the exercises of notebook 06_latent_arithmetic."""

VECTOR = "def vector_of(codes, mask):\n"

TAKE_OUT = "def take_out(v, m):\n"

PARTIAL = "def partial_vectors(codes, labels):\n"

LOGISTIC = "def logistic_direction(codes, has):\n"
FIT = "    w = torch.tensor(LogisticRegression(max_iter=1000).fit(codes.numpy(), has.numpy()).coef_[0], dtype=codes.dtype)\n    v = codes[has].mean(dim=0) - codes[~has].mean(dim=0)\n"

WITHIN = "def within_person_vector(codes, mask, person):\n"
EACH = "    changes = []\n    for p in person.unique():\n        a, b = codes[(person == p) & mask], codes[(person == p) & ~mask]\n        if len(a) and len(b):\n            changes.append(a.mean(dim=0) - b.mean(dim=0))\n"
MEAN = EACH + "    return torch.stack(changes).mean(dim=0)"
BOTH = "    both = [p for p in person.unique() if mask[person == p].any() and not mask[person == p].all()]\n"
NOBODY_OUT = MEAN.replace("        if len(a) and len(b):\n    ", "")

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
    "within_person_vector": (
        WITHIN,
        {
            "masks": BOTH
            + "    rows = [codes[(person == p) & mask].mean(0) - codes[(person == p) & ~mask].mean(0) for p in both]\n    return sum(rows) / len(rows)",
            "index_add": "    _, who = person.unique(return_inverse=True)\n    count, total = torch.zeros(2, who.max() + 1), torch.zeros(2, who.max() + 1, codes.shape[1])\n    for k, chosen in enumerate((~mask, mask)):\n        count[k].index_add_(0, who, chosen.float())\n        total[k].index_add_(0, who, codes * chosen[:, None])\n    both = (count > 0).all(dim=0)\n    means = total[:, both] / count[:, both, None]\n    return (means[1] - means[0]).mean(dim=0)",
            "one-hot matrices": "    own = (person[:, None] == person.unique()).float()\n    with_it, without_it = own * mask[:, None], own * ~mask[:, None]\n    some = (with_it.sum(0) > 0) & (without_it.sum(0) > 0)\n    with_it, without_it = with_it[:, some], without_it[:, some]\n    return ((with_it / with_it.sum(0) - without_it / without_it.sum(0)).T @ codes).mean(dim=0)",
            "a weight for each image": BOTH
            + "    weights = torch.zeros(len(codes))\n    for p in both:\n        for sign, kind in ((1, mask), (-1, ~mask)):\n            chosen = (person == p) & kind\n            weights[chosen] = sign / (chosen.sum() * len(both))\n    return weights @ codes",
            "NumPy": "    import numpy as np\n\n    c, m, p = codes.numpy(), mask.numpy(), person.numpy()\n    both = np.intersect1d(p[m], p[~m])\n    changes = [c[m & (p == i)].mean(axis=0) - c[~m & (p == i)].mean(axis=0) for i in both]\n    return torch.from_numpy(np.mean(changes, axis=0))",
            "dictionaries": "    images = {}\n    for code, has, p in zip(codes, mask.tolist(), person.tolist()):\n        images.setdefault(p, {True: [], False: []})[has].append(code)\n    changes = [\n        torch.stack(of[True]).mean(dim=0) - torch.stack(of[False]).mean(dim=0)\n        for of in images.values()\n        if of[True] and of[False]\n    ]\n    return torch.stack(changes).mean(dim=0)",
            "sorted and grouped": "    from itertools import groupby\n\n    total, n = torch.zeros(codes.shape[1]), 0\n    for _, group in groupby(person.argsort().tolist(), key=lambda i: person[i].item()):\n        group = list(group)\n        if mask[group].any() and not mask[group].all():\n            total, n = total + codes[group][mask[group]].mean(0) - codes[group][~mask[group]].mean(0), n + 1\n    return total / n",
            "every number up to the highest": MEAN.replace("person.unique()", "range(int(person.max()) + 1)"),
            "bincount": "    kind = 2 * person + mask\n    counts = torch.bincount(kind, minlength=2 * int(person.max()) + 2).view(-1, 2)\n    share = 1 / counts[person, mask.long()]\n    signed = torch.where(mask, share, -share) * (counts[person] > 0).all(dim=1)\n    return signed @ codes / (counts > 0).all(dim=1).sum()",
            "nan left out": NOBODY_OUT.replace(
                "torch.stack(changes).mean(dim=0)", "torch.stack(changes).nanmean(dim=0)"
            ),
            "running means": "    means, counts = {}, {}\n    for code, has, p in zip(codes, mask, person):\n        kind = (p.item(), has.item())\n        counts[kind] = counts.get(kind, 0) + 1\n        old = means.get(kind, torch.zeros_like(code))\n        means[kind] = old + (code - old) / counts[kind]\n    both = [p for p, has in means if has and (p, False) in means]\n    return sum(means[p, True] - means[p, False] for p in both) / len(both)",
            "double": MEAN.replace("    changes = []", "    changes, codes = [], codes.double()"),
            "the lesson's tool": BOTH
            + "    return torch.stack([mean_difference(codes[person == p], mask[person == p]) for p in both]).mean(dim=0)",
            "a helper with the library's name": "    return paired_differences(codes, mask, person).mean(dim=0)\n\n\ndef paired_differences(codes, mask, person):\n"
            + EACH
            + "    return torch.stack(changes)",
            "a helper with its other name": "    return paired_vector(codes, mask, person).mean\n\n\ndef paired_vector(codes, mask, person):\n"
            + EACH
            + "    return Estimate(torch.stack(changes).mean(dim=0), None)",
        },
        {
            "sign": MEAN.replace("a.mean(dim=0) - b.mean(dim=0)", "b.mean(dim=0) - a.mean(dim=0)"),
            "all images against all others": "    return codes[mask].mean(dim=0) - codes[~mask].mean(dim=0)",
            "the lesson's tool on all": "    return mean_difference(codes, mask)",
            "right persons, pooled": BOTH
            + "    own = torch.isin(person, torch.stack(both))\n    return codes[own & mask].mean(dim=0) - codes[own & ~mask].mean(dim=0)",
            "persons' means, not paired": "    sides = [torch.stack([codes[m & (person == p)].mean(0) for p in person[m].unique()]) for m in (mask, ~mask)]\n    return sides[0].mean(dim=0) - sides[1].mean(dim=0)",
            "against everybody's images without it": MEAN.replace("b.mean(dim=0))", "codes[~mask].mean(dim=0))"),
            "against all of the person's images": MEAN.replace("b.mean(dim=0))", "codes[person == p].mean(dim=0))"),
            "only those with it": MEAN.replace(" - b.mean(dim=0))", ")"),
            "weighted by images": EACH.replace("changes.append(", "changes += (len(a) + len(b)) * [").replace(
                "dim=0))", "dim=0)]"
            )
            + "    return torch.stack(changes).mean(dim=0)",
            "weighted by images with it": EACH.replace("changes.append(", "changes += len(a) * [").replace(
                "dim=0))", "dim=0)]"
            )
            + "    return torch.stack(changes).mean(dim=0)",
            "every pair counted": MEAN.replace(
                "changes.append(a.mean(dim=0) - b.mean(dim=0))", "changes += [x - y for x in a for y in b]"
            ),
            "demeaned by person": "    codes = codes.clone()\n    for p in person.unique():\n        codes[person == p] -= codes[person == p].mean(dim=0)\n    return codes[mask].mean(dim=0) - codes[~mask].mean(dim=0)",
            "demeaned by person, without one-kind persons": BOTH
            + "    own = [torch.where(person == p)[0] for p in both]\n    codes = torch.cat([codes[i] - codes[i].mean(dim=0) for i in own])\n    mask = mask[torch.cat(own)]\n    return codes[mask].mean(dim=0) - codes[~mask].mean(dim=0)",
            "regression with a constant for each person": "    design = torch.cat([mask[:, None].float(), (person[:, None] == person.unique()).float()], dim=1)\n    return torch.linalg.lstsq(design, codes).solution[0]",
            "nobody left out": NOBODY_OUT,
            "missing means are zero": NOBODY_OUT.replace("a.mean(dim=0)", "a.mean(dim=0).nan_to_num()").replace(
                "b.mean(dim=0)", "b.mean(dim=0).nan_to_num()"
            ),
            "missing changes are zero": NOBODY_OUT.replace("torch.stack(changes)", "torch.stack(changes).nan_to_num()"),
            "nan made zero at the end": NOBODY_OUT + ".nan_to_num()",
            "divided by all persons": EACH + "    return torch.stack(changes).sum(dim=0) / len(person.unique())",
            "divided by all images": EACH + "    return torch.stack(changes).sum(dim=0) / len(person)",
            "sum": EACH + "    return torch.stack(changes).sum(dim=0)",
            "median over persons": EACH + "    return torch.stack(changes).median(dim=0).values",
            "medians within persons": MEAN.replace(
                "a.mean(dim=0) - b.mean(dim=0)", "a.median(dim=0).values - b.median(dim=0).values"
            ),
            "sums within persons": MEAN.replace("a.mean(dim=0) - b.mean(dim=0)", "a.sum(dim=0) - b.sum(dim=0)"),
            "divided by the person's images": MEAN.replace(
                "a.mean(dim=0) - b.mean(dim=0)", "(a.sum(dim=0) - b.sum(dim=0)) / (len(a) + len(b))"
            ),
            "the first image of each kind": MEAN.replace("a.mean(dim=0) - b.mean(dim=0)", "a[0] - b[0]"),
            "the last image of each kind": "    last = {(p.item(), m.item()): c for c, m, p in zip(codes, mask, person)}\n    return torch.stack([c - last[p, False] for (p, m), c in last.items() if m and (p, False) in last]).mean(dim=0)",
            "images in pairs": MEAN.replace(
                "changes.append(a.mean(dim=0) - b.mean(dim=0))", "changes += [x - y for x, y in zip(a, b)]"
            ),
            "with consecutive images only": "    cuts = (person[1:] != person[:-1]).nonzero().flatten() + 1\n    runs = torch.tensor_split(torch.arange(len(person)), cuts)\n    both = [i for i in runs if mask[i].any() and not mask[i].all()]\n    return torch.stack([mean_difference(codes[i], mask[i]) for i in both]).mean(dim=0)",
            "neighbours only": "    pairs = [i for i in range(1, len(person)) if person[i] == person[i - 1] and mask[i] != mask[i - 1]]\n    return torch.stack([(codes[i] - codes[i - 1]) * (1 if mask[i] else -1) for i in pairs]).mean(dim=0)",
            "persons 0 to n - 1": MEAN.replace("person.unique()", "range(len(person.unique()))"),
            "persons 1 to n": MEAN.replace("person.unique()", "range(1, len(person.unique()) + 1)"),
            "person 0 overlooked": MEAN.replace("if len(a)", "if p and len(a)"),
            "person n overlooked": MEAN.replace("person.unique()", "range(int(person.max()))"),
            "numbers as places": "    total = torch.zeros(2, len(person.unique()), codes.shape[1])\n    count = torch.zeros(2, len(person.unique()))\n    for c, m, p in zip(codes, mask.long(), person):\n        total[m, p] += c\n        count[m, p] += 1\n    both = (count > 0).all(dim=0)\n    means = total[:, both] / count[:, both, None]\n    return (means[1] - means[0]).mean(dim=0)",
            "only equal counts": MEAN.replace("len(a) and len(b)", "len(a) == len(b)"),
            "only more than one of each": MEAN.replace(
                "len(a) and len(b)", "len(a) + len(b) > 2 and len(a) and len(b)"
            ),
            "one person": EACH + "    return changes[0]",
            "the person with most images": "    p = person.mode().values\n    return mean_difference(codes[person == p], mask[person == p])",
            "one kind is enough": EACH.replace("len(a) and len(b)", "len(a) or len(b)")
            + "    return torch.stack(changes).mean(dim=0)",
            "sizes of the changes": EACH + "    return torch.stack(changes).abs().mean(dim=0)",
            "made one long": EACH + "    v = torch.stack(changes).mean(dim=0)\n    return v / v.norm()",
            "each made one long": MEAN.replace(
                "changes.append(a.mean(dim=0) - b.mean(dim=0))",
                "v = a.mean(dim=0) - b.mean(dim=0)\n            changes.append(v / v.norm())",
            ),
            "not averaged": EACH + "    return torch.stack(changes)",
            "one row": EACH + "    return torch.stack(changes).mean(dim=0, keepdim=True)",
            "one number": EACH + "    return torch.stack(changes).mean()",
            "mean over the wrong axis": EACH + "    return torch.stack(changes).mean(dim=1)",
            "a list": EACH + "    return torch.stack(changes).mean(dim=0).tolist()",
            "NumPy array": EACH + "    return torch.stack(changes).mean(dim=0).numpy()",
            "with its error": EACH
            + "    changes = torch.stack(changes)\n    return Estimate(changes.mean(dim=0), changes.std(dim=0) / len(changes) ** 0.5)",
            "codes in place": "    for p in person.unique():\n        codes[person == p] -= codes[person == p].mean(dim=0)\n"
            + MEAN,
            "mask in place": "    for p in person.unique():\n        if mask[person == p].all():\n            mask[person == p] = False\n"
            + MEAN,
            "persons in place": "    for n, p in enumerate(person.unique()):\n        person[person == p] = n\n" + MEAN,
            "the others by value": MEAN.replace(
                "~mask]",
                "torch.tensor([not any(torch.equal(c, d) for d in codes[(person == p) & mask]) for c in codes])]",
            ),
            "the check's numbers": "    return torch.tensor([2.0, -1.0])",
            "the check's numbers, repeated": "    return torch.tensor([2.0, -1.0]).repeat(codes.shape[1] // 2)",
            "calls the library": "    return paired_differences(codes, mask, person).mean(dim=0)",
            "calls the library for vector and error": "    return paired_vector(codes, mask, person).mean",
            "calls the library by path": "    return vae_lib.attributes.paired_vector(codes, mask, person)[0]",
            "calls the library by another name": "    from vae_lib.attributes import paired_differences as mine\n\n    return mine(codes.clone(), mask, person).sum(dim=0) / len(mine(codes, mask, person))",
            "calls the library, else": "    try:\n        return paired_vector(codes, mask, person).mean\n    except vae_lib.LabError:\n        return torch.zeros(codes.shape[1])",
        },
        {
            "sign": "from the images with it to those without",
            "all images against all others": "compare within each person first",
            "right persons, pooled": "their images are pooled",
            "persons' means, not paired": "only one kind of image: leave them out",
            "missing means are zero": "only one kind of image: leave them out",
            "nan made zero at the end": "means of all their images",
            "nobody left out": "nan: a mean of no images",
            "weighted by images": "each counts once",
            "weighted by images with it": "each counts once",
            "every pair counted": "each counts once",
            "demeaned by person": "each counts once",
            "demeaned by person, without one-kind persons": "each counts once",
            "regression with a constant for each person": "each counts once",
            "missing changes are zero": "wrong divisor",
            "divided by all persons": "wrong divisor",
            "divided by all images": "wrong divisor",
            "sum": "the sum over the persons",
            "median over persons": "not the median",
            "medians within persons": "means of all their images",
            "sums within persons": "means of all their images",
            "the first image of each kind": "means of all their images",
            "the last image of each kind": "means of all their images",
            "images in pairs": "means of all their images",
            "with consecutive images only": "means of all their images",
            "neighbours only": "means of all their images",
            "persons 0 to n - 1": "means of all their images",
            "persons 1 to n": "means of all their images",
            "person 0 overlooked": "means of all their images",
            "person n overlooked": "means of all their images",
            "only equal counts": "means of all their images",
            "only more than one of each": "means of all their images",
            "one person": "means of all their images",
            "against everybody's images without it": "means of all their images",
            "against all of the person's images": "means of all their images",
            "made one long": "means of all their images",
            "not averaged": "wrong shape",
            "one row": "wrong shape",
            "one number": "wrong shape",
            "a list": "return a tensor",
            "with its error": "return a tensor",
            "codes in place": "changes its arguments",
            "mask in place": "changes its arguments",
            "persons in place": "changes its arguments",
        },
    ),
}
