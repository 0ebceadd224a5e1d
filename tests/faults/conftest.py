"""The fault suite: each test provokes a fault many times, and notes what came of it for the table at the end."""

import re
import signal
from pathlib import Path

import pytest

MEMORY = 2**30  # more than this a tiny file must not ask for


@pytest.fixture
def note(record_property, tmp_path_factory):
    """note(fault, tries, outcome, sentence): a row of the table; before the last checks, which may say FAILED there."""
    folders = re.escape(str(tmp_path_factory.getbasetemp().parent)) + r"\S*/"

    def note(fault, tries, outcome, sentence=""):
        record_property("fault", (fault, tries, outcome, re.sub(folders, "", sentence).replace("|", "/")))

    return note


class Hang(BaseException):
    """Nothing in the library catches it."""


@pytest.fixture
def bounded():
    """After signal.alarm(seconds), a test is stopped by Hang; when it asks for much memory, it is refused it."""
    resource = pytest.importorskip("resource", reason="memory cannot be limited on this system")

    def stop(*_):
        raise Hang

    previous = signal.signal(signal.SIGALRM, stop)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if Path("/proc/self/statm").exists():
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, limits[1]))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)
    resource.setrlimit(resource.RLIMIT_AS, limits)
