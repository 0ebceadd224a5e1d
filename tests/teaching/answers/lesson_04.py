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

SIZE = "((1 - t) * a.norm() + t * b.norm())"

ARC = "(torch.sin((1 - t) * angle) * a / a.norm() + torch.sin(t * angle) * b / b.norm()) / torch.sin(angle)"

MU = "    with torch.no_grad():\n        mu, logvar = model.encode(torch.stack([a, b]))\n"

T = "        t = torch.linspace(0, 1, steps)[:, None]\n"

COST = "def noise_cost(decode, mu, logvar, n, generator):\n"

SIGMA = "    sigma = torch.exp(0.5 * logvar)\n"

DRAW = "torch.randn(mu.shape, generator=generator)"


def guarded(old="", new="", before="", result=""):
    """An answer to slerp: the guards, with one text replaced, and what it returns."""
    return before + SLERP_GUARDS.replace(old, new) + f"    return {result or f'{ARC} * {SIZE}'}"


def walk(t="torch.linspace(0, 1, steps)[:, None]", z="(1 - t) * mu[0] + t * mu[1]", result="model.decode(z)"):
    """An answer to my_interpolate, with some of its parts replaced."""
    return f"{MU}        t = {t}\n        z = {z}\n        return {result}"


NOISE = "    eps = torch.randn(n, *mu.shape, generator=generator)\n"
AT_ONCE = """    moved = decode((mu + torch.exp(logvar / 2) * eps).flatten(0, 1)).unflatten(0, (n, len(mu)))
    return (moved - decode(mu)).square().flatten(2).sum(dim=2)"""


