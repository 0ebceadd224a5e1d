"""nbgrader's settings: read by every nbgrader command, and by a JupyterLab, that starts in this folder."""

import os
import sys
from pathlib import Path

from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    Execute,
    LimitOutput,
    LockCells,
    OverwriteCells,
    OverwriteKernelspec,
    SaveCells,
)

sys.path.insert(0, str(Path(__file__).parent))
from preprocessors import (
    GetPoints,
    HideTests,
    OnlyErrorsCount,
    OnlyWhatIsGraded,
    RunOnAfterErrors,
    SavePoints,
    ShortOutputs,
)

c = get_config()  # noqa: F821, given by traitlets
c.CourseDirectory.root = os.environ.get("VAE_COURSE_DIR", str(Path(__file__).parents[2] / "course"))
c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("your answer goes here")'}
c.ClearSolutions.text_stub = "*Your answer goes here.*"
c.GenerateAssignment.preprocessors = [RunOnAfterErrors, LockCells, ClearSolutions, ClearOutput, CheckCellMetadata]
c.GenerateAssignment.preprocessors += [ComputeChecksums, SaveCells, ClearHiddenTests, ComputeChecksums]

# Of a submission, what the student must not change is taken from the instructor's notebook before anything runs. When
# its process was killed (VAE_GRADING_FAILED says why), it is graded without running it again.
c.Autograde.sanitize_preprocessors = [OnlyWhatIsGraded, ClearOutput, OverwriteKernelspec]
c.Autograde.sanitize_preprocessors += [OverwriteCells, CheckCellMetadata]
run = [] if "VAE_GRADING_FAILED" in os.environ else [Execute]
c.Autograde.autograde_preprocessors = [*run, OnlyErrorsCount, LimitOutput, ShortOutputs]
c.Autograde.autograde_preprocessors += [SavePoints, CheckCellMetadata]
c.Execute.timeout = int(os.environ.get("VAE_CELL_SECONDS", 60))  # for a cell; grade.py limits the rest
c.Execute.shutdown_kernel = "immediate"  # a second less than asking it to leave
c.GenerateFeedback.preprocessors = [GetPoints, HideTests, CSSHTMLHeaderPreprocessor]
