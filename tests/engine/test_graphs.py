"""Steps that are recorded as a CUDA graph. Without a GPU, a stand-in plays the graph."""

import contextlib
import copy
import dataclasses

import pytest
import torch

from vae_lib import FCVAE, ConvVAE, TrainConfig, fit
from vae_lib.engine.device import model_on_device
from vae_lib.engine.graphs import STEPS_BEFORE_RECORDING, RecordedStep, recorded
from vae_lib.training import make_optimizer, train_epoch, training_step

CONFIG = TrainConfig(batch_size=10, lr=1e-2, epochs=2, seed=3, mirror=True, schedule="one-cycle")


def seeded(kind, *arguments, **options):
    torch.manual_seed(0)
    return kind((1, 8, 8), *arguments, latent_dim=3, **options)


class FakeGraph:
    """A CUDA graph as far as a CPU can play one: what runs while it records leaves no trace, a replay runs it."""

    def __init__(self):
        self.replays = 0

    def register_generator_state(self, generator):
        self.generator = generator

    def replay(self):
        self.replays += 1
        step, arguments = self.recorder.step, self.arguments
        self.recorder.losses.copy_(step(*arguments[:2], self.recorder.x, *arguments[2:], self.generator))


@pytest.fixture
def fake_gpu(monkeypatch):
    """fake_gpu(step, model, optimizer): torch.cuda's graphs and streams for this RecordedStep."""

    def play(recorder, model, optimizer):
        @contextlib.contextmanager
        def recording(graph):
            graph.recorder, graph.arguments = recorder, (model, optimizer, CONFIG)
            kept, noise = copy.deepcopy((model.state_dict(), optimizer.state_dict())), graph.generator.get_state()
            yield
            model.load_state_dict(kept[0])
            for group, before in zip(optimizer.param_groups, kept[1]["param_groups"]):
                before["lr"] = group["lr"]  # the tensor that the recording reads
            optimizer.load_state_dict(kept[1])
            graph.generator.set_state(noise)

        stream = contextlib.nullcontext()
        stream.wait_stream = lambda other: None
        monkeypatch.setattr("torch.cuda.CUDAGraph", FakeGraph)
        monkeypatch.setattr("torch.cuda.graph", recording)
        for name in ("Stream", "current_stream"):
            monkeypatch.setattr(f"torch.cuda.{name}", lambda: stream)
        monkeypatch.setattr("torch.cuda.stream", lambda stream: stream)

    return play


def two_epochs(model, dataset, step):
    """(optimiser, losses of two epochs) of a training whose last batch is smaller than the others."""
    optimizer = make_optimizer(model, CONFIG)
    return optimizer, [train_epoch(model, optimizer, dataset, CONFIG, epoch, step) for epoch in (1, 2)]


def test_recording_and_replaying_a_step_changes_nothing(tiny, fake_gpu, monkeypatch):
    monkeypatch.setattr(
        "vae_lib.engine.graphs.make_capturable", lambda optimizer: [torch.zeros((), dtype=torch.float64)]
    )
    plain, replayed = seeded(FCVAE), seeded(FCVAE)
    optimizer, step = make_optimizer(replayed, CONFIG), RecordedStep(training_step)
    fake_gpu(step, replayed, optimizer)
    found = [train_epoch(replayed, optimizer, tiny, CONFIG, epoch, step) for epoch in (1, 2)]
    _, expected = two_epochs(plain, tiny, training_step)
    assert found == expected
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), replayed.parameters()))
    assert step.graph.replays == 2 * 6 - STEPS_BEFORE_RECORDING and step.graph.generator is step.generator


def test_on_a_cpu_the_step_is_the_step():
    assert torch.cuda.is_available() or recorded(training_step, seeded(FCVAE)) is training_step


def test_a_model_of_a_student_is_never_recorded(monkeypatch):
    """What its `forward` prints or counts would happen once."""

    class Mine(FCVAE):
        pass

    monkeypatch.setattr("vae_lib.settings.DEVICE", torch.device("cuda"))
    assert recorded(training_step, seeded(Mine)) is training_step
    with_own_layer = seeded(FCVAE)
    with_own_layer.encoder.append(type("Own", (torch.nn.Identity,), {})())
    assert recorded(training_step, with_own_layer) is training_step
    assert isinstance(recorded(training_step, seeded(FCVAE)), RecordedStep)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_replayed_steps_learn_what_plain_ones_learn(tiny):
    losses = []
    for record in (recorded, lambda step, model: step):
        with model_on_device(seeded(ConvVAE, channels=(4, 8), batch_norm=True)) as model:
            losses.append(two_epochs(model, tiny, record(training_step, model))[1])
    assert losses[0] == [pytest.approx(of_epoch, rel=1e-3) for of_epoch in losses[1]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_models_come_back_from_the_gpu(tiny):
    model = seeded(ConvVAE, channels=(4, 8))
    record = fit(model, tiny, tiny, dataclasses.replace(CONFIG, epochs=1), progress=False)
    assert {p.device.type for p in model.parameters()} == {"cpu"} and "cpu" not in record["device"]
