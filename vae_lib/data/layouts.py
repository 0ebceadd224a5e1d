"""The layouts in which people have the files of a dataset, and a search for the one that lies there."""

from dataclasses import dataclass, field

from vae_lib import settings
from vae_lib.checks import LabError


@dataclass(frozen=True, eq=False)
class Layout:
    """What belongs to one way of keeping a dataset, and where it may lie.

    parts: {its official name: the paths that it may have in one of the folders, the preferred first}. A path that ends
    in "/" is a folder, and "*" stands for any characters, so that there may be several.
    """

    kind: str  # for messages, and for those who read it
    folders: tuple[str, ...]  # of DATA_DIR; "" is DATA_DIR itself
    parts: dict[str, tuple[str, ...]]
    optional: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def look(self, folder):
        """The paths of the parts that are there: {official name: [paths]}."""
        found = {what: there(folder, names) for what, names in (self.parts | self.optional).items()}
        return {what: paths for what, paths in found.items() if paths}


@dataclass(frozen=True)
class Found:
    """A layout that lies in a folder, with all parts or only some of them."""

    layout: Layout
    folder: object  # Path
    paths: dict  # {official name: [Path]}

    @property
    def missing(self):
        """The parts that are not there."""
        return [what for what in self.layout.parts if what not in self.paths]

    def path(self, what):
        """The path of a part that is a single file or folder; None for an optional one that is not there."""
        return self.paths.get(what, [None])[0]


def there(folder, names):
    """What matches the first of the names that anything matches, sorted."""
    for name in names:
        of_kind = "is_dir" if name.endswith("/") else "is_file"
        matching = sorted(folder.glob(name.rstrip("/"))) if "*" in name else [folder / name]
        if paths := [path for path in matching if getattr(path, of_kind)()]:
            return paths
    return []


def check_data_dir():
    """LabError if something else than a folder lies where the datasets should."""
    if settings.DATA_DIR.exists() and not settings.DATA_DIR.is_dir():
        raise LabError(f"{settings.DATA_DIR} is a file; set VAE_DATA_DIR to the folder that holds the datasets.")


def search(layouts):
    """Look for layouts in DATA_DIR: -> (the first Found that is whole, or None; the one with most parts, or None)."""
    nearest = None
    for layout in layouts:
        for folder in (settings.DATA_DIR / name for name in layout.folders):
            if not folder.is_dir():
                continue
            found = Found(layout, folder, layout.look(folder))
            if not found.missing:
                return found, found
            share = (len(layout.parts) - len(found.missing)) / len(layout.parts)
            if share > 0 and (nearest is None or share > nearest[0]):
                nearest = share, found
    return None, nearest and nearest[1]


def under(folders, name):
    """A folder in DATA_DIR itself, and in each of these folders."""
    return (name, *(f"{folder}/{name}" for folder in folders))


def describe(folder, n=4):
    """What lies in a folder, for a sentence: "a.csv, b/, ... (12 in all)"."""
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    names = [name for name in names if not name.startswith(".")]
    return ", ".join(names[:n]) + (f", ... ({len(names)} in all)" if len(names) > n else "") if names else "nothing"


UNFINISHED = (".crdownload", ".part", ".partial", ".download")  # what browsers call a download before its end
ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tar.gz", ".tgz")


def next_step(folder, otherwise):
    """What to do with a folder that cannot be read as it is, for a sentence: unpack what lies there, or `otherwise`."""
    names = sorted(path.name for path in folder.iterdir()) if folder != settings.DATA_DIR else []
    for endings, step in ((UNFINISHED, "{} is an unfinished download: fetch it again"), (ARCHIVES, "unpack {} there")):
        if there := [name for name in names if name.lower().endswith(endings)]:
            return step.format(there[0])
    return otherwise
