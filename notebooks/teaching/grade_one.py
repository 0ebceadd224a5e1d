"""One submission in a process of its own, which may be killed: whatever it does, it cannot stop the others."""

import os
import resource
import sys

from release import nbgrader


def grade_one(student, stem, log, gigabytes, environment):
    """Run a submission and write its feedback; the exit code is 1 if that failed. What nbgrader says is in the log."""
    os.environ.update(environment)
    with open(log, "w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    try:  # of this process, and of the kernel it starts
        resource.setrlimit(resource.RLIMIT_DATA, (gigabytes * 2**30,) * 2)
    except (ValueError, OSError) as error:
        print(f"This system sets no limit on memory: {error}", flush=True)
    commands = nbgrader()
    for command in (commands.autograde, commands.generate_feedback):
        done = command(stem, student, force=True)
        print(done.get("log"))
        if not done["success"]:
            sys.exit(1)
