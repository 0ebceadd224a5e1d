"""What becomes of a submission before it runs: in memory, a small lesson with two exercises and two questions."""

import copy

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

pytest.importorskip("nbgrader", reason="needs pip install -e .[grading]")
from teaching.restore import mark, restore

STUB = 'def {}(x):\n    """x -> number"""\n    raise NotImplementedError("your answer goes here")'
HELPER = "def helper(x):\n    return x"
ANSWER = "def {}(x):\n    return 1"


def given(cell, name, **marks):
    """A cell of the master, marked as nbgrader marks it."""
    kind = {"grade": False, "solution": False, "locked": not marks.get("solution"), "schema_version": 3, "task": False}
    cell.metadata["nbgrader"] = kind | marks | {"grade_id": name}
    cell.id = f"given-{name.replace('_', '-')}"
    return cell


@pytest.fixture
def master():
    cells = [given(new_code_cell("import math\n\nimport torch\nfrom torch import nn"), "imports")]
    cells[0].metadata["tags"] = ["setup"]
    for name in ("first", "second"):
        cells.append(new_code_cell(f"lesson = '{name}'", id=f"lesson-{name}"))
        cells.append(given(new_code_cell(STUB.format(name)), f"{name}_answer", solution=True))
        cells.append(given(new_code_cell(f"print({name}(3))"), f"{name}_check"))
        cells.append(given(new_code_cell("# 3 points: tests run here"), name, grade=True, points=3))
    for name in ("why", "how"):
        cells.append(given(new_markdown_cell(f"### The question: {name}?"), f"{name}_prompt"))
        blank = new_markdown_cell("*Your answer goes here.*")
        cells.append(given(blank, name, solution=True, grade=True, points=10))
        cells.append(new_markdown_cell(f"The lesson goes on after {name}."))
    cells.append(new_code_cell(HELPER, id="lesson-helper"))
    return new_notebook(cells=cells)


@pytest.fixture
def hand_in(master):
    """hand_in(change) -> the restored submission, and what is said of it; change(its cells, {grade_id: cell})."""

    def restored(change):
        notebook = copy.deepcopy(master)
        change(notebook.cells, {mark(cell): cell for cell in notebook.cells})
        notes = restore(notebook, copy.deepcopy(master))
        nbformat.validate(notebook)
        names = [mark(cell) for cell in notebook.cells if mark(cell)]
        assert sorted(names) == sorted(mark(cell) for cell in master.cells if mark(cell))  # each exactly once
        for name in ("first", "second"):
            assert names.index(f"{name}_answer") < names.index(name)
        return notebook, notes

    return restored


def source(notebook, name):
    return next(cell.source for cell in notebook.cells if mark(cell) == name)


def running(notebook):
    """The code that is run, in its order."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell.source for cell in cells if "skip-execution" not in cell.metadata.tags]


def solve(cells, by_name):
    for name in ("first", "second"):
        by_name[f"{name}_answer"].source = ANSWER.format(name)
    for name in ("why", "how"):
        by_name[name].source = f"An answer to {name}."


def assert_solved(notebook):
    assert [source(notebook, f"{name}_answer") for name in ("first", "second")] == [
        ANSWER.format("first"),
        ANSWER.format("second"),
    ]
    assert [source(notebook, name) for name in ("why", "how")] == ["An answer to why.", "An answer to how."]
    assert "lesson = 'first'" not in running(notebook) and "print(first(3))" not in running(notebook)


def test_nothing_is_said_of_whole_and_of_blank_work(hand_in):
    notebook, notes = hand_in(solve)
    assert_solved(notebook)
    assert notes == hand_in(lambda cells, by_name: None)[1] == []


@pytest.mark.parametrize("ids", [True, False])
def test_lost_marks_are_found_again(hand_in, ids):
    """By the cells' ids; without ids by what a code cell defines, and by the question above a text."""

    def lose(cells, by_name):
        solve(cells, by_name)
        for cell in cells:
            cell.metadata = {}
            if not ids:
                del cell["id"]

    notebook, notes = hand_in(lose)
    assert_solved(notebook)
    assert len(notebook.cells) == 16 + 2 * (not ids)  # a test without mark and id is one comment: put back
    assert notes == ["4 answer cells had lost nbgrader's marks; found by id or name, nothing to do"]


def test_marks_of_one_cell_are_lost_and_odd_ones_are_no_marks(hand_in):
    def lose(cells, by_name):
        solve(cells, by_name)
        del by_name["first_answer"]["metadata"], by_name["first_answer"]["id"]
        by_name["second_answer"].update(metadata={"nbgrader": ["second_answer"]}, id="new")
        cells.append(new_code_cell("1", metadata={"nbgrader": {"grade_id": ["first"], "grade": True}}))

    notebook, notes = hand_in(lose)
    assert_solved(notebook)
    assert notes == ["2 answer cells had lost nbgrader's marks; found by id or name, nothing to do"]


