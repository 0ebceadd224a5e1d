"""Photos of one's own come to CelebA's frame; what cannot be found or read is said."""

import io
import sys
from datetime import datetime

import numpy as np
import pytest
import torch
from PIL import Image

from vae_lib import FCVAE, photos, settings
from vae_lib.checks import LabError
from vae_lib.data import decoding
from vae_lib.data.decoding import decode_image
from vae_lib.photos import LEFT, RIGHT, SIZE, Face, align, as_seen, crop_of, find_face, look, open_photo

LONDON = settings.REPOSITORY / "data" / "sample" / "faces" / "london"
ALTERED = [(0, 1.0, 0), (20, 2.5, 60 + 20j), (-20, 0.8, 5 - 9j), (35, 1.5, -10 + 8j)]  # degrees, scale, shift
PATTERN = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))


@pytest.fixture
def opencv():
    pytest.importorskip("cv2")


@pytest.fixture
def no_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)  # then `import cv2` fails


@pytest.fixture
def model():
    torch.manual_seed(0)
    return FCVAE((3, 16, 16), (8,), 2).eval()


def london(number="001", kind="neutral"):
    """A photograph of data/sample, whose pupils are at LEFT and RIGHT."""
    with Image.open(LONDON / f"{number}_{kind}.jpg") as image:
        return image.convert("RGB")


def altered(image, angle, scale, shift, size=(640, 600)):
    """The image, turned, scaled and moved, on a larger grey picture: -> (picture, where its pupils are)."""
    turn = scale * np.exp(1j * np.radians(angle))
    middle, there = complex(*image.size) / 2, complex(*size) / 2 + shift
    back = 1 / turn
    start = middle - back * there
    matrix = (back.real, -back.imag, start.real, back.imag, back.real, start.imag)
    picture = image.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=(99, 99, 99))
    return picture, Face(*(there + turn * (pupil - middle) for pupil in (LEFT, RIGHT)))


def off(face, true):
    """How far the pupils are from the true ones, in distances between the eyes: the larger of both."""
    return max(abs(face.left - true.left), abs(face.right - true.right)) / abs(true.right - true.left)


def difference(a, b):
    return np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean()


def marked(size, face):
    """A white picture with a disk at each pupil, red on the left, blue on the right."""
    width, height = size
    points = np.arange(width) + 0.5 + 1j * (np.arange(height)[:, None] + 0.5)
    picture = np.full((height, width, 3), 255, np.uint8)
    radius = abs(face.right - face.left) / 10
    for colour, pupil in (((255, 0, 0), face.left), ((0, 0, 255), face.right)):
        picture[abs(points - pupil) < radius] = colour
    return Image.fromarray(picture)


def middles(frame):
    """Where a frame, uint8 (3, H, W), is red and where it is blue, as points."""
    pixels = frame.numpy().astype(float)
    found = []
    for own, other in ((0, 2), (2, 0)):
        y, x = np.nonzero(pixels[own] - pixels[other] > 100)
        found.append(complex(x.mean() + 0.5, y.mean() + 0.5))
    return found


# --- geometry, for which no OpenCV is needed ---


@pytest.mark.parametrize(
    "size, face",
    [
        ((178, 218), Face(LEFT, RIGHT)),
        ((3000, 2000), Face(1200 + 900j, 1900 + 1100j)),  # large, turned
        ((300, 200), Face(120 + 120j, 150 + 60j)),  # by 63 degrees
        ((120, 90), Face(20 + 20j, 70 + 22j)),  # cut off
        ((60, 60), Face(20 + 30j, 40 + 30j)),  # small
    ],
)
def test_the_pupils_come_to_their_place(monkeypatch, size, face):
    monkeypatch.setattr(photos, "find_face", lambda photo: (face, "found"))
    aligned = align(marked(size, face))
    assert aligned.image.shape == (3, 218, 178) and aligned.image.dtype == torch.uint8
    assert (aligned.how, aligned.found) == ("found", True)
    left, right = middles(aligned.image)
    assert abs(left - LEFT) < 0.7 and abs(right - RIGHT) < 0.7


def test_what_lies_outside_repeats_the_edge(monkeypatch):
    monkeypatch.setattr(photos, "find_face", lambda photo: (Face(5 + 5j, 15 + 5j), ""))
    photo = Image.new("RGB", (20, 20), "green")
    assert (align(photo).image == torch.tensor([0, 128, 0], dtype=torch.uint8)[:, None, None]).all()


