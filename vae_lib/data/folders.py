"""The datasets of image files: CelebA, FFHQ, and any folder of one's own."""

import copy
import hashlib
import os
import zipfile
from collections import Counter
from functools import cached_property
from pathlib import Path, PurePath

import numpy as np
from PIL import Image

from vae_lib import settings
from vae_lib.checks import LabError
from vae_lib.data.cache import make_once
from vae_lib.data.decoding import SUFFIXES, decode_files
from vae_lib.data.download import DataMissing, with_torchvision
from vae_lib.data.layouts import Layout, describe, next_step, search
from vae_lib.data.releases import Release, blocks, damaged, parquet_parts, some, stamp_of, whole_number
from vae_lib.data.stores import LARGEST_PACKED, Folder, Parquet, Zip, is_photograph, read_member
from vae_lib.engine.progress import progress_bar
from vae_lib.storage.files import reading, replacing, writing


class FolderRelease(Release):
    """Image files in a store, by their names in it, of which `files` says when one changes."""

    is_large = True
    store, files = None, {}
    sides = None  # width and height that every image must have

    def stamp(self):
        return stamp_of(self.files)

    def read_targets(self, names):
        """int64 (N, attributes), or (N,), a class each."""
        return np.zeros((len(names), 0), np.int64)

    def decode(self, names, size, crop, start):
        if crop is not None and self.sides is not None and crop > min(self.sides):
            raise LabError(f"crop={crop} is larger than the images of {self.sides[1]}x{self.sides[0]} pixels.")
        targets, usable = self.read_targets(names), start > 0
        with progress_bar(len(names), f"decoding {self.name}", start) as bar:
            for part in blocks(start, len(names), 3 * size**2):
                block = decode_files(self.store, names[part], targets[part], size, crop, self.sides)
                bar.update(len(names[part]))
                usable |= len(block.images) > 0
                yield block
        if not usable:
            raise LabError(f"None of the {len(names):,} files in {self.root} is usable: {block.skipped[0]}.")


def every_tenth(names):
    """Split off every tenth item for validation: -> (train, val)."""
    return [name for i, name in enumerate(names) if i % 10], names[::10]


def random_parts(names):
    """A random 80 % (seed 0) are train and val, the others test: {split: names}. Each gets an image of three."""
    names = np.random.default_rng(0).permutation(names).tolist()
    cut = min(round(0.8 * len(names)), len(names) - 1)
    train, val = every_tenth(names[:cut])
    return {"train": train, "val": val, "test": names[cut:]}


def store_in(folder):
    """What holds the images of a folder: the image files themselves, else Parquet files, else one .zip archive: -> (a
    store, its files). LabError if there is nothing of that."""
    if files := (store := Folder(folder)).files():
        return store, files
    archives = sorted(folder.glob("*.zip"))
    if parquet := sorted(folder.rglob("*.parquet")):
        store = Parquet(folder, parquet)
    elif len(archives) == 1:
        store = Zip(archives[0])
    elif archives:
        names = some([archive.name for archive in archives])
        raise LabError(f"{folder} holds {len(archives)} archives ({names}); keep one of them.")
    else:
        lies = f"{folder} holds no images ({', '.join(SUFFIXES)}), but {describe(folder)}"
        raise LabError(f"{lies}; {next_step(folder, 'add some')}.")
    if files := store.files():
        return store, files
    raise damaged(store, "holds no images")


class FFHQ(FolderRelease):
    """Karras et al. 2019, or any other faces: image files, however nested, a .zip archive, or Parquet files."""

    name, folders = "ffhq", ("ffhq", "FFHQ")
    size = 128
    required = False

    @property
    def root(self):
        return self.store

    def download(self, seconds=None):
        how = "put any folder of square faces there, for example FFHQ's thumbnails128x128/, as data/README.md shows"
        raise DataMissing(f"there is no ffhq/ in {settings.DATA_DIR}; {how}.")

    def look(self):
        if not (own := self.own_folders()):
            return None
        release = copy.copy(self)
        release.store, release.files = store_in(own[0])
        return release

    def split(self, split):
        return self.in_order(random_parts(list(self.files))[split]), []

    def in_order(self, names):
        """The names as they are read fast: rows of Parquet files one after another."""
        return sorted(names) if isinstance(self.store, Parquet) else names


