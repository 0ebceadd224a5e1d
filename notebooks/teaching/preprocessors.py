"""Steps of our own in nbgrader's chain: what a student's version needs, and what makes a submission safe to grade."""

import dis
import os
import types

import nbformat
from nbformat.v4 import new_output
from nbgrader import utils
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import ClearHiddenTests, NbGraderPreprocessor


class RunOnAfterErrors(NbGraderPreprocessor):
    """In the students' version, "Run All" goes on after a cell that needs an answer that is not there yet."""

    def preprocess(self, notebook, resources):
        notebook.metadata.pop("vae_lab", None)  # belongs to the outputs, which are gone
        missing = set()  # names that have no value without the answers
        for cell in notebook.cells:
            if cell.cell_type == "code":
                needed, made = names(compile(cell.source, cell.id, "exec"))
                if utils.is_solution(cell):
                    missing |= made
                elif needed & missing:
                    cell.metadata["tags"] = [*cell.metadata.get("tags", []), "raises-exception"]
                    missing |= made
                else:
                    missing -= made
        return notebook, resources


def names(code):
    """The names that a cell's code takes from other cells, and those that it makes."""
    needed, made = set(), set()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_NAME", "LOAD_GLOBAL") and step.argval not in made:
            needed.add(step.argval)
        elif step.opname == "STORE_NAME":
            made.add(step.argval)
    inner = [names(part)[0] for part in code.co_consts if isinstance(part, types.CodeType)]  # functions, comprehensions
    return needed | set().union(*inner) - made, made


class OnlyWhatIsGraded(NbGraderPreprocessor):
    """Of a submission, run the set-up, the answers, their tests, and cells that the student added; skip the lessons.

    What a cell is, and whether it runs, is read from the version that was handed out and never from the submission;
    cells that were deleted are put back.
    """

    def preprocess(self, notebook, resources):
        course, which = CourseDirectory(config=self.config), resources["nbgrader"]
        folder = course.format_path(course.release_directory, ".", which["assignment"])
        master = nbformat.read(os.path.join(folder, f"{which['notebook']}.ipynb"), as_version=4)
        originals = {cell.metadata.nbgrader.grade_id: cell for cell in master.cells if "nbgrader" in cell.metadata}
        lessons = [cell for cell in master.cells if not runs(cell)]
        skipped = {cell.id for cell in lessons} | {cell.source for cell in lessons}
        found = {}
        for cell in notebook.cells:
            original = originals.get(cell.metadata.pop("nbgrader", {}).get("grade_id"))
            if original is not None:
                cell.metadata["nbgrader"] = original.metadata.nbgrader
                found[original.metadata.nbgrader.grade_id] = cell
            skip = not runs(original) if original is not None else {cell.get("id"), cell.source} & skipped
            cell.metadata["tags"] = ["skip-execution"] if skip else []
        place = 0
        for grade_id, original in originals.items():
            if grade_id not in found:
                original.metadata["tags"] = [] if runs(original) else ["skip-execution"]
                notebook.cells.insert(place, original)
            cell = found.get(grade_id, original)
            place = next(i for i, other in enumerate(notebook.cells) if other is cell) + 1
        return notebook, resources


def runs(cell):
    """Whether a cell of the lab's notebooks runs when submissions are graded."""
    return "setup" in cell.metadata.get("tags", []) or utils.is_solution(cell) or utils.is_grade(cell)


class OnlyErrorsCount(NbGraderPreprocessor):
    """A test has failed if it raised an error or was not reached; nothing else that a test cell shows decides.

    nbgrader gives full points to a cell that did not run, the points that a cell displays as a number, and none to one
    with a line on stderr.
    """

    def preprocess_cell(self, cell, resources, index):
        if cell.cell_type == "code" and utils.is_grade(cell):
            cell.outputs = [output for output in cell.outputs if output.output_type == "error"]
            if cell.execution_count is None:
                reason = os.environ.get("VAE_GRADING_FAILED", "This test was not reached.")
                cell.outputs = [new_output("error", ename="NotGraded", evalue=reason, traceback=[reason])]
        return cell, resources


class HideTests(ClearHiddenTests):
    """In the feedback, a failed test says what was wrong, without its code: it can be used again next term."""

    def preprocess_cell(self, cell, resources, index):
        for output in cell.get("outputs", []) if utils.is_grade(cell) else []:
            if output.output_type == "error":
                output.traceback = [f"{output.ename}: {output.evalue}"]
        return super().preprocess_cell(cell, resources, index)