@pytest.mark.parametrize("left", [STUB.format("first") + "  # later", "", "# moved to the end", "lost = 1"])
def test_an_answer_typed_again_counts_if_the_given_cell_is_blank(hand_in, left):
    def retype(cells, by_name):
        solve(cells, by_name)
        by_name["first_answer"].source = left
        cells += map(new_code_cell, ["def helper(): ...", ANSWER.format("first") + " + 0", ANSWER.format("first")])

    notebook, notes = hand_in(retype)
    assert_solved(notebook)
    assert notes == ["answers taken from other cells than the given ones: first_answer"]
    order = running(notebook)
    assert order.index("def helper(): ...") < order.index(ANSWER.format("first"))
    assert order[-1] == "# 3 points: tests run here"  # the test has moved below its answer
    assert STUB.format("first") + "  # later" not in order


def test_a_given_answer_counts_and_a_later_one_is_named(hand_in):
    def experiment(cells, by_name):
        solve(cells, by_name)
        cells.append(new_code_cell(ANSWER.format("first") + "00"))

    notebook, notes = hand_in(experiment)
    assert_solved(notebook)
    assert notes == ["defined again below the answer: first_answer"]


def test_copies_of_a_given_cell_count_where_they_stand(hand_in):
    """As in Jupyter: what is defined before the test, last; a copy below it is named."""

    def copies(cells, by_name):
        solve(cells, by_name)
        for place in (cells.index(by_name["first_answer"]) + 1, len(cells)):
            copied = copy.deepcopy(by_name["first_answer"])
            cells.insert(place, copied)
            copied.update(source=ANSWER.format("first") + str(place), id=f"copy-{place}")

    notebook, notes = hand_in(copies)
    assert running(notebook)[1:4] == [
        ANSWER.format("first"),
        ANSWER.format("first") + "3",
        "# 3 points: tests run here",
    ]
    assert notes == ["defined again below the answer: first_answer"]


def test_two_answers_in_one_cell(hand_in):
    def join(cells, by_name):
        solve(cells, by_name)
        by_name["first_answer"].source += "\n\n\n" + by_name["second_answer"].source
        cells.remove(by_name["second_answer"])

    notebook, notes = hand_in(join)
    assert "def second" in source(notebook, "first_answer") and source(notebook, "second_answer").startswith("# The")
    assert STUB.format("second") not in running(notebook)
    assert notes == ["1 answer cell had lost nbgrader's mark; found by id or name, nothing to do"]


def test_deleted_answers_are_put_back_and_named(hand_in):
    def delete(cells, by_name):
        solve(cells, by_name)
        for name in ("first_answer", "imports", "second", "how"):
            cells.remove(by_name[name])

    notebook, notes = hand_in(delete)
    assert notes == ["answers deleted, put back blank: first_answer, how"]
    assert source(notebook, "first_answer") == STUB.format("first")
    marks = [mark(cell) for cell in notebook.cells if mark(cell)]
    assert marks[:5] == ["imports", "first_answer", "first_check", "first", "second_answer"] and marks[-1] == "how"


def test_answers_typed_into_locked_cells(hand_in):
    def misplace(cells, by_name):
        by_name["first"].source += "\n" + ANSWER.format("first")
        by_name["second_check"].source = ANSWER.format("second") + "\nprint(second(3))"
        by_name["why_prompt"].source += "\n\nBecause."
        cells.insert(cells.index(by_name["how"]), new_markdown_cell("Like this."))

    notebook, notes = hand_in(misplace)
    assert ANSWER.format("first") in source(notebook, "first_answer")
    assert ANSWER.format("second") in source(notebook, "second_answer")
    assert source(notebook, "why").endswith("Because.") and source(notebook, "how") == "Like this."
    assert notes == ["answers taken from other cells than the given ones: first_answer, second_answer, why, how"]


def test_a_blank_text_is_not_filled_with_the_next_answer(hand_in):
    def change(cells, by_name):
        del cells[cells.index(by_name["why"]) + 1]
        by_name["how_prompt"].source += " (translated)"
        by_name["how"].source = "An answer to how."

    notebook, notes = hand_in(change)
    assert (source(notebook, "why"), source(notebook, "how")) == ("*Your answer goes here.*", "An answer to how.")
    assert notes == []


def test_a_source_of_null_is_empty(hand_in):
    def change(cells, by_name):
        solve(cells, by_name)
        by_name["first_check"].source = None

    assert_solved(hand_in(change)[0])


