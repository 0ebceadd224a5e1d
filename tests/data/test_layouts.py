"""Every layout in which people have the datasets is read as the official one is, or refused in one sentence."""

import hashlib
import os
import pickle
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from official_files import (
    NAMES,
    encoded,
    files_below,
    kaggle_list,
    near,
    picture,
    write_celeba,
    write_celeba_hq,
    write_cifar10_binary,
    write_idx,
    write_kaggle_cifar10,
    write_mnist,
    write_mnist_npz,
    write_parquet,
    write_zip,
)
from vae_lib import load_dataset, settings
from vae_lib.checks import LabError
from vae_lib.data import SPLITS, cache
from vae_lib.data.download import Remote
from vae_lib.data.releases import BATCHES, CIFAR10, CLASSES
from vae_lib.data.stores import Folder, Zip


@pytest.fixture
def read(lab, network_calls, monkeypatch):
    """read(name): its three splits, the same a second time, then without decoding; nothing that lay there changes."""

    def load(name):
        before = files_below(lab)
        first = [load_dataset(name, split) for split in SPLITS]
        with monkeypatch.context() as patch:
            patch.setattr(cache, "build", None)
            again = [load_dataset(name, split) for split in SPLITS]
        assert all(same(*pair) for pair in zip(first, again)) and {part.source for part in first} == {"real"}
        after = files_below(lab)
        assert {path: after.get(path) for path in before} == before and network_calls == []
        return first

    return load


def same(a, b):
    """True if two datasets hold the same images and targets in the same order."""
    return torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets) and a.target_names == b.target_names


def rows_of(dataset):
    """The images with their targets, in no order."""
    return sorted(image.numpy().tobytes() + target.numpy().tobytes() for image, target in dataset)


def refused(name, *words):
    """The dataset is refused in one sentence with these words, and nothing is changed."""
    before = files_below(settings.DATA_DIR)
    with pytest.raises(LabError) as caught:
        load_dataset(name)
    sentence = str(caught.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence and files_below(settings.DATA_DIR) == before
    return sentence


@pytest.fixture
def parquet():
    pytest.importorskip("pyarrow", reason="Parquet files are read with pyarrow")


# --- CelebA: each of these makes another layout of the official one ---


def nest(data):
    images = data / "celeba" / "img_align_celeba"
    images.rename(data / "celeba" / "images")
    images.mkdir()
    (data / "celeba" / "images").rename(images / "img_align_celeba")


def write_csv(data, **how):
    nest(data)
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        kaggle_list(data / "celeba" / name, **how)


def csv_of_0_and_1(data):
    write_csv(data, first="", values=("0", "1"))


def csv_of_semicolons(data):
    write_csv(data)
    for path in (data / "celeba").glob("*.csv"):
        path.write_text(path.read_text().replace(",", ";"))


def csv_of_windows(data):
    write_csv(data, first="id", end="\r\n", begin="\ufeff")


def lists_saved_by_notepad(data):
    for path in (data / "celeba").glob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_text().strip().replace("\n", "\r\n").encode())


def official_folders(data):
    celeba = data / "celeba"
    for folder, name in (
        ("Anno", "list_attr_celeba.txt"),
        ("Eval", "list_eval_partition.txt"),
        ("Img", "img_align_celeba"),
    ):
        (celeba / folder).mkdir()
        (celeba / name).rename(celeba / folder / name)


def official_folders_with_the_archive(data):
    official_folders(data)
    pack(
        data / "celeba" / "Img" / "img_align_celeba.zip",
        data / "celeba" / "Img" / "img_align_celeba",
        "img_align_celeba",
    )


def capital_letters(data):
    (data / "celeba").rename(data / "CelebA")


def capital_letters_with_the_archive(data):
    capital_letters(data)
    pack(data / "CelebA" / "img_align_celeba.zip", data / "CelebA" / "img_align_celeba", "img_align_celeba")


def not_in_a_folder(data):
    for path in (data / "celeba").iterdir():
        path.rename(data / path.name)
    (data / "celeba").rmdir()


def unpacked_into_archive(data):
    write_csv(data)
    (data / "celeba").rename(data / "archive")
    (data / "celeba").mkdir()
    (data / "archive").rename(data / "celeba" / "archive")


def pack(path, folder, name):
    """The folder becomes an archive, in which it has this name."""
    write_zip(path, {f"{name}/{file.relative_to(folder)}": file.read_bytes() for file in sorted(folder.rglob("*.*"))})
    shutil.rmtree(folder)


def kaggle_archive(data):
    write_csv(data)
    pack(data / "archive.zip", data / "celeba", ".")


def kaggle_archive_in_celeba(data):
    kaggle_archive(data)
    (data / "celeba").mkdir()
    (data / "archive.zip").rename(data / "celeba" / "archive.zip")


def official_archive(data):
    pack(data / "celeba" / "img_align_celeba.zip", data / "celeba" / "img_align_celeba", "img_align_celeba")


def official_archive_in_data(data):
    official_archive(data)
    (data / "celeba" / "img_align_celeba.zip").rename(data / "img_align_celeba.zip")