def test_a_look_at_everything_is_the_image_and_shrinking_averages():
    image = london()
    assert difference(look(image, 0j, 1 + 0j, SIZE), image) < 1.5
    dots = Image.fromarray(np.tile(np.array([[0, 255], [255, 0]], np.uint8), (450, 450)))
    assert np.ptp(np.asarray(look(dots, 0j, 9 + 0j, (100, 100)))) < 40  # no moiré


# --- with OpenCV ---


@pytest.mark.parametrize("angle, scale, shift", ALTERED)
@pytest.mark.parametrize("number", ["001", "002"])
def test_a_photograph_comes_back_to_the_frame(opencv, number, angle, scale, shift):
    image = london(number)
    photo, pupils = altered(image, angle, scale, shift)
    face, _ = find_face(photo)
    assert off(face, pupils) < 0.08
    aligned = align(photo)
    assert aligned.found and aligned.how == "its face, in CelebA's frame"
    face = slice(60, 170), slice(45, 133)
    values = [np.asarray(picture)[face].ravel() for picture in (aligned.image.permute(1, 2, 0), image)]
    assert np.corrcoef(values)[0, 1] > 0.85


def test_a_large_photo_is_no_other(opencv):
    photo, pupils = altered(london(), 10, 8.0, 300 - 200j, (4000, 3000))
    face, _ = find_face(photo)
    assert off(face, pupils) < 0.08


def test_of_several_faces_the_largest_is_taken(opencv):
    photo = Image.new("RGB", (900, 600), (99, 99, 99))
    photo.paste(london("001").resize((178, 218)), (50, 50))
    large, pupils = altered(london("002"), 0, 2.0, 0, (450, 500))
    photo.paste(large, (420, 60))
    face, how = find_face(photo)
    assert off(face, Face(*(pupil + 420 + 60j for pupil in pupils))) < 0.08
    assert how == "its face, the largest of 2 with both eyes, in CelebA's frame"


def test_a_face_whose_eyes_are_not_seen_is_placed_by_its_box(opencv, monkeypatch):
    monkeypatch.setattr(photos, "eyes_in", lambda *others: None)
    photo, pupils = altered(london(), 0, 2.0, 10)
    face, how = find_face(photo)
    assert off(face, pupils) < 0.25 and "no eyes were found" in how


def test_no_face_gives_the_centre_square(opencv):
    aligned = align(PATTERN)
    assert not aligned.found and aligned.how == "its centre square, 30x30 pixels, since no face was found"
    image, how = as_seen(PATTERN, (3, 16, 16))
    assert how == aligned.how and image.shape == (3, 16, 16)


def test_a_photo_turned_by_exif_is_upright(opencv, tmp_path):
    photo, pupils = altered(london(), 0, 2.0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.png", exif=exif)
    photo.save(tmp_path / "upright.png")
    assert off(find_face(open_photo(tmp_path / "phone.png"))[0], pupils) < 0.08
    assert difference(align(tmp_path / "phone.png").image, align(tmp_path / "upright.png").image) == 0


# --- without it ---


def test_without_opencv_the_centre_square_and_one_line(no_opencv, capsys, tmp_path):
    PATTERN.save(tmp_path / "me.png")
    for _ in range(2):
        image, how = as_seen(tmp_path / "me.png", (3, 16, 16))
        assert how == "its centre square, 30x30 pixels"
    (line,) = capsys.readouterr().out.splitlines()
    assert "pip install 'vae-lib[photos]'" in line
    assert difference(image, decode_image(tmp_path / "me.png", 16)) == 0


def test_the_centre_square_fills_what_models_see(no_opencv):
    photo = Image.new("RGB", (400, 300), "red")
    photo.paste((0, 0, 255), (50, 0, 350, 300))
    frame = align(photo).image
    blue = frame[2] > 128
    assert blue[:, 16:162].all() and not blue[:, :14].any() and not blue[:, 164:].any()


# --- what a model is given ---


@pytest.fixture
def found(monkeypatch):
    """Faces are found, at the place that they have in the frame."""
    monkeypatch.setattr(photos, "find_face", lambda photo: (Face(LEFT, RIGHT), "found"))


def test_a_model_of_faces_sees_the_crop_that_it_was_trained_on(found):
    image = london()
    for crop in (148, 100):
        given, how = as_seen(image, (3, 32, 32), crop)
        box = ((178 - crop) / 2, (218 - crop) / 2, (178 + crop) / 2, (218 + crop) / 2)
        expected = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR, box)).transpose(2, 0, 1)
        assert how == "found" and given.dtype == torch.uint8 and difference(given, expected) < 2


