"""Find what students handed in, as learning platforms export it. How it is decided whose a file is:

1. A name that a platform gave (PLATFORMS, Gradescope's list) says whose it is, wherever it lies. All else goes by
   folders.
2. A zip file is a folder. What else the name of a notebook's file says is one, too: "Jane Doe - 01_theory.ipynb" lies
   in "Jane Doe". Names of notebooks, and "late", "Version 2" and the like (NOBODY, VERSION), are no folders.
3. The students' folders lie at one level, the highest of those with the fewest notebooks in doubt. In doubt is what
   lies above, and a folder with the same notebook in two places, or three times in one: it may be of several people.
4. A folder in doubt is named and not graded. Of several files of one student the newest counts; the others are named.
   One in GitHub Classroom's folder of another notebook counts last: all come with each, with the time of the clone.
"""

import json
import re
import stat
import sys
import time
import unicodedata
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from io import BytesIO
from itertools import islice

import yaml  # nbgrader needs it, too

from release import STEMS
from vae_lib.storage.files import replacing

PLATFORMS = {  # the names of folders and files; number: what tells apart people of one name
    "Moodle": r"(?P<name>.+?)(_(?P<number>\d+))?_assignsubmission_[a-z]+(_.*)?",
    "Canvas quiz": r"(?P<name>[\w-]*\d)_question_\d{3,}_\d{3,}_.+",
    "Canvas": r"(LATE_)?(?P<name>[\w\xc0-\u1fff\u2070-\U0010ffff]+?)_(LATE_)?(?P<number>\d{3,}|(?<=anon_)[^_]+)_"
    r"(\d{4,}_.+|(text|link)\.html)",
    "Blackboard": r"(?P<number>.+)_(?P<name>[^_]+)_attempt_(?P<time>\d{4}(-\d\d){5})(_.+|\.txt)?",
    "Brightspace": r"\d+-\d+ ?- (?P<name>.+?) - (?P<time>\w{3} \d{1,2}, \d{4} \d{3,4} [AP]M)( - .+)?",
    "Sakai": r"(?P<name>[^,]+,( .*?\S)?\((?!\d\d?\))[^()\s]+\))(_(Submission |submissionText).*)?",
}
TIMES = {"Blackboard": "%Y-%m-%d-%H-%M-%S", "Brightspace": "%b %d, %Y %I%M %p"}
OLDER = {"old", "draft", "copy", "kopie"}
NOBODY = {"late", "ontime", "new", "final", "notebook", "notebooks", "attachments", "submission", "submissions"} | OLDER
VERSION = re.compile(r"(version\w?|versión|バージョン)[ _]*\d+ *", re.IGNORECASE)  # Microsoft Teams
COPY_OF = re.compile("(copy of|kopie von|copie de|copia de) ", re.IGNORECASE)
ASIDE = re.compile(  # what platforms and systems put there
    r"\..*|__MACOSX|__pycache__|Thumbs\.db|desktop\.ini|index\.html|grades\.(csv|xlsx?)|submission_metadata\.yml"
    r"|(.+\)_)?(Feedback Attachment\(s\).*|timestamp\.txt|comments\.txt|feedbackText\.html)|.+_attempt_[\d-]+\.txt"
)
ENDING = re.compile(  # of a file, or after a name: "01_theory (1).corrected.ipynb", "01_theory - Jane Doe.v2.ipynb"
    r"^([ _-]*\(?v?\d\d?\)?)?(\.\w+)+$"
    r"|(\.(ipynb|nbconvert|json|txt|html?|py|pdf|md|docx?|zip|v\d\d?|old|new|final|draft|copy|late|corrected))+$",
    re.IGNORECASE,
)
ARCHIVE = re.compile(r"\.(zip|rar|7z|tgz|tar|(tar\.)?(gz|bz2|xz))$", re.IGNORECASE)
NAMES = {stem: re.compile("[ _-]*".join(stem.split("_")), re.IGNORECASE) for stem in STEMS}
MOST_FILES, MOST_BYTES, DEEPEST = 100_000, 2 * 2**30, 3  # of a zip file
MOST_TRIES = 2  # files of one notebook in one folder; more may be several people's


