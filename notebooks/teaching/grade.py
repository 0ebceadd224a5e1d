"""Grade what was handed in: python notebooks/teaching/grade.py FOLDER  (make grade SUBMISSIONS=FOLDER)

Every notebook is run by nbgrader in a process of its own, with limits on time and memory. Run it again as often as you
like: only new and changed work is graded, points given by hand are kept and shown in the feedback, and grades.csv is
made anew.
"""

import ast
import builtins
import csv
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from multiprocessing.connection import wait as wait_for
from pathlib import Path

import joblib
import nbformat
import psutil
from nbgrader import utils
from nbgrader.api import Gradebook, MissingEntry

from grade_one import NO_PAGE, grade_one
from installs import asked_for, no_installs
from preprocessors import is_unread, names
from release import COURSE, RULES, STEMS, heeded, nbgrader, prepare
from restore import NO_CODE, imports, is_the_students, parsed, restore
from submissions import collect
from vae_lib.storage.files import replacing

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
PROCESSES.set_forkserver_preload(["nbgrader.apps"])  # not grade_one: the server knows only what is installed
DIED = f"The process died: a cell ended it, or it needed more than {GIGABYTES} GB of memory."
STUCK = f"A cell went on after {SECONDS} seconds, although it was interrupted."
SLOW = f"The notebook was stopped after {5 * SECONDS} seconds."
FAILED = "nbgrader could not grade this notebook; the instructor finds the reason in course/logs."
PAGELESS = "it has no page in course/feedback, grade its folder again"
UNFINISHED = "it is not graded as it stands now, grade its folder again"
UNREADABLE = "The file that was handed in cannot be read as a notebook."
REWIRES = {"get_ipython", "exec", "eval", "setattr", "globals", "open", "__builtins__", "__import__"}
STOPPED = {"CellTimeoutError", "KeyboardInterrupt"}
SWITCHES = {"set_default_dtype", "set_default_device", "set_grad_enabled"}  # of torch, for all code that follows
STARTING, STOPPING = threading.Lock(), threading.Event()  # set by Ctrl-C: nothing is started any more


def log_of(student, stem, kind):
    """Where something is kept of a notebook: the file course/logs/<student> <notebook>.<kind>."""
    return COURSE / "logs" / f"{student} {stem}.{kind}"


def page_of(student, stem):
    """Where the feedback of a notebook is, or would be."""
    return COURSE / "feedback" / student / stem / f"{stem}.html"


def run_limited(student, stem, log, **environment):
    """Grade one notebook within the limits: None if it went well, otherwise what went wrong. InterruptedError after a
    Ctrl-C, which says nothing of the notebook."""
    process = PROCESSES.Process(target=grade_one, args=(student, stem, log, GIGABYTES, ENVIRONMENT | environment))
    with STARTING:
        if STOPPING.is_set():
            raise InterruptedError
        process.start()
    wait_for([process.sentinel], 5 * SECONDS)
    with STARTING:  # a start looks at all processes, too; of two looks at once, one loses the exit code
        process.join(0)
        exitcode = process.exitcode
    if STOPPING.is_set():
        raise InterruptedError
    if exitcode is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()  # the kernel
        process.kill()
        process.join()
        return SLOW
    if exitcode == NO_PAGE:
        return None  # points() will see that there is no page
    said = log.read_text(errors="replace") if log.exists() else ""
    if exitcode < 0 or "DeadKernelError" in said:
        return DIED
    if exitcode:
        return STUCK if "CellTimeoutError: A cell timed out" in said else FAILED
    return None


