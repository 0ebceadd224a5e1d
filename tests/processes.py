"""Processes of their own that start at once: they are forked from a server that has imported the library."""

import os
import runpy
import sys
from multiprocessing import get_all_start_methods, get_context

METHOD = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
PRELOADED = ["vae_lib.cli.parser", "vae_lib.plots", "torchvision", "ipykernel.kernelapp", "pytest"]


def forked():
    """A context, as of multiprocessing.get_context, for a test that starts processes."""
    context = get_context(METHOD)
    if METHOD == "forkserver":  # said anew each time: grade.py has a server of its own, and a process has one list
        context.set_forkserver_preload(PRELOADED)
    return context


def become(command, cwd, env):
    """Be the kernel that `command`, a list ["python", ..., "-m", module, ...], would start."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # as nbval asks for
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.modules["matplotlib"].rcParams["backend"] = "module://matplotlib_inline.backend_inline"  # as in a new kernel
    with_parent = f"--IPKernelApp.parent_handle={os.getppid()}"  # a kernel ends when that process has ended
    sys.argv = [*command[command.index("-m") + 1 :], with_parent]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
