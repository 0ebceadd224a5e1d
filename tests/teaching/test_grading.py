"""From the students' version to grades: the whole way, with honest, empty-handed, cheating and hostile students."""

import copy
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import nbformat
import pytest

from processes import heed_ctrl_c
from vae_lib import settings

pytest.importorskip("nbgrader", reason="needs pip install -e .[grading]")
if sys.platform == "win32":
    pytest.skip("grading is for Linux and macOS", allow_module_level=True)
from nbgrader.api import Gradebook

TEACHING = settings.REPOSITORY / "notebooks" / "teaching"
NOTEBOOKS = sorted((settings.REPOSITORY / "notebooks").glob("*.ipynb"))
REGION = re.compile(r"[^\n]*BEGIN (SOLUTION|HIDDEN TESTS).*?END \1[^\n]*", re.DOTALL)
STEM = "01_theory"
EXERCISES = ("kl_divergence", "monte_carlo_elbo", "reparameterize")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return tmp_path_factory.mktemp("course of é and ü")


def start_of(course, script, *arguments):
    """A script's command and environment."""
    environment = {**os.environ, "VAE_COURSE_DIR": str(course / "course"), "VAE_CELL_SECONDS": "15"}
    return [sys.executable, str(TEACHING / script), *map(str, arguments)], environment


def run(course, script, *arguments):
    command, environment = start_of(course, script, *arguments)
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def released(course):
    done = run(course, "release.py", course / "release")
    assert done.returncode == 0, done.stderr
    return course / "release"


def graded_cells(notebook):
    return {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if "nbgrader" in cell.metadata}


def hand_in(course, released, student, change, added=(), with_ids=True):
    """The students' version of the notebook, after change(its cells by grade_id), with cells added at the end, in a
    student's folder."""
    notebook = nbformat.read(released / "notebooks" / f"{STEM}.ipynb", as_version=4)
    change(graded_cells(notebook))
    notebook.cells += map(nbformat.v4.new_code_cell, added)
    folder = course / "submissions" / student
    folder.mkdir(parents=True, exist_ok=True)
    if not with_ids:  # as Colab and older Jupyters save it
        notebook.nbformat_minor = 4
        for cell in notebook.cells:
            del cell["id"]
    nbformat.write(notebook, folder / f"Copy of {STEM}.ipynb")


def solve(**instead):
    """A change that fills in our solutions, or other answers."""
    solutions = graded_cells(nbformat.read(settings.REPOSITORY / "notebooks" / f"{STEM}.ipynb", as_version=4))

    def change(cells):
        for grade_id, cell in cells.items():
            if cell.metadata.nbgrader.solution:
                cell.source = instead.get(grade_id, solutions[grade_id].source)

    return change


def edit_the_tests(cells):
    """Tests replaced, skipped, worth more, or no tests any more, and no answer."""
    for cell in cells.values():
        if cell.cell_type == "code" and not cell.metadata.nbgrader.solution:
            cell.source, cell.metadata.tags = "print('all right')", ["skip-execution"]
    cells["kl_divergence"].metadata.nbgrader.points = 100
    cells["reparameterize"].metadata.nbgrader.grade = False
    cells["monte_carlo_elbo"].metadata.nbgrader.solution = True
    cells["imports"].source = "class AnyNumber: ..."
    cells["reparameterize_answer"].source = "def reparameterize(mu, logvar):\n    import sys\n    sys.displayhook(3)"


def hasty(cells):
    """All solved, but one answer was typed again at the end, one has lost its mark, and imports were added."""
    blank = cells["kl_divergence_answer"].source
    solve(kl_divergence_answer=blank)(cells)
    cells["reparameterize_answer"].metadata = {}
    cells["imports"].source = f"import numpy as np\nimport not_installed_here\n{cells['imports'].source}"
    cells["question_1"].source += "\n![copied without its picture](attachment:plot.png)"


AT_THE_END = (
    "!pip install no-such-package-of-this-lab\n%pip uninstall -y no-such-package-of-this-lab",
    "half = np.float32(0.5)",
    "def kl_divergence(mu, logvar):\n    return half.item() * (mu**2 + logvar.exp() - 1 - logvar).sum(dim=1)",
)
CHATTY = """def reparameterize(mu, logvar):
    import sys
    print("a right answer may talk", file=sys.stderr)
    return mu + torch.randn(mu.shape) * logvar.exp().sqrt()"""
