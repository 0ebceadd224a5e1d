"""The tables that the tests write: what came of every fault, and of right and wrong answers of the exercises."""

import os
import platform
import time
from pathlib import Path

from vae_lib.settings import REPOSITORY
from vae_lib.storage.files import replacing

FAULTS = REPOSITORY / "build" / "faults.md"  # from what the tests in faults/ note
ANSWERS = REPOSITORY / "build" / "autograder.md"  # by teaching/test_exercises.py
SUITE = REPOSITORY / "tests" / "faults"
README = REPOSITORY / "tests" / "README.md"  # shows the table of the last whole run, between two marks
BEGIN, END = "<!-- make test-faults writes from here -->\n", "<!-- to here -->\n"
HEADER = "| Fault | Tries | Outcome | The person reads |\n|---|---|---|---|\n"
STARTED = time.monotonic()


def fault_table(rows):
    """Rows (fault, tries, outcome, sentence, whether the test passed), several of one fault as one: -> Markdown."""
    faults = {}
    for fault, tries, outcome, sentence, passed in rows:
        before, _, _, all_passed = faults.get(fault, (0, "", "", True))
        faults[fault] = before + tries, outcome, sentence, passed and all_passed
    return HEADER + "".join(
        f"| {fault} | {tries:,} | {outcome if passed else 'FAILED'} | {sentence} |\n"
        for fault, (tries, outcome, sentence, passed) in faults.items()
    )


def noted_faults(reports):
    """What the reports of the tests hold of faults, in the order of the tests: rows for `fault_table`."""
    reports = sorted(reports, key=lambda report: report.location[:2])  # file and line
    return [(*row, report.passed) for report in reports for key, row in report.user_properties if key == "fault"]


def is_whole_suite(config, exitstatus, skipped):
    """Whether pytest ran all of tests/faults, the slow tests too, and all passed. skipped: how many tests were.

    A worker of pytest-xdist, which has seen a part of them, is never the whole suite.
    """
    if hasattr(config, "workerinput") or exitstatus != 0 or skipped:
        return False
    chosen = config.getoption("keyword") or config.getoption("deselect") or config.getoption("lf", False)
    with_slow_tests = config.getoption("markexpr") == "not browser"
    return with_slow_tests and not chosen and [Path(argument).resolve() for argument in config.args] == [SUITE]


def put_between_marks(table, readme=README):
    """Replace what lies between the marks of the README by the table, and by the machine that it comes from."""
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{readme} needs the lines {BEGIN.strip()} and {END.strip()}, in this order.")
    machine = f"{platform.system()}, {os.cpu_count()} CPU cores, Python {platform.python_version()}"
    minutes = (time.monotonic() - STARTED) / 60
    text = f"{before}{begin}\nOne run: {machine}, {minutes:.0f} minutes.\n\n{table}\n{end}{after}"
    with replacing(readme) as temporary:
        temporary.write_text(text, encoding="utf-8")