CELEBA = [
    nest,
    write_csv,
    csv_of_0_and_1,
    csv_of_semicolons,
    csv_of_windows,
    lists_saved_by_notepad,
    official_folders,
    official_folders_with_the_archive,
    capital_letters,
    capital_letters_with_the_archive,
    not_in_a_folder,
    unpacked_into_archive,
    kaggle_archive,
    kaggle_archive_in_celeba,
    official_archive,
    official_archive_in_data,
]


@pytest.mark.parametrize("rearrange", CELEBA, ids=lambda rearrange: rearrange.__name__)
def test_celeba(lab, read, capsys, rearrange):
    write_celeba(lab, parts=(0,) * 12 + (1,) * 3 + (2,) * 4)
    expected = [load_dataset("celeba", split) for split in SPLITS]
    shutil.rmtree(lab / "cache")
    rearrange(lab)
    found = read("celeba")
    assert [len(part) for part in found] == [12, 3, 4] and found[0].target_names == NAMES
    assert all(same(*pair) for pair in zip(found, expected))
    assert capsys.readouterr().out.splitlines() == ["19 of CelebA's 202,599 images are on disk."]


def test_celeba_without_a_list_of_parts_has_those_of_its_numbers(lab, read):
    attributes = write_celeba(lab, parts=(0,) * 9)
    (lab / "celeba" / "list_eval_partition.txt").unlink()
    numbers = [1, 5, 162_770, 162_771, 162_772, 182_637, 182_638, 182_639, 202_599]
    table = (lab / "celeba" / "list_attr_celeba.txt").read_text()
    for i, number in reversed([*enumerate(numbers, start=1)]):
        (lab / "celeba" / "img_align_celeba" / f"{i:06d}.jpg").rename(
            lab / "celeba" / "img_align_celeba" / f"{number:06d}.jpg"
        )
        table = table.replace(f"{i:06d}.jpg", f"{number:06d}.jpg")
    (lab / "celeba" / "list_attr_celeba.txt").write_text(table)
    picture(0).save(lab / "celeba" / "img_align_celeba" / "202600.jpg")
    found = read("celeba")
    for k, part in enumerate(found):
        assert np.array_equal(part.targets, attributes[3 * k : 3 * k + 3]) and near(part, 0, 3 * k, 148)


def test_another_archive_is_left_alone(lab, network_calls, capsys):
    write_zip(lab / "archive.zip", {"cats/1.jpg": encoded(picture(0)), "train.csv": "a,b"})
    (lab / "celeba.zip").write_bytes(b"PK and half of it")
    before = files_below(lab)
    assert load_dataset("celeba", "val").source == "sample" and files_below(lab) == before
    said = capsys.readouterr().out
    assert f"{lab / 'celeba.zip'} is no whole archive; if it is meant to be CelebA's, fetch it again." in said


