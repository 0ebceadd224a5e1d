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

ANSWERS = {
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
}
