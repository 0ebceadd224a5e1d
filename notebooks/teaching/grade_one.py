"""One submission in a process of its own, which may be killed: whatever it does, it cannot stop the others."""

import os
import resource
import sys

from release import nbgrader

NO_PAGE = 3  # the exit code: graded, but without feedback


def grade_one(student, stem, log, gigabytes, environment):
    """Run a submission and write its feedback. What nbgrader says is in the log; the exit code is 1 if the submission
    could not be graded, NO_PAGE if only its feedback could not be written."""
    os.setsid()  # a Ctrl-C in the terminal stops the batch, not the cell that runs
    os.environ.update(environment)
    with open(log, "w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    try:  # of this process, and of the kernel it starts
        resource.setrlimit(resource.RLIMIT_DATA, (gigabytes * 2**30,) * 2)
    except (ValueError, OSError) as error:
        print(f"This system sets no limit on memory: {error}", flush=True)
    commands = nbgrader()
    for command, code in ((commands.autograde, 1), (commands.generate_feedback, NO_PAGE)):
        done = command(stem, student, force=True)
        print(done.get("log"))
        if not done["success"]:
            sys.exit(code)
