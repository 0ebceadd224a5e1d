"""Early stopping, resuming, errors, and what each profile loads, trains and writes."""

import contextlib
import copy
import dataclasses
import json

import pytest
import torch

from vae_lib import (
    FCVAE,
    Autoencoder,
    ConvVAE,
    TrainConfig,
    fit,
    load_dataset,
    load_or_repeat,
    load_pretrained,
    settings,
    train_or_load,
)
from vae_lib.checks import LabError
from vae_lib.engine.steps import STEPS_BEFORE_RECORDING, TrainingStep, at_work, learning_rate, prepare, train_epoch
from vae_lib.metrics import evaluate
from vae_lib.storage.weights import pretrained_path, read_tensors, record_path
from vae_lib.training import affordable, best_epoch, stops_at

CONFIG = TrainConfig(batch_size=16, lr=1e-2, epochs=4, seed=3)


def conv():
    return ConvVAE((1, 8, 8), channels=(4, 8), latent_dim=3, batch_norm=True)


def fc():
    return FCVAE((1, 8, 8), hidden=(16,), latent_dim=3)


def seeded(build, seed=0):
    torch.manual_seed(seed)
    return build()


def same_weights(a, b):
    states = a.state_dict(), b.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0] | states[1])


# --- early stopping ---


@pytest.mark.parametrize(
    ("losses", "patience", "min_delta", "epoch"),
    [
        ([10, 9, 8, 7, 6], 2, 0.5, None),  # always better
        ([10, 9, 9, 9], 2, 0.5, 4),  # two epochs without improvement
        ([10, 9.6, 9.2, 8.8], 2, 0.5, None),  # 9.6 is no improvement, 9.2 is one on 10
        ([10, 9.6, 9.55, 9.5, 9.4], 3, 0.5, 4),  # 9.5 is exactly min_delta better: no improvement
        ([10, 11, 9, 10, 10, 10, 5], 3, 0.5, 6),  # a late improvement comes too late
        ([5], 1, 0.0, None),
        ([5, 5], 1, 0.0, 2),
        ([], 1, 0.0, None),
    ],
)
def test_early_stopping_epoch(losses, patience, min_delta, epoch):
    assert stops_at(losses, patience, min_delta) == epoch


def test_fit_stops_at_that_epoch_and_keeps_the_best_weights(tiny, monkeypatch):
    scripted = iter([5.0, 4.0, 3.9, 4.2, 1.0])
    states = []

    def scripted_evaluate(model, *args, **kwargs):
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return (next(scripted), 1.0, 1.0)

    monkeypatch.setattr("vae_lib.training.evaluate", scripted_evaluate)
    model = seeded(fc)
    record = fit(model, tiny, tiny, dataclasses.replace(CONFIG, epochs=20, patience=2), progress=False)
    assert len(record["history"]) == 4 and record["stopped_early"]
    assert record["best_epoch"] == 3  # the lowest loss, though not an improvement of 0.5
    assert all(torch.equal(tensor, states[2][name]) for name, tensor in model.state_dict().items())


def test_best_epoch():
    assert best_epoch([]) == 0
    assert best_epoch([{"epoch": 1, "train_loss": 1}, {"epoch": 2, "train_loss": 2}]) == 2
    assert best_epoch([{"epoch": 1, "val_loss": 1}, {"epoch": 2, "val_loss": 2}]) == 1


# --- the loop ---


@pytest.mark.parametrize("build", [conv, fc, lambda: Autoencoder((1, 8, 8), (16,), 3)], ids=["conv", "fc", "ae"])
def test_training_lowers_the_loss(tiny, build):
    model = seeded(build)
    before = evaluate(model, tiny, sample=True).loss
    record = fit(model, tiny, None, dataclasses.replace(CONFIG, epochs=40), progress=False)
    assert evaluate(model, tiny, sample=True).loss < 0.8 * before
    assert record["history"][-1]["train_loss"] < record["history"][0]["train_loss"]
    assert not record["stopped_early"] and len(record["history"]) == 40
    json.dumps(record)


