"""Time to a loss: seconds of training until the test loss is a published one, the usual way and our fastest, in turns.

    python tests/benchmarks/record.py --races cifar10 mnist faces --seeds 5 --out runs/record.json

The clock runs from the decoded dataset in memory to the loss: building the model and every step count; imports, and the
looks at the test set, do not. A look is the negative ELBO of all test images, one draw of z each, in float32. Nothing
else of the test set is used. Each run has a process of its own. The file is written after every run, and the same
command goes on from it. Leave the machine alone meanwhile: on 2 cores cifar10 takes an hour and a quarter, faces as long,
mnist five minutes.
"""

import argparse
import json
import multiprocessing
import statistics
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from speed import PILImages, run_script
from torch import nn

from vae_lib import settings
from vae_lib.checks import LabError
from vae_lib.cli.images import check_file_out
from vae_lib.cli.parser import whole
from vae_lib.data import load_dataset, to_float
from vae_lib.engine.batches import noise_generator, training_batches
from vae_lib.engine.device import model_on_device
from vae_lib.engine.schedule import learning_rate, set_learning_rate
from vae_lib.evaluation import evaluate
from vae_lib.losses import elbo_loss
from vae_lib.metrics import count_parameters
from vae_lib.models import FCVAE, ConvVAE
from vae_lib.storage.files import write_json
from vae_lib.storage.records import environment, show_setup
from vae_lib.training import TrainConfig, training_step


@dataclass(frozen=True)
class Way:
    """A network, and how it is trained."""

    build: partial
    config: TrainConfig
    second_moment: float = 0.999  # Adam's beta_2
    warm_up: float = 0.0  # the share of the training in which beta, the weight of the KL, rises from 0 to 1
    at_the_mean: bool = False  # before the first step, the decoder answers the mean training image
    textbook: bool = False  # PIL images, ToTensor, a DataLoader, float32


@dataclass(frozen=True)
class Race:
    """Two ways to a test loss."""

    target: float  # per image
    data: dict  # of load_dataset; training and validation images are taken together
    look: int  # training images between two looks at the test loss
    usual: Way
    record: Way


def with_silu(build):
    """A new model, with SiLU instead of ReLU."""
    model = build()
    for part in (model.encoder, model.decoder):
        for i, layer in enumerate(part):
            if isinstance(layer, nn.ReLU):
                part[i] = nn.SiLU()
    return model


conv = partial(ConvVAE, (3, 32, 32), channels=(32, 64, 128), latent_dim=128, centre=0.5)
digits = partial(FCVAE, (1, 28, 28), hidden=(400,), latent_dim=20)
faces = partial(
    ConvVAE, (3, 64, 64), (32, 64, 128, 256), latent_dim=128, batch_norm=True, activation="silu", centre=0.5
)
one_cycle = partial(TrainConfig, schedule="one-cycle")
RACES = {
    # The best published loss of a student's convolutional VAE (figures/README.md), with its network and optimiser.
    "cifar10": Race(
        target=74.7,
        data={"name": "cifar10"},
        look=25_000,
        usual=Way(conv, TrainConfig(batch_size=64, lr=1e-3, epochs=40), textbook=True),
        record=Way(
            partial(conv, activation="silu"),
            one_cycle(batch_size=96, lr=5e-3, epochs=6),
            second_moment=0.95,
            warm_up=0.2,
        ),
    ),
    # What PyTorch's VAE example prints after 7 epochs, with its network and optimiser.
    "mnist": Race(
        target=106.66,
        data={"name": "mnist"},
        look=10_000,
        usual=Way(digits, TrainConfig(batch_size=128, lr=1e-3, epochs=20, likelihood="bce"), textbook=True),
        record=Way(
            partial(with_silu, digits),
            one_cycle(batch_size=192, lr=1.2e-2, epochs=2, likelihood="bce"),
            second_moment=0.95,
            warm_up=0.2,
            at_the_mean=True,
        ),
    ),
    # Where celeba64-conv got, with its own recipe.
    "faces": Race(
        target=168.0,
        data={"name": "celeba", "size": 64, "crop": 148},
        look=9_000,
        usual=Way(faces, one_cycle(batch_size=64, lr=3e-3, epochs=30, weight_decay=0.05, mirror=True)),
        record=Way(faces, one_cycle(batch_size=64, lr=3e-3, epochs=9), second_moment=0.95, warm_up=0.2),
    ),
}


# --- the two loops: each yields the number of images of every step that it has done ---


def library_steps(model, train, way):
    """vae_lib's training, with the optimiser and the weight of the KL of a record."""
    config = way.config
    if way.at_the_mean:
        mean = to_float(train.images).mean(dim=0).clamp(0.001, 0.999)
        model.decoder[-2].bias.data = mean.logit().flatten()
    with model_on_device(model, config.precision):
        moments = (0.9, way.second_moment)
        optimizer = torch.optim.AdamW(
            model.parameters(), config.lr, moments, weight_decay=config.weight_decay, fused=True
        )
        for epoch in range(1, config.epochs + 1):
            noise = noise_generator(config, epoch, settings.DEVICE)
            for _, x, progress in training_batches(train, config, epoch, settings.DEVICE):
                set_learning_rate(optimizer, learning_rate(config, progress))
                beta = min(1.0, progress / way.warm_up) if way.warm_up else 1.0
                training_step(model, optimizer, x, replace(config, beta=beta), noise)
                yield len(x)


