"""What each profile loads, trains and writes."""

import dataclasses

import pytest
import torch

from vae_lib import (
    FCVAE,
    ConvVAE,
    LabError,
    TrainConfig,
    fit,
    load_or_repeat,
    load_pretrained,
    pretrained,
    settings,
    train_or_load,
)
from vae_lib.evaluation import evaluate
from vae_lib.pretrained import affordable, load_or_fit_prior, pretrained_path, record_path
from vae_lib.priors import Flow, Mixture
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


def test_large_images_count_as_several(tiny, use_profile, monkeypatch):
    large = tiny.select(slice(None))
    large.images = large.images.repeat(1, 1, 8, 8)  # 64x64
    use_profile("lab")
    monkeypatch.setattr(settings, "PROFILE", dataclasses.replace(settings.PROFILE, images_per_training=64 * 4 * 2))
    config = dataclasses.replace(CONFIG, epochs=20)
    assert affordable(config, large).epochs == 2 and affordable(config, tiny).epochs == 8
    assert affordable(config, tiny).lr == 1e-3 < CONFIG.lr and affordable(CONFIG, tiny) == CONFIG


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
    monkeypatch.setattr(pretrained, "FLOW_STEPS", 20)
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
