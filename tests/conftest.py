"""Every test works in its own folders, in the quick profile, without a network."""

import socket

import numpy as np
import pytest
import torch

from report import ANSWERS, FAULTS, fault_table, is_whole_suite, noted_faults, put_between_marks
from vae_lib import settings
from vae_lib.data import ImageDataset, download, loading


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # once, not in each process of pytest-xdist
        ANSWERS.unlink(missing_ok=True)


@pytest.hookimpl(tryfirst=True)  # a random order comes after it
def pytest_collection_modifyitems(items):
    """What takes longest comes first, so that no process waits long for another at the end."""
    longest = ("test_exercises.py", "test_grading.py", ".ipynb", "test_benchmarks.py", "test_distributed.py")
    longest += ("test_cli.py", "test_attributes.py", "test_folders.py", "test_notebooks.py", "test_download.py")
    longest += ("test_fuzz.py", "test_numbers.py", "test_photographs.py", "test_interrupts.py", "test_sample.py")
    items.sort(key=lambda item: [not item.path.name.endswith(end) for end in longest])


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    if ANSWERS.exists():
        terminalreporter.section("what the tests of the exercises made of right and wrong answers")
        terminalreporter.write(ANSWERS.read_text())
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    if rows := noted_faults(reports):
        table = fault_table(rows)
        FAULTS.parent.mkdir(exist_ok=True)
        FAULTS.write_text(table, encoding="utf-8")
        terminalreporter.section("faults")
        terminalreporter.write(table)
        if is_whole_suite(config, exitstatus, len(terminalreporter.getreports("skipped"))):
            put_between_marks(table)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """No test reads or writes the repository's data, weights or figures."""
    monkeypatch.setattr(settings, "PROFILE", settings.PROFILES["quick"])
    monkeypatch.setattr(settings, "DATA_DIR", tmp_path / "data")
    monkeypatch.setattr(settings, "PRETRAINED_DIR", tmp_path / "pretrained")
    monkeypatch.setattr(settings, "CHECKPOINT_DIR", tmp_path / "checkpoints")
    monkeypatch.setattr(settings, "FIGURES_DIR", tmp_path / "figures")
    monkeypatch.setattr(loading, "_said", set())
    monkeypatch.setattr(download, "_unreachable", set())
    monkeypatch.setattr(download, "_waited", 0.0)


@pytest.fixture(autouse=True)
def network_calls(monkeypatch):
    """Connections are refused, and listed; those between processes of this machine (no internet family) are not."""
    calls, connect = [], socket.socket.connect

    def refuse(*args, **kwargs):
        calls.append(args)
        raise OSError("the network is blocked in tests")

    def refuse_internet(self, address):
        return refuse(address) if self.family in (socket.AF_INET, socket.AF_INET6) else connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse_internet)
    return calls


@pytest.fixture
def use_profile(monkeypatch):
    """use_profile("lab") switches the profile for one test."""
    return lambda name: monkeypatch.setattr(settings, "PROFILE", settings.PROFILES[name])


@pytest.fixture
def lab(use_profile):
    """The lab profile: -> the folder for real data."""
    use_profile("lab")
    return settings.DATA_DIR


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def tiny():
    """64 images of 1x8x8 in 10 classes, each class a random black-and-white pattern; called real."""
    patterns = np.random.default_rng(0).integers(0, 2, (10, 1, 8, 8), dtype=np.uint8) * 255
    targets = torch.arange(64) % 10
    return ImageDataset(torch.from_numpy(patterns)[targets], targets, "0123456789", "tiny", "train", "real")
