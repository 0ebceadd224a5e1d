"""Our training loop against a textbook's: images per second, loss and memory of both, in one run.

    python tests/benchmarks/speed.py --models cifar10-conv-p2 mnist-vae-z20 --turns 9 --out runs/speed.json

The textbook's loop is PIL images, ToTensor, a DataLoader without workers, float32. Both loops start from the same
weights and see the same images in the same order with the same noise; in float32 they end with the same losses. Each
has a process of its own, and they take turns, epoch by epoch, so that neither profits from the other's settings and a
busy machine slows both. Decoding files into our cache, which happens once, is not counted. It takes some minutes;
leave the machine alone meanwhile.
"""

import argparse
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms
from torchvision.datasets import ImageFolder

from vae_lib import settings
from vae_lib.checks import LabError
from vae_lib.cli.images import check_file_out
from vae_lib.cli.parser import whole
from vae_lib.data import DATASETS, ImageDataset, load_dataset, to_float
from vae_lib.engine.device import has_fast_bfloat16, images_on_device, model_on_device
from vae_lib.engine.graphs import recorded
from vae_lib.losses import elbo_loss
from vae_lib.pretrained import build_model, pretrained_path
from vae_lib.storage.files import write_json
from vae_lib.storage.records import environment, show_setup
from vae_lib.storage.weights import read_tensors
from vae_lib.training import TrainConfig, make_optimizer, train_epoch, training_step

IMAGES = {  # shipped model -> images of a turn on a CPU, some seconds of the textbook's loop
    "cifar10-conv-p1": 5_000,
    "cifar10-conv-p2": 5_000,
    "cifar10-fc-p1": 15_000,
    "mnist-vae-z20": 40_000,
    "celeba64-conv": 1_000,
    "celeba128-conv": 384,
}
STARTUP = """import time; start = time.perf_counter()
import torch, torchvision; torch_done = time.perf_counter()
import vae_lib; imported = time.perf_counter()
train = vae_lib.load_dataset({name!r}, size={size}); vae_lib.to_float(train.images[:128]); end = time.perf_counter()
print(torch_done - start, imported - torch_done, end - imported)
"""


# --- what is trained ---


def recipe(name):
    """Of a shipped model: its architecture (the arguments of build_model), TrainConfig, and description of the data."""
    record = read_tensors(pretrained_path(name))[1]
    return record["model"], TrainConfig(**record["config"]), record["data"]


def textbook_recipe(name, epochs):
    """`recipe` without what textbooks leave out: mirrored images and the schedule.

    A learning rate that needs the schedule's warm-up is divided by ten.
    """
    architecture, config, data = recipe(name)
    lr = config.lr / 10 if config.schedule == "one-cycle" else config.lr
    return architecture, replace(config, lr=lr, schedule="constant", mirror=False, epochs=epochs), data


def training_images(data, images):
    """The first training images of the data that a record describes, all for None."""
    return load_dataset(data["name"], "train", data["image_shape"][-1], data.get("crop"), images)


def random_images(n, side):
    """A dataset of n random RGB images: how long a step takes does not depend on the pixels."""
    pixels = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8)
    return ImageDataset(pixels, torch.zeros(n), (), "random pixels", "train", "drawn")


# --- the two loops; each yields, for as long as it is to run, a function: epoch (from 1) -> mean loss per image ---


@contextmanager
def our_loop(name, images, epochs):
    """vae_lib's training, as `fit` sets it up."""
    architecture, config, data = textbook_recipe(name, epochs)
    torch.manual_seed(0)
    model = build_model(architecture)
    with model_on_device(model, config.precision):
        optimizer, step = make_optimizer(model, config), recorded(training_step, model)
        train = images_on_device(training_images(data, images))
        yield lambda epoch: train_epoch(model, optimizer, train, config, epoch, step)[0]


@contextmanager
def textbook_loop(name, images, epochs):
    """The textbook's training: PIL, DataLoader without workers, float32, one .item() a step."""
    architecture, config, data = textbook_recipe(name, epochs)
    torch.manual_seed(0)
    model = build_model(architecture).to(settings.DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), config.lr, weight_decay=config.weight_decay)
    train = training_images(data, images)
    of_files = data["name"] == "celeba" and train.source == "real"
    items = pil_files(train, DATASETS["celeba"].look()) if of_files else PILImages(train)

    def run(epoch):
        seed = 1_000_003 * config.seed + epoch  # the order and the noise of train_epoch
        order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist()
        noise = torch.Generator(settings.DEVICE).manual_seed(seed)
        total = 0.0
        for x, _ in torch.utils.data.DataLoader(items, batch_size=config.batch_size, sampler=order):
            x = x.to(settings.DEVICE)
            x_hat, mu, logvar = model(x, generator=noise)
            loss = elbo_loss(x_hat, x, mu, logvar, config.beta, config.likelihood).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        return total / len(items)

    yield run


