"""The images of a dataset, some at a time, for training and for measuring."""

import math

import torch

from vae_lib.data.dataset import as_images, to_float
from vae_lib.engine import distributed
from vae_lib.engine.crowd import crowd

BATCH = 500  # images at a time that are measured; fewer where they have more values than 3x32x32


def training_batches(dataset, config, epoch, device):
    """One epoch in random order, some images mirrored: yields (indices, x, progress), x (n, C, H, W) in [0, 1] on the
    device, progress the share of the planned steps that is done. All of it comes from (config.seed, epoch).
    """
    generator = torch.Generator().manual_seed(epoch_seed(config, epoch))
    order = torch.randperm(len(dataset), generator=generator)
    flipped = (torch.rand(len(dataset), generator=generator) < 0.5).to(device) if config.mirror else None
    order_there = order.to(dataset.images.device)  # once: a transfer in each step would wait for the GPU
    starts = range(0, len(dataset), config.batch_size)
    for step, start in enumerate(starts):
        part = slice(start, start + config.batch_size)
        images = dataset.images[order_there[part]].to(device).contiguous(memory_format=torch.channels_last)
        if config.mirror:
            images = torch.where(flipped[part, None, None, None], images.flip(3), images)
        crowd.look()
        yield order[part], to_float(images), (epoch - 1 + step / len(starts)) / config.epochs
        dataset.release_pages()


def noise_generator(config, epoch, device):
    """The generator of the noise of z in an epoch: another one in each of several processes."""
    return torch.Generator(device).manual_seed(epoch_seed(config, epoch) + 7_368_787 * distributed.rank())


def epoch_seed(config, epoch):
    """A seed for each (config.seed, epoch), so that an epoch can be repeated exactly after an interruption."""
    return 1_000_003 * config.seed + epoch


def batches(dataset):
    """All images of a dataset, in order, some at a time: uint8 (n, C, H, W)."""
    dataset = as_images(dataset)
    n = BATCH * 3 * 32**2 // math.prod(dataset.image_shape)
    for images in dataset.images.split(max(1, min(BATCH, n))):
        crowd.look()
        yield images
        dataset.release_pages()
