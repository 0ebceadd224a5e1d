"""Layers that PyTorch computes slowly on a CPU, or refuses, computed in another way; they stay torch's own.

Each function takes a layer and its input and returns what the layer would, up to rounding.
"""

from functools import partial

import torch.nn.functional as F
from torch import nn


def faster(model):
    """Replace the `forward` of such layers of a model, in place: -> the model. Classes, parameters and names stay."""
    for layer in model.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.forward = partial(normalise, layer)
        elif type(layer) is nn.ConvTranspose2d and is_doubling(layer):
            layer.forward = partial(to_image if layer.out_channels <= 3 else add_bias_last, layer)
    return model


def is_doubling(layer):
    """True for the transposed convolutions of ConvVAE, which double height and width."""
    return (layer.kernel_size, layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation) == (
        (4, 4), (2, 2), (1, 1), (0, 0), 1, (1, 1)
    )  # fmt: skip


def add_bias_last(layer, x):
    """A transposed convolution whose bias is added afterwards: oneDNN's own gradient of the bias takes a tenth of a
    training step."""
    y = F.conv_transpose2d(x, layer.weight, None, layer.stride, layer.padding)
    return y + layer.bias.to(y.dtype)[:, None, None]


def to_image(layer, x):
    """A transposed convolution to few channels, where oneDNN is slow: each 2x2 block of output pixels sees 3x3 inputs,
    so it is a convolution to 4 times the channels, reshuffled into pixels.

    Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?".
    """
    n_in, n_out = layer.weight.shape[:2]
    taps = F.pad(layer.weight, (1, 1, 1, 1)).view(n_in, n_out, 3, 2, 3, 2).flip(2, 4)
    kernel = taps.permute(1, 3, 5, 0, 2, 4).reshape(4 * n_out, n_in, 3, 3)
    return F.pixel_shuffle(F.conv2d(x, kernel, layer.bias.repeat_interleave(4), padding=1), 2)


def normalise(layer, x):
    """Batch normalisation that also takes a single value per channel, such as one image at the end of an epoch: it has
    no variance, so it is normalised as in evaluation."""
    if layer.training and x.numel() == x.shape[1]:
        return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps)
    return type(layer).forward(layer, x)
