"""Print the points of every exercise, and the mark schemes of the written answers, as a Markdown table: make points."""

import re
from pathlib import Path

import nbformat

NOTEBOOKS = sorted(Path(__file__).resolve().parents[1].glob("*.ipynb"))


def exercises(path):
    """The exercises of a notebook, in its order: [(name, points, how the points are given)]."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.metadata.get("nbgrader", {}).get("grade")]
    return [(cell.metadata.nbgrader.grade_id, cell.metadata.nbgrader.points, mark_scheme(cell)) for cell in cells]


def mark_scheme(cell):
    """Of a written answer, the block quote that begins with "Mark scheme", as one line without its title."""
    if cell.cell_type == "code":
        return "all or none, by hidden tests"
    quote = " ".join(line.removeprefix(">").strip() for line in cell.source.splitlines() if line.startswith(">"))
    return re.sub(r"^\*\*Mark scheme[^*]*\*\*\s*", "", quote)


def main():
    lines = ["| Notebook | Exercise | Points | How they are given |", "|---|---|---|---|"]
    rows = [(path.stem, *exercise) for path in NOTEBOOKS for exercise in exercises(path)]
    lines += [f"| {stem} | {name} | {points} | {scheme} |" for stem, name, points, scheme in rows]
    lines.append(f"| all | {len(rows)} exercises | {sum(points for _, _, points, _ in rows)} | |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