def grade(student, stem, file):
    """Grade one notebook and write its feedback, and note what went wrong or is worth a look.

    After a crash it is graded without being run: no points for code, but written answers can still be read and marked.
    """
    log, installs, noted, changes = (log_of(student, stem, kind) for kind in ("log", "installs", "notes", "changes"))
    for old in (log, installs, noted, page_of(student, stem)):
        old.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(COURSE / "received" / student / file.name, file)
    try:
        notes = notes_before(stem, file)
    except Exception:  # whatever a broken file makes of the reader
        notes, problem = [], UNREADABLE
        shutil.copyfile(COURSE / "release" / stem / file.name, file)
    else:
        problem = run_limited(student, stem, log, VAE_INSTALLS=str(installs))
    if problem and run_limited(student, stem, log.with_suffix(".second.log"), VAE_GRADING_FAILED=problem):
        problem = FAILED
    notes = [problem, *notes] if problem else notes
    if asked := asked_for(installs):
        notes.append(f"not installed: {', '.join(asked)}")
    result = COURSE / "autograded" / student / stem / file.name
    notes += notes_after(nbformat.read(result, as_version=4)) if result.exists() else []
    notes += json.loads(changes.read_text()) if changes.exists() else []
    noted.write_text("; ".join(notes))  # without it, the notebook is graded again
    changes.unlink(missing_ok=True)
    print(f"{student} {stem}: {'; '.join(['graded', *notes])}", flush=True)


def notes_before(stem, file):
    """What is to be said of a submission before it has run."""
    master = nbformat.read(COURSE / "release" / stem / file.name, as_version=4)
    notebook = nbformat.read(file, as_version=4)
    notes = restore(notebook, master)
    found = worth_a_look(notebook, master)
    return notes + [f"look at: {', '.join(found)}"] * bool(found)


def worth_a_look(notebook, master):
    """What the student's own cells of a restored submission do that no answer needs and that could fool tests, or spoil
    them by accident, such as ["torch.allclose ="]."""
    setup = [cell for cell in master.cells if "setup" in cell.metadata.get("tags", [])]
    made_by_us = set().union(*(names(compile(cell.source, cell.id, "exec"))[1] for cell in setup))
    bound_by_us = {what[:2] for cell in setup for what in imports(cell).values()}
    found = set()
    for cell in filter(is_the_students, notebook.cells):
        try:
            tree = parsed(cell.source)
            nodes = list(ast.walk(tree))
            stored = [ast.unparse(node) for node in nodes if isinstance(getattr(node, "ctx", None), ast.Store)]
            _, made = names(compile(tree, cell.id, "exec"))
        except NO_CODE as error:
            found.add(f"a cell that cannot be read ({type(error).__name__})")
            continue
        bound = {what[:2] for what in imports(cell).values()}
        again = {name for name, _ in bound & bound_by_us} - {name for name, _ in bound - bound_by_us} - set(stored)
        found |= {f"{name} =" for name in made & (made_by_us | set(dir(builtins))) - again}
        found |= {f"{name} =" for name in stored if name.partition(".")[0] in made_by_us | {"sys"} and "." in name}
        rewires = REWIRES if "get_ipython" in cell.source else REWIRES - {"get_ipython"}  # magics are calls of it
        found |= {node.id for node in nodes if isinstance(node, ast.Name)} & rewires
        found |= {name for name in stored if name.endswith("__code__")}
        found |= {"vae_lib.grading"} & {what[1][:15] for what in imports(cell).values()}
        found |= {node.attr for node in nodes if isinstance(node, ast.Attribute)} & SWITCHES
        found |= {f"from {what[1]}" for what in imports(cell).values() if what[0] == "*"}
    return sorted(found)


def notes_after(notebook):
    """What is to be said of a submission that has run: what it did not find, and so may have lost points by."""
    missing = []
    for cell in notebook.cells:
        kinds = {"ImportError", "ModuleNotFoundError"} | ({"NameError"} if utils.is_grade(cell) else set())
        for output in cell.get("outputs", []):
            said = f"{output.ename}: {output.evalue}" if output.output_type == "error" else ""
            if any(kind in said for kind in STOPPED):
                missing.append(f"a cell was stopped after {SECONDS} seconds")
            elif kind := next((kind for kind in kinds if f"{kind}:" in said), None):
                missing.append(said[said.index(f"{kind}:") :][:120])
    return list(dict.fromkeys(missing))[:5]