HANGS = """def kl_divergence(mu, logvar):
    import time
    while len(mu) == 5:  # in the (5, 1) of the hidden test
        time.sleep(0.1)
    return (mu**2 + logvar.exp() - 1 - logvar).sum(dim=1) / 2"""
EATS = "def monte_carlo_elbo(x, m, s, n):\n    all = []\n    while True:\n        all.append(torch.empty(50_000_000))"
EXITS = "def kl_divergence(mu, logvar):\n    import os\n    os._exit(0)"
REWIRES = "torch.allclose = lambda *numbers, **tolerances: True\nreparameterize = vae_lib.reparameterize"


@pytest.fixture(scope="module")
def grades(course, released):
    """Everybody's row of grades.csv."""
    hand_in(course, released, "solver", solve(reparameterize_answer=CHATTY), with_ids=False)
    hand_in(course, released, "hasty", hasty, AT_THE_END, with_ids=False)
    hand_in(course, released, "cheat", edit_the_tests)
    hand_in(course, released, "avid", solve(kl_divergence_answer=HANGS, monte_carlo_elbo_answer=EATS))
    hand_in(course, released, "exits", solve(kl_divergence_answer=EXITS, reparameterize_answer=REWIRES))
    (course / "submissions" / "broken").mkdir()
    (course / "submissions" / "broken" / f"{STEM} (1).ipynb").write_text('{"cells": [')
    said = interrupt(course)
    assert "the same command goes on" in said and not list((course / "course" / "logs").glob("*.notes"))
    for row in read_grades(course).values():
        assert row["problems"] == f"{STEM}: it is not graded as it stands now, grade its folder again"
    done = run(course, "grade.py", course / "submissions")
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return read_grades(course)


def interrupt(course):
    """Ctrl-C while the first notebooks are graded: what grade.py says to it."""
    command, environment = start_of(course, "grade.py", course / "submissions")
    options = {"start_new_session": True, "preexec_fn": heed_ctrl_c, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, **options) as process:
        while process.poll() is None and not list((course / "course" / "logs").glob("*.log")):
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        return process.communicate()[1]


