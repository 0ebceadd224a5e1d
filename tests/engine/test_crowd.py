"""The number of threads on a crowded machine and under a quota."""

import math

import pytest
import torch

from vae_lib import settings
from vae_lib.engine import crowd as module
from vae_lib.engine.crowd import IN_A_ROW, PAUSE, Crowd, quota, running


@pytest.fixture
def machine(monkeypatch):
    """A machine of four cores, on which torch has four threads: what runs besides, and the time, are set by hand."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    monkeypatch.setattr(settings, "THREADS_ARE_CHOSEN", False)
    machine = {"others": 0, "now": 100.0, "cores": 4}
    monkeypatch.setattr(module, "running", lambda: machine["others"] + torch.get_num_threads())
    monkeypatch.setattr(module, "quota", lambda: math.inf)
    monkeypatch.setattr(module.os, "cpu_count", lambda: machine["cores"])
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda process: range(4), raising=False)
    monkeypatch.setattr(module.time, "monotonic", lambda: machine["now"])
    yield machine
    torch.set_num_threads(before)


def look(crowd, machine, times=1):
    for _ in range(times):
        machine["now"] += PAUSE
        crowd.look()
    return torch.get_num_threads()


def test_a_quiet_machine_keeps_all_threads(machine):
    assert look(Crowd(), machine, 10) == 4


def test_one_thread_goes_on_alone_after_some_crowded_looks_and_until_there_is_room_for_all(machine):
    crowd = Crowd()
    machine["others"] = 1
    assert look(crowd, machine, IN_A_ROW - 1) == 4
    assert look(crowd, machine) == 1
    assert look(crowd, machine, 5) == 1  # its own one and the other's would fit; all four and the other's would not
    machine["others"] = 0
    assert look(crowd, machine) == 4


def test_a_number_that_the_user_sets_later_is_kept(machine):
    crowd = Crowd()
    assert look(crowd, machine) == 4
    torch.set_num_threads(2)
    assert look(crowd, machine, 3) == 2
    machine["others"] = 4
    assert look(crowd, machine, IN_A_ROW) == 1
    machine["others"] = 0
    assert look(crowd, machine) == 2


def test_who_is_bound_to_some_cores_has_them_however_busy_the_others_are(machine):
    machine["cores"], machine["others"] = 64, 70
    assert look(Crowd(), machine, 10) == 4


def test_a_moment_is_no_crowd(machine):
    crowd = Crowd()
    for others in (3, 3, 0) * 4:
        machine["others"] = others
        assert look(crowd, machine) == 4


def test_it_looks_now_and_then(machine, monkeypatch):
    looks, crowd = [], Crowd()
    monkeypatch.setattr(module, "running", lambda: looks.append(1) or 0)
    for _ in range(1_000):
        machine["now"] += 0.01
        crowd.look()
    assert 15 <= len(looks) <= 21


def test_chosen_threads_are_kept(machine, monkeypatch):
    monkeypatch.setattr(settings, "THREADS_ARE_CHOSEN", True)
    machine["others"] = 50
    assert look(Crowd(), machine, 10) == 4


@pytest.mark.parametrize(("allowed", "threads"), [(math.inf, 4), (2.5, 2), (1, 1), (0.3, 1)])
def test_a_quota_is_not_exceeded(machine, monkeypatch, allowed, threads):
    monkeypatch.setattr(module, "quota", lambda: allowed)
    assert look(Crowd(), machine) == threads


def test_the_smallest_quota_of_all_groups_counts(tmp_path, monkeypatch):
    group = tmp_path / "fs" / "a" / "b"
    group.mkdir(parents=True)
    (tmp_path / "cgroup").write_text("0::/a/b\n")
    monkeypatch.setattr(module, "CGROUP", tmp_path / "cgroup")
    assert quota(tmp_path / "fs") == math.inf
    for folder, limit in {group: "max 100000", group.parent: "150000 100000", tmp_path: "10000 100000"}.items():
        (folder / "cpu.max").write_text(limit + "\n")
    assert quota(tmp_path / "fs") == 1.5
    (group / "cpu.max").write_text("nonsense")
    assert quota(tmp_path / "fs") == math.inf


def test_what_runs_is_read_or_not_known(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOADAVG", tmp_path / "loadavg")
    assert running() == 0
    (tmp_path / "loadavg").write_text("0.13 0.85 1.02 5/402 12345\n")
    assert running() == 5
