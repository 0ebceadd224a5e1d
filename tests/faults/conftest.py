"""The fault suite: each test provokes a fault many times, and notes what came of it for the table at the end."""

import pytest


@pytest.fixture
def note(record_property):
    """note(fault, tries, outcome, sentence): a row of the table; call it first, a failure is shown in the row."""

    def note(fault, tries, outcome, sentence=""):
        record_property("fault", (fault, tries, outcome, sentence.replace("|", "/")))

    return note
