"""Every figure that needs a GPU, in one call that prints one JSON.

    python tests/benchmarks/gpu.py [--epochs 5] [--out runs/gpu.json]

On the machine's rates: products of large matrices. On two shipped recipes (cifar10-conv-p1, for
18 epochs, and celeba128-conv for 50): seconds of the training after start-up, its last training loss beside that of the
shipped record, images per second, their share of the measured rate, and the most GPU memory. Then the same training
with eager steps against steps recorded as a CUDA graph, epoch by epoch in turns. --epochs shortens the 50 epochs of
celeba128-conv. --dry-run does all of it with a few images, on any machine, to test this script.
"""

import argparse
import json
import statistics
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from speed import flops_per_image, matmul_rates, peak_memory, random_images, recipe, run_script, training_images

from vae_lib import settings
from vae_lib.checks import LabError
from vae_lib.data import DATASETS, to_float
from vae_lib.engine.device import images_on_device, model_on_device
from vae_lib.engine.graphs import recorded
from vae_lib.pretrained import build_model, pretrained_path
from vae_lib.storage.files import write_json
from vae_lib.storage.records import environment
from vae_lib.storage.weights import read_tensors
from vae_lib.training import fit, make_optimizer, train_epoch, training_step

FACES = 18_000  # images


def real_or_random_images(data):
    """The training images of a record's data if they are on disk, else as many random ones."""
    if DATASETS[data["name"]].own_folders():
        return training_images(data, None)
    return random_images(data["train"], data["image_shape"][-1])


def train_recipe(name, train, epochs, peak):
    """`fit` with the recipe of a shipped model, without validation: -> what it took and where it ended, JSON-able.

    peak: operations a second in products of matrices. Start-up (imports, the GPU's context) is over before.
    """
    architecture, config, _ = recipe(name)
    config = replace(config, epochs=epochs)
    torch.manual_seed(config.seed)
    model = build_model(architecture)
    flops = flops_per_image(model, to_float(train.images[:2]))
    if settings.DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    record = fit(model, train, None, config, progress=False)
    seconds = time.perf_counter() - start
    history = read_tensors(pretrained_path(name))[1]["history"]
    shipped = history[min(epochs, len(history)) - 1]
    images_per_second = len(train) / statistics.median(row["seconds"] for row in record["history"])
    return {
        "data": f"{train.source} {train.name}",
        "images": len(train),
        "epochs": epochs,
        "seconds": seconds,
        "seconds_of_first_epoch": record["history"][0]["seconds"],
        "images_per_second": images_per_second,
        "share_of_peak": images_per_second * flops / peak,
        "gpu_memory": peak_memory()[1],
        "loss": record["history"][-1]["train_loss"],
        "shipped_loss": shipped["train_loss"] if train.source == "real" else None,
        "note": None if train.source == "real" else "random pixels: the loss cannot be compared with the shipped one",
    }


def eager_against_recorded(name, train, turns):
    """Epochs with eager and with recorded steps in turns, after one of each that is not timed: -> seconds and ratio."""
    architecture, config, _ = recipe(name)
    config = replace(config, epochs=turns + 1)
    seconds = {"eager": [], "recorded": []}
    with ExitStack() as stack:
        train, runs = images_on_device(train), {}
        for kind in seconds:
            torch.manual_seed(config.seed)
            model = stack.enter_context(model_on_device(build_model(architecture), config.precision))
            step = training_step if kind == "eager" else recorded(training_step, model)
            runs[kind] = model, make_optimizer(model, config), step
        for epoch in range(1, turns + 2):
            for kind, (model, optimizer, step) in runs.items():
                start = time.perf_counter()
                train_epoch(model, optimizer, train, config, epoch, step)  # waits for the GPU at its end
                seconds[kind].append(time.perf_counter() - start)
    timed = {kind: values[1:] for kind, values in seconds.items()}
    ratios = [eager / recorded for eager, recorded in zip(timed["eager"], timed["recorded"])]
    return {"images": len(train), **timed, "ratio": statistics.median(ratios)}


def measure(epochs, dry_run):
    """Everything, as one JSON-able dict; epochs: of celeba128-conv."""
    rates = matmul_rates()
    conv, faces = "cifar10-conv-p1", "celeba128-conv"
    if dry_run:
        plan, turns = {conv: (random_images(128, 32), 2), faces: (random_images(8, 128), 1)}, 1
    else:
        plan, turns = (
            {conv: (real_or_random_images(recipe(conv)[2]), 18), faces: (random_images(FACES, 128), epochs)},
            5,
        )
    peak, part = max(rates.values()), slice(None, 6_400)  # of whole batches: the others are not recorded
    report = {**environment(), "matmul_flops_per_second": rates}
    report |= {name: train_recipe(name, images, epochs, peak) for name, (images, epochs) in plan.items()}
    turns_of = {name: eager_against_recorded(name, images.select(part), turns) for name, (images, _) in plan.items()}
    return report | {"eager_against_recorded": turns_of}


def main(argv=None):
    """Measure, print the JSON, and write it if --out is given."""
    parser = argparse.ArgumentParser("gpu.py", description="Every figure that needs a GPU, as one JSON.")
    parser.add_argument("--epochs", type=int, default=50, help="of celeba128-conv (default %(default)s)")
    parser.add_argument("--out", type=Path, help="a .json file to write it to, too")
    parser.add_argument("--dry-run", action="store_true", help="a few images, on any machine")
    args = parser.parse_args(argv)
    if settings.DEVICE.type != "cuda" and not args.dry_run:
        raise LabError("There is no GPU here; run this on a machine that has one, or give --dry-run.")
    report = measure(args.epochs, args.dry_run)
    print(json.dumps(report, indent=1))
    if args.out:
        write_json(args.out, report, indent=1)


if __name__ == "__main__":
    run_script(main)
