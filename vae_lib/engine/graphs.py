"""A training step recorded as a CUDA graph: small models spend their time launching some hundred kernels, and a replay
is a single launch (PyTorch's notes on CUDA semantics, "CUDA Graphs"). Nothing in a step waits for the GPU.
"""

import torch

from vae_lib import settings
from vae_lib.engine import distributed

STEPS_BEFORE_RECORDING = 3  # libraries allocate and choose their kernels in the first steps on a GPU


def recorded(step, model):
    """The step, on a GPU recorded and replayed, if all of the model is ours or torch's: Python in a student's own
    `forward` would run while it is recorded, and never again. On a CPU, and in one of several processes, the step
    itself."""
    ours = all(type(part).__module__.startswith(("torch.nn.", "vae_lib.")) for part in model.modules())
    return RecordedStep(step) if settings.DEVICE.type == "cuda" and ours and not distributed.is_initialized() else step


class RecordedStep:
    """Called like the step that it is made of, always with the same model, optimizer and config."""

    def __init__(self, step):
        self.step, self.graph, self.done, self.given = step, None, 0, None

    def __call__(self, model, optimizer, x, config, generator):
        if self.done == 0:
            self.rates = make_capturable(optimizer)
            self.generator = torch.Generator(x.device)
        for rate, group in zip(self.rates, optimizer.param_groups):
            group["lr"] = rate.fill_(group["lr"])
        if generator is not self.given:  # a new epoch; the recording has a generator of its own
            self.given = generator
            self.generator.manual_seed(generator.initial_seed())
        if len(x) < config.batch_size:  # the last batch of an epoch
            return self.step(model, optimizer, x, config, self.generator)
        self.done += 1
        if self.done <= STEPS_BEFORE_RECORDING:
            return self.aside(model, optimizer, x, config)
        if self.graph is None:
            self.record(model, optimizer, x, config)
        self.x.copy_(x)
        self.graph.replay()
        return self.losses

    def aside(self, model, optimizer, x, config):
        """The step on a stream of its own, as recording asks of those before it."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            losses = self.step(model, optimizer, x, config, self.generator)
        torch.cuda.current_stream().wait_stream(stream)
        return losses

    def record(self, model, optimizer, x, config):
        """Record the step without doing it; a replay reads its images from self.x and writes to self.losses."""
        self.x, self.graph = x.clone(), torch.cuda.CUDAGraph()
        self.graph.register_generator_state(self.generator)
        with torch.cuda.graph(self.graph):
            self.losses = self.step(model, optimizer, self.x, config, self.generator)


def make_capturable(optimizer):
    """Prepare an optimiser for recording: -> a tensor for each group, where a recorded step reads its learning rate."""
    optimizer._warned_capturable_if_run_uncaptured = True  # no warning for the steps before the recording
    for group in optimizer.param_groups:
        group["capturable"] = True
    return [torch.zeros((), device=settings.DEVICE) for _ in optimizer.param_groups]
