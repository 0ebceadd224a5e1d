"""Processes of their own that start at once: they are forked from a server that has imported the library."""

import signal
from multiprocessing import get_all_start_methods, get_context

METHOD = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"


def heed_ctrl_c():
    """To be called in a new process: it heeds Ctrl-C, also where the tests run behind a shell's &."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def forked():
    """A context, as of multiprocessing.get_context, for a test that starts processes."""
    context = get_context(METHOD)
    if METHOD == "forkserver":  # said anew each time: grade.py has a server of its own, and a process has one list
        context.set_forkserver_preload(["vae_lib.cli.parser", "vae_lib.plots", "torchvision", "pytest"])
    return context