@pytest.mark.parametrize("sides", [(64, 64), (128, 128), (89, 109), (178, 178), (256, 313)])
def test_celeba_of_another_size(lab, read, capsys, sides):
    """The crop is made in proportion where the aspect is CelebA's; of squares, all is used."""
    write_celeba(lab, parts=(0,) * 8 + (1,) * 2 + (2,) * 2)
    for path in (lab / "celeba" / "img_align_celeba").iterdir():
        picture(int(path.stem) - 1, *sides).save(path, quality=95)
    train = read("celeba")[0]
    if sides[0] == sides[1]:
        whole = np.asarray(picture(5, *sides).resize((64, 64), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        assert np.abs(train.images[5].numpy().astype(int) - whole).mean() < 3
    else:
        assert all(near(train, i, i, 148) for i in range(8))
    how = "not cut, so the framing differs" if sides[0] == sides[1] else "cut in proportion"
    assert f"of {sides[0]}x{sides[1]} pixels, not 178x218: {how}." in capsys.readouterr().out


HQ_NUMBERS = (1, 200_000, 162_771, 5, 190_000, 162_770, 182_637, 7)  # of the parts 0 2 1 0 2 0 1 0


@pytest.mark.parametrize("folder", ["celeba", "celeba/CelebAMask-HQ", "CelebAMask-HQ"])
def test_celebamask_hq_has_the_parts_of_celeba(lab, read, capsys, folder):
    attributes = write_celeba_hq(lab / folder, HQ_NUMBERS)
    parts = [[0, 3, 5, 7], [2, 6], [1, 4]]
    for part, numbers in zip(read("celeba"), parts):
        assert np.array_equal(part.targets, attributes[numbers]) and part.target_names == NAMES
        for k, i in enumerate(numbers):
            whole = np.asarray(picture(i, 100, 100).resize((64, 64), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
            assert np.abs(part.images[k].numpy().astype(int) - whole).mean() < 3
    said = capsys.readouterr().out
    assert "8 of CelebA's 202,599" in said and "of 100x100 pixels, not 178x218: not cut, so the framing differs" in said


@pytest.mark.parametrize("archive", [False, True])
def test_masks_are_no_faces(lab, read, archive):
    place = lab / "ffhq" / "CelebAMask-HQ"
    write_celeba_hq(place, HQ_NUMBERS)
    if archive:
        pack(lab / "ffhq" / "CelebAMask-HQ.zip", place, "CelebAMask-HQ")
    parts = read("ffhq")
    assert sum(map(len, parts)) == len(HQ_NUMBERS) and all((part.images < 250).any() for part in parts)


@pytest.mark.parametrize("kind", [bool, int, "0 and 1"])
@pytest.mark.parametrize(
    "name", ["{}-00000-of-00001.parquet", "data/{}-00000-of-00001.parquet", "default/{}/0000.parquet"]
)
def test_celeba_in_parquet_files(lab, read, capsys, parquet, kind, name):
    attributes = np.random.default_rng(1).integers(0, 2, (24, len(NAMES)))
    values = {bool: attributes == 1, int: 2 * attributes - 1}.get(kind, attributes)
    pictures = [encoded(picture(i), "JPEG") for i in range(24)]
    for part, rows in (
        ("train", slice(0, 16)),
        ("validation" if kind is int else "valid", [16, 17]),
        ("test", slice(18, 24)),
    ):
        rows = np.arange(24)[rows]
        columns = {name: values[rows, k].tolist() for k, name in enumerate(NAMES)}
        path = lab / "celeba" / name.format(part)
        write_parquet(
            path, [pictures[row] for row in rows], celeb_id=(100 + rows).tolist(), **columns, caption=["x"] * len(rows)
        )
    train, val, test = read("celeba")
    assert [len(part) for part in (train, val, test)] == [16, 2, 6] and train.target_names == NAMES
    assert np.array_equal(torch.cat([train.targets, val.targets, test.targets]), attributes)
    assert near(train, 0, 0, 148) and near(train, 15, 15, 148) and near(val, 1, 17, 148) and near(test, 5, 23, 148)
    assert test.factors["person"].tolist() == list(range(118, 124))
    assert capsys.readouterr().out.splitlines() == ["24 of CelebA's 202,599 images are on disk."]


# --- MNIST ---


def place_mnist(folder, name):
    """The files of MNIST/raw, each to where `name` says."""

    def rearrange(data):
        for path in sorted((data / "MNIST" / "raw").iterdir()):
            target = data / folder / name(path.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        for emptied in (data / "MNIST" / "raw", data / "MNIST"):
            if not [*emptied.iterdir()]:
                emptied.rmdir()

    return rearrange


def dotted(name):
    return name.replace("-idx", ".idx")


def hojjatk(data):
    """Kaggle's copy has each file twice: dotted, and in a folder of its undotted name."""
    place_mnist("MNIST", dotted)(data)
    for path in list((data / "MNIST").iterdir()):
        (folder := data / "MNIST" / path.name.replace(".idx", "-idx")).mkdir()
        path.rename(folder / folder.name)


MNIST = {
    "unpacked": (False, lambda data: None),
    "without raw": (True, place_mnist("MNIST", str)),
    "in data": (True, place_mnist("", str)),
    "dotted": (False, place_mnist("MNIST/raw", dotted)),
    "dotted, packed, in data": (True, place_mnist("", dotted)),
    "small letters": (False, place_mnist("mnist", str)),
    "folders named like the files": (False, hojjatk),
    "folders of dotted names": (False, place_mnist("MNIST", lambda name: f"{dotted(name)}/{dotted(name)}")),
}


@pytest.mark.parametrize("case", MNIST)
def test_mnist_files_wherever_they_lie(lab, read, case):
    pack, rearrange = MNIST[case]
    write_mnist(lab, pack=pack)
    expected = [load_dataset("mnist", split) for split in SPLITS]
    shutil.rmtree(lab / "cache")
    rearrange(lab)
    assert all(same(*pair) for pair in zip(read("mnist"), expected))


@pytest.mark.parametrize("path", ["mnist.npz", "MNIST/mnist.npz", "mnist/mnist.npz"])
def test_mnist_of_keras(lab, read, tmp_path, path):
    write_mnist_npz(lab / path, arrays := write_mnist(tmp_path / "elsewhere"))
    train, val, test = read("mnist")
    assert np.array_equal(test.images[:, 0], arrays["test"][0]) and np.array_equal(test.targets, arrays["test"][1])
    assert np.array_equal(val.images[:, 0], arrays["train"][0][::10]) and len(train) == 36


def test_mnist_in_parquet_files(lab, read, tmp_path, parquet):
    for part, (images, labels) in (arrays := write_mnist(tmp_path / "elsewhere")).items():
        contents = [encoded(Image.fromarray(image)) for image in images]
        write_parquet(lab / "MNIST" / "mnist" / f"{part}-00000-of-00001.parquet", contents, label=labels.tolist())
    train, val, test = read("mnist")
    assert np.array_equal(test.images[:, 0], arrays["test"][0]) and np.array_equal(test.targets, arrays["test"][1])
    assert np.array_equal(val.images[:, 0], arrays["train"][0][::10]) and train.image_shape == (1, 28, 28)


# --- CIFAR-10 ---


def write_pickles(folder, records, monkeypatch):
    """torchvision's layout, whose md5 sums become the official ones."""
    folder.mkdir(parents=True)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    lists = []
    for name in BATCHES:
        rows = records[f"{name}.bin"]
        lists.append(write(name, {"data": rows[:, 1:], "labels": rows[:, 0].tolist()}))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "train_list", lists[:5])
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "test_list", lists[5:])
    name, md5 = write("batches.meta", {"label_names": list(CLASSES)})
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})


@pytest.mark.parametrize("kind", ["binary", "python"])
@pytest.mark.parametrize("folder", ["", "cifar10", "cifar-10"])
def test_an_archive_of_cifar10_is_unpacked_if_its_md5_is_right(lab, read, tmp_path, monkeypatch, kind, folder):
    records = write_cifar10_binary(tmp_path / "elsewhere")
    write_pickles(tmp_path / "elsewhere" / "cifar-10-batches-py", records, monkeypatch)
    archive = lab / folder / f"cifar-10-{kind}.tar.gz"
    archive.parent.mkdir(parents=True, exist_ok=True)
    name = {"binary": "cifar-10-batches-bin", "python": "cifar-10-batches-py"}[kind]
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "elsewhere" / name, name)
    refused("cifar10", f"{archive} is not whole (its md5 is ", "delete it and fetch it again")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "archives", (Remote(f"https://example.org/{archive.name}", md5),))
    train, val, test = read("cifar10")
    assert (len(train), len(val), len(test)) == (90, 10, 20)
    assert np.array_equal(test.images.flatten(1), records["test_batch.bin"][:, 1:])
    assert np.array_equal(test.targets, records["test_batch.bin"][:, 0])


