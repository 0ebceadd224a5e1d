"""Weights, records and checkpoints that attack: nothing of them runs, nothing large is built, each gets a sentence."""

import io
import json
import os
import pickle
import struct
from contextlib import suppress

import numpy as np
import pytest
import torch
from safetensors.torch import save

from official_files import write_celeba, write_mnist
from vae_lib import load_dataset, settings
from vae_lib.checks import LONGEST, LabError
from vae_lib.cli.parser import main, read_config
from vae_lib.data.cache import cache_folder
from vae_lib.models import ConvVAE
from vae_lib.pretrained import build_model, load_pretrained, record_path, save_pretrained
from vae_lib.storage.records import read_record
from vae_lib.storage.weights import copy_state, read_tensors, write_tensors
from vae_lib.training import TrainConfig, fit

MODEL = {"class": "FCVAE", "image_shape": [1, 4, 4], "hidden": [3], "latent_dim": 2, "centre": 0.5}


def tensors():
    torch.manual_seed(0)
    return {name: tensor.half() for name, tensor in build_model(MODEL).state_dict().items()}


def file_of(record, found=None):
    """The bytes of a weights file with this record."""
    return save(found or tensors(), {"record": record if isinstance(record, str) else json.dumps(record)})


def with_header(header, rest=b"", length=None):
    """The bytes of a safetensors file with any header."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + rest


def model(**changes):
    return file_of({"model": {**MODEL, **changes}})


def tensor(**changes):
    entry = {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}
    return with_header({"__metadata__": {"record": "{}"}, "a": {**entry, **changes}}, bytes(4))


def changed(change):
    """A whole file, but for the weights of one layer."""
    name = "encoder.1.weight"
    return file_of({"model": MODEL}, {**tensors(), name: change(tensors()[name])})


WHOLE = file_of({"model": MODEL})
FILES = {
    "a pickle": pickle.dumps({"weights": [1.0]}),
    "a file of torch.save": (lambda buffer: (torch.save(tensors(), buffer), buffer.getvalue())[1])(io.BytesIO()),
    "nothing": b"",
    "cut off in the header": WHOLE[:100],
    "cut off in the weights": WHOLE[:-7],
    "a byte too many": WHOLE + b"!",
    "a header of 2**63 bytes": with_header({}, length=2**63),
    "a header longer than the file": with_header({}, length=10**6),
    "a header that is no JSON": with_header(b"{" * 50),
    "a header nested 100,000 deep": with_header(b'{"a":' * 10**5 + b"1" + b"}" * 10**5),
    "a tensor of 2**62 values": tensor(shape=[2**31, 2**31]),
    "a tensor of negative size": tensor(shape=[-2]),
    "a tensor of 2**64 values": tensor(shape=[2**32, 2**32]),
    "offsets outside of the file": tensor(data_offsets=[0, 10**9]),
    "offsets that run backwards": tensor(data_offsets=[4, 0]),
    "an unknown dtype": tensor(dtype="F1"),
    "no record": save(tensors()),
    "a record that is no JSON": file_of("{"),
    "a record nested 100,000 deep": file_of("[" * 10**5 + "]" * 10**5),
    "a record that is a list": file_of("[]"),
    "a record without a model": file_of({}),
    "a history that is no list": file_of({"model": MODEL, "history": "long"}),
    "a history of NaN": file_of({"model": MODEL, "history": [{"epoch": 1, "train_loss": float("nan")}]}),
    "vectors that are no numbers": file_of({"model": MODEL, "vectors": {"Smiling": ["much"]}}),
    "paired vectors that are no dict": file_of({"model": MODEL, "paired_vectors": [[0.5, -0.25]]}),
    "paired vectors that are no numbers": file_of({"model": MODEL, "paired_vectors": {"Smiling": ["much"]}}),
    "a paired vector that is one number": file_of({"model": MODEL, "paired_vectors": {"Smiling": 0.5}}),
    "a paired vector of NaN": file_of({"model": MODEL, "paired_vectors": {"Smiling": [0.5, float("nan")]}}),
    "a model of an unknown class": model(**{"class": "os.system"}),
    "a model whose class is a list": model(**{"class": []}),
    "a model with an unknown argument": model(device="cuda:9"),
    "a model of 10**12 latent dimensions": model(latent_dim=10**12),
    "a model of 10**30 latent dimensions": model(latent_dim=10**30),
    "a model of 10 GB": model(hidden=[50_000, 50_000]),
    "a model of 2**40 hidden units": model(hidden=[2**40, 2**40]),
    "a model of -1 latent dimensions": model(latent_dim=-1),
    "a model of 0.5 latent dimensions": model(latent_dim=0.5),
    "a model of images without pixels": model(image_shape=[1, 0, 4]),
    "a model of images of no shape": model(image_shape="large"),
    "a model whose centre is a word": model(centre="middle"),
    "weights of another shape": changed(lambda weight: weight.T.contiguous()),
    "a NaN among the weights": changed(lambda weight: weight.index_fill(0, torch.tensor(1), torch.nan)),
    "infinite weights": changed(lambda weight: weight / 0),
    "weights that are whole numbers": changed(lambda weight: weight.to(torch.int16)),
    "weights of eight bits": changed(lambda weight: weight.to(torch.float8_e4m3fn)),
    "a weight too many": file_of({"model": MODEL}, {**tensors(), "more": torch.zeros(1).half()}),
    "a weight too few": file_of({"model": MODEL}, dict(list(tensors().items())[1:])),
}


@pytest.mark.parametrize("fault", FILES)
def test_hostile_weights_are_refused(fault, tmp_path, bounded, note):
    path = tmp_path / "model.safetensors"
    path.write_bytes(FILES[fault])
    with pytest.raises(LabError) as caught:
        load_pretrained(str(path))
    kinds = "a pickle, cut off, hostile header, record or model, other shapes or dtypes, NaN"
    note(f"weights: {kinds}", 1, "refused", str(caught.value))
    assert str(path) in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) <= LONGEST
    assert path.read_bytes() == FILES[fault]
    assert main(["info", "--model", str(path)]) == 1


@pytest.mark.parametrize("fault", ["a model of 10**12 latent dimensions", "a model of 10 GB"])
def test_what_a_file_claims_is_compared_with_what_it_holds(fault, tmp_path):
    """Before memory is taken: otherwise there would be another reason to refuse it, or none."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(FILES[fault])
    with pytest.raises(LabError, match="does not fit this model"):
        load_pretrained(str(path))