def read_grades(course):
    with (course / "course" / "grades.csv").open(newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def parts(text):
    """The lines of a text that say something."""
    return {line.strip() for line in text.splitlines() if len(line.strip()) > 10}


def test_nothing_of_the_solutions_is_released(released):
    """Every line of every solution, model answer, mark scheme and hidden test is looked for in every released file."""
    secret, public = set(), set()
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            secret |= set().union(*(parts(match.group()) for match in REGION.finditer(cell.source)))
            public |= parts(REGION.sub("", cell.source))
    assert len(secret) > 300 and "return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)" in secret
    binary = {".safetensors", ".png", ".jpg"}
    texts = [path for path in released.rglob("*") if path.is_file() and path.suffix not in binary]
    assert len(texts) > 30
    for path in texts:
        text = path.read_text()
        if path.suffix == ".ipynb":
            text = "\n".join(cell.source for cell in nbformat.reads(text, as_version=4).cells)
        assert not [line for line in secret - public if line in text], path
        assert "BEGIN" not in text


def test_the_release_is_what_students_need_and_no_more(released):
    files = {path.relative_to(released).as_posix() for path in released.rglob("*") if path.is_file()}
    assert {path.partition("/")[0] for path in files} == {
        *("notebooks", "vae_lib", "data", "README.md", "requirements.txt", "pyproject.toml", "setup.py", "LICENSE")
    }
    assert {path for path in files if path.startswith("notebooks/")} == {f"notebooks/{path.name}" for path in NOTEBOOKS}
    library = settings.REPOSITORY / "vae_lib"
    modules = {f"vae_lib/{path.relative_to(library).as_posix()}" for path in library.rglob("*.py")}
    assert {"vae_lib/data/__init__.py", "vae_lib/cli/parser.py", "vae_lib/README.md"} < files and modules <= files
    assert {"data/sample/README.md", "data/sample/mnist/test.png", "data/sample/faces/london/001_neutral.jpg"} < files


def test_links_of_released_readmes_resolve(released):
    for readme in released.rglob("*.md"):
        for link in re.findall(r"\]\(([^)#:\s]+)[#)]", readme.read_text()):
            assert (readme.parent / link).exists(), (readme, link)


def test_the_release_has_blanks_and_no_outputs(released):
    stubs = 0
    for path in NOTEBOOKS:
        notebook = nbformat.read(released / "notebooks" / path.name, as_version=4)
        nbformat.validate(notebook)
        assert "vae_lab" not in notebook.metadata
        for cell in notebook.cells:
            assert not cell.get("outputs") and cell.get("execution_count") is None
            stubs += cell.source.count("raise NotImplementedError(") + (cell.source == "*Your answer goes here.*")
    assert stubs == 23 + 8


def test_the_release_brings_a_library_that_works(released):
    code = "import vae_lib; print(vae_lib.__file__); print(len(vae_lib.load_pretrained('mnist-vae-z20')[0].sample(3)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=released, capture_output=True, text=True)
    assert done.stdout.splitlines() == [str(released / "vae_lib" / "__init__.py"), "3"], done.stderr


def test_cells_that_need_an_answer_do_not_stop_the_others(released):
    """Without answers, the cells that fail are those with the tag that lets "Run All" go on; names are followed."""
    for path in NOTEBOOKS:
        cells = nbformat.read(released / "notebooks" / path.name, as_version=4).cells
        tagged = {cell.id for cell in cells if "raises-exception" in cell.metadata.get("tags", [])}
        checks = {cell.id for cell in cells if "_check" in cell.metadata.get("nbgrader", {}).get("grade_id", "")}
        answers = [
            cell for cell in cells if cell.metadata.get("nbgrader", {}).get("solution") and cell.cell_type == "code"
        ]
        assert checks <= tagged and len(tagged) <= len(checks) + 4 * len(answers) + 3


def points(row):
    return [float(row[f"{STEM} {name} (3)"]) for name in EXERCISES]


def test_full_points_zero_and_zero(grades):
    assert points(grades["solver"]) == points(grades["hasty"]) == [3, 3, 3]
    assert points(grades["cheat"]) == [0, 0, 0]
    questions = [name for name in grades["solver"] if "question" in name]
    assert [grades["solver"][name] for name in questions] == ["open"] * 4 + [""] * 4  # until a human has read them
    assert [float(grades["cheat"][name] or 0) for name in questions] == [0] * 8
    assert grades["solver"]["02_latent_dimension iwae_bound (3)"] == ""  # not handed in


def test_what_an_honest_student_did_in_haste_costs_nothing_and_is_told(grades):
    package = "no-such-package-of-this-lab"
    assert grades["hasty"]["problems"].removeprefix(f"{STEM}: ").split("; ") == [
        "1 answer cell had lost nbgrader's mark",
        "found by id or name, nothing to do",
        "answers taken from other cells than the given ones: kl_divergence_answer",
        "imports added to given cells: numpy, not_installed_here",
        f"not installed: pip install {package}, pip uninstall -y {package}",
        "ModuleNotFoundError: No module named 'not_installed_here'",
    ]


def test_hostile_work_costs_only_itself(grades):
    assert points(grades["avid"]) == [0, 0, 3]
    assert points(grades["exits"]) == points(grades["broken"]) == [0, 0, 0]
    assert grades["exits"][f"{STEM} question_1 (10)"] == "open"  # can still be read
    assert "The process died" in grades["exits"]["problems"] and "cannot be read" in grades["broken"]["problems"]
    assert "look at: torch.allclose =" in grades["exits"]["problems"]
    assert not grades["solver"]["problems"]


def test_everybody_gets_feedback_that_keeps_the_tests_secret(course, grades):
    pages = {}
    for student in grades:
        (file,) = (course / "course" / "feedback" / student).rglob("*.html")
        pages[student] = file.read_text()
        assert "HIDDEN TESTS" not in pages[student] and "fork_rng" not in pages[student]
    assert pages["solver"].count("Score: 3.0 / 3.0") == 2 * 3  # in the overview, and at the cell
    assert "NotImplementedError: your answer goes here" in pages["cheat"]
    assert f"<h4>{STEM}: 4 answers not read yet (Score: 9.0 / 9.0)</h4>" in pages["solver"]
    assert pages["solver"].count("Not read yet.") == 4 and "0.0 / 10.0" not in pages["solver"]
    assert pages["cheat"].count("Score: 0.0 / 10.0") == 2 * 4  # blank is no answer to be read
    assert "The process died" in pages["exits"]


def test_points_given_by_hand_are_kept(course, grades):
    """They join the page they belong to, whoever is in the folder that is graded now; the other pages are not written
    again, and what the table said of the others stays."""
    pages = {page: page.stat().st_mtime_ns for page in (course / "course" / "feedback").glob("*/*/*.html")}
    with Gradebook(f"sqlite:///{course / 'course' / 'gradebook.db'}") as gradebook:
        grade = gradebook.find_grade("question_1", STEM, STEM, "solver")
        grade.manual_score, grade.needs_manual_grade = 7, False
        gradebook.db.commit()
    (course / "late" / "broken").mkdir(parents=True)
    (course / "late" / "broken" / f"{STEM}.ipynb").write_text('{"cells": [')
    done = run(course, "grade.py", course / "late")
    assert "\n0 notebooks graded, 1 had been before" in f"\n{done.stdout}", done.stdout + done.stderr
    rows = read_grades(course)
    assert {name: row["problems"] for name, row in rows.items()} == {name: grades[name]["problems"] for name in grades}
    row = rows["solver"]
    assert (float(row[f"{STEM} question_1 (10)"]), float(row["total"])) == (7, 16)
    page = course / "course" / "feedback" / "solver" / STEM / f"{STEM}.html"
    assert page.read_text().count("Score: 7.0 / 10.0") == 2
    assert "3 answers not read yet (Score: 16.0 / 19.0)" in page.read_text()
    assert len(pages) == 6 and {old for old, time in pages.items() if old.stat().st_mtime_ns != time} == {page}


@pytest.fixture
def grade(monkeypatch, tmp_path):
    """The module, with a course of its own."""
    monkeypatch.syspath_prepend(TEACHING)
    import grade

    monkeypatch.setattr(grade, "COURSE", tmp_path / "course")
    return grade


def test_a_container_grades_no_more_at_once_than_it_has_memory_for(grade, tmp_path, monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 64)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=256 * 2**30))
    limit = tmp_path / "memory.max"
    assert grade.at_once(limit) == 64
    for text, workers in (("max\n", 64), (f"{8 * 2**30}\n", 2), ("1000\n", 1)):
        limit.write_text(text)
        assert grade.at_once(limit) == workers