class PILImages(torch.utils.data.Dataset):
    """What torchvision's MNIST and CIFAR10 do for each item: array -> PIL image -> float tensor."""

    def __init__(self, dataset):
        self.arrays = dataset.images.permute(0, 2, 3, 1).squeeze(3).numpy()
        self.targets = dataset.targets.tolist()
        self.transform = transforms.ToTensor()

    def __len__(self):
        return len(self.arrays)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.arrays[index])), self.targets[index]


def pil_files(train, release):
    """The files of training images as torchvision's ImageFolder gives them: open, cut, resize -> float tensor."""
    cut, size = transforms.CenterCrop(train.crop or release.crop), transforms.Resize(train.image_shape[-1])
    items = ImageFolder(
        release.store.root.parent, transforms.Compose([cut, size, transforms.ToTensor()]), allow_empty=True
    )
    places = {path: i for i, (path, _) in enumerate(items.samples)}
    names = release.split("train")[0][: len(train)]
    return torch.utils.data.Subset(items, [places[str(release.store.root / name)] for name in names])


# --- what is measured ---


def flops_per_image(model, x):
    """Floating-point operations of a training step (forward and backward), multiplications and additions counted."""
    with FlopCounterMode(display=False) as counter:
        x_hat, mu, logvar = model(x)
        elbo_loss(x_hat, x, mu, logvar).loss.backward()
    model.zero_grad()
    return counter.get_total_flops() / len(x)


SIDE = 8192 if settings.DEVICE.type == "cuda" else 2048  # of the large matrices


def matmul_rates():
    """{"float32": multiplications and additions a second in products of large matrices, the median of five}.

    Where bfloat16 is faster, it is there, too.
    """
    rates = {}
    for kind in ("bfloat16", "float32") if has_fast_bfloat16() else ("float32",):
        a, b = torch.randn(2, SIDE, SIDE, device=settings.DEVICE).to(getattr(torch, kind))
        seconds = []
        for _ in range(7):
            start = time.perf_counter()
            (a @ b)[0, 0].item()  # waits for a GPU
            seconds.append(time.perf_counter() - start)
        rates[kind] = 2 * SIDE**3 / statistics.median(seconds[2:])
    return rates


def peak_memory():
    """Most memory that this process has held, in MiB: resident (Linux only), and on a GPU; None if unknown."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    resident = int(found[1]) / 1024 if found else None
    return resident, torch.cuda.max_memory_allocated() / 2**20 if settings.DEVICE.type == "cuda" else None


def startup(data):
    """Seconds to import torch and torchvision, then vae_lib, then to have the first batch: medians of three starts."""
    rows, code = [], STARTUP.format(name=data["name"], size=data["image_shape"][-1])
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"vae_lib could not be started again: {done.stderr.strip().splitlines()[-1]}")
        rows.append([float(word) for word in done.stdout.split()[-3:]])
    return dict(zip(("torch_and_torchvision", "vae_lib", "first_batch"), map(statistics.median, zip(*rows))))


def serve(loop, pipe):
    """In a process of its own: run each epoch that comes through the pipe, send back (loss, seconds)."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (the parent has said what the data are)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and the parent this
    settings.THREADS_ARE_CHOSEN = True  # both loops keep all threads, however busy the machine
    with loop() as run, suppress(EOFError, ConnectionError):  # the parent is gone
        while (epoch := pipe.recv()) is not None:
            start = time.perf_counter()
            loss = run(epoch)
            pipe.send((loss, time.perf_counter() - start))
        pipe.send(peak_memory())