def is_finished(student, stem):
    """Whether a grading of the notebook came to its end, also if it is not of the work as it stands now."""
    noted = log_of(student, stem, "notes")
    return noted.exists() and not noted.read_text().startswith(FAILED)


def is_graded(student, stem):
    """Whether the result is whole, and newer than what was handed in, the notebook it is compared with, and RULES."""
    name, noted = f"{stem}.ipynb", log_of(student, stem, "notes")
    result = COURSE / "autograded" / student / stem / name
    if not (result.exists() and is_finished(student, stem)):
        return False
    received, source = COURSE / "received" / student / name, COURSE / "source" / stem / name
    inputs = [path.stat().st_mtime for path in (received, source, COURSE / RULES) if path.exists()]
    return min(path.stat().st_mtime for path in (result, noted)) >= max(inputs)


def marks_of(gradebook, student, stem):
    """All points and comments of a notebook, which may have been given by hand, as a text; "" if it has none."""
    try:
        notebook = gradebook.find_submission_notebook(stem, stem, student)
    except MissingEntry:
        return ""
    points = [(grade.name, grade.score, grade.extra_credit, is_unread(grade)) for grade in notebook.grades]
    return repr(sorted(points) + sorted((comment.name, comment.comment) for comment in notebook.comments))


def all_marks(keys):
    """{(student, notebook): its marks}, of those that the gradebook knows."""
    with Gradebook(f"sqlite:///{COURSE / 'gradebook.db'}") as gradebook:  # closed before nbgrader opens it
        return {key: marks for key in keys if (marks := marks_of(gradebook, *key))}


def renew_feedback(new):
    """Write the pages again of all that was graded before, in whatever folder, and has other marks now; note which
    marks all pages show."""
    graded = sorted((path.parts[-3], path.stem) for path in (COURSE / "autograded").glob("*/*/*.ipynb"))
    for (student, stem), marks in all_marks(key for key in graded if is_finished(*key)).items():
        noted = log_of(student, stem, "marks")
        shown = page_of(student, stem).exists() and noted.exists() and noted.read_text() == marks
        if (student, stem) not in new and not shown:
            done = heeded(nbgrader().generate_feedback(stem, student, force=True))
            log_of(student, stem, "page.log").write_text(str(done.get("log")))
        noted.write_text(marks)


def write_csv(file, notes):
    """A row for each student, a column for each exercise. Empty: not handed in; "open": nobody has read it yet.

    notes: {student: what to say of the folder}.
    """
    with Gradebook(f"sqlite:///{COURSE / 'gradebook.db'}") as gradebook, replacing(file) as temporary:
        cells = {(stem, cell.name): cell for stem in STEMS for cell in gradebook.find_notebook(stem, stem).grade_cells}
        header = {key: f"{key[0]} {key[1]} ({cell.max_score:g})" for key, cell in cells.items()}
        header = {"student": "student", **header, "total": "total", "problems": "problems"}
        received = {path.name for path in (COURSE / "received").glob("*")}
        students = sorted(notes.keys() | received | {student.id for student in gradebook.students})
        with temporary.open("w", newline="") as output:
            rows = (points(gradebook, student, notes.get(student, [])) for student in students)
            csv.DictWriter(output, header).writerows([header, *rows])


def said_of(student, stem):
    """What the table says of a notebook: the notes of its grading, or that they are not of the work as it stands."""
    noted = log_of(student, stem, "notes")
    text = noted.read_text() if noted.exists() else ""
    if text.startswith(FAILED):
        return text
    if not is_graded(student, stem):
        return UNFINISHED
    return "; ".join(filter(None, [text, "" if page_of(student, stem).exists() else PAGELESS]))


