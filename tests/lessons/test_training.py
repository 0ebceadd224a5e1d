"""The loop, early stopping, resuming, and errors."""

import contextlib
import dataclasses
import json

import pytest
import torch
from torch.utils.data import DataLoader, Subset, random_split

from vae_lib import FCVAE, Autoencoder, ConvVAE, LabError, TrainConfig, elbo_loss, fit, load_dataset, to_float, training
from vae_lib.engine.device import unwrapped
from vae_lib.engine.schedule import learning_rate
from vae_lib.evaluation import evaluate
from vae_lib.storage.weights import read_tensors
from vae_lib.training import best_epoch, early_stopping_epoch, make_optimizer

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
    assert early_stopping_epoch(losses, patience, min_delta) == epoch


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
        lambda: ConvVAE((3, 16, 16), (16, 32, 64), centre=0.5),
        lambda: ConvVAE((3, 16, 16), (16, 32, 64), batch_norm=True, activation="silu", centre=0.5),
        lambda: FCVAE((3, 16, 16), hidden=(192,), centre=0.5),
    ],
    ids=["conv", "conv with normalisation", "fc"],
)
def test_bfloat16_reaches_the_loss_of_float32(build):
    train, losses = load_dataset("cifar10", size=16).select(slice(256)), []  # bfloat16 is slow where it is not built in
    for precision in ("float32", "bfloat16"):
        config = TrainConfig(batch_size=16, epochs=3, precision=precision)
        losses.append(fit(seeded(build), train, None, config, progress=False)["history"][-1]["train_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.005) and losses[1] != losses[0]


def test_weight_decay_reaches_the_optimiser():
    (group,) = make_optimizer(fc(), TrainConfig(lr=0.5, weight_decay=0.25)).param_groups
    assert (group["lr"], group["weight_decay"], group["fused"]) == (0.5, 0.25, True)


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


# --- the Gaussian with the best variance ---


def test_training_with_the_gaussian_lowers_its_loss(tiny):
    model = seeded(fc)
    before = evaluate(model, tiny, likelihood="gaussian", sample=True)
    config = dataclasses.replace(CONFIG, epochs=40, likelihood="gaussian")
    history = fit(model, tiny, None, config, progress=False)["history"]
    after = evaluate(model, tiny, likelihood="gaussian", sample=True)
    assert after.reconstruction < before.reconstruction - 20 and after.loss < before.loss - 10
    assert history[-1]["train_loss"] < history[0]["train_loss"] - 10


def test_training_and_validation_have_one_objective_with_the_gaussian_too(tiny):
    config = TrainConfig(batch_size=64, lr=1e-12, epochs=1, likelihood="gaussian", precision="float32")
    (row,) = fit(seeded(fc), tiny, tiny, config, progress=False)["history"]
    assert row["train_loss"] == pytest.approx(row["val_loss"], rel=0.02)


def test_the_gaussian_is_the_squared_error_with_beta_twice_its_variance(tiny):
    """The gradients on one batch are the same, up to this factor."""
    x = to_float(tiny.images)

    def gradient(beta, likelihood):
        model = seeded(fc)
        x_hat, mu, logvar = model(x, torch.Generator().manual_seed(1))
        elbo_loss(x_hat, x, mu, logvar, beta, likelihood).loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()]), (x_hat - x).square().mean().item()

    gaussian, variance = gradient(1.0, "gaussian")
    squared, _ = gradient(2 * variance, "mse")
    torch.testing.assert_close(2 * variance * gaussian, squared, rtol=1e-4, atol=1e-6)
    assert squared.abs().max() > 0.01


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
    train_epoch = training.train_epoch

    def interrupted(model, optimizer, dataset, config, epoch, *others):
        if epoch > stop_after:
            raise KeyboardInterrupt
        return train_epoch(model, optimizer, dataset, config, epoch, *others)

    monkeypatch.setattr(training, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(seeded(build), tiny, tiny, config, checkpoint, progress=False)
    monkeypatch.setattr(training, "train_epoch", train_epoch)

    resumed = seeded(build, seed=9)  # its own weights do not matter
    continued = fit(resumed, tiny, tiny, config, checkpoint, progress=False)
    assert same_weights(whole, resumed)
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in r["history"]] for r in (record, continued)]
    assert rows[0] == rows[1]


def test_an_interrupted_model_has_its_best_weights(tiny, monkeypatch):
    """Those of the second epoch, and not those in the middle of the third; it is ready to be used."""
    model, states = seeded(conv), []

    def interrupted_step(*arguments):
        if len(states) == 2 * 4 + 2:  # 4 batches an epoch
            raise KeyboardInterrupt
        losses = training_step(*arguments)
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return losses

    training_step = training.training_step
    monkeypatch.setattr(training, "training_step", interrupted_step)
    with pytest.raises(KeyboardInterrupt):
        fit(model, tiny, None, CONFIG, progress=False)
    assert not model.training
    assert all(torch.equal(tensor, states[7][name]) for name, tensor in model.state_dict().items())


def test_a_finished_run_is_not_trained_again(tiny, tmp_path, monkeypatch):
    checkpoint = tmp_path / "run.safetensors"
    fit(seeded(fc), tiny, tiny, CONFIG, checkpoint, progress=False)
    monkeypatch.setattr("vae_lib.training.train_epoch", None)  # calling it would fail
    assert len(fit(seeded(fc), tiny, tiny, CONFIG, checkpoint, progress=False)["history"]) == 4


def test_a_record_can_be_kept_by_torch_and_as_json(tiny, tmp_path):
    record = fit(fc(), tiny, None, CONFIG, progress=False)
    torch.save(record, tmp_path / "record.pt")
    assert torch.load(tmp_path / "record.pt") == json.loads(json.dumps(record)) == record


