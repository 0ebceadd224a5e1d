"""How many threads compute: fewer where a quota says so, and one on a crowded machine.

The threads of OpenMP wait for each other after every operation. Where another process holds the core of one of them,
all wait, and training becomes up to a hundred times slower; a single thread only loses its share of the core. So one
computes while there is no core left for the others. Who sets OMP_NUM_THREADS has chosen: nothing is changed. And who is
bound to some of the cores (Slurm does so) has these: what runs on the others says nothing.
"""

import math
import os
import time
from pathlib import Path

import torch

from vae_lib import settings

LOADAVG, CGROUP = Path("/proc/loadavg"), Path("/proc/self/cgroup")  # of Linux; elsewhere, nothing is known and changed
EVERY, IN_A_ROW, PAUSE = 0.5, 3, 10  # seconds between looks; looks before one thread goes on alone; seconds of that


class Crowd:
    """Looks at the machine now and then, and sets the number of threads of whoever asks."""

    def __init__(self):
        self.threads = self.left = None  # on a quiet machine; as the last look left them
        self.crowded, self.next_look = 0, 0.0

    def look(self):
        """To be called in every step of a loop, by the thread that computes: OpenMP's number is that of one thread."""
        now, using = time.monotonic(), torch.get_num_threads()
        if settings.THREADS_ARE_CHOSEN or now < self.next_look:
            return
        if using != self.left:  # the first look, or the user has set another number since
            self.threads = max(1, int(min(using, quota())))
        full = not is_bound() and running() - using + self.threads > (os.cpu_count() or 1)
        self.crowded = self.crowded + 1 if full and self.threads > 1 else 0
        alone = self.crowded >= IN_A_ROW
        if using != (threads := 1 if alone else self.threads):
            torch.set_num_threads(threads)
        self.left = threads
        self.next_look = now + (PAUSE if alone else EVERY)


def running():
    """How many threads of the machine compute or wait for a core, this process's own included; 0 if not known."""
    try:
        return int(LOADAVG.read_text().split()[3].partition("/")[0])
    except (OSError, IndexError, ValueError):
        return 0


def is_bound():
    """Whether this process may use some of the machine's cores only."""
    return hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) < (os.cpu_count() or 1)


def quota(root=Path("/sys/fs/cgroup")):
    """How many cores' time the control groups (version 2) of this process, a container's say, allow; infinite if not
    limited."""
    try:
        own = root / CGROUP.read_text().rpartition("::")[2].strip().lstrip("/")
        limits = [(folder / "cpu.max") for folder in (own, *own.parents) if folder.is_relative_to(root)]
        pairs = [limit.read_text().split() for limit in limits if limit.is_file()]
        return min([int(time) / int(period) for time, period in pairs if time != "max"], default=math.inf)
    except (OSError, ValueError):
        return math.inf


crowd = Crowd()
