"""What a submission cannot do to the instructor's machine, and what the table says of it."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from vae_lib import settings

pytest.importorskip("nbgrader", reason="needs pip install -e .[grading]")
from teaching import installs

resource = pytest.importorskip("resource", reason="grading is for Linux and macOS")
PACKAGE = "no-such-package-of-this-lab"
SHELL = f"""pip install {PACKAGE}
pip3 uninstall -y {PACKAGE}
conda install -y {PACKAGE}
apt-get install -y {PACKAGE}
sudo apt install {PACKAGE}
uv pip install {PACKAGE}
{sys.executable} -m pip install --force-reinstall {PACKAGE}
{sys.executable} -m pip uninstall -y {PACKAGE}
{sys.executable} -m ensurepip
"""
PYTHON = f"""import os, subprocess, sys
import pip
pip.main(["install", "{PACKAGE}"])
os.system("pip install {PACKAGE}")
subprocess.check_call(["pip", "install", "{PACKAGE}"])
subprocess.run([sys.executable, "-m", "pip", "install", "{PACKAGE}"], check=True)
"""


@pytest.fixture
def environment(tmp_path):
    """Of a kernel that grades; should the real pip run, it finds no index."""
    asked = {"VAE_INSTALLS": str(tmp_path / "asked"), "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**os.environ, **asked, **installs.no_installs(tmp_path / "none", os.environ)}


@pytest.mark.parametrize("command", [["sh", "-ec", SHELL], [sys.executable, "-c", PYTHON]], ids=["shell", "Python"])
def test_installs_go_nowhere_and_are_noted(environment, tmp_path, command):
    """Each form in a real process: the command succeeds, says one sentence, and the instructor reads of it."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    forms = len(SHELL.splitlines()) if command[0] == "sh" else PYTHON.count(PACKAGE)
    assert done.stdout.splitlines() == [installs.SAID] * forms and not done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == forms and f"pip install {PACKAGE}" in asked


def test_the_environments_own_pip_by_its_path_does_not_run(environment):
    pip = Path(sys.executable).with_name("pip")
    if not pip.exists():
        pytest.skip("an environment without pip")
    done = subprocess.run([pip, "uninstall", "-y", PACKAGE], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "'pip' is not a package" in done.stderr


def test_what_was_asked_for_is_told_briefly(tmp_path):
    assert installs.asked_for(tmp_path / "nothing") == []
    file = tmp_path / "asked"
    file.write_bytes(b"pip install a\npip install a\nuv add \xff" + b"x" * 500 + b"\nc\nd\ne\nf\n")
    asked = installs.asked_for(file)
    assert asked[0] == "pip install a" and len(asked) == 5 and max(map(len, asked)) == 80


@pytest.fixture
def grade(monkeypatch, tmp_path):
    """The module, with a course of its own."""
    monkeypatch.syspath_prepend(settings.REPOSITORY / "notebooks" / "teaching")
    import grade

    monkeypatch.setattr(grade, "COURSE", tmp_path / "course")
    return grade


@pytest.fixture
def grade_here(grade, monkeypatch, tmp_path):
    """grade_one in this process, its output in a log; grade_here(nbgrader's success) -> (exit code, log)."""
    import grade_one

    class Commands:
        def __init__(self, success):
            self.autograde = self.generate_feedback = lambda *which, force: {"success": success, "log": "done"}

    def run(success):
        monkeypatch.setattr(grade_one, "nbgrader", lambda: Commands(success))
        standard = [os.dup(1), os.dup(2)]
        try:
            grade_one.grade_one("ada", "01", tmp_path / "log", 4, {})
        except SystemExit as end:
            return end.code, (tmp_path / "log").read_text()
        finally:
            sys.stdout.flush()
            for number, old in enumerate(standard, start=1):
                os.dup2(old, number)
                os.close(old)
        return 0, (tmp_path / "log").read_text()

    return run


@pytest.mark.parametrize("error", [ValueError("current limit exceeds maximum limit"), OSError("not supported")])
def test_grading_goes_on_where_the_system_sets_no_limit(grade_here, monkeypatch, capfd, error):
    def refuse(*limit):
        raise error

    monkeypatch.setattr(resource, "setrlimit", refuse)
    with capfd.disabled():
        code, log = grade_here(success=True)
    assert code == 0 and "sets no limit on memory" in log


def test_the_limit_is_set_and_a_failure_is_an_exit_code(grade_here, monkeypatch, capfd):
    limits = []
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: limits.append(limit))
    with capfd.disabled():
        code, log = grade_here(success=False)
    assert code == 1 and "done" in log
    assert limits == [(resource.RLIMIT_DATA, (4 * 2**30,) * 2)]


class Ended:
    """A process that has ended by itself."""

    def __init__(self, exitcode):
        self.exitcode, self.start, self.join = exitcode, lambda: None, lambda seconds: None


@pytest.mark.parametrize(
    "exitcode, log, said",
    [
        (0, None, "None"),
        (1, None, "could not grade"),
        (-9, None, "process died"),
        (1, b"\xff\xfe DeadKernelError", "process died"),
        (1, b"nbclient.exceptions.CellTimeoutError: A cell timed out while", "although it was interrupted"),
        (1, b"KeyError", "could not grade"),
    ],
)
def test_how_a_process_ended_is_told_also_without_a_log(grade, monkeypatch, tmp_path, exitcode, log, said):
    monkeypatch.setattr(grade.PROCESSES, "Process", lambda target, args: Ended(exitcode))
    if log:
        (tmp_path / "log").write_bytes(log)
    assert said in str(grade.run_limited("ada", "01", tmp_path / "log"))


def test_what_was_missing_is_told(grade):
    """A module that no cell finds, and a name that a test does not find; other errors are the feedback's."""

    def cell(error, said, **marks):
        outputs = [new_output("error", ename=error, evalue=said, traceback=[])]
        return new_code_cell("...", outputs=outputs, metadata={"nbgrader": marks} if marks else {})

    cells = [cell("ModuleNotFoundError", "No module named 'x'"), cell("NameError", "of a lesson"), new_code_cell("1")]
    cells += [cell("NameError", "name 'helper' is not defined", grade=True), cell("AssertionError", "2", grade=True)]
    cells += [nbformat.v4.new_markdown_cell("text"), cell("ModuleNotFoundError", "No module named 'x'")]
    said = grade.notes_after(new_notebook(cells=cells))
    assert said == ["ModuleNotFoundError: No module named 'x'", "NameError: name 'helper' is not defined"]
    inside = cell("AssertionError", "for (3,) (float32): NameError: name 'np' is not defined", grade=True)
    stopped = cell("KeyboardInterrupt", "")
    said = grade.notes_after(new_notebook(cells=[inside, stopped, cell("CellTimeoutError", "A cell timed out")]))
    assert said == ["NameError: name 'np' is not defined", f"a cell was stopped after {grade.SECONDS} seconds"]


def test_long_outputs_are_cut(grade):
    import preprocessors

    long = "x" * 2 * preprocessors.LONGEST
    outputs = [new_output("stream", text=long), new_output("display_data", {"text/plain": long, "image/png": long})]
    cell, _ = preprocessors.ShortOutputs().preprocess_cell(new_code_cell("1", outputs=outputs), {}, 0)
    texts = [cell.outputs[0].text, cell.outputs[1].data["text/plain"]]
    assert all(len(text) < preprocessors.LONGEST + 50 and text.endswith("truncated ...") for text in texts)
    assert cell.outputs[0].name == "stdout" and cell.outputs[1].data["image/png"] == long
