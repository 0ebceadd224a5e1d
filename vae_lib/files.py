"""Files are written all or nothing."""

import os
import uuid
from contextlib import contextmanager


@contextmanager
def replacing(path):
    """Yields a temporary path to write to; it then takes the place of `path`. After an error, nothing has changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
