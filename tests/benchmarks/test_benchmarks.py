"""The benchmarks: that both loops do the same work, that the counts are right, what is printed and written."""

import dataclasses
import json
import multiprocessing
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial

import gpu
import growth
import numpy as np
import psutil
import pytest
import record
import speed
import torch
from PIL import Image

from processes import forked
from vae_lib import FCVAE, ConvVAE, LabError, settings, to_float
from vae_lib.data import DATASETS
from vae_lib.data.decoding import decode_image
from vae_lib.engine.device import hardware, has_fast_bfloat16, model_on_device
from vae_lib.evaluation import evaluate
from vae_lib.linear import add_linear_vae
from vae_lib.metrics import count_parameters
from vae_lib.training import TrainConfig, make_optimizer, train_epoch

FAST_IMPORT = """import time, torch
start = time.process_time()
import vae_lib, sys
print(time.process_time() - start, *({"torchvision", "matplotlib", "IPython", "ipywidgets"} & sys.modules.keys()))
"""


@pytest.fixture(autouse=True)
def shipped_recipes(monkeypatch, own_folders):
    monkeypatch.setattr(settings, "PRETRAINED_DIR", settings.REPOSITORY / "data" / "pretrained")
    monkeypatch.setenv("VAE_PROFILE", "quick")  # of the processes that are started
    monkeypatch.setattr(speed, "SIDE", 512)
    monkeypatch.setattr("multiprocessing.get_context", lambda method: forked())


@pytest.mark.parametrize("name", speed.IMAGES)
def test_both_loops_do_the_same_in_float32(name, monkeypatch):
    recipe = speed.recipe

    def in_float32(*args):
        architecture, config, data = recipe(*args)
        return architecture, dataclasses.replace(config, precision="float32", batch_size=config.batch_size // 2), data

    monkeypatch.setattr(speed, "recipe", in_float32)
    images = 20 if "128" in name else 40 if "64" in name else 96
    with speed.textbook_loop(name, images, 3) as textbook, speed.our_loop(name, images, 3) as ours:
        losses = [(textbook(epoch), ours(epoch)) for epoch in (1, 2, 3)]
    assert losses[-1][0] < losses[0][0]
    for theirs, our in losses:
        assert our == pytest.approx(theirs, rel=3e-4 if "celeba" in name else 1e-4)


def test_operations_are_counted():
    """Two for each weight forward, four backward; nobody asks for the gradient of the pixels."""
    model = FCVAE((1, 4, 4), hidden=(10,), latent_dim=3)
    weights = [16 * 10, 10 * 6, 3 * 10, 10 * 16]
    assert speed.flops_per_image(model, torch.rand(5, 1, 4, 4)) == 6 * sum(weights) - 2 * weights[0]
    assert all(parameter.grad is None for parameter in model.parameters())
    model = ConvVAE((1, 4, 4), channels=(2, 3), latent_dim=5)
    uses = [4 * 2 * 16, 1 * 2 * 3 * 16, 3 * 10, 5 * 3, 1 * 3 * 2 * 16, 4 * 2 * 16]  # places times weights
    assert speed.flops_per_image(model, torch.rand(5, 1, 4, 4)) == 6 * sum(uses) - 2 * uses[0]


def test_the_textbook_sees_the_same_pixels(tiny):
    items = speed.PILImages(tiny)
    assert torch.equal(torch.stack([x for x, _ in items]), to_float(tiny.images)) and len(items) == len(tiny)
    smooth = np.add.outer(np.arange(218), np.arange(178))[..., None] // np.array([2, 3, 4])
    root = settings.DATA_DIR / "celeba" / "img_align_celeba"
    root.mkdir(parents=True)
    for name, picture in (("0.jpg", 255 - smooth), ("1.jpg", smooth), ("2.jpg", 255 - smooth)):
        Image.fromarray(picture.astype(np.uint8)).save(root / name, quality=95)
    (root.parent / "list_attr_celeba.txt").write_text("3\nSmiling\n0.jpg 1\n1.jpg -1\n2.jpg 1\n")
    (root.parent / "list_eval_partition.txt").write_text("0.jpg 2\n1.jpg 0\n2.jpg 1\n")  # of train is only 1.jpg
    ours = decode_image(root / "1.jpg", 64, 148)
    dataset = tiny.with_images(torch.from_numpy(ours.copy())[None], torch.zeros(1))
    ((x, _),) = speed.pil_files(dataset, DATASETS["celeba"].look())
    assert (x - to_float(dataset.images[0])).abs().max() < 1.5 / 255


def test_speed_is_printed_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "startup", lambda data: {"vae_lib": 0.1})
    out = tmp_path / "new" / "speed.json"
    speed.main(["--models", "mnist-vae-z20", "--images", "200", "--turns", "2", "--out", str(out)])
    said, report = " ".join(capsys.readouterr().out.split()), json.loads(out.read_text())
    result = report["models"]["mnist-vae-z20"]
    textbook, ours = (result[kind]["images_per_second"] for kind in ("textbook", "ours"))
    assert len(textbook) == len(ours) == 2 and (result["images"], result["data"]) == (200, "sample mnist")
    assert result["ratios"] == [a / b for a, b in zip(ours, textbook)]
    assert result["ours"]["loss"] == pytest.approx(result["textbook"]["loss"], rel=0.005)
    peak = report["matmul_flops_per_second"]["bfloat16" if has_fast_bfloat16() else "float32"]
    assert result["share_of_peak"] == pytest.approx(np.median(ours) * result["flops_per_image"] / peak)
    assert 0 < result["share_of_peak"] < 1 and report["device"] == hardware()
    assert f"mnist-vae-z20 {np.median(textbook):,.0f} (" in said and "mnist, 200" in said and f"written: {out}" in said
    assert sys.platform != "linux" or 100 < result["ours"]["memory"] < 10_000


