# ruff: noqa: E501
"""Answers to the exercises of notebook 03_fc_vs_conv."""

ENCODER = "def conv_encoder(image_shape, channels, latent_dim):\n"

HEAD = """    class Head(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.linear, self.flatten = linear, nn.Flatten()

        def forward(self, x):
            return self.linear(self.flatten(x))

"""


def encoder(before="", conv="", after="nn.ReLU()", size="n_in * h * w", out="2 * latent_dim", end="", result=""):
    """An answer to conv_encoder, with some of its parts replaced."""
    return (
        f"    n_in, h, w = image_shape\n{before}    layers = []\n    for n_out in channels:\n"
        f"        layers += [{conv or 'nn.Conv2d(n_in, n_out, 4, 2, 1)'}, {after}]\n"
        "        n_in, h, w = n_out, h // 2, w // 2\n"
        f"    layers += [nn.Flatten(), nn.Linear({size}, {out}){end}]\n"
        f"    return {result or 'nn.Sequential(*layers)'}"
    )


ELBO = "def my_elbo(x_hat, x, mu, logvar, beta=1.0):\n"


def elbo(error="(x_hat - x).square().sum(dim=(1, 2, 3)).mean()", kl="", result="error + beta * kl, error, kl"):
    """An answer to my_elbo, with some of its parts replaced."""
    kl = kl or "vae_lib.kl_divergence(mu, logvar).mean()"
    return f"    error = {error}\n    kl = {kl}\n    return {result}"


FREE = "def free_bits(kl, floor):\n"

