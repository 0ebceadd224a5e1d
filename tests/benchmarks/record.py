"""Time to a loss: seconds of training until the test loss is a published one, the usual way and our fastest, in turns.

    python tests/benchmarks/record.py --races cifar10 mnist faces --seeds 5 --out runs/record.json

The clock runs from the decoded dataset in memory to the loss: building the model and every step count; imports, and the
looks at the test set, do not. A look is the negative ELBO of all test images, one draw of z each, in float32. Nothing
else of the test set is used while a model is trained. Each run has a process of its own. The file is written after
every run, and the same command goes on from it. Leave the machine alone meanwhile: it takes hours.
"""

import argparse
import json
import math
import statistics
import subprocess
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import torch
from speed import PILImages, apart, run_script
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
from vae_lib.linear import add_linear_vae
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
    kl_warm_up: float = 0.0  # the share of the training in which beta, the weight of the KL, rises from 0 to 1
    at_the_mean: bool = False  # before the first step, the decoder answers the mean training image
    linear: bool = False  # before the first step, the best linear VAE is put beside the network, and stays
    textbook: bool = False  # PIL images, ToTensor, a DataLoader, float32


@dataclass(frozen=True)
class Race:
    """Two ways to a test loss."""

    target: float  # squared error or nats, plus KL in nats, per image
    likelihood: str
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


conv = partial(ConvVAE, (3, 32, 32), latent_dim=128)
digits = partial(FCVAE, (1, 28, 28), hidden=(400,), latent_dim=20)
faces = partial(ConvVAE, (3, 64, 64), latent_dim=128, batch_norm=True, activation="silu", centre=0.5)
one_cycle = partial(TrainConfig, schedule="one-cycle")
KINDS = ("usual", "record")
RACES = {
    # The best loss that a student project published (figures/README.md; its training loss, here asked of the test set),
    # with its network, which takes pixels as ToTensor gives them, and its optimiser.
    "cifar10": Race(
        target=74.7,
        likelihood="mse",
        data={"name": "cifar10"},
        look=25_000,
        usual=Way(partial(conv, channels=(32, 64, 128)), TrainConfig(batch_size=64, lr=1e-3, epochs=40), textbook=True),
        record=Way(
            partial(conv, channels=(16, 32, 64), activation="silu", centre=0.5),
            one_cycle(batch_size=96, lr=5e-3, epochs=3),
            second_moment=0.95,
            kl_warm_up=0.4,
            linear=True,
        ),
    ),
    # What PyTorch's VAE example prints after 7 epochs, with its network and optimiser.
    "mnist": Race(
        target=106.66,
        likelihood="bce",
        data={"name": "mnist"},
        look=10_000,
        usual=Way(digits, TrainConfig(batch_size=128, lr=1e-3, epochs=20), textbook=True),
        record=Way(
            partial(with_silu, digits),
            one_cycle(batch_size=192, lr=1.2e-2, epochs=2),
            second_moment=0.95,
            kl_warm_up=0.2,
            at_the_mean=True,
        ),
    ),
    # Where celeba64-conv got, against its own recipe.
    "faces": Race(
        target=168.0,
        likelihood="mse",
        data={"name": "celeba", "size": 64, "crop": 148},
        look=9_000,
        usual=Way(
            partial(faces, channels=(32, 64, 128, 256)),
            one_cycle(batch_size=64, lr=3e-3, epochs=30, weight_decay=0.05, mirror=True),
        ),
        record=Way(
            partial(faces, channels=(16, 32, 64, 128)),
            one_cycle(batch_size=64, lr=8e-3, epochs=17, mirror=True),
            second_moment=0.95,
            kl_warm_up=0.4,
            linear=True,
        ),
    ),
}


def start(way, train):
    """A new model, as it stands before the first step."""
    model = way.build()
    if way.at_the_mean:
        mean = to_float(train.images).mean(dim=0).clamp(0.001, 0.999)
        model.decoder[-2].bias.data = mean.logit().flatten()
    return add_linear_vae(model, train) if way.linear else model


# --- the two loops: each yields the number of images of every step that it has done ---


def library_steps(model, train, way):
    """vae_lib's training, with the optimiser and the weight of the KL of a record."""
    config = way.config
    with model_on_device(model, config.precision):
        moments = (0.9, way.second_moment)
        optimizer = torch.optim.AdamW(
            model.parameters(), config.lr, moments, weight_decay=config.weight_decay, fused=True
        )
        for epoch in range(1, config.epochs + 1):
            noise = noise_generator(config, epoch, settings.DEVICE)
            for _, x, progress in training_batches(train, config, epoch, settings.DEVICE):
                set_learning_rate(optimizer, learning_rate(config, progress))
                beta = min(1.0, progress / way.kl_warm_up) if way.kl_warm_up else 1.0
                training_step(model, optimizer, x, replace(config, beta=beta), noise)
                yield len(x)