@dataclass(eq=False)
class Entry:
    """Something that was handed in: a file, a folder, or an archive that is not read."""

    path: tuple  # from the given folder on; what is in a zip file lies "in" it
    folders: tuple  # the part of the path that is folders
    problem: str = ""  # why a file is not read, or "folder", or "aside"
    time: float = 0
    read: Callable | None = None
    student: str | None = None
    platform: str = "folders"

    def __post_init__(self):
        stem, rest = split(self.path[-1])
        is_file = self.folders != self.path
        self.notebook = stem if not self.problem and self.path[-1].lower().endswith(".ipynb") else None
        parts = [ARCHIVE.sub("", part) for part in self.folders]
        for index, above in enumerate(parts[:-1]):
            if above.endswith("-submissions"):  # GitHub Classroom: hw1-submissions/hw1-jane
                parts[index + 1] = parts[index + 1].removeprefix(above.removesuffix("submissions"))
        names = [split(part)[1] for part in parts] + [rest] * (stem is not None and is_file)
        self.shelf = tuple(filter(None, names))  # the folders that may be a student's

    def __str__(self):
        return "/".join(self.path)


def walk(folder, path=()):
    """All that lies in a folder, zip files included. Links are not followed: they may lead to others' work."""
    for item in sorted(folder.iterdir()):
        below = (*path, item.name)
        if ASIDE.fullmatch(item.name):
            yield Entry(below, path, "aside", read=None if item.is_symlink() else item.read_bytes)
        elif item.is_symlink() or not (item.is_dir() or item.is_file()):
            yield Entry(below, path, "a link" if item.is_symlink() else "no file")
        elif item.is_dir():
            yield Entry(below, below, "folder")
            yield from walk(item, below)
        else:
            yield from look_into(below, partial(open, item, "rb"), item.stat().st_mtime)


def look_into(path, opened, modified, depth=1):
    """A file, or what is in it if it is a zip file. opened(): the file, open."""
    if not ARCHIVE.search(path[-1]):
        yield Entry(path, path[:-1], "", modified, partial(read_all, opened))
        return
    yield Entry(path, path, "folder")
    if not path[-1].lower().endswith(".zip") or depth > DEEPEST:
        yield Entry(path, path, "unpack it, or ask for a zip file")
        return
    try:
        inside = list(islice(unzip(path, opened, depth), MOST_FILES + 1))
    except Exception as error:  # whatever a broken file makes of the reader
        inside = [Entry(path, path, f"damaged: {error}")]
    yield from inside if len(inside) <= MOST_FILES else [Entry(path, path, f"more than {MOST_FILES} files")]


def read_all(opened):
    with opened() as file:
        return file.read()


def unzip(path, opened, depth):
    """What is in a zip file. Nothing is unpacked; paths that would lead out of it stay inside."""
    with opened() as file, open_zip(file) as archive:
        members = archive.infolist()
    if sum(member.file_size for member in members) > MOST_BYTES:
        yield Entry(path, path, f"more than {MOST_BYTES >> 30} GB")
        return
    for member in members:
        below = (*path, *(part for part in re.split(r"[/\\]", member.filename) if part not in ("", ".", "..")))
        if any(ASIDE.fullmatch(part) for part in below[len(path) :]):
            yield Entry(below, path, "aside", read=partial(read_all, partial(open_member, opened, member)))
        elif member.is_dir():
            yield Entry(below, below, "folder")
        elif stat.S_ISLNK(member.external_attr >> 16) or member.flag_bits & 1:
            yield Entry(below, below[:-1], "it needs a password" if member.flag_bits & 1 else "a link")
        else:
            modified = time.mktime((*member.date_time, 0, 0, -1))
            yield from look_into(below, partial(open_member, opened, member), modified, depth + 1)


def open_zip(file):
    """macOS does not say that its names are UTF-8."""
    try:
        return zipfile.ZipFile(file, metadata_encoding="utf-8")
    except UnicodeDecodeError:
        return zipfile.ZipFile(file)


