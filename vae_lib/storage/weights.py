"""Weights and checkpoints on disk: safetensors (no pickle) with the record of the run as JSON in the header.

Every file is written under a temporary name and renamed, so what is on disk is whole: the old one or the new one.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vae_lib.checks import LabError
from vae_lib.storage.files import reading, replacing, writing
from vae_lib.storage.records import damaged, difference, parse_record


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
                metadata = file.metadata() or {}
                if "record" not in metadata:
                    raise without_record(path)
                record = parse_record(metadata["record"])
                names = file.keys()  # of copies: Windows cannot replace a file that tensors are mapped to
                return {name: file.get_tensor(name).clone() for name in names}, record
        except LabError:
            raise
        except (SafetensorError, ValueError) as error:
            raise damaged(path, error) from None


def without_record(path):
    """The error of a whole file of tensors that others than `write_tensors` made."""
    return LabError(
        f"{path} holds tensors without vae_lib's record of a run, as safetensors.torch.save_file writes them; build "
        "the model with the code that made it, then model.load_state_dict(safetensors.torch.load_file(path))."
    )


def is_checkpoint(tensors):
    """Whether these are the tensors of an unfinished run."""
    return any(name.startswith("optimizer.") for name in tensors)


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


def round_to_half(model):
    """Round the parameters to what half precision can hold, so that saved and live model are the same model.

    LabError if they are too large for it; the model is then unchanged.
    """
    for tensor, half in zip(model.state_dict().values(), in_half(model).values()):
        tensor.copy_(half)


def in_half(model):
    """Parameters and buffers, floats in half precision; LabError if one is too large for it."""
    state = {name: x.half() if x.is_floating_point() else x for name, x in model.state_dict().items()}
    if not all(torch.isfinite(x).all() for x in state.values()):
        raise LabError(
            "The weights have grown beyond 65,504, the largest number of half precision, so this training has diverged "
            "and is not kept; lower the learning rate and train again."
        )
    return state


# --- checkpoints of unfinished runs ---


def copy_state(model):
    """A copy of the model's parameters and buffers."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def save_checkpoint(path, model, optimizer, best, run):
    """Write all that a run needs to go on: weights, best weights, optimiser state, history."""
    state = optimizer.state_dict()["state"]
    unmoved = {i: p for i, p in enumerate(model.parameters()) if p.requires_grad and i not in state}
    state |= {i: fresh_moments(p) for i, p in unmoved.items()}
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor.clone() for name, tensor in best.items()}
    tensors |= {f"optimizer.{i}.{key}": value for i, values in state.items() for key, value in values.items()}
    write_tensors(Path(path), tensors, run)


def fresh_moments(parameter):
    """Adam's state of a parameter that no gradient has reached, for which torch keeps none."""
    return {"step": torch.zeros(()), "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}


def read_checkpoint(path):
    """The tensors and the record of a checkpoint, or None if there is none."""
    return read_tensors(path) if path is not None and Path(path).exists() else None


def restore(saved, path, model, optimizer, run):
    """Bring model and optimiser to where a checkpoint, as read from `path`, left them: -> (history, best weights).

    Without one (saved=None): ([], the weights as they are). LabError if it belongs to another run, or is damaged.
    """
    if saved is None:
        return [], copy_state(model)
    tensors, record = saved
    if "model" in record and not is_checkpoint(tensors) and any(name in tensors for name in model.state_dict()):
        raise LabError(f"{path} holds the weights of a finished run, no checkpoint; give the checkpoint another path.")
    if other := difference(run, record):
        raise LabError(f"{path} belongs to another run: {other}; delete it to start afresh.")
    if not record.get("history"):
        raise damaged(path, "its record has no history")
    parameters = {i: p for i, p in enumerate(model.parameters()) if p.requires_grad}  # fixed ones have no moments
    state = model.state_dict()
    expected = {f"{part}.{name}": tensor for part in ("model", "best") for name, tensor in state.items()}
    expected |= {f"optimizer.{i}.{key}": p for i, p in parameters.items() for key in ("exp_avg", "exp_avg_sq")}
    expected |= {f"optimizer.{i}.step": torch.zeros(()) for i in parameters}
    check_tensors(tensors, expected, path)
    tensors = {name: tensor.to(next(model.parameters()).device) for name, tensor in tensors.items()}
    moments = {
        i: {key: like(tensors[f"optimizer.{i}.{key}"], p) for key in ("step", "exp_avg", "exp_avg_sq")}
        for i, p in parameters.items()
    }
    model.load_state_dict({name: tensors[f"model.{name}"] for name in state})
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return record["history"], {name: like(tensors[f"best.{name}"], tensor) for name, tensor in state.items()}


def like(tensor, parameter):
    """The tensor in the memory layout of its parameter, as fused optimisers need it."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
