"""Grade FOLDER/<student>/<notebook>.ipynb: python teaching/grade.py FOLDER  (make grade SUBMISSIONS=FOLDER)

Every notebook is run by nbgrader in a process of its own, with limits on time and memory. Run it again as often as you
like: only new and changed work is graded again, points given by hand are kept, feedback and grades.csv are made anew.
"""

import ast
import csv
import multiprocessing
import os
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
from nbgrader.api import Gradebook, MissingEntry

from grade_one import grade_one
from release import COURSE, STEMS, nbgrader, prepare
from vae_lib.files import replacing

SECONDS = int(os.environ.get("VAE_CELL_SECONDS", 60))  # for a cell; five times that for a notebook
GIGABYTES = 4
ENVIRONMENT = {
    **os.environ,
    "VAE_PROFILE": "quick",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "VAE_CELL_SECONDS": str(SECONDS),
}
PROCESSES = multiprocessing.get_context("forkserver")  # each starts with nbgrader imported, once and for all
PROCESSES.set_forkserver_preload(["grade_one"])
DIED = f"The process died: a cell ended it, or it needed more than {GIGABYTES} GB of memory."
SLOW = "The notebook was stopped: a cell took too long and could not be interrupted."
REWIRES = {"get_ipython", "exec", "eval", "setattr", "globals", "__builtins__", "open"}
UNREADABLE = "The file that was handed in cannot be read as a notebook."


def collect(folder):
    """Copy what was handed in to course/submitted/, where it is new: {(student, notebook): the copy}.

    A folder for each student; below it, 01_theory.ipynb or, as browsers name a second download, 01_theory (1).ipynb.
    """
    found = {}
    for student in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        name = re.sub(r"[^\w.@ -]", "_", student.name)
        for stem in STEMS:
            files = [path for path in student.rglob(f"{stem}*.ipynb") if ".ipynb_checkpoints" not in path.parts]
            if files:
                latest = max(files, key=lambda path: path.stat().st_mtime)
                received = COURSE / "received" / name / f"{stem}.ipynb"
                found[name, stem] = COURSE / "submitted" / name / stem / f"{stem}.ipynb"
                if not received.exists() or received.read_bytes() != latest.read_bytes():
                    for copy in (found[name, stem], received):
                        copy.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(latest, copy)
    return found


def run_limited(student, stem, log, **environment):
    """Grade one notebook within the limits: None if it went well, otherwise what went wrong."""
    process = PROCESSES.Process(target=grade_one, args=(student, stem, log, GIGABYTES, ENVIRONMENT | environment))
    process.start()
    process.join(5 * SECONDS)
    if process.exitcode is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()  # the kernel
        process.kill()
        process.join()
        return SLOW
    return DIED if process.exitcode else None


def grade(student, stem, file):
    """Grade one notebook and write its feedback: what kept it from being run as it is, or "" if nothing did.

    After a crash it is graded without being run: no points for code, but written answers can still be read and marked.
    """
    log = COURSE / "logs" / f"{student} {stem}.log"
    log.parent.mkdir(exist_ok=True)
    problem = run_limited(student, stem, log)
    second = log.with_suffix(".second.log")
    if problem and run_limited(student, stem, second, VAE_GRADING_FAILED=problem):
        problem = UNREADABLE
        shutil.copyfile(COURSE / "release" / stem / file.name, file)
        run_limited(student, stem, second, VAE_GRADING_FAILED=problem)
    notes = [problem] * bool(problem) + [f"look at: {name}" for name in worth_a_look(stem, file)]
    log.with_suffix(".problem").write_text(", ".join(notes))
    return ", ".join(["graded", *notes])


def worth_a_look(stem, file):
    """What a student's own cells do that no answer needs and that could fool tests, such as ["torch.allclose ="]."""
    known = {cell.source for cell in nbformat.read(COURSE / "release" / stem / file.name, as_version=4).cells}
    found = set()
    for cell in nbformat.read(file, as_version=4).cells:
        if cell.cell_type == "code" and cell.source not in known:
            try:
                nodes = list(ast.walk(ast.parse(cell.source)))
            except SyntaxError:
                continue
            changed = {ast.unparse(node) for node in nodes if isinstance(getattr(node, "ctx", None), ast.Store)}
            found |= {f"{name} =" for name in changed if re.match(r"(?!self\b)\w+\.", name)}
            found |= {node.id for node in nodes if isinstance(node, ast.Name)} & REWIRES
    return sorted(found)


def is_graded(student, stem, file):
    """Whether the result is newer than what was handed in, and than the notebook it is compared with."""
    result = COURSE / "autograded" / student / stem / file.name
    inputs = (file, COURSE / "source" / stem / file.name)
    return result.exists() and result.stat().st_mtime >= max(path.stat().st_mtime for path in inputs)


def points():
    """A row for each student: {"student": ..., "<notebook> <exercise>": points, or "" if still open, "total": ...}."""
    with Gradebook(f"sqlite:///{COURSE / 'gradebook.db'}") as gradebook:
        for student in sorted(gradebook.students, key=lambda student: student.id):
            row, total = {"student": student.id}, 0
            for stem in STEMS:
                try:
                    submission = gradebook.find_submission_notebook(stem, stem, student.id)
                except MissingEntry:
                    continue
                for grade in submission.grades:
                    open_ = grade.needs_manual_grade and grade.manual_score is None
                    row[f"{stem} {grade.name}"] = "" if open_ else grade.score
                    total += 0 if open_ else grade.score
            yield row | {"total": total}


def write_csv(file):
    """A row for each student, a column for each exercise; a written answer that nobody has read yet is left empty."""
    rows = list(points())
    with Gradebook(f"sqlite:///{COURSE / 'gradebook.db'}") as gradebook:
        columns = {
            f"{stem} {cell.name}": f"{stem} {cell.name} ({cell.max_score:g})"
            for stem in STEMS
            for cell in gradebook.find_notebook(stem, stem).grade_cells
        }
    for row in rows:
        notes = {stem: COURSE / "logs" / f"{row['student']} {stem}.problem" for stem in STEMS}
        row["problems"] = " ".join(
            f"{stem}: {note.read_text()}" for stem, note in notes.items() if note.exists() and note.read_text()
        )
    header = {"student": "student", **columns, "total": "total", "problems": "problems"}
    with replacing(file) as temporary, temporary.open("w", newline="") as output:
        writer = csv.DictWriter(output, header)
        writer.writerows([header, *rows])
    return rows


def main(folder):
    if not folder.is_dir():
        sys.exit(f"There is no folder {folder}; it should hold a folder for each student, with the notebooks in it.")
    work = collect(folder)
    if not work:
        sys.exit(f"{folder} has no <student>/<notebook>.ipynb; the notebooks are {', '.join(STEMS)}.")
    prepare()
    new = [(*key, file) for key, file in work.items() if not is_graded(*key, file)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (student, stem, _), outcome in zip(new, pool.map(lambda item: grade(*item), new)):
            print(f"{student} {stem}: {outcome}", flush=True)
    for student, stem in work.keys() - {(student, stem) for student, stem, _ in new}:
        nbgrader().generate_feedback(stem, student, force=True)  # it may have been marked by hand since
    rows = write_csv(COURSE / "grades.csv")
    print(f"{len(new)} notebooks graded, {len(work) - len(new)} had been before; {len(rows)} students")
    print(f"points: {COURSE / 'grades.csv'}  feedback: {COURSE / 'feedback'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Say where the submissions are: make grade SUBMISSIONS=folder")
    main(Path(sys.argv[1]))