def open_member(opened, member):
    """A file of a zip file, in memory: of the size that the zip file says, since more could be endless."""
    with opened() as file, open_zip(file) as archive, archive.open(member) as inside:
        return BytesIO(inside.read(member.file_size))


@cache
def split(name):
    """The notebook that a file's or folder's name speaks of, or None; what else it says: a person's name, or ""."""
    name = unicodedata.normalize("NFC", name)
    for stem, pattern in NAMES.items():
        if match := pattern.search(name):
            before = COPY_OF.sub("", f"{name[: match.start()]} ").strip(" _-")
            after = ENDING.sub("", name[match.end() :]).strip(" _-.")
            after *= any(not re.fullmatch(r"v?\d\d?", word) for word in words(after) - NOBODY)  # "(1)", "-2", "v2"
            return stem, f"{before * bool(words(before) - NOBODY)} {after}".strip()
    return None, name * bool(words(name) - NOBODY and not VERSION.fullmatch(name))


def words(text):
    """The words and numbers of a name."""
    return set(re.findall(r"v?\d+|[^\W\d_]+", text.lower().replace("on time", "ontime").replace("(s)", "s")))


@cache
def platform_of(name):
    """(platform, what the name says) if a platform gave the name to a file or folder, otherwise None."""
    name = unicodedata.normalize("NFC", ARCHIVE.sub("", name))
    tries = ((platform, re.fullmatch(pattern, name)) for platform, pattern in PLATFORMS.items())
    return next(((platform, match.groupdict("")) for platform, match in tries if match), None)


def by_gradescope(entries):
    """Say whose an entry is, if Gradescope's list does: its folders are numbers, other ones in each assignment.

    A list in what somebody handed in says nothing: it lies in a folder of another, or not all notebooks lie beside it.
    """
    lists = [entry for entry in entries if entry.path[-1] == "submission_metadata.yml"]
    people, exports = {}, set()
    for entry in sorted(lists, key=lambda entry: len(entry.path)):
        with suppress(Exception):  # of anything else that is called so
            if not people.keys() & above([entry]):
                people |= {(*entry.path[:-1], name): who for name, who in submitters(entry.read()).items()}
                exports.add(entry.path[:-1])
    if people and (other := next((each for each in entries if each.notebook and not exports & above([each])), None)):
        print(f"{lists[0]} is not used, since {other} is not in its folder")
        return
    for entry in entries:
        for depth in range(len(entry.path)):
            if entry.path[: depth + 1] in people:
                entry.platform, entry.student = "Gradescope", people[entry.path[: depth + 1]]


def submitters(text):
    """{folder: who handed it in} of Gradescope's list, by e-mail addresses or names, where these tell people apart."""
    people = {}
    for folder, about in yaml.load(text, Loader=yaml.CBaseLoader).items():  # nothing but texts
        with suppress(Exception):
            group = [person.get(":email", "").lower() or person[":name"] for person in about[":submitters"]]
            people[folder] = ", ".join(sorted(group)) * all(group)
    alike = {folder: re.sub(r"\W", "_", who).casefold() for folder, who in people.items()}
    times = Counter(alike.values())
    return {folder: who for folder, who in people.items() if times[alike[folder]] == 1 and 0 < len(who.encode()) < 150}


def by_platforms(entries):
    """Say whose an entry is, if a platform's name does."""
    said, numbers, in_folder = {}, defaultdict(set), defaultdict(set)
    for entry in entries:
        names = (*entry.folders, entry.path[-1])
        depth = next((depth for depth, name in enumerate(names, 1) if platform_of(name)), 0)
        if depth and not entry.student:
            entry.platform, said[entry] = platform_of(names[depth - 1])
            folder, name, number = entry.path[: depth - 1], said[entry]["name"], said[entry].get("number")
            numbers[folder, name, entry.notebook].add(number)
            if entry.platform == "Moodle":
                in_folder[folder, name].add(number)
    names_in = Counter(folder for folder, _ in {(folder, name) for folder, name, _ in numbers})
    anonymous = {"Participant"} | {name for folder, name, _ in numbers if names_in[folder] == 1}
    shared = {name for (_, name, stem), of_one_name in numbers.items() if stem and len(of_one_name) > 1}
    shared |= {name for (_, name), of_one_name in in_folder.items() if " " not in name and len(of_one_name) > 1}
    for entry, parts in said.items():
        entry.student, number = parts["name"], parts.get("number")
        is_hidden = entry.platform == "Moodle" and " " not in entry.student and entry.student in anonymous
        if number and (entry.platform == "Canvas" or is_hidden or entry.student in shared):
            entry.student += f"_{number}"
        with suppress(KeyError, ValueError):
            when = re.sub(r" (\d{3} [AP]M)", r" 0\1", parts["time"])  # "115 PM" would be read as 11:5
            entry.time = datetime.strptime(when, TIMES[entry.platform]).timestamp()


