"""The embedded sample: what lies in data/sample, whole, balanced, aligned, and free of people in two splits."""

import csv
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vae_lib import load_dataset, load_pretrained, settings
from vae_lib.checks import LabError
from vae_lib.data import DATASETS
from vae_lib.data.sample import FACES
from vae_lib.evaluation import per_image

SIZES = {"mnist": (2_000, 500, 1_000), "cifar10": (1_000, 250, 1_000), "celeba": (485, 54, 204), "ffhq": (387, 44, 108)}
SPLITS = ("train", "val", "test")


@pytest.mark.parametrize("name", SIZES)
def test_every_split_is_there_and_no_image_is_in_two(lab, name):
    splits = [load_dataset(name, split) for split in SPLITS]
    assert tuple(map(len, splits)) == SIZES[name] and {split.source for split in splits} == {"sample"}
    images = torch.cat([split.images for split in splits]).flatten(1)
    assert len(torch.unique(images, dim=0)) == len(images)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_sheets_are_balanced_and_cut_where_images_meet(lab, name):
    test = load_dataset(name, "test")
    assert torch.bincount(test.targets).tolist() == [100] * 10
    with Image.open(settings.SAMPLE_DIR / name / "test.png") as sheet:
        side = sheet.width // 50
        tile = np.asarray(sheet.crop((7 * side, 3 * side, 8 * side, 4 * side))).reshape(side, side, -1)
    assert np.array_equal(test.images[157], tile.transpose(2, 0, 1)) and test.targets[157] == 7


def test_digits_are_those_that_the_shipped_classes_say(lab):
    """The mean of a class of the training images is nearest to most test images of that class: labels are right."""
    train, test = (load_dataset("mnist", split) for split in ("train", "test"))
    means = torch.stack([train.images[train.targets == k].float().mean(dim=0) for k in range(10)])
    distances = (test.images.float()[:, None] - means).square().flatten(2).sum(dim=2)
    assert (distances.argmin(dim=1) == test.targets).float().mean() > 0.75


FAMILIES = [
    [f"cifar10-conv-{name}" for name in ("best", "p1", "p2", "p3")],  # in the order of the whole test set
    [f"cifar10-fc-{name}" for name in ("p2", "p3", "p1")],
    [f"mnist-ae-z{size}" for size in (100, 50, 20, 10, 5, 2)],
    ["mnist-vae-z10", "mnist-vae-z5", "mnist-vae-z2"],  # 20, 50 and 100 agree within their errors on the whole set, too
]


@pytest.mark.parametrize("names", FAMILIES, ids=lambda names: names[0])
def test_shipped_models_do_on_the_sample_as_on_the_whole_test_set(lab, names, monkeypatch):
    """Their losses lie within three standard errors of the shipped records', and in the same order."""
    monkeypatch.setattr(settings, "PRETRAINED_DIR", settings.REPOSITORY / "data" / "pretrained")
    test, means = load_dataset(names[0].split("-")[0], "test"), []
    for name in names:
        model, record = load_pretrained(name)
        losses = torch.stack(per_image(model, test, sample=True)).sum(dim=0)
        means.append(losses.mean().item())
        assert abs(means[-1] - record["test"]["one_sample"][0]) < 3 * losses.std() / len(losses) ** 0.5
    assert means == sorted(means)


def test_people_are_in_one_split_and_only_those_of_london_are_tested(lab):
    people = [set(load_dataset("faces", split).factors["person"].tolist()) for split in SPLITS]
    assert [len(group) for group in people] == [485, 54, 102] and len(set.union(*people)) == 641
    test = load_dataset("faces", "test")
    assert test.attribute("Smiling").tolist() == [False, True] * 102
    person = test.factors["person"]
    assert torch.equal(person[::2], person[1::2]) and not test.attribute("Eyeglasses").any()


DIGESTS = {"*.png": "0f0348d5802aa9bc", "*.csv": "9df846507c6cebbc", "*.jpg": "c9fc17ab59024ad5"}


@pytest.mark.parametrize("pattern", DIGESTS)
def test_the_files_are_those_that_were_looked_at(pattern):
    """A changed pixel, label or pupil is meant: look at it, then write the new digest here."""
    digest = hashlib.sha256()
    for path in sorted(settings.SAMPLE_DIR.rglob(pattern)):
        digest.update(path.relative_to(settings.SAMPLE_DIR).as_posix().encode() + path.read_bytes())
    assert digest.hexdigest()[:16] == DIGESTS[pattern]