def test_same_seed_same_weights(tiny):
    runs = [seeded(conv) for _ in range(3)]
    for model, seed in zip(runs, (3, 3, 4)):
        fit(model, tiny, None, dataclasses.replace(CONFIG, seed=seed), progress=False)
    assert same_weights(runs[0], runs[1]) and not same_weights(runs[0], runs[2])


def test_training_and_validation_have_one_objective(tiny):
    """With a learning rate of (almost) zero both are the same number, up to the noise of z; so for its parts."""
    config = TrainConfig(batch_size=64, lr=1e-12, epochs=1, beta=7.0, likelihood="bce", precision="float32")
    (row,) = fit(seeded(fc), tiny, tiny, config, progress=False)["history"]
    assert row["train_kl"] == pytest.approx(row["val_kl"], rel=1e-4)
    assert row["train_loss"] == pytest.approx(row["val_loss"], rel=0.02)
    for part in ("train", "val"):
        assert row[f"{part}_loss"] == pytest.approx(row[f"{part}_reconstruction"] + 7 * row[f"{part}_kl"], rel=1e-5)


@pytest.mark.parametrize(
    "build",
    [
        lambda: ConvVAE((3, 32, 32), centre=0.5),
        lambda: ConvVAE((3, 32, 32), batch_norm=True, activation="silu", centre=0.5),
        lambda: FCVAE((3, 32, 32), hidden=(192,), centre=0.5),
    ],
    ids=["conv", "conv with normalisation", "fc"],
)
def test_bfloat16_reaches_the_loss_of_float32(build):
    train, losses = load_dataset("cifar10"), []
    for precision in ("float32", "bfloat16"):
        config = TrainConfig(batch_size=64, epochs=3, precision=precision)
        losses.append(fit(seeded(build), train, None, config, progress=False)["history"][-1]["train_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.005) and losses[1] != losses[0]


def test_one_cycle_schedule():
    config = TrainConfig(lr=2.0, schedule="one-cycle")
    rates = [learning_rate(config, k / 1000) for k in range(1001)]
    assert rates[0] == pytest.approx(0.08) and max(rates) == pytest.approx(2.0, rel=1e-3)
    assert rates.index(max(rates)) == 100 and rates[-1] == pytest.approx(0, abs=1e-9)
    assert learning_rate(TrainConfig(lr=2.0), 0.7) == 2.0


def test_mirroring_changes_training_but_not_validation(tiny):
    histories = []
    for mirror in (False, True):
        config = TrainConfig(batch_size=64, lr=1e-12, epochs=2, mirror=mirror)
        histories.append(fit(seeded(fc), tiny, tiny, config, progress=False)["history"])
    assert histories[0][0]["train_kl"] != histories[1][0]["train_kl"]
    assert histories[0][0]["val_loss"] == pytest.approx(histories[1][0]["val_loss"])


# --- interrupted and continued ---


@pytest.mark.parametrize("build", [conv, fc], ids=["conv", "fc"])
@pytest.mark.parametrize("stop_after", [1, 3])
@pytest.mark.parametrize(
    "val_losses", [(5.0, 4.0, 3.0, 2.0), (5.0, 2.0, 4.0, 3.0)], ids=["last is best", "second is best"]
)
def test_resume_gives_the_same_weights_bit_for_bit(tiny, tmp_path, build, stop_after, val_losses, monkeypatch):
    config = dataclasses.replace(CONFIG, schedule="one-cycle", mirror=True)
    scripted = iter((*val_losses, *val_losses))  # the validation of the whole run, then of the interrupted one
    monkeypatch.setattr("vae_lib.training.evaluate", lambda *args, **kwargs: (next(scripted), 1.0, 1.0))
    whole = seeded(build)
    record = fit(whole, tiny, tiny, config, progress=False)

    checkpoint = tmp_path / "run.safetensors"
    from vae_lib import training

    train_epoch = training.train_epoch

    def interrupted(step, dataset, epoch, advance):
        if epoch > stop_after:
            raise KeyboardInterrupt
        return train_epoch(step, dataset, epoch, advance)

    monkeypatch.setattr(training, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(seeded(build), tiny, tiny, config, checkpoint, progress=False)
    monkeypatch.setattr(training, "train_epoch", train_epoch)

    resumed = seeded(build, seed=9)  # its own weights do not matter
    continued = fit(resumed, tiny, tiny, config, checkpoint, progress=False)
    assert same_weights(whole, resumed)
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in r["history"]] for r in (record, continued)]
    assert rows[0] == rows[1]


def test_a_finished_run_is_not_trained_again(tiny, tmp_path, monkeypatch):
    checkpoint = tmp_path / "run.safetensors"
    fit(seeded(fc), tiny, tiny, CONFIG, checkpoint, progress=False)
    monkeypatch.setattr("vae_lib.training.train_epoch", None)  # calling it would fail
    assert len(fit(seeded(fc), tiny, tiny, CONFIG, checkpoint, progress=False)["history"]) == 4


def test_a_checkpoint_of_another_run_is_refused_and_kept(tiny, tmp_path):
    checkpoint = tmp_path / "run.safetensors"
    fit(seeded(fc), tiny, None, CONFIG, checkpoint, progress=False)
    content = checkpoint.read_bytes()
    with pytest.raises(LabError, match=r"belongs to another run: config lr is 0.5 here and 0.01 there"):
        fit(seeded(fc), tiny, None, dataclasses.replace(CONFIG, lr=0.5), checkpoint, progress=False)
    assert checkpoint.read_bytes() == content


def test_a_loss_that_is_not_finite_stops_the_run(tiny, tmp_path, monkeypatch):
    from vae_lib import training

    train_epoch, checkpoint = training.train_epoch, tmp_path / "run.safetensors"
    model, good = seeded(fc), {}

    def breaks(step, dataset, epoch, advance):
        losses = train_epoch(step, dataset, epoch, advance)
        if epoch == 3:
            model.encoder[1].weight.data.fill_(torch.nan)
            return [torch.nan] * 3
        good.update({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return losses

    monkeypatch.setattr(training, "train_epoch", breaks)
    with pytest.raises(
        LabError, match="epoch 3 .* epoch 2, kept in .*run.safetensors; lower the learning rate"
    ) as error:
        fit(model, tiny, None, CONFIG, checkpoint, progress=False)
    assert "\n" not in str(error.value)
    assert all(torch.equal(tensor, good[name]) for name, tensor in model.state_dict().items())
    tensors, record = read_tensors(checkpoint)
    assert len(record["history"]) == 2 and all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_a_real_explosion_is_caught(tiny):
    with pytest.raises(LabError, match="is not finite in epoch"):
        model = seeded(fc)
        model.decoder[0].weight.data.fill_(torch.inf)
        fit(model, tiny, None, CONFIG, progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"epochs": 2.5}, "epochs=2.5"),
        ({"lr": -1.0}, "lr=-1.0.: give a finite number above 0"),
        ({"beta": float("nan")}, "beta=nan.: give a finite number of at least 0"),
        ({"likelihood": "l1"}, "choose one of mse, bce"),
        ({"schedule": "cosine"}, "choose one of constant, one-cycle"),
        ({"precision": "int8"}, "choose one of auto, float32, bfloat16"),
    ],
)
def test_bad_configurations(changes, message):
    with pytest.raises(LabError, match=message):
        TrainConfig(**changes)