def test_the_start_is_measured(monkeypatch):
    monkeypatch.setattr(speed, "STARTUP", "print('Downloading ...'); print(3.0, 0.2, 0.1)")
    data = {"name": "mnist", "image_shape": [1, 28, 28]}
    assert speed.startup(data) == {"torch_and_torchvision": 3.0, "vae_lib": 0.2, "first_batch": 0.1}
    monkeypatch.setattr(speed, "STARTUP", "raise SystemExit('no such thing')")
    with pytest.raises(LabError, match="could not be started again: no such thing"):
        speed.startup(data)


def test_what_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "measure", None)  # calling it would fail
    monkeypatch.setattr(growth, "measure_apart", None)
    (tmp_path / "file").touch()
    for script, name in ((speed, "file/b.json"), (growth, "file/c.png"), (growth, "c.pdf"), (speed, ".")):
        with pytest.raises(LabError, match="--out|cannot be written"):
            script.main(["--out", str(tmp_path / name)])


def test_a_machine_without_a_gpu_is_told_in_one_sentence(monkeypatch):
    monkeypatch.setattr(settings, "DEVICE", torch.device("cpu"))
    with pytest.raises(SystemExit, match=r": There is no GPU here.*\Z"):  # printed by Python, which exits with 1
        speed.run_script(lambda: gpu.main([]))


def test_a_loop_that_dies_is_told(monkeypatch):
    monkeypatch.setattr(speed, "textbook_loop", len)  # which does not take these arguments
    with pytest.raises(LabError, match="A process that trains mnist-vae-z20 has ended early"):
        speed.compare("mnist-vae-z20", 10, 1)


def test_growth_is_measured_plotted_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(growth, "SERIES", {"images": [(20, 16, 2)], "latent": [(30, 16, 4)]})
    out = tmp_path / "growth.png"
    growth.main(["--out", str(out)])
    report = json.loads(out.with_suffix(".json").read_text())["series"]
    (small,), (large,) = report["images"], report["latent"]
    assert (small["images"], large["images"]) == (20, 30)
    assert large["parameters"] - small["parameters"] == 2 * (256 * 2 + 2 + 256)  # mu and logvar of two more, and back
    assert sys.platform != "linux" or 1 < small["memory"] < 500
    assert Image.open(out).width > 500 and str(out) in capsys.readouterr().out