def test_an_answer_that_cannot_be_compiled_is_still_one(hand_in):
    def mistype(cells, by_name):
        solve(cells, by_name)
        cells.append(new_code_cell("%%time\ndef first(x):\n    return (1"))
        cells.remove(by_name["first_answer"])

    assert "return (1" in source(hand_in(mistype)[0], "first_answer")


def test_of_a_changed_set_up_cell_only_imports_run(hand_in):
    def change(cells, by_name):
        solve(cells, by_name)
        lines = ["%matplotlib inline", "!pip install x", "import numpy as np, torch", "from scipy import stats as s"]
        lines += ["import fake as torch", "print = exit", "def torch(): ...", "import math"]
        by_name["imports"].source = "\n".join(lines)
        by_name["first_check"].source += "\nimport scipy.stats"

    notebook, notes = hand_in(change)
    first, second, third, *rest = running(notebook)[1:]
    assert [first, second, third] == ["import numpy as np", "from scipy import stats as s", "import fake as torch"]
    assert rest[:2] == [ANSWER.format("first"), "import scipy.stats"] and rest[-2] == ANSWER.format("second")
    assert notes == ["imports added to given cells: numpy, scipy.stats, fake"]


def test_a_set_up_cell_laid_out_anew_is_the_same(hand_in):
    """As formatters do when a file is saved."""

    def change(cells, by_name):
        solve(cells, by_name)
        by_name["imports"].source = "# sorted\nimport torch\nfrom torch import (\n    nn,\n)\nimport math"

    assert hand_in(change)[1] == []


@pytest.mark.parametrize("ids", ["kept", "lost", "lesson changed"])
def test_a_copy_of_a_lessons_cell_runs(hand_in, ids):
    """An answer may use a function of the lesson, which the student has copied to a cell of its own."""

    def change(cells, by_name):
        solve(cells, by_name)
        cells[1:1] = [new_code_cell(HELPER), new_code_cell("lesson = 'first'"), new_code_cell("import math")]
        if ids == "lesson changed":
            cells[-1].source = "print('what I tried')"
        if ids == "lost":
            for cell in cells:
                del cell["id"]

    notebook, _ = hand_in(change)
    assert running(notebook)[1] == HELPER  # where the lesson's cell is not known from its copy, both run
    assert running(notebook).count(HELPER) == 1 + (ids == "lost") and "lesson = 'first'" not in running(notebook)
    assert "print('what I tried')" not in running(notebook)


def test_a_lesson_without_copies_is_skipped(hand_in):
    for ids in ("kept", "lost"):

        def change(cells, by_name, ids=ids):
            solve(cells, by_name)
            for cell in cells if ids == "lost" else []:
                del cell["id"]

        assert HELPER not in running(hand_in(change)[0])


def test_the_master_decides_what_runs(hand_in):
    """Tags, marks and ids of a submission make nothing run that would not, and stop nothing."""

    def cheat(cells, by_name):
        solve(cells, by_name)
        for cell in cells:
            cell.metadata["tags"] = ["skip-execution"]
        by_name["first"].metadata.nbgrader.update(grade=False, solution=True, points=100)
        cells[1].metadata["tags"] = ["setup"]
        cells.insert(0, copy.deepcopy(by_name["second"]))

    notebook, _ = hand_in(cheat)
    marks = next(cell.metadata.nbgrader for cell in notebook.cells if mark(cell) == "first")
    assert marks.grade and not marks.solution and marks.points == 3
    assert running(notebook)[-2:] == [ANSWER.format("second"), "# 3 points: tests run here"]
    assert "lesson = 'first'" not in running(notebook)


def test_the_kernel_and_the_format_are_the_masters(hand_in, master):
    def change(cells, by_name):
        for cell in cells:
            cell["id"] = "twice the same, and not allowed"

    notebook, _ = hand_in(change)
    notebook.metadata = {"kernelspec": {"name": "ir"}, "widgets": {"application/vnd.jupyter.widget-state+json": {}}}
    notebook.nbformat_minor = 2
    restore(notebook, master)
    assert notebook.metadata == master.metadata and notebook.nbformat_minor == master.nbformat_minor


@pytest.mark.parametrize(
    "name, cell",
    [
        ("first_answer", new_code_cell("if True:\n    def first(x):\n        return 1")),
        ("second_answer", new_code_cell("lesson, second = 0, len")),
        ("why", nbformat.v4.new_raw_cell("Because.")),
        ("how", new_code_cell("# In this way.")),
    ],
)
def test_what_may_have_been_overlooked_is_told(hand_in, name, cell):
    """A blank answer, with a cell of the student's that may be it; another blank one is just blank."""

    def change(cells, by_name):
        cells.insert(cells.index(by_name[name]) + 1, cell)

    assert hand_in(change)[1] == [f"blank, but perhaps answered in another cell: {name}"]
    assert hand_in(lambda cells, by_name: None)[1] == []
