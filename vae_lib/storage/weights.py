"""Weights and checkpoints on disk: safetensors (no pickle) with the record of the run as JSON in the header.

Every file is written under a temporary name and renamed, so what is on disk is whole: the old one or the new one.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vae_lib import settings
from vae_lib.checks import LabError, near_names
from vae_lib.models import build_model
from vae_lib.storage.files import reading, replacing, write_json, writing

KINDS = {
    **dict.fromkeys(("model", "config", "data", "test", "vectors"), dict),
    **dict.fromkeys(("history", "repeats"), list),
    **dict.fromkeys(("profile", "device"), str),
}  # of the parts of a record


def write_tensors(path, tensors, record):
    """Write named tensors and a JSON-able record to `path`, all or nothing; LabError if the disk refuses."""
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with writing(path), replacing(path) as temporary:
        save_file(tensors, temporary, {"record": json.dumps(record)})
        temporary.chmod(0o644)  # save_file makes it private


def read_tensors(path):
    """The tensors and the record of a file that `write_tensors` made; LabError if it is damaged."""
    if not Path(path).exists():
        raise LabError(f"There is no file {path}; check the name.")
    with reading(path):
        try:
            with safe_open(path, framework="pt") as file:
                record = parse_record((file.metadata() or {}).get("record", "null"))
                return {name: file.get_tensor(name) for name in file.keys()}, record  # noqa: SIM118 (not a dict)
        except (SafetensorError, ValueError) as error:
            raise damaged(path, error) from None


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
    for part, kind in KINDS.items():
        if not isinstance(record.get(part, kind()), kind):
            raise ValueError(f"{part} in its record is no {kind.__name__}")
    history = record.get("history", [])
    if not all(isinstance(row, dict) and all_numbers(row) for row in history):
        raise ValueError("the history in its record is none of losses")
    if [row.get("epoch") for row in history] != list(range(1, len(history) + 1)):
        raise ValueError("the history in its record is not one of epochs")
    if history and not all(isinstance(record.get("data", {}).get(key), str) for key in ("name", "source")):
        raise ValueError("its record does not say what it was trained on")
    test, vectors = record.get("test", {}), record.get("vectors", {})
    if not all(map(all_numbers, [*test.values(), *vectors.values()])):
        raise ValueError("its record holds results that are no numbers")
    losses = [test.get(kind) for kind in ("posterior_mean", "one_sample")]
    of_classifier = isinstance(test.get("photographs"), dict) and test["photographs"]
    if test and not of_classifier and not all(isinstance(values, list) and len(values) == 3 for values in losses):
        raise ValueError("the test results in its record are not whole")
    return record


def check_finished(record, path):
    """LabError unless a record is that of a finished training."""
    for part in ("data", "history", "profile", "device"):
        if not record.get(part):
            raise damaged(path, f"its record has no {part}")


def all_numbers(values):
    """True for a list or dict of finite numbers."""
    values = values.values() if isinstance(values, dict) else values
    return isinstance(values, Iterable) and all(isinstance(x, int | float) and math.isfinite(x) for x in values)


def damaged(path, why):
    """The error of a file that cannot be used."""
    restore = "restore it with git, or " if Path(path).parent == settings.PRETRAINED_DIR else ""
    return LabError(f"{path} is damaged ({why}); {restore}delete it and train again.")


def check_tensors(found, expected, path):
    """LabError unless a file's tensors have the names, shapes and kinds of the expected ones, and finite values."""

    def describe(tensors):
        half = (torch.float16, torch.float32)  # weights are kept in the one, checkpoints in the other
        return {
            name: f"{tuple(tensor.shape)} {'float' if tensor.dtype in half else tensor.dtype}"
            for name, tensor in tensors.items()
        }

    found_ones, expected_ones = describe(found), describe(expected)
    if found_ones != expected_ones:
        name = sorted(dict(found_ones.items() ^ expected_ones.items()))[0]
        raise LabError(
            f"{path} does not fit this model: {name} is {found_ones.get(name, 'absent')} in the file and "
            f"{expected_ones.get(name, 'absent')} in the model; build the model from the file's own configuration."
        )
    for name, tensor in found.items():
        if not torch.isfinite(tensor).all() or (name.endswith("running_var") and (tensor < 0).any()):
            raise damaged(path, f"{name} holds values that are not finite, or negative variances")


def load_state(model, tensors, path):
    """Copy tensors into the model; LabError if names, shapes or kinds differ, or a value is not finite."""
    check_tensors(tensors, model.state_dict(), path)
    model.load_state_dict(tensors)


