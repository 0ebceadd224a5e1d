"""No photograph of CelebA in the rendered notebooks, and the guard that keeps them out."""

import json

import nbformat
import pytest
import torch
from nbclient.exceptions import CellExecutionError

from official_files import write_celeba
from teaching.photographs import NEAREST, nearest, shrunk, watch
from teaching.render import NOTEBOOKS, render
from vae_lib import load_dataset, load_pretrained, plots, settings
from vae_lib.data import load_drawn_faces, loading, to_float

FACES = {"05_faces", "06_latent_arithmetic", "07_better_vaes"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_all_pictures_were_compared_with_celeba(path):
    """As rendering noted: how many pictures were drawn, with how many photographs they were compared, the nearest."""
    notebook = nbformat.read(path, as_version=4)
    seen = notebook.metadata.vae_lab["pictures"]
    drawn = [out for cell in notebook.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert (seen["photographs"] > 0) == (path.stem in FACES)
    assert path.stem not in FACES or (seen["nearest"] >= NEAREST and seen["pictures"] > len(drawn) > 5)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pictures_are_drawn_by_the_library_only(path):
    """The guard stands in vae_lib.plots: a cell that draws in another way would go past it."""
    for cell in nbformat.read(path, as_version=4).cells:
        for way in ("matplotlib", "plt.", "IPython", "display(", "imshow", ".show()"):
            assert cell.cell_type != "code" or way not in cell.source


def noise(n):
    return torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(0))


SHOWN = {
    "photographs": lambda x: plots.show_images(x[3:5]),
    "behind others": lambda x: plots.show_images(torch.cat([noise(2), to_float(x[:1])])),
    "in a row below": lambda x: plots.show_rows({"noise": noise(2), "x": to_float(x[:2])}),
    "the last one": lambda x: plots.show_images(x[-1:]),
    "with a pixel out of range": lambda x: plots.show_images(to_float(x[:1]) + 100 * (noise(1) > 0.9999)),
    "beside one that is no number": lambda x: plots.show_images(torch.cat([noise(1) / 0 * 0, to_float(x[:1])])),
    "mirrored and brightened": lambda x: plots.show_images((to_float(x[:1]) + 0.04).clamp(0, 1).flip(3)),
    "enlarged": lambda x: plots.show_images(x[:1].repeat_interleave(2, 2).repeat_interleave(2, 3)),
    "animated": lambda x: plots.save_animation(to_float(x[:2]), "x", "two faces"),
    "in a widget": lambda x: plots.to_png(to_float(x[:2])),
}


@pytest.fixture
def watched(lab, tmp_path, monkeypatch):
    """The guard, in this process, for one test: -> (the images of a small CelebA, the guard's report)."""
    monkeypatch.setattr(loading, "read", loading.read)  # both are put back at the end
    monkeypatch.setattr(plots, "as_rgb", plots.as_rgb)
    write_celeba(lab)
    watch(tmp_path / "report.json")
    return load_dataset("celeba").images, tmp_path / "report.json"


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_a_photograph_is_not_shown(watched, show):
    with pytest.raises(ValueError, match="A picture is a photograph of CelebA, or nearly"):
        show(watched[0])


def test_photographs_of_every_split_and_size_are_known(watched):
    for split, size in (("test", 64), ("val", 32)):
        faces = load_dataset("celeba", split, size=size)
        load_dataset("celeba", "train", size=128)
        with pytest.raises(ValueError, match="is a photograph"):
            plots.show_images(faces.images[:1])


def test_what_was_loaded_and_the_nearest_are_noted(watched):
    report = watched[1]
    assert json.loads(report.read_text()) == {"pictures": 0, "photographs": 40, "nearest": None}
    near, far = to_float(watched[0][:1]) * 0.8, noise(1)
    for images in (far, near, far):
        plots.show_images(images)
    expected = nearest(near, [shrunk(to_float(watched[0]))])
    assert json.loads(report.read_text())["nearest"] == round(expected, 3) < nearest(far, [shrunk(near)])


def test_other_pictures_are_counted(watched):
    plots.show_images(load_dataset("faces", "test").images[:6])
    plots.show_rows({"noise": noise(2)})
    seen = json.loads(watched[1].read_text())
    assert seen["pictures"] >= 8 and seen["photographs"] == 40 and seen["nearest"] > NEAREST


def test_a_photograph_ends_the_rendering(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_PROFILE", "lab")
    monkeypatch.setenv("VAE_DATA_DIR", str(tmp_path / "data"))
    write_celeba(tmp_path / "data")
    code = "from vae_lib import load_dataset, plots\nplots.show_images(load_dataset('celeba').images[:1])"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbformat.write(notebook, path := tmp_path / "tiny.ipynb")
    before = path.read_bytes()
    with pytest.raises(CellExecutionError, match="A picture is a photograph of CelebA, or nearly"):
        render(path)
    assert path.read_bytes() == before


def test_generated_and_drawn_faces_are_far_from_free_ones(monkeypatch):
    """The threshold separates a picture from what a model makes: here with the free faces in place of CelebA's."""
    monkeypatch.setattr(settings, "PRETRAINED_DIR", settings.REPOSITORY / "data" / "pretrained")
    faces = to_float(load_dataset("faces", "test").images)
    photographs = [shrunk(faces)]
    made = load_pretrained("celeba64-conv")[0].sample(64, torch.Generator().manual_seed(0))
    assert nearest(faces[5:6], photographs) < 1e-3 < NEAREST < nearest(made, photographs)
    assert nearest(to_float(load_drawn_faces(64).images[:50]), photographs) > NEAREST