def test_cifar10_of_kaggle_has_no_labels_of_the_test_images(lab, read, tmp_path, capsys):
    records = write_cifar10_binary(tmp_path / "elsewhere")
    write_kaggle_cifar10(lab / "cifar-10", records)
    (lab / "cifar-10" / "test").mkdir()
    picture(0, 32, 32).save(lab / "cifar-10" / "test" / "1.png")
    rows = np.concatenate([records[f"data_batch_{i}.bin"] for i in range(1, 6)])
    train, val, test = read("cifar10")
    for part, chosen in ((test, rows[::10]), (val, rows[1::10])):
        assert np.array_equal(part.images.flatten(1), chosen[:, 1:]) and np.array_equal(part.targets, chosen[:, 0])
    assert len(train) == 80 and "has no labels of the test images, so 'test' is a tenth" in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["cifar10", "CIFAR-10-images", "CIFAR-10-images/CIFAR-10-images"])
def test_cifar10_in_a_folder_for_each_class(lab, read, folder):
    records = write_cifar10_binary(lab)
    expected = [load_dataset("cifar10", split) for split in SPLITS]
    for path in ("cifar-10-batches-bin", "cache"):
        shutil.rmtree(lab / path)
    for name in CLASSES:
        for part in ("train", "test"):
            (lab / folder / part / name).mkdir(parents=True)
    for batch, rows in records.items():
        part = "test" if batch == "test_batch.bin" else "train"
        for i, row in enumerate(rows):
            place = lab / folder / part / CLASSES[row[0]] / f"{batch}{i:03d}.png"
            Image.fromarray(row[1:].reshape(3, 32, 32).transpose(1, 2, 0)).save(place)
    found = read("cifar10")
    assert [len(part) for part in found] == [90, 10, 20] and rows_of(found[2]) == rows_of(expected[2])
    assert sorted(rows_of(found[0]) + rows_of(found[1])) == sorted(rows_of(expected[0]) + rows_of(expected[1]))
    changed = next((lab / folder / "test").rglob("*.png"))
    Image.new("RGB", (32, 32), (1, 2, 3)).save(changed)
    assert (load_dataset("cifar10", "test").images[:, 0] == 1).flatten(1).all(dim=1).any()  # it is read again


@pytest.mark.parametrize("column", ["img", "image"])
def test_cifar10_in_parquet_files(lab, read, tmp_path, parquet, column):
    records = write_cifar10_binary(tmp_path / "elsewhere")
    parts = {
        "train": np.concatenate([records[f"{batch}.bin"] for batch in BATCHES[:5]]),
        "test": records["test_batch.bin"],
    }
    for part, rows in parts.items():
        contents = [encoded(Image.fromarray(row[1:].reshape(3, 32, 32).transpose(1, 2, 0))) for row in rows]
        path = lab / "cifar10" / "plain_text" / f"{part}-00000-of-00001.parquet"
        write_parquet(path, contents, column, label=rows[:, 0].tolist())
    train, val, test = read("cifar10")
    assert np.array_equal(test.images.flatten(1), parts["test"][:, 1:]) and np.array_equal(
        test.targets, parts["test"][:, 0]
    )
    assert np.array_equal(val.images.flatten(1), parts["train"][::10, 1:]) and len(train) == 90


# --- FFHQ ---


def faces(n=30, side=20):
    return [encoded(picture(i, side, side)) for i in range(n)]


def ffhq_nested(folder):
    for i, content in enumerate(faces()):
        path = folder / "thumbnails128x128" / f"{i // 10:05d}" / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def ffhq_resized(folder):
    (folder / "resized").mkdir(parents=True)
    for i, content in enumerate(faces()):
        (folder / "resized" / f"{i:05d}.png").write_bytes(content)


def ffhq_stylegan(folder):
    entries = {f"{i // 10:05d}/img{i:08d}.png": content for i, content in enumerate(faces())}
    write_zip(folder / "ffhq-128x128.zip", entries | {"dataset.json": '{"labels": null}'})


def ffhq_packed(folder):
    entries = {f"resized/{i:05d}.png": content for i, content in enumerate(faces())}
    hidden = {f"__MACOSX/resized/._{i:05d}.png": b"what macOS adds" for i in range(9)}
    write_zip(folder / "archive.zip", entries | hidden, zipfile.ZIP_DEFLATED)


