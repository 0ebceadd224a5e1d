"""The tables that the tests write: what came of every fault, and of right and wrong answers of the exercises."""

from vae_lib.settings import REPOSITORY

FAULTS = REPOSITORY / "build" / "faults.md"  # from what the tests in faults/ note
ANSWERS = REPOSITORY / "build" / "autograder.md"  # by teaching/test_exercises.py
HEADER = "| Fault | Tries | Outcome | The person reads |\n|---|---|---|---|\n"


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
