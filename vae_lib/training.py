"""The training loop, early stopping, and "train, or load what was trained before"."""

import math
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral, Real
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from vae_lib import settings
from vae_lib.attributes import vectors_for_record
from vae_lib.checks import LabError
from vae_lib.engine import distributed
from vae_lib.engine.steps import TrainingStep, at_work, autocast, on_device, prepare, train_epoch
from vae_lib.losses import LIKELIHOODS, ElboLoss
from vae_lib.metrics import evaluate
from vae_lib.models import build_model
from vae_lib.storage.weights import (
    copy_state,
    describe_run,
    difference,
    load_pretrained,
    load_record,
    pretrained_path,
    record_path,
    resume,
    round_to_half,
    save_checkpoint,
    save_pretrained,
    save_record,
)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides how a model is trained; it is stored beside the weights."""

    batch_size: int = 128
    lr: float = 1e-3
    epochs: int = 50  # at most; early stopping may end before
    beta: float = 1.0  # weight of the KL; 1 is the ELBO
    likelihood: str = "mse"  # or "bce"
    patience: int = 5  # epochs without an improvement of min_delta before stopping
    min_delta: float = 0.5  # loss per image; S2's rule
    weight_decay: float = 0.0  # AdamW without decay is Adam
    schedule: str = "constant"  # or "one-cycle": warm-up, then cosine to 0 (Smith & Topin 2018)
    mirror: bool = False  # mirror half of the training images left-right, drawn anew each epoch
    seed: int = 0  # order of the images, noise of z
    precision: str = "auto"  # "float32", "bfloat16", or auto: bfloat16 where it is faster

    def __post_init__(self):
        for name, least in (("batch_size", 1), ("epochs", 1), ("patience", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or not least <= value < 2**32:
                raise LabError(f"TrainConfig({name}={value!r}): give a whole number from {least} to 2**32 - 1.")
            object.__setattr__(self, name, int(value))  # numpy's numbers cannot be kept in a record
        for name in ("lr", "beta", "min_delta", "weight_decay"):
            value = getattr(self, name)
            number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
            if not number or value < 0 or (name == "lr" and value == 0):
                bound = "above 0" if name == "lr" else "of at least 0"
                raise LabError(f"TrainConfig({name}={value!r}): give a finite number {bound}.")
            object.__setattr__(self, name, value if isinstance(value, int | float) else float(value))
        known_values = {
            "likelihood": tuple(LIKELIHOODS),
            "schedule": ("constant", "one-cycle"),
            "precision": ("auto", "float32", "bfloat16"),
        }
        if not isinstance(self.mirror, bool):
            raise LabError(f"TrainConfig(mirror={self.mirror!r}): give True or False.")
        for name, known in known_values.items():
            if getattr(self, name) not in known:
                raise LabError(f"TrainConfig({name}={getattr(self, name)!r}): choose one of {', '.join(known)}.")


def stops_at(val_losses, patience, min_delta):
    """The epoch (from 1) at which early stopping ends a run with these validation losses, or None: go on.

    An epoch improves if it lowers the best loss so far by more than min_delta; `patience` epochs in a row that do
    not improve end the run (the rule of Keras's EarlyStopping).
    """
    best, waited = math.inf, 0
    for epoch, loss in enumerate(val_losses, start=1):
        if loss < best - min_delta:
            best, waited = loss, 0
        else:
            waited += 1
        if waited >= patience:
            return epoch
    return None


def progress_bar(images, name, done=0, disable=False):
    """A bar that counts images, redrawn at most once a second: nbval fails a cell that prints without a pause."""
    return tqdm(
        total=images,
        initial=done,
        desc=name,
        unit=" images",
        unit_scale=True,
        mininterval=1,
        file=sys.stdout,  # Jupyter paints stderr red
        leave=False,
        disable=disable,
    )


def fit(model, train, val, config, checkpoint=None, progress=True, name="training"):
    """Train a model in place and return the record of the run (a JSON-able dict).

    train, val: ImageDataset; val=None: no early stopping. The model ends with the weights of its best validation
    loss (of the last epoch without val), where it was before: on a GPU it is only to be trained. checkpoint: a path,
    written after every epoch; if it is there, the run goes on from it, and ends with the same weights as an
    uninterrupted one (on a CPU, with as many processes). Inside `distributed.joined()` the processes of torchrun
    train together, and the first one writes.
    record: config, model, data, history (one dict an epoch: train_loss, train_reconstruction, train_kl, val_...,
    seconds; losses per image), best_epoch, stopped_early, seconds, processes, device, versions, profile.
    Raises LabError if the loss stops being finite (the model then holds the last good weights), or if the
    checkpoint belongs to another configuration.
    """
    if len(train) == 0 or (val is not None and len(val) == 0):
        raise LabError("The training or validation set is empty; give at least one image, or val=None.")
    if settings.LAUNCHED_BY_TORCHRUN and not distributed.is_active():
        raise LabError(
            "torchrun started this program, but fit is not called inside `with vae_lib.engine.distributed.joined():`."
        )
    if config.batch_size < distributed.world_size():
        raise LabError(
            f"A batch of {config.batch_size} cannot be shared by {distributed.world_size()} processes: "
            "start fewer, or make the batch larger."
        )
    checkpoint = None if checkpoint is None else Path(checkpoint)
    with at_work(model):
        run, history, best = run_epochs(model, train, val, config, checkpoint, progress, name)
    model.load_state_dict(best)
    model.eval()
    record = {
        **run,
        "history": history,
        "best_epoch": best_epoch(history),
        "stopped_early": len(history) < config.epochs,
        "seconds": sum(row["seconds"] for row in history),
        "processes": distributed.world_size(),
        **settings.surroundings(),
    }
    if progress:
        print(f"{name}: trained on {summary(record)}")
    return record


def run_epochs(model, train, val, config, checkpoint, progress, name):
    """The epochs of `fit`, on the device where the model is: -> (description of the run, history, best weights)."""
    optimizer = prepare(model, config)
    run = describe_run(model, train, val, config)
    history, best = [], copy_state(model)
    if checkpoint is not None:
        history, best = resume_everywhere(checkpoint, model, optimizer, run)
        if history and progress:
            print(f"{name}: going on after epoch {len(history)}, from {checkpoint}")
    # DistributedDataParallel gives all processes the first one's weights, and every step the mean of their gradients
    step = TrainingStep(DistributedDataParallel(model) if distributed.is_active() else model, optimizer, config)
    train, val = on_device(train), None if val is None else on_device(val)
    bar = progress_bar(config.epochs * len(train), name, len(history) * len(train), not progress)
    with bar:
        while len(history) < config.epochs and not is_stopped(history, config):
            epoch = len(history) + 1
            start = time.perf_counter()
            means = train_epoch(step, train, epoch, bar.update)
            losses = {f"train_{part}": value for part, value in zip(ElboLoss._fields, means)}
            if val is not None:
                means = validate(model, val, config)
                losses |= {f"val_{part}": value for part, value in zip(ElboLoss._fields, means)}
            if not all(math.isfinite(value) for value in losses.values()):
                model.load_state_dict(best)
                raise LabError(
                    f"The loss of {name} is not finite in epoch {epoch} (lr {config.lr:g}, beta {config.beta:g}): "
                    f"the model is back at its weights of epoch {best_epoch(history)}, "
                    f"{f'kept in {checkpoint}' if checkpoint and history else 'in memory only'}; "
                    "lower the learning rate and train again."
                )
            history.append({"epoch": epoch, **losses, "seconds": time.perf_counter() - start})
            if best_epoch(history) == epoch:
                best = copy_state(model)
            shown = {key: f"{losses[key]:.2f}" for key in ("train_loss", "val_loss") if key in losses}
            bar.set_postfix(shown, refresh=False)
            if checkpoint is not None and distributed.rank() == 0:
                save_checkpoint(checkpoint, model, optimizer, best, {**run, "history": history})
    return run, history, best


def validate(model, val, config):
    """Mean (loss, reconstruction, kl) of the validation set, one draw of z; of several processes each does a share."""
    distributed.share_buffers(model)
    share = val.select(slice(distributed.rank(), None, distributed.world_size()))
    sums = torch.zeros(3, dtype=torch.float64, device=settings.DEVICE)
    if len(share):
        with autocast(settings.DEVICE, config.precision):
            means = evaluate(model, share, config.beta, config.likelihood, sample=True, seed=distributed.rank())
        sums += torch.tensor(means, dtype=torch.float64, device=settings.DEVICE) * len(share)
    return (distributed.total(sums) / len(val)).tolist()


def resume_everywhere(checkpoint, model, optimizer, run):
    """Go on from the checkpoint, if the first process has one: -> (history, best weights), as at the start if not.

    The other processes may be on machines that do not see the file, so they get what is in it.
    """
    history, best, content = [], copy_state(model), None
    if distributed.rank() == 0 and checkpoint.exists():
        history, best = resume(checkpoint, model, optimizer, run)
        content = checkpoint.read_bytes()
    content = distributed.from_first(content)
    if distributed.rank() > 0 and content is not None:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / checkpoint.name
            copy.write_bytes(content)
            history, best = resume(copy, model, optimizer, run)
    return history, best


def is_stopped(history, config):
    """True if early stopping has ended the run with this history."""
    val_losses = [row["val_loss"] for row in history if "val_loss" in row]
    return stops_at(val_losses, config.patience, config.min_delta) is not None


def best_epoch(history):
    """Epoch of the lowest validation loss; without validation the last epoch; 0 before the first."""
    return min(history, key=lambda row: (row.get("val_loss", 0), -row["epoch"]), default={"epoch": 0})["epoch"]


def train_or_load(name, build, config, train, val, test=None, repeats=0, weights=True):
    """The model called `name`: loaded if its shipped weights fit, else trained as the profile allows.

    build: function without arguments that returns an untrained model; test: measured once, after training, and
    kept in the record as record["test"] = {"posterior_mean": [loss, reconstruction, kl], "one_sample": [...]}.
    repeats: train that many more models with the next seeds, to see how much chance is in a result; only their numbers
    are kept, as record["repeats"] = a list of {"seed", "history", "test"} (shipped records may hold more than asked).
    weights=False: only the record is shipped, for comparisons that need no more; the model is None where it is read.
    lab: weights from data/pretrained are used if architecture, configuration and data are the same; otherwise a short
    run on the spot, never saved. quick: always a very short run. full: the whole run, resumed from its checkpoint if
    there is one, then written to data/pretrained; weights of another configuration there are an error, not a victim.
    Returns (model in evaluation mode, record), and prints which of these happened.
    """
    torch.manual_seed(config.seed)
    model = build()
    profile = settings.PROFILE
    writes_results = profile.writes_results and train.source == "real"  # models of synthetic images are never shipped
    path = pretrained_path(name) if weights else record_path(name)
    if profile.loads_weights and path.exists():
        shipped, record = load_pretrained(name) if weights else (None, load_record(name))
        other = difference(describe_run(model, train, val, config), record)
        if other is None and (found := len(record.get("repeats", []))) < repeats:
            other = f"{repeats} repeats are asked for and {found} are there"
        if other is None and test is not None and "test" not in record:
            other = "they were never tested"
        if other is None:
            print(f"{name}: loaded, trained on {summary(record)}")
            return shipped, record
        refuse_or_tell(path, "run", other, writes_results)
    config = affordable(config, train)
    checkpoint = settings.CHECKPOINT_DIR / f"{name}.safetensors" if writes_results else None
    record = fit(model, train, val, config, checkpoint=checkpoint, name=name)
    if writes_results and weights:
        round_to_half(model)
    if test is not None:
        record["test"] = losses_on(test, model, config)
    for seed in range(config.seed + 1, config.seed + 1 + repeats):
        torch.manual_seed(seed)
        again = build()
        history = fit(again, train, val, replace(config, seed=seed), name=f"{name}, seed {seed}")["history"]
        repeat = {"seed": seed, "history": history}
        if test is not None:
            repeat["test"] = losses_on(test, again, config)
        record.setdefault("repeats", []).append(repeat)
    if writes_results:
        if weights:
            with at_work(model):
                record["vectors"] = vectors_for_record(model, train)
            save_pretrained(name, model, record)
        else:
            save_record(name, record)
        checkpoint.unlink(missing_ok=True)
    return model, record


def refuse_or_tell(path, kind, other, writes_results):
    """A shipped run or classifier does not fit: LabError if it would be overwritten, else a line that says why."""
    if writes_results:
        raise LabError(f"{path} holds another {kind} ({other}); rename or delete it, then train again.")
    print(f"{path.stem}: the shipped weights do not fit, since {other}")


def affordable(config, train):
    """The configuration, with as many epochs as the profile allows.

    An image larger than 32x32 counts as several; stand-ins never train longer than in the lab profile. A run that is
    cut short has no time for the warm-up that a large learning rate needs: it gets 1e-3 at most.
    """
    images = settings.PROFILE.images_per_training
    if images is None and train.source == "synthetic":
        images = settings.PROFILES["lab"].images_per_training
    if images is None:
        return config
    cost = len(train) * max(1, math.prod(train.image_shape[1:]) / 32**2)
    epochs = max(1, int(images / cost))
    return config if epochs >= config.epochs else replace(config, epochs=epochs, lr=min(config.lr, 1e-3))


def load_or_repeat(name, train, val):
    """The shipped model `name`, or, where profile or data do not allow it, its recipe repeated on these data.

    Architecture and configuration come from the shipped record; otherwise as train_or_load. -> (model, record).
    """
    _, record = load_pretrained(name)
    return train_or_load(name, partial(build_model, record["model"]), TrainConfig(**record["config"]), train, val)


def losses_on(dataset, model, config):
    """{"posterior_mean": [loss, reconstruction, kl], "one_sample": [...]} of a trained model, per image."""
    with at_work(model):
        return {
            kind: list(evaluate(model, dataset, config.beta, config.likelihood, sample=kind == "one_sample"))
            for kind in ("posterior_mean", "one_sample")
        }


def summary(record):
    """One line on a record: what the model was trained on, for how long, how well."""
    data, last = record["data"], record["history"][-1]
    losses = ", ".join(f"{key.replace('_', ' ')} {last[key]:.2f}" for key in ("train_loss", "val_loss") if key in last)
    epochs = f"{last['epoch']} epoch{'s' if last['epoch'] > 1 else ''}"
    how = f"{record['profile']} profile, {record['device']}"
    return f"{data['source']} {data['name']} ({how}), {epochs}, {losses}"
