"""CelebA and FFHQ from folders of image files: splits, attributes, files of every kind, memory."""

import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from official_files import NAMES, near, picture, write_celeba
from vae_lib import load_dataset
from vae_lib.checks import LabError
from vae_lib.data import DATASETS, decoding, download
from vae_lib.data.decoding import decode_image, fit_images
from vae_lib.data.folders import PARTITION, CelebA
from vae_lib.data.layouts import Found
from vae_lib.photos import open_photo

# --- CelebA ---


def test_celeba_official_parts_and_attributes(lab, capsys):
    attributes = write_celeba(lab)
    train, val, test = (load_dataset("celeba", split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (40, 6, 5)
    assert train.source == "real" and train.image_shape == (3, 64, 64) and train.target_names == NAMES
    assert np.array_equal(val.targets, attributes[40:46]) and np.array_equal(test.targets, attributes[46:])
    assert torch.equal(train.attribute("Smiling"), torch.from_numpy(attributes[:40, 3] == 1))
    assert all(near(train, i, i, 148) for i in (0, 17, 39)) and near(test, 0, 46, 148)
    assert not near(train, 0, 1, 148)
    assert capsys.readouterr().out.count("51 of CelebA's 202,599 images are on disk.") == 1
    large = load_dataset("celeba", "test", size=128, crop=128)
    assert large.image_shape == (3, 128, 128) and near(large, 0, 46, 128)


def test_celeba_persons_are_those_of_the_official_list(lab):
    write_celeba(lab)
    persons = lab / "celeba" / "identity_CelebA.txt"
    assert "person" not in load_dataset("celeba").factors
    rows = [f"{i + 1:06d}.jpg {1000 + i // 3}" for i in range(51)]
    persons.write_text("\n".join(rows[::-1]))
    test = load_dataset("celeba", "test")
    assert test.factors["person"].tolist() == [1000 + i // 3 for i in range(46, 51)]
    persons.write_text("\n".join(rows[:-2]))
    with pytest.raises(LabError, match=r"identity_CelebA.txt names no person for 2 of the images \(000050.jpg, 00"):
        load_dataset("celeba", "test")
    persons.write_text("\n".join(rows))
    (lab / "celeba" / "img_align_celeba" / "000048.jpg").write_bytes(b"")
    assert load_dataset("celeba", "test").factors["person"].tolist() == [1000 + i // 3 for i in (46, 48, 49, 50)]


def test_celeba_subset_without_test_images(lab, capsys):
    write_celeba(lab, parts=(0,) * 40 + (1,) * 6, missing=(3, 4, 42))
    train, val, test = (load_dataset("celeba", split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (34, 4, 5)
    said = capsys.readouterr().out
    assert "43 of CelebA's" in said and said.count("'test' is the official validation part (5 images)") == 1
    everything = torch.cat([train.images, val.images, test.images]).flatten(1)
    assert len(torch.unique(everything, dim=0)) == 43
    assert near(val, 0, 0, 148) and near(val, 1, 12, 148)  # images 0 and 10 of those that are there


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        ((0,) * 100, {"train": 81, "val": 9, "test": 10}),
        ((0,) * 40 + (2,) * 5, {"train": 36, "val": 4, "test": 5}),
        ((0,) * 40 + (1,) * 6, {"train": 36, "val": 4, "test": 6}),
        ((0,) * 40 + (1,) * 6 + (2,) * 5, {"train": 40, "val": 6, "test": 5}),
    ],
)
def test_every_part_that_is_missing_is_replaced(lab, parts, sizes):
    names = [f"{i:06d}.jpg" for i in range(len(parts))]
    (lab / "celeba").mkdir(parents=True)
    lines = [f"{name} {part}" for name, part in zip(names, parts)]
    (lab / "celeba" / "list_eval_partition.txt").write_text("\n".join(lines))
    celeba = CelebA()
    celeba.files = dict.fromkeys(names)
    celeba.found = Found(CelebA.LISTS, lab / "celeba", {PARTITION: [lab / "celeba" / "list_eval_partition.txt"]})
    chosen = {split: celeba.split(split)[0] for split in sizes}
    assert {split: len(part) for split, part in chosen.items()} == sizes
    assert sorted(name for part in chosen.values() for name in part) == names


def test_changed_files_are_decoded_again(lab):
    write_celeba(lab)
    load_dataset("celeba")
    picture(99).save(lab / "celeba" / "img_align_celeba" / "000001.jpg", quality=95)
    assert near(load_dataset("celeba"), 0, 99, 148)
    path = lab / "celeba" / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace("000001.jpg", "000001.jpg -1 -1 -1 -1 -1\nold"))
    assert load_dataset("celeba").targets[0].tolist() == [0] * 5


def test_a_failing_disk_is_no_damaged_file(lab, monkeypatch):
    write_celeba(lab)
    opened = Image.open

    def fail_sometimes(path):
        if path.name == "000007.jpg":
            raise OSError(5, "Input/output error")
        return opened(path)

    monkeypatch.setattr(Image, "open", fail_sometimes)
    with pytest.raises(LabError, match=r"000007.jpg cannot be read \(Input/output error\)"):
        load_dataset("celeba")


def test_faces_reach_the_workers_of_a_data_loader(lab):
    write_celeba(lab)
    train = load_dataset("celeba")
    again = pickle.loads(pickle.dumps(train))
    assert torch.equal(again.images, train.images) and again.target_names == train.target_names


def test_images_that_the_lists_do_not_know_are_left_out(lab, capsys):
    write_celeba(lab)
    picture(99).save(lab / "celeba" / "img_align_celeba" / "selfie.jpg")
    (lab / "celeba" / "img_align_celeba" / "._000001.jpg").write_bytes(b"what macOS leaves behind")
    assert len(load_dataset("celeba")) == 40
    assert "1 images that are in no official part are left out: selfie.jpg" in capsys.readouterr().out


def test_unusable_files_are_skipped_named_and_counted(lab, capsys):
    attributes = write_celeba(lab)
    images = lab / "celeba" / "img_align_celeba"
    (lab / "celeba" / "identity_CelebA.txt").write_text("".join(f"{i:06}.jpg {9 * i}\n" for i in range(1, 1_000)))
    (images / "000002.jpg").write_bytes(b"")
    (images / "000003.jpg").write_text("<html>quota exceeded</html>")
    os.truncate(images / "000004.jpg", 1500)
    picture(4, 100, 100).save(images / "000005.jpg")
    turned = picture(7).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees to the right to see it upright"
    turned.save(images / "000008.jpg", quality=95, exif=exif)
    for _ in range(2):  # decoded, then from the cache
        train = load_dataset("celeba")
        assert len(train) == 36 and near(train, 1, 5, 148) and near(train, 3, 7, 148)
        assert np.array_equal(train.targets, np.delete(attributes[:40], [1, 2, 3, 4], axis=0))
        assert train.factors["person"].tolist() == [9 * i for i in range(1, 41) if i not in (2, 3, 4, 5)]
    said = capsys.readouterr().out
    assert said.count("4 of 40 files skipped: 000002.jpg: no whole image") == 1 and "000003.jpg" in said
    assert str(lab) not in said.split("skipped")[1]


def test_an_attribute_is_found_by_name_and_others_are_suggested(lab):
    write_celeba(lab)
    train = load_dataset("celeba")
    with pytest.raises(LabError, match=r"no attribute 'smiling'.*Smiling"):
        train.attribute("smiling")
    with pytest.raises(LabError, match="has no attribute"):
        load_dataset("mnist").attribute("Smiling")


def no_images(folder):
    (folder / "celeba" / "img_align_celeba").mkdir(parents=True)
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        (folder / "celeba" / name).write_text("")
    return "img_align_celeba holds no images"


def empty_list(folder):
    write_celeba(folder)
    (folder / "celeba" / "list_attr_celeba.txt").write_text("")
    return "the second line should name the attributes"


def no_list(folder):
    write_celeba(folder)
    (folder / "celeba" / "list_attr_celeba.txt").unlink()
    return "has no list_attr_celeba.txt"


def short_row(folder):
    write_celeba(folder)
    path = folder / "celeba" / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace("000007.jpg ", "000007.jpg 1 "))
    return "line 9: not 5 numbers after 000007.jpg"


def missing_row(folder):
    write_celeba(folder)
    path = folder / "celeba" / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace("000007.jpg", "000777.jpg"))
    return r"has no row for 1 of the images \(000007.jpg\)"


def no_header(folder):
    write_celeba(folder)
    path = folder / "celeba" / "list_attr_celeba.txt"
    path.write_text("\n".join(path.read_text().splitlines()[2:]))
    return "the second line should name the attributes"


def all_damaged(folder):
    write_celeba(folder)
    for path in (folder / "celeba" / "img_align_celeba").iterdir():
        path.write_bytes(b"GIF")
    return "None of the 40 files in .* is usable: 000001.jpg: no whole image"


@pytest.mark.parametrize(
    "damage",
    [no_images, empty_list, no_list, short_row, missing_row, no_header, all_damaged],
    ids=lambda damage: damage.__name__,
)
def test_damaged_celeba_is_named_in_one_sentence(lab, damage):
    message = damage(lab)
    with pytest.raises(LabError, match=message) as caught:
        load_dataset("celeba")
    assert "\n" not in str(caught.value) and str(lab) in str(caught.value)


def test_google_drive_is_tried_by_the_full_profile_only(lab, use_profile, monkeypatch, capsys):
    class GoogleDriveQuotaError(Exception):
        pass

    def fetch(root, download):
        (root / "celeba").mkdir(parents=True)
        raise GoogleDriveQuotaError("Too many users have viewed or downloaded this file recently.\nTry again later.")

    monkeypatch.setattr(download, "reachable", lambda host: True)
    monkeypatch.setattr(torchvision.datasets, "CelebA", fetch)
    assert load_dataset("celeba", "val").source == "sample"
    said = capsys.readouterr().out
    assert "`vae data fetch celeba` tries Google Drive" in said and not lab.exists()
    use_profile("full")
    with pytest.raises(LabError, match="Too many users .*put celeba/ there as data/README.md shows"):
        load_dataset("celeba", "val")
    assert [path.name for path in lab.iterdir()] == [".celeba.lock"]


# --- FFHQ ---


def test_ffhq_nested_folders_and_seeded_split(lab):
    for i in range(50):
        path = lab / "ffhq" / "thumbnails128x128" / f"{i // 10:05d}" / f"{i:05d}.{('png', 'JPEG', 'webp')[i % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i, 128, 128).save(path)
    (lab / "ffhq" / "LICENSE.txt").write_text("CC BY-NC-SA 4.0")
    train, val, test = (load_dataset("ffhq", split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (36, 4, 10) and train.image_shape == (3, 128, 128)
    everything = torch.cat([train.images, val.images, test.images]).flatten(1)
    assert len(torch.unique(everything, dim=0)) == 50
    ffhq = DATASETS["ffhq"]
    names, _ = ffhq.located().split("test")
    assert [Path(name).stem for name in names[:3]] == ["00007", "00039", "00049"]  # on every machine
    assert load_dataset("ffhq", "test", size=32).image_shape == (3, 32, 32)


def test_ffhq_is_optional_but_a_folder_without_images_is_an_error(lab, use_profile, capsys):
    use_profile("full")
    assert load_dataset("ffhq", "val").source == "sample"
    assert (
        "ffhq: the embedded sample of real images (data/sample) is used, since there is no ffhq/"
        in capsys.readouterr().out
    )
    (lab / "ffhq").mkdir(parents=True)
    assert load_dataset("ffhq", "val").source == "sample"  # an empty folder is none
    (lab / "ffhq" / "notes.txt").write_text("later")
    with pytest.raises(LabError, match="holds no images"):
        load_dataset("ffhq")


# --- one file of every kind ---


def test_every_mode_is_decoded_to_rgb(tmp_path):
    photo = picture(3, 64, 64)
    expected = np.asarray(photo).transpose(2, 0, 1).astype(int)
    grey = np.asarray(photo.convert("L"))
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16bit.png")
    photo.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    photo.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    photo.save(tmp_path / "photo.webp", lossless=True)
    see_through = photo.convert("RGBA")
    see_through.putalpha(Image.fromarray(np.where(np.arange(64) < 32, 255, 0).astype(np.uint8)[None].repeat(64, 0)))
    see_through.save(tmp_path / "alpha.png")
    for name in ("grey.png", "16bit.png"):
        assert np.array_equal(decode_image(tmp_path / name, 64), np.stack([grey] * 3))
    for name, tolerance in (("cmyk.jpg", 3), ("palette.png", 8), ("photo.webp", 0)):
        assert np.abs(decode_image(tmp_path / name, 64).astype(int) - expected).mean() <= tolerance
    alpha = decode_image(tmp_path / "alpha.png", 64)
    assert np.array_equal(alpha[:, :, :32], expected[:, :, :32]) and (alpha[:, :, 32:] == 255).all()


SHADES = np.linspace(0, 1, 64 * 64).reshape(64, 64)
BLACK_TO_WHITE = {  # {name: the numbers of a grey picture, from black to white}
    "16bit.png": np.round(SHADES * 65_535).astype(np.uint16),
    "scanner.tif": np.round(SHADES * 65_535).astype(np.uint16),
    "whole.tif": np.round(SHADES * 65_535).astype(np.int32),
    "float.tif": SHADES.astype(np.float32),
}


@pytest.mark.parametrize("name", BLACK_TO_WHITE)
def test_other_numbers_are_scaled(tmp_path, name):
    Image.fromarray(BLACK_TO_WHITE[name]).save(tmp_path / name)
    image = decode_image(tmp_path / name, 64)
    assert np.abs(image - 255 * SHADES).max() <= 1


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (255 * SHADES.astype(np.float32), "numbers from 0 to 255, not from 0 to 1"),
        (SHADES.astype(np.float32) - 0.5, "numbers from -0.5 to 0.5, not from 0 to 1"),
        (np.where(SHADES > 0.5, np.nan, SHADES).astype(np.float32), "numbers from nan to nan"),
        (np.round(SHADES * 65_536).astype(np.int32), "numbers from 0 to 65536, not from 0 to 65535"),
        (np.round(SHADES * 9).astype(np.int32) - 5, "numbers from -5 to 4, not from 0 to 65535"),
    ],
)
def test_numbers_of_which_nobody_knows_the_white_are_refused(lab, tmp_path, capsys, pixels, why):
    (tmp_path / "own").mkdir()
    for i in range(20):
        Image.fromarray(np.uint8(255 * SHADES)).save(tmp_path / "own" / f"{i}.png")
    Image.fromarray(pixels).save(tmp_path / "own" / "x.tif")
    with pytest.raises(ValueError, match=why):
        decode_image(tmp_path / "own" / "x.tif", 64)
    assert sum(len(load_dataset(f"folder:{tmp_path / 'own'}", split)) for split in ("train", "val", "test")) == 20
    assert f"files skipped: x.tif: {why}" in capsys.readouterr().out
    with pytest.raises(LabError, match=rf"x.tif cannot be used \({why}.*convert it to JPEG"):
        open_photo(tmp_path / "own" / "x.tif")


@pytest.mark.parametrize("name", ["film.gif", "film.webp", "film.png", "pages.tif"])
def test_of_several_pictures_the_first_is_taken(tmp_path, name):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    image = decode_image(tmp_path / name, 40)
    assert np.abs(image.astype(int) - [[[200]], [[0]], [[0]]]).max() <= 4


def test_a_palette_with_transparency_lies_on_white(tmp_path):
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 2).convert("P")
    image.putpalette([0, 0, 200, 200, 0, 0])
    image.save(tmp_path / "a.png", transparency=0)
    image.save(tmp_path / "a.gif", transparency=0)
    for name in ("a.png", "a.gif"):
        assert (decode_image(tmp_path / name, 8)[:, :, ::2] == 255).all()
        assert (decode_image(tmp_path / name, 8)[:, 0, 1] == [200, 0, 0]).all()


