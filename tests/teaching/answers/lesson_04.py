# ruff: noqa: E501
"""Answers to the exercises of notebook 04_interpolation."""

SLERP = "def slerp(a, b, t):\n"

WALK = "def my_interpolate(model, a, b, steps):\n"

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

COST = "def noise_cost(decode, mu, logvar, n, generator):\n"

SIGMA = "    sigma = torch.exp(0.5 * logvar)\n"

DRAW = "torch.randn(mu.shape, generator=generator)"


def loop(change, start="    total = torch.zeros(len(mu))\n", end="    return total / n"):
    """A body that adds up what one draw changes, a line of code that uses z = a draw of the posterior."""
    z = f"        z = mu + sigma * {DRAW}\n"
    return f"{SIGMA}{start}    for _ in range(n):\n{z}        total = total + {change}\n{end}"


CHANGE = "(decode(z) - decode(mu)).square().sum(dim=(1, 2, 3))"

ANSWERS = {
    "slerp": (
        SLERP,
        {
            "in the plane of a and b": "    u = a / a.norm()\n    w = b - (b @ u) * u\n    if w.norm() < 1e-3 * b.norm():\n        if a @ b < 0:\n            raise ValueError('opposite')\n        return a + t * (b - a)\n    angle = torch.atan2(w.norm(), b @ u)\n    w = w / w.norm()\n    return torch.lerp(a.norm(), b.norm(), t) * (torch.cos(t * angle) * u + torch.sin(t * angle) * w)",
            "math": "    import math\n    cosine = float(a @ b / a.norm() / b.norm())\n    if cosine <= -1 + 1e-6:\n        raise ValueError('no shortest arc')\n    if cosine >= 1 - 1e-6:\n        return a * (1 - t) + b * t\n    w = math.acos(cosine)\n    size = float((1 - t) * a.norm() + t * b.norm())\n    return size / math.sin(w) * (math.sin((1 - t) * w) * a / a.norm() + math.sin(t * w) * b / b.norm())",
            "half angles": "    u, v = a / a.norm(), b / b.norm()\n    apart, opposite = (u - v).norm(), (u + v).norm()\n    if opposite < 1e-3:\n        raise ValueError('opposite')\n    if apart < 1e-3:\n        return a + t * (b - a)\n    angle = 2 * torch.atan2(apart, opposite)\n    way = torch.sin((1 - t) * angle) * u + torch.sin(t * angle) * v\n    return way / way.norm() * torch.lerp(a.norm(), b.norm(), t)",
            "functional": "    u, v = F_normalize(a), F_normalize(b)\n    angle = torch.arccos((u * v).sum().clamp(-1, 1))\n    if torch.isclose(angle, torch.tensor(torch.pi), atol=2e-3):\n        raise ValueError\n    if angle < 2e-3:\n        return torch.lerp(a, b, t)\n    weights = torch.sin(torch.tensor([1 - t, t]) * angle) / torch.sin(angle)\n    return (weights @ torch.stack([u, v])) * torch.lerp(a.norm(), b.norm(), t)\n\n\ndef F_normalize(v):\n    return v / torch.linalg.vector_norm(v)",
            "a helper with a library's name": SLERP_GUARDS
            + f"    return {ARC} * interpolate_codes(a.norm(), b.norm(), t)\n\n\ndef interpolate_codes(a, b, t):\n    return (1 - t) * a + t * b",
            "in double": "    a, b = a.double(), b.double()"
            + SLERP_GUARDS
            + f"    return {ARC} * ((1 - t) * a.norm() + t * b.norm())",
        },
        {
            "nearly opposite refused": SLERP_GUARDS.replace("cosine < -1 + 1e-6", "cosine < -1 + 1e-3")
            + f"    return {ARC} * ((1 - t) * a.norm() + t * b.norm())",
            "a list": SLERP_GUARDS + f"    return ({ARC} * ((1 - t) * a.norm() + t * b.norm())).tolist()",
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
        {
            "the straight line": "on the straight line, not on the arc",
            "line, then normalised": "does not turn at constant speed",
            "length lost": "the norm is 1 all the way",
            "length of the first": "the norm stays that of a",
            "directions not normalised": "weight the vectors themselves",
            "backwards": "runs from b to a",
            "opposite is not refused": "no ValueError is raised",
            "parallel forgotten": "a division by sin(0)",
            "only exact opposites refused": "rounding errors",
            "nearly opposite refused": "179 degrees are not opposite",
            "a list": "return a tensor",
            "in place": "changes its arguments",
        },
    ),
    "my_interpolate": (
        WALK,
        {
            "torch.lerp": MU
            + "        weights = torch.linspace(0, 1, steps).view(-1, 1)\n        return model.decode(torch.lerp(mu[0], mu[1], weights))",
            "a loop": "    with torch.no_grad():\n        start, end = model.encode(a[None])[0], model.encode(b[None])[0]\n        codes = [start + k / (steps - 1) * (end - start) for k in range(steps)]\n        return torch.cat([model.decode(z) for z in codes])",
            "library's codes": "    from vae_lib.latent import lerp\n    with torch.no_grad():\n        start, end = model.encode(torch.stack([a, b]))[0]\n        return model.decode(lerp(start, end, torch.linspace(0, 1, steps)))",
            "matrix product": MU
            + "        t = torch.arange(steps) / (steps - 1)\n        return model.decode(torch.stack([1 - t, t], dim=1) @ mu)",
            "a helper with a library's name": MU
            + "        return model.decode(interpolate(mu[0], mu[1], steps))\n\n\ndef interpolate(start, end, steps):\n    return start + torch.linspace(0, 1, steps)[:, None] * (end - start)",
            "in double": MU + T + "        return model.decode((1 - t) * mu[0] + t * mu[1]).double()",
        },
        {
            "without the centre": MU.replace(
                "model.encode(torch.stack([a, b]))", "model.encoder(torch.stack([a, b])).chunk(2, 1)"
            )
            + T
            + "        return model.decode((1 - t) * mu[0] + t * mu[1])",
            "in place": MU + T + "        a -= a\n        return model.decode((1 - t) * mu[0] + t * mu[1])",
            "a list": MU + T + "        return list(model.decode((1 - t) * mu[0] + t * mu[1]))",
            "calls the widget": "    images = torch.stack([a, b])\n    places = torch.linspace(0, 1, steps)\n    return torch.stack([widgets.between(model, images, 0, 1, 'lerp', t)[1] for t in places])",
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
        {
            "in pixels": "mixtures of the pixels of a and b",
            "draws instead of means": "between the means, not between draws",
            "backwards": "runs from b to a",
            "the end is missing": "the last image is not the reconstruction of b",
            "ends are the photographs": "the photograph itself",
            "between reconstructions": "mixtures of the pixels of the two reconstructions",
            "only the inner steps": "the first image is not the reconstruction of a",
            "without the centre": "the first image is not the reconstruction of a",
            "in place": "changes its arguments",
            "a list": "return a tensor",
        },
    ),
    "noise_cost": (
        COST,
        {
            "a loop": loop(CHANGE),
            "all draws at once": SIGMA
            + "    eps = torch.randn(n, *mu.shape, generator=generator)\n    moved = decode((mu + sigma * eps).flatten(0, 1)).reshape(n, len(mu), -1)\n    still = decode(mu).reshape(len(mu), -1)\n    return ((moved - still) ** 2).sum(dim=2).mean(dim=0)",
            "reparameterize, repeated": "    many = [part.repeat_interleave(n, dim=0) for part in (mu, logvar)]\n    z = vae_lib.reparameterize(*many, generator)\n    change = decode(z) - decode(many[0])\n    return change.flatten(1).square().sum(1).view(len(mu), n).mean(1)",
            "torch.normal, image by image": "    return torch.stack([one(decode, m, lv, n, generator) for m, lv in zip(mu, logvar)])\n\n\ndef one(decode, m, lv, n, generator):\n    z = torch.normal(m.expand(n, -1), torch.exp(lv / 2).expand(n, -1), generator=generator)\n    return torch.dist(decode(z), decode(m[None]).expand(n, -1, -1, -1)) ** 2 / n",
            "the library's error": loop("vae_lib.losses.squared_error(decode(z), decode(mu))"),
            "a helper with a library's name": loop("squared_error(decode(z), decode(mu))")
            + "\n\n\ndef squared_error(x_hat, x):\n    return (x_hat - x).square().flatten(1).sum(dim=1)",
            "in double": loop(CHANGE).replace("return total / n", "return total.double() / n"),
        },
        {
            "divided by n - 1": loop(CHANGE, end="    return total / max(n - 1, 1)"),
            "always 4,000 draws": "    n = 4000\n" + loop(CHANGE),
            "logvar clamped": loop(CHANGE).replace("0.5 * logvar", "0.5 * logvar.clamp(-2, 1)"),
            "a list": loop(CHANGE, end="    return (total / n).tolist()"),
            "the variance taken for sigma": loop(CHANGE).replace("0.5 * logvar", "logvar"),
            "the logarithm taken for sigma": loop(CHANGE).replace("torch.exp(0.5 * logvar)", "logvar"),
            "mean over the pixels": loop(CHANGE.replace("sum", "mean")),
            "summed over the draws": loop(CHANGE, end="    return total"),
            "one number": loop(CHANGE, end="    return total.mean() / n"),
            "averaged, then squared": loop(
                "decode(z) - decode(mu)",
                "    total = 0\n",
                "    return (total / n).square().sum(dim=(1, 2, 3))",
            ),
            "not squared": loop(CHANGE.replace("square().sum(dim=(1, 2, 3))", "flatten(1).norm(dim=1)")),
            "from the draws' mean": "    moved = torch.stack([decode(vae_lib.reparameterize(mu, logvar, generator)) for _ in range(n)])\n    return moved.var(dim=0, correction=0).flatten(1).sum(dim=1)",
            "from the draws' mean, unbiased": "    moved = torch.stack([decode(vae_lib.reparameterize(mu, logvar, generator)) for _ in range(n)])\n    return moved.var(dim=0).flatten(1).sum(dim=1)",
            "from D(0)": loop(CHANGE.replace("decode(mu)", "decode(0 * mu)")),
            "noise not decoded": loop("(z - mu).square().sum(dim=1)"),
            "the noise alone decoded": loop(
                CHANGE.replace("decode(z) - decode(mu)", "decode(z - mu) - decode(0 * mu)")
            ),
            "one draw": SIGMA + f"    z = mu + sigma * {DRAW}\n    return {CHANGE}",
            "generator forgotten": loop(CHANGE).replace(", generator=generator", ""),
            "a seed of its own": "    generator = torch.Generator().manual_seed(0)\n" + loop(CHANGE),
            "the same noise for all images": loop(CHANGE).replace("mu.shape", "mu.shape[1]"),
            "one draw for all dimensions": loop(CHANGE).replace("torch.randn(mu.shape,", "torch.randn(len(mu), 1,"),
            "the same draw n times": SIGMA
            + f"    z = mu + sigma * {DRAW}\n    total = sum({CHANGE} for _ in range(n))\n    return total / n",
            "changes mu": loop(CHANGE.replace("decode(mu)", "still"), "    total, still = 0, decode(mu)\n").replace(
                "z = mu + sigma", "z = mu.add_(0.01) + sigma"
            ),
        },
        {
            "the variance taken for sigma": "exp(logvar) is the variance",
            "mean over the pixels": "a mean over the pixels",
            "summed over the draws": "added up, not averaged",
            "one number": "one number for each image",
            "averaged, then squared": "averaged, then squared",
            "from the draws' mean": "not from the draws' mean",
            "from D(0)": "measured from D(0)",
            "noise not decoded": "has not been decoded",
            "one draw": "n is not used",
            "generator forgotten": "draw with the generator",
            "a seed of its own": "different seeds give the same",
            "the same noise for all images": "draws of its own",
            "one draw for all dimensions": "all dimensions share one draw",
            "divided by n - 1": "with two draws, too large or too small",
            "always 4,000 draws": "n is not used",
            "logvar clamped": "more than 10 % from the true value",
            "a list": "return a tensor",
            "changes mu": "changes its arguments",
        },
    ),
}