def order(entry):
    """The last in this order counts."""
    of_assignment = {split(part)[0] for part in entry.folders if part.endswith("-submissions")}  # GitHub Classroom
    is_elsewhere = bool(of_assignment - {None, entry.notebook})
    is_older = bool(words(COPY_OF.sub("", entry.path[-1])) & OLDER)
    place = re.sub(r"\d+", lambda number: number[0].zfill(20), str(entry).removesuffix(".ipynb"))
    return not is_elsewhere, entry.time, not is_older, place, entry.path


def above(entries):
    """The folders that they lie in."""
    return {entry.path[:depth] for entry in entries for depth in range(len(entry.path))}


def by_folders(entries, students):
    """Say whose an entry is, by its folders: {student: why nothing of theirs is graded}.

    students: the names of those who have handed in before. A folder called so is theirs, also where it is alone.
    """
    work, inner = [entry.shelf for entry in entries if entry.notebook], above(entries)
    shelves = [entry.shelf for entry in entries if entry.shelf and entry.path not in inner]
    same = [len(set(names)) == 1 for names in zip(*shelves)] + [False]
    top = min([same.index(False), *(max(0, len(shelf) - 1) for shelf in work)])  # a folder of one folder is opened

    def in_doubt(level):
        for entry in entries:
            entry.student = entry.shelf[level] if entry.shelf[level:] else None
        doubts = doubtful(entries)
        return sum(entry.student in {None, *doubts} for entry in entries if entry.notebook)

    theirs = [level for level in range(top) if work and identifier(work[0][level]) in students]
    level = min([*theirs, *range(top, max([top + 1, *map(len, work)]))], key=in_doubt)
    in_doubt(level)
    holders = {entry.shelf[:depth] for entry in entries if entry.student for depth in range(level + 1)}
    for entry in entries:
        if not entry.student and entry.shelf and entry.shelf not in holders:  # a student's folder that lies higher
            entry.student = entry.shelf[-1]
    return doubtful(entries)


def doubtful(entries):
    """{student: the doubt}: a notebook in two places, or too often in one, may be of several people."""
    files, doubts = defaultdict(list), {}
    for entry in entries:
        files[entry.student, entry.notebook].append(entry)
    most = MOST_TRIES if len({student for student, _ in files if student}) > 1 else 1
    for (student, stem), mine in files.items():
        last = max(mine, key=lambda entry: len(entry.shelf))
        other = next((entry for entry in mine if last.shelf[: len(entry.shelf)] != entry.shelf), None)
        if not other and max(Counter(entry.path[:-1] for entry in mine).values()) > most:
            other = next(entry for entry in mine if entry is not last)
        if student and stem and other:
            doubts[student] = (
                f"not graded: '{last}' and '{other}' may be of two people; leave one, or give each person a folder"
            )
    return doubts


