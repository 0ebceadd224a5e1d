"""Files and folders are written all or nothing."""

import os
import shutil
import uuid
from contextlib import contextmanager

from safetensors import SafetensorError

from vae_lib.errors import LabError


@contextmanager
def replacing(path):
    """Yields a temporary path to write to, a file or an (empty) folder; it then takes the place of `path`.

    After an error, nothing has changed. A folder replaces an empty one at most.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def writing(path):
    """LabError, naming the path and the reason, if the disk refuses what is written inside."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LabError(f"{path} cannot be written ({reason}); make room there, or choose another place.") from None