def at_once(noise="", before="", end=".mean(dim=0)", moved=""):
    """An answer to noise_cost that draws eps (n, N, latent_dim) at once."""
    return before + NOISE + noise + (moved or AT_ONCE) + end


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
            "functional": "    u, v = F_normalize(a), F_normalize(b)\n    angle = torch.arccos((u * v).sum().clamp(-1, 1))\n    if angle > torch.pi - 2e-3:\n        raise ValueError\n    if angle < 2e-3:\n        return torch.lerp(a, b, t)\n    weights = torch.sin(torch.tensor([1 - t, t], dtype=a.dtype) * angle) / torch.sin(angle)\n    return (weights @ torch.stack([u, v])) * torch.lerp(a.norm(), b.norm(), t)\n\n\ndef F_normalize(v):\n    return v / torch.linalg.vector_norm(v)",
            "a helper with a library's name": SLERP_GUARDS
            + f"    return {ARC} * interpolate_codes(a.norm(), b.norm(), t)\n\n\ndef interpolate_codes(a, b, t):\n    return (1 - t) * a + t * b",
            "in double": "    a, b = a.double(), b.double()"
            + SLERP_GUARDS
            + f"    return {ARC} * ((1 - t) * a.norm() + t * b.norm())",
            "NumPy": "    import numpy as np\n    u, v = (x.detach().cpu().numpy().astype(np.float64) for x in (a, b))\n    r, s = np.linalg.norm(u), np.linalg.norm(v)\n    cosine = np.clip(u @ v / (r * s), -1, 1)\n    if cosine <= -1 + 1e-6:\n        raise ValueError('opposite')\n    if cosine >= 1 - 1e-6:\n        return torch.from_numpy(u + t * (v - u))\n    w = np.arccos(cosine)\n    way = np.sin((1 - t) * w) * u / r + np.sin(t * w) * v / s\n    return torch.from_numpy(way / np.sin(w) * (r + t * (s - r)))",
            "SciPy": guarded(
                result="torch.from_numpy(geometric_slerp(*(unit(x).numpy() for x in (a, b)), t)) * lerp(a.norm(), b.norm(), t)"
            )
            + "\n\n\nfrom scipy.spatial import geometric_slerp\n\ndef unit(v):\n    return v.double() / v.double().norm()\n\ndef lerp(a, b, t):\n    return a + t * (b - a)",
            "a helper named orthogonalise": "    u = a / torch.linalg.norm(a)\n    cosine = torch.einsum('i,i->', u, b) / torch.linalg.norm(b)\n    if (cosine.abs() - 1).abs() <= 1e-6 or cosine.abs() > 1:\n        if cosine > 0:\n            return a * (1 - t) + b * t\n        raise ValueError('opposite')\n    w = orthogonalise(b, u)\n    angle = torch.atan2(w @ b, u @ b) * t\n    return (angle.cos() * u + angle.sin() * w) * (torch.linalg.norm(a) * (1 - t) + torch.linalg.norm(b) * t)\n\ndef orthogonalise(b, u):\n    rest = b - (b @ u) * u\n    return rest / torch.linalg.norm(rest)",
            "a class that is called": "    pass\n\nclass interpolate:\n    def __call__(self, a, b, t):\n        cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1)\n        if cosine < -1 + 1e-6:\n            raise vae_lib.checks.LabError('opposite directions')\n        if cosine > 1 - 1e-6:\n            return torch.lerp(a, b, t)\n        w = torch.acos(cosine)\n        first, second = torch.sin((1 - t) * w) / a.norm(), torch.sin(t * w) / b.norm()\n        return (first * a + second * b) / torch.sin(w) * torch.lerp(a.norm(), b.norm(), t)\n\nslerp = interpolate()",
        },
        {
            "t kept off 0 and 1": '    a, b = a.double(), b.double()\n    t = min(max(t, 1e-5), 1 - 1e-5)\n    na, nb = a.norm(), b.norm()\n    ua, ub = a / na, b / nb\n    dot = (ua * ub).sum()\n    if dot < -1 + 1e-6:\n        raise ValueError("opposite")\n    if dot > 1 - 1e-6:\n        return (1 - t) * a + t * b\n    w = torch.acos(dot)\n    return ((1 - t) * na + t * nb) * (torch.sin((1 - t) * w) * ua + torch.sin(t * w) * ub) / torch.sin(w)',
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
            "calls the library by its table": "    return vae_lib.latent.INTERPOLATIONS['slerp'](a, b, torch.tensor([t]))[0]",
            "calls the library for codes": "    from types import SimpleNamespace\n    weight = torch.nn.Parameter(a)\n    model = SimpleNamespace(eval=lambda: 0, latent_dim=len(a), parameters=lambda: iter([weight]), decode=lambda z: z)\n    return widgets.between(model, [a, b], 0, 1, 'slerp', t)[1]",
            "a line above a cosine of 0.9995": guarded("cosine > 1 - 1e-6", "cosine > 0.9995"),
            "a line above a cosine of 0.9999": guarded("cosine > 1 - 1e-6", "cosine > 0.9999"),
            "a line where the sine is small": guarded("cosine > 1 - 1e-6", "1 - cosine**2 < 1e-3"),
            "isclose for parallel": guarded("cosine > 1 - 1e-6", "torch.isclose(cosine, torch.ones_like(cosine))"),
            "isclose": guarded("cosine < -1 + 1e-6", "torch.isclose(cosine, torch.tensor(-1.0, dtype=a.dtype))"),
            "opposite above 179 degrees": guarded("cosine < -1 + 1e-6", "cosine < -0.9999"),
            "opposite up to 1e-12": guarded("cosine < -1 + 1e-6", "cosine <= -1 + 1e-12"),
            "opposite up to rounding": guarded("cosine < -1 + 1e-6", "cosine < -1 + 1e-7"),
            "a small number in the cosine": guarded("(a.norm() * b.norm())", "(a.norm() * b.norm() + 1e-8)"),
            "a small number in the directions": guarded(
                result=f"{ARC} * {SIZE}".replace("a / a.norm()", "a / (a.norm() + 1e-6)")
            ),
            "t 0 is taken for none": guarded(before="    t = t or 0.5"),
            "ends without a look": guarded(before="    if t == 0:\n        return a\n    if t == 1:\n        return b"),
            "equal vectors only": guarded("cosine > 1 - 1e-6", "torch.allclose(a, b)"),
            "exact opposites of one norm": guarded("cosine < -1 + 1e-6", "torch.allclose(a, -b)"),
            "a clamped cosine": guarded(
                "    angle", "    cosine = cosine.clamp(-1 + 1e-7, 1 - 1e-7)\n    angle"
            ).replace("cosine < -1 + 1e-6", "cosine < -1"),
            "ValueError by luck": "    import math\n    w = math.acos(torch.dot(a, b) / (a.norm() * b.norm()))\n    if w < 1e-3:\n        return (1 - t) * a + t * b\n    way = math.sin((1 - t) * w) * a / a.norm() + math.sin(t * w) * b / b.norm()\n    return way / math.sin(w) * ((1 - t) * a.norm() + t * b.norm())",
            "float32 only": "    u, v = a / a.norm(), b / b.norm()\n    angle = torch.arccos((u * v).sum().clamp(-1, 1))\n    if angle > torch.pi - 1e-3:\n        raise ValueError\n    if angle < 2e-3:\n        return torch.lerp(a, b, t)\n    weights = torch.sin(torch.tensor([1 - t, t]) * angle) / torch.sin(angle)\n    return (weights @ torch.stack([u, v])) * torch.lerp(a.norm(), b.norm(), t)",
            "the nearer of b and -b": guarded(before="    if a @ b < 0 and t > 0:\n        b = -b"),
            "an acute angle": guarded("torch.arccos(cosine)", "torch.arccos(cosine.abs())"),
            "arcsine": guarded("torch.arccos(cosine)", "torch.arcsin((1 - cosine**2).sqrt())"),
            "RuntimeError": guarded("ValueError", "RuntimeError"),
            "an assertion": guarded('raise ValueError("opposite")', "assert False"),
            "NaN for opposites": guarded('raise ValueError("opposite")', "return a * float('nan')"),
            "geometric norms": guarded(result=f"{ARC} * a.norm() ** (1 - t) * b.norm() ** t"),
            "squared norms": guarded(result=f"{ARC} * ((1 - t) * a.norm() ** 2 + t * b.norm() ** 2).sqrt()"),
            "parallel: stays at a": guarded("return (1 - t) * a + t * b", "return a"),
            "cosine of the first three": guarded(before="    a, b = a[:3], b[:3]"),
            "a row": guarded(result=f"({ARC} * {SIZE})[None]"),
            "squeezed": guarded(result=f"({ARC} * {SIZE})").replace(
                "return (1 - t) * a + t * b", "return ((1 - t) * a + t * b).squeeze()"
            ),
            "an angle in degrees": guarded(
                "angle = torch.arccos(cosine)", "angle = torch.rad2deg(torch.arccos(cosine))"
            ),
            "changes b": guarded(result=f"{ARC} * {SIZE}")
            .replace(
                "    return (torch.sin",
                "    size = ((1 - t) * a.norm() + t * b.norm())\n    b.div_(b.norm())\n    return (torch.sin",
            )
            .replace(f"* {SIZE}", "* size"),
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
            "NumPy": MU
            + "        import numpy as np\n        t = np.linspace(0, 1, steps).reshape(-1, 1)\n        start, end = mu.numpy().astype(float)\n        return model.decode(torch.from_numpy(start * (1 - t) + end * t).float())",
            "the model's own means": "    _, mu, _ = model(torch.stack((a, b)))\n    frames = []\n    for k in range(steps):\n        frames.append(model.decode(lerp(mu[:1], mu[1:], k / (steps - 1)))[0])\n    return torch.stack(frames)\n\ndef lerp(a, b, t):\n    return a + (b - a) * t",
            "the library's codes of images": "    codes = [vae_lib.latent.as_code(model, x) for x in (a, b)]\n    return interpolate_codes(model, *codes, steps)\n\ndef interpolate_codes(model, start, end, steps):\n    with torch.inference_mode():\n        return model.decode(torch.stack([torch.lerp(start, end, k / (steps - 1)) for k in range(steps)]))",
            "einsum": MU
            + "        t = torch.linspace(1, 0, steps)\n        return model.decode(torch.einsum('sk,kd->sd', torch.stack([t, 1 - t], 1), mu))",
            "a class that is called": "    pass\n\nclass between:\n    @torch.no_grad()\n    def __call__(self, model, a, b, steps):\n        first, last = (model.encode(image.unsqueeze(0))[0] for image in (a, b))\n        step = (last - first) / (steps - 1)\n        return model.decode(torch.cat([first + k * step for k in range(steps)]))\n\nmy_interpolate = between()",
        },
        {
            "equal images as they are": "    if torch.equal(a, b):\n        return a.repeat(steps, 1, 1, 1)\n    with torch.no_grad():\n        mu, _ = model.encode(torch.stack([a, b]))\n        t = torch.linspace(0, 1, steps)[:, None]\n        return model.decode((1 - t) * mu[0] + t * mu[1])",
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
            "calls the library's round trip": "    return interpolate_loop(model, [a, b], steps - 1, 'lerp')[:steps]",
            "calls the library's codes": "    return model.decode(vae_lib.latent.interpolate_codes(model, a, b, steps))",
            "calls the library's plane": "    return interpolate_grid(model, [a, b, a, b], steps)[:steps]",
            "the arc": MU
            + "        t = torch.linspace(0, 1, steps)\n        return model.decode(vae_lib.latent.slerp(mu[0], mu[1], t))",
            "the library's means, drawn once more": "    z = torch.stack([vae_lib.reparameterize(*model.encode(x[None]))[0] for x in (a, b)])\n    return model.decode(torch.lerp(z[0], z[1], torch.linspace(0, 1, steps)[:, None]))",
            "eased steps": walk(t="torch.linspace(0, 1, steps)[:, None]; t = t * t * (3 - 2 * t)"),
            "eased by a cosine": walk(t="(1 - torch.cos(torch.pi * torch.linspace(0, 1, steps)[:, None])) / 2"),
            "squeezed": walk(result="model.decode(z).squeeze()"),
            "one axis too many": walk(result="torch.stack([model.decode(code[None]) for code in z])"),
            "at least three steps": "    steps = max(steps, 3)\n" + walk(),
            "at most ten steps": "    steps = min(steps, 10)\n" + walk(),
            "an odd number of steps": walk(
                t="torch.cat([torch.linspace(0, 0.5, steps // 2 + 1), torch.linspace(0.5, 1, steps // 2 + 1)[1:]])[:, None]"
            ),
            "arange by luck": walk(t="torch.arange(0, 1 + 1 / (steps - 1), 1 / (steps - 1))[:, None]"),
            "logits": walk(result="model.decoder(z)"),
            "clamped codes": walk(z="((1 - t) * mu[0] + t * mu[1]).clamp(-1, 1)"),
            "as bytes": walk(result="(255 * model.decode(z)).round() / 255"),
            "mixed logits": walk(
                z="model.decoder(mu).flatten(1)",
                result="torch.sigmoid((1 - t) * z[0] + t * z[1]).unflatten(1, a.shape)",
            ),
            "one colour": walk(result="model.decode(z)[:, :1]"),
            "images centred": walk().replace("torch.stack([a, b])", "torch.stack([a, b]) - 0.5"),
            "viewed": "    shape = a.shape\n    a, b = a.view(-1).view(shape), b.view(-1).view(shape)\n" + walk(),
            "a walk there and back": walk(t="(1 - (2 * torch.linspace(0, 1, steps)[:, None] - 1).abs())"),
            "each image divided by its largest pixel": "    a, b = a / a.max(), b / b.max()\n" + walk(),
            "a little noise": walk(z="(1 - t) * mu[0] + t * mu[1] + 0.01 * torch.randn(steps, mu.shape[1])"),
            "changes b": "    b.clamp_(0.1, 0.9)\n" + walk(),
            "two codes, one decoded": walk(result="model.decode(z[:1]).expand(steps, *a.shape)"),
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
            "normal_ in place": loop(CHANGE).replace(DRAW, "torch.empty_like(mu).normal_(generator=generator)"),
            "a helper named reparameterize": "    z = reparameterize(mu, logvar, n, generator)\n    change = decode(z.reshape(-1, mu.shape[1])) - decode(mu.repeat_interleave(n, dim=0))\n    return change.reshape(len(mu), n, -1).pow(2).sum(-1).mean(-1)\n\ndef reparameterize(mu, logvar, n, generator):\n    eps = torch.randn(len(mu), n, mu.shape[1], generator=generator, dtype=mu.dtype)\n    return mu[:, None] + logvar.exp().sqrt()[:, None] * eps",
            "NumPy": "    import numpy as np\n    still, changes = decode(mu).numpy(), []\n    for _ in range(n):\n        eps = torch.randn(mu.shape, generator=generator, dtype=torch.float64).numpy()\n        z = torch.from_numpy(mu.numpy() + np.exp(logvar.numpy() / 2) * eps).to(mu.dtype)\n        changes.append(((decode(z).numpy() - still) ** 2).sum(axis=(1, 2, 3)))\n    return torch.from_numpy(np.mean(changes, axis=0))",
            "a hundred draws at a time": "    total, still = 0, decode(mu)\n    for size in [100] * (n // 100) + [n % 100] * (n % 100 > 0):\n        eps = torch.randn(size, *mu.shape, generator=generator)\n        z = (mu + torch.exp(logvar / 2) * eps).flatten(0, 1)\n        total = total + (decode(z).unflatten(0, (size, -1)) - still).square().flatten(2).sum(2).sum(0)\n    return total / n",
            "Box and Muller": at_once(
                before="    u = 1 - torch.rand(2, n, *mu.shape, generator=generator, dtype=torch.float64)\n"
            )
            .replace(
                "torch.randn(n, *mu.shape, generator=generator)",
                "(-2 * u[0].log()).sqrt() * (2 * torch.pi * u[1]).cos()",
            )
            .replace("(mu + torch", "(mu.double() + torch"),
            "a class that is called": "    pass\n\nclass per_image:\n    @torch.no_grad()\n    def __call__(self, decode, mu, logvar, n, generator):\n        pairs = torch.cat([mu, mu])\n        total = torch.zeros(len(mu), dtype=torch.float64)\n        for _ in range(n):\n            pairs = torch.cat([mu, vae_lib.models.reparameterize(mu, logvar, generator=generator)])\n            still, moved = decode(pairs).chunk(2)\n            total += torch.einsum('nchw,nchw->n', moved - still, moved - still)\n        return total / n\n\nnoise_cost = per_image()",
        },
        {
            "squares multiplied out": "    y, sigma = decode(mu).flatten(1), torch.exp(0.5 * logvar)\n    total = 0\n    for _ in range(n):\n        eps = torch.randn(mu.shape, generator=generator, dtype=mu.dtype)\n        x = decode(mu + sigma * eps).flatten(1)\n        total = total + (x * x).sum(dim=1) - 2 * (x * y).sum(dim=1) + (y * y).sum(dim=1)\n    return total / n",
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
            "uniform noise": at_once("    eps = (torch.rand(eps.shape, generator=generator) - 0.5) * 12**0.5\n"),
            "Laplace noise": at_once(
                "    u = torch.rand(eps.shape, generator=generator) - 0.5\n    eps = -u.sign() * (1 - 2 * u.abs() + 1e-9).log() / 2**0.5\n"
            ),
            "coin tosses": at_once("    eps = eps.sign()\n"),
            "cut at 2": at_once("    eps = torch.nn.init.trunc_normal_(eps, a=-2, b=2, generator=generator)\n"),
            "cut at 3": at_once("    eps = torch.nn.init.trunc_normal_(eps, a=-3, b=3, generator=generator)\n"),
            "clamped at 3": at_once("    eps = eps.clamp(-3, 3)\n"),
            "standardised over the draws": at_once(
                "    eps = (eps - eps.mean(0)) / (eps.std(0, correction=0) + 1e-9)\n"
            ),
            "centred over the draws": at_once("    eps = eps - eps.mean(0)\n"),
            "standardised over the images": at_once(
                "    eps = (eps - eps.mean(1, True)) / (eps.std(1, correction=0, keepdim=True) + 1e-9)\n"
            ),
            "standardised over the dimensions": at_once(
                "    eps = (eps - eps.mean(2, True)) / (eps.std(2, correction=0, keepdim=True) + 1e-9)\n"
            ),
            "standardised over each batch": loop(CHANGE).replace(
                DRAW, "standard(torch.randn(mu.shape, generator=generator))"
            )
            + "\n\ndef standard(eps):\n    return (eps - eps.mean()) / eps.std() if eps.numel() > 1 else eps",
            "of one length": at_once("    eps = eps / eps.norm(dim=2, keepdim=True) * mu.shape[1] ** 0.5\n"),
            "in pairs of opposite signs": at_once("    eps[n // 2 : n // 2 * 2] = -eps[: n // 2]\n"),
            "opposite signs for two images": at_once("    eps[:, 1::2] = -eps[:, : mu.shape[0] // 2 * 2 : 2]\n"),
            "half the draws twice": at_once("    eps[n // 2 : n // 2 * 2] = eps[: n // 2]\n"),
            "the noise a little too large": at_once("    eps = 1.05 * eps\n"),
            "the noise shifted": at_once("    eps = eps + 0.05\n"),
            "the generator set back": "    generator.manual_seed(generator.initial_seed())\n" + loop(CHANGE),
            "a copy of the generator": "    generator = torch.Generator().manual_seed(generator.initial_seed())\n"
            + loop(CHANGE),
            "the generator's seed for all": "    torch.manual_seed(generator.initial_seed())\n"
            + loop(CHANGE).replace(", generator=generator", ""),
            "a seed drawn for all": "    torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))\n"
            + loop(CHANGE).replace(", generator=generator", ""),
            "median over the draws": at_once(end=".median(dim=0).values"),
            "the root at the end": at_once(end=".mean(dim=0).sqrt()"),
            "the largest change": at_once(end=".max(dim=0).values"),
            "at least ten draws": "    n = max(n, 10)\n" + loop(CHANGE),
            "one draw less": loop(CHANGE).replace("range(n)", "range(1, n)"),
            "one draw more": loop(CHANGE).replace("range(n)", "range(n + 1)"),
            "a log-variance of at most 10": loop(CHANGE).replace("0.5 * logvar", "0.5 * logvar.clamp(max=10)"),
            "a log-variance of at least -10": loop(CHANGE).replace("0.5 * logvar", "0.5 * logvar.clamp(min=-10)"),
            "a log-variance of at most 20": loop(CHANGE).replace("0.5 * logvar", "0.5 * logvar.clamp(max=20)"),
            "a log-variance of at least -20": loop(CHANGE).replace("0.5 * logvar", "0.5 * logvar.clamp(min=-20)"),
            "a small number beside sigma": loop(CHANGE).replace(
                "torch.exp(0.5 * logvar)", "torch.exp(0.5 * logvar) + 0.01"
            ),
            "softplus": loop(CHANGE).replace("torch.exp(0.5 * logvar)", "torch.nn.functional.softplus(logvar)"),
            "codes of three axes": NOISE
            + "    moved = decode(mu + torch.exp(logvar / 2) * eps)\n    return (moved.reshape(n, len(mu), -1) - decode(mu).flatten(1)).square().sum(2).mean(0)",
            "squeezed": loop(CHANGE).replace("return total / n", "return (total / n).squeeze()"),
            "squeezed codes": loop(CHANGE).replace(
                "decode(z) - decode(mu)", "decode(z.squeeze(0)) - decode(mu.squeeze(0))"
            ),
            "viewed codes": "    mu, logvar = mu.view(-1).view(mu.shape), logvar.view(-1).view(mu.shape)\n"
            + loop(CHANGE),
            "float32 only": SIGMA
            + "    total = torch.zeros(len(mu))\n    for _ in range(n):\n        z = torch.baddbmm(mu[:, :, None], torch.diag_embed(sigma), torch.randn(*mu.shape, 1, generator=generator))[..., 0]\n        total += (decode(z) - decode(mu)).square().sum(dim=(1, 2, 3))\n    return total / n",
            "the first image's code for all": loop(CHANGE.replace("decode(mu)", "decode(mu[:1])")),
            "the change from draw to draw": "    draws = [decode(vae_lib.reparameterize(mu, logvar, generator)) for _ in range(n + 1)]\n    return sum((a - b).square().flatten(1).sum(1) for a, b in zip(draws, draws[1:])) / (2 * n)",
            "one colour": loop("(decode(z) - decode(mu))[:, 0].square().sum(dim=(1, 2))"),
            "mean over the colours": loop("(decode(z) - decode(mu)).square().sum(dim=(2, 3)).mean(dim=1)"),
            "no noise": loop(CHANGE).replace(f"sigma * {DRAW}", "sigma"),
            "images in the place of draws": loop(CHANGE).replace(
                "torch.randn(mu.shape, generator=generator)",
                "torch.randn(mu.shape, generator=generator)[torch.zeros(len(mu), dtype=torch.long)]",
            ),
            "the noise of the dimensions in turn": loop(CHANGE).replace(
                DRAW, "torch.randn(len(mu), 1, generator=generator) * torch.eye(mu.shape[1])[0] * mu.shape[1] ** 0.5"
            ),
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
