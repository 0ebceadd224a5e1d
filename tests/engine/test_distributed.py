"""Two processes that torchrun starts, on the CPU: they learn what one process learns, and nothing is lost with one."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from vae_lib import LabError, TrainConfig, fit, settings, training
from vae_lib.cli.parser import main
from vae_lib.engine import distributed
from vae_lib.metrics import evaluate
from vae_lib.models import Autoencoder, ConvVAE
from vae_lib.storage.weights import read_tensors

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "vae_lib"]


def start_two(arguments):
    """The command in two processes, without data."""
    environment = os.environ | {"VAE_PROFILE": "quick", "VAE_DATA_DIR": "nowhere"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(TORCHRUN + arguments, env=environment, start_new_session=True, **pipes)


def losses(path):
    """(training, validation) loss of every epoch in a file."""
    return [(row["train_loss"], row["val_loss"]) for row in read_tensors(Path(path))[1]["history"]]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("length", [1, 5, 64])
def test_shares_are_the_batch_without_duplicates(world, length, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: world)
    batch, counted, mean = list(range(100)), [], 0
    for rank in range(world):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        part, weight = distributed.share(30, 30 + length)
        images = batch[part]
        counted += images if weight else []
        mean += weight * sum(images) / len(images) / world  # as DistributedDataParallel averages
    assert sorted(counted) == batch[30 : 30 + length]
    assert mean == pytest.approx(sum(counted) / length)


def test_torchrun_without_joining(tiny, monkeypatch):
    monkeypatch.setattr(settings, "LAUNCHED_BY_TORCHRUN", True)
    with pytest.raises(LabError, match="not called inside `with vae_lib.engine.distributed.joined"):
        fit(Autoencoder((1, 8, 8)), tiny, None, TrainConfig())


def test_a_batch_too_small_to_share(tiny, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(LabError, match="A batch of 2 cannot be shared by 3 processes"):
        fit(Autoencoder((1, 8, 8)), tiny, None, TrainConfig(batch_size=2))


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(settings, "LAUNCHED_BY_TORCHRUN", True)
    monkeypatch.setattr(settings, "LOCAL_RANK", 2)
    monkeypatch.setattr(settings, "DEVICE", torch.device("cuda:2"))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(LabError, match="give --nproc_per_node=2"), distributed.joined():
        pass


def test_validation_is_with_the_first_ones_statistics(tiny, monkeypatch):
    monkeypatch.setattr(distributed, "is_active", lambda: True)
    monkeypatch.setattr(distributed, "world_size", lambda: 1)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    monkeypatch.setattr("torch.distributed.broadcast", lambda buffer, source: buffer.fill_(2 + source))
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor: None)
    model, same = (ConvVAE((1, 8, 8), channels=(4,), latent_dim=2, batch_norm=True) for _ in range(2))
    same.load_state_dict(model.state_dict())
    for buffer in same.buffers():
        buffer.fill_(2)
    config = TrainConfig(precision="float32")
    expected = evaluate(same, tiny, sample=True)
    assert training.validate(model, tiny, config) == pytest.approx(list(expected))


def test_only_the_first_process_writes(here, monkeypatch):
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    assert (
        main(shlex.split("train --data mnist --model fc --hidden 8 --limit 50 --epochs 2 --out two.safetensors")) == 0
    )
    assert list(here.iterdir()) == []


def test_a_process_that_does_not_see_the_checkpoint_goes_on_from_what_is_in_it(tiny, tmp_path, monkeypatch):
    config, checkpoint = TrainConfig(batch_size=16, epochs=3), tmp_path / "first.checkpoint"
    models = [Autoencoder((1, 8, 8), hidden=(8,), latent_dim=2) for _ in range(2)]
    record = fit(models[0], tiny, tiny, config, checkpoint, progress=False)
    content = checkpoint.read_bytes()
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "from_first", lambda value: content)
    again = fit(models[1], tiny, tiny, config, tmp_path / "not-here.checkpoint", progress=False)
    assert again["history"] == record["history"]
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters()))


def test_two_processes_go_on_where_one_was_interrupted(here, monkeypatch):
    """The last batch has 13 images, which two cannot share evenly; early stopping ends the run in its fifth epoch."""
    arguments = shlex.split(
        "train --data mnist --model autoencoder --hidden 32 --latent 8 --limit 333 --batch-size 64 --lr 0.003"
        " --epochs 9 --patience 2 --min-delta 14 --precision float32 --out"
    )
    assert main([*arguments, "one.safetensors"]) == 0
    train_epoch = training.train_epoch

    def interrupted(step, dataset, epoch, advance):
        if epoch > 1:
            raise KeyboardInterrupt
        return train_epoch(step, dataset, epoch, advance)

    monkeypatch.setattr(training, "train_epoch", interrupted)
    assert main([*arguments, "two.safetensors"]) == 130
    monkeypatch.setattr(training, "train_epoch", train_epoch)

    out, err = start_two([*arguments, "two.safetensors"]).communicate(timeout=120)
    assert out.count("going on after epoch 1") == out.count("written: two.safetensors") == 1, err
    one, two = losses("one.safetensors"), losses("two.safetensors")
    assert 2 < len(one) == len(two) < 9
    for pair, other in zip(one, two):
        assert pair == pytest.approx(other, rel=1e-4)
    assert not Path("two.checkpoint").exists()


def test_when_one_of_two_is_killed_the_other_ends_and_one_goes_on_alone(here):
    arguments = shlex.split(
        "train --data mnist --model fc --hidden 32 --latent 8 --limit 1000 --batch-size 8 --lr 0.001 --epochs 8 --out"
    )
    processes = start_two([*arguments, "two.safetensors"])
    while not Path("two.checkpoint").exists():
        assert processes.poll() is None, processes.communicate()[1]
        time.sleep(0.02)
    children = subprocess.run(["pgrep", "-P", str(processes.pid)], capture_output=True, text=True).stdout.split()
    assert len(children) == 2
    os.kill(int(children[1]), signal.SIGKILL)
    out, err = processes.communicate(timeout=60)
    assert processes.returncode != 0 and "written" not in out and "SIGKILL" in err
    finished = len(losses("two.checkpoint"))
    assert 1 <= finished < 8

    assert main([*arguments, "two.safetensors"]) == 0
    assert main([*arguments, "one.safetensors"]) == 0
    one, two = losses("one.safetensors"), losses("two.safetensors")
    assert len(two) == 8 and two[0] != one[0]  # each process draws its own noise
    for pair, other in zip(one, two):
        assert pair == pytest.approx(other, rel=0.03)