def points(gradebook, student, notes):
    """A student's row: {(notebook, exercise): points or "open", "student", "total", "problems"}."""
    row, problems = {"student": student, "total": 0}, list(notes)
    for stem in STEMS:
        try:
            submission = gradebook.find_submission_notebook(stem, stem, student)
        except MissingEntry:
            if (COURSE / "received" / student / f"{stem}.ipynb").exists():
                problems.append(f"{stem}: {UNFINISHED}")
            continue
        problems += [f"{stem}: {text}"] if (text := said_of(student, stem)) else []
        for grade in submission.grades:
            is_open = is_unread(grade)
            row[stem, grade.name] = "open" if is_open else grade.score
            row["total"] += 0 if is_open else grade.score
            if grade.needs_manual_grade and not is_open:
                problems.append(
                    f"{stem}: the answer of {grade.name}, or its points, may have changed since it was marked"
                )
    return row | {"problems": "; ".join(problems)}


def at_once(limit=Path("/sys/fs/cgroup/memory.max")):
    """How many notebooks are graded at once: by the cores and the memory that this process has, in a container its."""
    memory = psutil.virtual_memory().total
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        memory = min(memory, int(text))
    return max(1, min(joblib.cpu_count(), memory // (GIGABYTES * 2**30)))


def stop(pool):
    """After a Ctrl-C: end what runs, and note nothing of it."""
    for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a second Ctrl-C would leave the rest running
        signal.signal(kind, signal.SIG_IGN)
    STOPPING.set()
    pool.shutdown(wait=False, cancel_futures=True)
    with STARTING:  # what was being started has started
        pass
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()


def remembered(folder, notes):
    """The notes on the students of this folder, and of each other student those of the last folder they were in; not
    of those who were in this one and are no more."""
    file = COURSE / "logs" / "students.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    before = {student: said for student, said in before.items() if said["folder"] != str(folder)}
    now = before | {student: {"folder": str(folder), "notes": said} for student, said in notes.items()}
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(now))
    return {student: said["notes"] for student, said in now.items()}


def main(folder):
    if not folder.exists():
        sys.exit(f"There is no folder {folder}; it should hold a folder for each student, with the notebooks in it.")
    warnings.simplefilter("ignore")  # of Python and nbformat, about what students wrote
    work, notes = collect(folder, COURSE)
    if not work:
        sys.exit(f"{folder} has no notebook of a student; the notebooks are {', '.join(STEMS)}.")
    prepare()
    ENVIRONMENT.update(no_installs(COURSE / "no_installs", ENVIRONMENT))
    known = all_marks(work)
    new = [(*key, file) for key, file in work.items() if not (key in known and is_graded(*key))]
    write_table = partial(write_csv, COURSE / "grades.csv", remembered(folder.resolve(), notes))
    write_table()  # should this run be killed, it tells what is not graded yet
    for kind in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C, unless nohup ignores it
        if signal.getsignal(kind) != signal.SIG_IGN:
            signal.signal(kind, signal.default_int_handler)
    jobs = {}
    with ThreadPoolExecutor(at_once()) as pool:
        try:
            jobs |= {pool.submit(grade, *item): item for item in new}
            wait(jobs)
        except KeyboardInterrupt:
            stop(pool)
    for job, (student, stem, _) in jobs.items():
        if not STOPPING.is_set() and job.exception():
            notes[student].append(f"{stem}: {FAILED} ({job.exception()})")
    write_table()
    if STOPPING.is_set():
        raise KeyboardInterrupt
    renew_feedback({(student, stem) for student, stem, _ in new})
    write_table()
    for student, said in notes.items():
        print(*(f"{student}: {note}" for note in said), sep="\n", end="\n" if said else "")
    print(f"{len(new)} notebooks graded, {len(work) - len(new)} had been before; {len(notes)} students")
    print(f"points: {COURSE / 'grades.csv'}  feedback: {COURSE / 'feedback'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Say where the submissions are: make grade SUBMISSIONS=folder")
    try:
        main(Path(sys.argv[1]).expanduser())
    except KeyboardInterrupt:
        sys.exit("Stopped; what is graded stays, and the same command goes on from here.")
