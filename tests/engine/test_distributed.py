"""Two processes that torchrun starts, on the CPU: they learn what one process learns, and nothing is lost with one."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vae_lib import LabError, TrainConfig, fit, settings, training
from vae_lib.cli.parser import main
from vae_lib.engine import distributed
from vae_lib.evaluation import evaluate
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


@pytest.fixture
def play(monkeypatch):
    """play(rank, world): this process as one of several; sums over them are of this one alone."""

    def play(rank, world):
        monkeypatch.setattr(distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "world_size", lambda: world)
        monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor: None)
        monkeypatch.setattr("torch.distributed.broadcast", lambda buffer, source: buffer.fill_(2 + source))

    return play


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("length", [1, 5, 64])
def test_shares_are_the_batch_without_duplicates(world, length, play):
    batch, parts = torch.arange(100.0, 100.0 + length), []

    def mean(replica, optimizer, x, config, noise):
        parts.append(x)  # never empty, since all processes have to take part
        return x.mean().expand(3)

    seen, losses, gradient = [], 0, 0
    for rank in range(world):
        play(rank, world)
        replica = SimpleNamespace()
        losses += distributed.sharded(mean)(replica, None, batch, None, None)
        seen += parts[-1].tolist() if replica.weight else []
        gradient += replica.weight / world * parts[-1].mean()  # as weighted_mean does
    assert sorted(seen) == batch.tolist()
    expected = batch.mean().item()
    assert gradient.item() == pytest.approx(expected) and losses.tolist() == pytest.approx([expected] * 3)


def test_alone_nothing_is_wrapped():
    model = Autoencoder((1, 8, 8))
    assert distributed.sharded(len) is len and distributed.replicate(model) is model


def test_torchrun_without_joining(tiny, monkeypatch):
    monkeypatch.setattr(settings, "LAUNCHED_BY_TORCHRUN", True)
    with pytest.raises(LabError, match="call fit in `with vae_lib.engine.distributed.process_group"):
        fit(Autoencoder((1, 8, 8)), tiny, None, TrainConfig())


@pytest.mark.parametrize(
    ("environment", "tasks"),
    [
        ({}, 1),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}, 1),  # a script of sbatch, a shell of salloc
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"}, 4),  # srun -n 4
        ({"SLURM_NTASKS": "4", "SLURM_STEP_ID": "1", "SLURM_STEP_NUM_TASKS": "1"}, 1),  # srun -n 1, Jupyter say
        ({"SLURM_STEP_NUM_TASKS": "1", "OMPI_COMM_WORLD_SIZE": "3"}, 3),
        ({"PMI_SIZE": "2"}, 2),
        ({"SLURM_STEP_NUM_TASKS": "", "PMI_SIZE": "none"}, 1),
    ],
)
def test_tasks_of_srun_and_mpirun(environment, tasks):
    assert settings.count_tasks(environment) == tasks


def test_tasks_that_do_not_know_of_each_other_do_not_train_together(here, tiny, monkeypatch, capsys):
    monkeypatch.setattr(settings, "TASKS", 4)
    assert main(shlex.split("train --data mnist --model fc --out four.safetensors")) == 1
    sentence = capsys.readouterr().err
    assert "srun or mpirun started 4 processes" in sentence and "srun --ntasks-per-node=1 torchrun" in sentence
    assert sentence.count("\n") == 1 and not list(here.iterdir())
    fit(
        Autoencoder((1, 8, 8), (8,), 2), tiny, None, TrainConfig(epochs=1), progress=False
    )  # each with its own seed, say
    assert capsys.readouterr().out.count("started 4 processes") == 1


def test_a_batch_too_small_to_share(tiny, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(LabError, match="A batch of 2 cannot be shared by 3 processes"):
        fit(Autoencoder((1, 8, 8)), tiny, None, TrainConfig(batch_size=2))


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(settings, "LAUNCHED_BY_TORCHRUN", True)
    monkeypatch.setattr(settings, "LOCAL_RANK", 2)
    monkeypatch.setattr(settings, "DEVICE", torch.device("cuda:2"))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(LabError, match="give --nproc_per_node=2"), distributed.process_group():
        pass


def test_validation_is_with_the_first_ones_statistics(tiny, play):
    model, same = (ConvVAE((1, 8, 8), channels=(4,), latent_dim=2, batch_norm=True) for _ in range(2))
    same.load_state_dict(model.state_dict())
    for buffer in same.buffers():
        buffer.fill_(2)
    expected = evaluate(same, tiny, sample=True)
    play(0, 1)
    assert distributed.sharded_means(evaluate, model, tiny, sample=True) == pytest.approx(list(expected))


@pytest.mark.parametrize("world", [3, 70])
def test_validation_is_shared_evenly(world, tiny, play):
    """Also by more processes than there are images."""
    shares = []
    for rank in range(world):
        play(rank, world)
        means = distributed.sharded_means(lambda model, part, seed: (1.0, seed, 0.0), torch.nn.Module(), tiny)
        assert means[1] == pytest.approx(means[0] * rank)  # each with noise of its own
        shares.append(means[0] * len(tiny))  # the images that are counted here, since the sums are of this one alone
    assert sum(shares) == pytest.approx(64) and max(shares) - min(shares) == pytest.approx(1)


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
    saved = read_tensors(checkpoint)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "broadcast", lambda value: saved)
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

    def interrupted(model, optimizer, dataset, config, epoch, *others):
        if epoch > 1:
            raise KeyboardInterrupt
        return train_epoch(model, optimizer, dataset, config, epoch, *others)

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