def compare(name, images, turns):
    """Both loops on one model in turns, after a first epoch that is not timed.

    -> {"textbook" and "ours": {"images_per_second" of each turn, "loss" of the last epoch, "memory" and "gpu_memory" in
    MiB}, "ratios" of each turn}.
    """
    context = multiprocessing.get_context("spawn")
    pipes, result = {}, {}
    try:
        for kind, loop in (("textbook", textbook_loop), ("ours", our_loop)):
            pipes[kind], other_end = context.Pipe()
            arguments = (partial(loop, name, images, turns + 1), other_end)
            context.Process(target=serve, args=arguments, daemon=True).start()
            other_end.close()  # so that the end of the process is the end of the pipe
            result[kind] = {"images_per_second": []}
        for epoch in range(1, turns + 2):
            for kind, pipe in list(pipes.items())[:: 1 if epoch % 2 else -1]:  # neither is always the first
                pipe.send(epoch)
                result[kind]["loss"], seconds = pipe.recv()
                result[kind]["images_per_second"] += [images / seconds] if epoch > 1 else []
        for kind, pipe in pipes.items():
            pipe.send(None)
            result[kind]["memory"], result[kind]["gpu_memory"] = pipe.recv()
    except (EOFError, ConnectionError):
        raise LabError(f"A process that trains {name} has ended early; if it said why, that stands above.") from None
    rates = result["ours"]["images_per_second"], result["textbook"]["images_per_second"]
    return result | {"ratios": [ours / textbook for ours, textbook in zip(*rates)]}


def measure(names, turns, images=None):
    """Compare the loops on the named shipped models, printing a line for each: -> everything measured, JSON-able."""
    recipes = {name: recipe(name) for name in names}
    few = {name: images or (IMAGES[name] if settings.DEVICE.type == "cpu" else None) for name in names}
    train = {name: training_images(recipes[name][2], few[name]) for name in names}  # missing data are told at once
    rates = matmul_rates()
    seconds = startup(recipes[names[0]][2])
    print(", ".join(f"{kind} {rate / 1e12:.2f} TFLOP/s" for kind, rate in rates.items()), "in products of matrices")
    print(", ".join(f"{part} {value:.2f} s" for part, value in seconds.items()), "to start")
    print("images/s and ratio: medians of the epochs (lowest to highest); loss: ours / textbook - 1; of peak: ours")
    print(f"{'':16} {'textbook':>24} {'ours':>28} {'ratio':>21} {'loss':>7} {'of peak':>8} {'peak MiB':>12}  data")
    models = {}
    for name in names:
        dataset = train[name]
        result = compare(name, len(dataset), turns) | {"images": len(dataset)}
        result["data"] = f"{dataset.source} {dataset.name}"
        result["flops_per_image"] = flops_per_image(build_model(recipes[name][0]), to_float(dataset.images[:2]))
        rate = statistics.median(result["ours"]["images_per_second"])
        result["share_of_peak"] = rate * result["flops_per_image"] / max(rates.values())
        models[name] = result
        print(row(name, result), flush=True)
    report = {"matmul_flops_per_second": rates, "startup_seconds": seconds, "models": models}
    return environment() | report


def row(name, result):
    """One model's row of the table."""
    textbook, ours = (
        f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"
        for rates in (result[kind]["images_per_second"] for kind in ("textbook", "ours"))
    )
    ratios = result["ratios"]
    ratio = f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
    loss = result["ours"]["loss"] / result["textbook"]["loss"] - 1
    memory = "/".join(f"{result[kind]['memory'] or float('nan'):,.0f}" for kind in ("textbook", "ours"))
    data = f"{result['data']}, {result['images']:,}"
    return (
        f"{name:16} {textbook:>24} {ours:>28} {ratio:>21} {loss:+7.2%} "
        f"{result['share_of_peak']:8.1%} {memory:>12}  {data}"
    )


def main(argv=None):
    """Measure, print a table, write everything as JSON."""
    parser = argparse.ArgumentParser("speed.py", description="Our training loop against a textbook's, in turns.")
    parser.add_argument("--models", nargs="+", choices=IMAGES, default=list(IMAGES), metavar="NAME")
    parser.add_argument("--turns", type=whole(1), default=7, help="epochs that are timed (default %(default)s)")
    parser.add_argument("--images", type=whole(2), help="in an epoch (default: a few seconds' worth; on a GPU: all)")
    parser.add_argument("--out", type=Path, default="runs/speed.json", help="a .json file (default %(default)s)")
    args = parser.parse_args(argv)
    check_file_out(args.out, ".json")
    show_setup()
    write_json(args.out, measure(args.models, args.turns, args.images), indent=1)
    print(f"written: {args.out}")


def apart(function, *arguments):
    """The result of a function in a fresh process, which ends with this one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=end_with_parent) as processes:
        return processes.submit(function, *arguments).result()


def end_with_parent():
    """To be called in a new process: it ends with the one that started it, and does not disturb the next run."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # by Ctrl-C without a word, since the other one says it
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def run_script(main):
    """Run the main function of a benchmark; a LabError ends it with a sentence and exit code 1, Ctrl-C with a word."""
    try:
        main()
    except LabError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run_script(main)