def ffhq_parquet(folder):
    for k in range(2):
        write_parquet(folder / "data" / f"train-{k:05d}-of-00002.parquet", faces()[15 * k : 15 * k + 15])


@pytest.mark.parametrize(
    "layout", [ffhq_resized, ffhq_stylegan, ffhq_packed, ffhq_parquet], ids=lambda way: way.__name__
)
def test_ffhq(lab, read, layout, request):
    """The parts are drawn by place, so each layout has the same."""
    if layout is ffhq_parquet:
        request.getfixturevalue("parquet")
    ffhq_nested(lab / "ffhq")
    expected = [load_dataset("ffhq", split, size=20) for split in SPLITS]
    for path in ("ffhq", "cache"):
        shutil.rmtree(lab / path)
    layout(lab / "ffhq")
    found = read("ffhq")
    assert {part.image_shape for part in found} == {(3, 128, 128)}
    again = [load_dataset("ffhq", split, size=20) for split in SPLITS]
    assert [rows_of(part) for part in again] == [rows_of(part) for part in expected]
    assert [path.name for path in (lab / "ffhq").rglob("*") if path.suffix == ".png" and layout is ffhq_stylegan] == []


def test_an_archive_that_changes_is_read_again(lab):
    ffhq_stylegan(lab / "ffhq")
    before = load_dataset("ffhq").images.clone()
    entries = {f"{i:05d}.png": content for i, content in enumerate(reversed(faces()))}
    write_zip(lab / "ffhq" / "ffhq-128x128.zip", entries)
    assert not torch.equal(load_dataset("ffhq").images, before)


# --- a folder of one's own ---


