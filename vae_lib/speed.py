"""Our training loop against the textbook's, in one run: `vae benchmark`.

Both loops start from the same weights and see the same images in the same order with the same noise; in float32 they
end with the same losses. Each has a process of its own, and they take turns, epoch by epoch, so that neither profits
from the other's settings and a busy machine slows both.
"""

import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from contextlib import suppress
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
from vae_lib.data import DATASETS, folders, load_dataset
from vae_lib.engine.steps import TrainingStep, on_device, prepare, train_epoch
from vae_lib.losses import elbo_loss
from vae_lib.models import build_model
from vae_lib.storage.weights import pretrained_path, read_tensors
from vae_lib.training import TrainConfig

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


def pil_files(dataset, folder, crop):
    """The files of a dataset's images as torchvision's ImageFolder gives them: open, cut, resize -> float tensor."""
    size = dataset.image_shape[-1]
    cut = transforms.Compose([transforms.CenterCrop(crop), transforms.Resize(size), transforms.ToTensor()])
    items = ImageFolder(folder.root.parent, cut, allow_empty=True)
    places = {path: i for i, (path, _) in enumerate(items.samples)}
    names = folder.choose("train")[0][: len(dataset)]
    return torch.utils.data.Subset(items, [places[str(folder.root / name)] for name in names])


def recipe(name, turns):
    """The shipped model's architecture, configuration and data; the configuration without what textbooks leave out.

    That is mirrored images and the schedule; a learning rate that needs its warm-up is divided by ten.
    """
    record = read_tensors(pretrained_path(name))[1]
    config = TrainConfig(**record["config"])
    lr = config.lr / 10 if config.schedule == "one-cycle" else config.lr
    return record["model"], replace(config, lr=lr, schedule="constant", mirror=False, epochs=turns + 1), record["data"]


def training_images(data, images):
    """The first training images of the data of a record, all for None."""
    return load_dataset(data["name"], "train", data["image_shape"][-1], data.get("crop"), images)


def flops_per_image(model, x):
    """Floating-point operations of a training step (forward and backward), multiplications and additions counted."""
    with FlopCounterMode(display=False) as counter:
        x_hat, mu, logvar = model(x)
        elbo_loss(x_hat, x, mu, logvar).loss.backward()
    model.zero_grad()
    return counter.get_total_flops() / len(x)


def with_plain_layers(model):
    """The model with PyTorch's own transposed convolutions in place of ours, in place."""
    for layer in model.modules():
        if isinstance(layer, torch.nn.ConvTranspose2d):
            layer.__class__ = torch.nn.ConvTranspose2d
    return model


def plain_loop(name, images, turns):
    """The textbook's training: PIL, DataLoader without workers, float32, one .item() a step.

    -> (function: run epoch k -> mean loss per image, floating-point operations per image).
    """
    architecture, config, data = recipe(name, turns)
    torch.manual_seed(0)
    model = with_plain_layers(build_model(architecture)).to(settings.DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), config.lr, weight_decay=config.weight_decay)
    train = training_images(data, images)
    if data["name"] == "celeba" and train.source == "real":
        items = pil_files(train, folders.find_celeba(), train.crop or DATASETS["celeba"].crop)
    else:
        items = PILImages(train)

    def epoch(k):
        seed = 1_000_003 * config.seed + k  # the order and the noise of train_epoch
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

    x = torch.stack([items[i][0] for i in range(2)]).to(settings.DEVICE)
    return epoch, flops_per_image(model, x)


def our_loop(name, images, turns):
    """vae_lib's training, as `fit` sets it up: -> (run epoch k -> mean loss, None)."""
    architecture, config, data = recipe(name, turns)
    torch.manual_seed(0)
    model = build_model(architecture)
    step = TrainingStep(model, prepare(model, config), config)
    train = on_device(training_images(data, images))
    return lambda k: train_epoch(step, train, k, lambda n: None)[0], None


def peak_memory():
    """Most memory that this process has held, in MiB: resident (Linux only), and on a GPU; None if unknown."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    resident = int(found[1]) / 1024 if found else None
    return resident, torch.cuda.max_memory_allocated() / 2**20 if settings.DEVICE.type == "cuda" else None


def serve(loop, pipe):
    """In a process of its own: run each epoch that comes through the pipe, send back (loss, seconds)."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (the parent has said what the data are)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and the parent this
    run, flops = loop()
    pipe.send(flops)
    with suppress(EOFError, ConnectionError):  # the parent is gone
        while (epoch := pipe.recv()) is not None:
            start = time.perf_counter()
            loss = run(epoch)
            pipe.send((loss, time.perf_counter() - start))
        pipe.send(peak_memory())