def test_the_figure_of_growth_shows_seconds_of_as_many_images():
    points = [{"images": n, "side": 32, "latent": 8, "seconds": n / 1000, "memory": 90.0} for n in (1000, 2000)]
    sizes = [{"images": 500, "side": s, "latent": 8, "seconds": s / 64, "memory": None} for s in (32, 64)]
    axes = growth.plot_growth({"images": points, "side": sizes}, "a machine").axes
    assert list(axes[0].lines[0].get_ydata()) == [1, 2] and axes[0].get_title() == "seconds per epoch"
    assert list(axes[1].lines[0].get_ydata()) == [10, 20] and "10,000" in axes[1].get_title()
    assert list(axes[2].lines[0].get_ydata()) == [90, 90] and np.isnan(axes[3].lines[0].get_ydata()).all()


def test_a_dry_run_of_the_gpu_figures(tmp_path, capsys):
    out = tmp_path / "gpu.json"
    gpu.main(["--dry-run", "--out", str(out)])
    report = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == report and report["device"] == hardware()
    conv, faces = report["cifar10-conv-p1"], report["celeba128-conv"]
    assert (conv["images"], conv["epochs"], faces["images"], faces["epochs"]) == (128, 2, 8, 1)
    for part in (conv, faces):
        assert part["share_of_peak"] > 0 and 0 < part["seconds_of_first_epoch"] < part["seconds"]
        assert part["loss"] > 100 and part["shipped_loss"] is None and "random" in part["note"]
    turns = report["eager_against_recorded"]["cifar10-conv-p1"]
    assert turns["ratio"] == turns["eager"][0] / turns["recorded"][0] and turns["images"] == 128


VALIDATION = settings.PROFILES["quick"].sample_images["val"]
DIGITS = {"name": "mnist", "limit": 400 - VALIDATION}  # 400 images with those of the validation
SMALL = record.Way(partial(FCVAE, (1, 28, 28), (8,), 2), TrainConfig(batch_size=50, epochs=2, schedule="one-cycle"))
TEXTBOOK = dataclasses.replace(SMALL, textbook=True)


def small_race(target, look=100):
    return record.Race(target, "mse", DIGITS, look, SMALL, SMALL)


@pytest.fixture
def all_threads(monkeypatch):
    """A run keeps its threads; this process gets its choice back."""
    monkeypatch.setattr(settings, "THREADS_ARE_CHOSEN", settings.THREADS_ARE_CHOSEN)


@pytest.mark.parametrize("way", [SMALL, TEXTBOOK], ids=["library", "textbook"])
def test_a_race_ends_at_the_first_look_that_reaches_the_target(all_threads, way):
    """Four looks an epoch; the losses fall from some 200 to some 60."""
    whole = record.run(small_race(0.0), way, 3)
    images, seconds, losses = zip(*whole["looks"])
    assert images == (100, 200, 300, 400, 500, 600, 700, 800) and whole["seconds"] is None
    assert losses[0] > losses[3] > losses[-1] == whole["loss"] and np.all(np.diff(seconds) > 0)
    found = record.run(small_race((losses[3] + losses[2]) / 2), way, 3)
    assert found["images"] == 400 and found["loss"] == losses[3] and found["seconds"] == found["looks"][-1][1] > 0
    assert record.run(small_race(0.0), way, 4)["loss"] != whole["loss"]


@pytest.mark.parametrize("way", [SMALL, TEXTBOOK], ids=["library", "textbook"])
def test_looks_change_nothing_and_are_not_timed(all_threads, way, monkeypatch):
    once = record.run(small_race(0.0, look=800), way, 0)["looks"]
    monkeypatch.setattr(record, "evaluate", lambda *args, **kwargs: time.sleep(0.06) or evaluate(*args, **kwargs))
    often = record.run(small_race(0.0, look=50), way, 0)
    assert len(often["looks"]) == 16 and len(once) == 1 and often["looks"][-1][2] == once[0][2]
    assert often["looks"][-1][1] < 16 * 0.06 and often["cpu_seconds"] > 0


