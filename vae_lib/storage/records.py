"""The record of a run: what was trained, on what, how, with which losses. It is JSON, beside the weights."""

import json
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from vae_lib import settings
from vae_lib.checks import LabError
from vae_lib.engine.device import hardware
from vae_lib.storage.files import reading

RECORD_TYPES = {
    **dict.fromkeys(("model", "config", "data", "test", "vectors", "paired_vectors"), dict),
    **dict.fromkeys(("history", "repeats"), list),
    **dict.fromkeys(("profile", "device"), str),
}


def describe_run(model, train, val, config):
    """What must agree for two runs to be the same run, as JSON would give it back."""
    data = {"name": train.name, "source": train.source, "image_shape": train.image_shape, "train": len(train)}
    data |= {"val": 0 if val is None else len(val), "crop": train.crop}
    return json.loads(json.dumps({"config": asdict(config), "model": config_of(model), "data": data}))


def config_of(model):
    """The `config` of a model, as JSON gives it back. LabError if it has none, or one that JSON cannot hold."""
    if not isinstance(config := getattr(model, "config", None), dict):
        raise LabError(
            f"A {type(model).__name__} has no config, which a record needs; derive the model from vae_lib.models.VAE."
        )
    try:
        return json.loads(json.dumps(config))
    except (TypeError, ValueError) as error:
        raise LabError(f"The config of a model holds numbers, words and lists of them only ({error}).") from None


def record_of(model, record):
    """The record as it is kept beside the weights of a model: with its config, and the profile that writes it. LabError
    if it is another model's, or could not be read again."""
    config = config_of(model)
    try:
        record = json.loads(json.dumps({"model": config, **record, "profile": settings.PROFILE.name}))
        parse_record(json.dumps(record))
    except (TypeError, ValueError) as error:
        raise LabError(f"This record could not be read again ({error}); give the one that fit returned.") from None
    if other := difference({"model": config, "data": {}, "config": {}}, {"model": record["model"]}):
        raise LabError(f"This record is of another model: {other}; give the one that fit returned for this model.")
    return record


def difference(run, record, any_images=False):
    """The first thing in which a run and a record differ, in words; None if nothing does.

    any_images: what only says which images were at hand does not count; of attributes, those here must be known there.
    """
    of_images = {"name", "source", "train", "val", "crop"} if any_images else set()
    for part in ("data", "config", "model"):
        ours, theirs = run[part], record.get(part, {})
        if any_images and set(ours.get("attributes", ())) <= set(theirs.get("attributes", ())):
            ours = {**ours, "attributes": theirs["attributes"]} if "attributes" in theirs else ours
        for key in ours | theirs:
            if not (part == "data" and key in of_images) and ours.get(key) != theirs.get(key):
                return f"{part} {key} is {ours.get(key)!r} here and {theirs.get(key)!r} there"
    return None


def summary(record):
    """One line on a record: what the model was trained on, for how long, how well."""
    data, last = record["data"], record["history"][-1]
    losses = ", ".join(f"{key.replace('_', ' ')} {last[key]:.2f}" for key in ("train_loss", "val_loss") if key in last)
    epochs = f"{last['epoch']} epoch{'s' if last['epoch'] > 1 else ''}"
    how = f"{record['profile']} profile, {record['device']}"
    return f"{data['source']} {data['name']} ({how}), {epochs}, {losses}"


def environment():
    """Where and how the numbers of a record were made."""
    return {"device": hardware(), "versions": versions(), "profile": settings.PROFILE.name}


def versions():
    """Versions that can change a number, for records and notebook headers."""
    import torchvision  # here, since importing it takes a second

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # a class of its own, which torch.load would refuse
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
    }


def show_setup(*datasets):
    """Print what a notebook's numbers depend on: profile, machine, data, versions."""
    print(f"profile {settings.PROFILE.name} | {hardware()}", *dict.fromkeys(map(repr, datasets)), sep="\n")
    print(" | ".join(f"{name} {version}" for name, version in versions().items()))


def parse_record(text):
    """The record of a run from its JSON.

    ValueError, saying why, if a part that is read later is not of the kind that was written.
    """
    try:
        record = json.loads(text)
    except RecursionError:
        raise ValueError("its record is nested too deeply") from None
    if not isinstance(record, dict):
        raise ValueError("it has no record of a training")
    for part, kind in RECORD_TYPES.items():
        if not isinstance(record.get(part, kind()), kind):
            raise ValueError(f"{part} in its record is no {kind.__name__}")
    history, data, test = record.get("history", []), record.get("data", {}), record.get("test", {})
    if not all(isinstance(row, dict) and all_numbers(row) for row in history):
        raise ValueError("the history in its record is none of losses")
    if [row.get("epoch") for row in history] != list(range(1, len(history) + 1)):
        raise ValueError("the history in its record is not one of epochs")
    if history and not all(isinstance(data.get(key), str) for key in ("name", "source")):
        raise ValueError("its record does not say what it was trained on")
    vectors = [*record.get("vectors", {}).values(), *record.get("paired_vectors", {}).values()]
    if not all(map(all_numbers, [*test.values(), *vectors])) or not all(isinstance(v, list) for v in vectors):
        raise ValueError("its record holds results that are no numbers")
    of_vae = all(isinstance(test.get(of), list) and len(test[of]) == 3 for of in ("posterior_mean", "one_sample"))
    if test and not of_vae and not (isinstance(test.get("photographs"), dict) and test["photographs"]):
        raise ValueError("the test results in its record are not whole")
    return record


def read_record(path):
    """The record in a JSON file, of a run whose weights are not kept; LabError if it is damaged."""
    with reading(path):
        content = path.read_bytes()
    try:
        record = parse_record(content)
    except ValueError as error:
        raise damaged(path, error) from None
    check_finished(record, path)
    return record


def all_numbers(values):
    """True for a list or dict of finite numbers."""
    values = values.values() if isinstance(values, dict) else values
    return isinstance(values, Iterable) and all(
        isinstance(x, int | float) and abs(x) < sys.float_info.max for x in values
    )


def check_finished(record, path):
    """LabError unless a record is that of a finished training."""
    for part in ("data", "history", "profile", "device"):
        if not record.get(part):
            raise damaged(path, f"its record has no {part}")


def damaged(path, why):
    """The error of a file that cannot be used."""
    restore = "restore it with git, or " if Path(path).parent == settings.PRETRAINED_DIR else ""
    return LabError(f"{path} is damaged ({why}); {restore}delete it and train again.")


def diverged(name, config, epoch, kept, checkpoint):
    """The error of a training whose loss is not finite in an epoch; kept: the epoch whose weights the model has."""
    where = f"kept in {checkpoint}" if checkpoint and kept else "in memory only"
    return LabError(
        f"The loss of {name} is not finite in epoch {epoch} (lr {config.lr:g}, beta {config.beta:g}): the model is "
        f"back at its weights of epoch {kept}, {where}; lower the learning rate and train again."
    )