def write_photos(folder, n=20):
    """Pictures as people have them: -> how many."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        sides = [(64, 64), (90, 40), (33, 100), (300, 200)][i % 4]
        mode, kind = [("RGB", "jpg"), ("L", "png"), ("RGBA", "png"), ("RGB", "webp"), ("P", "png")][i % 5]
        picture(i, *sides).convert(mode).save(folder / f"IMG {i:03d}.{kind if i % 7 else kind.upper()}")
    return n


@pytest.mark.parametrize("profile", settings.PROFILES)
def test_any_folder_in_every_profile(lab, read, use_profile, profile, tmp_path, capsys):
    use_profile(profile)
    write_photos(folder := tmp_path / "my photos" / "Übung [1]")
    (folder / "notes.txt").write_text("not a picture")
    before = files_below(folder)
    parts = read(f"folder:{folder}")
    assert [len(part) for part in parts] == [14, 2, 4] and parts[0].image_shape == (3, 64, 64)
    assert parts[0].targets.shape == (14, 0) and parts[0].name == f"folder:{folder}"
    assert len(torch.unique(torch.cat([part.images for part in parts]).flatten(1), dim=0)) == 20
    assert load_dataset(f"folder:{folder}", size=32, crop=33, limit=3).image_shape == (3, 32, 32)
    assert files_below(folder) == before
    assert capsys.readouterr().out == f"{folder}: 20 pictures, no classes, random splits; left out: 1 (notes.txt).\n"


def test_folders_of_classes_are_targets(lab, read, tmp_path):
    for k, name in enumerate(("mask", "cats", "dogs")):  # a class may be called so
        (tmp_path / "own" / name / "deep").mkdir(parents=True)
        for i in range(10):
            place = tmp_path / "own" / name / ("deep" if i % 2 else "") / f"{i}.png"
            Image.new("RGB", (30 + i, 20), (10 * k, i, 0)).save(place)
    parts = read(f"folder:{tmp_path / 'own'}")
    assert sum(map(len, parts)) == 30 and parts[0].target_names == ("cats", "dogs", "mask")
    for part in parts:
        assert part.targets.tolist() == [{1: 0, 2: 1, 0: 2}[int(image[0, 0, 0]) // 10] for image in part.images]
        assert part.attribute_names == ()


def test_pictures_beside_the_folders_of_classes_are_named(lab, read, tmp_path, capsys):
    for name in ("cats/1.png", "cats/2.png", "dogs/1.png", "cover.png"):
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "own" / name)
    assert read(f"folder:{tmp_path / 'own'}")[0].target_names == ()
    said = capsys.readouterr().out
    assert "own: 4 pictures, no classes, since some pictures lie outside the classes' folders (cover.png), ran" in said


@pytest.mark.parametrize(
    ("names", "sizes"),
    [
        ({"train": 10, "test": 4}, [9, 1, 4]),
        ({"Train": 10, "Test": 4, "valid": 3}, [10, 3, 4]),
        ({"training": 10, "test": 4, "other": 3}, [9, 1, 4]),  # without labels, say
        ({"train": 10, "validation": 4}, [9, 1, 4]),
        ({"all/training_set": 10, "all/test_set": 4}, [9, 1, 4]),
    ],
)
def test_folders_of_parts_are_splits(lab, read, tmp_path, capsys, names, sizes):
    for name, n in names.items():
        for i in range(n):
            (tmp_path / "own" / name / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (n, i, i % 2)).save(tmp_path / "own" / name / "ab"[i % 2] / f"{i}.png")
    parts = read(f"folder:{tmp_path / 'own'}")
    assert [len(part) for part in parts] == sizes
    assert set(parts[2].images[:, 0, 0, 0].tolist()) == {4} and 3 not in parts[0].images[:, 0, 0, 0]
    assert all(part.targets.tolist() == part.images[:, 2, 0, 0].tolist() for part in parts)
    assert parts[0].target_names == ("a", "b")
    said = capsys.readouterr().out
    assert "2 classes (a, b), its own splits" in said and ("left out: 3 (other/a/0.png" in said) == ("other" in names)


def test_what_is_left_out_of_a_folder_is_said(lab, tmp_path, capsys):
    write_photos(folder := tmp_path / "own")
    (folder / "trip").mkdir()
    for name in ("IMG_1.HEIC", "raw.cr2", "trip/film.mp4", ".DS_Store", "._IMG 001.jpg"):
        (folder / name).write_bytes(b"any")
    Image.new("RGB", (9, 9)).save(folder / "scan.tif")
    (folder / "empty.jpg").touch()
    load_dataset(f"folder:{folder}")
    said = capsys.readouterr().out
    assert "own: 22 pictures, no classes, random splits; left out: 3 (" in said
    assert all(name in said for name in ("IMG_1.HEIC", "raw.cr2", "trip/film.mp4")) and ".DS_Store" not in said
    write_zip(tmp_path / "packed" / "all.zip", {path.name: path.read_bytes() for path in folder.glob("*.*")})
    load_dataset(f"folder:{tmp_path / 'packed'}")
    assert "packed: 22 pictures, no classes, random splits; left out: 2 (" in capsys.readouterr().out


def test_a_folder_that_may_not_be_read_is_left_out(tmp_path, monkeypatch):
    """As on Windows, where os.access takes every folder for open."""
    for name in ("a", "closed"):
        (tmp_path / name).mkdir()
        picture(0, 20, 20).save(tmp_path / name / "1.png")
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    store = Folder(tmp_path)
    assert [*store.files()] == ["a/1.png"] and store.left_out == ["closed"]


def test_names_below_the_root_of_a_drive():
    """It ends with the separator, as no other folder does."""
    assert Folder("/").name_of("/a/b.png") == "a/b.png" and Folder("/a").name_of("/a/b.png") == "b.png"


# --- links ---


@pytest.fixture
def linked(tmp_path):
    """linked(links): what a Folder finds where these links are: -> (its pictures, what it leaves out).

    own/ holds a.png and deep/b.png; elsewhere/ holds c.png and deep/d.png.
    """

    def linked(links):
        for name in ("own/a.png", "own/deep/b.png", "elsewhere/c.png", "elsewhere/deep/d.png"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            picture(0, 20, 20).save(tmp_path / name)
        for name, target in links.items():
            (tmp_path / name).symlink_to(tmp_path / target)
        store = Folder(tmp_path / "own")
        return [*store.files()], sorted(store.left_out)

    return linked


ELSEWHERE = ["c.png", "deep/d.png"]
LINKS = {  # {what: (links, pictures beside a.png and deep/b.png, left out)}
    "to another folder": ({"own/x": "elsewhere"}, ["x/c.png", "x/deep/d.png"], []),
    "twice to a folder": ({"own/y": "elsewhere", "own/x": "elsewhere"}, ["x/c.png", "x/deep/d.png"], ["y"]),
    "to a folder that is there already": ({"own/again": "own/deep"}, [], ["again"]),
    "to itself": ({"own/x": "own/x", "own/x.png": "own/x.png"}, [], ["x", "x.png"]),
    "to the folder": ({"own/deep/up": "own"}, [], ["deep/up"]),
    "to its parent": ({"own/up": "", "own/deep/up": ""}, [], ["deep/up", "up"]),
    "there and back": ({"own/x": "elsewhere", "elsewhere/y": "own"}, ["x/c.png", "x/deep/d.png"], ["x/y"]),
    "into a folder that is linked": (
        {"own/deep/x": "elsewhere/deep", "own/z": "elsewhere"},
        ["deep/x/d.png", "z/c.png"],
        ["z/deep"],
    ),
    "to files": ({"own/x.png": "elsewhere/c.png", "own/y.png": "elsewhere/c.png"}, ["x.png", "y.png"], []),
    "to nothing": ({"own/x": "nowhere", "own/x.png": "nowhere.png"}, [], ["x", "x.png"]),
}


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("case", LINKS)
def test_links_are_followed_once(linked, case):
    links, pictures, left_out = LINKS[case]
    assert linked(links) == (sorted(["a.png", "deep/b.png", *pictures]), left_out)


def test_a_folder_that_is_itself_a_link(lab, linked, tmp_path):
    linked({"elsewhere/e": "own", "link": "elsewhere"})
    assert [*Folder(tmp_path / "link").files()] == ["c.png", "deep/d.png", "e/a.png", "e/deep/b.png"]
    assert [len(load_dataset(f"folder:{tmp_path / 'link'}", split)) for split in SPLITS] == [2, 1, 1]


def test_folders_that_are_none(lab, tmp_path, monkeypatch):
    write_photos(tmp_path / "two", 2)
    refused(f"folder:{tmp_path / 'two'}", f"{tmp_path / 'two'} holds 2 of the 3 pictures", "add some")
    refused(f"folder:{tmp_path / 'none'}", f"no folder {tmp_path / 'none'}", "name one that holds pictures")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "thesis.tex").write_text("all of it")
    assert "delete" not in refused(f"folder:{tmp_path / 'text'}", "holds no images", "but thesis.tex", "add some")
    write_photos(tmp_path / "three", 3)
    monkeypatch.chdir(tmp_path)
    assert [len(load_dataset("folder:three", split)) for split in SPLITS] == [1, 1, 1]
    refused("folders", "Unknown dataset 'folders'", "folder:PATH")
    refused("folder:~nobody-has-this-name/x", "There is no folder", "~nobody-has-this-name/x; name one")
    refused(f"folder:{300 * 'x'}", "There is no folder", "x; name one")
    for path in ("", " ", "a\0b"):
        refused(f"folder:{path}", "names no folder; write for example folder:/home/me/pictures")


# --- what is nearly right ---


def celeba_without_lists(data):
    write_celeba(data)
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        (data / "celeba" / name).unlink()
    return "celeba", "celeba has img_align_celeba/ of CelebA, but has no list_attr_celeba.txt; complete it"


def celeba_with_a_packed_list(data):
    celeba_without_lists(data)
    (data / "celeba" / "list_attr_celeba.csv.zip").write_bytes(b"PK")
    return "celeba", "has no list_attr_celeba.txt; unpack list_attr_celeba.csv.zip there."


def celeba_without_images(data):
    write_celeba(data)
    shutil.rmtree(data / "celeba" / "img_align_celeba")
    return "celeba", "celeba has list_attr_celeba.txt, .* of CelebA, but has no img_align_celeba/; complete it"


def celeba_half_downloaded(data):
    (data / "celeba").mkdir(parents=True)
    (data / "celeba" / "archive.zip.crdownload").write_bytes(b"PK")
    return (
        "celeba",
        "celeba holds archive.zip.crdownload, .* archive.zip.crdownload is an unfinished download: fetch it",
    )


def celeba_damaged_archive(data):
    (data / "celeba").mkdir(parents=True)
    (data / "celeba" / "archive.zip").write_bytes(b"PK and half of it")
    return "celeba", "archive.zip cannot be unpacked .*; delete it and fetch it again"


def celeba_archive_of_masks(data):
    write_celeba_hq(data / "celeba", HQ_NUMBERS)
    pack(data / "archive.zip", data / "celeba", "CelebAMask-HQ")
    (data / "celeba").mkdir()
    (data / "archive.zip").rename(data / "celeba" / "archive.zip")
    return "celeba", "celeba holds archive.zip, which is no layout of celeba that is known; unpack archive.zip there"


def hq_without_its_mapping(data):
    write_celeba_hq(data / "celeba", HQ_NUMBERS)
    (data / "celeba" / "CelebA-HQ-to-CelebA-mapping.txt").unlink()
    return "celeba", "celeba has CelebA-HQ-img/, .* of CelebAMask-HQ, but has no CelebA-HQ-to-CelebA-mapping.txt"


def mnist_without_a_file(data):
    write_mnist(data)
    (data / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz").unlink()
    return "mnist", "raw has train-images-idx3-ubyte, .* of MNIST's idx files, but has no train-labels-idx1-ubyte;"


def mnist_text(data):
    (data / "MNIST").mkdir(parents=True)
    (data / "MNIST" / "mnist.npz").write_text("<html>quota exceeded</html>")
    return "mnist", "mnist.npz is damaged .*; delete it and fetch it again"


def mnist_tables(data):
    (data / "MNIST").mkdir(parents=True)
    (data / "MNIST" / "mnist_train.csv").write_text("label,pixel0\n")
    return "mnist", "MNIST holds mnist_train.csv, which is no layout of mnist that is known; complete it"


def mnist_of_kaggle(data):
    write_photos(data / "mnist" / "training" / "0", 3)
    return "mnist", "mnist holds training/, which is no layout of mnist .* or read its pictures as folder:.*/mnist"


class Harmful:
    """Unpickled, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def mnist_pickled(data):
    data.mkdir()
    harmful = np.array([Harmful(data / "harm"), 0], dtype=object)
    np.savez(data / "mnist.npz", **{f"{kind}_{part}": harmful for kind in "xy" for part in ("train", "test")})
    return "mnist", "mnist.npz is damaged .*; delete it and fetch it again"


