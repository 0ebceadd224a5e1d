"""Several processes that train one model together: torchrun starts them, one for each GPU (or, for tests, on a CPU).

A process that torchrun did not start is alone: rank 0 of 1, and nothing here does anything.
"""

import os
import sys
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from vae_lib import settings
from vae_lib.checks import LabError

TIMEOUT = timedelta(hours=2)  # the first process may have to decode a dataset while the others wait


@contextmanager
def joined():
    """Work together with the other processes of torchrun, if there are any; only the first one of all prints.

    Raises LabError if there are more processes than GPUs, and (on CPUs; GPU processes are ended by torchrun) when the
    others are gone.
    """
    if not settings.LAUNCHED_BY_TORCHRUN:
        yield
        return
    if settings.DEVICE.type == "cuda":
        if torch.cuda.device_count() <= settings.LOCAL_RANK:
            raise LabError(
                f"torchrun started more processes than the {torch.cuda.device_count()} GPUs of this machine; "
                f"give --nproc_per_node={torch.cuda.device_count()}."
            )
        torch.cuda.set_device(settings.DEVICE)
        dist.init_process_group("nccl", device_id=settings.DEVICE, timeout=TIMEOUT)
    else:
        dist.init_process_group("gloo", timeout=TIMEOUT)
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


def is_active():
    """True between the processes of `joined`."""
    return dist.is_available() and dist.is_initialized()


def rank():
    """Number of this process, from 0: the first one writes files."""
    return dist.get_rank() if is_active() else 0


def world_size():
    """How many processes train together."""
    return dist.get_world_size() if is_active() else 1


def share(start, stop):
    """This process's part of the images start..stop of a batch: -> (a slice, weight of its mean).

    Gradients are averaged over the processes; with these weights that is the mean over the batch. A process that gets
    no image of a small batch takes one with weight 0, since all have to take part in every step.
    """
    n = len(range(start + rank(), stop, world_size()))
    if n == 0:
        return slice(start, start + 1), 0.0
    return slice(start + rank(), stop, world_size()), n * world_size() / (stop - start)


def total(tensor):
    """Sum over the processes."""
    if is_active():
        dist.all_reduce(tensor)
    return tensor


def share_buffers(model):
    """Give all processes the first one's buffers: the statistics of batch normalisation, as they are kept."""
    if is_active():
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def from_first(value):
    """What the first process has, in all of them."""
    if not is_active():
        return value
    box = [value]
    dist.broadcast_object_list(box, device=settings.DEVICE)
    return box[0]


def in_turn(load):
    """load() in the first process of each machine, then in its others, which find the cache that the first wrote."""
    if is_active() and settings.LOCAL_RANK > 0:
        dist.barrier()
    loaded = load()
    if is_active() and settings.LOCAL_RANK == 0:
        dist.barrier()
    return loaded
