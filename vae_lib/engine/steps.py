"""One epoch of training: the order of the images, the steps, and what makes them fast on a CPU and on a GPU."""

import math
from contextlib import contextmanager

import torch

from vae_lib import settings
from vae_lib.data import to_float
from vae_lib.engine import distributed
from vae_lib.losses import elbo_loss

STEPS_BEFORE_RECORDING = 3  # libraries allocate and choose their kernels in the first steps on a GPU


def to_device(model):
    """Put the model where and how it works fastest, in place."""
    return model.to(settings.DEVICE, memory_format=torch.channels_last)  # convolutions are faster in this layout


@contextmanager
def at_work(model):
    """Inside, the model is on the GPU, if there is one; then it is where it was, since lessons do sums on the CPU."""
    home = next(model.parameters()).device
    try:
        yield to_device(model)
    finally:
        model.to(home)


def prepare(model, config):
    """Put the model on its device, in place: -> its optimiser."""
    settings.keep_freed_memory()
    to_device(model)
    lr, on_gpu = config.lr, settings.DEVICE.type == "cuda"
    if on_gpu:
        lr = torch.tensor(float(lr), device=settings.DEVICE)  # where a recorded step reads it anew
    decay = config.weight_decay
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=decay, fused=True, capturable=on_gpu)
    optimizer._warned_capturable_if_run_uncaptured = True  # no warning for the steps before the recording
    return optimizer


def autocast(device, precision):
    """Matrix products in bfloat16 where the configuration (or, on "auto", the hardware) says so."""
    fast = settings.has_fast_bfloat16(device) if precision == "auto" else precision == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def on_device(dataset):
    """The dataset with its images in the GPU's memory, if they fill at most half of what is free there."""
    if settings.DEVICE.type != "cuda" or dataset.images.nbytes > torch.cuda.mem_get_info(settings.DEVICE)[0] / 2:
        return dataset
    return dataset.with_images(dataset.images.to(settings.DEVICE), dataset.targets)


def learning_rate(config, progress):
    """Learning rate when the share `progress` (0 to 1) of the planned steps is done."""
    if config.schedule == "constant":
        return config.lr
    warm_up = 0.1
    if progress < warm_up:
        return config.lr * (0.04 + 0.96 * progress / warm_up)
    return config.lr * 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def set_learning_rate(optimizer, lr):
    """Set it without waiting for a GPU, where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def training_batches(dataset, optimizer, config, epoch, device):
    """One epoch of batches in random order, some images mirrored: yields (indices, x, weight), x floats on the device.

    The order and the mirroring come from (config.seed, epoch); the learning rate is set before each batch. Of several
    processes each gets its share of every batch, and the weight of its mean there (1 where there is one process).
    """
    generator = torch.Generator().manual_seed(1_000_003 * config.seed + epoch)
    order = torch.randperm(len(dataset), generator=generator)
    flipped = (torch.rand(len(dataset), generator=generator) < 0.5).to(device) if config.mirror else None
    order_there = order.to(dataset.images.device)  # once: a transfer in each step would wait for the GPU
    starts = range(0, len(dataset), config.batch_size)
    for step, start in enumerate(starts):
        set_learning_rate(optimizer, learning_rate(config, (epoch - 1 + step / len(starts)) / config.epochs))
        part, weight = distributed.share(start, min(start + config.batch_size, len(dataset)))
        images = dataset.images[order_there[part]].to(device).contiguous(memory_format=torch.channels_last)
        if config.mirror:
            images = torch.where(flipped[part, None, None, None], images.flip(3), images)
        yield order[part], to_float(images), weight
        dataset.release_pages()


class TrainingStep:
    """Forward, backward, update: step(x) for one batch; `totals` sums (loss, reconstruction, kl) over its images.

    On a GPU, after the first few, a step on a whole batch is recorded as a CUDA graph and replayed from then on: small
    models spend their time launching some hundred kernels, and a replay is a single launch (PyTorch's notes on CUDA
    semantics, "CUDA Graphs"). Nothing in a step waits for the GPU.
    """

    def __init__(self, model, optimizer, config):
        self.model, self.optimizer, self.config = model, optimizer, config
        self.device = next(model.parameters()).device
        self.noise = torch.Generator(self.device)
        self.totals = torch.zeros(3, device=self.device)  # there, since reading a number would wait for it
        self.recordable = self.device.type == "cuda" and not distributed.is_active()
        self.graph, self.done = None, 0

    def __call__(self, x, weight=1.0):
        """One step on x (N, C, H, W) in [0, 1]; weight: of this process's mean among those of several processes."""
        if not self.recordable or len(x) < self.config.batch_size:
            self.run(x, weight)
        elif self.done < STEPS_BEFORE_RECORDING:
            self.run_aside(x)
        else:
            self.replay(x)
        self.done += 1

    def run(self, x, weight=1.0):
        """The step itself."""
        with autocast(self.device, self.config.precision):
            x_hat, mu, logvar = self.model(x, generator=self.noise)
        losses = elbo_loss(x_hat, x, mu, logvar, self.config.beta, self.config.likelihood)  # in float32
        self.optimizer.zero_grad()
        (weight * losses.loss).backward()
        self.optimizer.step()
        self.totals += torch.stack(losses).detach() * (len(x) if weight else 0)

    def run_aside(self, x):
        """The step on a stream of its own, as recording asks of those before it."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.run(x)
        torch.cuda.current_stream().wait_stream(stream)

    def replay(self, x):
        """The step from its recording, which always reads its images from the same place."""
        if self.graph is None:
            self.x = x.clone()
            self.graph = torch.cuda.CUDAGraph()
            self.graph.register_generator_state(self.noise)
            with torch.cuda.graph(self.graph):  # records only
                self.run(self.x)
        self.x.copy_(x)
        self.graph.replay()


def train_epoch(step, dataset, epoch, advance):
    """One pass over the data: -> the means per image (loss, reconstruction, kl) while the weights move.

    All randomness comes from (config.seed, epoch), so an epoch can be repeated exactly after an interruption.
    advance(n) is called after each batch of n images, those of other processes included.
    """
    step.model.train()
    step.totals.zero_()
    step.noise.manual_seed(1_000_003 * step.config.seed + epoch + 7_368_787 * distributed.rank())
    for _, x, weight in training_batches(dataset, step.optimizer, step.config, epoch, step.device):
        step(x, weight)
        advance(round(len(x) * distributed.world_size() / weight) if weight else 0)
    return (distributed.total(step.totals) / len(dataset)).tolist()
