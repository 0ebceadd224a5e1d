#!/usr/bin/env bash
# Guess: nbgrader asks for a mark of a written answer until somebody has given one, and again when the answer changes.
# Seen:  it asks again after every autograding, although the answer is the same to the letter: a corrected test, or
# another exercise that was handed in anew, puts all marked texts of the class back among those to be read.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nbgrader==0.9.6 ipykernel==7.4.0 \
  >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
mkdir -p "$folder/course/source/one"
cat >"$folder/grade.py" <<'END'
import os
import sys
from importlib.metadata import version

import nbformat
from nbformat.v4 import new_markdown_cell, new_notebook
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from traitlets.config import Config

course = sys.argv[1]
marks = {"schema_version": 3, "grade_id": "essay", "points": 5, "grade": True, "solution": True, "locked": False}
marks["task"] = False
answer = new_markdown_cell("### BEGIN SOLUTION\nours\n### END SOLUTION", metadata={"nbgrader": marks})
kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
nbformat.write(new_notebook(cells=[answer], metadata={"kernelspec": kernel}), f"{course}/source/one/one.ipynb")
nbgrader = NbGraderAPI(config=Config(CourseDirectory={"root": course}))


def run(done):
    if not done["success"]:
        sys.exit(done["log"])


run(nbgrader.generate_assignment("one"))
handed_in = nbformat.read(f"{course}/release/one/one.ipynb", as_version=4)
handed_in.cells[0].source = "an answer that nobody touches again"
os.makedirs(f"{course}/submitted/ada/one")
nbformat.write(handed_in, f"{course}/submitted/ada/one/one.ipynb")

waiting = []
for _ in range(2):
    run(nbgrader.autograde("one", "ada", force=True))
    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        grade = gradebook.find_grade("essay", "one", "one", "ada")
        waiting.append(grade.needs_manual_grade)
        grade.manual_score, grade.needs_manual_grade = 4, False
        gradebook.db.commit()
print(f"nbgrader {version('nbgrader')}: to be marked after the first run {waiting[0]}, after the second {waiting[1]}")
sys.exit(waiting != [True, True])
END
PATH="$folder/venv/bin:$PATH" "$folder/venv/bin/python" "$folder/grade.py" "$folder/course" 2>"$folder/errors" ||
  { cat "$folder/errors"; exit 1; }
