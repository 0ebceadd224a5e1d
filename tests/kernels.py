"""Kernels for nbval that start at once: forked from a server that has imported the library, as every notebook does."""

import os
import time
from unittest import mock

import nbval.kernel
from jupyter_client.provisioning import local_provisioner

from processes import METHOD, become, forked


class ForkedKernel:
    """Takes the place of subprocess.Popen for jupyter_client: a process that becomes what a command would start."""

    stdin = stdout = stderr = None

    def __init__(self, command, cwd, env, **_):
        self.process = forked().Process(target=become, args=(command, cwd, env))
        self.process.start()
        self.pid = self.process.pid
        while self.poll() is None and os.getpgid(self.pid) != self.pid:  # a signal to its group must not reach ours
            time.sleep(0.001)

    def poll(self):
        return self.process.exitcode

    def wait(self, timeout=None):
        self.process.join(timeout)
        return self.process.exitcode

    def send_signal(self, number):
        os.kill(self.pid, number)


def fork_kernels_of_nbval():
    """From now on, in this process, where the system can fork."""
    start = nbval.kernel.start_new_kernel

    def start_forked(*args, **kwargs):
        with mock.patch.object(local_provisioner, "launch_kernel", ForkedKernel):
            return start(*args, **kwargs)

    if METHOD == "forkserver":
        nbval.kernel.start_new_kernel = start_forked
