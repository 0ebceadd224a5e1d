"""Latent arithmetic, on made-up codes and on drawn faces, whose true vectors are known."""

from functools import partial

import pytest
import torch

from vae_lib import (
    ConvVAE,
    TrainConfig,
    attribute_vector,
    fit,
    load_pretrained,
    manipulate,
    settings,
    to_float,
    train_or_load,
)
from vae_lib.attributes import (
    attribute_vectors,
    balanced_difference,
    mean_difference,
    orthogonalise,
    shipped_vector,
    vectors_for_record,
)
from vae_lib.checks import LabError
from vae_lib.data import ImageDataset
from vae_lib.data.drawn_faces import FACE_ATTRIBUTES, draw_faces
from vae_lib.metrics import posterior

VIEW = dict(size=32, crop=100)
MALE = FACE_ATTRIBUTES.index("Male")


def faces(n, seed, **forced):
    images, targets, names, _ = draw_faces(n, seed, **VIEW, **forced)
    return ImageDataset(torch.from_numpy(images), torch.from_numpy(targets), names, "faces", "train", "drawn")


@pytest.fixture(scope="module")
def drawn():
    return faces(4_000, 0)


@pytest.fixture(scope="module")
def model(drawn):
    """A small VAE after six epochs of drawn faces."""
    torch.manual_seed(0)
    model = ConvVAE((3, 32, 32), (16, 32, 64), latent_dim=32, batch_norm=True, activation="silu", centre=0.5)
    config = TrainConfig(batch_size=64, lr=3e-3, epochs=6, schedule="one-cycle")
    fit(model, drawn, None, config, progress=False)
    return model


@pytest.fixture(scope="module")
def truth(model):
    """The true vector of each attribute: the same 300 faces drawn with it and without it."""

    def codes(**forced):
        return posterior(model, faces(300, 9, **forced))[0]

    return {name: (codes(**{name: True}) - codes(**{name: False})).mean(dim=0) for name in FACE_ATTRIBUTES}


def cosine(a, b):
    return torch.cosine_similarity(a, b, dim=0).item()


# --- the formulas ---


def test_mean_difference_of_known_codes():
    codes = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0], [0.0, 1.0]])
    assert mean_difference(codes, torch.tensor([True, True, False, False])).tolist() == [2, -3]


def test_balancing_recovers_the_effect_that_a_confound_hides():
    """Codes are effect * a + other * b exactly; a and b occur together three times in four."""
    a = torch.tensor([1, 1, 1, 0, 1, 0, 0, 0], dtype=torch.bool)
    b = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0], dtype=torch.bool)
    effect, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 4.0])
    codes = a[:, None] * effect + b[:, None] * other
    torch.testing.assert_close(mean_difference(codes, a), effect + 0.5 * other)  # b: 3/4 with a, 1/4 without
    torch.testing.assert_close(balanced_difference(codes, a, b), effect)


def test_an_orthogonal_vector_has_lost_just_the_components():
    generator = torch.Generator().manual_seed(0)
    vector, first, second = torch.randn(3, 20, generator=generator)
    rest = orthogonalise(vector, first, second)
    assert abs(rest @ first) < 1e-5 and abs(rest @ second) < 1e-5
    removed = torch.linalg.lstsq(torch.stack([first, second], dim=1), (vector - rest)[:, None])
    assert removed.residuals.numel() == 0 or removed.residuals.abs().max() < 1e-8
    torch.testing.assert_close(orthogonalise(rest, first, second), rest)
    torch.testing.assert_close(orthogonalise(vector, first, second, first - second, 0 * first), rest)  # dependent
    with pytest.raises(LabError, match="Nothing is left of the vector without the 2 others"):
        orthogonalise(2 * first - second, first, second)


@pytest.mark.parametrize("share", [False, True])
def test_one_sided_attributes_are_one_sentence(model, drawn, share):
    column = FACE_ATTRIBUTES.index("Smiling")
    some = drawn.select(drawn.targets[:, column] == int(share))
    with pytest.raises(LabError, match=r"Smiling in drawn faces.* of .* images have the attribute; some must"):
        attribute_vector(model, some, "Smiling")
    assert "Smiling" not in attribute_vectors(model, some.select(slice(200)))


def test_unknown_attribute_suggests_the_nearest(model, drawn):
    for name in ("smiling", "SMILING", "Smilling"):
        with pytest.raises(LabError, match=f"no attribute '{name}'.*: Smiling"):
            attribute_vector(model, drawn, name)


# --- moving pictures ---


def test_manipulate_adds_the_vector_to_posterior_means(model, drawn):
    x, vector = to_float(drawn.images[:3]), torch.linspace(-1, 1, 32)
    moved = manipulate(model, x, vector, [-1, 0, 2.5])
    assert moved.shape == (3, 3, 3, 32, 32)
    torch.testing.assert_close(moved[:, 1], model.reconstruct(x), atol=1e-4, rtol=0)
    with torch.no_grad():
        codes = model.encode(x)[0]
        torch.testing.assert_close(moved[:, 2], model.decode(codes + 2.5 * vector), atol=1e-4, rtol=0)
    torch.testing.assert_close(manipulate(model, codes, vector, [-1, 0, 2.5]), moved, atol=1e-4, rtol=0)
    torch.testing.assert_close(manipulate(model, drawn.images[0], vector, [0])[0], moved[0, 1], atol=1e-4, rtol=0)


def test_manipulate_refuses_other_shapes(model):
    with pytest.raises(LabError, match=r"\(7,\); this model's codes are \(32,\)"):
        manipulate(model, torch.zeros(2, 32), torch.zeros(7), [1])
    with pytest.raises(LabError, match="Give an image of shape"):
        manipulate(model, torch.zeros(2, 3, 8, 8), torch.zeros(32), [1])


