"""Latent arithmetic, on made-up codes and on drawn faces, whose true vectors are known."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from vae_lib import (
    ConvVAE,
    TrainConfig,
    attribute_vector,
    attributes,
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
    paired_differences,
    paired_vector,
    paired_vectors,
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
    model = ConvVAE((3, 32, 32), (8, 16, 32), latent_dim=32, batch_norm=True, activation="silu", centre=0.5)
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


def test_masks_of_numbers_are_refused():
    codes, mask = torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 1, 0])
    with pytest.raises(LabError, match=r"mask must be a tensor of bool \(6,\), as .*, not torch.int64 \(6,\)"):
        mean_difference(codes, mask)
    with pytest.raises(LabError, match=r"other must be a tensor of bool .* not torch.bool \(6, 1\)"):
        balanced_difference(codes, mask == 1, mask[:, None] == 1)


@pytest.mark.parametrize("share", [False, True])
def test_one_sided_attributes_are_one_sentence(model, drawn, share):
    column = FACE_ATTRIBUTES.index("Smiling")
    some = drawn.select(drawn.targets[:, column] == int(share))
    with pytest.raises(LabError, match=r"Smiling in drawn faces.* of .* images have the attribute; some must"):
        attribute_vector(model, some, "Smiling")
    some = some.select(slice(200))
    assert "Smiling" not in attribute_vectors(posterior(model, some)[0], some)


def test_unknown_attribute_suggests_the_nearest(model, drawn):
    for name in ("smiling", "SMILING", "Smilling"):
        with pytest.raises(LabError, match=f"no attribute '{name}'.*: Smiling"):
            attribute_vector(model, drawn, name)


# --- within persons ---


def photographs(persons=30, each=6, seed=0):
    """Random codes (N, 3), labels and persons: the first three persons have one kind of images only."""
    generator = torch.Generator().manual_seed(seed)
    person = torch.arange(persons).repeat_interleave(each)
    mask = torch.rand(len(person), generator=generator) < torch.rand(persons, generator=generator)[person]
    mask[0::each], mask[1::each] = True, False  # both kinds
    mask[:each], mask[each : 3 * each] = True, False
    return torch.randn(len(person), 3, generator=generator), mask, person


def test_paired_vector_of_known_codes():
    """Person 7 changes by (3, 0) - (1, 2) = (2, -2), person 3 by (4, 0): the mean is (3, -1), the error (1, 1)."""
    codes = torch.tensor([[4.0, 0.0], [0.0, 1.0], [1.0, 2.0], [4.0, 0.0], [2.0, 0.0], [0.0, -1.0]])
    mask = torch.tensor([1, 0, 0, 1, 1, 0], dtype=torch.bool)
    person = torch.tensor([7, 3, 7, 3, 7, 3])
    assert paired_differences(codes, mask, person).tolist() == [[4, 0], [2, -2]]  # by number of the person
    mean, error = paired_vector(codes, mask, person)
    assert mean.tolist() == [3, -1]
    torch.testing.assert_close(error, torch.ones(2))


def test_persons_with_one_kind_of_images_do_not_count():
    codes, mask, person = photographs()
    expected = paired_vector(codes[person > 2], mask[person > 2], person[person > 2])
    codes[person <= 2] = 1e6
    torch.testing.assert_close(paired_vector(codes, mask, person), expected, rtol=0, atol=0)
    assert len(paired_differences(codes, mask, person)) == 27


def test_a_person_counts_once_however_many_images_show_them():
    codes, mask, person = photographs()
    rows = torch.cat([torch.arange(len(codes)), torch.nonzero(person == 9)[:, 0].repeat(50)])
    expected = paired_vector(codes, mask, person)
    torch.testing.assert_close(paired_vector(codes[rows], mask[rows], person[rows]), expected)


def test_what_is_constant_within_persons_cancels_exactly():
    """Codes are effect * a + other(person), and whoever has the attribute more often has more of the other."""
    _, a, person = photographs()
    share = torch.stack([a[person == p].float().mean() for p in range(30)])
    effect, other = torch.tensor([1.0, -2.0, 0.0]), torch.tensor([4.0, 0.0, -8.0])
    codes = a[:, None] * effect + (8 * share).round()[person, None] * other  # whole numbers, summed exactly
    assert (mean_difference(codes, a) - effect).abs().max() > 5
    mean, error = paired_vector(codes, a, person)
    assert torch.equal(mean, effect) and not error.any()


def test_the_error_of_a_paired_vector_is_how_much_it_deviates():
    """Of 400 draws of other persons, whose change, number of images and share of the attribute differ."""
    drawn, effect = [], torch.tensor([1.0, 0.0, -3.0])
    for seed in range(400):
        noise, mask, person = photographs(20, seed=seed)
        change = effect + 2 * torch.randn(20, 3, generator=torch.Generator().manual_seed(1000 + seed))
        drawn.append(paired_vector(noise + mask[:, None] * change[person], mask, person))
    means, errors = (torch.stack(part) for part in zip(*drawn))
    torch.testing.assert_close(means.var(dim=0).mean(), errors.square().mean(), rtol=0.15, atol=0)
    within = ((means - effect).abs() < errors).float().mean()
    assert 0.62 < within < 0.72  # 0.67 for 17 persons, by Student's t


def test_any_numbers_of_persons_and_any_order_of_images_give_the_same():
    codes, mask, person = photographs()
    expected, generator = paired_vector(codes, mask, person), torch.Generator().manual_seed(1)
    numbers = torch.randint(-(2**40), 2**40, (30,), generator=generator)
    order = torch.randperm(len(codes), generator=generator)
    for other in (numbers[person], 1000 - person, person.int()):
        torch.testing.assert_close(paired_vector(codes[order], mask[order], other[order]), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_paired_vector_has_the_type_of_the_codes_and_leaves_its_arguments_alone(dtype):
    codes, mask, person = photographs()
    arguments = (codes.to(dtype), mask, person)
    before = [part.clone() for part in arguments]
    found = paired_vector(*arguments)
    assert {part.dtype for part in found} == {dtype} and all(map(torch.equal, arguments, before))
    expected = paired_vector(codes.double(), mask, person)
    for part, exact in zip(found, expected):
        torch.testing.assert_close(part.double(), exact, rtol=0, atol=4 * torch.finfo(dtype).eps + 1e-6)


@pytest.mark.parametrize("both", [0, 1])
def test_fewer_than_two_persons_with_both_kinds_are_one_sentence(both):
    codes, mask, person = photographs()
    some = person < 3 + both
    with pytest.raises(LabError, match=f"^No paired vector can be taken: {both} of {3 + both} persons have images"):
        paired_vector(codes[some], mask[some], person[some])
    assert len(paired_differences(codes[some], mask[some], person[some])) == both


@pytest.fixture(scope="module")
def changing():
    """A model and two images each of 120 persons, of whom 100 change in A, 99 in B."""
    images = torch.randint(0, 256, (240, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    person, second = torch.arange(240) // 2, torch.arange(240) % 2
    targets = torch.stack([second * (person < n) for n in (100, 99)], dim=1)
    torch.manual_seed(0)
    photos = ImageDataset(images, targets, ("A", "B"), "celeba", "train", "real", {"person": person})
    return ConvVAE((3, 8, 8), (4,), latent_dim=3), photos


def test_attributes_that_fewer_than_100_persons_change_have_no_paired_vector(changing, monkeypatch):
    model, photos = changing
    codes, person = posterior(model, photos)[0], photos.factors["person"]
    assert paired_vectors(codes, photos)[1] == {"A": 100}
    assert paired_vectors(codes[:198], photos.select(slice(198))) == ({}, {})
    monkeypatch.setattr(attributes, "ENOUGH", 99)
    vectors, persons = paired_vectors(codes, photos)
    assert persons == {"A": 100, "B": 99} and list(vectors) == ["A", "B"]
    for name, found in vectors.items():
        torch.testing.assert_close(found, paired_vector(codes, photos.attribute(name), person))


@pytest.mark.parametrize("mask", [torch.tensor([1, 0, 1, 0]), torch.tensor([1.0, -1, 1, -1]), torch.ones(3).bool()])
def test_other_masks_than_of_bool_and_other_shapes_are_one_sentence(mask):
    with pytest.raises(LabError, match=r"a mask \(N,\) of bool and persons \(N,\) are needed; these are \(4, 2\) of"):
        paired_differences(torch.zeros(4, 2), mask, torch.arange(4) // 2)


def test_codes_that_are_no_floats_are_one_sentence():
    with pytest.raises(LabError, match=r"of floats.* these are \(4, 2\) of torch.int64"):
        paired_differences(torch.zeros(4, 2).long(), torch.arange(4) % 2 == 1, torch.arange(4) // 2)


def test_datasets_that_do_not_say_who_is_shown_have_no_paired_vectors(model, drawn):
    assert "person" not in drawn.factors and paired_vectors(posterior(model, drawn)[0], drawn) == ({}, {})


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


def test_the_same_faces_drawn_with_and_without_an_attribute_give_its_true_vector(model, truth):
    for name in ("Eyeglasses", "Smiling"):
        codes = [posterior(model, faces(300, 9, **{name: has}))[0] for has in (False, True)]
        mask, person = torch.arange(600) >= 300, torch.arange(600) % 300
        torch.testing.assert_close(paired_vector(torch.cat(codes), mask, person).mean, truth[name])


def test_persons_of_one_sex_each_take_the_confound_out_of_the_vector(model, drawn, truth):
    """Nobody is told who is male: persons are four faces of the same sex."""
    basis, by_sex = torch.stack(list(truth.values()), dim=1), drawn.attribute("Male").int().argsort()
    person = torch.empty(len(drawn), dtype=torch.int64).scatter_(0, by_sex, torch.arange(len(drawn)) // 4)
    paired, _ = paired_vectors(posterior(model, drawn)[0], replace(drawn, factors={"person": person}))
    assert "Male" not in paired
    vector = paired["Eyeglasses"].mean
    male_in = torch.linalg.lstsq(basis, vector[:, None]).solution[MALE].item()
    assert abs(male_in) < 0.1 and cosine(vector, truth["Eyeglasses"]) > 0.97


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
    record = vectors_for_record(model, drawn)
    vector = attribute_vector(model, drawn, "Eyeglasses")
    assert record["paired_vectors"] == {}
    torch.testing.assert_close(shipped_vector(record, "Eyeglasses"), vector, atol=1e-4, rtol=0)
    with pytest.raises(LabError, match=r"no vector \(difference\) for 'Eyeglass'.*: Eyeglasses"):
        shipped_vector(record, "Eyeglass")
    with pytest.raises(LabError, match=r"carries no attribute vectors \(difference\); choose"):
        shipped_vector({}, "Smiling")


def both_kinds_of(model, dataset, name):
    """The difference and the paired vector of an attribute, by the names of the kinds."""
    codes, mask = posterior(model, dataset)[0], dataset.attribute(name)
    paired = paired_vector(codes, mask, dataset.factors["person"]).mean
    return ("difference", mean_difference(codes, mask)), ("paired", paired)


def test_records_carry_paired_vectors_where_persons_are_known(changing):
    model, photos = changing
    record = vectors_for_record(model, photos)
    assert list(record["vectors"]) == ["A", "B"] and list(record["paired_vectors"]) == ["A"]
    for kind, expected in both_kinds_of(model, photos, "A"):
        torch.testing.assert_close(shipped_vector(record, "A", kind), expected, atol=1e-4, rtol=0)


def test_the_vectors_of_a_record_take_one_pass_over_the_images(changing, monkeypatch):
    model, photos = changing
    passes = []
    monkeypatch.setattr(attributes, "posterior", lambda *given: passes.append(given) or posterior(*given))
    vectors_for_record(model, photos)
    assert len(passes) == 1


def test_a_paired_vector_that_is_not_there_is_one_sentence():
    record = {"vectors": {"Smiling": [1.0], "Male": [2.0]}}
    with pytest.raises(LabError, match="no paired vector for 'Smiling', since fewer than 100 .*; take the difference"):
        shipped_vector(record, "Smiling", "paired")
    record["paired_vectors"] = {"Smiling": [3.0]}
    with pytest.raises(LabError, match="no paired vector for 'Male', since fewer than 100 persons"):
        shipped_vector(record, "Male", "paired")
    with pytest.raises(LabError, match=r"no vector \(paired\) for 'Smile'; it has, for example: Smiling"):
        shipped_vector(record, "Smile", "paired")
    with pytest.raises(LabError, match=r"carries no attribute vectors \(paired\); choose another"):
        shipped_vector({}, "Smiling", "paired")
    with pytest.raises(LabError, match="Unknown vector 'pairs'; choose one of difference, paired"):
        shipped_vector(record, "Smiling", "pairs")


def test_the_full_profile_ships_vectors_with_a_model_of_faces(drawn, use_profile):
    use_profile("full")
    images, targets, names = drawn.images[:200], drawn.targets[:200].clone(), drawn.target_names
    targets[:, MALE] = torch.arange(200) % 2  # two images of each person, one with and one without
    person = {"person": torch.arange(200) // 2}
    real = ImageDataset(images, targets, names, "celeba", "train", "real", person)
    build = partial(ConvVAE, (3, 32, 32), (4, 8), latent_dim=3)
    model, _ = train_or_load("faces", build, TrainConfig(epochs=1), real, None)
    _, record = load_pretrained("faces")
    for kind, expected in both_kinds_of(model, real, "Male"):
        torch.testing.assert_close(shipped_vector(record, "Male", kind), expected, atol=1e-3, rtol=0)


def test_images_of_one_class_each_have_no_vectors(tiny):
    assert vectors_for_record(None, tiny) == {"vectors": {}, "paired_vectors": {}}


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


PAIRED = dict.fromkeys(("celeba64-conv", "celeba64-conv-sigma", "celeba64-conv-beta0.1", "celeba128-conv"), 39)


@pytest.mark.parametrize("name, n", (PAIRED | {"celeba32-conv": 23}).items())
def test_shipped_face_models_carry_paired_vectors_which_say_less_of_sex(name, n, monkeypatch):
    monkeypatch.setattr(settings, "PRETRAINED_DIR", settings.REPOSITORY / "data" / "pretrained")
    model, record = load_pretrained(name)
    paired = {attribute: shipped_vector(record, attribute, "paired") for attribute in record["paired_vectors"]}
    assert len(paired) == n and "Male" not in paired and set(paired) < set(record["vectors"])
    assert all(v.shape == (model.latent_dim,) and v.any() for v in paired.values())
    vectors, male = ({a: shipped_vector(record, a) for a in paired}, shipped_vector(record, "Male"))
    assert cosine(paired["Smiling"], vectors["Smiling"]) > 0.9
    assert abs(cosine(paired["Wearing_Lipstick"], male)) < abs(cosine(vectors["Wearing_Lipstick"], male)) - 0.3
    if n == 39:  # celeba32-conv saw fewer photographs, in which too few persons have glasses on and off
        assert cosine(paired["Eyeglasses"], vectors["Eyeglasses"]) > 0.85
        assert abs(cosine(paired["Eyeglasses"], male)) < 0.1 < 0.2 < cosine(vectors["Eyeglasses"], male)