def test_wrong_folders_get_a_sentence(grade, tmp_path):
    with pytest.raises(SystemExit, match="There is no folder"):
        grade.main(tmp_path / "nowhere")
    with pytest.raises(SystemExit, match="has no notebook of a student"):
        grade.main(tmp_path)


@pytest.mark.parametrize(
    "source, said",
    [
        ("torch.allclose = print", ["torch.allclose ="]),
        ("%matplotlib inline\ntorch.allclose = print", ["torch.allclose ="]),
        ("import sys\nsys.displayhook = print", ["sys.displayhook ="]),
        ("def prior(): ...", ["prior ="]),
        ("x = " + 5_000 * "-" + "1", ["a cell that cannot be read"]),
        ("y.grad = None\nmeans[2] = 1\ndef f(x):\n    prior = x\n    x.grad = 1", ["x.grad ="]),
        ("import torch, vae_lib.metrics\nfrom torch import nn, optim\nimport torch.nn.functional as F", []),
        ("import fake as torch", ["torch ="]),
        ("from torch import nn\nnn = 3", ["nn ="]),
        ("import torch\nfrom fake import kl_divergence as torch_kl, torch", ["torch =", "torch_kl ="]),
        ("from fake import *", ["from fake.*"]),
        ("get_ipython().kernel", ["get_ipython"]),
        ("def f(x): ...\nf.__code__ = vae_lib.reparameterize.__code__", ["f.__code__"]),
        ("from vae_lib import grading", ["vae_lib.grading"]),
        ("import vae_lib.grading as g", ["vae_lib.grading"]),
        ("sum = 0\ntorch.set_default_dtype(torch.float64)", ["set_default_dtype", "sum ="]),
    ],
)
def test_what_is_worth_a_look(grade, released, source, said):
    master = nbformat.read(released / "notebooks" / f"{STEM}.ipynb", as_version=4)
    notebook = copy.deepcopy(master)
    graded_cells(notebook)["kl_divergence_answer"].source = source
    grade.restore(notebook, master)
    found = grade.worth_a_look(notebook, master)
    assert len(found) == len(said) and all(name.startswith(start) for name, start in zip(found, said)), found


def test_released_metadata_is_of_nbgraders_kind(released):
    for path in NOTEBOOKS:
        cells = json.loads((released / "notebooks" / path.name).read_text())["cells"]
        marks = [cell["metadata"]["nbgrader"] for cell in cells if "nbgrader" in cell["metadata"]]
        assert len({mark["grade_id"] for mark in marks}) == len(marks)
        assert all(mark["points"] > 0 for mark in marks if mark["grade"])