# --- where the truth is known ---


def test_vectors_of_drawn_faces_point_to_the_truth(model, drawn, truth):
    codes, _ = posterior(model, drawn)
    for name in ("Eyeglasses", "Blond_Hair", "Pale_Skin", "Wearing_Hat"):
        vector = attribute_vector(model, drawn, name)
        torch.testing.assert_close(vector, mean_difference(codes, drawn.attribute(name)))
        assert cosine(vector, truth[name]) > 0.93, name
    eyeglasses = balanced_difference(codes, drawn.attribute("Eyeglasses"), drawn.attribute("Male"))
    assert cosine(eyeglasses, truth["Eyeglasses"]) > 0.985


def test_a_vector_contains_its_confound_as_often_as_labels_say_and_balancing_removes_it(model, drawn, truth):
    basis = torch.stack(list(truth.values()), dim=1)

    def male_in(vector):
        return torch.linalg.lstsq(basis, vector[:, None]).solution[MALE].item()

    codes, male = posterior(model, drawn)[0], drawn.attribute("Male")
    for name in ("Eyeglasses", "Mustache", "Wearing_Lipstick"):
        mask = drawn.attribute(name)
        counted = male[mask].float().mean() - male[~mask].float().mean()
        assert abs(male_in(mean_difference(codes, mask)) - counted) < 0.15, name
    glasses = drawn.attribute("Eyeglasses")
    naive, balanced = mean_difference(codes, glasses), balanced_difference(codes, glasses, male)
    assert male_in(naive) > 0.12 and abs(male_in(balanced)) < 0.07
    mustache = attribute_vector(model, drawn, "Mustache")
    freed = orthogonalise(mustache, attribute_vector(model, drawn, "Male"))
    assert cosine(mustache, truth["Male"]) > 0.7 and abs(male_in(freed)) < male_in(mustache) / 3


def test_an_edit_changes_its_own_factor_in_the_picture_and_leaves_the_others(model, drawn):
    """How much of each true change of the picture is in the edit: least squares, over the same 100 faces."""
    visible = ("Black_Hair", "Eyeglasses", "Pale_Skin")
    without = {name: False for name in (*visible, "Wearing_Hat")}  # a hat hides hair
    start = faces(100, 11, **without)
    base = model.reconstruct(to_float(start.images))
    changes = {}
    for name in visible:
        changed = faces(100, 11, **(without | {name: True}))
        changes[name] = (model.reconstruct(to_float(changed.images)) - base).flatten(1)
    true_changes = torch.stack(list(changes.values()), dim=2)
    for i, name in enumerate(visible):
        edit = (
            manipulate(model, to_float(start.images), attribute_vector(model, drawn, name), [1])[:, 0] - base
        ).flatten(1)
        amounts = torch.linalg.lstsq(true_changes, edit[:, :, None]).solution[:, :, 0].mean(dim=0)
        assert 0.7 < amounts[i] < 1.5, (name, amounts)
        assert torch.cat([amounts[:i], amounts[i + 1 :]]).abs().max() < 0.25, (name, amounts)


# --- vectors that models carry ---


def test_records_carry_vectors(model, drawn):
    record = {"vectors": vectors_for_record(model, drawn)}
    vector = attribute_vector(model, drawn, "Eyeglasses")
    torch.testing.assert_close(shipped_vector(record, "Eyeglasses"), vector, atol=1e-4, rtol=0)
    with pytest.raises(LabError, match="no vector for 'Eyeglass'.*: Eyeglasses"):
        shipped_vector(record, "Eyeglass")
    with pytest.raises(LabError, match="carries no attribute vectors; choose"):
        shipped_vector({}, "Smiling")


def test_the_full_profile_ships_vectors_with_a_model_of_faces(drawn, use_profile):
    use_profile("full")
    real = ImageDataset(drawn.images[:100], drawn.targets[:100], drawn.target_names, "celeba", "train", "real")
    build = partial(ConvVAE, (3, 32, 32), (4, 8), latent_dim=3)
    model, _ = train_or_load("faces", build, TrainConfig(epochs=1), real, None)
    _, record = load_pretrained("faces")
    expected = attribute_vector(model, real, "Male")
    torch.testing.assert_close(shipped_vector(record, "Male"), expected, atol=1e-3, rtol=0)


def test_images_of_one_class_each_have_no_vectors(tiny):
    assert vectors_for_record(None, tiny) == {}


@pytest.mark.parametrize("name", ["celeba64-conv", "celeba128-conv"])
def test_shipped_face_models_carry_the_vectors_of_all_attributes(name, monkeypatch):
    monkeypatch.setattr(settings, "PRETRAINED_DIR", settings.REPOSITORY / "data" / "pretrained")
    model, record = load_pretrained(name)
    vectors = {attribute: shipped_vector(record, attribute) for attribute in record["vectors"]}
    assert len(vectors) == 40 and all(v.shape == (model.latent_dim,) for v in vectors.values())
    assert cosine(vectors["Male"], vectors["Wearing_Lipstick"]) < -0.8
    assert cosine(vectors["Smiling"], vectors["Mouth_Slightly_Open"]) > 0.5
    bright = model.sample(64, torch.Generator().manual_seed(0)).mean()
    z = torch.randn(64, model.latent_dim, generator=torch.Generator().manual_seed(0))
    assert manipulate(model, z, vectors["Pale_Skin"], [2]).mean() > bright + 0.05
