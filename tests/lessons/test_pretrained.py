"""What each profile loads, trains and writes."""

import dataclasses

import pytest
import torch
from torch.utils.data import DataLoader, Subset

from vae_lib import (
    FCVAE,
    ConvVAE,
    LabError,
    TrainConfig,
    fit,
    load_or_repeat,
    load_pretrained,
    pretrained,
    save_pretrained,
    settings,
    to_float,
    train_or_load,
)
from vae_lib.classifier import AttributeClassifier
from vae_lib.engine.device import unwrapped
from vae_lib.evaluation import evaluate
from vae_lib.models import VAE
from vae_lib.pretrained import affordable, load_or_fit_prior, pretrained_path, record_path
from vae_lib.priors import Flow, Mixture
from vae_lib.storage.records import config_of
from vae_lib.storage.weights import read_tensors, write_tensors

CONFIG = TrainConfig(batch_size=16, lr=1e-2, epochs=4, seed=3)


def conv():
    return ConvVAE((1, 8, 8), channels=(4, 8), latent_dim=3, batch_norm=True)


def fc():
    return FCVAE((1, 8, 8), hidden=(16,), latent_dim=3)


def same_weights(a, b):
    states = a.state_dict(), b.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0] | states[1])


@pytest.fixture
def shipped(tiny, use_profile):
    """Weights called "m", made in the full profile, which is then left for the lab profile."""
    use_profile("full")
    model, record = train_or_load("m", fc, CONFIG, tiny, tiny, test=tiny)
    use_profile("lab")
    return model, record


def test_full_writes_and_lab_loads(shipped, tiny, capsys):
    model, record = train_or_load("m", fc, CONFIG, tiny, tiny, test=tiny)
    assert "m: loaded, trained on real tiny (full profile, " in capsys.readouterr().out
    assert same_weights(model, shipped[0]) and record == shipped[1]
    assert list(evaluate(model, tiny)) == record["test"]["posterior_mean"]  # the shipped half-precision weights' own
    assert record["data"] == {
        "name": "tiny",
        "source": "real",
        "image_shape": [1, 8, 8],
        "train": 64,
        "val": 64,
        "crop": None,
    }
    assert not list(settings.CHECKPOINT_DIR.iterdir())
    assert load_pretrained("m")[1] == record


def test_quick_never_loads(shipped, tiny, use_profile, capsys):
    use_profile("quick")
    _, record = train_or_load("m", fc, CONFIG, tiny, tiny)
    assert record["profile"] == "quick" and "m: trained on real tiny (quick profile, " in capsys.readouterr().out


def test_lab_never_loads_what_does_not_match(shipped, tiny, capsys):
    content = pretrained_path("m").read_bytes()
    drawn = tiny.select(slice(None))
    drawn.source = "drawn"
    cases = [
        (fc, CONFIG, drawn, "data source is 'drawn' here and 'real' there"),
        (fc, dataclasses.replace(CONFIG, beta=2.0), tiny, "config beta is 2.0 here and 1.0 there"),
        (conv, CONFIG, tiny, "model class is 'ConvVAE' here and 'FCVAE' there"),
    ]
    for build, config, data, reason in cases:
        _, record = train_or_load("m", build, config, data, tiny)
        said = capsys.readouterr().out
        assert reason in said and "m: trained on" in said and "loaded" not in said and record["profile"] == "lab"
    assert pretrained_path("m").read_bytes() == content