def collect(folder, course):
    """Copy what was handed in to course/submitted/, where it is new: {(student, notebook): the copy}, {student: notes}.

    How the folder was understood is printed, and what in it is no student's. The copies are UTF-8.
    """
    whole = walk(folder) if folder.is_dir() else look_into((folder.name,), partial(open, folder, "rb"), 0)
    entries = list(whole)
    by_gradescope(entries)
    by_platforms(entries)
    known = above(entry for entry in entries if entry.student)
    others = [entry for entry in entries if not entry.student and entry.problem != "aside" and entry.path not in known]
    before = {path.name for path in (course / "received").glob("*")}
    doubts = by_folders(others, before) if not known or any(entry.notebook for entry in others) else {}
    mine, found, notes = defaultdict(list), {}, {}
    for entry in sorted(entries, key=order):
        mine[entry.student].append(entry)
    report(folder, entries, mine.pop(None, []))
    for student, name in identifiers(mine, folder).items():
        used = {entry.notebook: entry for entry in mine[student] if entry.notebook and student not in doubts}
        notes[name] = [doubts[student]] if student in doubts else [] if used else ["no notebook"]
        notes[name] += mentions(entry for entry in mine[student] if entry not in used.values())
        for stem, entry in sorted(used.items()):
            try:
                content = as_utf8(entry.read())
            except Exception as error:  # whatever a broken zip file makes of the reader
                notes[name].append(f"not graded: {entry} cannot be read ({error})")
            else:
                found[name, stem] = copy(content, course, name, stem)
    if doubts and not found:
        sys.exit("\n".join(f"{student}: {doubt}" for student, doubt in doubts.items()))
    return found, {name: [note.encode(errors="replace").decode() for note in said] for name, said in notes.items()}


def identifier(student):
    """A name that nbgrader takes."""
    kept = (char if unicodedata.category(char)[0] in "LMN" or char in ".@ -" else "_" for char in student)
    return "".join(kept).strip(" .") or "_"


def identifiers(students, folder):
    """{student: a name that nbgrader takes}, in the order of these names."""
    names, taken = {}, {}
    for student in students:
        name = names[student] = identifier(student)
        other = taken.setdefault(name.casefold(), student)  # a disk may not tell Ada from ada
        if other != student:
            sys.exit(f"Both {other!r} and {student!r} in {folder} would be the student {name!r}: rename one.")
    return dict(sorted(names.items(), key=lambda pair: pair[1]))


def mentions(entries):
    """Each file by its name, or by that of its folder if it is one of many that are no notebooks."""
    entries = [entry for entry in entries if entry.problem not in ("folder", "aside")]
    others = Counter(entry.path[:-1] for entry in entries if not entry.problem and not split(entry.path[-1])[0])
    many = {folder: f"{'/'.join(folder)}/ ({n} files)" for folder, n in others.items() if n > 3}
    names = [entry if split(entry.path[-1])[0] else many.get(entry.path[:-1], entry) for entry in entries]
    said = [f"not read: {e} ({e.problem})" if e.problem else f"not used: {name}" for e, name in zip(entries, names)]
    return list(dict.fromkeys(said))


def report(folder, entries, nobodys):
    """Print how a folder was understood, and what in it is no student's."""
    examples = defaultdict(dict)
    for entry in entries:
        if entry.student:
            examples[entry.platform].setdefault(entry.student, entry)
    said = [f"{len(of)} by {kind} ({next(iter(of))}: {next(iter(of.values()))})" for kind, of in examples.items()]
    print(f"{folder}: students {len({entry.student for entry in entries} - {None})}", *said, sep=", ")
    for mention in mentions(nobodys):
        print(f"in no student's folder, {mention}")
    aside = [next(filter(ASIDE.fullmatch, entry.path)) for entry in entries if entry.problem == "aside"]
    if aside:
        names = ", ".join(name for name, _ in Counter(aside).most_common(3))
        print(f"left aside: {len(aside)} of platforms and systems ({names}, ...)")


def as_utf8(content):
    """A notebook that was saved as UTF-16, or with a byte order mark, as nbformat reads it; other files as they are."""
    with suppress(UnicodeError):
        text = content.decode(json.detect_encoding(content))
        return text.encode() if text.lstrip().startswith("{") else content
    return content


def copy(content, course, student, stem):
    """Write what was handed in to where nbgrader looks for it, unless it has been there."""
    name = f"{stem}.ipynb"
    file, received = course / "submitted" / student / stem / name, course / "received" / student / name
    if not received.exists() or received.read_bytes() != content:
        for target in (file, received):
            with replacing(target) as temporary:
                temporary.write_bytes(content)
    return file
