"""The fault suite: each test provokes a fault many times, and notes what came of it for the table at the end."""

import re

import pytest


@pytest.fixture
def note(record_property, tmp_path_factory):
    """note(fault, tries, outcome, sentence): a row of the table; before the last checks, which may say FAILED there."""
    folders = re.escape(str(tmp_path_factory.getbasetemp().parent)) + r"\S*/"

    def note(fault, tries, outcome, sentence=""):
        record_property("fault", (fault, tries, outcome, re.sub(folders, "", sentence).replace("|", "/")))

    return note