def test_lab_loads_whichever_photographs_are_at_hand_and_says_so(shipped, tiny, use_profile, capsys):
    sample = tiny.select(slice(20))
    sample.source, sample.crop = "sample", 6
    model, record = train_or_load("m", fc, CONFIG, sample, sample)
    assert same_weights(model, shipped[0]) and record == shipped[1]
    said = capsys.readouterr().out
    assert "m: loaded, trained on real tiny" in said and "not trained on what lies here: sample tiny, train: 20" in said
    train_or_load("m", fc, CONFIG, tiny, tiny)
    assert "what lies here" not in capsys.readouterr().out
    larger = tiny.with_images(tiny.images.repeat(1, 1, 2, 2), tiny.targets)
    train_or_load("m", lambda: FCVAE((1, 16, 16), hidden=(16,), latent_dim=2), CONFIG, larger, larger)
    assert "image_shape is [1, 16, 16] here and [1, 8, 8] there" in capsys.readouterr().out
    use_profile("full")
    with pytest.raises(LabError, match="holds another run"):
        train_or_load("m", fc, CONFIG, tiny.select(slice(20)), tiny)


def test_a_new_field_at_its_default_keeps_the_shipped_weights(shipped, tiny, capsys):
    tensors, record = read_tensors(pretrained_path("m"))
    del record["config"]["mirror"]  # as if they had been trained before the field was added
    write_tensors(pretrained_path("m"), tensors, record)
    assert same_weights(train_or_load("m", fc, CONFIG, tiny, tiny)[0], shipped[0])
    train_or_load("m", fc, dataclasses.replace(CONFIG, mirror=True), tiny, tiny)
    assert "config mirror is True here and False there" in capsys.readouterr().out


def test_full_refuses_to_replace_other_weights(shipped, tiny, use_profile):
    use_profile("full")
    content = pretrained_path("m").read_bytes()
    with pytest.raises(LabError, match="holds another run .*rename or delete it"):
        train_or_load("m", fc, dataclasses.replace(CONFIG, lr=0.5), tiny, tiny)
    assert pretrained_path("m").read_bytes() == content


def test_the_lab_budget_bounds_the_images_of_a_training(tiny, use_profile, monkeypatch):
    use_profile("lab")
    small = dataclasses.replace(settings.PROFILE, images_per_training=130)
    monkeypatch.setattr(settings, "PROFILE", small)
    assert len(train_or_load("n", fc, CONFIG, tiny, tiny)[1]["history"]) == 2
    assert not settings.PRETRAINED_DIR.exists()


def test_large_images_count_as_several(tiny, use_profile, monkeypatch, capsys):
    large = tiny.with_images(tiny.images.repeat(1, 1, 8, 8), tiny.targets)  # 64x64
    use_profile("lab")
    monkeypatch.setattr(settings, "PROFILE", dataclasses.replace(settings.PROFILE, images_per_training=64 * 4 * 2))
    config = dataclasses.replace(CONFIG, epochs=20)
    assert affordable("n", config, large)[0].epochs == 2 and affordable("n", config, tiny)[0].epochs == 8
    assert affordable("n", config, tiny)[0].lr == 1e-3 < CONFIG.lr
    said = f"n: training with 8 of 20 epochs, the learning rate 0.001 instead of {CONFIG.lr:g}: the lab profile allows"
    assert said in capsys.readouterr().out
    for epochs in (4, 8):
        config = dataclasses.replace(CONFIG, epochs=epochs)
        assert affordable("n", config, tiny) == (config, tiny)


def test_where_one_epoch_is_too_long_a_part_of_the_images_is_trained_on(tiny, use_profile, monkeypatch, capsys):
    """A laptop would need half an hour for one epoch of CelebA's 160,000 faces."""
    use_profile("lab")
    monkeypatch.setattr(settings, "PROFILE", dataclasses.replace(settings.PROFILE, images_per_training=50))
    lengths = []
    monkeypatch.setattr(
        pretrained,
        "fit",
        lambda model, images, *others, **options: lengths.append(len(images)) or fit(model, images, *others, **options),
    )
    record = train_or_load("n", fc, dataclasses.replace(CONFIG, epochs=1), tiny, tiny, repeats=1)[1]
    said = (
        f"n: training with 50 of the 64 images, drawn at random, the learning rate 0.001 instead of {CONFIG.lr:g}: the"
    )
    assert capsys.readouterr().out.count(said) == 1 and lengths == [50, 50]
    assert record["data"]["train"] == 50 and record["config"]["epochs"] == 1 and record["config"]["lr"] == 1e-3
    numbers = torch.arange(64, dtype=torch.uint8)
    numbered = tiny.with_images(numbers.view(64, 1, 1, 1).expand(64, 1, 8, 8), numbers)
    config, part = affordable("n", CONFIG, numbered, copies=2)
    kept = part.targets.tolist()
    assert config.epochs == 1 and len(kept) == 25 and kept == sorted({*kept}) == part.images[:, 0, 0, 0].tolist()
    assert len({number % 2 for number in kept}) == 2  # every second image of the sample is of an even class
    assert kept[-1] > 40  # a folder is sorted by class
    assert kept == affordable("n", CONFIG, numbered, copies=2)[1].targets.tolist()