@pytest.mark.parametrize("likelihood", ["mse", "bce"])
def test_a_look_is_the_elbo_with_one_draw_in_float32(all_threads, likelihood):
    """That of the library's training, with Adam's usual moments and beta 1: the same weights as by train_epoch."""
    race = dataclasses.replace(small_race(0.0, look=400), likelihood=likelihood)
    config = dataclasses.replace(SMALL.config, epochs=1, seed=5, likelihood=likelihood)
    loss = record.run(race, dataclasses.replace(SMALL, config=dataclasses.replace(SMALL.config, epochs=1)), 5)["loss"]
    train, test = record.whole_training_set(DIGITS)
    torch.manual_seed(5)
    model = SMALL.build()
    with model_on_device(model, config.precision):
        train_epoch(model, make_optimizer(model, config), train, config, 1)
    assert loss == evaluate(model, test, likelihood=likelihood, sample=True).loss


def test_beta_rises_and_the_second_moment_is_used():
    train, test = record.whole_training_set(DIGITS)
    kls = {}
    for name, way in {"plain": {}, "warm-up": {"kl_warm_up": 1.0}, "moment": {"second_moment": 0.5}}.items():
        torch.manual_seed(0)
        model, way = SMALL.build(), dataclasses.replace(SMALL, **way)
        list(record.library_steps(model, train, way))
        kls[name] = evaluate(model, test).kl
    assert kls["warm-up"] > kls["plain"] != kls["moment"]


def test_before_the_first_step_the_decoder_answers_the_mean_image():
    train, _ = record.whole_training_set(DIGITS)
    model = record.start(dataclasses.replace(SMALL, at_the_mean=True), train)
    with torch.no_grad():
        model.decoder[-2].weight.zero_()
    mean = to_float(train.images).mean(dim=0).clamp(0.001, 0.999)
    torch.testing.assert_close(model.decode(torch.zeros(1, 2))[0], mean)


def test_the_linear_part_is_there_before_the_first_step():
    """With it, the first look of a training that does not move is the loss of the linear VAE beside new layers."""
    still = dataclasses.replace(SMALL, linear=True, config=TrainConfig(lr=1e-12, batch_size=50, epochs=1))
    train, test = record.whole_training_set(DIGITS)
    torch.manual_seed(0)
    there = evaluate(add_linear_vae(SMALL.build(), train), test, sample=True).loss
    found = record.run(small_race(0.0, look=400), still, 0)
    assert found["loss"] == pytest.approx(there, rel=1e-3)
    assert record.run(small_race(0.0, look=400), dataclasses.replace(still, linear=False), 0)["loss"] > 1.3 * there


def test_every_race_is_within_the_rules(monkeypatch):
    def no_components(dataset):  # of faces they take seconds, and the number of parameters does not depend on them
        n = np.prod(dataset.image_shape) // 4
        return torch.full((n,), 0.5), torch.zeros(1), torch.zeros(1, n)

    monkeypatch.setattr("vae_lib.linear.principal_components", no_components)
    for name, race in record.RACES.items():
        usual, fastest = race.usual.build(), race.record.build()
        assert race.usual.config.beta == race.record.config.beta == 1
        assert usual.latent_dim == fastest.latent_dim and usual.image_shape == fastest.image_shape
        train, _ = record.whole_training_set(race.data)
        values = sum(p.numel() for p in record.start(race.record, train).parameters())
        assert values <= (1_200_000 if name == "cifar10" else count_parameters(usual))
    assert sum(isinstance(layer, torch.nn.SiLU) for layer in record.RACES["mnist"].record.build().modules()) == 2


