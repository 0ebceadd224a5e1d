# ruff: noqa: E501
"""Answers to the exercises of notebook 03_fc_vs_conv."""

ELBO = "def my_elbo(x_hat, x, mu, logvar, beta=1.0):\n"


def sides(down, up):
    """Both functions of the exercise on convolutions."""
    return (
        f"def conv_side(n, kernel, stride, padding):\n    {down}\n\n"
        f"def transposed_conv_side(n, kernel, stride, padding):\n    {up}\n"
    )


RIGHT_DOWN, RIGHT_UP = (
    "return (n + 2 * padding - kernel) // stride + 1",
    "return (n - 1) * stride - 2 * padding + kernel",
)

ANSWERS = {
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
}