@pytest.mark.parametrize("source", ["sample", "drawn"])
def test_the_full_profile_ships_nothing_made_of_a_sample(tiny, use_profile, source):
    part = tiny.select(slice(None))
    part.source = source
    use_profile("full")
    _, record = train_or_load("part", fc, CONFIG, part, part)
    assert len(record["history"]) == CONFIG.epochs
    assert not settings.PRETRAINED_DIR.exists() and not settings.CHECKPOINT_DIR.exists()


def test_a_comparison_ships_its_record_only(tiny, use_profile):
    use_profile("full")
    model, record = train_or_load("c", fc, CONFIG, tiny, tiny, test=tiny, weights=False)
    assert model is not None and record["test"]["posterior_mean"] == list(evaluate(model, tiny))
    assert [path.name for path in settings.PRETRAINED_DIR.glob("c*")] == ["c.json"]
    use_profile("lab")
    assert train_or_load("c", fc, CONFIG, tiny, tiny, test=tiny, weights=False) == (None, record)
    other = dataclasses.replace(CONFIG, beta=2.0)
    assert train_or_load("c", fc, other, tiny, tiny, weights=False)[1]["profile"] == "lab"
    record_path("c").write_text("{")
    with pytest.raises(LabError, match=r"c\.json is damaged"):
        train_or_load("c", fc, CONFIG, tiny, tiny, weights=False)


def test_repeats_use_other_seeds_and_are_shipped(tiny, use_profile, capsys):
    use_profile("full")
    model, record = train_or_load("r", fc, CONFIG, tiny, tiny, test=tiny, repeats=2)
    assert same_weights(model, train_or_load("alone", fc, CONFIG, tiny, tiny)[0])  # the first seed's are kept
    assert [repeat["seed"] for repeat in record["repeats"]] == [CONFIG.seed + 1, CONFIG.seed + 2]
    losses = [run["test"]["one_sample"][0] for run in (record, *record["repeats"])]
    assert len(set(losses)) == 3 and max(losses) < 1.2 * min(losses)
    torch.manual_seed(CONFIG.seed + 1)
    alone = fit(fc(), tiny, tiny, dataclasses.replace(CONFIG, seed=CONFIG.seed + 1), progress=False)
    last = record["repeats"][0]["history"][-1]
    assert last["val_loss"] == alone["history"][-1]["val_loss"]
    use_profile("lab")
    capsys.readouterr()
    loaded, loaded_record = train_or_load("r", fc, CONFIG, tiny, tiny, test=tiny, repeats=2)
    assert same_weights(loaded, model) and loaded_record == record
    train_or_load("r", fc, CONFIG, tiny, tiny, test=tiny, repeats=3)
    assert "since 3 repeats are asked for and 2 are there" in capsys.readouterr().out
    train_or_load("alone", fc, CONFIG, tiny, tiny, test=tiny)
    assert "since they were never tested" in capsys.readouterr().out


def test_a_shipped_recipe_is_loaded_or_repeated(shipped, tiny, use_profile, capsys):
    model, record = load_or_repeat("m", tiny, tiny)
    assert same_weights(model, shipped[0]) and record == shipped[1]
    use_profile("quick")
    again, short = load_or_repeat("m", tiny, tiny)
    assert short["profile"] == "quick" and short["model"] == record["model"] and again.config == model.config
    assert {**short["config"], "epochs": 0} == {**record["config"], "epochs": 0}
    with pytest.raises(LabError, match="no weights called 'nothing'.*there are: m"):
        load_or_repeat("nothing", tiny, tiny)


