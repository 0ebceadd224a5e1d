"""Steps of our own in nbgrader's chain: what a student's version needs, and what makes a submission safe to grade."""

import dis
import hashlib
import json
import os
import types
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import nbformat
from nbconvert.filters.markdown_mistune import InvalidNotebook, IPythonRenderer
from nbformat.v4 import new_output
from nbgrader import utils
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import ClearHiddenTests, GetGrades, NbGraderPreprocessor, SaveAutoGrades

from restore import is_the_students, restore

LONGEST = 100_000  # characters of an output


def embedded(renderer, link, embed=IPythonRenderer._embed_image_or_attachment):
    """nbconvert's step, which refuses the whole page, and nbgrader's form of it, where a text was copied without its
    attached picture; here the picture is a broken one, as in JupyterLab. Links quote what names do not."""
    for name in (link, unquote(link)):
        with suppress(InvalidNotebook, StopIteration):
            return embed(renderer, name)
    return link


IPythonRenderer._embed_image_or_attachment = embedded


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
    """Of a submission, run the set-up, the answers, their tests, and cells that the student added; skip the lessons."""

    def preprocess(self, notebook, resources):
        course, which = CourseDirectory(config=self.config), resources["nbgrader"]
        folder = course.format_path(course.release_directory, ".", which["assignment"])
        restore(notebook, nbformat.read(os.path.join(folder, f"{which['notebook']}.ipynb"), as_version=4))
        return notebook, resources


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


class SavePoints(SaveAutoGrades):
    """nbgrader's step, which has every mark that was given by hand confirmed when a notebook is graded again; here only
    where the answer, or what its test gives, has changed. What else the table should tell is kept in the logs."""

    def preprocess(self, notebook, resources):
        which = resources["nbgrader"]
        logs = Path(CourseDirectory(config=self.config).root) / "logs"
        file = logs / f"{which['student']} {which['notebook']}.answers"
        before, now = json.loads(file.read_text()) if file.exists() else {}, answers(notebook)
        self.same = {name for name in now if now[name] == before.get(name)}
        self.other, self.fewer, self.commented = before.keys() & now.keys() - self.same, [], []
        saved = super().preprocess(notebook, resources)
        changes = file.with_suffix(".changes")  # of a grading that did not come to its end, too
        told = json.loads(changes.read_text()) if changes.exists() else []
        told += [f"fewer points than before: {', '.join(self.fewer)}"] * bool(self.fewer)
        told += [f"changed, although you commented on it: {', '.join(self.commented)}"] * bool(self.commented)
        logs.mkdir(exist_ok=True)
        for target, what in ((changes, list(dict.fromkeys(told))), (file, now)):
            new = target.with_suffix(".new")  # by hand, since vae_lib's replacing would load torch in every process
            new.write_text(json.dumps(what))
            new.replace(target)
        return saved

    def _add_score(self, cell, resources):
        which = self.notebook_id, self.assignment_id, self.student_id
        grade = self.gradebook.find_grade(cell.metadata.nbgrader["grade_id"], *which)
        holds = grade.manual_score is not None and not grade.needs_manual_grade and grade.name in self.same
        points_before = grade.auto_score
        super()._add_score(cell, resources)
        if (grade.auto_score or 0) < (points_before or 0):
            self.fewer.append(f"{grade.name} {points_before:g} -> {grade.auto_score or 0:g}")
        if holds and grade.auto_score == points_before:
            grade.needs_manual_grade = False
            self.gradebook.db.commit()

    def _add_comment(self, cell, resources):
        super()._add_comment(cell, resources)
        name = cell.metadata.nbgrader["grade_id"]
        comment = self.gradebook.find_comment(name, self.notebook_id, self.assignment_id, self.student_id)
        if comment.manual_comment and name in self.other and not utils.is_grade(cell):  # a mark is told by itself
            self.commented.append(name)


def answers(notebook):
    """{grade_id: checksum of what its points or comments are for}: an answer with its pictures; of a test, all code of
    the student."""
    code, found = [cell.source for cell in notebook.cells if is_the_students(cell)], {}
    for cell in notebook.cells:
        if utils.is_grade(cell) or utils.is_solution(cell):
            marks = cell.metadata.nbgrader
            own = [cell.source, cell.get("attachments")] if utils.is_solution(cell) else code
            found[marks.grade_id] = hashlib.sha256(json.dumps([own, marks.get("points")]).encode()).hexdigest()
    return found


class ShortOutputs(NbGraderPreprocessor):
    """Cut long texts in outputs: nbgrader limits their lines, not the length of a line."""

    def preprocess_cell(self, cell, resources, index):
        for output in cell.get("outputs", []):
            texts = output if output.output_type == "stream" else output.get("data", {})
            for kind, text in texts.items():
                if kind in ("text", "text/plain", "text/html") and len(text) > LONGEST:
                    texts[kind] = f"{text[:LONGEST]}\n... Output truncated ..."
        return cell, resources


class HideTests(ClearHiddenTests):
    """In the feedback, a failed test says what was wrong, without its code: it can be used again next term."""

    def preprocess_cell(self, cell, resources, index):
        for output in cell.get("outputs", []) if utils.is_grade(cell) else []:
            if output.output_type == "error":
                output.traceback = [f"{output.ename}: {output.evalue}"]
        return super().preprocess_cell(cell, resources, index)


class GetPoints(GetGrades):
    """nbgrader's step, which brings points into the feedback; an answer that nobody has read has none, instead of 0."""

    def preprocess(self, notebook, resources):
        notebook, resources = super().preprocess(notebook, resources)
        unread = [cell.metadata.nbgrader for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("unread")]
        for marks in unread:
            marks["grade"] = False  # nbgrader's template then shows no points
            marks["comment"] = f"Not read yet. {marks.get('comment') or ''}"
        if unread:
            total = resources["nbgrader"]
            total["max_score"] -= sum(marks["points"] for marks in unread)
            total["notebook"] += f": {len(unread)} answer{'s' * (len(unread) > 1)} not read yet"
        return notebook, resources

    def _get_score(self, cell, resources):
        super()._get_score(cell, resources)
        which = self.notebook_id, self.assignment_id, self.student_id
        cell.metadata.nbgrader["unread"] = is_unread(
            self.gradebook.find_grade(cell.metadata.nbgrader["grade_id"], *which)
        )


def is_unread(grade):
    """Whether an answer of nbgrader's gradebook waits for somebody to read it and give points."""
    return grade.needs_manual_grade and grade.manual_score is None