def compare(name, images, turns):
    """Both loops on one model in turns, after a first epoch that is not timed.

    -> {"plain" and "ours": {"images_per_second" of each turn, "loss" of the last epoch, "memory", "gpu_memory" in MiB},
    "ratios" of each turn, "flops_per_image"}.
    """
    context = multiprocessing.get_context("spawn")
    pipes, result = {}, {"images": images}
    try:
        for kind, loop in (("plain", plain_loop), ("ours", our_loop)):
            pipes[kind], other_end = context.Pipe()
            arguments = (partial(loop, name, images, turns), other_end)
            context.Process(target=serve, args=arguments, daemon=True).start()
            other_end.close()  # so that the end of the process is the end of the pipe
            result[kind] = {"images_per_second": []}
            result["flops_per_image"] = pipes[kind].recv() or result["flops_per_image"]
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
    rates = result["ours"]["images_per_second"], result["plain"]["images_per_second"]
    return result | {"ratios": [fast / slow for fast, slow in zip(*rates)]}


def matmul_rate(dtype):
    """Multiplications and additions a second in products of large matrices, the median of ten."""
    n = 8192 if settings.DEVICE.type == "cuda" else 2048
    a, b = torch.randn(2, n, n, device=settings.DEVICE).to(dtype)
    seconds = []
    for _ in range(13):
        start = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for a GPU
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 / statistics.median(seconds[3:])


def startup(data):
    """Seconds to import torch and torchvision, then vae_lib, then to have the first batch: medians of three starts."""
    rows, code = [], STARTUP.format(name=data["name"], size=data["image_shape"][-1])
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"vae_lib could not be started again: {done.stderr.strip().splitlines()[-1]}")
        rows.append([float(word) for word in done.stdout.split()[-3:]])
    return dict(zip(("torch_and_torchvision", "vae_lib", "first_batch"), map(statistics.median, zip(*rows))))


def run(names, turns, images=None):
    """Compare the loops on the named shipped models, printing a line for each: -> everything measured, JSON-able."""
    data = {name: recipe(name, turns)[2] for name in names}
    few = {name: images or (IMAGES[name] if settings.DEVICE.type == "cpu" else None) for name in names}
    train = {name: training_images(data[name], few[name]) for name in names}  # what is missing is told before the work
    precision = "bfloat16" if settings.has_fast_bfloat16() else "float32"
    rates = {kind: matmul_rate(getattr(torch, kind)) for kind in sorted({"float32", precision})}
    report = {**settings.surroundings(), "matmul_flops_per_second": rates, "startup_seconds": startup(data[names[0]])}
    print(", ".join(f"{kind} {rate / 1e12:.2f} TFLOP/s" for kind, rate in rates.items()), "in products of matrices")
    print(", ".join(f"{part} {seconds:.2f} s" for part, seconds in report["startup_seconds"].items()), "to start")
    print("images/s and ratio: medians of the epochs (lowest to highest); loss: ours / textbook - 1; of peak: ours")
    print(f"{'':16} {'textbook':>24} {'ours':>28} {'ratio':>21} {'loss':>7} {'of peak':>8} {'peak MiB':>12}  data")
    report["models"] = {}
    for name in names:
        result = compare(name, len(train[name]), turns) | {"data": f"{train[name].source} {data[name]['name']}"}
        speed = statistics.median(result["ours"]["images_per_second"])
        result["share_of_peak"] = speed * result["flops_per_image"] / rates[precision]
        report["models"][name] = result
        print(line(name, result), flush=True)
    return report


def line(name, result):
    """One model's row of the table."""
    plain, ours = (
        f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"
        for rates in (result[kind]["images_per_second"] for kind in ("plain", "ours"))
    )
    ratios = result["ratios"]
    ratio = f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
    loss = result["ours"]["loss"] / result["plain"]["loss"] - 1
    memory = "/".join(f"{result[kind]['memory'] or float('nan'):,.0f}" for kind in ("plain", "ours"))
    data = f"{result['data']}, {result['images']:,}"
    return (
        f"{name:16} {plain:>24} {ours:>28} {ratio:>21} {loss:+7.2%} {result['share_of_peak']:8.1%} {memory:>12}  {data}"
    )