def textbook_steps(model, train, way):
    """PIL images, ToTensor, a DataLoader without workers, float32, plain Adam."""
    config, items = way.config, PILImages(train)
    optimizer = torch.optim.Adam(model.parameters(), config.lr)
    for _ in range(config.epochs):
        for x, _ in torch.utils.data.DataLoader(items, config.batch_size, shuffle=True):
            x_hat, mu, logvar = model(x)
            loss = elbo_loss(x_hat, x, mu, logvar, config.beta, config.likelihood).loss
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
    was not reached, "cpu_seconds", "images" seen, "loss", all "looks" as (images, seconds, loss)}, JSON-able.

    LabError if the images are not real.
    """
    settings.THREADS_ARE_CHOSEN = True  # both ways keep all threads, however crowded the machine
    train, test = whole_training_set(race.data)
    way = replace(way, config=replace(way.config, seed=seed, likelihood=race.likelihood))
    copy, steps, images, looks = start(way, train), textbook_steps if way.textbook else library_steps, 0, []
    end, clock = way.config.epochs * len(train), Clock()
    torch.manual_seed(seed)
    model = start(way, train)
    for n in steps(model, train, way):
        images += n
        if images // race.look == (images - n) // race.look and images < end:
            continue
        clock.stop()
        copy.load_state_dict(model.state_dict())  # the model itself stays in training
        loss = evaluate(copy, test, likelihood=race.likelihood, sample=True).loss
        looks.append((images, clock.seconds, loss))
        if not loss > race.target:  # NaN ends it, too
            break
        clock.start()
    reached = clock.seconds if looks[-1][2] <= race.target else None
    return {"seconds": reached, "cpu_seconds": clock.cpu, "images": images, "loss": looks[-1][2], "looks": looks}


class Clock:
    """Seconds, and seconds of all cores together, from its start on, without what lies between stop and start."""

    def __init__(self):
        self.seconds = self.cpu = 0.0
        self.start()

    def start(self):
        self.started = time.perf_counter(), time.process_time()

    def stop(self):
        self.seconds += time.perf_counter() - self.started[0]
        self.cpu += time.process_time() - self.started[1]


def recipe(race, way):
    """All that decides a run but the seed, as JSON holds it: two runs are the same race only if this is the same."""
    model = way.build()
    network = {**model.config, "layers": [type(layer).__name__ for layer in model.modules()]}
    options = {key: value for key, value in asdict(way).items() if key != "build"}
    goal = {"data": race.data, "target": race.target, "likelihood": race.likelihood}
    return json.loads(json.dumps({**options, **goal, "network": network}))


def read_runs(out, machine, recipes):
    """The runs that a file holds, to go on from: {"race way seed": result}.

    LabError if it is no such file, or of another machine, other versions or other than these recipes {"race way": ...}.
    """
    if not out.exists():
        return {}
    try:
        report = json.loads(out.read_text())
        runs = report["runs"]
        made_by = {key: run["recipe"] for key, run in runs.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LabError(f"{out} holds no runs of record.py; give another name with --out.") from None
    others = [key for key, of in made_by.items() if of != recipes.get(key.rpartition(" ")[0], of)]
    if others or any(report.get(key) != value for key, value in machine.items()):
        what = f"of other recipes ({others[0]})" if others else "of another machine or of other versions"
        raise LabError(f"{out} is {what}; give another name with --out.")
    return runs


def commit():
    """The commit of the code, with "-dirty" if files differ from it; None outside of git."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=settings.REPOSITORY, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def summary(name, runs, seeds):
    """A race in a few lines: medians and spread over the seeds, and the ratio of the same seed.

    A run that does not reach the target counts as infinitely long.
    """
    seconds, lines = {}, []
    for kind in KINDS:
        results = [runs[f"{name} {kind} {seed}"] for seed in range(seeds)]
        seconds[kind] = [math.inf if r["seconds"] is None else r["seconds"] for r in results]
        parameters = count_parameters(getattr(RACES[name], kind).build())
        images = statistics.median(r["images"] for r in results)
        lines.append(
            f"{name} {kind}: {spread(seconds[kind])} s, {images:,.0f} images, {parameters:,} trained parameters"
        )
    ratios = [usual / record for usual, record in zip(*seconds.values()) if record < math.inf]
    if len(ratios) == seeds:
        lines.append(f"{name}: {spread(ratios)} times faster")
    return "\n".join(lines)


def spread(values):
    """Median (least to most)."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main(argv=None):
    """Run what is missing, write the file after every run, print a line for each and a summary."""
    parser = argparse.ArgumentParser("record.py", description="Time to a loss: the usual way and our fastest.")
    parser.add_argument("--races", nargs="+", choices=RACES, default=list(RACES), metavar="NAME")
    parser.add_argument("--seeds", type=whole(1), default=5, help="runs of each way (default %(default)s)")
    parser.add_argument("--out", type=Path, default="runs/record.json", help="a .json file (default %(default)s)")
    args = parser.parse_args(argv)
    check_file_out(args.out, ".json")
    if settings.DEVICE.type != "cpu":
        raise LabError("This record is one of CPUs: hide the GPU with CUDA_VISIBLE_DEVICES= (empty).")
    show_setup()
    recipes = {
        f"{name} {kind}": recipe(RACES[name], getattr(RACES[name], kind)) for name, kind in product(args.races, KINDS)
    }
    runs = read_runs(args.out, environment(), recipes)
    for name in args.races:
        whole_training_set(RACES[name].data)  # what is missing is told before hours of training
    for name, seed in product(args.races, range(args.seeds)):
        for kind in KINDS[:: 1 if seed % 2 else -1]:  # neither is always the first
            key = f"{name} {kind} {seed}"
            if key not in runs:
                about = {"recipe": recipes[f"{name} {kind}"], "date": time.strftime("%Y-%m-%d"), "commit": commit()}
                result = apart(run, RACES[name], getattr(RACES[name], kind), seed)
                runs = read_runs(args.out, environment(), recipes) | {key: result | about}  # of others meanwhile, too
                write_json(args.out, {**environment(), "runs": runs}, indent=1)
                print(f"{key}: {result['loss']:.2f} after {result['looks'][-1][1]:.1f} s", flush=True)
    for name in args.races:
        print(summary(name, runs, args.seeds))
    print(f"written: {args.out}")


if __name__ == "__main__":
    run_script(main)