def test_wrong_paired_vectors_are_called_damaged(tmp_path):
    path = tmp_path / "model.safetensors"
    for fault in (fault for fault in FILES if "paired vector" in fault):
        path.write_bytes(FILES[fault])
        with pytest.raises(LabError, match="is damaged .*(paired_vectors in its record is no dict|are no numbers)"):
            load_pretrained(str(path))


def test_the_same_file_without_a_fault_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(WHOLE)
    assert load_pretrained(str(path))[0].latent_dim == 2


def test_a_negative_variance_is_refused(tmp_path, note):
    model = ConvVAE((1, 8, 8), (4,), 2, batch_norm=True)
    model.encoder[1].running_var[2] = -1
    path = save_pretrained(tmp_path / "model.safetensors", model, {"model": model.config})
    with pytest.raises(LabError, match="running_var holds") as caught:
        load_pretrained(str(path))
    note("weights: a negative variance in batch normalisation", 1, "refused", str(caught.value))


@pytest.mark.parametrize("name", ["deep.json", "deep.toml"])
def test_a_configuration_nested_100000_deep(name, tmp_path, note):
    (tmp_path / name).write_text(("" if name.endswith("json") else "epochs = ") + "[" * 10**5 + "]" * 10**5)
    with pytest.raises(LabError) as caught:
        read_config(tmp_path / name)
    note("a configuration nested 100,000 deep", 1, "refused", str(caught.value))


def test_one_bad_file_does_not_hide_the_other_models(capsys, note):
    settings.PRETRAINED_DIR.mkdir()
    for i, content in enumerate(FILES.values()):
        (settings.PRETRAINED_DIR / f"bad{i:02}.safetensors").write_bytes(content)
    data, history = {"name": "mnist", "source": "real"}, [{"epoch": 1, "train_loss": 1.0}]
    good = {"model": MODEL, "data": data, "history": history}
    (settings.PRETRAINED_DIR / "good.safetensors").write_bytes(file_of(good))
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0]: line for line in lines if line.startswith(("  bad", "  good"))}
    note("`vae info` with all these weights", len(FILES), "the whole model is listed", listed["bad00"].strip())
    assert "FCVAE" in listed["good"] and "damaged" in listed["bad00"] and len(listed) == len(FILES) + 1


# --- checkpoints ---


