"""Data that are not what they should be: downloads cut off, archives that attack, lists that do not fit, bad images."""

import gzip
import io
import os
import shutil
import stat
import struct
import zipfile
from pathlib import Path

import gdown
import numpy as np
import pytest
import torch
from PIL import Image

from official_files import NAMES, files_below, picture, write_celeba, write_cifar10_binary, write_idx, write_mnist
from vae_lib import load_dataset
from vae_lib.checks import LabError
from vae_lib.data import download, loading

PAGE = b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title>Too many users have viewed this file.</html>"


def sentence_of(function, *arguments):
    """The sentence of the LabError that a function raises."""
    with pytest.raises(LabError) as caught:
        function(*arguments)
    return str(caught.value)


# --- downloads ---


def cut_off(content):
    return content[: len(content) // 2]


def changed(content):
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def page(content):
    return PAGE


def nothing(content):
    return b""


DAMAGES = (cut_off, changed, page, nothing)


def answer(content):
    """What a server sends, with all that `download` asks of an answer."""
    sent = io.BytesIO(content)
    sent.status, sent.length = 200, len(content)
    return sent


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_damaged_download_is_not_kept(name, lab, monkeypatch, capsys, note):
    """The md5 sums are the official ones, so even the whole file of this test is wrong."""
    monkeypatch.setattr(download, "reachable", lambda *_: True)
    for damage in DAMAGES:
        monkeypatch.setattr(download, "request", lambda url, start, damage=damage: answer(damage(bytes(range(99)))))
        for module, noted in ((loading, "_said"), (download, "_unreachable")):
            monkeypatch.setattr(module, noted, set())  # as in a new session
        assert load_dataset(name, "val").source == "sample"
        said = capsys.readouterr().out.splitlines()
        sentence = next(line for line in said if "embedded sample" in line)
        assert "another file than the released one" in sentence and "data/README.md" in sentence
        assert not files_below(lab)
    fault = "download cut off, changed (wrong md5), a web page, empty"
    note(fault, len(DAMAGES), "nothing kept, the embedded sample, and a line that says so", sentence)


def test_a_damaged_download_from_google_drive_is_not_kept(lab, use_profile, tmp_path, monkeypatch, note):
    """Through torchvision's own code and md5 sums."""
    use_profile("full")
    monkeypatch.setattr(download, "reachable", lambda *_: True)
    write_celeba(tmp_path)
    archive = Path(shutil.make_archive(tmp_path / "img_align_celeba", "zip", tmp_path / "celeba")).read_bytes()
    for damage in DAMAGES:
        content = damage(archive)
        monkeypatch.setattr(gdown, "download", lambda output, content=content, **_: Path(output).write_bytes(content))
        sentence = sentence_of(load_dataset, "celeba", "val")
        assert "the download failed" in sentence and "data/README.md" in sentence and not files_below(lab)
    note("the same from Google Drive, in the full profile", len(DAMAGES), "nothing kept, a sentence", sentence)


# --- an archive that a person has put there ---


def zipped(folder, entries, compression=zipfile.ZIP_STORED):
    """img_align_celeba.zip in place of the folder: {name or ZipInfo: content}."""
    shutil.rmtree(folder / "celeba" / "img_align_celeba", ignore_errors=True)
    path = folder / "celeba" / "img_align_celeba.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def whole_archive(folder):
    images = sorted((folder / "celeba" / "img_align_celeba").iterdir())
    return zipped(folder, {f"img_align_celeba/{path.name}": path.read_bytes() for path in images})


def test_an_archive_is_unpacked(lab):
    write_celeba(lab)
    expected = load_dataset("celeba").images.clone()
    images = files_below(lab / "celeba" / "img_align_celeba")
    whole_archive(lab)
    shutil.rmtree(lab / "cache")
    assert torch.equal(load_dataset("celeba").images, expected)
    assert files_below(lab / "celeba" / "img_align_celeba") == images


def damage_archive(damage):
    def write(folder):
        path = whole_archive(folder)
        path.write_bytes(damage(path.read_bytes()))

    return write


def changed_image(folder):
    path = whole_archive(folder)
    content = bytearray(path.read_bytes())
    content[5_000] ^= 1
    path.write_bytes(content)


def bomb(folder):
    zipped(folder, {"img_align_celeba/000001.jpg": bytes(2**27)}, zipfile.ZIP_DEFLATED)


def bomb_that_lies(folder):
    """It says that it unpacks to a thousand bytes."""
    path = zipped(folder, {"img_align_celeba/000001.jpg": bytes(2**27)}, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        start = content.find(signature) + offset
        content[start : start + 4] = (1_000).to_bytes(4, "little")
    path.write_bytes(content)


def locked(folder):
    path = whole_archive(folder)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        start = content.find(signature)
        while start >= 0:
            content[start + offset] |= 1
            start = content.find(signature, start + 1)
    path.write_bytes(content)


def without_images(folder):
    zipped(folder, {"readme.txt": "nothing here"})


ARCHIVES = {
    "a web page saved as .zip": damage_archive(page),
    "an archive cut off": damage_archive(cut_off),
    "an empty file as .zip": damage_archive(nothing),
    "an archive with a changed image": changed_image,
    "a zip bomb": bomb,
    "a zip bomb that lies about its size": bomb_that_lies,
    "an archive with a password": locked,
    "an archive without images": without_images,
}


@pytest.mark.parametrize("fault", ARCHIVES)
def test_bad_archives_are_refused(fault, lab, note):
    write_celeba(lab)
    ARCHIVES[fault](lab)
    before = files_below(lab)
    sentence = sentence_of(load_dataset, "celeba")
    kinds = "a web page, cut off, empty, changed, with a password, without images, a bomb, a bomb that lies"
    note(f"CelebA's .zip: {kinds}", 1, "refused, nothing unpacked", sentence)
    assert "img_align_celeba.zip cannot be unpacked" in sentence and "fetch it again" in sentence
    assert files_below(lab) == before and not (lab / "celeba" / "img_align_celeba").exists()


def test_archives_cannot_write_elsewhere(lab, note):
    write_celeba(lab)
    whole = files_below(lab / "celeba" / "img_align_celeba")
    link = zipfile.ZipInfo("img_align_celeba/000002.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    names = (
        "../../../up.jpg",
        "/tmp/absolute.jpg",
        "..\\..\\windows.jpg",
        "img_align_celeba/../../sideways.jpg",
        "...jpg",
    )
    first = whole[Path("000001.jpg")]
    entries = {f"img_align_celeba/{path}": content for path, content in whole.items() if path.name != "000002.jpg"}
    entries |= {link: "/etc/passwd", **dict.fromkeys(names, first)}
    zipped(lab, entries)
    before = set(files_below(lab.parent))
    assert len(load_dataset("celeba", limit=1)) == 1
    unpacked = lab / "celeba" / "img_align_celeba"
    new = {lab.parent / path for path in set(files_below(lab.parent)) - before}
    assert all(path.parent == unpacked or path.is_relative_to(lab / "cache") for path in new)
    assert not any(path.is_symlink() for path in unpacked.iterdir())
    assert (unpacked / "000002.jpg").read_text() == "/etc/passwd"  # a file of eleven letters, which is no image
    note("an archive with `../`, absolute paths, links", len(names) + 1, "all stays in its folder, links are not made")


# --- lists and labels ---


def edit(name, old, new):
    """A fault: the first `old` in a list of CelebA becomes `new`."""

    def damage(folder):
        path = folder / "celeba" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return damage


def listed_twice(name):
    def damage(folder):
        path = folder / "celeba" / name
        path.write_text(path.read_text() + path.read_text().splitlines()[6] + "\n")

    return damage


def of_other_images(folder):
    path = folder / "celeba" / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace("0000", "0009"))


def page_as_list(folder):
    (folder / "celeba" / ATTRIBUTES).write_bytes(PAGE)


ATTRIBUTES, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
LISTS = {
    "an attribute list of other images": (of_other_images, "has no row for 40 of the images"),
    "a row is missing": (edit(ATTRIBUTES, "000007.jpg", "999999.jpg"), "has no row for 1 of the images"),
    "a row is there twice": (listed_twice(ATTRIBUTES), "there a second time"),
    "an image is there twice in the partition": (listed_twice(PARTITION), "there a second time"),
    "an attribute of 7": (edit(ATTRIBUTES, " 1 ", " 7 "), "'7' after .* is none of -1, 0, 1"),
    "an attribute of 300": (edit(ATTRIBUTES, " 1 ", " 300 "), "is none of -1, 0, 1"),
    "an attribute that is no number": (edit(ATTRIBUTES, " 1 ", " yes "), "is none of -1, 0, 1"),
    "a value too many": (edit(ATTRIBUTES, " 1 ", " 1 1 "), "not 5 numbers"),
    "a part of 5": (edit(PARTITION, "000003.jpg 0", "000003.jpg 5"), "'5' after 000003.jpg is none of 0, 1, 2"),
    "an attribute's name is there twice": (edit(ATTRIBUTES, "Male", "Young"), "the second line should name"),
    "a web page in place of the list": (page_as_list, "second line"),
}


@pytest.mark.parametrize("fault", LISTS)
def test_lists_that_do_not_fit(fault, lab, note):
    damage, message = LISTS[fault]
    write_celeba(lab)
    damage(lab)
    before = files_below(lab)
    with pytest.raises(LabError, match=message) as caught:
        load_dataset("celeba")
    kinds = "of other images, rows missing or there twice, values out of range, a web page"
    note(f"CelebA's lists: {kinds}", 1, "refused", str(caught.value))
    assert files_below(lab) == before


def mnist_label(folder):
    write_mnist(folder)
    write_idx(folder / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz", np.full(40, 10, np.uint8))
    return "mnist"


def mnist_sizes(folder):
    write_mnist(folder)
    write_idx(folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz", np.zeros((40, 28, 27), np.uint8))
    return "mnist"


def mnist_bomb(folder):
    write_mnist(folder)
    header = struct.pack(">4B3i", 0, 0, 8, 3, 10**7, 28, 28)
    with open(folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz", "wb") as file:
        file.write(gzip.compress(header))
        file.write(gzip.compress(bytes(2**26)) * 60)  # unpacked one after another
    return "mnist"


def cifar10_label(folder):
    path = folder / "cifar-10-batches-bin" / "test_batch.bin"
    records = write_cifar10_binary(folder)[path.name]
    records[5, 0] = 10
    records.tofile(path)
    return "cifar10"


ARRAYS = {
    "MNIST: a label of 10": mnist_label,
    "MNIST: images of 28x27": mnist_sizes,
    "MNIST: a small .gz that unpacks to 4 GB": mnist_bomb,
    "CIFAR-10: a label of 10": cifar10_label,
}


@pytest.mark.parametrize("fault", ARRAYS)
def test_arrays_that_do_not_fit(fault, lab, bounded, note):
    name = ARRAYS[fault](lab)
    sentence = sentence_of(load_dataset, name, "test")
    note("MNIST, CIFAR-10: a label of 10, images of 28x27, a .gz that unpacks to 4 GB", 1, "refused", sentence)
    assert "fetch it again" in sentence and str(lab) in sentence


# --- images ---


def test_images_of_mixed_sizes(lab, capsys, note):
    """Of CelebA they are skipped, since its crop is a place in the face; of other folders, their centres are used."""
    write_celeba(lab)
    sizes = [(178, 218), (217, 178), (178, 219), (20, 20), (1, 1), (4_000, 2)]
    for i, size in enumerate(sizes):
        picture(i, *size).save(lab / "celeba" / "img_align_celeba" / f"{i + 1:06d}.jpg")
    assert len(load_dataset("celeba")) == 40 - 5
    sentence = capsys.readouterr().out.split("celeba, train: ")[1].splitlines()[0]
    (lab / "ffhq").mkdir()
    for i, size in enumerate(sizes * 5):
        picture(i, *size).save(lab / "ffhq" / f"{i}.png")
    found = [load_dataset("ffhq", split, size=16) for split in ("train", "val", "test")]
    assert sum(map(len, found)) == 30 and {part.image_shape for part in found} == {(3, 16, 16)}
    note(
        "images of mixed sizes",
        len(sizes),
        "CelebA: the others are skipped; a folder of photos: all are used",
        sentence,
    )


@pytest.mark.slow
def test_one_corrupt_image_in_twenty_thousand(lab, capsys, note):
    images = lab / "celeba" / "img_align_celeba"
    images.mkdir(parents=True)
    picture(0).save(first := images / "000001.jpg", quality=95)
    names = [f"{i + 1:06d}.jpg" for i in range(20_000)]
    for name in names[1:]:
        os.link(first, images / name)
    bad = images / names[12_344]
    bad.unlink()
    bad.write_bytes(cut_off(first.read_bytes()))
    attributes = "\n".join(["20000", " ".join(NAMES), *(f"{name} -1 1 -1 1 -1" for name in names)])
    (lab / "celeba" / ATTRIBUTES).write_text(attributes)
    (lab / "celeba" / PARTITION).write_text("\n".join(f"{name} 0" for name in names))
    found = {split: load_dataset("celeba", split, size=32) for split in ("train", "val", "test")}
    said = capsys.readouterr().out.splitlines()
    sentence = next(line for line in said if "skipped" in line)
    note("one corrupt image in 20,000", 1, "the others are used", sentence)
    assert sum(map(len, found.values())) == 19_999 and names[12_344] in sentence
    assert all(len(part.images) == len(part.targets) for part in found.values())
    expected = np.asarray(Image.open(first))[35:183, 15:163].mean()
    assert all(abs(part.images.float().mean() - expected) < 1 for part in found.values())
