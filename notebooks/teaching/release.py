"""Write the students' version of the lab: make release, or python notebooks/teaching/release.py [new folder]"""

import os
import shutil
import sys
from pathlib import Path

import nbformat
from nbgrader.apps import NbGraderAPI
from traitlets.config.loader import PyFileConfigLoader

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
COURSE = Path(os.environ.get("VAE_COURSE_DIR", REPOSITORY / "course"))  # nbgrader's folder: gradebook, submissions
os.environ["PATH"] = (
    f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader looks for alembic there
)
RELEASE = REPOSITORY / "build" / "release"
STEMS = sorted(path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb"))  # each notebook is an assignment
RULES = "logs/grading.py"  # in the course: what the hidden tests hold answers to, as it was at the last grading
SHARED = ("vae_lib", "data/README.md", "data/sample", "data/pretrained", "LICENSE")
SHARED += ("requirements.txt", "pyproject.toml", "setup.py")


def nbgrader():
    """nbgrader with our settings: an object with its commands as methods, which return {"success": ..., "log": ...}."""
    return NbGraderAPI(config=PyFileConfigLoader("nbgrader_config.py", path=str(HERE)).load_config())


def prepare():
    """Give nbgrader the current notebooks: their cells in its gradebook, their students' version in course/release/;
    keep the rules of their tests."""
    rules, known = REPOSITORY / "vae_lib" / "grading.py", COURSE / RULES
    if not known.exists():
        known.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(rules, known)
        os.utime(known, (0, 0))  # nothing was graded by others
    elif known.read_bytes() != rules.read_bytes():
        shutil.copyfile(rules, known)
    for stem in STEMS:
        current = REPOSITORY / "notebooks" / f"{stem}.ipynb"
        known = COURSE / "source" / stem / current.name
        released = COURSE / "release" / stem / current.name
        if not released.exists() or cells(known) != cells(current):
            known.parent.mkdir(parents=True, exist_ok=True)
            released.unlink(missing_ok=True)  # until the new one is there: an interrupted run is repeated
            shutil.copyfile(current, known)
            done = heeded(nbgrader().generate_assignment(stem, force=True))
            if not done["success"]:
                sys.exit(
                    f"{done.get('log')}\nnbgrader could not make the students' version of {stem}, see above. (While "
                    "there are submissions, exercises may change, but graded cells must not come or go; start a new "
                    "course/ for that.)"
                )


def heeded(done):
    """What a command of nbgrader returned; KeyboardInterrupt if it was stopped by one, which nbgrader swallows."""
    if "KeyboardInterrupt" in done.get("error", ""):
        raise KeyboardInterrupt
    return done


def cells(path):
    """What a notebook asks for, without its outputs: rendering it again is no reason to grade again."""
    return [(cell.cell_type, cell.source, cell.metadata) for cell in nbformat.read(path, as_version=4).cells]


def release(target):
    """A folder with all that students get: notebooks with blanks, vae_lib, the weights, how to start."""
    if target != RELEASE and target.exists() and any(target.iterdir()):
        sys.exit(f"{target} is not empty; name a new folder, or delete it yourself.")
    prepare()
    shutil.rmtree(target, ignore_errors=True)
    (target / "notebooks").mkdir(parents=True)
    for stem in STEMS:
        shutil.copy(COURSE / "release" / stem / f"{stem}.ipynb", target / "notebooks")
    for name in SHARED:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, target / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(REPOSITORY / name, target / name)
    shutil.copy(HERE / "README_students.md", target / "README.md")
    print(f"{target}: {len(STEMS)} notebooks without solutions, and the library; hand out the whole folder")


if __name__ == "__main__":
    release(Path(sys.argv[1]) if len(sys.argv) > 1 else RELEASE)
