"""Several processes that train one model together: torchrun starts them, one for each GPU (or, for tests, on a CPU).

A process that torchrun did not start is alone: rank 0 of 1, and nothing here does anything.
"""

import os
import sys
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from vae_lib import settings
from vae_lib.checks import LabError

TIMEOUT = timedelta(hours=2)  # the first process may have to decode a dataset while the others wait


@contextmanager
def process_group():
    """Work together with the other processes of torchrun, if there are any; only the first one of all prints.

    Raises LabError if srun or mpirun started several, if there are more processes than GPUs, and (on CPUs; GPU
    processes are ended by torchrun) when the others are gone.
    """
    if settings.TASKS > 1:
        raise LabError(strangers())
    if not settings.LAUNCHED_BY_TORCHRUN:
        yield
        return
    on_gpu = settings.DEVICE.type == "cuda"
    if on_gpu and (n := torch.cuda.device_count()) <= settings.LOCAL_RANK:
        raise LabError(f"torchrun started more processes than this machine has GPUs; give --nproc_per_node={n}.")
    if on_gpu:
        torch.cuda.set_device(settings.DEVICE)
    device = settings.DEVICE if on_gpu else None
    dist.init_process_group("nccl" if on_gpu else "gloo", device_id=device, timeout=TIMEOUT)
    if rank() > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise LabError(
            f"Process {rank()} of {world_size()} lost the others, so the training ends; finished epochs are kept in "
            "the checkpoint, and the same command goes on from there, with any number of processes."
        ) from None
    dist.destroy_process_group()  # not after an error: it may wait for processes that wait for this one


def strangers():
    """What to do about processes of srun or mpirun, which do not know of each other, in a sentence."""
    return (
        f"srun or mpirun started {settings.TASKS} processes that do not know of each other: each would train by "
        "itself, and write the same files; to train one model, start one torchrun a node, as in "
        "`srun --ntasks-per-node=1 torchrun ...` (vae_lib/README.md)."
    )


def is_initialized():
    """True inside `process_group`, among several processes."""
    return dist.is_available() and dist.is_initialized()


def rank():
    """Number of this process, from 0: the first one writes files."""
    return dist.get_rank() if is_initialized() else 0


def world_size():
    """How many processes train together."""
    return dist.get_world_size() if is_initialized() else 1


def check_ready(batch_size):
    """LabError unless a training can start in these processes. Those of srun and mpirun are told that they are alone:
    a script may give each its own work."""
    if settings.TASKS > 1:
        print(strangers())
    if settings.LAUNCHED_BY_TORCHRUN and not is_initialized():
        raise LabError("torchrun started this program: call fit in `with vae_lib.engine.distributed.process_group():`.")
    if batch_size < (n := world_size()):
        raise LabError(f"A batch of {batch_size} cannot be shared by {n} processes: start fewer, or enlarge the batch.")


def all_reduce(tensor):
    """Sum over the processes, in place."""
    if is_initialized():
        dist.all_reduce(tensor)
    return tensor


def broadcast(value):
    """What the first process has, in all of them; the value is pickled on the way."""
    box = [value]
    if is_initialized():
        dist.broadcast_object_list(box, device=settings.DEVICE)
    return box[0]


def in_turn(load):
    """load() in the first process of each machine, then in its others, which find the cache that the first wrote."""
    if is_initialized() and settings.LOCAL_RANK > 0:
        dist.barrier()
    loaded = load()
    if is_initialized() and settings.LOCAL_RANK == 0:
        dist.barrier()
    return loaded


# --- around the model, the step and the validation of `fit`; without other processes they stay as they are ---


class Replica(DistributedDataParallel):
    """A model whose gradients are averaged over the processes, each with the weight of its share of the batch."""

    def __init__(self, model):
        super().__init__(model)  # gives all processes the first one's weights
        self.register_comm_hook(self, Replica.weighted_mean)

    def weighted_mean(self, bucket):
        """The mean of a bucket of gradients over the processes, as a future."""
        gradient = bucket.buffer().mul_(self.weight / world_size())
        return dist.all_reduce(gradient, async_op=True).get_future().then(lambda done: done.value()[0])


def replicate(model):
    """The model as `sharded` steps need it."""
    return Replica(model) if is_initialized() else model


def sharded(step):
    """A training step of which each process does its share, every world_size-th image of the batch.

    A process that gets no image of a small batch takes one with weight 0, since all have to take part in every step.
    """

    def share_step(replica, optimizer, x, config, generator):
        part = x[rank() :: world_size()]
        replica.weight = len(part) * world_size() / len(x)
        losses = step(replica, optimizer, part if len(part) else x[:1], config, generator)
        return all_reduce(losses * replica.weight / world_size())

    return share_step if is_initialized() else step


def sharded_means(evaluate, model, dataset, **options):
    """evaluate(model, dataset, seed=..., **options) -> means over the images, of which each process does its share."""
    for buffer in model.buffers() if is_initialized() else ():
        dist.broadcast(buffer, 0)  # the statistics of batch normalisation, as the first process will keep them
    part = dataset.select(slice(rank(), None, world_size()))
    sums = torch.zeros(3, dtype=torch.float64, device=settings.DEVICE)
    if len(part):
        sums += sums.new_tensor(evaluate(model, part, seed=rank(), **options)) * len(part)
    return (all_reduce(sums) / len(dataset)).tolist()