PARTS = {"train": "train", "training": "train", "training_set": "train", "train_set": "train"}
PARTS |= {"val": "val", "valid": "val", "validation": "val", "dev": "val"}
PARTS |= {"test": "test", "testing": "test", "test_set": "test"}


class OwnFolder(FFHQ):
    """Any folder of pictures: load_dataset("folder:PATH"). If all lie in subfolders, two at least, these are classes.
    Subfolders train/ and test/ or val/ are the splits, in which subfolders are classes. A line says what was taken."""

    size = 64

    def __init__(self, path):
        if not path.strip() or "\0" in path:
            raise LabError(f"folder:{path} names no folder; write for example folder:/home/me/pictures.")
        self.path = Path(os.path.expanduser(path)).resolve()
        self.name = f"folder:{self.path}"

    @property
    def key(self):
        return f"folder-{hashlib.sha1(str(self.path).encode(errors='surrogateescape')).hexdigest()[:12]}"

    def own_folders(self):
        if not os.path.isdir(self.path):  # self.path.is_dir() may find the name too long
            raise LabError(f"There is no folder {self.path}; name one that holds pictures.")
        return [self.path]

    def look(self):
        release = super().look()
        if (n := len(release.files)) < 3:
            raise LabError(f"{self.path} holds {n} of the 3 pictures that train, val and test need at least; add some.")
        return release

    @cached_property
    def inside(self):
        """The folders that each picture lies in, {name: [folders]}, without those that hold all pictures."""
        if isinstance(self.store, Parquet):
            return {name: [] for name in self.files}
        folders = {name: name.split("/")[:-1] for name in self.files}
        shared = len(os.path.commonprefix(list(folders.values())))  # noqa: RUF071 (of lists, not of letters)
        return {name: of[shared:] for name, of in folders.items()}

    @cached_property
    def parts(self):
        """The pictures of each split, if the outermost folders are splits, else of random ones: {split: names}."""
        if not self.has_parts:
            return random_parts(list(self.files))
        of = {part: [] for part in PARTS.values()}
        for name, folders in self.inside.items():
            if folders and (part := PARTS.get(folders[0].lower())):
                of[part].append(name)
        if not of["test"]:
            of["test"], of["val"] = of["val"], []
        if not of["val"]:
            of["train"], of["val"] = every_tenth(of["train"])
        return of

    @cached_property
    def has_parts(self):
        """True if the outermost folders are splits."""
        return {"train"} < {PARTS.get(folders[0].lower()) for folders in self.inside.values() if folders} - {None}

    @cached_property
    def kinds(self):
        """The classes of all pictures of the splits; None is among them if a picture has none."""
        return {self.kind(name) for names in self.parts.values() for name in names}

    @cached_property
    def target_names(self):
        return tuple(sorted(self.kinds)) if None not in self.kinds and len(self.kinds) > 1 else ()

    def kind(self, name):
        """The class of a picture: the folder that it is in; None if it is in none."""
        folders = self.inside[name][self.has_parts :]
        return folders[0] if folders else None

    def split(self, split):
        return self.in_order(self.parts[split]), [self.taken()]

    def taken(self):
        """How the folder was understood, a sentence."""
        kinds = f"{len(self.target_names)} classes ({some(self.target_names)})" if self.target_names else "no classes"
        splits = "its own" if self.has_parts else "random"
        used = {name for names in self.parts.values() for name in names}
        if None in self.kinds and len(self.kinds) > 2:
            beside = [name for name in self.files if name in used and self.kind(name) is None]
            kinds += f", since some pictures lie outside the classes' folders ({some(beside)})"
        left_out = [name for name in self.files if name not in used] + getattr(self.store, "left_out", [])
        rest = f"; left out: {len(left_out):,} ({some(left_out)})" if left_out else ""
        return f"{self.path}: {len(used):,} pictures, {kinds}, {splits} splits{rest}."

    def read_targets(self, names):
        if not (kinds := self.target_names):
            return super().read_targets(names)
        return np.array([kinds.index(self.kind(name)) for name in names], np.int64)


