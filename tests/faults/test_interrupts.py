"""Interrupts: processes killed and kernels interrupted at random moments. Files are old or new, runs go on exactly."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from itertools import count
from queue import Empty

import numpy as np
import pytest
import torch
from jupyter_client.manager import start_new_kernel

from official_files import write_celeba
from processes import METHOD, forked
from vae_lib import load_dataset, settings
from vae_lib.data import ImageDataset, releases
from vae_lib.data.cache import cache_folder, open_block
from vae_lib.models import FCVAE
from vae_lib.pretrained import save_pretrained
from vae_lib.storage.files import WRITING, write_json
from vae_lib.storage.weights import read_tensors, save_checkpoint
from vae_lib.training import TrainConfig, fit

few_and_many = pytest.mark.parametrize("tries", [2, pytest.param(50, marks=pytest.mark.slow)])
if METHOD != "forkserver":
    pytest.skip("there is no forkserver on this system", allow_module_level=True)


def work(started, function, *arguments):
    torch.set_num_threads(1)
    started.set()
    function(*arguments)


def run(function, *arguments, kill_after=None):
    """Run a function in a process of its own, killed after so many seconds: -> the seconds that it had."""
    processes = forked()
    started = processes.Event()
    process = processes.Process(target=work, args=(started, function, *arguments))
    process.start()
    assert started.wait(60)
    start = time.perf_counter()
    if kill_after is None:
        process.join()
        assert process.exitcode == 0
    else:
        time.sleep(kill_after)
        process.kill()
        process.join()
    return time.perf_counter() - start


# --- the cache ---


def build_cache(folder):
    settings.PROFILE, settings.DATA_DIR = settings.PROFILES["lab"], folder
    releases.BLOCK_BYTES = 2**19  # some forty faces
    load_dataset("celeba")


@pytest.mark.slow
@pytest.mark.parametrize("tries", [50])
def test_kill_while_the_cache_is_built(tries, tmp_path, use_profile, note):
    use_profile("lab")
    write_celeba(settings.DATA_DIR, parts=(0,) * 300 + (1,) * 6)
    whole = run(build_cache, settings.DATA_DIR)
    (key,) = [path.name for path in cache_folder().glob("[!.]*")]
    expected = load_dataset("celeba")
    moments, half_done = random.Random(0), 0
    for _ in range(tries):
        shutil.rmtree(cache_folder())
        run(build_cache, settings.DATA_DIR, kill_after=moments.uniform(0, whole))
        built = [path for path in cache_folder().glob("*") if not path.name.startswith(".")]
        assert all(path.name == key and open_block(path) for path in built)
        half_done += not built
        found = load_dataset("celeba")
        assert torch.equal(found.images, expected.images) and torch.equal(found.targets, expected.targets)
        assert all(path.suffix == ".lock" for path in cache_folder().glob(".*"))
    assert half_done
    outcome = f"{half_done} hit before the end; no half cache, the next build goes on, same images"
    note("`kill -9` while the cache is built", tries, outcome)


# --- training ---


def train(folder):
    images = np.random.default_rng(0).integers(0, 256, (4_000, 1, 8, 8), dtype=np.uint8)
    train = ImageDataset(torch.from_numpy(images), torch.zeros(4_000), "0", "noise", "train", "real")
    torch.manual_seed(0)
    model = FCVAE((1, 8, 8), (64,), 8, centre=0.5)
    config = TrainConfig(epochs=6, batch_size=64, patience=9, schedule="one-cycle", mirror=True)
    history = fit(model, train, train.select(slice(200)), config, folder / "run.checkpoint", False)["history"]
    for row in history:
        del row["seconds"]
    torch.save(model.state_dict(), folder / "weights")
    (folder / "history").write_text(json.dumps(history))


@few_and_many
def test_kill_while_training(tries, tmp_path, note):
    first = tmp_path / "uninterrupted"
    first.mkdir()
    whole = run(train, first)
    expected, moments, epochs = torch.load(first / "weights"), random.Random(1), []
    for i in range(tries):
        folder = tmp_path / str(i)
        folder.mkdir()
        run(train, folder, kill_after=moments.uniform(0, whole))
        checkpoint = folder / "run.checkpoint"
        epochs.append(len(read_tensors(checkpoint)[1]["history"]) if checkpoint.exists() else 0)
        run(train, folder)
        found = torch.load(folder / "weights")
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert (folder / "history").read_text() == (first / "history").read_text()
    assert min(epochs) < 6
    kept = f"{min(epochs)} to {max(epochs)} of 6 epochs kept"
    note("`kill -9` while a model is trained", tries, f"{kept}; the run goes on to bit-identical weights")


COMMAND = "train --data mnist --model fc --hidden 32 --latent 4 --epochs 12 --limit 900 --out run.safetensors"


@pytest.mark.slow
def test_kill_the_command_until_it_is_done(tmp_path, note):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "VAE_PROFILE": "quick"}
    command = [sys.executable, "-m", "vae_lib", *COMMAND.split()]
    places = [tmp_path / "uninterrupted", tmp_path / "killed"]
    for place in places:
        place.mkdir()
    start = time.perf_counter()
    subprocess.run(command, cwd=places[0], env=environment, check=True, capture_output=True)
    whole, moments, kills = time.perf_counter() - start, random.Random(2), 0
    while not (places[1] / "run.safetensors").exists():
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=places[1], env=environment, stdout=subprocess.DEVNULL)
        try:
            assert process.wait(moments.uniform(0.5, 1.0) * whole + kills - 1) == 0
            if not kills:  # the machine is quicker by now than when the time was measured
                whole = time.perf_counter() - start
                (places[1] / "run.safetensors").unlink()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    (expected, _), (found, _) = (read_tensors(place / "run.safetensors") for place in places)
    assert all(torch.equal(found[name], expected[name]) for name in expected) and len(found) == len(expected)
    assert kills
    note("`kill -9` of `vae train`, again and again until it is done", kills, "bit-identical weights in the end")


# --- files ---


def constant_model(value):
    model = FCVAE((1, 32, 32), (256,), 16)
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, value)
    return model


DATA = {"name": "constant", "source": "drawn"}


def history_of(epochs):
    return [{"epoch": i, "train_loss": 1.0} for i in range(1, epochs + 1)]


def write_checkpoints(path, epochs):
    for epoch in epochs:
        model = constant_model(float(epoch))
        optimizer = torch.optim.AdamW(model.parameters())
        save_checkpoint(path, model, optimizer, model.state_dict(), {"history": history_of(epoch), "data": DATA})


def write_weights(path, epochs):
    for epoch in epochs:
        save_pretrained(path, constant_model(float(epoch)), {"history": history_of(epoch), "data": DATA})


def write_records(path, epochs):
    for epoch in epochs:
        write_json(path, {"history": list(range(1, epoch + 1)), "filler": [epoch] * 300_000})


def read_record(path):
    record = json.loads(path.read_bytes())
    return {"filler": torch.tensor(record["filler"])}, record


@few_and_many
@pytest.mark.parametrize("write", [write_checkpoints, write_weights, write_records], ids=lambda write: write.__name__)
def test_kill_while_files_are_written(tries, write, tmp_path, note):
    moments, half_written = random.Random(3), 0
    for i in range(tries):
        path = tmp_path / str(i) / "file.safetensors"
        run(write, path, count(1), kill_after=moments.uniform(0, 0.3))
        if path.exists():
            tensors, record = (read_record if write is write_records else read_tensors)(path)
            for name, tensor in tensors.items():  # moments of an optimiser that made no step are 0
                assert (tensor == (0 if name.startswith("optimizer.") else len(record["history"]))).all()
        half_written += len(leftovers := list(path.parent.glob(f"{WRITING}*")))
        for leftover in leftovers:
            for file in (*leftover.iterdir(), leftover):
                os.utime(file, (0, 0))
            run(write, path, [7])
            assert not leftover.exists()
    outcome = f"the file is whole, old or new; {half_written} left a temporary file, which a later write removes"
    note(f"`kill -9` while {write.__name__.split('_')[1]} are written", tries, outcome)
    assert half_written or tries < 50


# --- kernels ---


class Kernel:
    """A Jupyter kernel whose cells are run one after another, and interrupted."""

    def __init__(self, folder, **environment):
        self.manager, self.client = start_new_kernel(cwd=str(folder), env=os.environ | environment)

    def run(self, cells, interrupt_after=None, restart_after=None):
        """Run cells until one fails: -> the name of its error, None if all went well, "restarted" if the kernel was.

        "no answer": the interrupt met ipykernel between two cells, which then forgets to answer; its state is whole.
        """
        stop, interrupted = time.monotonic() + (interrupt_after or restart_after or 600), False
        for cell in cells:
            message = self.client.execute(cell)
            while True:
                try:
                    reply = self.client.get_shell_msg(timeout=max(0.0, stop - time.monotonic()))
                except Empty:
                    if restart_after:
                        self.restart()
                        return "restarted"
                    if interrupted:
                        return "no answer"
                    assert interrupt_after, "a cell takes too long"
                    self.manager.interrupt_kernel()
                    stop, interrupted = time.monotonic() + 60, True
                    continue
                if reply["parent_header"]["msg_id"] == message:
                    break
            if reply["content"]["status"] != "ok":
                return reply["content"].get("ename", "aborted")
        return None

    def restart(self):
        self.manager.restart_kernel(now=True)
        self.client.stop_channels()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


CELLS = (
    "import torch, vae_lib; from vae_lib.data import releases; releases.BLOCK_BYTES = 2**19",
    "faces = vae_lib.load_dataset('celeba', size=32); torch.manual_seed(0)",
    "model = vae_lib.ConvVAE((3, 32, 32), (8, 16), 8)",
    "record = vae_lib.fit(model, faces, None, vae_lib.TrainConfig(epochs=2, precision='float32'), progress=False)",
    "open('result', 'w').write(repr([row['train_loss'] for row in record['history']] + [len(faces)]))",
)


@pytest.mark.slow
@pytest.mark.parametrize("tries", [50])
def test_interrupted_and_restarted_cells(tries, tmp_path, note):
    write_celeba(settings.DATA_DIR, parts=(0,) * 300 + (1,) * 6)
    moments, outcomes = random.Random(4), []
    environment = {"VAE_PROFILE": "lab", "VAE_DATA_DIR": str(settings.DATA_DIR), "OMP_NUM_THREADS": "1"}
    with Kernel(tmp_path, **environment) as kernel:
        assert kernel.run(CELLS[:1]) is None
        start = time.monotonic()
        assert kernel.run(CELLS[1:]) is None
        whole, expected = time.monotonic() - start, (tmp_path / "result").read_text()
        for i in range(tries):
            (tmp_path / "result").unlink()
            shutil.rmtree(settings.DATA_DIR / "cache")
            moment = {"restart_after" if i % 5 == 0 else "interrupt_after": moments.uniform(0.01, whole)}
            outcomes.append(kernel.run(CELLS, **moment))
            again = kernel.run(CELLS)
            if again == "aborted":  # by ipykernel, which may not have done with the interrupt; nothing has run
                again = kernel.run(CELLS)
            assert again is None
            assert (tmp_path / "result").read_text() == expected
    assert set(outcomes) <= {None, "restarted", "KeyboardInterrupt", "no answer"} and "KeyboardInterrupt" in outcomes
    counts = f"{outcomes.count('KeyboardInterrupt')} interrupted, {outcomes.count('restarted')} restarted in a cell"
    note("kernel interrupted or restarted in a cell", tries, f"{counts}; the next Run-All gives the same numbers")


NOTEBOOKS = sorted((settings.REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_an_interrupted_notebook_runs_again(path, note):
    content = json.loads(path.read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]
    moments = random.Random(path.stem)
    with Kernel(path.parent, VAE_PROFILE="quick") as kernel:
        first = kernel.run(cells, interrupt_after=moments.uniform(5, 25))
        second = kernel.run(cells, restart_after=moments.uniform(5, 25))
        assert kernel.run(cells) is None
    assert first in (None, "KeyboardInterrupt", "no answer") and second in (None, "restarted")
    note("each notebook interrupted, then restarted, in a cell", 2, "the next Run-All has no error")