def textbook_steps(model, train, way):
    """PIL images, ToTensor, a DataLoader without workers, float32, plain Adam."""
    config, items = way.config, PILImages(train)
    model.to(settings.DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), config.lr)
    for _ in range(config.epochs):
        for x, _ in torch.utils.data.DataLoader(items, config.batch_size, shuffle=True):
            x_hat, mu, logvar = model(x.to(settings.DEVICE))
            loss = elbo_loss(x_hat, x.to(settings.DEVICE), mu, logvar, config.beta, config.likelihood).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield len(x)


# --- the race ---


def whole_training_set(data):
    """Training and validation images together, and the test images: ImageDatasets. LabError if they are not real."""
    train, val, test = (load_dataset(split=split, **data) for split in ("train", "val", "test"))
    if train.source != "real" and settings.PROFILE.name != "quick":
        raise LabError(f"A record is run on the real {data['name']}, which is not here: see data/README.md.")
    images, targets = (torch.cat([getattr(part, kind) for part in (train, val)]) for kind in ("images", "targets"))
    return train.with_images(images, targets), test


def run(race, way, seed):
    """Train from a seed until the test loss is that of the race, or to the end: -> {"seconds" to the target, None if it
    was not reached, "images" seen, "loss", all the "looks" as (images, seconds, loss)}, JSON-able.
    """
    train, test = whole_training_set(race.data)
    way = replace(way, config=replace(way.config, seed=seed))
    steps, images, seconds, looks = textbook_steps if way.textbook else library_steps, 0, 0.0, []
    start = time.perf_counter()
    torch.manual_seed(seed)
    model = way.build()
    end = way.config.epochs * len(train)
    for n in steps(model, train, way):
        images += n
        if images // race.look == (images - n) // race.look and images < end:
            continue
        seconds += time.perf_counter() - start
        loss = test_loss(model, way, test)
        looks.append((images, seconds, loss))
        if loss <= race.target:
            break
        start = time.perf_counter()
    reached = looks[-1][2] <= race.target
    return {"seconds": seconds if reached else None, "images": images, "loss": looks[-1][2], "looks": looks}


def test_loss(model, way, test):
    """The negative ELBO per test image, one draw of z each, in float32, of a copy: the model stays in training."""
    copy = way.build()
    copy.load_state_dict(model.state_dict())
    with model_on_device(copy):
        return evaluate(copy, test, likelihood=way.config.likelihood, sample=True).loss


def run_apart(*arguments):
    """`run` in a fresh process: neither way profits from what the other has set."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        return processes.submit(run, *arguments).result()


def read_runs(out, machine):
    """The runs that a file holds, to go on from: {"race way seed": result}. LabError if they are another machine's."""
    if not out.exists():
        return {}
    report = json.loads(out.read_text())
    if any(report.get(key) != value for key, value in machine.items()):
        raise LabError(f"{out} is of another machine or of other versions; give another name with --out.")
    return report["runs"]


def commit():
    """The commit of the code; None outside of git."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=settings.REPOSITORY, capture_output=True, text=True
    )
    return done.stdout.strip() or None


def summary(name, runs, seeds):
    """A race in a few lines: medians and spread over the seeds, and the ratio of the same seed."""
    found = {kind: [runs[f"{name} {kind} {seed}"] for seed in range(seeds)] for kind in ("usual", "record")}
    lines = []
    for kind, results in found.items():
        seconds = [r["seconds"] for r in results if r["seconds"] is not None]
        spread = f"{statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f})" if seconds else "-"
        parameters = f"{count_parameters(getattr(RACES[name], kind).build()):,} parameters"
        images = statistics.median(r["images"] for r in results)
        lines.append(
            f"{name} {kind}: {len(seconds)} of {seeds} reach {RACES[name].target}, {spread}, {images:,.0f} images, "
            f"{parameters}"
        )
    pairs = [(u["seconds"], r["seconds"]) for u, r in zip(*found.values()) if u["seconds"] and r["seconds"]]
    if ratios := [usual / record for usual, record in pairs]:
        lines.append(f"{name}: {statistics.median(ratios):.1f} times faster ({min(ratios):.1f} to {max(ratios):.1f})")
    return "\n".join(lines)


def main(argv=None):
    """Run what is missing, write the file after every run, print a line for each and a summary."""
    parser = argparse.ArgumentParser("record.py", description="Time to a loss: the usual way and our fastest.")
    parser.add_argument("--races", nargs="+", choices=RACES, default=list(RACES), metavar="NAME")
    parser.add_argument("--seeds", type=whole(1), default=5, help="runs of each way (default %(default)s)")
    parser.add_argument("--out", type=Path, default="runs/record.json", help="a .json file (default %(default)s)")
    args = parser.parse_args(argv)
    check_file_out(args.out, ".json")
    show_setup()
    runs = read_runs(args.out, environment())
    for name in args.races:
        for seed in range(args.seeds):
            for kind in ("usual", "record"):
                key = f"{name} {kind} {seed}"
                if key in runs:
                    continue
                result = run_apart(RACES[name], getattr(RACES[name], kind), seed)
                runs[key] = result | {"date": time.strftime("%Y-%m-%d"), "commit": commit()}
                write_json(args.out, {**environment(), "runs": runs}, indent=1)
                print(f"{key}: {result['loss']:.2f} after {result['looks'][-1][1]:.1f} s", flush=True)
    for name in args.races:
        print(summary(name, runs, args.seeds))
    print(f"written: {args.out}")


if __name__ == "__main__":
    run_script(main)