def test_detected_pupils_are_of_smiling_londoners_and_lie_near_the_checked_ones():
    with open(settings.SAMPLE_DIR / "london_detected.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    smiling = {name for name in FACES.rows() if name.startswith("london/") and name.endswith("_smiling.jpg")}
    assert len(rows) == 92 and {row["file"] for row in rows} < smiling
    for key, checked in {"left_x": 69.5, "left_y": 112, "right_x": 107.5, "right_y": 112}.items():
        assert all(abs(float(row[key]) - checked) < 2.5 for row in rows)


def test_attributes_are_those_of_the_list(lab):
    """The shares that data/sample/README.md names, and one person of each set."""
    train, test = load_dataset("faces", "train"), load_dataset("faces", "test")
    shares = {name: round(100 * test.attribute(name).float().mean().item()) for name in test.target_names}
    assert shares == {"Smiling": 50, "Eyeglasses": 0, "Male": 52, "Young": 97}
    with open(settings.SAMPLE_DIR / "faces.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["person"] in row["file"] for row in rows) and train.targets.dtype == torch.int64
    for dataset, name in ((train, "congress/B000490.jpg"), (test, "london/004_smiling.jpg")):
        group = [row for row in rows if row["file"].startswith(name.split("/")[0])]
        group = [row for i, row in enumerate(group) if i % 10] if dataset is train else group
        row = next(i for i, row in enumerate(group) if row["file"] == name)
        expected = {attribute: group[row][attribute] == "1" for attribute in dataset.target_names}
        assert {attribute: bool(dataset.attribute(attribute)[row]) for attribute in expected} == expected


def test_the_list_and_the_files_agree():
    with open(settings.SAMPLE_DIR / "faces.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    root = settings.SAMPLE_DIR / "faces"
    assert sorted(row["file"] for row in rows) == sorted(str(p.relative_to(root)) for p in root.rglob("*.jpg"))
    assert {row[name] for row in rows for name in DATASETS["faces"].target_names} == {"0", "1"}


def test_pupils_are_where_celeba_has_them(lab):
    """On average over the London faces, the darkest spots of the upper half of the face are at the two places."""
    faces = load_dataset("faces", "test", size=148).images.float().mean(dim=(0, 1))
    for x in (69.5 - 15, 107.5 - 15):
        part = faces[67:88, round(x) - 10 : round(x) + 11]
        row, column = divmod(part.argmin().item(), 21)
        assert abs(row + 67 - 77) <= 2 and abs(column + round(x) - 10 - x) <= 2


def test_the_sample_is_small_and_no_pickle():
    files = [path for path in settings.SAMPLE_DIR.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 12 * 2**20
    assert {path.suffix for path in files} == {".png", ".jpg", ".csv", ".md", ".py"}


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def in_colour(path):
    Image.open(path).convert("RGB").save(path)


def without_male(path):
    path.write_text(path.read_text().replace("Male", "male"))


def with_semicolons(path):
    path.write_text(path.read_text().replace(",", ";"))


DAMAGES = {
    "mnist/val.png": (Path.unlink, cut, in_colour, lambda path: path.write_bytes(b"<html>")),
    "faces.csv": (Path.unlink, without_male, with_semicolons),
    "faces/congress/A000148.jpg": (cut,),
}


@pytest.mark.parametrize(("file", "damage"), [(file, damage) for file, kinds in DAMAGES.items() for damage in kinds])
def test_a_damaged_sample_is_one_sentence(lab, tmp_path, monkeypatch, file, damage):
    copy = shutil.copytree(settings.REPOSITORY / "data" / "sample", tmp_path / "sample")
    monkeypatch.setattr(settings, "SAMPLE_DIR", copy)
    damage(copy / file)
    with pytest.raises(LabError, match=r"is damaged or incomplete \(.*\); restore data/sample with git") as caught:
        load_dataset("mnist" if "mnist" in file else "celeba", "val" if "mnist" in file else "train")
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


def test_without_photographs_of_faces(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "SAMPLE_DIR", tmp_path / "nothing")
    for name in ("ffhq", "celeba", "cifar10"):
        with pytest.raises(LabError, match="restore data/sample with git, or get the whole set"):
            load_dataset(name)


def test_quick_takes_a_part_of_it(use_profile):
    use_profile("quick")
    assert [len(load_dataset("mnist", split)) for split in SPLITS] == [500, 120, 120]
    assert len(load_dataset("celeba", "train", size=128, crop=128)) == 62
    assert [len(load_dataset("celeba", "test", size=size, crop=128)) for size in (32, 64, 128)] == [120, 88, 31]