ANSWERS = {
    "conv_encoder": (
        ENCODER,
        {
            "a list of layers": encoder(),
            "ask the convolutions": "    sizes = (image_shape[0], *channels)\n    parts = []\n    for a, b in zip(sizes, sizes[1:]):\n        parts.append(nn.Conv2d(a, b, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1)))\n        parts.append(nn.ReLU(inplace=True))\n    parts.append(nn.Flatten())\n    n = nn.Sequential(*parts)(torch.zeros(1, *image_shape)).numel()\n    return nn.Sequential(*parts, nn.Linear(n, latent_dim * 2))",
            "nested blocks": "    def block(a, b):\n        return nn.Sequential(nn.Conv2d(a, b, 4, padding=1, stride=2), nn.ReLU())\n    sizes = [image_shape[0], *channels]\n    blocks = [block(sizes[k], sizes[k + 1]) for k in range(len(channels))]\n    step = 2 ** len(channels)\n    n = channels[-1] * (image_shape[1] // step) * (image_shape[2] // step)\n    return nn.Sequential(nn.Sequential(*blocks), nn.Sequential(nn.Flatten(), nn.Linear(n, 2 * latent_dim)))",
            "add_module": "    model, (c, h, w) = nn.Sequential(), image_shape\n    for k, n in enumerate(channels):\n        model.add_module(f'conv{k}', nn.Conv2d(c, n, 4, 2, 1))\n        model.add_module(f'relu{k}', nn.ReLU())\n        c = n\n    model.add_module('flatten', nn.Flatten())\n    model.add_module('linear', nn.Linear(c * (h >> len(channels)) * (w >> len(channels)), 2 * latent_dim))\n    return model",
            "one ReLU object": encoder(before="    relu = nn.ReLU()\n", after="relu"),
            "a helper of the library's name": "    return ConvVAE(tuple(image_shape), tuple(channels), latent_dim)\n\ndef ConvVAE(image_shape, channels, latent_dim):\n    n_in, h, w = image_shape\n    if not channels:\n        return nn.Sequential(nn.Flatten(), nn.Linear(n_in * h * w, 2 * latent_dim))\n    first = nn.Sequential(nn.Conv2d(n_in, channels[0], 4, 2, 1), nn.ReLU())\n    return nn.Sequential(first, *ConvVAE((channels[0], h // 2, w // 2), channels[1:], latent_dim))",
            "functional ReLU in blocks": "    class Block(nn.Conv2d):\n        def forward(self, x):\n            return F.relu(super().forward(x))\n    n_in, h, w = image_shape\n    blocks = [Block(a, b, 4, 2, 1) for a, b in zip((n_in, *channels), channels)]\n    size = channels[-1] * (h >> len(channels)) * (w >> len(channels))\n    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(size, 2 * latent_dim))",
            "a head of its own": HEAD + encoder(result="nn.Sequential(*layers[:-2], Head(layers[-1]))"),
            "lazy layers, filled by a first image": "    layers = [part for n in channels for part in (nn.LazyConv2d(n, 4, 2, 1), nn.ReLU())]\n    model = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2 * latent_dim))\n    with torch.no_grad():\n        model(torch.rand(1, *image_shape))\n    return model",
            "named layers, in evaluation mode": "    from collections import OrderedDict\n    from itertools import pairwise\n    named = OrderedDict()\n    for k, pair in enumerate(pairwise((image_shape[0], *channels))):\n        named[f'conv{k}'], named[f'relu{k}'] = nn.Conv2d(*pair, 4, 2, 1), nn.ReLU()\n    named['flat'] = nn.Flatten()\n    pixels = image_shape[1] * image_shape[2] // 4 ** len(channels)\n    named['linear'] = nn.Linear(channels[-1] * pixels, 2 * latent_dim)\n    return nn.Sequential(named).eval()",
            "other first weights": encoder(result="nn.Sequential(*layers).apply(fresh)")
            + "\n\ndef fresh(layer):\n    if isinstance(layer, (nn.Conv2d, nn.Linear)):\n        nn.init.kaiming_normal_(layer.weight)\n        nn.init.zeros_(layer.bias)",
            "padding as a layer": encoder(conv="nn.ZeroPad2d(1), nn.Conv2d(n_in, n_out, 4, 2)"),
            "a lambda": encoder() + "\n\nfc_layers = conv_encoder\nconv_encoder = lambda *sizes: fc_layers(*sizes)",
        },
        {
            "the width before looked up by its number": "    colours, height, width = image_shape\n    layers = []\n    for c in channels:\n        i = channels.index(c)\n        c_in = colours if i == 0 else channels[i - 1]\n        layers += [nn.Conv2d(c_in, c, kernel_size=4, stride=2, padding=1), nn.ReLU()]\n    step = 2 ** len(channels)\n    layers += [nn.Flatten(), nn.Linear(channels[-1] * (height // step) * (width // step), 2 * latent_dim)]\n    return nn.Sequential(*layers)",
            "square images": encoder(size="n_in * h * h"),
            "4 x 4 features": encoder(size="n_in * 4 * 4"),
            "no division": encoder(size="n_in * image_shape[1] * image_shape[2]"),
            "latent_dim outputs": encoder(out="latent_dim"),
            "ReLU at the end": encoder(end=", nn.ReLU()"),
            "no ReLU": encoder(after="nn.Identity()"),
            "sigmoid for ReLU": encoder(after="nn.Sigmoid()"),
            "kernel 3": encoder(conv="nn.Conv2d(n_in, n_out, 3, 2, 1)"),
            "kernel 2, no padding": encoder(conv="nn.Conv2d(n_in, n_out, 2, 2)"),
            "three colours": encoder(before="    n_in = 3\n"),
            "no bias": encoder(conv="nn.Conv2d(n_in, n_out, 4, 2, 1, bias=False)"),
            "BatchNorm": encoder(after="nn.BatchNorm2d(n_out), nn.ReLU()"),
            "stride 1 and pooling": encoder(conv="nn.Conv2d(n_in, n_out, 3, 1, 1), nn.MaxPool2d(2)"),
            "another linear layer": encoder(end=", nn.Linear(2 * latent_dim, 2 * latent_dim)"),
            "channels reversed": encoder(before="    channels = channels[::-1]\n"),
            "a lazy layer": "    n_in, layers = image_shape[0], []\n    for n_out in channels:\n        layers += [nn.Conv2d(n_in, n_out, 4, 2, 1), nn.ReLU()]\n        n_in = n_out\n    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2 * latent_dim))",
            "ReLU6": encoder(after="nn.ReLU6()"),
            "LeakyReLU": encoder(after="nn.LeakyReLU()"),
            "SiLU": encoder(after="nn.SiLU()"),
            "ReLU before the convolution": encoder(conv="nn.ReLU(), nn.Conv2d(n_in, n_out, 4, 2, 1)", after=""),
            "no ReLU after the last convolution": encoder(after="*[nn.ReLU()] * (n_out is not channels[-1])"),
            "kernel 4, stride 1, and pooling": encoder(
                conv="nn.Conv2d(n_in, n_out, 4, 1, 'same')", after="nn.ReLU(), nn.MaxPool2d(2)"
            ),
            "reflected borders": encoder(conv="nn.Conv2d(n_in, n_out, 4, 2, 1, padding_mode='reflect')"),
            "tanh at the end": encoder(end=", nn.Tanh()"),
            "dropout at the end": encoder(end=", nn.Dropout(0.1)"),
            "its own seed": encoder(before="    torch.manual_seed(0)\n"),
            "not a Sequential": encoder(result="nn.ModuleList(layers)"),
            "one model for all calls": "    global kept\n    key = (tuple(image_shape), tuple(channels), latent_dim)\n    kept = globals().get('kept', {})\n    if key not in kept:\n        n = channels[-1] * (image_shape[1] >> len(channels)) * (image_shape[2] >> len(channels))\n        sizes = (image_shape[0], *channels)\n        layers = [layer for a, b in zip(sizes, sizes[1:]) for layer in (nn.Conv2d(a, b, 4, 2, 1), nn.ReLU())]\n        kept[key] = nn.Sequential(*layers, nn.Flatten(), nn.Linear(n, 2 * latent_dim))\n    return kept[key]",
            "calls the library by a class of its own": "    class Mine(vae_lib.models.ConvVAE):\n        pass\n    return Mine(image_shape, channels, latent_dim).encoder",
            "one convolution for two equal sizes": "    convs, layers = {}, []\n    for pair in zip((image_shape[0], *channels), channels):\n        convs.setdefault(pair, nn.Conv2d(*pair, 4, 2, 1))\n        layers += [convs[pair], nn.ReLU()]\n    size = channels[-1] * image_shape[1] * image_shape[2] // 4 ** len(channels)\n    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(size, 2 * latent_dim))",
            "the linear layer kept between calls": encoder(result="kept_linear(layers)")
            + "\n\nkept = {}\ndef kept_linear(layers):\n    shape = (layers[-1].in_features, layers[-1].out_features)\n    return nn.Sequential(*layers[:-1], kept.setdefault(shape, layers[-1]))",
            "the linear layer starts at zero": encoder(
                result="nn.init.zeros_(layers[-1].weight) is None or nn.Sequential(*layers)"
            ),
            "frozen weights": encoder(result="nn.Sequential(*layers).requires_grad_(False)"),
            "no gradient for the convolutions": encoder(result="nn.Sequential(*layers[:-2], Cut(), *layers[-2:])")
            + "\n\nclass Cut(nn.Module):\n    def forward(self, x):\n        return x.detach()",
            "squeezed": encoder(result="nn.Sequential(*layers[:-2], Squeeze(), *layers[-2:], Squeeze())")
            + "\n\nclass Squeeze(nn.Module):\n    def forward(self, x):\n        return x.squeeze() if x.ndim == 2 else x",
            "view instead of a flattening": encoder(result="nn.Sequential(*layers[:-2], View(), layers[-1])")
            + "\n\nclass View(nn.Module):\n    def forward(self, x):\n        return x.view(x.shape[0], -1)",
            "a cache": encoder() + "\n\nfrom functools import lru_cache\nconv_encoder = lru_cache(conv_encoder)",
            "at most three convolutions": encoder(before="    channels = channels[:3]\n"),
            "a clamped output": encoder(end=", nn.Hardtanh(-30, 20)"),
            "InstanceNorm without weights": encoder(after="nn.InstanceNorm2d(n_out), nn.ReLU()"),
            "GroupNorm without weights": encoder(after="nn.GroupNorm(1, n_out, affine=False), nn.ReLU()"),
            "dropout of channels": encoder(after="nn.ReLU(), nn.Dropout2d(0.05)"),
            "CELU": encoder(after="nn.CELU(0.01)"),
            "GELU": encoder(after="nn.GELU()"),
            "ELU": encoder(after="nn.ELU()"),
            "the batch flattened, too": encoder(
                result="nn.Sequential(*layers[:-2], nn.Flatten(0), nn.Unflatten(0, (-1, layers[-1].in_features)), layers[-1], Row())"
            )
            + "\n\nclass Row(nn.Module):\n    def forward(self, x):\n        return x[0] if len(x) == 1 else x",
            "images centred": encoder(result="nn.Sequential(Centre(), *layers)")
            + "\n\nclass Centre(nn.Module):\n    def forward(self, x):\n        return x - 0.5",
            "pixels clamped": encoder(result="nn.Sequential(nn.Hardtanh(-100, 100), *layers)"),
            "ReLU in place on the images": encoder(
                before="    layers = [nn.ReLU(inplace=True)]\n", result="nn.Sequential(nn.ReLU(inplace=True), *layers)"
            ),
            "at most 256 channels": encoder(before="    channels = [min(n, 256) for n in channels]\n"),
            "at most 256 latent dimensions": encoder(out="2 * min(latent_dim, 256)"),
            "at most three colours": encoder(before="    n_in = min(n_in, 3)\n"),
            "copies of equal layers": encoder(
                before="    from copy import deepcopy\n    kept = {}\n",
                conv="deepcopy(kept.setdefault((n_in, n_out), nn.Conv2d(n_in, n_out, 4, 2, 1)))",
            ),
            "one drawn number in the linear layer": encoder(
                result="nn.init.constant_(layers[-1].weight, torch.rand(()).item()) is None or nn.Sequential(*layers)"
            ),
            "the first 64 images": encoder(result="nn.Sequential(Own(), *layers)")
            + "\n\nclass Own(nn.Module):\n    def forward(self, x):\n        return x[:64]",
            "outputs of at most 10,000": encoder(result="nn.Sequential(*layers, Own())")
            + "\n\nclass Own(nn.Module):\n    def forward(self, x):\n        return x.clamp(-1e4, 1e4)",
            "bright images scaled": encoder(result="nn.Sequential(Own(), *layers)")
            + "\n\nclass Own(nn.Module):\n    def forward(self, x):\n        return x / 255 if x.max() > 50 else x",
            "ReLU of at most 1,000": encoder(after="nn.Hardtanh(0, 1000)"),
            "calls the library": "    return vae_lib.ConvVAE(image_shape, channels, latent_dim).encoder",
        },
        {
            "square images": "does not fit images of these two sides",
            "4 x 4 features": "does not fit images of these two sides",
            "latent_dim outputs": "two numbers a dimension",
            "three colours": "the colours of these images",
            "kernel 3": "the kernels are not 4 x 4",
            "BatchNorm": "a layer too many",
            "no bias": "a bias too few",
            "ReLU at the end": "no output is negative",
            "no ReLU": "is a linear map",
            "a lazy layer": "a lazy layer has no weights",
            "ReLU6": "with equal weights, other outputs",
            "LeakyReLU": "with equal weights, other outputs",
            "SiLU": "with equal weights, other outputs",
            "ReLU before the convolution": "with equal weights, other outputs",
            "no ReLU after the last convolution": "with equal weights, other outputs",
            "reflected borders": "with equal weights, other outputs",
            "kernel 4, stride 1, and pooling": "the stride of a convolution is not 2",
            "tanh at the end": "something follows the linear layer",
            "dropout at the end": "something follows the linear layer",
            "its own seed": "leave the random seed alone",
            "one model for all calls": "returns the same weights",
        },
    ),
    "my_elbo": (
        ELBO,
        {
            "mse_loss": "    error = F.mse_loss(x_hat, x, reduction='sum') / len(x)\n    kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum() / len(x)\n    return error + beta * kl, error, kl",
            "flatten": "    error = ((x - x_hat) ** 2).flatten(1).sum(1).mean()\n    kl = vae_lib.kl_divergence(mu, logvar).mean()\n    return (beta * kl + error, error, kl)",
            "a mean, then times the pixels": "    from vae_lib.losses import kl_divergence\n    error = F.mse_loss(x_hat, x) * x[0].numel()\n    kl = kl_divergence(mu, logvar).sum() / mu.shape[0]\n    return error + beta * kl, error, kl",
            "a helper named elbo_loss": "    return elbo_loss(x_hat, x, mu, logvar, beta)\n\ndef elbo_loss(x_hat, x, mu, logvar, beta):\n    error = (x_hat - x).pow(2).flatten(1).sum(dim=1).mean()\n    kl = vae_lib.kl_divergence(mu, logvar).mean()\n    return error + beta * kl, error, kl",
            "helpers named squared_error and kl_divergence": "    error, kl = squared_error(x_hat, x).mean(), kl_divergence(mu, logvar).mean()\n    return error + beta * kl, error, kl\n\ndef squared_error(a, b):\n    return ((a - b) ** 2).sum(dim=(1, 2, 3))\n\ndef kl_divergence(mu, logvar):\n    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(dim=1)",
            "kl_per_dimension": elbo(kl="kl_per_dimension(mu, logvar).sum()"),
            "the deviation squared": elbo(
                kl="(0.5 * (mu**2 + (logvar / 2).exp() ** 2 - logvar - 1)).sum(dim=1).mean()"
            ),
            "expm1": elbo(kl="0.5 * (mu.square() + torch.expm1(logvar) - logvar).sum(dim=-1).mean()"),
            "in double": "    x_hat, x, mu, logvar = x_hat.double(), x.double(), mu.double(), logvar.double()\n"
            + elbo(),
            "one tensor of three": elbo(result="torch.stack([error + beta * kl, error, kl])"),
            "distributions": "    from torch.distributions import Normal, kl_divergence\n    kl = kl_divergence(Normal(mu, logvar.exp().sqrt()), Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum(dim=1).mean(dim=0)\n    error = torch.einsum('nchw,nchw->n', x_hat - x, x_hat - x).mean()\n    return error + beta * kl, error, kl",
            "image by image": "    errors = torch.stack([(a - b).square().sum() for a, b in zip(x_hat, x)])\n    kls = torch.stack([0.5 * torch.sum(m * m + torch.exp(s) - s - 1) for m, s in zip(mu, logvar)])\n    return errors.mean() + beta * kls.mean(), errors.mean(), kls.mean()",
            "a class that is called": "    pass\n\nclass ElboLoss:\n    def __call__(self, x_hat, x, mu, logvar, beta=1.0):\n        error = torch.linalg.vector_norm((x_hat - x).flatten(1), dim=1).square().mean()\n        kl = (0.5 * (mu**2 + torch.exp(logvar) - logvar - 1)).sum(1).mean()\n        return [error + beta * kl, error, kl]\n\nmy_elbo = ElboLoss()",
            "no KL in the loss at beta 0": elbo(result="(error if beta == 0 else error + beta * kl), error, kl"),
            "the library's tuple": elbo(
                kl="vae_lib.losses.kl_divergence(mu, logvar).sum() / len(mu)",
                result="vae_lib.losses.ElboLoss(error + beta * kl, error, kl)",
            ),
            "a helper named reconstruction_error": "    error = reconstruction_error(x_hat, x)\n    kl = kl_per_dimension(mu, logvar).sum()\n    return error + beta * kl, error, kl\n\ndef reconstruction_error(x_hat, x):\n    return torch.einsum('nchw,nchw->', x_hat - x, x_hat - x) / x.shape[0]\n\ndef kl_per_dimension(mu, logvar):\n    return (-0.5 * (1 + logvar - mu.pow(2) - logvar.exp())).mean(dim=0)",
        },
        {
            "the square of a root": "    distance = torch.sqrt(((x_hat - x) ** 2).sum(dim=(1, 2, 3)))\n    reconstruction = (distance**2).mean()\n    kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(dim=1).mean()\n    return reconstruction + beta * kl, reconstruction, kl",
            "mean over pixels": elbo(error="F.mse_loss(x_hat, x)"),
            "sum over the batch": elbo(
                error="(x_hat - x).square().sum()", kl="vae_lib.kl_divergence(mu, logvar).sum()"
            ),
            "the KL summed over the batch": elbo(kl="vae_lib.kl_divergence(mu, logvar).sum()"),
            "absolute error": elbo(error="(x_hat - x).abs().sum(dim=(1, 2, 3)).mean()"),
            "root of the error": elbo(error="(x_hat - x).square().sum(dim=(1, 2, 3)).sqrt().mean()"),
            "sign of the KL": elbo(kl="-vae_lib.kl_divergence(mu, logvar).mean()"),
            "missing 0.5": elbo(kl="(mu**2 + logvar.exp() - logvar - 1).sum(dim=1).mean()"),
            "mean over latent dimensions": elbo(kl="vae_lib.kl_divergence(mu, logvar).mean() / mu.shape[1]"),
            "std taken for logvar": elbo(kl="vae_lib.kl_divergence(mu, 2 * (logvar.abs() + 1e-9).log()).mean()"),
            "no gradient through mu": elbo(kl="vae_lib.kl_divergence(mu.detach(), logvar).mean()"),
            "beta inside kl": elbo(
                kl="beta * vae_lib.kl_divergence(mu, logvar).mean()", result="error + kl, error, kl"
            ),
            "beta forgotten": elbo(result="error + kl, error, kl"),
            "beta on the error": elbo(result="beta * error + kl, error, kl"),
            "parts swapped": elbo(result="error + beta * kl, kl, error"),
            "minus the KL": elbo(result="error - beta * kl, error, kl"),
            "one value an image": elbo(
                error="(x_hat - x).square().sum(dim=(1, 2, 3))", kl="vae_lib.kl_divergence(mu, logvar)"
            ),
            "in place": elbo(error="x_hat.detach().sub_(x).square().sum(dim=(1, 2, 3)).mean()"),
            "in place, x_hat": "    x_hat -= x\n" + elbo(error="x_hat.square().sum(dim=(1, 2, 3)).mean()"),
            "detached parts": elbo(result="error + beta * kl, error.detach(), kl.detach()"),
            "numbers": elbo(result="(error + beta * kl).item(), error.item(), kl.item()"),
            "no_grad": "    with torch.no_grad():\n" + elbo().replace("    ", "        "),
            "a clamped log-variance": elbo(kl="vae_lib.kl_divergence(mu, logvar.clamp(-4, 4)).mean()"),
            "beta is 2 by default": elbo(result="error + (2 if beta == 1 else beta) * kl, error, kl"),
            "calls the library by its table": elbo(error="vae_lib.losses.LIKELIHOODS['mse'](x_hat, x).mean()"),
            "beta 0 is taken for none": "    beta = beta or 1.0\n" + elbo(),
            "beta at least 0.1": "    beta = max(beta, 0.1)\n" + elbo(),
            "the square multiplied out": elbo(error="(x_hat**2 - 2 * x_hat * x + x**2).sum(dim=(1, 2, 3)).mean()"),
            "pixels clamped": elbo(error="(x_hat.clamp(0, 1) - x).square().sum(dim=(1, 2, 3)).mean()"),
            "a small number in the logarithm": elbo(
                kl="(0.5 * (mu**2 + logvar.exp() - (logvar.exp() + 1e-8).log() - 1)).sum(dim=1).mean()"
            ),
            "a log-variance of at most 10": elbo(kl="vae_lib.kl_divergence(mu, logvar.clamp(max=10)).mean()"),
            "a log-variance of at least -10": elbo(kl="vae_lib.kl_divergence(mu, logvar.clamp(min=-10)).mean()"),
            "a log-variance from -20 to 20": elbo(kl="vae_lib.kl_divergence(mu, logvar.clamp(-20, 20)).mean()"),
            "view": elbo(error="(x_hat.view(len(x), -1) - x.view(len(x), -1)).square().sum(dim=1).mean()"),
            "squeezed codes": elbo(kl="(0.5 * (mu**2 + logvar.exp() - logvar - 1)).squeeze().sum(dim=-1).mean()"),
            "squeezed images": elbo(error="(x_hat - x).squeeze().square().flatten(1).sum(dim=1).mean()"),
            "no gradient of the KL in the loss": elbo(result="error + beta * kl.detach(), error, kl"),
            "no gradient of the KL alone": elbo(result="error + beta * kl, error, kl.detach() + 0 * kl"),
            "no gradient through logvar": elbo(kl="vae_lib.kl_divergence(mu, logvar.detach()).mean()"),
            "beta at most 1": "    beta = min(beta, 1.0)\n" + elbo(),
            "the first hundred images": "    x_hat, x, mu, logvar = (part[:100] for part in (x_hat, x, mu, logvar))\n"
            + elbo(),
            "a whole beta": elbo(result="error + round(beta) * kl, error, kl"),
            "median over images": elbo(error="(x_hat - x).square().sum(dim=(1, 2, 3)).median()"),
            "divided by N - 1": elbo(error="(x_hat - x).square().sum() / max(len(x) - 1, 1)"),
            "mean over colours": elbo(error="(x_hat - x).square().sum(dim=(2, 3)).mean()"),
            "three colours": elbo(error="F.mse_loss(x_hat, x) * 3 * x.shape[2] * x.shape[3]"),
            "square images": elbo(error="F.mse_loss(x_hat, x) * x.shape[1] * x.shape[2] ** 2"),
            "cross-entropy": elbo(error="F.binary_cross_entropy(x_hat, x, reduction='sum') / len(x)"),
            "a sum of two types": elbo(
                error="torch.mv((x_hat - x).square().flatten(1), torch.ones(x[0].numel())).mean()"
            ),
            "KL of the codes' spread": elbo(kl="(0.5 * (mu**2 + logvar.exp() - logvar - 1)).mean(dim=1).mean() * 20"),
            "KL without the means": elbo(kl="(0.5 * (logvar.exp() - logvar - 1)).sum(dim=1).mean()"),
            "calls the library": elbo(result="elbo_loss(x_hat, x, mu, logvar, beta=beta)"),
            "a log-variance from -60 to 30": elbo(kl="vae_lib.kl_divergence(mu, logvar.clamp(-60, 30)).mean()"),
            "a log-variance of at most 50": elbo(kl="vae_lib.kl_divergence(mu, logvar.clamp(max=50)).mean()"),
            "a tiny number in the logarithm": elbo(
                kl="(0.5 * (mu**2 + logvar.exp() - (logvar.exp() + 1e-20).log() - 1)).sum(dim=1).mean()"
            ),
            "a small beta is none": "    beta = beta if beta > 1e-4 else 0\n" + elbo(),
            "an error of at least a millionth": elbo(error="(x_hat - x).square().sum(dim=(1, 2, 3)).mean() + 1e-6"),
            "small differences left out": elbo(
                error="F.threshold((x_hat - x).abs(), 1e-3, 0.0).square().sum(dim=(1, 2, 3)).mean()"
            ),
            "the first thousand images": "    x_hat, x, mu, logvar = (part[:1000] for part in (x_hat, x, mu, logvar))\n"
            + elbo(),
            "the first 256 dimensions": elbo(kl="vae_lib.kl_divergence(mu[:, :256], logvar[:, :256]).mean()"),
            "at most four colours": elbo(error="(x_hat - x)[:, :4].square().sum(dim=(1, 2, 3)).mean()"),
            "straight beyond 100": elbo(error="2 * F.huber_loss(x_hat, x, reduction='sum', delta=100.0) / len(x)"),
            "means of at most 1,000": elbo(kl="vae_lib.kl_divergence(mu.clamp(-1000, 1000), logvar).mean()"),
            "beta left out for one image": elbo(result="error + (beta if len(x) > 1 else 1) * kl, error, kl"),
            "a KL of at least 0.001": elbo(kl="vae_lib.kl_divergence(mu, logvar).mean().clamp(min=1e-3)"),
            "calls its squared error": elbo(error="vae_lib.losses.squared_error(x_hat, x).mean()"),
        },
        {
            "mean over pixels": "averaged over its pixels",
            "sum over the batch": "the reconstruction grows with the number of images",
            "the KL summed over the batch": "the KL grows with the number of images",
            "mean over latent dimensions": "averaged over the latent dimensions",
            "beta inside kl": "without beta",
            "beta forgotten": "leaves beta out",
            "parts swapped": "another order",
            "minus the KL": "is not reconstruction + beta x kl",
            "one value an image": "each one number",
            "numbers": "return three tensors",
            "in place, x_hat": "changes its arguments",
            "detached parts": "no gradient gets through",
            "no_grad": "no gradient gets through",
            "a clamped log-variance": "not for random ones",
            "beta is 2 by default": "it is not 1",
        },
    ),
    "free_bits": (
        FREE,
        {
            "clamp": "    return torch.clamp(kl.mean(dim=0), min=floor).sum()",
            "relu": "    means = kl.mean(0)\n    return (floor + F.relu(means - floor)).sum()",
            "where": "    means = kl.sum(0) / len(kl)\n    return torch.where(means > floor, means, torch.full_like(means, floor)).sum()",
            "a loop": "    total = torch.zeros(())\n    for column in kl.T:\n        mean = column.mean()\n        total = total + (mean if mean > floor else floor)\n    return total",
            "in double": "    return kl.double().mean(dim=0).clamp(min=floor).sum()",
            "a mask": "    means = kl.mean(dim=0)\n    return means[means > floor].sum() + floor * (means <= floor).sum()",
            "a helper named kl_per_dimension": "    return kl_per_dimension(kl).clamp(min=floor).sum()\n\ndef kl_per_dimension(kl):\n    return kl.mean(dim=0)",
            "maximum": "    return sum(torch.maximum(column.mean(), torch.tensor(float(floor))) for column in kl.unbind(1))",
            "threshold": "    return F.threshold(torch.mean(kl, 0), floor, floor).sum()",
            "stacked": "    means = kl.mean(dim=0)\n    return torch.stack([means, torch.full_like(means, floor)]).max(dim=0).values.sum()",
            "a mask from NumPy": "    above = torch.from_numpy(np.mean(kl.detach().numpy(), axis=0) > floor)\n    return kl.mean(dim=0)[above].sum() + floor * float((~above).sum())",
            "a class that is called": "    pass\n\nclass in_use:\n    def __call__(self, kl, floor):\n        n, d = kl.shape\n        excess = kl.sum(dim=0) / n - floor\n        return d * floor + excess[excess > 0].sum()\n\nfree_bits = in_use()",
            "masked": "    means = kl.sum(dim=0).div(kl.shape[0])\n    return means.masked_fill(means < floor, floor).sum()",
            "Python's max, made a tensor": "    return torch.as_tensor(sum(max(mean, floor) for mean in kl.mean(dim=0)))",
        },
        {
            "a floor that is an int is refused": "    mean = kl.mean(dim=0).float()\n    counted = torch.full(mean.shape, floor)\n    counted[mean > floor] = mean[mean > floor]\n    return counted.sum()",
            "a floor an image": "    return kl.clamp(min=floor).mean(dim=0).sum()",
            "a floor for the total": "    return kl.sum(dim=1).mean().clamp(min=floor)",
            "a floor for each image's total": "    return kl.sum(dim=1).clamp(min=floor).mean()",
            "no floor": "    return kl.mean(dim=0).sum()",
            "the floor taken off": "    return F.relu(kl.mean(dim=0) - floor).sum()",
            "the floor added": "    return (kl.mean(dim=0) + floor).sum()",
            "a ceiling": "    return kl.mean(dim=0).clamp(max=floor).sum()",
            "mean over dimensions": "    return kl.mean(dim=0).clamp(min=floor).mean()",
            "sum over the batch": "    return kl.sum(dim=0).clamp(min=floor).sum()",
            "one value a dimension": "    return kl.mean(dim=0).clamp(min=floor)",
            "wrong axis": "    return kl.mean(dim=1).clamp(min=floor).sum()",
            "detached": "    return kl.detach().mean(dim=0).clamp(min=floor).sum()",
            "a slope below the floor": "    means = kl.mean(dim=0)\n    return (means + (means.clamp(min=floor) - means).detach()).sum()",
            "in place": "    kl.data.clamp_(min=0.01)\n    return kl.mean(dim=0).clamp(min=floor).sum()",
            "a number": "    return float(kl.mean(dim=0).clamp(min=floor).sum())",
            "floor 0 is taken for none": "    return kl.mean(dim=0).clamp(min=floor or 0.5).sum()",
            "Python's max": "    return sum(max(mean, floor) for mean in kl.mean(dim=0))",
            "squeezed": "    means = kl.squeeze().mean(dim=0)\n    return means.clamp(min=floor).sum()",
            "view": "    return kl.view(-1).view(kl.shape).mean(dim=0).clamp(min=floor).sum()",
            "no slope for images below the floor": "    kl = torch.where(kl > floor, kl, kl.detach())\n    return kl.mean(dim=0).clamp(min=floor).sum()",
            "divided by N - 1": "    return (kl.sum(dim=0) / max(len(kl) - 1, 1)).clamp(min=floor).sum()",
            "median over images": "    return kl.median(dim=0).values.clamp(min=floor).sum()",
            "a soft maximum": "    means = kl.mean(dim=0)\n    return (floor + F.softplus(means - floor, beta=50)).sum()",
            "the first hundred images": "    return kl[:100].mean(dim=0).clamp(min=floor).sum()",
            "nothing at the floor": "    means = kl.mean(dim=0)\n    return means[means > floor].sum() + floor * (means < floor).sum()",
            "dimensions below the floor left out": "    means = kl.mean(dim=0)\n    return means[means > floor].sum()",
            "the floor of the total": "    return kl.sum(dim=1).mean().clamp(min=floor * kl.shape[1])",
            "float32 only": "    means = kl.mean(dim=0)\n    result = torch.full(means.shape, float(floor))\n    result[means > floor] = means[means > floor]\n    return result.sum()",
            "dimensions that are off left out": "    means = kl.mean(dim=0)\n    return means[means > 0].clamp(min=floor).sum()",
            "at most 100 nats": "    return kl.mean(dim=0).clamp(floor, max(floor, 100.0)).sum()",
            "no slope where one is below": "    means = kl.mean(dim=0)\n    result = means.clamp(min=floor).sum()\n    return result.detach() if (means < floor).any() else result",
            "the slope of a sum": "    means = kl.mean(dim=0)\n    value = means.clamp(min=floor).sum()\n    return value.detach() + len(kl) * (value - value.detach())",
            "the floor shared by the dimensions": "    return kl.mean(dim=0).clamp(min=floor / kl.shape[1]).sum()",
            "a floor in bits": "    return kl.mean(dim=0).clamp(min=floor * math.log(2)).sum()",
            "images without KL left out": "    means = torch.stack([c[c != 0].mean() if c.any() else c.mean() for c in kl.T])\n    return means.clamp(min=floor).sum()",
            "the check's number of images": "    return (kl.sum(dim=0) / 2).clamp(min=floor).sum()",
            "the check's dimensions": "    return sum(kl[:, j].mean().clamp(min=floor) for j in range(3))",
            "the first 128 dimensions": "    return kl[:, :128].mean(dim=0).clamp(min=floor).sum()",
            "the first thousand images": "    return kl[:1000].mean(dim=0).clamp(min=floor).sum()",
            "a floor of at least a millionth": "    return kl.mean(dim=0).clamp(min=max(floor, 1e-6)).sum()",
            "at most 100,000 nats": "    return kl.clamp(max=1e5).mean(dim=0).clamp(min=floor).sum()",
            "four decimals": "    means = kl.mean(dim=0)\n    means = means + (means.round(decimals=4) - means).detach()\n    return means.clamp(min=floor).sum()",
            "equal means once": "    return kl.mean(dim=0).unique().clamp(min=floor).sum()",
            "extremes left out": "    kl = kl.sort(dim=0).values[1:-1] if len(kl) > 300 else kl\n    return kl.mean(dim=0).clamp(min=floor).sum()",
            "the check's floor": "    return kl.mean(dim=0).clamp(min=0.5 if floor else 0.0).sum()",
        },
        {
            "a floor an image": "each image gets a floor",
            "a floor for the total": "one large KL pays for all",
            "no floor": "the floor has no effect",
            "the floor taken off": "the floor is taken off",
            "a ceiling": "from above",
            "mean over dimensions": "averaged, not added",
            "sum over the batch": "grows with the number of images",
            "one value a dimension": "not one number",
            "detached": "no gradient gets through",
            "a number": "return a tensor",
            "in place": "changes its arguments",
            "the check's number of images": "floor 0.5 only",
            "the check's dimensions": "floor 0.5 only",
            "the check's floor": "floor 0.5 only",
            "a slope below the floor": "still pushed down",
        },
    ),
}