def test_empty_training_set(tiny):
    with pytest.raises(LabError, match="is empty"):
        fit(fc(), tiny.select(slice(0)), None, CONFIG)


# --- train_or_load in the three profiles ---


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
    fake = tiny.select(slice(None))
    fake.source = "synthetic"
    cases = [
        (fc, CONFIG, fake, "data source is 'synthetic' here and 'real' there"),
        (fc, dataclasses.replace(CONFIG, beta=2.0), tiny, "config beta is 2.0 here and 1.0 there"),
        (conv, CONFIG, tiny, "model class is 'ConvVAE' here and 'FCVAE' there"),
    ]
    for build, config, data, reason in cases:
        _, record = train_or_load("m", build, config, data, tiny)
        said = capsys.readouterr().out
        assert reason in said and "m: trained on" in said and "loaded" not in said and record["profile"] == "lab"
    assert pretrained_path("m").read_bytes() == content


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


def test_the_full_profile_ships_nothing_made_of_stand_ins(tiny, use_profile, monkeypatch):
    fake = tiny.select(slice(None))
    fake.source = "synthetic"
    lab = dataclasses.replace(settings.PROFILES["lab"], images_per_training=64)
    monkeypatch.setitem(settings.PROFILES, "lab", lab)
    use_profile("full")
    _, record = train_or_load("fake", fc, CONFIG, fake, fake)
    assert len(record["history"]) == 1 < CONFIG.epochs
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


