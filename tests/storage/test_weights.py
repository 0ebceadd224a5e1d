"""Files that are whole or not there, and damaged ones refused in one sentence."""

import json
import os
import pickle
import struct

import pytest
import torch
from safetensors.torch import save_file

from vae_lib import FCVAE, TrainConfig, fit, load_pretrained, settings
from vae_lib.checks import LabError
from vae_lib.pretrained import pretrained_path, save_pretrained
from vae_lib.storage.weights import read_tensors, round_to_half, write_tensors


@pytest.fixture
def saved():
    torch.manual_seed(0)
    model = FCVAE((1, 4, 4), hidden=(8,), latent_dim=2)
    round_to_half(model)
    save_pretrained("small", model, {"model": model.config, "history": []})
    return model


def test_round_trip(saved):
    model, record = load_pretrained("small")
    assert not model.training and record["model"]["hidden"] == [8]
    states = model.state_dict(), saved.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0] | states[1])


def test_an_interrupted_write_keeps_the_old_file(saved, monkeypatch):
    path = pretrained_path("small")
    content = path.read_bytes()

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_tensors(path, {"a": torch.zeros(3)}, {})
    assert path.read_bytes() == content and list(settings.PRETRAINED_DIR.iterdir()) == [path]


def test_what_was_read_does_not_lie_in_the_file(saved):
    """Windows replaces no file that is mapped into memory: a run could not go on from its own checkpoint."""
    path = pretrained_path("small")
    tensors = read_tensors(path)[0]
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    with path.open("r+b") as file:  # in place
        file.write(bytes(path.stat().st_size))
    assert all(torch.equal(tensors[name], kept[name]) for name in kept)


def test_shipped_weights_are_replaced_in_the_full_profile_only(saved, use_profile):
    use_profile("full")
    save_pretrained("small", saved, {"model": saved.config, "history": []})
    model, record = load_pretrained("small")
    content = pretrained_path("small").read_bytes()
    use_profile("lab")
    for name in ("small", str(settings.PRETRAINED_DIR / ".." / settings.PRETRAINED_DIR.name / "small.safetensors")):
        with pytest.raises(LabError, match="holds shipped weights, which only the full profile replaces; give a name"):
            save_pretrained(name, model, record)
    assert pretrained_path("small").read_bytes() == content
    for _ in range(2):  # a cell is run again
        save_pretrained("mine", model, record)
    use_profile("full")
    save_pretrained("small", model, record)


def test_what_no_file_holds_is_built_again():
    """Buffers that are not kept, and tensors that are none, such as the grid of an own decoder."""

    class Scaled(FCVAE):
        def __init__(self, image_shape, **sizes):
            super().__init__(image_shape, **sizes)
            self.register_buffer("grid", torch.full((1000,), 3.0), persistent=False)
            self.scale = torch.tensor(2.0)

    model = Scaled((1, 4, 4), hidden=(8,), latent_dim=2)
    save_pretrained("scaled", model, {"model": model.config, "history": []})
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = load_pretrained("scaled")[0]
    assert (again.grid == 3).all() and again.scale == 2 and torch.equal(torch.get_rng_state(), state)


def test_unknown_name_lists_the_known_ones(saved):
    with pytest.raises(LabError, match="no weights called 'large' .* there are: small"):
        load_pretrained("large")


def truncated(path):
    os.truncate(path, path.stat().st_size - 10)


def a_pickle(path):
    path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))


def empty(path):
    path.write_bytes(b"")


def huge_header(path):
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])


def no_record(path):
    save_file({"a": torch.zeros(2)}, path)


def not_json(path):
    save_file({"a": torch.zeros(2)}, path, {"record": "{"})


def not_finite(path):
    tensors, record = read_tensors(path)
    tensors["encoder.1.bias"][0] = torch.nan
    write_tensors(path, tensors, record)


def other_shapes(path):
    tensors, record = read_tensors(path)
    write_tensors(path, tensors, record | {"model": record["model"] | {"hidden": [9]}})


def other_class(path):
    tensors, record = read_tensors(path)
    write_tensors(path, tensors, record | {"model": {"class": "os.system"}})


def no_model(path):
    write_tensors(path, {"a": torch.zeros(2)}, {})


DAMAGES = (
    truncated,
    a_pickle,
    empty,
    huge_header,
    no_record,
    not_json,
    not_finite,
    other_shapes,
    other_class,
    no_model,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_files(saved, damage):
    path = pretrained_path("small")
    damage(path)
    content = path.read_bytes()
    with pytest.raises(LabError) as error:
        load_pretrained("small")
    assert "\n" not in str(error.value)
    assert path.read_bytes() == content


def test_whole_files_of_another_kind_are_not_called_damaged(saved, tiny, tmp_path):
    """Weights as safetensors writes them, and weights and checkpoint in each other's place."""
    model, config = FCVAE((1, 8, 8), hidden=(4,), latent_dim=2), TrainConfig(epochs=1)
    weights, finished, checkpoint = (tmp_path / f"{name}.safetensors" for name in ("weights", "finished", "checkpoint"))
    save_file(model.state_dict(), weights)
    record = fit(model, tiny, None, config, checkpoint, progress=False)
    save_pretrained(finished, model, record)
    for use, path, message in (
        (
            lambda: load_pretrained(weights),
            weights,
            "without vae_lib's record of a run, as safetensors.torch.save_file",
        ),
        (lambda: load_pretrained(checkpoint), checkpoint, "the checkpoint of an unfinished run; the same call of fit"),
        (lambda: fit(model, tiny, None, config, finished), finished, "the weights of a finished run, no checkpoint"),
        (lambda: fit(model, tiny, None, config, weights), weights, "without vae_lib's record of a run"),
    ):
        content = path.read_bytes()
        with pytest.raises(LabError, match=message) as caught:
            use()
        assert (
            str(path) in str(caught.value) and "damaged" not in str(caught.value) and "delete" not in str(caught.value)
        )
        assert path.read_bytes() == content


def test_students_see_a_sentence_instead_of_a_traceback():
    assert LabError("No such file.")._render_traceback_() == ["LabError: No such file."]


def test_shipped_weights_fit_the_budget():
    """At most 24 MiB a file and 96 MiB in all; every file has its record and loads."""
    shipped = sorted((settings.REPOSITORY / "data" / "pretrained").glob("*.safetensors"))
    sizes = [path.stat().st_size / 2**20 for path in shipped]
    assert shipped and max(sizes) <= 24 and sum(sizes) <= 96
    for path in shipped:
        _, record = read_tensors(path)
        assert record["profile"] == "full" and record["data"]["source"] == "real"
        assert "of" in record or (record["history"] and json.dumps(record["test"]))  # a flow is one of weights
