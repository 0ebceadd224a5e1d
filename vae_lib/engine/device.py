"""Where a model computes, and in which precision."""

import ctypes
import sys
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import nn

from vae_lib import settings
from vae_lib.data.dataset import image_datasets
from vae_lib.engine.layers import faster, give_back


def has_fast_bfloat16():
    """True if DEVICE multiplies bfloat16 faster than float32 (AVX512-BF16, AMX, recent GPUs)."""
    if settings.DEVICE.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()  # every CPU with AMX has it too


def hardware():
    """One line on the machine, e.g. 'cpu, 2 threads, bfloat16'."""
    on_gpu = settings.DEVICE.type == "cuda"
    kind = torch.cuda.get_device_name() if on_gpu else f"cpu, {torch.get_num_threads()} threads"
    return f"{kind}, {'bfloat16' if has_fast_bfloat16() else 'float32'}"


def keep_freed_memory():
    """Let glibc reuse large freed blocks: by default it returns them to the kernel, and every training step faults
    their pages in again (up to a tenth of the time of a small convolutional model). No effect elsewhere."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 2**28)  # M_TRIM_THRESHOLD


def unwrapped(model):
    """The model that torch.compile, DataParallel or DistributedDataParallel has wrapped, which holds the weights."""
    of_several = isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
    inner = model.module if of_several else getattr(model, "_orig_mod", None)
    return model if inner is None else unwrapped(inner)


def prepared(model, train, val):
    """What `fit` is given, as it needs it: the model without wrappers, the images as `image_datasets`. LabError for
    anything else."""
    return unwrapped(model), *image_datasets(train=train, val=val)


def pixels_together(model):
    """Let convolutions compute with the channels of each pixel side by side, as is fastest: -> the model. Their images
    are laid out so on the way in; their weights need not be, and safetensors would not take them."""
    for layer in model.modules():
        laid_out = lay_out in layer._forward_pre_hooks.values()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and not laid_out:
            layer.register_forward_pre_hook(lay_out)
    return model


def lay_out(layer, given):
    """What a layer is given, with the channels of each pixel side by side; a single image stays as it is."""
    if not given or given[0].ndim != 4:
        return given
    try:
        return given[0].to(memory_format=torch.channels_last), *given[1:]
    except RuntimeError:  # inside torch.func.vmap there is no such layout; any other error comes again in the layer
        return given


@contextmanager
def model_on_device(model, precision="float32"):
    """Inside, the model computes where it is fastest: on the GPU, if there is one, its matrix products in bfloat16 if
    precision says so ("auto": where that is faster). Afterwards it is back on its own device, in float32, its weights
    contiguous; `pixels_together` and `faster` stay.
    """
    own_device = next(model.parameters()).device
    keep_freed_memory()
    bfloat16 = has_fast_bfloat16() if precision == "auto" else precision == "bfloat16"
    try:
        pixels_together(faster(model)).to(settings.DEVICE, memory_format=torch.channels_last)
        with in_bfloat16(model) if bfloat16 else nullcontext():
            yield model
    finally:
        give_back(model.modules())  # Ctrl-C in a `forward` is no error to torch
        model.to(own_device, memory_format=torch.contiguous_format)


@contextmanager
def in_bfloat16(model):
    """Inside, matrix products of encoder and decoder (of a classifier: of all layers) are in bfloat16; the noise, the
    loss and the weights stay in float32."""
    names = ("encode", "decode") if hasattr(model, "encode") else ("forward",)
    before = {name: vars(model).get(name) for name in names}
    for name, own in before.items():
        setattr(model, name, partial(call_in_bfloat16, model, name, own))  # of which a copy of the model gets its own
    try:
        yield
    finally:
        for name, own in before.items():
            delattr(model, name) if own is None else setattr(model, name, own)


def call_in_bfloat16(model, name, own, *args, **options):
    """Call a method of the model, or the object's own that stands in its place, with matrix products in bfloat16."""
    with torch.autocast(settings.DEVICE.type, torch.bfloat16):
        return (own or partial(getattr(type(model), name), model))(*args, **options)


def images_on_device(dataset):
    """The dataset (or None) with its images in the GPU's memory, if they fill at most half of what is free there."""
    on_cpu = dataset is None or settings.DEVICE.type != "cuda"
    if on_cpu or dataset.images.nbytes > torch.cuda.mem_get_info(settings.DEVICE)[0] / 2:
        return dataset
    return dataset.with_images(dataset.images.to(settings.DEVICE), dataset.targets)
