"""Files and folders are written all or nothing, and what killed processes left is removed."""

import json
import os
import shutil
import time
import uuid
from contextlib import contextmanager, suppress

from safetensors import SafetensorError

from vae_lib.checks import LabError

WRITING = ".vae-lib-writing-"  # begins the names of temporary folders


@contextmanager
def replacing(path):
    """Yields a temporary path to write to, a file or an (empty) folder; it then takes the place of `path`.

    After an error, nothing has changed. A folder replaces an empty one at most.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    folder = path.parent / f"{WRITING}{uuid.uuid4().hex}"  # safetensors, too, makes a temporary file beside its own
    try:
        folder.mkdir()
        yield folder / path.name
        if path.is_dir() and (folder / path.name).is_dir():
            path.rmdir()  # Windows replaces no folder, not even an empty one
        os.replace(folder / path.name, path)
        with suppress(OSError):
            folder.rmdir()  # one call; Ctrl-C between the many of rmtree would leave the folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(parent):
    """Remove our temporary folders in which nothing was written for an hour, since their processes were killed."""
    for folder in parent.glob(f"{WRITING}*"):
        with suppress(OSError):  # its owner has just renamed it, or it is another user's
            if time.time() - max(path.stat().st_mtime for path in (folder, *folder.rglob("*"))) > 3600:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing(path):
    """LabError, naming the path and the reason, if the disk refuses what is written inside."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise LabError(
            f"{path} cannot be written ({reason(error)}); choose another place, or make room there."
        ) from None


@contextmanager
def reading(path):
    """LabError, naming the path and the reason, if the disk refuses what is read inside."""
    try:
        yield
    except OSError as error:
        raise LabError(f"{path} cannot be read ({reason(error)}); see to its disk and permissions.") from None


def reason(error):
    """What an error of the operating system says, without the path."""
    return getattr(error, "strerror", None) or error


def write_json(path, value, indent=None):
    """Write a JSON-able value, all or nothing; LabError if the disk refuses."""
    with writing(path), replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=indent), encoding="utf-8")