# --- CelebA ---

OF_CELEBA = ("celeba", "CelebA", "celeba-dataset", "CelebAMask-HQ")
INSIDE = tuple(f"{outer}/{inner}" for outer in OF_CELEBA for inner in ("archive", "celeba", "CelebA", "CelebAMask-HQ"))
IMAGES, ATTRIBUTES, PARTITION, PERSONS = (
    "img_align_celeba/",
    "list_attr_celeba.txt",
    "list_eval_partition.txt",
    "identity_CelebA.txt",
)
HQ_IMAGES, HQ_ATTRIBUTES, HQ_MAPPING = (
    "CelebA-HQ-img/",
    "CelebAMask-HQ-attribute-anno.txt",
    "CelebA-HQ-to-CelebA-mapping.txt",
)
TABLES = (ATTRIBUTES, PARTITION, PERSONS, "list_attr_celeba.csv", "list_eval_partition.csv")
LAST_OF_TRAIN, LAST_OF_VAL, LAST = 162_770, 182_637, 202_599  # by its number, an image is of an official part
SIDES = 178, 218
LARGEST_TABLE = 2**26  # bytes; the largest has 27 million


class CelebA(FolderRelease):
    """Liu et al. 2015, all images or some of them, with the official lists or Kaggle's .csv files."""

    name, size, crop, sides = "celeba", 64, 148, SIDES
    folders = OF_CELEBA
    LISTS = Layout(
        "CelebA",
        (*OF_CELEBA, *INSIDE, ""),
        {
            IMAGES: [f"{IMAGES}{IMAGES}", IMAGES, f"Img/{IMAGES}"],
            ATTRIBUTES: [ATTRIBUTES, "list_attr_celeba.csv", f"Anno/{ATTRIBUTES}"],
        },
        {
            PARTITION: [PARTITION, "list_eval_partition.csv", f"Eval/{PARTITION}"],
            PERSONS: [PERSONS, f"Anno/{PERSONS}"],
        },
    )
    HQ = Layout(
        "CelebAMask-HQ", (*OF_CELEBA, *INSIDE), {name: [name] for name in (HQ_IMAGES, HQ_ATTRIBUTES, HQ_MAPPING)}
    )
    PARQUET = Layout(
        "CelebA in Parquet files", (*OF_CELEBA, *INSIDE), parquet_parts("train"), parquet_parts("valid", "test")
    )
    layouts = LISTS, HQ, PARQUET
    attributes = ATTRIBUTES  # the file that lists them

    def look(self):
        if archive := self.packed():
            unpack(archive)
        return super().look()

    def packed(self):
        folders = [settings.DATA_DIR / folder for folder in (*OF_CELEBA, *(f"{name}/Img" for name in OF_CELEBA), "")]
        archives = (path for folder in folders for path in sorted(folder.glob("*.zip")) if holds_celeba(path))
        return next(archives, None) if search(self.layouts)[0] is None else None

    def copy_of(self, found):
        release = {self.LISTS: CelebA, self.HQ: CelebAHQ, self.PARQUET: CelebAParquet}[found.layout]()
        release.found = found
        release.store = release.find_store()
        release.files = release.store.files()
        if not release.files:
            raise LabError(f"{release.store} holds no images ({', '.join(SUFFIXES)}); fill it as data/README.md shows.")
        release.sides = common_sides(release.store, list(release.files)) or SIDES
        return release

    def download(self, seconds=None):
        from torchvision import datasets  # here, since importing it takes a second

        try:
            with_torchvision(self.name, datasets.CelebA, "drive.google.com", seconds)
        except DataMissing as missing:
            if (cut_off := next(filter(is_cut_off, sorted(settings.DATA_DIR.glob("*.zip"))), None)) is None:
                raise
            hint = f"{cut_off} is no whole archive; if it is meant to be CelebA's, fetch it again."
            raise DataMissing(f"{missing} {hint}") from None

    def find_store(self):
        """Where the images are."""
        return Folder(self.found.path(IMAGES))

    def stamp(self):
        files = (self.found.path(what) for what in (ATTRIBUTES, PARTITION, HQ_ATTRIBUTES, HQ_MAPPING))
        return stamp_of(self.files, *filter(None, files))

    @property
    def target_names(self):
        """The attributes, which the first or second line of their list names."""
        return attribute_names(self.found.path(self.attributes))

    def split(self, split):
        """The official parts. What is not there is replaced: test by the official validation part, val by a tenth of
        train, and if neither is there, test by another tenth of train."""
        parts = self.official_parts()
        train, val, test = ([name for name in self.files if parts.get(name) == part] for part in range(3))
        unlisted = [name for name in self.files if name not in parts]
        notes = []
        if len(self.files) < LAST:
            notes.append(f"{len(self.files):,} of CelebA's {LAST:,} images are on disk.")
        if self.sides != SIDES:
            same = "cut in proportion" if self.crop_here(self.crop) else "not cut, so the framing differs"
            notes.append(f"The images of this copy are of {self.sides[0]}x{self.sides[1]} pixels, not 178x218: {same}.")
        if unlisted:
            left_out = f"{len(unlisted):,} images that are in no official part are left out"
            notes.append(f"{left_out}: {some(unlisted)}.")
        if not test and not val and train:
            notes.append("All are of the official train part: 'test' is a tenth of them, 'val' a tenth of the others.")
            train, test = every_tenth(train)
        elif not test:
            replaced = f"'test' is the official validation part ({len(val):,} images)"
            notes.append(f"None is of the official test part: {replaced}.")
            val, test = [], val
        if not val:
            notes.append(f"'val' is every tenth of the {len(train):,} images of the train part.")
            train, val = every_tenth(train)
        return {"train": train, "val": val, "test": test}[split], notes

    def official_parts(self):
        """The official part of each image: {name: 0, 1 or 2}; without their list by the numbers of the images."""
        if (path := self.found.path(PARTITION)) is not None:
            return {name: row[0] for name, row in read_rows(path, self.files, 1, {"0": 0, "1": 1, "2": 2}).items()}
        return {name: part for name in self.files if (part := official_part(name)) is not None}

    def crop_here(self, crop):
        """The crop in pixels of these images, from that in pixels of the official ones; None for another aspect."""
        width, height = self.sides
        same_aspect = abs(height - width * SIDES[1] / SIDES[0]) < 1
        return max(1, round(crop * width / SIDES[0])) if crop and same_aspect else None

    def decode(self, names, size, crop, start):
        if crop is not None and crop > min(SIDES):
            raise LabError(f"crop={crop} is larger than the images of {SIDES[1]}x{SIDES[0]} pixels.")
        return super().decode(names, size, self.crop_here(crop), start)

    def factors(self, names):
        """Which person each photograph shows, if identity_CelebA.txt is there."""
        if (path := self.found.path(PERSONS)) is None:
            return {}
        persons = dict.fromkeys(names)
        with reading(path), open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, person = line.partition(" ")
                if name in persons:
                    persons[name] = whole_number(person.strip())
        if missing := [name for name, person in persons.items() if person is None]:
            raise damaged(path, f"names no person for {len(missing):,} of the images ({some(missing)})")
        return {"person": np.array([*persons.values()])}

    def read_targets(self, names):
        return read_attributes(self.found.path(self.attributes), names)