# --- very many pixels ---


@pytest.mark.parametrize(("large", "times"), [(120_000, 1), (119_999, 2), (30_000, 2), (29_999, 4)])
def test_a_jpeg_of_very_many_pixels_is_read_at_reduced_size(tmp_path, monkeypatch, large, times):
    photo, exif = picture(3, 400, 300), Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees to the right to see it upright"
    photo.save(tmp_path / "a.jpg", quality=95)
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    whole = decode_image(tmp_path / "a.jpg", 64), decode_image(tmp_path / "a.jpg", 64, crop=200)
    monkeypatch.setattr(decoding, "LARGE", large)
    for name in ("a.jpg", "turned.jpg"):
        image, shrunk = decoding.read_image(tmp_path / name, name)
        assert shrunk == times and image.size == (400 // times, 300 // times)
        for expected, crop in zip(whole, (None, 200)):
            found = decode_image(tmp_path / name, 64, crop)
            assert np.abs(found.astype(int) - expected).mean() < 4
    with pytest.raises(ValueError, match="smaller than the crop of"):
        decode_image(tmp_path / "a.jpg", 64, crop=302)


def test_other_files_of_too_many_pixels_are_refused(lab, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(decoding, "LARGE", 600)
    monkeypatch.setattr(decoding, "LARGEST", 1_200)
    monkeypatch.setattr(decoding, "LARGEST_JPEG", 2_500)
    (tmp_path / "own").mkdir()
    for i in range(20):
        picture(i, 40, 30).save(tmp_path / "own" / f"{i}.{('png', 'jpg')[i % 2]}")
    picture(0, 40, 31).save(tmp_path / "own" / "large.png")
    picture(0, 50, 51).save(tmp_path / "own" / "large.jpg")
    assert sum(len(load_dataset(f"folder:{tmp_path / 'own'}", split)) for split in ("train", "val", "test")) == 20
    said = capsys.readouterr().out
    assert all(f"{name}: more pixels than are read" in said for name in ("large.png", "large.jpg"))


def header_only(path, width, height):
    """A PNG file that says how large it is, and ends."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + struct.pack(">I", 9) + b"IDAT"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize(
    ("sides", "why"),
    [
        ((11_000, 11_000), "no whole image"),
        ((20_000, 10_000), "more pixels than are read"),
        ((99_000, 99_000), "more pixels than are read"),
    ],
)
def test_no_warning_of_many_pixels_is_printed(tmp_path, recwarn, sides, why):
    header_only(tmp_path / "a.png", *sides)
    with pytest.raises(ValueError, match=why):
        decode_image(tmp_path / "a.png", 8)
    assert not recwarn.list


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 20), (3, 20, 1), (1, 13, 8)])
@pytest.mark.parametrize("size", [None, 2, 24])
@pytest.mark.parametrize("crop", [None, 1, 8])
def test_arrays_of_any_sides_are_cut_and_resized(shape, size, crop):
    images = torch.full((2, *shape), 77, dtype=torch.uint8)
    if crop is not None and crop > min(shape[1:]):
        with pytest.raises(LabError, match="crop=8 is larger than the images of"):
            fit_images(images, size, crop)
    else:
        sides = [size or crop] * 2 if size or crop else shape[1:]
        fitted = fit_images(images, size, crop)
        assert fitted.shape == (2, shape[0], *sides) and (fitted == 77).all()


def test_oblong_images_give_their_central_square(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert (decode_image(tmp_path / "wide.png", 10)[:, :, 1:-1] == 200).all()
    assert decode_image(tmp_path / "wide.png", 32).shape == (3, 32, 32)
    with pytest.raises(ValueError, match="60x20 pixels, smaller than the crop of 30"):
        decode_image(tmp_path / "wide.png", 10, crop=30)


# --- memory ---


def test_released_pages_come_back_and_changes_are_kept(lab):
    write_celeba(lab)
    train = load_dataset("celeba")
    original = train.images.clone()
    train.release_pages()
    assert train.mapped_file is not None and torch.equal(train.images, original)
    part = train.select(slice(5))
    part.images[0] = 7
    for dataset in (train, part):
        dataset.release_pages()
    assert (train.images[0] == 7).all() and torch.equal(train.images[1:], original[1:])


MEASURE = """
import torch, torchvision  # which training needs, and which takes 80 MiB
from vae_lib import FCVAE, TrainConfig, fit, load_dataset
def resident(kind):
    return int(open("/proc/self/status").read().split(kind + ":")[1].split()[0]) >> 10
before = resident("VmRSS")
train = load_dataset("ffhq", size=256)
model = FCVAE((3, 256, 256), (2,), 2)
fit(model, train, None, TrainConfig(epochs=1, batch_size=16), progress=False)
print(train.images.nbytes >> 20, resident("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_memory_stays_flat(tmp_path):
    """Decoding and training on 330 MiB of images takes far less memory than that."""
    images = tmp_path / "ffhq"
    images.mkdir()
    for i in range(20):
        Image.new("RGB", (256, 256), (i, 2 * i, 3 * i)).save(images / f"{i}.jpg")  # read quickly
    for i in range(20, 2_500):
        os.link(images / f"{i % 20}.jpg", images / f"{i}.jpg")
    environment = {**os.environ, "VAE_PROFILE": "lab", "VAE_DATA_DIR": str(tmp_path)}
    out = subprocess.run([sys.executable, "-c", MEASURE], env=environment, capture_output=True, text=True, check=True)
    nbytes, grown = map(int, out.stdout.split("\n")[-2].split())
    assert nbytes > 330 and grown < 260
