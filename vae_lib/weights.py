"""Weights and checkpoints on disk: safetensors (no pickle) with the record of the run as JSON in the header.

Every file is written under a temporary name and renamed, so what is on disk is whole: the old one or the new one.
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vae_lib import settings
from vae_lib.errors import LabError, near_names
from vae_lib.files import replacing
from vae_lib.models import build_model


def write_tensors(path, tensors, record):
    """Write named tensors and a JSON-able record to `path`, all or nothing."""
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, {"record": json.dumps(record)})
        temporary.chmod(0o644)  # save_file makes it private


def read_tensors(path):
    """The tensors and the record of a file that `write_tensors` made; LabError if it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})["record"])
            return {name: file.get_tensor(name) for name in file.keys()}, record  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise LabError(f"There is no file {path}; check the name.") from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise LabError(f"{path} is damaged ({error}); restore it with git, or delete it and train again.") from None


def load_state(model, tensors, path):
    """Copy tensors into the model; LabError if names or shapes differ, or a value is not finite."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != expected:
        name = next(iter(dict(found.items() ^ expected.items())))
        raise LabError(
            f"{path} does not fit this model: {name} is {found.get(name, 'absent')} in the file "
            f"and {expected.get(name, 'absent')} in the model; build the model from the file's own configuration."
        )
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise LabError(f"{path} holds values that are not finite; restore it with git, or delete it and train again.")
    model.load_state_dict(tensors)


def round_to_half(model):
    """Round the parameters to what half precision can hold, so that saved and live model are the same model."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
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
        raise LabError(f"{path} has no model configuration in its header; delete it and train again.")
    model = build_model(record["model"])
    load_state(model, tensors, path)
    settings.keep_freed_memory()
    return model.to(memory_format=torch.channels_last).eval(), record


def pretrained_path(name):
    """Where the weights called `name` lie or would lie; a name that ends in .safetensors is a path itself."""
    return Path(name) if str(name).endswith(".safetensors") else settings.PRETRAINED_DIR / f"{name}.safetensors"


def save_record(name, record):
    """Write data/pretrained/<name>.json: what is kept of a run whose weights nobody needs."""
    with replacing(record_path(name)) as temporary:
        temporary.write_text(json.dumps(record), encoding="utf-8")


def load_record(name):
    """The record that save_record wrote; LabError if it is damaged."""
    path = record_path(name)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError("no record")
        return record
    except ValueError as error:
        raise LabError(f"{path} is damaged ({error}); restore it with git, or delete it and train again.") from None


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
    groups = {"model": {}, "best": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        group, key = name.split(".", 1)
        groups[group][key] = tensor.to(settings.DEVICE)
    load_state(model, groups["best"], path)
    best = copy_state(model)
    load_state(model, groups["model"], path)
    state = {}
    for i, parameter in enumerate(model.parameters()):
        names = [key for key in groups["optimizer"] if key.startswith(f"{i}.")]
        state[i] = {key.split(".")[1]: like(groups["optimizer"][key], parameter) for key in names}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return record["history"], best


def like(tensor, parameter):
    """The tensor in the memory layout of its parameter, which fused optimisers take for granted."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