def test_a_record_goes_on_where_it_was_interrupted(tmp_path, monkeypatch, capsys):
    out, calls = tmp_path / "record.json", []
    slow, race = dataclasses.replace(SMALL, textbook=True), small_race(0.0)
    monkeypatch.setattr(record, "RACES", {"small": dataclasses.replace(race, usual=slow)})
    monkeypatch.setattr(settings, "DEVICE", torch.device("cpu"))

    def result(run, race, way, seed):
        calls.append((seed, "usual" if way.textbook else "record"))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {"seconds": (8.0 if way.textbook else 2.0) + seed, "images": 7, "loss": 5.0, "looks": [[7, 1, 5.0]]}

    monkeypatch.setattr(record, "apart", result)
    arguments = ["--races", "small", "--seeds", "2", "--out", str(out)]
    with pytest.raises(KeyboardInterrupt):
        record.main(arguments)
    assert list(json.loads(out.read_text())["runs"]) == ["small record 0", "small usual 0"]
    capsys.readouterr()
    record.main(arguments)
    assert calls == [(0, "record"), (0, "usual"), (1, "usual"), (1, "usual"), (1, "record")]  # in turns
    said = capsys.readouterr().out
    assert "small usual: 8.5 (8.0 to 9.0) s, 7 images" in said and "small: 3.5 (3.0 to 4.0) times faster" in said

    report = json.loads(out.read_text())
    report["runs"]["small usual 1"]["seconds"] = None
    assert "8.0 to inf" in record.summary("small", report["runs"], 2)
    out.write_text(json.dumps(report | {"device": "another"}))
    with pytest.raises(LabError, match="is of another machine or of other versions"):
        record.main(arguments)
    out.write_text(json.dumps(report))
    monkeypatch.setattr(record, "RACES", {"small": small_race(1.0)})
    with pytest.raises(LabError, match=r"is of other recipes \(small"):
        record.main(arguments)
    for text in ("[", "{}", "[]", '{"runs": []}', '{"runs": {"small usual 0": {}}}'):
        out.write_text(text)
        with pytest.raises(LabError, match=r"holds no runs of record\.py"):
            record.main(arguments)


def test_missing_images_are_told_before_the_first_race(tmp_path, monkeypatch, use_profile):
    use_profile("lab")
    monkeypatch.setattr(settings, "DEVICE", torch.device("cpu"))
    monkeypatch.setattr(record, "apart", lambda *run: pytest.fail("a race has begun"))
    with pytest.raises(LabError, match="run on the real"):
        record.main(["--out", str(tmp_path / "record.json")])


def test_runs_of_another_process_and_of_other_races_are_kept(tmp_path, monkeypatch):
    out = tmp_path / "record.json"
    monkeypatch.setattr(record, "RACES", {"one": small_race(0.0), "two": small_race(0.0)})
    monkeypatch.setattr(settings, "DEVICE", torch.device("cpu"))
    mine = {"seconds": 1.0, "images": 7, "loss": 5.0, "looks": [[7, 1, 5.0]]}

    def while_others_run(*run):
        if not out.exists():
            monkeypatch.setattr(record, "apart", lambda *run: mine)
            record.main(["--races", "two", "--seeds", "1", "--out", str(out)])
        return mine

    monkeypatch.setattr(record, "apart", while_others_run)
    record.main(["--races", "one", "--seeds", "1", "--out", str(out)])
    assert len(json.loads(out.read_text())["runs"]) == 4
    monkeypatch.setattr(record, "RACES", {"one": small_race(1.0), "two": small_race(0.0)})
    record.main(["--races", "two", "--seeds", "2", "--out", str(out)])
    assert len(json.loads(out.read_text())["runs"]) == 6


def test_a_run_has_a_process_of_its_own():
    result = speed.apart(record.run, dataclasses.replace(small_race(1e9), usual=SMALL), SMALL, 0)
    assert result["images"] == 100 and result["seconds"] > 0


def work(pipe):
    speed.end_with_parent()
    pipe.send(multiprocessing.current_process().pid)
    threading.Event().wait()


def start_another(pipe):
    multiprocessing.context.ForkContext().Process(target=work, args=(pipe,)).start()
    threading.Event().wait()


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_run_ends_with_the_process_that_waits_for_it():
    mine, theirs = multiprocessing.Pipe()
    (parent := multiprocessing.context.ForkContext().Process(target=start_another, args=(theirs,))).start()
    child = psutil.Process(mine.recv())
    parent.kill()
    parent.join()
    try:
        child.wait(timeout=20)
    finally:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def test_importing_the_library_is_quick():
    """0.3 s more than torch, which it needs; torchvision would be another second, matplotlib a quarter of one."""
    for last in (False, True):  # a second try, should the machine have been busy
        done = subprocess.run([sys.executable, "-c", FAST_IMPORT], capture_output=True, text=True, check=True)
        seconds, *loaded = done.stdout.split()
        if loaded == [] and float(seconds) < 0.3:
            break
        assert not last, (done.stdout, done.stderr)


def test_jupyter_builds_no_parsers_when_it_starts():
    """They would take longer than all else: findings/nbformat_builds_parsers.sh."""
    subprocess.run([sys.executable, "-c", "import sys, nbformat; sys.exit('lark' in sys.modules)"], check=True)
