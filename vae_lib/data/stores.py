"""Where image files lie: in a folder, in a .zip archive, or in the Parquet files of Hugging Face.

Each store has files(), {name: a word that changes when the image does}, sorted, and open(name), what PIL opens.
"""

import io
import os
import threading
import zipfile
from bisect import bisect_right
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np

from vae_lib.checks import LabError
from vae_lib.data.decoding import is_image_name
from vae_lib.storage.files import reading

LARGEST_PACKED = 2  # times the size of an archive: more, no archive of photographs unpacks to


class Folder:
    """Image files below a folder, by names relative to it."""

    def __init__(self, root):
        self.root, self.left_out = Path(root), []

    def __str__(self):
        return str(self.root)

    def files(self):
        """Hidden files and folders are left out; what else is no picture is listed in `left_out`."""
        found, self.left_out = {}, []
        for entry in self.walk():
            if is_image_name(entry.name) and entry.is_file():
                stat = entry.stat()
                found[self.name_of(entry.path)] = f"{stat.st_size} {stat.st_mtime_ns}"
            else:
                self.left_out.append(self.name_of(entry.path))
        return dict(sorted(found.items()))

    def walk(self):
        """What lies in the folder, and in those below it or linked there, each of which is entered once. Links to
        nothing, folders of masks, and those that may not be read or are linked a second time, go to `left_out`."""
        entered = set(map(str, self.root.resolve().parents))  # a link to one leads everywhere
        folders, links = [str(self.root)], []
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)  # a folder itself comes before links to it
            is_closed = folder != str(self.root) and not may_be_read(folder)
            if is_closed or (real := os.path.realpath(folder)) in entered:
                self.left_out.append(self.name_of(folder))
                continue
            entered.add(real)
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    is_link = entry.is_symlink()
                    leads_nowhere = is_link and not os.path.exists(entry.path)
                    if leads_nowhere or (entry.is_dir() and is_of_masks(entry.name)):
                        self.left_out.append(self.name_of(entry.path))
                    elif entry.is_dir():
                        (links if is_link else folders).append(entry.path)
                    else:
                        yield entry
            links.sort()

    def name_of(self, path):
        """The name of a path below the folder."""
        return path[len(str(self.root)) :].lstrip(os.sep).replace(os.sep, "/")  # the root of a drive ends with one

    def has_pictures(self):
        """True if there is one, whatever it holds."""
        return any(is_image_name(entry.name) for entry in self.walk())

    def open(self, name):
        return self.root / name


def may_be_read(folder):
    """Whether a folder may be read and entered; of one on Windows, os.access does not know it."""
    try:
        os.scandir(folder).close()
    except OSError:
        return False
    return os.access(folder, os.R_OK | os.X_OK)


class Zip:
    """Image files in a .zip archive, which is never unpacked: by their names in it. LabError for a damaged archive."""

    def __init__(self, path):
        self.path = path

    def __str__(self):
        return str(self.path)

    def files(self):
        """Files that are no pictures, but not hidden ones, are listed in `left_out`."""
        shown = [member for member in self.archive().infolist() if not (member.is_dir() or is_hidden(member.filename))]
        members = [member for member in shown if is_photograph(member.filename)]
        self.left_out = [member.filename for member in shown if not is_photograph(member.filename)]
        if sum(member.file_size for member in members) > LARGEST_PACKED * self.path.stat().st_size:
            raise LabError(f"{self.path} would unpack to more than twice its size, as no photographs do; remove it.")
        return dict(sorted((member.filename, f"{member.file_size} {member.CRC}") for member in members))

    def open(self, name):
        try:
            archive = self.archive()
            return io.BytesIO(read_member(archive, archive.getinfo(name)))
        except LabError:
            raise
        except Exception as error:  # a damaged archive raises almost anything
            if getattr(error, "errno", None):
                raise LabError(f"{self.path} cannot be read ({error.strerror}); see to its disk, try again.") from None
            return io.BytesIO()  # which is no whole image

    def archive(self):
        with reading(self.path):
            stat = self.path.stat()
        return open_zip(self.path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=2)
def open_zip(path, *stamp):
    """The open archive, kept open: its list of members is long. LabError for a file that is none."""
    try:
        with reading(path):
            return zipfile.ZipFile(path)
    except LabError:
        raise
    except Exception as error:  # a damaged archive raises almost anything
        raise LabError(f"{path} is damaged ({error}); delete it and fetch it again.") from None


def read_member(archive, member):
    """A file of an archive, of as many bytes as its entry says: a bomb that lies about them is cut off."""
    with archive.open(member) as file:
        return file.read(member.file_size)