def draws(prior):
    return prior.sample(5, torch.Generator().manual_seed(0))


def test_a_flow_is_shipped_with_the_weights_it_was_fitted_to(shipped, tiny, use_profile, capsys, monkeypatch):
    monkeypatch.setattr(pretrained, "FLOW_STEPS", 5)
    model, _ = shipped
    use_profile("full")
    flow = load_or_fit_prior("m", model, tiny)
    assert [path.name for path in settings.PRETRAINED_DIR.glob("m-*")] == ["m-flow.safetensors"]
    use_profile("lab")
    capsys.readouterr()
    loaded = load_or_fit_prior("m", model, tiny)
    assert isinstance(loaded, Flow) and torch.equal(draws(loaded), draws(flow)) and capsys.readouterr().out == ""
    z = draws(flow)
    torch.testing.assert_close(loaded.log_prob(z), flow.log_prob(z))
    assert torch.equal(draws(load_pretrained("m-flow")[0]), draws(flow))
    with torch.no_grad():
        model.encoder[1].weight[0, 0] += 1
    other = load_or_fit_prior("m", model, tiny)
    assert "m-flow does not fit, since it is no flow of these weights" in capsys.readouterr().out
    assert not torch.equal(draws(other), draws(flow)) and torch.equal(draws(load_pretrained("m-flow")[0]), draws(flow))
    assert isinstance(load_or_fit_prior("m", model, tiny, "gaussian"), Mixture)


def test_a_flow_of_a_sample_is_not_shipped(tiny, use_profile, monkeypatch):
    use_profile("full")
    monkeypatch.setattr(pretrained, "FLOW_STEPS", 5)
    sample = tiny.select(slice(None))
    sample.source = "sample"
    load_or_fit_prior("m", fc(), sample)
    assert not settings.PRETRAINED_DIR.exists()


# --- a class of one's own, and wrapped models ---


class Mine(ConvVAE):
    """With the arguments of ConvVAE."""

    def decode(self, z):
        return super().decode(z) / 2


class Fixed(FCVAE):
    """Without arguments."""

    def __init__(self):
        super().__init__((1, 8, 8), hidden=(6,), latent_dim=3)


class Wider(FCVAE):
    """With an argument of its own, which its config names."""

    def __init__(self, width, latent_dim):
        super().__init__((1, 8, 8), hidden=(width,), latent_dim=latent_dim)
        self.config["width"] = width
        self.more = torch.nn.Linear(width, width)


