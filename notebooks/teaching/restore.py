"""Make what was handed in gradable: which of its cells are the answers, what of the given cells is put back.

What decides is taken from the master, the version that was handed out. Everything happens to notebooks in memory.
"""

import ast
import functools
import re
from collections import Counter

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import from_dict
from nbformat.v4 import new_code_cell
from nbgrader import utils

TOP_LEVEL = re.compile(r"^(?:def|class|async def)\s+(\w+)|^(\w+)\s*=(?!=)", re.MULTILINE)
SEE_ABOVE = "# The cell above holds this answer, too."
NO_CODE = (SyntaxError, ValueError, RecursionError, MemoryError)


def restore(notebook, master):
    """Prepare a submission for being run; -> what the instructor should know, as short sentences.

    The set-up, the answers, their tests and cells that the student added run; the lessons are skipped. Deleted cells
    are put back. Imports that the student added to a given cell run right after it.
    """
    for cell in notebook.cells:
        cell.setdefault("metadata", {})
        cell["source"] = cell.get("source") or ""  # null in damaged files
    originals, found = marked(master), match(notebook.cells, master)
    notes = said_of_answers(notebook.cells, found, master)
    lessons = {cell.id: cell for cell in master.cells if not runs(cell)}
    known = {plain(cell) for cell in master.cells} - copied(notebook.cells, lessons)
    cells, added = [], {}
    for index, cell in enumerate(notebook.cells):
        names = sorted((name for name in found if found[name] == index), key=lambda name: name != mark(cell))
        given = originals[names[0]] if names else lessons.get(cell.get("id"))
        skip = plain(cell) in known if given is None else not runs(given)
        cell.metadata = new_metadata(skip, given if names else None)
        new = {} if given is None or utils.is_solution(given) else added_imports(cell, given)
        cells.append(cell)
        cells += [new_code_cell(SEE_ABOVE, metadata=new_metadata(False, originals[name])) for name in names[1:]]
        cells += [new_code_cell(line, metadata=new_metadata(False)) for line in new]
        added |= new
    if added:
        notes.append(f"imports added to given cells: {', '.join(dict.fromkeys(said for *_, said in added.values()))}")
    notebook.update(cells=in_order(cells, originals), metadata=master.metadata)
    notebook.update(nbformat=master.nbformat, nbformat_minor=master.nbformat_minor)
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index}"
    return notes


def marked(master):
    """{grade_id: cell} of the master."""
    return {cell.metadata.nbgrader.grade_id: cell for cell in master.cells if "nbgrader" in cell.metadata}


def runs(cell):
    """Whether a cell of the lab's notebooks runs when submissions are graded."""
    return "setup" in cell.metadata.get("tags", []) or utils.is_solution(cell) or utils.is_grade(cell)


def copied(cells, lessons):
    """Sources of a lesson's functions that a submission has once more, in cells of its own: an answer may need them."""
    there = {plain(lessons[cell.id]) for cell in cells if cell.get("id") in lessons}
    twice = {source for source, times in Counter(map(plain, cells)).items() if times > 1}  # where ids are lost
    sources = (there | twice) & set(map(plain, lessons.values()))
    return {source for source in sources if any(function for function, _ in TOP_LEVEL.findall(source))}


def is_the_students(cell):
    """Whether a code cell of a restored submission was written by the student, and runs."""
    is_run = cell.cell_type == "code" and "skip-execution" not in cell.metadata.get("tags", [])
    return is_run and ("nbgrader" not in cell.metadata or cell.metadata.nbgrader.solution)


def new_metadata(skip, original=None):
    """Of a submission's cell: whether it is skipped, and the marks of the original."""
    metadata = {"tags": ["skip-execution"] if skip else []}
    return from_dict(metadata | ({"nbgrader": original.metadata.nbgrader} if original else {}))


def mark(cell):
    """The grade_id that a submission's cell bears, or None."""
    marks = cell.metadata.get("nbgrader")
    name = marks.get("grade_id") if isinstance(marks, dict) else None
    return name if isinstance(name, str) else None


# --- which cell is which ---


def match(cells, master):
    """{grade_id: index of the submission's cell that is it}: by its mark, its id, or what an answer defines."""
    originals, claims, found = marked(master), claimed(cells, master), {}
    for grade_id, original in sorted(originals.items(), key=lambda item: not utils.is_solution(item[1])):
        places = [index for index, claim in enumerate(claims) if claim == grade_id and index not in found.values()]
        if utils.is_solution(original):
            own, others = set(places), elsewhere(grade_id, cells, claims, master)
            places = sorted(others, reverse=True) + places  # the last that was typed again, the first of copies
            places.sort(key=lambda index: (answered(cells[index], original), index in own), reverse=True)
        if places:
            found[grade_id] = places[0]
    return found


def claimed(cells, master):
    """For each cell of a submission: which marked cell it is by its mark, id or source, or None."""
    originals = marked(master)
    by_id = {cell.id: grade_id for grade_id, cell in originals.items()}
    ambiguous = {plain(cell) for cell in originals.values() if utils.is_solution(cell) or utils.is_grade(cell)}
    by_source = {plain(cell): name for name, cell in originals.items() if plain(cell) not in ambiguous}
    return [
        mark(cell) if mark(cell) in originals else by_id.get(cell.get("id"), by_source.get(plain(cell)))
        for cell in cells
    ]