def test_a_checkpoint_is_read_also_if_no_gradient_reached_a_parameter(tiny, tmp_path):
    """A head that nothing uses yet."""

    def with_head():
        model = fc()
        model.head = torch.nn.Linear(3, 2)
        return model

    fit(model := seeded(with_head), tiny, None, CONFIG, tmp_path / "run.safetensors", progress=False)
    fit(again := seeded(with_head, seed=9), tiny, None, CONFIG, tmp_path / "run.safetensors", progress=False)
    assert same_weights(again, model)


def test_a_checkpoint_of_another_run_is_refused_and_kept(tiny, tmp_path):
    checkpoint = tmp_path / "run.safetensors"
    fit(seeded(fc), tiny, None, CONFIG, checkpoint, progress=False)
    content = checkpoint.read_bytes()
    with pytest.raises(LabError, match=r"belongs to another run: config lr is 0.5 here and 0.01 there"):
        fit(seeded(fc), tiny, None, dataclasses.replace(CONFIG, lr=0.5), checkpoint, progress=False)
    assert checkpoint.read_bytes() == content


def test_a_loss_that_is_not_finite_stops_the_run(tiny, tmp_path, monkeypatch):
    train_epoch, checkpoint = training.train_epoch, tmp_path / "run.safetensors"
    model, good = seeded(fc), {}

    def breaks(replica, optimizer, dataset, config, epoch, *others):
        losses = train_epoch(replica, optimizer, dataset, config, epoch, *others)
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
        ({"lr": -1.0}, "lr=-1.0: give a finite number above 0"),
        ({"beta": float("nan")}, "beta=nan: give a finite number of at least 0"),
        ({"likelihood": "l1"}, "choose one of mse, bce"),
        ({"schedule": "cosine"}, "choose one of constant, one-cycle"),
        ({"precision": "int8"}, "choose one of auto, float32, bfloat16"),
    ],
)
def test_bad_configurations(changes, message):
    with pytest.raises(LabError, match=message):
        TrainConfig(**changes)


def test_empty_training_set(tiny):
    for train, val in ((tiny.select(slice(0)), None), (tiny, tiny.select(slice(0))), (Subset(tiny, []), None)):
        with pytest.raises(LabError, match="is empty"):
            fit(fc(), train, val, CONFIG)


# --- what else is given as model and data ---


def test_parts_made_by_torch_are_trained_and_measured_like_selected_ones(tiny):
    one_epoch, records, models = dataclasses.replace(CONFIG, epochs=1), [], []
    train, val = random_split(tiny, [48, 16], torch.Generator().manual_seed(0))
    selected = tiny.select(train.indices), tiny.select(val.indices)
    for data in ((train, val), selected):
        models.append(seeded(fc))
        records.append(fit(models[-1], *data, one_epoch, progress=False))
    assert same_weights(*models) and records[0]["data"] == records[1]["data"] and records[0]["data"]["val"] == 16
    for likelihood in ("mse", "gaussian"):
        measured = [evaluate(models[0], data, likelihood=likelihood) for data in (val, selected[1])]
        assert measured[0] == measured[1]


def test_other_data_are_refused_before_a_training(tiny):
    model = seeded(fc)
    for train, val, named in ((DataLoader(tiny), None, "train"), (tiny, tiny.images, "val"), (None, tiny, "train")):
        with pytest.raises(LabError, match=f"^{named} must be an ImageDataset"):
            fit(model, train, val, CONFIG, progress=False)
    with pytest.raises(LabError, match="^dataset must be an ImageDataset"):
        evaluate(model, DataLoader(tiny))
    assert same_weights(model, seeded(fc))


WRAPPERS = {"compiled": lambda model: torch.compile(model, backend="eager"), "parallel": torch.nn.DataParallel}


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_of_a_wrapped_model_the_one_inside_is_trained(tiny, tmp_path, wrap, monkeypatch):
    """Also when the run goes on from a checkpoint, which a plain model can do as well."""
    plain, config, checkpoint = seeded(conv), dataclasses.replace(CONFIG, epochs=2), tmp_path / "run.safetensors"
    fit(plain, tiny, tiny, config, progress=False)
    train_epoch = training.train_epoch

    def interrupted(model, optimizer, dataset, config, epoch, *others):
        if epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(model, optimizer, dataset, config, epoch, *others)

    for build, epochs in ((lambda: WRAPPERS[wrap](conv()), interrupted), (conv, train_epoch)):
        monkeypatch.setattr(training, "train_epoch", epochs)
        model = seeded(build)
        with contextlib.suppress(KeyboardInterrupt):
            record = fit(model, tiny, tiny, config, checkpoint, progress=False)
        assert not unwrapped(model).training
    assert same_weights(model, plain) and len(record["history"]) == 2
    record = fit(again := seeded(lambda: WRAPPERS[wrap](conv())), tiny, tiny, config, checkpoint, progress=False)
    assert same_weights(unwrapped(again), plain) and record["model"]["class"] == "ConvVAE"


def test_a_model_without_a_config_is_refused(tiny):
    with pytest.raises(LabError, match=r"A Linear has no config.*derive the model from vae_lib.models.VAE"):
        fit(torch.nn.Linear(2, 2), tiny, None, CONFIG, progress=False)
    model = seeded(fc)
    model.config["layer"] = torch.nn.ReLU
    with pytest.raises(LabError, match="The config of a model holds numbers, words and lists of them only"):
        fit(model, tiny, None, CONFIG, progress=False)