def mnist_of_other_digits(data):
    write_idx(data / "train-images-idx3-ubyte", np.zeros((4, 28, 28), np.uint8), pack=False)
    return "mnist", "data has train-images-idx3-ubyte of MNIST's idx files, but has no .*, or move it away"


def cifar10_packed(data):
    (data / "cifar-10").mkdir(parents=True)
    (data / "cifar-10" / "train.7z").write_bytes(b"7z")
    (data / "cifar-10" / "trainLabels.csv").write_text("id,label\n")
    return "cifar10", "cifar-10 has trainLabels.csv of Kaggle's CIFAR-10, but has no train/; unpack train.7z there"


def cifar10_without_a_picture(data):
    write_kaggle_cifar10(data / "cifar10", write_cifar10_binary(data))
    shutil.rmtree(data / "cifar-10-batches-bin")
    (data / "cifar10" / "train" / "77.png").unlink()
    return "cifar10", "trainLabels.csv names 1 images that are not in train/ .77.png.; unpack or fetch both again"


def cifar10_with_another_class(data):
    cifar10_without_a_picture(data)
    path = data / "cifar10" / "trainLabels.csv"
    path.write_text(path.read_text() + "101,zebra\n")
    return "cifar10", "trainLabels.csv has the row 101,zebra, which is no number and class of CIFAR-10"


