"""Find what students handed in, as it lies in folders."""

import re
import shutil
import sys

from release import STEMS


def collect(folder, course):
    """Copy what was handed in to course/submitted/, where it is new: {(student, notebook): the copy}, {student: notes}.

    A folder for each student; below it files with a notebook's name in theirs: 01_theory.ipynb, 01_theory (1).ipynb,
    Copy of 01_theory.ipynb. Of several the newest is taken. Links are not followed: they may lead to others' work.
    """
    found, notes = {}, {}
    for student in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        name = re.sub(r"[^\w.@ -]", "_", student.name).strip(" .")
        if name in notes:
            sys.exit(f"Two folders in {folder} would be the student {name!r}, one is {student.name!r}: rename one.")
        inside = [path for path in student.rglob("[!.]*") if ".ipynb_checkpoints" not in path.parts]
        files = [
            path
            for path in inside
            if path.is_file() and path.resolve() == student.resolve() / path.relative_to(student)
        ]
        used = {stem: [path for path in files if stem in path.name and path.suffix == ".ipynb"] for stem in STEMS}
        used = {stem: max(paths, key=lambda path: path.stat().st_mtime) for stem, paths in used.items() if paths}
        notes[name] = [
            f"not used: {path.relative_to(student)}"
            for path in inside
            if path not in used.values() and not path.is_dir()
        ]
        notes[name] += [] if used else ["no notebook"]
        for stem, path in used.items():
            received = course / "received" / name / f"{stem}.ipynb"
            found[name, stem] = course / "submitted" / name / stem / f"{stem}.ipynb"
            if not received.exists() or received.read_bytes() != path.read_bytes():
                for copy in (found[name, stem], received):
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copy)
    return found, notes
