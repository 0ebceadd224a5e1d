"""`vae data`: which datasets are there, and how to get the others. Its docstring is its help."""

import os
from itertools import chain
from pathlib import Path

from vae_lib import settings
from vae_lib.checks import LabError
from vae_lib.data.cache import cache_folder
from vae_lib.data.download import DataMissing, size_of
from vae_lib.data.folders import FolderRelease
from vae_lib.data.layouts import check_data_dir, search
from vae_lib.data.sample import PUBLISHED
from vae_lib.data.stores import Folder, rows_of

OFFICIAL = {"mnist": 70_000, "cifar10": 60_000, "celeba": 202_599, "ffhq": 70_000}  # images


def data(args):
    """Show which datasets are on disk, or fetch them.

    Without `fetch` nothing is downloaded or unpacked. A dataset that is not there comes with the step to take. `fetch`
    takes as long as it must; after an interruption, the same command goes on (celeba: starts anew).

    examples:
      vae data
      vae data fetch mnist cifar10
    """
    check_data_dir()
    if args.action == "fetch":
        return fetch_all(args.names)
    print(f"data in {data_dir()}:")
    print(f"  {'dataset':8} {'images':>8}  {'whole':14}  what lies there")
    for name, release in PUBLISHED.items():
        n, whole, lies = row(release)
        print(f"  {name:8} {n:>8}  {whole:14}  {lies}")
    print(f"  cache: {cache_gigabytes():.1f} GB of decoded images, safe to delete")


def data_dir():
    """Where the datasets should lie, for a sentence."""
    return f"{settings.DATA_DIR}{'' if settings.DATA_DIR.is_dir() else ' (no such folder yet)'}"


def row(release):
    """What is there of a dataset: how many images, whether it is whole, and where, or the step to take."""
    try:
        if (archive := release.packed()) is not None:
            return "-", "packed", f"{archive}, which is unpacked when it is first used"
        release = look(release)
        n, official = count(release), OFFICIAL[release.name]
        whole = "yes" if n == official else f"no, of {official:,}"
        without = "".join(f", without {name}" for name in lacking(release))
        return f"{n:,}", whole, f"{kind(release)} in {release.root}{without}"
    except DataMissing as missing:
        folders = ", ".join(f"{folder}/" for folder in release.folders)
        return "-", "not there", f"{missing} Looked for in {folders}."
    except (LabError, OSError) as error:
        return "-", "no", str(error)


def look(release):
    """The release with its files, as load_dataset finds them, but nothing is downloaded. DataMissing or LabError, with
    the sentence of load_dataset, if it is not there or not whole."""
    if (there := release.look()) is None:
        release.download(seconds=0)
    return there


def count(release):
    """How many images there are in all splits. Pictures are not decoded; arrays are read, which is as fast. LabError
    for damaged files."""
    if isinstance(release, FolderRelease):
        return len(release.files)
    paths = [*chain.from_iterable(release.found.paths.values())]
    if pictures := [path for path in paths if path.is_dir() or path.suffix == ".parquet"]:
        return sum(len(Folder(path).files()) if path.is_dir() else rows_of(path) for path in pictures)
    return sum(len(release.read(part)[1]) for part in ("train", "test"))


def kind(release):
    """The kind of layout that was found, for a sentence."""
    return release.found.layout.kind if release.found else "images"


def lacking(release):
    """The optional files of a layout that are not there."""
    return [what for what in release.found.layout.optional if what not in release.found.paths] if release.found else []


def is_there(release):
    """True if anything of a dataset lies in DATA_DIR, whole or not."""
    return bool(release.own_folders() or release.packed() or search(release.layouts)[0])


def cache_gigabytes():
    """The size of the decoded images, some of which another process may be making."""
    return sum(size_of(Path(folder, name)) for folder, _, names in os.walk(cache_folder()) for name in names) / 1e9


def fetch_all(names):
    """Download datasets one after another, unless they are there. LabError at the end if one could not be had."""
    failed = []
    for name in names:
        try:
            print(f"{name}: {fetch(PUBLISHED[name])}")
        except LabError as error:
            failed.append(f"{name}: {error}")
    if failed:
        raise LabError(" ".join(failed))


def fetch(release):
    """Download one dataset: -> what there is to say about it. LabError if it cannot be had."""
    try:
        return f"is there already, in {look(release).root}"
    except DataMissing:
        pass
    try:
        release.download()
    except KeyboardInterrupt:
        goes_on = "what came is kept, and the same command goes on from there"
        raise KeyboardInterrupt(f"interrupted; {goes_on if release.remotes else 'nothing is kept'}") from None
    return f"fetched, {count(there := look(release)):,} images in {there.root}"
