"""Layers that PyTorch computes slowly on a CPU, or refuses, in another form: the same arguments and parameters, the
same results up to rounding. Whoever prints a model reads torch's own layers, since the forms are exchanged only while
it computes.
"""

from functools import partial

import torch.nn.functional as F
from torch import nn


class AddBiasLast(nn.ConvTranspose2d):
    """A transposed convolution whose bias is added afterwards: oneDNN's own gradient of the bias takes a tenth of a
    training step."""

    def forward(self, input, output_size=None):
        if output_size is not None:
            return super().forward(input, output_size)
        y = F.conv_transpose2d(input, self.weight, None, self.stride, self.padding)
        return y + self.bias.to(y.dtype)[:, None, None]


class ToImage(nn.ConvTranspose2d):
    """A transposed convolution to few channels, where oneDNN is slow: each 2x2 block of output pixels sees 3x3 inputs,
    so it is a convolution to 4 times the channels, reshuffled into pixels.

    Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?".
    """

    def forward(self, input, output_size=None):
        if output_size is not None:
            return super().forward(input, output_size)
        n_in, n_out = self.weight.shape[:2]
        taps = F.pad(self.weight, (1, 1, 1, 1)).view(n_in, n_out, 3, 2, 3, 2).flip(2, 4)
        kernel = taps.permute(1, 3, 5, 0, 2, 4).reshape(4 * n_out, n_in, 3, 3)
        return F.pixel_shuffle(F.conv2d(input, kernel, self.bias.repeat_interleave(4), padding=1), 2)


class NormaliseAny(nn.BatchNorm2d):
    """Batch normalisation that also takes a single value per channel, such as one image at the end of an epoch: it has
    no variance, so it is normalised as in evaluation."""

    def forward(self, input):
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


def faster(model):
    """Let the parts of a model (encoder, decoder) exchange such layers on the way into `forward`, and back on the way
    out, also after an error: -> the model."""
    for part in model.children():
        if any(getattr(hook, "func", None) is exchange for hook in part._forward_pre_hooks.values()):
            continue
        if layers := [layer for layer in part.modules() if faster_form(layer) is not None]:
            part.register_forward_pre_hook(partial(exchange, layers))
            part.register_forward_hook(partial(give_back, layers), always_call=True)
    return model


def exchange(layers, *_):
    """Give the layers their faster forms."""
    for layer in layers:
        if (form := faster_form(layer)) is not None:
            layer.__class__ = form


def give_back(layers, *_):
    """Give torch's own classes back."""
    for layer in layers:
        if type(layer) in (AddBiasLast, ToImage, NormaliseAny):
            layer.__class__ = type(layer).__base__


def faster_form(layer):
    """The class above that computes what this layer of torch's computes; None if there is none."""
    if type(layer) is nn.BatchNorm2d:
        return NormaliseAny
    if type(layer) is not nn.ConvTranspose2d or layer.bias is None:
        return None
    geometry = (layer.kernel_size, layer.stride, layer.padding, layer.output_padding, layer.dilation, layer.groups)
    doubles = geometry == ((4, 4), (2, 2), (1, 1), (0, 0), (1, 1), 1)  # height and width, as those of ConvVAE
    return (ToImage if layer.out_channels <= 3 else AddBiasLast) if doubles else None