# --- on a GPU ---


class FakeGraph:
    """A CUDA graph as far as a CPU can play one: what runs while it records leaves no trace, a replay runs it."""

    def __init__(self):
        self.replays = 0

    def register_generator_state(self, generator):
        self.generator = generator

    def replay(self):
        self.replays += 1
        self.step.run(self.step.x)


def play_gpu(step, monkeypatch):
    """Let the step take the way that it takes on a GPU."""
    step.recordable = True

    @contextlib.contextmanager
    def recording(graph):
        kept = copy.deepcopy((step.model.state_dict(), step.optimizer.state_dict(), step.totals))
        noise = step.noise.get_state()
        yield
        graph.step = step
        step.model.load_state_dict(kept[0])
        step.optimizer.load_state_dict(kept[1])
        step.totals.copy_(kept[2])
        step.noise.set_state(noise)

    stream = contextlib.nullcontext()
    stream.wait_stream = lambda other: None
    monkeypatch.setattr("torch.cuda.CUDAGraph", FakeGraph)
    monkeypatch.setattr("torch.cuda.graph", recording)
    monkeypatch.setattr("torch.cuda.Stream", lambda: stream)
    monkeypatch.setattr("torch.cuda.current_stream", lambda: stream)
    monkeypatch.setattr("torch.cuda.stream", lambda stream: stream)


def two_epochs(model, dataset, change=lambda step: None):
    """(step, losses of two epochs) of a training whose last batch is smaller than the others."""
    config = dataclasses.replace(CONFIG, batch_size=10, mirror=True)
    step = TrainingStep(model, prepare(model, config), config)
    change(step)
    return step, [train_epoch(step, dataset, epoch, lambda n: None) for epoch in (1, 2)]


def test_recording_and_replaying_a_step_changes_nothing(tiny, monkeypatch):
    plain, recorded = seeded(fc), seeded(fc)
    _, expected = two_epochs(plain, tiny)
    step, found = two_epochs(recorded, tiny, lambda step: play_gpu(step, monkeypatch))
    assert found == expected and same_weights(plain, recorded)
    assert step.graph.replays == 2 * 6 - STEPS_BEFORE_RECORDING and step.graph.generator is step.noise


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_replayed_steps_learn_what_plain_ones_learn(tiny, monkeypatch):
    monkeypatch.setattr("vae_lib.settings.has_fast_bfloat16", lambda device=None: False)
    with at_work(seeded(conv)) as model:
        step, found = two_epochs(model, tiny)
    with at_work(seeded(conv)) as model:
        _, expected = two_epochs(model, tiny, lambda step: setattr(step, "recordable", False))
    assert step.graph is not None
    assert found == [pytest.approx(losses, rel=1e-3) for losses in expected]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_models_come_back_from_the_gpu(tiny):
    model = seeded(conv)
    record = fit(model, tiny, tiny, CONFIG, progress=False)
    assert {p.device.type for p in model.parameters()} == {"cpu"} and "cpu" not in record["device"]