class Parquet:
    """The images of Parquet files below a folder, as Hugging Face has them: "train.parquet/0000007" is a row of one."""

    def __init__(self, root, paths):
        self.root = root
        self.paths = {path.relative_to(root).as_posix(): path for path in sorted(paths)}

    def __str__(self):
        return str(self.root)

    def files(self):
        found = {}
        for name, path in self.paths.items():
            stamp = " ".join(map(str, size_and_time(path)))
            found |= dict.fromkeys((f"{name}/{row:07d}" for row in range(rows_of(path))), stamp)
        return found

    def open(self, name):
        path, row = self.place(name)
        ends = group_ends(path, *size_and_time(path))
        group = bisect_right(ends, row)
        with ONE_READER:
            pictures = read_pictures(path, group, *size_and_time(path))
        return io.BytesIO(pictures[row - (ends[group - 1] if group else 0)])

    def place(self, name):
        """The file and the row of an image."""
        file, row = name.rsplit("/", 1)
        return self.paths[file], int(row)

    def numbers(self, names, columns):
        """The whole numbers, or truth values, of some columns in the rows of the named images: int64 (N, columns)."""
        read = {path: read_numbers(path, columns) for path in self.paths.values()}
        return np.array([read[path][row] for path, row in map(self.place, names)]).reshape(-1, len(columns))

    def columns(self):
        """The names of the columns of whole numbers or truth values, in the first file."""
        with open_parquet(next(iter(self.paths.values()))) as file:
            return [field.name for field in file.schema_arrow if is_of_numbers(field.type)]


ONE_READER = threading.Lock()  # threads that decode neighbours want the same group of rows


def size_and_time(path):
    """Size and time of a file, which change with it."""
    with reading(path):
        return path.stat().st_size, path.stat().st_mtime_ns


@contextmanager
def open_parquet(path):
    """An open Parquet file; LabError for one that is damaged, and where pyarrow is not installed."""
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        how = "pip install 'pyarrow<24', or pip install -e '.[parquet]' in the repository"
        raise LabError(f"{path} is a Parquet file, for which pyarrow is needed: {how}.") from None
    try:
        with ParquetFile(path) as file:
            yield file
    except LabError:
        raise
    except Exception as error:  # a damaged file raises almost anything
        raise LabError(f"{path} is damaged ({str(error).strip()}); delete it and fetch it again.") from None


def rows_of(path):
    """How many rows a Parquet file has."""
    return (group_ends(path, *size_and_time(path)) or [0])[-1]


@lru_cache(maxsize=256)
def group_ends(path, *stamp):
    """Where each group of rows of a Parquet file ends."""
    with open_parquet(path) as file:
        groups = range(file.metadata.num_row_groups)
        lengths = [file.metadata.row_group(group).num_rows for group in groups]
        if min(lengths, default=0) < 0 or sum(lengths) > path.stat().st_size:
            raise ValueError("it says that it has more rows than bytes")
        return list(accumulate(lengths))


@lru_cache(maxsize=8)
def read_pictures(path, group, *stamp):
    """The encoded images of a group of rows, in the column "image" or "img": a list of bytes, empty for none."""
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        column = next((name for name in ("image", "img") if name in names), None)
        if column is None:
            raise LabError(f"{path} has no column of images (image or img), but {', '.join(names[:5])}.")
        rows = file.read_row_group(group, [column]).column(0).to_pylist()
        if len(rows) != file.metadata.row_group(group).num_rows:
            raise ValueError("rows are missing")
    contents = [row.get("bytes") if isinstance(row, dict) else row for row in rows]
    return [content if isinstance(content, bytes) else b"" for content in contents]


def is_of_numbers(kind):
    """True for the types of whole numbers and truth values."""
    from pyarrow import types

    return types.is_integer(kind) or types.is_boolean(kind)


def read_numbers(path, columns):
    """Some columns of a Parquet file: int64 (rows, columns). LabError if they are not all there, and whole."""
    with open_parquet(path) as file:
        there = [field.name for field in file.schema_arrow if is_of_numbers(field.type)]
        if missing := [name for name in columns if name not in there]:
            has = ", ".join(file.schema_arrow.names[:5])
            raise LabError(f"{path} has no column {missing[0]!r} of whole numbers; its columns are {has}.")
        table = file.read(columns).select(columns)
        if len(table) != rows_of(path) or any(table[name].null_count for name in columns):
            raise ValueError("values are missing")
        return np.stack([table[name].cast("int64").to_numpy() for name in columns], axis=1)


def is_of_masks(folder):
    """True for folders of CelebAMask-HQ that hold masks instead of photographs, as CelebAMask-HQ-mask-anno/."""
    return "mask-anno" in folder.lower() or folder.lower().startswith("celebamaskhq-mask")


def is_photograph(member):
    """True for the name of an image in an archive that is neither hidden nor a mask."""
    *folders, name = parts_of(member)
    return is_image_name(name) and not any(part.startswith(".") or is_of_masks(part) for part in folders)


def is_hidden(member):
    """True for what macOS and editors add to an archive."""
    return any(part.startswith((".", "__MACOSX")) for part in parts_of(member))


def parts_of(member):
    """The folders and the name of an entry of an archive."""
    return [part for part in member.split("/") if part not in (".", "..")]