def without(part):
    return lambda found, record: ({name: value for name, value in found.items() if not name.startswith(part)}, record)


def spoiled(name, value):
    return lambda found, record: ({**found, name: torch.full_like(found[name], value)}, record)


def with_record(**changes):
    return lambda found, record: (found, {**record, **changes})


MOMENT = "optimizer.0.exp_avg"
CHECKPOINTS = {
    "without the best weights": without("best."),
    "without the optimiser": without("optimizer."),
    "without a moment of the optimiser": without(MOMENT),
    "of a NaN among the moments": spoiled(MOMENT, torch.nan),
    "of infinite weights": spoiled("model.encoder.0.weight", torch.inf),
    "with a moment of another shape": lambda found, record: ({**found, MOMENT: torch.zeros(3)}, record),
    "with a tensor of another name": lambda found, record: ({**found, "nowhere": torch.zeros(3)}, record),
    "without a history": with_record(history=[]),
    "whose history has a hole": with_record(history=[{"epoch": 2, "train_loss": 1.0}]),
    "whose history is no list": with_record(history={"epoch": 1}),
    "of another run": with_record(config={"lr": 7}),
}


@pytest.mark.parametrize("fault", CHECKPOINTS)
def test_hostile_checkpoints_are_refused(fault, tiny, tmp_path, note):
    path, config = tmp_path / "run.checkpoint", TrainConfig(epochs=2, batch_size=16)
    fit(ConvVAE((1, 8, 8), (4,), 2), tiny, None, config, path, progress=False)
    fit(ConvVAE((1, 8, 8), (4,), 2), tiny, None, config, path, progress=False)  # whole, it is taken
    write_tensors(path, *CHECKPOINTS[fault](*read_tensors(path)))
    content, model = path.read_bytes(), ConvVAE((1, 8, 8), (4,), 2)
    before = copy_state(model)
    with pytest.raises(LabError) as caught:
        fit(model, tiny, None, config, path, progress=False)
    kinds = "parts missing, NaN, other shapes, a history with holes, of another run"
    note(f"checkpoint: {kinds}", 1, "refused, model and file as they were", str(caught.value))
    assert str(path) in str(caught.value) and path.read_bytes() == content
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- pickles ---


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def attempt(function, *arguments):
    """Call a function that may refuse in words."""
    with suppress(LabError):
        function(*arguments)


def test_nothing_is_unpickled(tmp_path, use_profile, note):
    """A pickle in place of each file that the library reads; those of CIFAR-10 have the wrong md5."""
    use_profile("lab")
    bomb = pickle.dumps(Bomb(place := tmp_path / "exploded"))
    folder, tries = settings.DATA_DIR, 0
    write_mnist(folder)
    write_celeba(folder)
    load_dataset("mnist"), load_dataset("celeba")
    for key in [path.name for path in cache_folder().glob("[!.]*")]:
        unfinished = cache_folder() / f".{key.rpartition('-')[0]}"  # what an interrupted decoding leaves
        unfinished.mkdir()
        for name in ("progress.json", "images.npy", "targets.npy"):
            (unfinished / name).touch()
    (folder / "cifar-10-batches-py").mkdir()
    for name in ("data_batch_1", "data_batch_2", "test_batch", "batches.meta"):
        (folder / "cifar-10-batches-py" / name).touch()
    (folder / "pretrained").mkdir()
    for name in ("a.safetensors", "a.json", "a.toml", "a.checkpoint"):
        (folder / "pretrained" / name).touch()
    settings.PRETRAINED_DIR = folder / "pretrained"  # reset by the fixture own_folders
    objects = io.BytesIO()
    np.save(objects, np.array([Bomb(place)], object))  # a pickle in numpy's own format
    for path, before in [(path, path.read_bytes()) for path in folder.rglob("*") if path.is_file()]:
        for content in (bomb, objects.getvalue()):
            path.parent.mkdir(exist_ok=True)  # a folder of the cache may be gone
            path.write_bytes(content)
            attempt(load_dataset, "mnist")
            attempt(load_dataset, "celeba")
            attempt(load_dataset, "cifar10")
            attempt(load_pretrained, "a")
            attempt(read_record, record_path("a"))
            attempt(read_config, path)
            attempt(read_tensors, path)
            assert not place.exists(), path
            tries += 1
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(before)
    note("a pickle that runs code, in place of any file", tries, "never unpickled")
    pickle.loads(bomb)
    assert place.exists()  # it would have