class Passes(FCVAE):
    """With any arguments, which are passed on."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)


class Direct(VAE):
    """Of layers of its own."""

    def __init__(self, image_shape=(1, 8, 8), latent_dim=2, centre=0.0):
        encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2 * latent_dim))
        decoder = torch.nn.Sequential(torch.nn.Linear(latent_dim, 64), torch.nn.Unflatten(1, image_shape))
        super().__init__(encoder, decoder, image_shape=image_shape, latent_dim=latent_dim, centre=centre)


OWN = {
    "subclass": lambda: Mine((1, 8, 8), (4, 8), 3, batch_norm=True),
    "without arguments": Fixed,
    "with one of its own": lambda: Wider(5, latent_dim=4),
    "passes all on": lambda: Passes((1, 8, 8), (6,), latent_dim=3),
    "own layers": Direct,
    "compiled": lambda: torch.compile(conv(), backend="eager"),
    "parallel": lambda: torch.nn.DataParallel(conv()),
    "compiled subclass": lambda: torch.compile(OWN["subclass"](), backend="eager"),
}


@pytest.mark.parametrize("kind", OWN)
def test_models_of_ones_own_are_trained_kept_and_loaded_again(tiny, kind, use_profile, capsys):
    use_profile("full")
    short = dataclasses.replace(CONFIG, epochs=1)
    model, record = train_or_load("own", OWN[kind], short, tiny, tiny, test=tiny)
    capsys.readouterr()
    for profile in ("full", "lab"):
        use_profile(profile)
        again, same = train_or_load("own", OWN[kind], short, tiny, tiny, test=tiny)
        assert same == record and "own: loaded" in capsys.readouterr().out
    loaded = load_pretrained("own")[0]
    x = to_float(tiny.images[:5])
    for other in (again, loaded):
        assert type(other) is type(model) is type(unwrapped(OWN[kind]())) and same_weights(other, model)
        assert torch.equal(other.reconstruct(x), model.reconstruct(x))
    copy = save_pretrained(settings.PRETRAINED_DIR / "copy.safetensors", OWN[kind](), record)
    assert config_of(load_pretrained(copy)[0]) == config_of(model)


class Forgets(FCVAE):
    """Its config does not say how much it dims."""

    def __init__(self, image_shape, hidden, latent_dim, dimmed=1.0):
        super().__init__(image_shape, hidden, latent_dim)
        self.dimmed = dimmed


class Counts(FCVAE):
    """Its config is another one each time."""

    def __init__(self, **options):
        super().__init__(**options)
        self.config["hidden"] = [*self.config["hidden"], 7]


class Classifies(AttributeClassifier):
    """Its config names the class from which it is derived."""


def with_more():
    model = fc()
    model.zoom = torch.nn.Linear(2, 2)
    return model


def with_less():
    model = fc()
    model.decoder = torch.nn.Sequential(*model.decoder[2:])
    return model


def with_others():
    model = fc()
    model.encoder[1] = torch.nn.Linear(64, 17)
    return model


def named_like_ours():
    return type("FCVAE", (FCVAE,), {})((1, 8, 8), hidden=(16,), latent_dim=3)


UNLOADABLE = {
    "an argument is not in the config": (
        lambda: Forgets((1, 8, 8), (4,), 2, dimmed=0.5),
        r"its config does not say dimmed, which Forgets takes \(config\['dimmed'\] = ... says it\)",
    ),
    "another config each time": (
        lambda: Counts(image_shape=(1, 8, 8), hidden=(4,), latent_dim=2),
        "Counts of its config makes itself another config",
    ),
    "the class of its parent": (
        lambda: Classifies((1, 8, 8), ("A",), (4,)),
        "its class is Classifies, and AttributeClassifier in its config stands for another",
    ),
    "a class named like ours": (named_like_ours, "its class is FCVAE, and FCVAE in its config stands for another"),
    "more layers": (with_more, r"FCVAE of its config has no zoom\.bias"),
    "fewer layers": (with_less, r"it has no decoder\.2\.bias, which FCVAE of its config has"),
    "layers of other sizes": (with_others, r"encoder\.1\.weight is \(17, 64\) here and \(16, 64\) in FCVAE of its"),
}


@pytest.mark.parametrize("kind", UNLOADABLE)
def test_what_could_not_be_loaded_again_is_refused_before_its_training(tiny, kind, use_profile, monkeypatch):
    use_profile("full")
    monkeypatch.setattr(pretrained, "fit", None)  # calling it would fail
    build, why = UNLOADABLE[kind]
    for keep in (
        lambda: train_or_load("own", build, CONFIG, tiny, tiny),
        lambda: save_pretrained("own", build(), {}),
    ):
        with pytest.raises(LabError, match=f"could not be loaded again: {why}.*save_file") as caught:
            keep()
        assert str(caught.value).isprintable() and not settings.PRETRAINED_DIR.exists()


def test_what_is_not_kept_may_be_any_model(tiny, use_profile):
    assert train_or_load("own", with_more, CONFIG, tiny, tiny)[1]["history"]  # quick
    use_profile("full")
    assert train_or_load("own", with_more, CONFIG, tiny, tiny, weights=False)[1]["history"]


def test_asking_whether_a_model_could_be_loaded_again_draws_no_random_numbers():
    before = torch.get_rng_state()
    pretrained.check_loadable(model := conv())
    drawn = torch.get_rng_state()
    torch.set_rng_state(before)
    conv()
    assert torch.equal(torch.get_rng_state(), drawn) and model.config["class"] == "ConvVAE"


def test_a_file_of_a_class_that_is_not_here_or_has_changed_is_not_called_damaged(tiny, monkeypatch):
    model = type("Gone", (Mine,), {})((1, 8, 8), (4,), 3)
    path = save_pretrained("gone", model, {})
    assert type(load_pretrained("gone")[0]) is type(model)

    def broken(self, image_shape):
        raise AttributeError("no such thing")

    monkeypatch.setattr(type(model), "__init__", broken)
    with pytest.raises(LabError, match="made by another class Gone; load it with that one .*no such thing"):
        load_pretrained("gone")
    monkeypatch.setattr(pretrained, "derived", lambda kind: [])
    with pytest.raises(
        LabError, match="gone.safetensors holds a model of the class Gone, which is not here; define it"
    ):
        load_pretrained("gone")
    assert path.exists()


def test_of_a_class_that_was_defined_twice_the_one_that_its_module_has_is_built():
    old, new, model = Mine, type("Mine", (ConvVAE,), {"__module__": __name__}), OWN["subclass"]()
    path = save_pretrained("mine", model, {})
    assert type(load_pretrained(path)[0]) is old  # `new` is younger, and the module does not have it
    assert new in pretrained.derived(ConvVAE)


def test_the_record_of_another_model_is_not_kept(tiny):
    record = fit(fc(), tiny, None, dataclasses.replace(CONFIG, epochs=1), progress=False)
    for model, wrong, why in (
        (conv(), record, "is of another model: model class is 'ConvVAE' here and 'FCVAE' there"),
        (fc(), None, "could not be read again .*NoneType"),
        (fc(), {"history": "long"}, r"could not be read again \(history in its record is no list\)"),
        (fc(), record | {"note": torch.zeros(2)}, "could not be read again .*not JSON"),
    ):
        with pytest.raises(LabError, match=why):
            save_pretrained("x", model, wrong)
    assert not settings.PRETRAINED_DIR.exists()
    save_pretrained("x", fc(), {})  # what is needed is added
    assert load_pretrained("x")[1]["model"]["class"] == "FCVAE"


def test_parts_made_by_torch_are_taken_and_other_data_refused(tiny, monkeypatch):
    monkeypatch.setattr(pretrained, "FLOW_STEPS", 1)
    part = Subset(tiny, range(32))
    _, record = train_or_load("n", fc, CONFIG, part, part, test=part)
    assert record["data"]["train"] == record["data"]["val"] == 32 and record["test"]
    assert load_or_fit_prior("n", fc(), part).latent_dim == 3
    for data, named in (((DataLoader(tiny), tiny), "train"), ((tiny, tiny.images), "val"), ((tiny, tiny, 5), "test")):
        with pytest.raises(LabError, match=f"^{named} must be an ImageDataset"):
            train_or_load("n", fc, CONFIG, *data)
    with pytest.raises(LabError, match="^train must be an ImageDataset"):
        load_or_fit_prior("n", fc(), DataLoader(tiny))


def test_a_change_that_neither_config_nor_weights_tell_is_refused(tmp_path):
    """It would be lost in silence: the loaded model would make other pictures."""
    for change in (lambda m: setattr(m, "centre", 0.5), lambda m: m.encoder.__setitem__(2, torch.nn.Tanh())):
        model = FCVAE((1, 4, 4), (8,), 2)
        pretrained.check_loadable(model)
        state = torch.get_rng_state()
        change(model)
        with pytest.raises(LabError, match="makes other pictures with these weights"):
            pretrained.check_loadable(model)
        assert model.training and torch.equal(torch.get_rng_state(), state)