class CelebAHQ(CelebA):
    """CelebAMask-HQ (Lee et al. 2020): 30,000 of the images, cut and enhanced otherwise. Its masks are not read."""

    attributes = HQ_ATTRIBUTES

    def find_store(self):
        return Folder(self.found.path(HQ_IMAGES))

    def official_parts(self):
        path = self.found.path(HQ_MAPPING)
        with reading(path), open(path, encoding="utf-8", errors="replace") as lines:
            rows = [line.split() for line in lines][1:]
        parts = {f"{row[0]}.jpg": official_part(row[2]) for row in rows if len(row) == 3}
        return {name: parts[name] for name in self.files if parts.get(name) is not None}

    def factors(self, names):
        return {}


class CelebAParquet(CelebA):
    """The Parquet files of Hugging Face: a column for each attribute, and perhaps celeb_id, who is shown."""

    parts = "train-*.parquet", "valid-*.parquet", "test-*.parquet"

    def find_store(self):
        return Parquet(self.found.folder, [path for paths in self.found.paths.values() for path in paths])

    @property
    def target_names(self):
        names = self.store.columns()
        if "Smiling" not in names:
            there = f"but {some(names)}" if names else "and no other"
            raise LabError(f"{self.store} has no column Smiling of whole numbers, {there}; get a copy with attributes.")
        return tuple(name for name in names if name not in ("celeb_id", "identity", "image_id"))

    def official_parts(self):
        part_of = {path: part for part, name in enumerate(self.parts) for path in self.found.paths.get(name, [])}
        return {name: part_of[self.store.place(name)[0]] for name in self.files}

    def factors(self, names):
        if "celeb_id" not in self.store.columns():
            return {}
        return {"person": self.store.numbers(names, ["celeb_id"])[:, 0]}

    def read_targets(self, names):
        values = self.store.numbers(names, list(self.target_names))
        if not np.isin(values, (-1, 0, 1)).all():
            raise damaged(self.store, "has attributes that are none of -1, 0 and 1")
        return (values > 0).astype(np.int64)


