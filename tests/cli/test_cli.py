"""The command line: what people type, what they get, and what is left on the disk when something goes wrong."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import fields
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from official_files import files_below, picture, write_celeba, write_cifar10_binary, write_mnist
from processes import heed_ctrl_c
from vae_lib import (
    FCVAE,
    Autoencoder,
    ConvVAE,
    TrainConfig,
    attribute_vector,
    fit,
    interpolate,
    load_dataset,
    load_pretrained,
    photos,
    pretrained,
    settings,
    to_float,
)
from vae_lib.checks import LabError
from vae_lib.classifier import AttributeClassifier
from vae_lib.cli import commands, data
from vae_lib.cli.commands import COMMANDS
from vae_lib.cli.images import list_photos, read_photos
from vae_lib.cli.parser import build_parser, main, parse
from vae_lib.data import download
from vae_lib.data.download import DataMissing
from vae_lib.data.releases import CIFAR10
from vae_lib.data.sample import PUBLISHED
from vae_lib.pretrained import save_pretrained
from vae_lib.storage.weights import read_tensors

SHIPPED = settings.REPOSITORY / "data" / "pretrained"
SMALL = shlex.split(
    "train --data mnist --model fc --hidden 8 --latent 2 --limit 400 --batch-size 4 --patience 9 --epochs 5"
)
PATTERN = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def start(arguments, folder, **options):
    """The command in a process of its own, in `folder`, without data."""
    environment = os.environ | {"VAE_PROFILE": "quick", "VAE_DATA_DIR": str(folder / "data")}
    command = [sys.executable, "-m", "vae_lib", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes, **options)


@pytest.fixture
def tiny_model(tmp_path):
    """Path of a small, untrained model with vectors for three attributes, and a paired one for two of them."""
    torch.manual_seed(0)
    model = ConvVAE((3, 16, 16), (8, 16), latent_dim=4)
    vectors = {"Smiling": [2.0, 1.0, 0.0, 0.0], "Male": [1.0, 0.0, 0.0, 0.0], "Young": [0.0, 0.0, 3.0, 1.0]}
    paired = {"Smiling": [2.0, 0.0, -1.0, 0.0], "Young": [0.0, 0.0, 3.0, 0.0]}
    record = {"model": model.config, "data": {"name": "celeba"}, "history": [], "vectors": vectors}
    record["paired_vectors"] = paired
    return str(save_pretrained(tmp_path / "tiny.safetensors", model, record))


def fails(capsys, *arguments):
    """The one sentence with which a command ends that exits with 1."""
    assert main([str(argument) for argument in arguments]) == 1
    sentence = capsys.readouterr().err
    assert sentence.startswith("vae: ") and sentence.count("\n") == 1
    return sentence


def tiles(path, side, scale, rows, columns):
    """The pictures of a grid: float (rows, columns, side, side, 3), 0 to 255."""
    pixels = np.asarray(Image.open(path), dtype=float)[::scale, ::scale]
    assert pixels.shape == (2 + rows * (side + 2), 2 + columns * (side + 2), 3)
    starts = [[(2 + i * (side + 2), 2 + j * (side + 2)) for j in range(columns)] for i in range(rows)]
    return np.array([[pixels[y : y + side, x : x + side] for y, x in row] for row in starts])


def as_pixels(images):
    """Decoded images (N, C, H, W) as `tiles` gives them."""
    return (images.cpu().permute(0, 2, 3, 1) * 255).numpy()


# --- pictures ---


def test_the_command_of_a_fresh_clone(here):
    process = start(["manipulate", "--attribute", "Smiling", "--samples", "8", "--out", "smile.png"], here)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "") and out.startswith("written: smile.png\n")
    assert out.endswith("columns are the weights -3 -2 -1 0 1 2 3 4\n")
    assert os.listdir(here) == ["smile.png"]
    rows = tiles(here / "smile.png", side=64, scale=2, rows=8, columns=8)
    model, _ = load_pretrained(SHIPPED / "celeba64-conv.safetensors")
    drawn = as_pixels(model.sample(8, torch.Generator().manual_seed(0)))
    assert np.abs(rows[:, 3] - drawn).max() <= 1
    change = np.abs(rows - rows[:, 3:4]).mean(axis=(2, 3, 4))
    assert (np.diff(change[:, 3:]) > 0).all() and (np.diff(change[:, 3::-1]) > 0).all()


@pytest.mark.parametrize(
    ("own", "data", "crop"),
    [
        ("celeba", None, 100),
        ("celeba", "faces", 100),
        ("celeba", "folder:/mine", None),
        ("celeba", "ffhq", None),
        ("folder:/mine", "folder:/mine", 100),
        ("folder:/mine", "celeba", None),
    ],
)
def test_a_crop_is_one_of_the_pixels_that_it_was_meant_for(own, data, crop, monkeypatch):
    monkeypatch.setattr(commands, "load_dataset", lambda *given: given)
    model, record = SimpleNamespace(image_shape=(3, 64, 64)), {"data": {"name": own, "crop": 100}}
    assert commands.dataset_of("m", model, record, "test", data) == (data or own, "test", 64, crop, None)


def test_a_photo_that_is_a_link_to_nothing_is_no_hindrance(here, tiny_model):
    (here / "photos").mkdir()
    Image.new("L", (8, 8)).save(here / "photos" / "a.png")
    (here / "photos" / "b.png").symlink_to(here / "nothing.png")
    for _ in range(2):
        assert main(["reconstruct", "photos", "--model", tiny_model, "--out", "out.png"]) == 0


def test_same_seed_same_bytes(here, tiny_model):
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        assert main(["generate", "--model", tiny_model, "--samples", "3", "--seed", str(seed), "--out", name]) == 0
    a, b, c = ((here / name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert a == b != c


def test_faces_of_the_shipped_flow(here):
    model = SHIPPED / "celeba64-conv-sigma.safetensors"
    assert main(["generate", "--model", str(model), "--prior", "flow", "--samples", "2", "--out", "a.png"]) == 0
    assert os.listdir(here) == ["a.png"]  # nothing was fitted, nothing written
    (row,) = tiles(here / "a.png", side=64, scale=2, rows=1, columns=2)
    z = load_pretrained(model.with_name("celeba64-conv-sigma-flow.safetensors"))[0].sample(
        2, torch.Generator().manual_seed(0)
    )
    drawn = as_pixels(load_pretrained(model)[0].decode(z).detach())
    assert np.abs(row - drawn).max() <= 1


@pytest.mark.parametrize("prior", ["gaussian", "flow"])
def test_a_prior_is_fitted_where_none_is_shipped(here, tiny_model, monkeypatch, prior):
    """To the codes of the dataset that the model was trained on; an autoencoder gets one, too."""
    if prior == "flow":
        monkeypatch.setattr(commands, "fit_prior", partial(commands.fit_prior, steps=20))  # of 4,000: a minute
    torch.manual_seed(0)
    model = Autoencoder((1, 28, 28), (8,), latent_dim=3)
    path = save_pretrained(here / "ae.safetensors", model, {"model": model.config, "data": {"name": "mnist"}})
    assert main(["generate", "--model", str(path), "--prior", prior, "--samples", "4", "--out", "digits.png"]) == 0
    assert sorted(os.listdir(here)) == ["ae.safetensors", "digits.png"]


def test_a_dataset_that_is_named_is_fitted_to_although_a_flow_is_shipped(here, tiny_model, monkeypatch):
    fitted, fit_prior = [], commands.fit_prior

    def fit(model, dataset, kind):
        fitted.append((dataset.name, kind))
        return fit_prior(model, dataset, "gaussian")

    monkeypatch.setattr(commands, "shipped_flow", lambda *args: pytest.fail("--data is not heeded"))
    monkeypatch.setattr(commands, "fit_prior", fit)
    command = ["generate", "--model", tiny_model, "--prior", "flow", "--data", "cifar10", "--samples", "2"]
    assert main([*command, "--out", "a.png"]) == 0 and fitted == [("cifar10", "flow")]


def test_nothing_is_fitted_for_pictures_that_cannot_be_written(here, tiny_model, capsys, monkeypatch):
    monkeypatch.setattr(commands, "fit_prior", None)
    (here / "file").touch()
    out = here / "file" / "faces.png"
    assert "cannot be written" in fails(capsys, "generate", "--model", tiny_model, "--prior", "gaussian", "--out", out)
    assert "leave it out with a fitted prior" in fails(
        capsys, "generate", "--model", tiny_model, "--prior", "gaussian", "--temperature", "0.5"
    )


def test_a_flow_makes_no_pictures_by_itself(here, capsys):
    assert "is a prior, which makes no pictures" in fails(
        capsys, "generate", "--model", SHIPPED / "celeba64-conv-sigma-flow.safetensors"
    )


def test_temperature(here, tiny_model):
    for name, temperature in (("mean.png", "0"), ("draws.png", "1")):
        main(["generate", "--model", tiny_model, "--samples", "4", "--temperature", temperature, "--out", name])
    model, _ = load_pretrained(tiny_model)
    centre = as_pixels(model.decode(torch.zeros(1, 4)).detach())
    assert np.abs(tiles("mean.png", 16, 8, 2, 2) - centre).max() <= 1
    assert tiles("draws.png", 16, 8, 2, 2).std(axis=(0, 1)).max() > 0


def test_single_files(here, tiny_model):
    assert main(["generate", "--model", tiny_model, "--samples", "3", "--out", "some/faces"]) == 0
    assert sorted(os.listdir("some")) == ["faces"]
    assert sorted(os.listdir("some/faces")) == ["000.png", "001.png", "002.png"]
    model, _ = load_pretrained(tiny_model)
    drawn = as_pixels(model.sample(3, torch.Generator().manual_seed(0)))
    assert np.abs(np.asarray(Image.open("some/faces/002.png")) - drawn[2]).max() <= 1
    main(["interpolate", "--model", tiny_model, "--samples", "2", "--steps", "3", "--out", "walks"])
    assert sorted(os.listdir("walks")) == [f"{i:03}_{j:02}.png" for i in range(2) for j in range(3)]
    drawn = as_pixels(model.sample(4, torch.Generator().manual_seed(0)))  # the ends of the walks
    assert np.abs(np.asarray(Image.open("walks/001_02.png")) - drawn[3]).max() <= 1


def test_a_full_folder_is_refused_an_old_picture_replaced(here, tiny_model, capsys):
    (here / "full").mkdir()
    (here / "full" / "note.txt").write_text("mine")
    assert "full is not empty" in fails(capsys, "generate", "--model", tiny_model, "--out", "full")
    (here / "old.png").write_text("old")
    assert main(["generate", "--model", tiny_model, "--out", "old.png"]) == 0
    assert Image.open("old.png").size[0] > 64 and os.listdir("full") == ["note.txt"]


@pytest.mark.parametrize("kind", ["lerp", "slerp"])
def test_walks_start_and_end_at_the_draws(here, tiny_model, kind):
    main(["interpolate", "--model", tiny_model, "--samples", "3", "--steps", "4", "--kind", kind, "--out", "w.png"])
    model, _ = load_pretrained(tiny_model)
    rows = tiles("w.png", 16, 8, 3, 4)
    ends = as_pixels(model.sample(6, torch.Generator().manual_seed(0))).reshape(3, 2, 16, 16, 3)
    assert np.abs(rows[:, [0, 3]] - ends).max() <= 1
    a, b = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))[:2]
    assert np.abs(rows[0] - as_pixels(interpolate(model, a, b, 4, kind))).max() <= 1


def test_without_takes_the_others_out(here, tiny_model, capsys):
    """Of Smiling = (2, 1, 0, 0), without Male = (1, 0, 0, 0), only the second latent variable is left."""
    flags = ["--model", tiny_model, "--attribute", "Smiling", "--samples", "1", "--weights", "-2", "0", "2"]
    main(["manipulate", *flags, "--out", "with.png"])
    main(["manipulate", *flags, "--without", "Male", "Male", "--out", "without.png"])
    model, _ = load_pretrained(tiny_model)
    z = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    moved = z + torch.tensor([[-2.0], [0], [2]]) * torch.eye(4)[1]
    expected = as_pixels(model.decode(moved).detach())
    assert np.abs(tiles("without.png", 16, 8, 1, 3)[0] - expected).max() <= 1
    assert np.abs(tiles("with.png", 16, 8, 1, 3)[0] - expected).max() > 1
    assert "leaves nothing" in fails(capsys, "manipulate", *flags, "--without", "Smiling")


def test_reconstructions_lie_below_the_originals(here, tiny_model):
    main(["reconstruct", "--model", tiny_model, "--samples", "12", "--out", "grid.png"])
    rows = tiles("grid.png", 16, 8, 4, 10)
    originals = np.concatenate([rows[0], rows[2, :2]])
    model, _ = load_pretrained(tiny_model)
    x = torch.from_numpy(originals / 255).float().permute(0, 3, 1, 2)
    assert np.abs(np.concatenate([rows[1], rows[3, :2]]) - as_pixels(model.reconstruct(x))).max() <= 1
    assert originals.std(axis=0).max() > 10 and (rows[2:, 2:] == 255).all()


# --- photos ---


@pytest.mark.filterwarnings("error")
def test_photos_and_folders_of_them(here, tiny_model, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)  # as where the extra `photos` is not installed
    (here / "album").mkdir()
    Image.fromarray(PATTERN).save(here / "album" / "b.png")
    Image.fromarray(PATTERN[:20]).save(here / "album" / "a.JPG", "jpeg")
    for name in ("notes.txt", ".hidden.png"):
        (here / "album" / name).write_text("no photo")
    (here / "album" / "trip.jpg").mkdir()  # a folder, whose pictures are not taken
    assert main(["reconstruct", "album", "album/b.png", "--model", tiny_model, "--out", "three.png"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "pip install 'vae-lib[photos]'" in out[0] and out[1] == "album/a.JPG: its centre square, 20x20 pixels"
    assert out[2] == out[3] == "album/b.png: its centre square, 30x30 pixels"
    assert out[4:] == ["album: left out: 2 (notes.txt, trip.jpg/)", "written: three.png"]
    upper = tiles("three.png", 16, 8, 2, 3)[0]
    square = Image.fromarray(PATTERN).resize((16, 16), Image.Resampling.BILINEAR, (0, 5, 30, 35))
    assert np.abs(upper[1] - np.asarray(square)).max() <= 1 and (upper[1] == upper[2]).all()


def test_a_model_of_faces_is_given_the_face_other_models_the_centre_square(here, tiny_model, capsys, monkeypatch):
    face = photos.Face(30 + 60j, 106 + 60j)  # twice as far apart as in CelebA's frame
    monkeypatch.setattr(photos, "find_face", lambda photo: (face, "its face"))
    photo = picture(3, 200, 300)
    photo.save("me.png")
    model, record = load_pretrained(tiny_model)
    other = save_pretrained(here / "other.safetensors", model, record | {"data": {"name": "cifar10"}})
    left, top = 30 - 2 * (69.5 - 15), 60 - 2 * (112 - 35)  # of CelebA's centre square of 148x148, in the photo
    padded = Image.fromarray(np.pad(np.asarray(photo), ((100, 200), (100, 200), (0, 0)), "edge"))
    squares = (left + 100, top + 100, left + 396, top + 396), (100, 150, 300, 350)
    for name, square, how in zip((tiny_model, other), squares, ("its face", "its centre square, 200x200 pixels")):
        assert main(["reconstruct", "me.png", "--model", str(name), "--out", "grid.png"]) == 0
        assert f"me.png: {how}\n" in capsys.readouterr().out
        given = tiles("grid.png", 16, 8, 2, 1)[0, 0]
        expected = padded.resize((16, 16), Image.Resampling.BILINEAR, square)
        assert np.abs(given - np.asarray(expected)).mean() < 2


def test_damaged_photos_of_a_folder_are_left_out(here, tiny_model, capsys):
    (here / "album").mkdir()
    (here / "album" / "a.png").write_bytes(b"half")
    command = "reconstruct", "album", "--model", tiny_model, "--out", "grid.png"
    assert "album/a.png" in fails(capsys, *command)  # the only one
    Image.fromarray(PATTERN).save(here / "album" / "b.png")
    assert main([*command]) == 0 and "left out: album/a.png" in capsys.readouterr().out
    assert tiles("grid.png", 16, 8, 2, 1).shape[1] == 1
    assert "album/a.png" in fails(capsys, "reconstruct", "album/a.png", "album/b.png", "--model", tiny_model)


def test_photos_of_iphones_are_found_in_a_folder(here, tiny_model, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (here / "album").mkdir()
    for name in (".hidden.heic", "me.HEIC"):
        Image.fromarray(PATTERN).save(here / "album" / name, "png")
    sentence = fails(capsys, "reconstruct", "album", "--model", tiny_model)
    assert "album/me.HEIC is a HEIC file; pip install pillow-heif" in sentence


def test_photos_are_edited_and_joined(here, tiny_model):
    for name, photo in (("a.png", PATTERN), ("b.png", 255 - PATTERN)):
        Image.fromarray(photo).save(name)
    model, _ = load_pretrained(tiny_model)
    a, b = to_float(read_photos(["a.png", "b.png"], model.image_shape))
    edit = ["manipulate", "a.png", "b.png", "--model", tiny_model, "--attribute", "Male", "--weights", "0", "-2"]
    assert main([*edit, "--out", "male.png"]) == 0
    code = model.encode(b[None])[0] - 2 * torch.tensor([[1.0, 0, 0, 0]])
    shown = tiles("male.png", 16, 8, 2, 2)
    assert np.abs(shown[:, 0] - as_pixels(model.reconstruct(torch.stack([a, b])))).max() <= 1
    assert np.abs(shown[1, 1] - as_pixels(model.decode(code).detach())[0]).max() <= 1
    assert main(["interpolate", "a.png", "b.png", "--model", tiny_model, "--steps", "3", "--out", "walk.png"]) == 0
    walk = as_pixels(interpolate(model, a, b, 3))
    assert np.abs(tiles("walk.png", 16, 8, 1, 3)[0] - walk).max() <= 1


def test_vectors_of_either_kind_move_the_pictures(here, tiny_model):
    """Without Male, which is (1, 0, 0, 0), the first component is gone."""
    edit = ["manipulate", "--model", tiny_model, "--attribute", "Smiling", "--samples", "2", "--weights", "2"]
    model, _ = load_pretrained(tiny_model)
    z = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    for flags, vector in (
        ([], [2.0, 1, 0, 0]),
        (["--vector", "difference"], [2.0, 1, 0, 0]),
        (["--vector", "paired"], [2.0, 0, -1, 0]),
        (["--without", "Male"], [0.0, 1, 0, 0]),
        (["--vector", "paired", "--without", "Male"], [0.0, 0, -1, 0]),
    ):
        assert main([*edit, *flags, "--out", "smile.png"]) == 0
        expected = as_pixels(model.decode(z + 2 * torch.tensor(vector)).detach())
        assert np.abs(tiles("smile.png", 16, 8, 2, 1)[:, 0] - expected).max() <= 1, flags


def test_a_photo_is_never_overwritten(here, tiny_model, capsys):
    Image.fromarray(PATTERN).save("me.png")
    before = (here / "me.png").read_bytes()
    for command in (["reconstruct"], ["manipulate", "--attribute", "Male"]):
        sentence = fails(capsys, *command, "--model", tiny_model, "--out", "./me.png", "--", "me.png")
        assert "would overwrite that photo" in sentence
    assert (here / "me.png").read_bytes() == before


def test_a_grey_model_gets_grey_photos(here):
    Image.new("RGB", (50, 50), (255, 0, 0)).save("red.png")
    images = read_photos(["red.png"], (1, 28, 28))
    assert images.shape == (1, 1, 28, 28) and 70 < images.float().mean() < 80  # 0.299 of 255


def test_photos_that_cannot_be_used(here, tiny_model, capsys):
    (here / "empty").mkdir()
    (here / "text.png").write_text("no picture")
    Image.fromarray(PATTERN).save("one.png")
    for photo in ("text.png", "missing.jpg", "empty"):
        assert photo in fails(capsys, "reconstruct", photo, "--model", tiny_model)
    assert "give 2" in fails(capsys, "interpolate", "one.png", "--model", tiny_model)
    assert sorted(os.listdir()) == ["empty", "one.png", "text.png"]


def test_patterns_that_the_shell_leaves_to_the_program(here, tiny_model, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("USERPROFILE", str(here))  # Windows
    (here / "album").mkdir()
    for name in ("b.png", "a.png", "c.PNG", ".hidden.png", "album/d.png", "a[1].png", "a1.png"):
        Image.fromarray(PATTERN).save(here / name, "png")
    for pattern, names in (
        ("*.png", ["a.png", "a1.png", "a[1].png", "b.png"]),
        ("a[1].png", ["a[1].png"]),  # a file that is really called so
        ("b[.]png", ["b.png"]),
        ("al*", ["album/d.png"]),  # a folder
        ("*/?.png", ["album/d.png"]),
        ("~/?.png", [(here / name).as_posix() for name in ("a.png", "b.png")]),
    ):
        assert [path.as_posix() for path in list_photos([pattern])] == names
    assert main(["reconstruct", "a*.png", "--model", tiny_model, "--out", "grid.png"]) == 0
    assert capsys.readouterr().out.count("a[1].png: ") == 1
    assert "no photo at *.jpg; name an image" in fails(capsys, "reconstruct", "*.jpg", "--model", tiny_model)


@pytest.mark.parametrize("photo", ["*.png", "album", "."])
def test_a_photo_that_a_pattern_or_a_folder_names_is_not_overwritten(here, tiny_model, capsys, photo):
    (here / "album").mkdir()
    out = here / "album" / "me.png" if photo == "album" else here / "me.png"
    Image.fromarray(PATTERN).save(out)
    before = out.read_bytes()
    assert "would overwrite that photo" in fails(capsys, "reconstruct", photo, "--model", tiny_model, "--out", out)
    assert out.read_bytes() == before


@pytest.fixture
def digits_model(tmp_path):
    """Path of a small, untrained model of MNIST."""
    model = FCVAE((1, 28, 28), (8,), 2)
    return str(save_pretrained(tmp_path / "d.safetensors", model, {"model": model.config, "data": {"name": "mnist"}}))


@pytest.mark.parametrize("command", ["reconstruct", "interpolate"])
def test_ink_on_paper_is_inverted_for_a_model_of_digits(here, digits_model, capsys, command):
    digit = np.full((56, 56), 230, np.uint8)
    digit[10:46, 25:31] = 20
    for name, pixels in (("ink.png", digit), ("light.png", 255 - digit)):
        Image.fromarray(pixels).save(name)
    run = [command, "ink.png", "ink.png", "--model", digits_model, "--out", "grid.png"]
    assert main(run) == 0
    said = capsys.readouterr().out
    assert said.count("ink.png is mostly light, as ink on paper is, but MNIST's digits are light on dark: add") == 2
    assert main([*run, "--invert"]) == 0
    assert "pixels, inverted\n" in (said := capsys.readouterr().out) and "mostly light" not in said
    (image,), (light,) = (
        read_photos([name], (1, 28, 28), invert=name == "ink.png") for name in ("ink.png", "light.png")
    )
    assert (image.int() - light.int()).abs().max() <= 2 and image.float().mean() < 60
    assert main([command, "light.png", "light.png", "--model", digits_model, "--invert", "--out", "grid.png"]) == 0
    assert "leave out --invert" in capsys.readouterr().out
    assert "--invert swaps light and dark in photos" in fails(capsys, command, "--model", digits_model, "--invert")


def test_light_photos_are_no_matter_to_other_models(here, tiny_model, capsys):
    Image.new("RGB", (40, 40), "white").save("snow.png")
    assert main(["reconstruct", "snow.png", "--model", tiny_model]) == 0
    assert "mostly light" not in capsys.readouterr().out


# --- models that do not fit ---


def test_attributes_that_are_not_there(here, tiny_model, capsys, tmp_path):
    command = ["manipulate", "--model", tiny_model, "--attribute"]
    assert "'Smilling'" in (sentence := fails(capsys, *command, "Smilling")) and "for example: Smiling." in sentence
    assert "for example: Male." in fails(capsys, *command, "Smiling", "--without", "male")
    model = ConvVAE((3, 16, 16), (8, 16), latent_dim=4)
    plain = save_pretrained(tmp_path / "plain.safetensors", model, {"model": model.config})
    assert "no attribute vectors" in fails(capsys, "manipulate", "--model", plain, "--attribute", "Smiling")


def test_a_paired_vector_that_is_not_there(here, tiny_model, capsys, tmp_path):
    command = ["manipulate", "--vector", "paired", "--attribute"]
    sentence = fails(capsys, *command, "Male", "--model", tiny_model)
    assert "no paired vector for 'Male', since fewer than 100 persons" in sentence
    model, record = load_pretrained(tiny_model)
    old = save_pretrained(tmp_path / "old.safetensors", model, record | {"paired_vectors": {}})
    assert "no paired vector for 'Smiling'" in fails(capsys, *command, "Smiling", "--model", old)
    assert os.listdir(here) == []


def test_an_autoencoder_has_no_prior(here, capsys, tmp_path):
    model = Autoencoder((1, 4, 4), (8,), 2)
    path = save_pretrained(tmp_path / "ae.safetensors", model, {"model": model.config})
    for command in ("generate", "interpolate"):
        assert "no prior to draw from" in fails(capsys, command, "--model", path)
    assert "name a dataset with --data" in fails(capsys, "reconstruct", "--model", path)


@pytest.mark.parametrize("command", ["generate", "reconstruct", "interpolate", "manipulate --attribute Smiling"])
def test_a_classifier_makes_no_pictures(here, capsys, tmp_path, command):
    classifier = AttributeClassifier((3, 16, 16), ("Smiling",))
    path = save_pretrained(tmp_path / "ruler.safetensors", classifier, {"model": classifier.config})
    assert "is a classifier" in fails(capsys, *command.split(), "--model", path)
    assert "no weights called 'missing'" in fails(capsys, *command.split(), "--model", "missing")


@pytest.mark.parametrize("command", ["manipulate --attribute Smiling", "interpolate"])
def test_officials_are_not_edited(here, capsys, command, monkeypatch):
    monkeypatch.setattr(settings, "PRETRAINED_DIR", SHIPPED)
    portrait = settings.SAMPLE_DIR / "faces" / "congress" / "A000055.jpg"
    name, *flags = command.split()
    assert "shows an official, who is never edited" in fails(capsys, name, portrait, *flags)
    assert os.listdir(here) == []


def test_info_lists_the_vectors_of_both_kinds(here, tiny_model, capsys):
    assert main(["info", "--model", tiny_model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "attribute vectors (difference): Smiling, Male, Young" in lines
    assert "attribute vectors (paired): Smiling, Young" in lines


def test_info(here, capsys, monkeypatch):
    (settings.DATA_DIR / "celeba" / "Img").mkdir(parents=True)
    monkeypatch.setattr(settings, "PRETRAINED_DIR", SHIPPED)
    assert main(["info"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:2] == ["profile", "quick"]
    assert ["celeba", "on", "disk"] in lines and ["mnist", "not", "there:"] in [line[:3] for line in lines]
    (line,) = (line for line in lines if line[0] == "celeba64-conv")
    assert line[1:5] == ["ConvVAE", "celeba", "30", "168.00"]
    assert any(line[1:2] == ["AttributeClassifier"] and "right" in line for line in lines)
    assert ["celeba64-conv-sigma-flow", "Flow", "celeba", "0", "-"] in lines
    assert main(["info", "--model", "celeba64-conv"]) == 0
    out = capsys.readouterr().out
    assert main(["info", "--model", "celeba64-conv-sigma-flow"]) == 0
    assert "a prior, fitted to the codes of 16,200 images of real celeba" in capsys.readouterr().out
    assert "latent_dim 128" in out and "beta 1.0" in out and "168.00" in out and "Smiling" in out and "30 epochs" in out


# --- vae data ---


def rows_of_data(capsys):
    """What `vae data` prints: {dataset: its line}; it fetches and unpacks nothing, and never fails."""
    before = files_below(settings.DATA_DIR)
    assert main(["data"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert files_below(settings.DATA_DIR) == before
    absent = "" if settings.DATA_DIR.exists() else " (no such folder yet)"
    assert lines[0] == f"data in {settings.DATA_DIR}{absent}:" and " GB of decoded images" in lines[-1]
    rows = {line.split()[0]: " ".join(line.split()) for line in lines[2:-1]}
    assert list(rows) == list(PUBLISHED)
    return rows


def test_data_where_there_is_none(capsys, network_calls):
    rows = rows_of_data(capsys)
    for name, row in rows.items():
        with pytest.raises(DataMissing) as caught:
            PUBLISHED[name].download(seconds=0)
        assert row.startswith(f"{name} - not there {caught.value} Looked for in ")
    assert "`vae data fetch mnist` downloads it" in rows["mnist"] and "MNIST/, mnist/" in rows["mnist"]
    assert network_calls == [] and not settings.DATA_DIR.exists()


def test_data_says_what_lies_there_and_what_is_missing(capsys, monkeypatch):
    where = settings.DATA_DIR
    write_mnist(where)
    write_cifar10_binary(where)
    write_celeba(where)
    (where / "ffhq" / "00000").mkdir(parents=True)
    picture(3, 128, 128).save(where / "ffhq" / "00000" / "00000.png")
    assert rows_of_data(capsys) == {
        "mnist": f"mnist 80 no, of 70,000 MNIST's idx files in {where}/MNIST/raw",
        "cifar10": f"cifar10 120 no, of 60,000 CIFAR-10's binary release in {where}/cifar-10-batches-bin",
        "celeba": f"celeba 51 no, of 202,599 CelebA in {where}/celeba, without identity_CelebA.txt",
        "ffhq": f"ffhq 1 no, of 70,000 images in {where}/ffhq",
    }
    monkeypatch.setitem(data.OFFICIAL, "mnist", 80)
    assert rows_of_data(capsys)["mnist"].startswith("mnist 80 yes ")
    (where / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").unlink()
    (where / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(b"cut off")
    (where / "celeba" / "list_attr_celeba.txt").unlink()
    (where / "ffhq" / "00000" / "00000.png").unlink()
    rows = rows_of_data(capsys)
    monkeypatch.setattr(settings, "PROFILE", settings.PROFILES["lab"])
    for name, row in rows.items():
        with pytest.raises(LabError) as caught:
            load_dataset(name, "test")
        assert row == f"{name} - no {caught.value}"


def test_data_counts_pictures_without_decoding_them(capsys):
    for part in ("train", "test"):
        for kind in CIFAR10.target_names:
            (folder := settings.DATA_DIR / "cifar10" / part / kind).mkdir(parents=True)
            (folder / "0001.png").write_bytes(b"no picture")
    assert rows_of_data(capsys)["cifar10"].startswith(
        "cifar10 20 no, of 60,000 CIFAR-10 in a folder for each class in "
    )


def test_data_leaves_archives_packed(capsys, network_calls):
    settings.DATA_DIR.mkdir()
    for name in ("cifar-10-binary.tar.gz", "img_align_celeba.zip"):
        (settings.DATA_DIR / name).write_bytes(b"any")
    rows = rows_of_data(capsys)
    for name, archive in (("cifar10", "cifar-10-binary.tar.gz"), ("celeba", "img_align_celeba.zip")):
        path = settings.DATA_DIR / archive
        assert rows[name] == f"{name} - packed {path}, which is unpacked when it is first used"
        assert str(path) in fails(capsys, "data", "fetch", name) and path.exists()  # it is unpacked, and not whole
    assert network_calls == []


def test_data_shows_how_full_the_cache_is(capsys):
    (settings.DATA_DIR / "cache" / "mnist").mkdir(parents=True)
    with open(settings.DATA_DIR / "cache" / "mnist" / "images.npy", "wb") as file:
        file.truncate(1_500_000_000)
    assert main(["data"]) == 0 and "cache: 1.5 GB of decoded images" in capsys.readouterr().out


def test_fetch_tries_every_name_and_says_what_failed(capsys, network_calls):
    write_mnist(settings.DATA_DIR)
    sentence = fails(capsys, "data", "fetch", "ffhq", "cifar10", "mnist")
    assert "ffhq: there is no ffhq/ in " in sentence and "www.cs.toronto.edu cannot be reached" in sentence
    assert main(["data", "fetch", "mnist"]) == 0
    assert capsys.readouterr().out == f"mnist: is there already, in {settings.DATA_DIR}/MNIST/raw\n"
    assert len(network_calls) == 1
    (settings.DATA_DIR / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "has no t10k-labels-idx1-ubyte" in fails(capsys, "data", "fetch", "mnist")
    for arguments in (["data", "fetch"], ["data", "fetch", "imagenet"], ["data", "mnist"]):
        with pytest.raises(SystemExit) as exit:
            main(arguments)
        assert exit.value.code == 2


def test_ctrl_c_in_a_download_says_what_is_kept(capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "receive", interrupted)
    assert main(["data", "fetch", "mnist"]) == 130
    assert "what came is kept, and the same command goes on from there" in capsys.readouterr().err


def test_a_data_folder_that_is_none(tmp_path, capsys, use_profile, network_calls):
    assert main(["info"]) == 0 and f"data in {settings.DATA_DIR} (no such folder yet)" in capsys.readouterr().out
    use_profile("lab")
    load_dataset("ffhq")
    assert f"There is no folder {settings.DATA_DIR}." in capsys.readouterr().out
    settings.DATA_DIR.write_text("a file")  # VAE_DATA_DIR names it
    for arguments in (
        ["data"],
        ["info"],
        ["data", "fetch", "mnist"],
        ["train", "--data", "mnist", "--out", "a.safetensors"],
    ):
        assert f"{settings.DATA_DIR} is a file; set VAE_DATA_DIR to the folder" in fails(capsys, *arguments)
    assert settings.DATA_DIR.read_text() == "a file"


# --- what is typed ---


@pytest.mark.parametrize("command", [run.__name__ for run in COMMANDS])
def test_help_names_flags_and_its_examples_parse(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([command, "--help"])
    text = capsys.readouterr().out
    flags = {
        "train": [f"--{field.name.replace('_', '-')}" for field in fields(TrainConfig)]
        + ["--config", "--out", "--latent"],
        "generate": ["--samples", "--seed", "--temperature", "--prior", "--data", "--out"],
        "reconstruct": ["PHOTO", "--invert", "--data", "--split", "--out", "centre square"],
        "interpolate": ["PHOTO", "--steps", "--kind", "--seed", "--out", "centre square"],
        "manipulate": ["PHOTO", "--attribute", "--vector", "--weights", "--without", "--out", "centre square"],
        "data": ["fetch", "nothing is downloaded"],
        "info": ["--model"],
    }
    assert exit.value.code == 0 and all(flag in " ".join(text.split()) for flag in flags[command])
    examples = [line for line in text.splitlines() if line.startswith("  vae ")]
    assert len(examples) >= 2
    for example in examples:
        assert build_parser().parse_args(shlex.split(example)[1:]).command == command


def test_exit_codes_are_documented_and_usage_errors_are_2(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"\n  {code} " in text for code in (0, 1, 2, 130))
    unknown = ["manipulate", "--attribute", "Smiling", "--vector", "pairs"]
    for arguments in ([], ["paint"], ["manipulate"], unknown, ["generate", "--samples", "0"], ["train", "--lr", "nan"]):
        with pytest.raises(SystemExit) as exit:
            main(arguments)
        assert exit.value.code == 2


@pytest.mark.parametrize("arguments", [["info"], ["data"], ["--help"], ["train", "--help"]])
def test_a_reader_that_goes_away_is_no_error(arguments, monkeypatch, capfd):
    """As `head` does in vae info | head; nothing is said then, also not when Python ends, which closes stdout."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        code = main(arguments)
        print("what is left in the buffer")
    assert code == 141 and capfd.readouterr().err == ""