def round_to_half(model):
    """Round the parameters to what half precision can hold, so that saved and live model are the same model.

    LabError if they are too large for it; the model is then unchanged.
    """
    tensors = [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
    if not all(torch.isfinite(tensor.half()).all() for tensor in tensors):
        raise LabError(
            "The weights have grown beyond 65,504, the largest number of half precision, so this training has diverged "
            "and is not kept; lower the learning rate and train again."
        )
    for tensor in tensors:
        tensor.copy_(tensor.half())


def save_pretrained(name, model, record):
    """Write half-precision weights, the record in the header, to `pretrained_path(name)`. Returns the path."""
    tensors = {
        key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in model.state_dict().items()
    }
    path = pretrained_path(name)
    write_tensors(path, tensors, record)
    return path


def load_pretrained(name):
    """The shipped model `name`, or that of a .safetensors file, and its record: -> (model in evaluation mode, record).

    Raises LabError for an unknown name (the known ones are listed) or a missing or damaged file.
    """
    path = pretrained_path(name)
    if path.parent == settings.PRETRAINED_DIR and not path.exists():
        known = sorted(file.stem for file in settings.PRETRAINED_DIR.glob("*.safetensors"))
        near = near_names(name, known)
        raise LabError(f"There are no weights called {name!r} in {settings.PRETRAINED_DIR}; there are: {near}.")
    tensors, record = read_tensors(path)
    if "model" not in record:
        raise damaged(path, "its record describes no model")
    try:
        with torch.device("meta"):  # sizes only: a file that claims huge ones costs no memory
            model = build_model(record["model"])
    except LabError as error:
        raise damaged(path, error) from None
    check_tensors(tensors, model.state_dict(), path)
    if "config" in record:
        check_finished(record, path)
    model.to_empty(device="cpu").load_state_dict(tensors)
    settings.keep_freed_memory()
    return model.to(memory_format=torch.channels_last).eval(), record


def pretrained_path(name):
    """Where the weights called `name` lie or would lie; a name that ends in .safetensors is a path itself."""
    return Path(name) if str(name).endswith(".safetensors") else settings.PRETRAINED_DIR / f"{name}.safetensors"


def save_record(name, record):
    """Write data/pretrained/<name>.json: what is kept of a run whose weights nobody needs."""
    write_json(record_path(name), record)


def load_record(name):
    """The record that save_record wrote; LabError if it is damaged."""
    path = record_path(name)
    with reading(path):
        content = path.read_bytes()
    try:
        record = parse_record(content)
    except ValueError as error:
        raise damaged(path, error) from None
    check_finished(record, path)
    return record


def record_path(name):
    """Where the record of the run `name` lies or would lie."""
    return settings.PRETRAINED_DIR / f"{name}.json"


# --- checkpoints of unfinished runs ---


def describe_run(model, train, val, config):
    """What must agree for two runs to be the same run, as JSON would give it back."""
    data = {"name": train.name, "source": train.source, "image_shape": train.image_shape, "train": len(train)}
    data |= {"val": 0 if val is None else len(val), "crop": train.crop}
    return json.loads(json.dumps({"config": asdict(config), "model": model.config, "data": data}))


def difference(run, record):
    """The first thing in which a run and a record differ, in words; None if nothing does."""
    for part in ("data", "config", "model"):
        ours, theirs = run[part], record.get(part, {})
        for key in ours | theirs:
            if ours.get(key) != theirs.get(key):
                return f"{part} {key} is {ours.get(key)!r} here and {theirs.get(key)!r} there"
    return None


def copy_state(model):
    """A copy of the model's parameters and buffers."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def save_checkpoint(path, model, optimizer, best, run):
    """Write all that a run needs to go on: weights, best weights, optimiser state, history."""
    state = optimizer.state_dict()["state"]
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor.clone() for name, tensor in best.items()}
    tensors |= {f"optimizer.{i}.{key}": value for i, values in state.items() for key, value in values.items()}
    write_tensors(path, tensors, run)


def resume(path, model, optimizer, run):
    """Restore model and optimiser from a checkpoint: -> (history, best weights)."""
    tensors, record = read_tensors(path)
    if other := difference(run, record):
        raise LabError(f"{path} belongs to another run: {other}; delete it to start afresh.")
    if not record.get("history"):
        raise damaged(path, "its record has no history")
    parameters, state = dict(enumerate(model.parameters())), model.state_dict()
    expected = {f"{part}.{name}": tensor for part in ("model", "best") for name, tensor in state.items()}
    expected |= {f"optimizer.{i}.{key}": p for i, p in parameters.items() for key in ("exp_avg", "exp_avg_sq")}
    expected |= {f"optimizer.{i}.step": torch.zeros(()) for i in parameters}
    check_tensors(tensors, expected, path)
    tensors = {name: tensor.to(settings.DEVICE) for name, tensor in tensors.items()}
    moments = {
        i: {key: like(tensors[f"optimizer.{i}.{key}"], p) for key in ("step", "exp_avg", "exp_avg_sq")}
        for i, p in parameters.items()
    }
    model.load_state_dict({name: tensors[f"model.{name}"] for name in state})
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return record["history"], {name: like(tensors[f"best.{name}"], tensor) for name, tensor in state.items()}


def like(tensor, parameter):
    """The tensor in the memory layout of its parameter, which fused optimisers take for granted."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