def cifar10_without_a_test_folder(data):
    for name in CLASSES:
        (data / "cifar10" / "train" / name).mkdir(parents=True)
    return (
        "cifar10",
        "cifar10 has train/airplane/, .* of CIFAR-10 in a folder for each class, but has no test/airplane/",
    )


def ffhq_of_two(data):
    for name in ("a.zip", "b.zip"):
        write_zip(data / "ffhq" / name, {"a.png": faces(1)[0]})
    return "ffhq", r"ffhq holds 2 archives \(a.zip, b.zip\); keep one of them"


def ffhq_half_downloaded(data):
    (data / "ffhq").mkdir(parents=True)
    (data / "ffhq" / "thumbnails128x128.zip.part").write_bytes(b"PK")
    return (
        "ffhq",
        "ffhq holds no images .*, but thumbnails128x128.zip.part; thumbnails128x128.zip.part is an unfinished",
    )


def ffhq_without_images(data):
    write_zip(data / "ffhq" / "ffhq.zip", {"dataset.json": "{}"})
    return "ffhq", "ffhq.zip holds no images; delete it and fetch it again"


def ffhq_bomb(data):
    write_zip(data / "ffhq" / "ffhq.zip", {"0.png": bytes(2**22)}, zipfile.ZIP_DEFLATED)
    return "ffhq", "ffhq.zip would unpack to more than twice its size"


NEAR_MISSES = [
    celeba_without_lists,
    celeba_with_a_packed_list,
    celeba_without_images,
    celeba_half_downloaded,
    celeba_damaged_archive,
    celeba_archive_of_masks,
    hq_without_its_mapping,
    mnist_without_a_file,
    mnist_text,
    mnist_tables,
    mnist_of_kaggle,
    mnist_pickled,
    mnist_of_other_digits,
    cifar10_packed,
    cifar10_without_a_picture,
    cifar10_with_another_class,
    cifar10_without_a_test_folder,
    ffhq_of_two,
    ffhq_half_downloaded,
    ffhq_without_images,
    ffhq_bomb,
]


@pytest.mark.parametrize("near_miss", NEAR_MISSES, ids=lambda near_miss: near_miss.__name__)
def test_what_is_nearly_right_is_refused_with_the_step_to_take(lab, near_miss, network_calls):
    name, message = near_miss(lab)
    before = files_below(lab)
    with pytest.raises(LabError, match=message) as caught:
        load_dataset(name)
    assert "\n" not in str(caught.value) and str(lab) in str(caught.value)
    assert files_below(lab) == before and network_calls == []


@pytest.mark.parametrize("name", ["celeba", "cifar10", "mnist", "ffhq"])
def test_parquet_files_of_something_else(lab, parquet, name):
    contents = [encoded(picture(i, 32, 32)) for i in range(4)]
    for part in ("train", "test"):
        write_parquet(lab / name / f"{part}-00000-of-00001.parquet", contents, "photo", text=["a", "b", "c", "d"])
    sentence = refused(name, str(lab / name))
    words = {"celeba": "no column Smiling", "ffhq": "no column of images (image or img), but photo, text"}
    assert words.get(name, "no column 'label' of whole numbers; its columns are photo, text") in sentence


def test_without_pyarrow_a_sentence_says_what_to_install(lab, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (lab / "ffhq").mkdir(parents=True)
    (lab / "ffhq" / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    refused("ffhq", "train-00000-of-00001.parquet is a Parquet file, for which pyarrow is needed: pip install")
    for name in ("celeba", "cifar10", "mnist"):
        for part in ("train", "test"):
            (lab / name).mkdir(exist_ok=True)
            (lab / name / f"{part}-00000-of-00001.parquet").write_bytes(b"PAR1")
        refused(name, "-00000-of-00001.parquet is a Parquet file, for which pyarrow is needed")


# --- stores ---


def test_nothing_of_a_hostile_archive_leaves_its_place(lab, tmp_path):
    entries = {f"{i}.png": content for i, content in enumerate(faces(9))}
    outside = dict.fromkeys(("../../up.png", "/tmp/absolute.png", "a\\..\\windows.png"), faces(1)[0])
    write_zip(lab / "ffhq" / "ffhq.zip", entries | outside)
    before = set(files_below(tmp_path))
    assert sum(len(load_dataset("ffhq", split)) for split in SPLITS) == len(entries | outside)
    new = {path for path in set(files_below(tmp_path)) - before if "cache" not in path.parts}
    assert new == set() and not Path("/tmp/absolute.png").exists()


def test_stores_know_their_pictures(tmp_path):
    (tmp_path / ".hidden").mkdir()
    for name in ("b.PNG", "a.jpg", ".c.jpg", ".hidden/d.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(faces(1)[0])
    assert [*Folder(tmp_path).files()] == ["a.jpg", "b.PNG"]
    path = write_zip(tmp_path / "a.zip", {"x/b.png": faces(1)[0], "x/.c.png": b"", "mask-anno/d.png": b"", "e.txt": ""})
    assert [*Zip(path).files()] == ["x/b.png"] and Image.open(Zip(path).open("x/b.png")).size == (20, 20)
