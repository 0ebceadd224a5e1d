"""Training: its configuration, one step, one epoch, early stopping, and `fit`, which puts them together."""

import math
import time
from dataclasses import dataclass

import torch

from vae_lib.checks import check_training
from vae_lib.engine import distributed, graphs
from vae_lib.engine.batches import noise_generator, training_batches
from vae_lib.engine.device import images_on_device, model_on_device, prepared
from vae_lib.engine.progress import progress_bar
from vae_lib.engine.schedule import SCHEDULES, learning_rate, set_learning_rate
from vae_lib.evaluation import evaluate
from vae_lib.losses import LIKELIHOODS, ElboLoss, elbo_loss
from vae_lib.storage.records import describe_run, diverged, environment, summary
from vae_lib.storage.weights import copy_state, read_checkpoint, restore, save_checkpoint


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides how a model is trained; it is stored beside the weights."""

    batch_size: int = 128
    lr: float = 1e-3
    epochs: int = 50  # at most; early stopping may end before
    beta: float = 1.0  # weight of the KL; 1 is the ELBO
    likelihood: str = "mse"  # or "bce", "gaussian"
    patience: int = 5  # epochs without an improvement of min_delta before stopping
    min_delta: float = 0.5  # loss per image
    weight_decay: float = 0.0  # AdamW without decay is Adam
    schedule: str = "constant"  # or "one-cycle": warm-up, then cosine to 0 (Smith & Topin 2018)
    mirror: bool = False  # mirror half of the training images left-right, drawn anew each epoch
    seed: int = 0  # order of the images, noise of z
    precision: str = "auto"  # "float32", "bfloat16", or auto: bfloat16 where it is faster

    def __post_init__(self):
        check_training(self, likelihood=LIKELIHOODS, schedule=SCHEDULES, precision=("auto", "float32", "bfloat16"))


def training_step(model, optimizer, x, config, generator=None):
    """Forward, loss, backward, update: x (n, C, H, W) in [0, 1] -> (3,), loss, reconstruction and KL per image."""
    x_hat, mu, logvar = model(x, generator)
    losses = elbo_loss(x_hat, x, mu, logvar, config.beta, config.likelihood)
    optimizer.zero_grad()
    losses.loss.backward()
    optimizer.step()
    return torch.stack(losses).detach()


def make_optimizer(model, config):
    """Adam, with decoupled weight decay if the configuration asks for it (Loshchilov & Hutter 2019)."""
    return torch.optim.AdamW(model.parameters(), config.lr, weight_decay=config.weight_decay, fused=True)


def train_epoch(model, optimizer, dataset, config, epoch, step=training_step, advance=lambda n: None):
    """One pass over the data: -> the means per image [loss, reconstruction, KL] while the weights move.

    All randomness comes from (config.seed, epoch), so an epoch can be repeated exactly after an interruption, but for
    layers that draw by themselves, as dropout does. advance(n) is called after each batch of n images.
    """
    model.train()
    device = next(model.parameters()).device
    totals, generator = torch.zeros(3, device=device), noise_generator(config, epoch, device)
    for _, x, progress in training_batches(dataset, config, epoch, device):
        set_learning_rate(optimizer, learning_rate(config, progress))
        totals += step(model, optimizer, x, config, generator) * len(x)
        advance(len(x))
    return (totals / len(dataset)).tolist()


def early_stopping_epoch(val_losses, patience, min_delta):
    """The epoch (from 1) at which early stopping ends a run with these validation losses, or None: go on.

    An epoch improves if it lowers the best loss so far by more than min_delta; `patience` epochs in a row that do
    not improve end the run (the rule of Keras's EarlyStopping).
    """
    best, waited = math.inf, 0
    for epoch, loss in enumerate(val_losses, start=1):
        best, waited = (loss, 0) if loss < best - min_delta else (best, waited + 1)
        if waited >= patience:
            return epoch
    return None


def is_done(history, config):
    """True after the last epoch of a run: the planned one, or that of early stopping."""
    val_losses = [row["val_loss"] for row in history if "val_loss" in row]
    stopped = early_stopping_epoch(val_losses, config.patience, config.min_delta) is not None
    return stopped or len(history) >= config.epochs


def best_epoch(history):
    """Epoch of the lowest validation loss; without validation the last epoch; 0 before the first."""
    return min(history, key=lambda row: (row.get("val_loss", 0), -row["epoch"]), default={"epoch": 0})["epoch"]


def fit(model, train, val, config, checkpoint=None, progress=True, name="training"):
    """Train a model in place and return the record of the run (a JSON-able dict).

    train, val: ImageDataset, or a Subset of one; val=None: no early stopping. The model ends with the weights of its
    best validation loss (without val: of the last epoch), also when interrupted. checkpoint: a path, written after
    every epoch, from which a run goes on, to the weights of an uninterrupted one (CPU, as many threads and processes).
    record: config, model, data, history (one dict an epoch: train_loss, train_reconstruction, train_kl, val_...,
    seconds; losses per image), best_epoch, stopped_early, seconds, processes, device, versions, profile.
    Raises LabError if the loss is not finite (the model then has its last good weights), or for another run's file.
    """
    model, train, val = prepared(model, train, val)
    distributed.check_ready(config.batch_size)
    run = describe_run(model, train, val, config)
    with model_on_device(model, config.precision):
        optimizer = make_optimizer(model, config)
        saved = distributed.broadcast(read_checkpoint(checkpoint))  # the other machines may not see the file
        history, best = restore(saved, checkpoint, model, optimizer, run)
        if history and progress:
            print(f"{name}: going on after epoch {len(history)}, from {checkpoint}")
        replica, step = distributed.replicate(model), graphs.recorded(distributed.sharded(training_step), model)
        train, val = images_on_device(train), images_on_device(val)
        bar = progress_bar(config.epochs * len(train), name, len(history) * len(train), not progress)
        try:
            while not is_done(history, config):
                epoch, start = len(history) + 1, time.perf_counter()
                losses = {"train": train_epoch(replica, optimizer, train, config, epoch, step, bar.update)}
                if val is not None:
                    options = {"beta": config.beta, "likelihood": config.likelihood, "sample": True}
                    losses["val"] = distributed.sharded_means(evaluate, model, val, **options)
                row = {f"{of}_{part}": x for of, means in losses.items() for part, x in zip(ElboLoss._fields, means)}
                if not all(map(math.isfinite, row.values())):
                    raise diverged(name, config, epoch, best_epoch(history), checkpoint)
                history.append({"epoch": epoch, **row, "seconds": time.perf_counter() - start})
                if best_epoch(history) == epoch:
                    best = copy_state(model)
                bar.set_postfix({key: f"{x:.2f}" for key, x in row.items() if key.endswith("loss")}, refresh=False)
                if checkpoint is not None and distributed.rank() == 0:
                    save_checkpoint(checkpoint, model, optimizer, best, {**run, "history": history})
        finally:  # also of a run that is interrupted
            bar.close()
            model.load_state_dict(best)
            model.eval()
    record = {
        **run,
        "history": history,
        "best_epoch": best_epoch(history),
        "stopped_early": len(history) < config.epochs,
        "seconds": sum(row["seconds"] for row in history),
        "processes": distributed.world_size(),
        **environment(),
    }
    if progress:
        print(f"{name}: trained on {summary(record)}")
    return record
