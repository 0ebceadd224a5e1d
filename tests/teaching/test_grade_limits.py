"""What a submission cannot do to the instructor's machine, and what the table says of it."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from vae_lib import settings

pytest.importorskip("nbgrader", reason="needs pip install -e .[grading]")
from nbconvert import HTMLExporter
from nbgrader.api import Gradebook

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
    """grade_one in this process, its output in a log; grade_here(which of nbgrader's commands fails) -> (exit code,
    log)."""
    import grade_one

    class Commands:
        def __init__(self, failing):
            self.failing = failing

        def __getattr__(self, name):
            return lambda *which, force: {"success": name != self.failing, "log": f"{name}: done"}

    def run(failing=None):
        monkeypatch.setattr(grade_one, "nbgrader", lambda: Commands(failing))
        monkeypatch.setattr(os, "setsid", lambda: None)
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
        code, log = grade_here()
    assert code == 0 and "sets no limit on memory" in log


@pytest.mark.parametrize("failing, exitcode", [("autograde", 1), ("generate_feedback", 3)])
def test_the_limit_is_set_and_a_failure_is_an_exit_code(grade_here, monkeypatch, capfd, failing, exitcode):
    limits = []
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: limits.append(limit))
    with capfd.disabled():
        code, log = grade_here(failing)
    assert code == exitcode and log.endswith(f"{failing}: done\n")
    assert limits == [(resource.RLIMIT_DATA, (4 * 2**30,) * 2)]


class Ended:
    """A process that has ended by itself."""

    sentinel, other_end = os.pipe()
    os.close(other_end)

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
        (3, b"DeadKernelError", "None"),  # graded, but no page
    ],
)
def test_how_a_process_ended_is_told_also_without_a_log(grade, monkeypatch, tmp_path, exitcode, log, said):
    monkeypatch.setattr(grade.PROCESSES, "Process", lambda target, args: Ended(exitcode))
    if log:
        (tmp_path / "log").write_bytes(log)
    assert said in str(grade.run_limited("ada", "01", tmp_path / "log"))


def test_points_stay_where_only_the_feedback_failed(grade, monkeypatch, tmp_path):
    """A second pass, which runs nothing, would write zeros over them."""
    passes = []
    monkeypatch.setattr(grade.PROCESSES, "Process", lambda target, args: passes.append(args) or Ended(grade.NO_PAGE))
    monkeypatch.setattr(grade, "notes_before", lambda stem, file: [])
    for folder in ("received/ada/01.ipynb", "submitted/ada/01/01.ipynb", "logs/ada 01.notes"):
        (tmp_path / "course" / folder).parent.mkdir(parents=True)
        (tmp_path / "course" / folder).touch()
    grade.grade("ada", "01", tmp_path / "course" / "submitted" / "ada" / "01" / "01.ipynb")
    assert len(passes) == 1 and (tmp_path / "course" / "logs" / "ada 01.notes").read_text() == ""


def test_after_a_ctrl_c_nothing_is_started_and_nothing_noted(grade, monkeypatch, tmp_path):
    killed = []
    children = [SimpleNamespace(kill=lambda: killed.append(1))]
    monkeypatch.setattr("psutil.Process", lambda: SimpleNamespace(children=lambda recursive: children))
    monkeypatch.setattr(grade, "STOPPING", threading.Event())
    monkeypatch.setattr(grade.signal, "signal", lambda kind, handler: None)
    grade.stop(ThreadPoolExecutor())
    assert killed
    with pytest.raises(InterruptedError):
        grade.run_limited("ada", "01", tmp_path / "log")


def test_graded_is_what_was_graded_to_the_end(grade, tmp_path):
    paths = ("received/ada/01.ipynb", "source/01/01.ipynb", "autograded/ada/01/01.ipynb", "logs/ada 01.notes")
    received, source, result, noted = (tmp_path / "course" / path for path in paths)
    rules = tmp_path / "course" / grade.RULES
    for seconds, path in enumerate((received, source, rules, result, noted)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (seconds, seconds))
    is_graded = partial(grade.is_graded, "ada", "01")
    assert is_graded()
    for path, seconds in ((received, 9), (source, 9), (rules, 9), (result, 0), (noted, 0)):  # or of another run
        before = path.stat().st_mtime
        os.utime(path, (seconds, seconds))
        assert not is_graded()
        os.utime(path, (before, before))
    noted.write_text(f"{grade.FAILED}; more")
    assert not is_graded()
    noted.unlink()  # as after a killed process
    assert not is_graded()


def test_notes_stay_until_another_folder_has_work_of_the_student(grade, tmp_path):
    (tmp_path / "course" / "logs").mkdir(parents=True)
    grade.remembered("one", {"ada": ["no notebook"], "bob": []})
    assert grade.remembered("two", {"bob": ["not used: x"]}) == {"ada": ["no notebook"], "bob": ["not used: x"]}
    assert grade.remembered("one", {"eve": []}) == {"bob": ["not used: x"], "eve": []}  # ada was a folder's name, say


def test_what_was_handed_in_and_is_not_in_the_gradebook_is_told_and_graded(grade, tmp_path):
    """As when the gradebook is an older copy, or a run was ended before."""
    received = tmp_path / "course" / "received" / "ada" / "01_theory.ipynb"
    received.parent.mkdir(parents=True)
    with Gradebook(f"sqlite:///{tmp_path / 'course' / 'gradebook.db'}") as gradebook:
        assert grade.points(gradebook, "ada", [])["problems"] == ""
        received.touch()
        assert grade.points(gradebook, "ada", [])["problems"] == f"01_theory: {grade.UNFINISHED}"
    assert grade.all_marks([("ada", "01_theory")]) == {}


def test_what_was_not_graded_to_the_end_gets_no_page(grade, monkeypatch, tmp_path):
    pages = []
    monkeypatch.setattr(grade, "all_marks", lambda keys: dict.fromkeys(keys, "marks"))
    generate = SimpleNamespace(
        generate_feedback=lambda stem, student, force: pages.append(student) or {"success": True}
    )
    monkeypatch.setattr(grade, "nbgrader", lambda: generate)
    (tmp_path / "course" / "logs").mkdir(parents=True)
    for student, said in {"ada": "", "bob": None, "eve": grade.FAILED}.items():
        (result := tmp_path / "course" / "autograded" / student / "01" / "01.ipynb").parent.mkdir(parents=True)
        result.touch()
        if said is not None:
            grade.log_of(student, "01", "notes").write_text(said)
    grade.renew_feedback(set())
    assert pages == ["ada"]


def test_what_nbgrader_swallows_is_heeded(grade):
    from release import heeded

    assert heeded({"success": True, "log": ""}) and heeded({"success": False, "error": "ValueError"})
    with pytest.raises(KeyboardInterrupt):
        heeded({"success": False, "error": "Traceback ...\nKeyboardInterrupt\n"})


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


@pytest.mark.filterwarnings("ignore:Object of type")  # of nbgrader's use of its database
def test_a_mark_given_by_hand_holds_until_its_answer_changes(grade, tmp_path):
    """A test that was corrected, or another exercise that was handed in again, is no reason to mark again."""
    from traitlets.config import Config

    from preprocessors import SavePoints

    which = {"notebook": "01", "assignment": "01", "student": "ada", "db_url": f"sqlite:///{tmp_path / 'all.db'}"}
    with Gradebook(which["db_url"]) as gradebook:
        gradebook.add_assignment("01")
        gradebook.add_notebook("01", "01")
        for name, kind in (("test", "code"), ("essay", "markdown")):
            gradebook.add_grade_cell(name, "01", "01", max_score=3, cell_type=kind)
        for name in ("f", "essay"):
            gradebook.add_solution_cell(name, "01", "01")
        gradebook.add_student("ada")
        gradebook.add_submission("01", "ada")

    def handed_in(code="f = 1", text="words", helper="", picture=None, outputs=()):
        marks = {"schema_version": 3, "points": 3, "locked": False, "task": False, "checksum": "x"}
        cells = [
            new_code_cell(code, metadata={"nbgrader": marks | {"grade_id": "f", "solution": True, "grade": False}}),
            new_code_cell("1", metadata={"nbgrader": marks | {"grade_id": "test", "solution": False, "grade": True}}),
            nbformat.v4.new_markdown_cell(
                text, metadata={"nbgrader": marks | {"grade_id": "essay", "solution": True, "grade": True}}
            ),
            new_code_cell(helper),
        ]
        cells[2]["attachments"], cells[1].outputs = picture or {}, list(outputs)
        saving = SavePoints(config=Config(CourseDirectory={"root": str(tmp_path)}))
        saving.preprocess(new_notebook(cells=cells), {"nbgrader": which})
        with Gradebook(which["db_url"]) as gradebook:
            grades = [gradebook.find_grade(name, "01", "01", "ada") for name in ("test", "essay")]
            waiting = [grade.name for grade in grades if grade.needs_manual_grade]
            for grade in grades:
                grade.manual_score, grade.needs_manual_grade = 2, False
            gradebook.find_comment("f", "01", "01", "ada").manual_comment = "or so"
            gradebook.db.commit()
        return waiting

    def changes():
        return json.loads((tmp_path / "logs" / "ada 01.changes").read_text())

    assert handed_in() == ["essay"]
    assert handed_in() == []
    assert handed_in(text="better words") == ["essay"] and changes() == []
    assert handed_in(text="better words", code="f = 2") == ["test"]
    assert changes() == ["changed, although you commented on it: f"]
    (tmp_path / "logs" / "ada 01.changes").unlink()  # by grade(), at its end
    assert handed_in(text="better words", code="f = 2", helper="g = 3") == ["test"]
    assert handed_in(text="better words", code="f = 2", helper="g = 3", picture={"a.png": {}}) == ["essay"]
    assert changes() == []
    handed_in(outputs=[new_output("error", ename="AssertionError", evalue="", traceback=[])])
    both = ["fewer points than before: test 3 -> 0", "changed, although you commented on it: f"]
    assert changes() == both
    handed_in(outputs=[new_output("error", ename="AssertionError", evalue="", traceback=[])])
    assert changes() == both  # a grading that was ended is repeated


def test_a_lost_picture_ends_no_page(grade):
    """Neither the feedback nor nbgrader's form, which reads what was handed in as it is."""
    import preprocessors  # noqa: F401, which sees to it

    text = "![a](attachment:gone.png) ![b](attachment:Gr%C3%B6%C3%9Fe%201.png) ![c](attachment:plot(1).png)"
    known = {"Größe 1.png": {"image/png": "QUJD"}, "plot(1).png": {"image/png": "REVG"}, "empty.png": {}}
    cell = nbformat.v4.new_markdown_cell(f"{text} ![d](attachment:empty.png)", attachments=known)
    page, _ = HTMLExporter().from_notebook_node(new_notebook(cells=[cell]))
    links = [page.count(f'src="{link}') for link in ("attachment:gone", "data:image/png;base64,", "attachment:empty")]
    assert links == [1, 2, 1]


def test_long_outputs_are_cut(grade):
    import preprocessors

    long = "x" * 2 * preprocessors.LONGEST
    outputs = [new_output("stream", text=long), new_output("display_data", {"text/plain": long, "image/png": long})]
    cell, _ = preprocessors.ShortOutputs().preprocess_cell(new_code_cell("1", outputs=outputs), {}, 0)
    texts = [cell.outputs[0].text, cell.outputs[1].data["text/plain"]]
    assert all(len(text) < preprocessors.LONGEST + 50 and text.endswith("truncated ...") for text in texts)
    assert cell.outputs[0].name == "stdout" and cell.outputs[1].data["image/png"] == long