def test_other_models_are_given_the_centre_square(found):
    given, how = as_seen(Image.new("RGB", (50, 60), "red"), (1, 28, 28), crop=None)
    assert how == "its centre square, 50x50 pixels" and given.shape == (1, 28, 28)
    assert (given == 76).all()  # 0.299 of 255


def test_which_models_are_of_faces():
    for data, expected in (
        ({"name": "celeba"}, 148),
        ({"name": "celeba", "crop": None}, 148),
        ({"name": "faces", "crop": 120}, 120),
        ({"name": "portraits"}, 178),
        ({"name": "ffhq", "crop": 512}, 148),  # in its own pixels
        ({"name": "mnist", "crop": 20}, None),
        ({"name": None}, None),
        ({"name": "folder:/mine"}, None),
    ):
        assert crop_of({"data": data}) == expected
    with pytest.raises(LabError, match="crop=300: give a whole number from 1 to 178"):
        crop_of({"data": {"name": "celeba", "crop": 300}})


# --- files ---


def test_files_that_are_no_photos(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    PATTERN.save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:500])
    for name, sentence in (
        ("text.png", r"cannot be used \(no whole image\)"),
        ("cut.png", r"cannot be used \(no whole image\)"),
        ("missing.jpg", r"cannot be read \(No such file"),
    ):
        with pytest.raises(LabError, match=f"{name} {sentence}"):
            open_photo(tmp_path / name)


def test_too_many_pixels_are_refused(tmp_path, monkeypatch):
    PATTERN.save(tmp_path / "huge.png")
    monkeypatch.setattr(decoding, "LARGEST", 1_199)
    with pytest.raises(LabError, match="more pixels than are read.*convert it to JPEG"):
        open_photo(tmp_path / "huge.png")


def test_heic(tmp_path, monkeypatch):
    PATTERN.save(tmp_path / "me.HEIC", "png")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(LabError, match="me.HEIC is a HEIC file; pip install pillow-heif, or convert it to JPEG"):
        open_photo(tmp_path / "me.HEIC")
    registered = []
    reader = type("pillow_heif", (), {"register_heif_opener": lambda: registered.append(True)})
    monkeypatch.setitem(sys.modules, "pillow_heif", reader)
    assert difference(open_photo(tmp_path / "me.HEIC"), PATTERN) == 0 and registered


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16", "1", "LA"])
def test_photos_of_any_mode(tmp_path, mode):
    file = tmp_path / ("photo.tif" if mode == "CMYK" else "photo.png")
    PATTERN.convert("L").convert("I").convert(mode).save(file) if mode == "I;16" else PATTERN.convert(mode).save(file)
    assert as_seen(file, (3, 8, 8))[0].shape == (3, 8, 8)


# --- in a notebook ---


def test_three_labelled_pictures(found, model):
    photo = Image.new("RGB", (178, 218), "red")
    figure = photos.show_photo(photo, model)
    (axis,) = figure.axes
    labels = [tick.get_text() for tick in axis.get_xticklabels()]
    assert labels == ["the photo", "what the model was given", "its reconstruction"] and "found" in axis.get_title()
    assert axis.get_window_extent().width / 3 >= 64
    row, _ = photos.pictures(photo, model)
    assert row.shape[:2] == (3, 3) and min(row.shape[2:]) >= 64
    assert (row[0, :, 0, 0] == 1).all() and row[0, :, 64, 64].tolist() == [1, 0, 0]  # white beside the photo
    assert (row[1, 0] == 1).all() and (row[1, 1:] == 0).all()
    given = as_seen(photo, model.image_shape)[0][None].float() / 255
    torch.testing.assert_close(row[2, :, ::8, ::8], model.reconstruct(given)[0])


def test_an_uploaded_photo_is_shown_and_a_bad_one_is_told(found, model):
    about = {"type": "", "size": 1, "last_modified": datetime.now()}

    def choose(content, name="me.png"):
        box.controls["file"].value = ({"name": name, "content": memoryview(content), **about},)

    box = photos.upload(model, Image.new("RGB", (178, 218), "red"))
    assert box.controls["file"].description
    first = box.picture.value
    assert box.message.value == "" and np.asarray(Image.open(io.BytesIO(first))).shape[1] > 3 * 64
    PATTERN.save(file := io.BytesIO(), "png")
    choose(file.getvalue())
    assert box.picture.value != first and box.message.value == ""
    choose(b"text", "notes.txt")
    assert "notes.txt cannot be used (no whole image)" in box.message.value
