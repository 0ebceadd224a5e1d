"""How the cost of training grows with the number of images, their size, and the number of latent dimensions.

The pixels are random: how long a step takes does not depend on them.
"""

import math
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import torch

from vae_lib.data import ImageDataset
from vae_lib.engine.steps import TrainingStep, on_device, prepare, train_epoch
from vae_lib.models import ConvVAE, count_parameters
from vae_lib.speed import peak_memory
from vae_lib.training import TrainConfig

CHANNELS = (32, 64, 128, 256)
SERIES = {  # what grows -> (images, side of the images, latent dimensions) of each point
    "images": [(images, 32, 128) for images in (2_500, 5_000, 10_000, 20_000, 40_000)],
    "side": [(40_960 // side, side, 128) for side in (32, 64, 128, 256)],
    "latent": [(2_500, 32, latent) for latent in (2, 8, 32, 128, 512, 2048)],
}


def measure(images, side, latent):
    """Train a ConvVAE in this process: -> what an epoch took, the fastest of three, and the most memory that was held.

    {"images", "side", "latent", "parameters", "seconds", "memory": MiB, without those of the imports}.
    """
    before, _ = peak_memory()
    pixels = torch.randint(0, 256, (images, 3, side, side), dtype=torch.uint8)
    dataset = on_device(ImageDataset(pixels, torch.zeros(images), (), "random pixels", "train", "synthetic"))
    config = TrainConfig(batch_size=64)
    model = ConvVAE((3, side, side), CHANNELS, latent, centre=0.5)
    step = TrainingStep(model, prepare(model, config), config)
    seconds = []
    for epoch in (1, 2, 3):
        start = time.perf_counter()
        train_epoch(step, dataset, epoch, lambda n: None)  # waits for a GPU at its end
        seconds.append(time.perf_counter() - start)
    resident, on_gpu = peak_memory()
    memory = on_gpu if on_gpu is not None else resident and resident - before
    return {
        "images": images,
        "side": side,
        "latent": latent,
        "parameters": count_parameters(model),
        "seconds": min(seconds),
        "memory": memory,
    }


def run():
    """Every point of SERIES in a process of its own, printed as it is measured: -> {what grows: list of results}."""
    print(f"{'images':>7} {'side':>5} {'latent':>6} {'parameters':>11} {'s/epoch':>8} {'images/s':>9} {'MiB':>7}")
    return {name: [measure_apart(*point) for point in points] for name, points in SERIES.items()}


def measure_apart(*point):
    """`measure` in a fresh process, since a process keeps the memory that it once had."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        result = processes.submit(measure, *point).result()
    print(
        f"{result['images']:7,} {result['side']:5} {result['latent']:6} {result['parameters']:11,} "
        f"{result['seconds']:8.2f} {result['images'] / result['seconds']:9,.0f} {result['memory'] or math.nan:7,.0f}",
        flush=True,
    )
    return result
