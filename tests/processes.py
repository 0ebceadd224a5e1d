"""Processes of their own that start at once: they are forked from a server that has imported the library."""

from multiprocessing import get_all_start_methods, get_context

METHOD = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"


def forked():
    """A context, as of multiprocessing.get_context, for a test that starts processes."""
    context = get_context(METHOD)
    if METHOD == "forkserver":  # said anew each time: grade.py has a server of its own, and a process has one list
        context.set_forkserver_preload(["vae_lib.cli.parser", "vae_lib.plots", "torchvision", "pytest"])
    return context