def official_part(name):
    """The official part of an image by its number: 0, 1 or 2; None if it has none."""
    number = whole_number(PurePath(name).stem)
    return (number > LAST_OF_TRAIN) + (number > LAST_OF_VAL) if number and number <= LAST else None


def common_sides(store, names, n=9):
    """Width and height that most of some of the images have; None if none of these can be opened."""
    sides = Counter()
    for name in names[:: max(1, len(names) // n)]:
        try:
            with Image.open(store.open(name)) as image:
                turned = image.getexif().get(0x0112, 1) > 4  # by a quarter
                sides[image.size[::-1] if turned else image.size] += 1
        except Exception:  # a decoder may raise anything on a damaged file
            continue
    return sides.most_common(1)[0][0] if sides else None


# --- archives and lists ---


def is_cut_off(path):
    """True for what is named like an archive of CelebA, and is no archive."""
    return may_be_celeba(path) and not zipfile.is_zipfile(path)


def may_be_celeba(path):
    """True for the names under which people have CelebA's archive."""
    return path.stem.lower().startswith(("archive", "celeba", "img_align"))


def holds_celeba(path):
    """True for a .zip archive with CelebA's images, and for a damaged one that can only be meant to have them."""
    if not path.is_file():
        return False
    if path.name == "img_align_celeba.zip":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return any("img_align_celeba/" in name for name in archive.namelist())
    except Exception:  # a damaged archive raises almost anything
        return path.parent != settings.DATA_DIR and may_be_celeba(path)


def unpack(archive):
    """Write the images of a .zip archive into the new folder img_align_celeba/, all or nothing, and CelebA's lists,
    where there are none, beside it; one of several processes does it. The folder is made beside the archive, but in
    celeba/ if the archive lies in DATA_DIR itself.

    Only the last part of each name counts, so that nothing can leave the folder. LabError for a file that is no whole
    archive, and, before anything is written, for one that would unpack to far more than it holds.
    """
    celeba = archive.parent / ("celeba" if archive.parent == settings.DATA_DIR else "")
    folder = celeba / "img_align_celeba"

    def members(file, wanted):
        return {PurePath(member.filename).name: member for member in file.infolist() if wanted(member.filename)}

    def extract(temporary):
        with reading(archive), zipfile.ZipFile(archive) as file, writing(folder):
            images = members(file, is_photograph)
            if sum(member.file_size for member in images.values()) > LARGEST_PACKED * archive.stat().st_size:
                raise ValueError("it would unpack to more than twice its size, which no archive of JPEG files does")
            if not images:
                raise ValueError("it holds no images")
            (temporary / folder.name).mkdir(parents=True)
            with progress_bar(len(images), f"unpacking {archive.name}") as bar:
                for name, member in images.items():
                    (temporary / folder.name / name).write_bytes(read_member(file, member))
                    bar.update()

    try:
        with writing(folder):
            make_once(folder, extract)
            with zipfile.ZipFile(archive) as file:
                for name, member in members(file, lambda name: PurePath(name).name in TABLES).items():
                    if not (celeba / name).exists() and member.file_size < LARGEST_TABLE:
                        with replacing(celeba / name) as temporary:
                            temporary.write_bytes(read_member(file, member))
    except LabError:
        raise
    except Exception as error:  # a damaged archive raises almost anything
        hint = "where its quota is spent, Google Drive sends a web page instead"
        raise LabError(f"{archive} cannot be unpacked ({error}); delete it and fetch it again: {hint}.") from None


def attribute_names(path):
    """The names in the first or second line of a list of attributes; LabError if they are not there."""
    with reading(path), open(path, encoding="utf-8-sig", errors="replace") as lines:
        lines = [line.strip() for _, line in zip(range(2), lines)]
    for line in lines:
        line = line.replace(";", ",")  # as spreadsheets write .csv files in some countries
        names = tuple(line.split(",")[1:]) if "," in line else tuple(line.split())  # .csv files name the image, too
        if "Smiling" in names and len(set(names)) == len(names):
            return names
    raise damaged(f"{path}:", "the first or the second line should name the attributes, Smiling among them")


def read_attributes(path, names):
    """The attributes of the named images, each 0 or 1: int64 (N, attributes)."""
    rows = read_rows(path, names, len(attribute_names(path)), {"-1": 0, "0": 0, "1": 1})
    if missing := [name for name in names if name not in rows]:
        raise damaged(path, f"has no row for {len(missing):,} of the images ({some(missing)})")
    return np.stack([rows[name] for name in names]).astype(np.int64)


def read_rows(path, names, columns, allowed):
    """The lines of a table, of blanks, commas or semicolons, that begin with one of the names: {name: int8 (columns,)}.

    LabError for a line that does not hold so many of the allowed numbers, and for a name that is there twice.
    """
    wanted, rows = set(names), {}
    with reading(path), open(path, encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            line = line.replace(",", " ").replace(";", " ")
            name, *_ = line.split(" ", 1)
            if name not in wanted:
                continue
            values = line[len(name) :].split()
            others = [value for value in values if value not in allowed]
            where = f"{path}, line {number}:"
            if name in rows:
                raise damaged(where, f"{name} is there a second time")
            if others:
                raise damaged(where, f"{others[0]!r} after {name} is none of {', '.join(allowed)}")
            if len(values) != columns:
                raise damaged(where, f"not {columns} numbers after {name}")
            rows[name] = np.array([allowed[value] for value in values], np.int8)
    return rows
