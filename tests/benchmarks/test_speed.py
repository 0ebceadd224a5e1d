"""What is measured about speed: that both loops do the same work, that the counts are right, what is written."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from vae_lib import FCVAE, ConvVAE, cost, settings, speed, to_float
from vae_lib.cli.parser import main
from vae_lib.data import folders
from vae_lib.plots import plot_growth

FAST_IMPORT = """import time, torch, torchvision
start = time.process_time()
import vae_lib, sys
print(time.process_time() - start, *({"matplotlib", "IPython", "ipywidgets"} & sys.modules.keys()))
"""


@pytest.fixture(autouse=True)
def shipped_recipes(monkeypatch, own_folders):
    monkeypatch.setattr(settings, "PRETRAINED_DIR", settings.REPOSITORY / "data" / "pretrained")
    monkeypatch.setenv("VAE_PROFILE", "quick")  # of the processes that are started


@pytest.mark.parametrize("name", speed.IMAGES)
def test_both_loops_do_the_same_in_float32(name, monkeypatch):
    recipe = speed.recipe

    def in_float32(*args):
        architecture, config, data = recipe(*args)
        return architecture, dataclasses.replace(config, precision="float32"), data

    monkeypatch.setattr(speed, "recipe", in_float32)
    images = 40 if "128" in name else 320
    plain, ours = (loop(name, images, turns=2)[0] for loop in (speed.plain_loop, speed.our_loop))
    losses = [(plain(epoch), ours(epoch)) for epoch in (1, 2, 3)]
    assert losses[-1][0] < losses[0][0]
    for theirs, our in losses:
        assert our == pytest.approx(theirs, rel=1e-4 if "celeba" in name else 1e-5)


def test_the_textbook_has_the_layers_of_the_textbook():
    model = speed.with_plain_layers(ConvVAE((3, 32, 32)))
    kinds = {type(layer) for layer in model.modules() if isinstance(layer, torch.nn.ConvTranspose2d)}
    assert kinds == {torch.nn.ConvTranspose2d}


def test_operations_are_counted():
    """Two for each weight forward, four backward; nobody asks for the gradient of the pixels."""
    model = FCVAE((1, 4, 4), hidden=(10,), latent_dim=3)
    weights = [16 * 10, 10 * 6, 3 * 10, 10 * 16]
    assert speed.flops_per_image(model, torch.rand(5, 1, 4, 4)) == 6 * sum(weights) - 2 * weights[0]
    assert all(parameter.grad is None for parameter in model.parameters())
    model = speed.with_plain_layers(ConvVAE((1, 4, 4), channels=(2, 3), latent_dim=5))
    uses = [4 * 2 * 16, 1 * 2 * 3 * 16, 3 * 10, 5 * 3, 1 * 3 * 2 * 16, 4 * 2 * 16]  # places times weights
    assert speed.flops_per_image(model, torch.rand(5, 1, 4, 4)) == 6 * sum(uses) - 2 * uses[0]


def test_the_textbook_sees_the_same_pixels(tiny, tmp_path):
    items = speed.PILImages(tiny)
    assert torch.equal(torch.stack([x for x, _ in items]), to_float(tiny.images)) and len(items) == len(tiny)
    smooth = np.add.outer(np.arange(218), np.arange(178))[..., None] // np.array([2, 3, 4])
    root = tmp_path / "celeba" / "img_align_celeba"
    root.mkdir(parents=True)
    for name, picture in (("1.jpg", smooth), ("0.jpg", 255 - smooth)):
        Image.fromarray(picture.astype(np.uint8)).save(root / name, quality=95)
    folder = folders.ImageFolder(root, "", (), lambda split: (["1.jpg", "0.jpg"], []), None)
    ours = folders.decode_image(root / "1.jpg", 64, 148)
    dataset = tiny.with_images(torch.from_numpy(ours.copy())[None], torch.zeros(1))
    ((x, _),) = speed.pil_files(dataset, folder, 148)
    assert (x - to_float(dataset.images[0])).abs().max() < 1.5 / 255


def test_the_benchmark_is_printed_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        speed, "startup", lambda data: {"torch_and_torchvision": 2.0, "vae_lib": 0.1, "first_batch": 0.2}
    )
    out = tmp_path / "new" / "benchmark.json"
    arguments = ["benchmark", "--models", "mnist-vae-z20", "--images", "200", "--turns", "2", "--out", str(out)]
    assert main(arguments) == 0
    said, report = capsys.readouterr().out, json.loads(out.read_text())
    result = report["models"]["mnist-vae-z20"]
    plain, ours = (result[kind]["images_per_second"] for kind in ("plain", "ours"))
    assert (
        len(plain) == len(ours) == 2
        and result["images"] == 200
        and result["data"] == "synthetic mnist"
        and ", 200" in said
    )
    assert result["ratios"] == [a / b for a, b in zip(ours, plain)]
    assert result["ours"]["loss"] == pytest.approx(result["plain"]["loss"], rel=0.005)
    peak = report["matmul_flops_per_second"]["bfloat16" if settings.has_fast_bfloat16() else "float32"]
    assert result["share_of_peak"] == pytest.approx(np.median(ours) * result["flops_per_image"] / peak)
    assert 0 < result["share_of_peak"] < 1 and report["device"] == settings.hardware()
    assert f"mnist-vae-z20 {np.median(plain):,.0f} (" in " ".join(said.split()) and f"written: {out}" in said
    if sys.platform == "linux":
        assert 100 < result["ours"]["memory"] < 10_000


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "run", None)  # calling them would fail
    monkeypatch.setattr(cost, "run", None)
    (tmp_path / "file").touch()
    for arguments in (
        ["benchmark", "--out", str(tmp_path / "file" / "b.json")],
        ["growth", "--out", str(tmp_path / "file" / "c.png")],
        ["growth", "--out", str(tmp_path / "c.pdf")],
        ["benchmark", "--out", str(tmp_path)],
    ):
        assert main(arguments) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_loop_that_dies_is_told(monkeypatch):
    monkeypatch.setattr(speed, "plain_loop", len)  # which does not take these arguments
    with pytest.raises(speed.LabError, match="A process that trains mnist-vae-z20 has ended early"):
        speed.compare("mnist-vae-z20", 10, 1)


def test_growth_is_measured_plotted_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cost, "SERIES", {"images": [(20, 16, 2)], "latent": [(30, 16, 4)]})
    out = tmp_path / "growth.png"
    assert main(["growth", "--out", str(out)]) == 0
    report = json.loads(out.with_suffix(".json").read_text())["series"]
    (small,), (large,) = report["images"], report["latent"]
    assert (small["images"], large["images"]) == (20, 30)
    assert large["parameters"] - small["parameters"] == 2 * (256 * 2 + 2 + 256)  # mu and logvar of two more, and back
    assert sys.platform != "linux" or 1 < small["memory"] < 500
    assert Image.open(out).width > 500 and str(out) in capsys.readouterr().out


def test_the_figure_of_growth_shows_seconds_of_as_many_images():
    points = [{"images": n, "side": 32, "latent": 8, "seconds": n / 1000, "memory": 90.0} for n in (1000, 2000)]
    sizes = [{"images": 500, "side": s, "latent": 8, "seconds": s / 64, "memory": None} for s in (32, 64)]
    axes = plot_growth({"images": points, "side": sizes}, "a machine").axes
    assert list(axes[0].lines[0].get_ydata()) == [1, 2] and axes[0].get_title() == "seconds per epoch"
    assert list(axes[1].lines[0].get_ydata()) == [10, 20] and "10,000" in axes[1].get_title()
    assert list(axes[2].lines[0].get_ydata()) == [90, 90] and np.isnan(axes[3].lines[0].get_ydata()).all()


def test_importing_the_library_is_quick():
    """0.3 s more than torch and torchvision, which it needs; matplotlib would be another quarter of a second."""
    outputs = [
        subprocess.run([sys.executable, "-c", FAST_IMPORT], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    seconds, *loaded = min(output.stdout for output in outputs).split()
    assert loaded == [] and float(seconds) < 0.3, outputs[0].stderr
