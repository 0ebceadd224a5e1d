"""Files are written all or nothing, wherever Ctrl-C comes."""

import contextlib
import itertools
import shutil
import sys

from vae_lib.storage import files
from vae_lib.storage.files import replacing


@contextlib.contextmanager
def ctrl_c_at(line):
    """KeyboardInterrupt before the line-th line that Python runs in the modules that write."""
    modules = {module.__file__ for module in (files, contextlib, shutil)}
    to_come = itertools.count(line - 1, -1)

    def trace(frame, event, _):
        if frame.f_code.co_filename not in modules:
            return None
        if event == "line" and next(to_come) == 0:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def test_ctrl_c_at_every_line_of_a_write(tmp_path):
    path, found = tmp_path / "file", []
    for line in itertools.count(1):
        path.write_text("old")
        with contextlib.suppress(KeyboardInterrupt):
            with ctrl_c_at(line), replacing(path) as temporary:
                temporary.write_text("new")
            break
        found.append(path.read_text())
        assert [each.name for each in tmp_path.iterdir()] == ["file"], f"line {line}"
    assert len(found) > 10 and set(found) == {"old", "new"}