def test_too_little_memory_is_one_sentence(here, tiny_model, capsys, monkeypatch):
    def fails_as(message):
        def fail(*args):
            raise RuntimeError(message)

        monkeypatch.setattr("vae_lib.cli.commands.save_pictures", fail)

    for how in ("can't allocate memory", "not enough memory"):  # Linux, Windows
        fails_as(
            f"[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: {how}: you tried to allocate 9 bytes."
        )
        assert main(["generate", "--model", tiny_model]) == 1
        assert capsys.readouterr().err == "vae: there is not enough memory; choose smaller models, images or batches.\n"
    fails_as("another error")
    with pytest.raises(RuntimeError, match="another error"):
        main(["generate", "--model", tiny_model])


def test_ctrl_c_in_other_commands(here, tiny_model, capsys, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("vae_lib.cli.commands.save_pictures", interrupted)
    assert main(["generate", "--model", tiny_model]) == 130
    assert capsys.readouterr().err == "interrupted\n"


# --- the configuration file ---


def test_toml_and_json_say_the_same_and_flags_override(here):
    (here / "a.toml").write_text(
        'data = "mnist"\nchannels = [8, 16]\nmirror = true\nbatch_norm = false\nlr = 1\nepochs = 7'
    )
    values = {"data": "mnist", "channels": [8, 16], "mirror": True, "batch_norm": False, "lr": 1, "epochs": 7}
    (here / "a.json").write_text(json.dumps(values))
    a, b = (vars(parse(["train", "--config", name])) | {"config": None} for name in ("a.toml", "a.json"))
    assert a == b and a | values == a and a["patience"] == 5
    args = parse(["train", "--epochs", "2", "--config", "a.toml", "--no-mirror", "--channels", "4"])
    assert (args.epochs, args.mirror, args.channels, args.data) == (2, False, [4], "mnist")


WRONG = [
    {"epochs": "5"},
    {"epochs": 2.5},
    {"epochs": True},
    {"epochs": [1, 2]},
    {"epochs": None},
    {"mirror": "yes"},
    {"mirror": []},
    {"channels": 8},
    {"channels": []},
    {"channels": ["8"]},
    {"data": "imagenet"},
    {"out": {"a": 1}},
    {"lr": True},
    {"lr": float("inf")},
]


@pytest.mark.parametrize("values", WRONG, ids=str)
def test_wrong_values_name_file_and_key(here, capsys, values):
    (here / "faces.json").write_text(json.dumps({"latent": 3, **values}))
    assert f"faces.json: {next(iter(values))} = " in fails(capsys, "train", "--config", "faces.json")


def test_unknown_keys_and_unreadable_files(here, capsys):
    for name, text, reason in (
        ("a.toml", "epoch = 5", "unknown key 'epoch'; known are, for example: epochs"),
        ("b.toml", 'config = "a.toml"', "unknown key 'config'"),
        ("c.toml", "epochs = ", "c.toml cannot be read"),
        ("d.json", "[1]", "holds no keys"),
        ("e.yaml", "epochs: 5", ".toml or .json"),
    ):
        (here / name).write_text(text)
        assert reason in fails(capsys, "train", "--config", name)
    assert "missing.toml cannot be read (No such file" in fails(capsys, "train", "--config", "missing.toml")


# --- training ---


def test_train_writes_what_was_asked_and_never_overwrites(here, capsys):
    flags = "--data celeba --size 16 --crop 100 --limit 40 --channels 4 8 --latent 3 --batch-norm --epochs 2 --beta 2"
    command = ["train", *flags.split(), "--out", "new/faces.safetensors"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert os.listdir("new") == ["faces.safetensors"]
    model, record = load_pretrained("new/faces.safetensors")
    assert record["model"] == model.config | {"image_shape": [3, 16, 16], "channels": [4, 8]}
    assert (model.latent_dim, model.config["batch_norm"], model.centre) == (3, True, 0.5)
    assert (record["config"]["beta"], record["config"]["epochs"], record["data"]["train"]) == (2, 2, 40)
    assert record["data"]["crop"] == 100 and len(record["vectors"]["Smiling"]) == 3
    train = load_dataset("celeba", "train", 16, 100, 40)
    assert record["vectors"]["Smiling"] == pytest.approx(attribute_vector(model, train, "Smiling").tolist(), abs=0.02)
    test = load_dataset("celeba", "test", 16, 100, 40)
    assert record["test"] == pretrained.test_losses(model, test, record)  # of the weights as saved
    assert f"{record['test']['one_sample'][0]:.2f}" in out
    (line,) = (line for line in out.splitlines() if line.startswith("next: vae "))
    assert main([*shlex.split(line)[2:], "--out", "next.png"]) == 0
    before = (here / "new/faces.safetensors").read_bytes()
    assert "never overwritten" in fails(capsys, *command)
    assert (here / "new/faces.safetensors").read_bytes() == before


def test_a_folder_of_own_pictures_trains_a_model_that_finds_it_again(here, capsys):
    (here / "my cats").mkdir()
    for i in range(10):
        picture(i, 40 + i, 60).save(here / "my cats" / f"{i}.png")
    (here / "cats.toml").write_text('data = "my cats"')
    for out, flags in (("a", ["--data", "my cats/"]), ("b", ["--config", "cats.toml"])):
        flags += ["--size", "16", "--channels", "4", "--latent", "2", "--epochs", "1", "--out"]
        assert main(["train", *flags, f"{out}.safetensors"]) == 0
        model, record = load_pretrained(f"{out}.safetensors")
        assert record["data"]["name"] == f"folder:{here / 'my cats'}" and record["data"]["train"] == 7
        assert model.image_shape == (3, 16, 16) and model.centre == 0.5
    assert main(["reconstruct", "--model", "a.safetensors", "--samples", "2", "--out", "two.png"]) == 0
    (here / "my cats").rename(here / "moved")
    for command in (["reconstruct"], ["generate", "--prior", "gaussian"]):
        command += ["--model", "a.safetensors", "--samples", "2", "--out", "moved.png"]
        assert f"no folder {here / 'my cats'}" in fails(capsys, *command)
        assert main([*command, "--data", "moved"]) == 0
    assert "no folder " in fails(capsys, "train", "--data", "~nobody-has-this-name/cats")
    for name in ("dogs", 300 * "dog"):  # too long for a file
        with pytest.raises(SystemExit):
            main(["train", "--data", name])
        assert f"{name!r} is no folder, and none of mnist" in capsys.readouterr().err


def test_train_refuses_before_it_loads_anything(here, capsys, monkeypatch):
    monkeypatch.setattr("vae_lib.cli.commands.load_dataset", lambda *args: pytest.fail("too late"))
    (here / "file").write_text("")
    for arguments, reason in (
        (["--out", "faces.pt"], ".safetensors"),
        (["--out", "file/faces.safetensors"], "file/faces.safetensors cannot be written"),
        (["--model", "fc", "--channels", "8"], "--model fc takes no --channels"),
        (["--likelihood", "mae"], "choose one of mse, bce"),
    ):
        assert reason in fails(capsys, "train", *arguments)
    if os.path.isdir("/proc/self"):
        assert "/proc/self/a.safetensors cannot" in fails(capsys, "train", "--out", "/proc/self/a.safetensors")
    assert sorted(os.listdir()) in (["file"], ["file", "runs"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_keeps_the_finished_epochs(here, capsys):
    command = [*SMALL, "--epochs", "12", "--patience", "12", "--batch-size", "8"]  # the signal comes before the end
    process = start([*command, "--out", "cut.safetensors"], here, preexec_fn=heed_ctrl_c)
    while not (here / "cut.checkpoint").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130 and err.count("\n") == 1 and "the same command goes on" in err
    assert os.listdir(here) == ["cut.checkpoint"]
    done = len(read_tensors(here / "cut.checkpoint")[1]["history"])
    assert 1 <= done < 12 and f"interrupted after epoch {done}, which cut.checkpoint keeps" in err
    assert main([*command, "--out", "cut.safetensors"]) == 0
    assert f"going on after epoch {done}" in capsys.readouterr().out
    assert main([*command, "--out", "whole.safetensors"]) == 0
    assert sorted(os.listdir()) == ["cut.safetensors", "whole.safetensors"]
    (cut, cut_record), (whole, whole_record) = (read_tensors(f"{name}.safetensors") for name in ("cut", "whole"))
    assert all(torch.equal(cut[name], whole[name]) for name in cut | whole)
    assert cut_record["test"] == whole_record["test"] and len(cut_record["history"]) == 12


def test_ctrl_c_before_the_first_epoch(here, capsys, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("vae_lib.cli.commands.load_dataset", interrupted)
    assert main(SMALL) == 130
    assert "nothing is kept" in capsys.readouterr().err


def test_another_crop_is_another_run(here, capsys):
    train, val = (load_dataset("mnist", split, 16, 20, 50) for split in ("train", "val"))
    model = FCVAE((1, 16, 16), (8,), 2)
    fit(model, train, val, TrainConfig(epochs=2), checkpoint=here / "b.checkpoint", progress=False)
    command = shlex.split("train --data mnist --model fc --hidden 8 --latent 2 --limit 50 --epochs 2 --size 16")
    sentence = fails(capsys, *command, "--crop", "24", "--out", "b.safetensors")
    assert "b.checkpoint belongs to another run: data crop is 24 here and 20 there" in sentence
    assert main([*command, "--crop", "20", "--out", "b.safetensors"]) == 0


# --- disks that refuse ---


@pytest.mark.parametrize("out", ["", ".", "there", "folder.png", "faces.jpg"])
def test_names_that_no_picture_can_have(here, tiny_model, capsys, out):
    (here / "there").write_text("a file")
    (here / "folder.png").mkdir()
    assert "--out" in fails(capsys, "generate", "--model", tiny_model, "--out", out)
    assert sorted(os.listdir(here)) == ["folder.png", "there"]


def test_pictures_that_are_no_numbers_are_not_written(here, tiny_model, capsys):
    assert "smaller weights" in fails(capsys, "generate", "--model", tiny_model, "--temperature", "1e300")
    assert os.listdir(here) == []


@pytest.mark.parametrize("name", ["faces.png", "faces"])
def test_places_that_cannot_be_written(here, tiny_model, capsys, name):
    (here / "file").write_text("")
    places = [here / "file"]
    if os.path.isdir("/proc/self"):
        places.append("/proc/self")
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        (here / "locked").mkdir(mode=0o500)
        places.append(here / "locked")
    for place in places:
        assert f"{place}/{name} cannot be written" in fails(
            capsys, "generate", "--model", tiny_model, "--out", f"{place}/{name}"
        )


FULL = {
    "pictures": ["generate", "--samples", "4", "--out", "faces"],
    "weights": [*SMALL, "--out", "faces.safetensors"],
}


@pytest.mark.skipif(sys.platform != "linux", reason="needs setrlimit")
@pytest.mark.parametrize("arguments", FULL.values(), ids=FULL)
def test_a_full_disk_leaves_nothing(here, capsys, monkeypatch, arguments):
    import resource

    monkeypatch.setattr(settings, "PRETRAINED_DIR", SHIPPED)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        sentence = fails(capsys, *arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(here) == [] and sentence.startswith("vae: faces") and "File too large" in sentence