def elsewhere(grade_id, cells, claims, master):
    """Where else than in its own cell an answer may stand: where it is defined; if a text, below or in its question."""
    original = marked(master)[grade_id]
    known = {plain(cell) for cell in master.cells} - {plain(original)}
    others = [index for index, cell in enumerate(cells) if claims[index] != grade_id and plain(cell) not in known]
    if original.cell_type == "code":
        return [index for index in others if defined(cells[index]) & defined(original)]
    free = [index for index in others if claims[index] is None]
    question = master.cells[master.cells.index(original) - 1]
    if mark(question) not in set(claims) - {None}:
        return []
    start = end = claims.index(mark(question))
    while end + 1 < len(cells) and (end + 1 in free or claims[end + 1] == grade_id):
        end += 1
    below = [index for index in free if start < index <= end and cells[index].cell_type == "markdown"]
    written = [index for index in below if answered(cells[index], original)]
    return written[:1] or [start] * (plain(cells[start]) != plain(question)) or below[:1]


def defined(cell):
    """The names that a code cell defines at its top level, also when it cannot be compiled."""
    return {name or other for name, other in TOP_LEVEL.findall(cell.source)} if cell.cell_type == "code" else set()


def plain(cell):
    """A cell's source without what does not matter: layout, and comments of code."""
    return plain_source(cell.source, cell.cell_type)


@functools.lru_cache(maxsize=1000)
def plain_source(source, cell_type):
    try:
        return ast.unparse(ast.parse(source)) if cell_type == "code" else " ".join(source.split())
    except NO_CODE:
        return " ".join(source.split())


def answered(cell, original):
    """How much of an answer a cell is: 0 if blank, 1 if something, 2 if it defines what was asked for."""
    if plain(cell) in ("", plain(original)):
        return 0
    return 1 + (defined(original) <= defined(cell))


def said_of_answers(cells, found, master):
    """What the instructor should know of how the answers were found."""
    originals, marks = marked(master), [mark(cell) for cell in cells]
    answers = [name for name, original in originals.items() if utils.is_solution(original)]
    lost = [name for name in answers if name in found and name not in marks]
    said = {
        "answers taken from other cells than the given ones": [
            name for name in answers if name in marks and marks[found[name]] != name
        ],
        "answers deleted, put back blank": [name for name in answers if name not in found],
        "blank, but perhaps answered in another cell": [
            name for name in answers if name in found and overlooked(name, cells, found, master)
        ],
        "defined again below the answer": [
            name for name in answers if name in found and again(cells[found[name] + 1 :], originals[name])
        ],
    }
    several = f"{len(lost)} answer cells had lost nbgrader's marks"
    one = "1 answer cell had lost nbgrader's mark"
    notes = [f"{several if len(lost) > 1 else one}; found by id or name, nothing to do"] if lost else []
    return notes + [f"{what}: {', '.join(names)}" for what, names in said.items() if names]


def overlooked(name, cells, found, master):
    """Whether an answer is blank, and a cell that the student added speaks of its function, or lies beside its text."""
    original, here = marked(master)[name], found[name]
    if answered(cells[here], original):
        return False
    known = {"", *(cell.source.strip() for cell in master.cells)}
    own = [i for i, cell in enumerate(cells) if i not in found.values() and cell.source.strip() not in known]
    if original.cell_type == "code":
        return any(word in cells[i].source for i in own for word in defined(original))
    return any(abs(i - here) <= 2 for i in own)


def again(cells, original):
    """Whether one of the cells defines what an answer defines."""
    return any(defined(original) and answered(cell, original) == 2 for cell in cells)


# --- what is put around the answers ---


def in_order(cells, originals):
    """The cells; missing ones are put back after the marked cell before them, and tests stand after their answers."""
    place, answer = 0, None
    for grade_id, original in originals.items():
        if grade_id not in map(mark, cells):
            original.metadata = new_metadata(not runs(original), original)
            cells.insert(place, original)
        marks = list(map(mark, cells))
        place = marks.index(grade_id)
        if utils.is_solution(original):
            answer = grade_id
        elif utils.is_grade(original) and place < marks.index(answer):
            place = marks.index(answer)
            cells.insert(place, cells.pop(marks.index(grade_id)))
        place += 1
    return cells


def parsed(source):
    """The syntax tree of a cell, whose magics and shell commands are calls of get_ipython()."""
    return ast.parse(TransformerManager().transform_cell(source))


def added_imports(cell, given):
    """The imports of a submission's cell that the given cell does not have, as imports() tells them."""
    return {statement: what for statement, what in imports(cell).items() if statement not in imports(given)}


def imports(cell):
    """The imports at a cell's top level, one name each: {statement: (name, what it stands for, what to call it)}."""
    found = {}
    try:
        nodes = parsed(cell.source).body if cell.cell_type == "code" else []
    except NO_CODE:
        nodes = []
    for node in nodes:
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else []:
            statement = ast.unparse(type(node)(**{**vars(node), "names": [alias]}))
            if isinstance(node, ast.Import):
                first = alias.name.partition(".")[0]
                found[statement] = alias.asname or first, alias.name if alias.asname else first, alias.name
            else:
                full = f"{'.' * node.level}{node.module or ''}.{alias.name}"
                found[statement] = alias.asname or alias.name, full, full
    return found
