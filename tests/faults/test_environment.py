"""The same work gives the same results on machines that lack something, by another Python, with newer libraries."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vae_lib import settings
from vae_lib.storage.weights import read_tensors

pytestmark = pytest.mark.slow

# What a person does: a training, pictures of the trained and of a shipped model, a figure with drawn faces in it.
WORK = """
import sys
import torch
from vae_lib import plots
from vae_lib.cli.parser import main
from vae_lib.data.drawn_faces import draw_faces

def vae(*arguments):
    if main(arguments):
        sys.exit("vae failed")

name = sys.argv[1]
vae("train", "--data", "mnist", "--model", "fc", "--hidden", "8", "--limit", "400", "--epochs", "1",
    "--out", f"{name}.safetensors")
vae("generate", "--model", f"{name}.safetensors", "--samples", "4", "--out", f"{name}.png")
vae("generate", "--model", "celeba64-conv", "--samples", "4", "--out", "faces.png")
plots.show_images(torch.from_numpy(draw_faces(20, 0)[0]), "Faces × 20, β = 1").savefig("drawn.png")
"""
# Folders of fonts and the programs that list them are not there; matplotlib knows no font but its own.
NO_FONTS = """
import sys
def refuse(event, arguments):
    if event == "subprocess.Popen" or event == "os.scandir" and str(arguments[0]).rstrip("/").endswith("fonts"):
        raise FileNotFoundError(str(arguments))
sys.addaudithook(refuse)
from matplotlib.font_manager import fontManager
assert all("mpl-data" in font.fname for font in fontManager.ttflist)
"""
OFFLINE = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise OSError(101, "Network is unreachable")
sys.addaudithook(refuse)
"""
NAME = "größe"
PICTURES = (f"{NAME}.png", "faces.png", "drawn.png")


def work(folder, environment, preparation=""):
    """WORK in an empty folder, by a process of its own: -> its stdout."""
    folder.mkdir()
    environment = os.environ | {"VAE_PROFILE": "quick", "VAE_DATA_DIR": str(folder / "data")} | environment
    script = folder.parent / "script.py"
    script.write_text(preparation + WORK, encoding="utf-8")
    done = subprocess.run([sys.executable, script, NAME], cwd=folder, env=environment, capture_output=True)
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*PICTURES, f"{NAME}.safetensors"])
    return re.sub(r"[^\n]*\r *", "", done.stdout.decode())  # without progress bars


def trained(folder):
    """Weights and record of the trained model, without the times, which differ."""
    tensors, record = read_tensors(folder / f"{NAME}.safetensors")
    return {name: tensor.tolist() for name, tensor in tensors.items()}, record | {"seconds": None, "history": None}


def pixels(path):
    return np.asarray(Image.open(path), dtype=int)


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory):
    """The folder and the stdout of WORK in the environment of the tests, in two threads."""
    folder = tmp_path_factory.mktemp("ordinary") / "work"
    return folder, work(folder, {"OMP_NUM_THREADS": "2"})


def same_as(ordinary, folder, said):
    """Asserts that the same was said, trained and drawn, to the byte."""
    before, said_before = ordinary
    assert said == said_before and trained(folder) == trained(before)
    for name in PICTURES:
        assert (folder / name).read_bytes() == (before / name).read_bytes(), name
    assert pixels(folder / "drawn.png").std() > 10


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lists its fonts in the registry")
def test_no_home_no_fonts_no_window(ordinary, tmp_path, note):
    note("no home folder, no fonts, MPLBACKEND=TkAgg without a screen", 1, "the same bytes")
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file" / "home")  # nobody can make a folder in a file, not even root
    homes = dict.fromkeys(("HOME", "USERPROFILE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"), nowhere)
    no_window = {"MPLBACKEND": "TkAgg", "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    said = work(tmp_path / "work", homes | no_window | {"OMP_NUM_THREADS": "2"}, NO_FONTS)
    same_as(ordinary, tmp_path / "work", said)


def test_locale_c(ordinary, tmp_path, note):
    note("locale C, a non-ASCII file name", 1, "the same bytes")
    locale = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    said = work(tmp_path / "work", locale | {"OMP_NUM_THREADS": "2"})
    same_as(ordinary, tmp_path / "work", said)


def test_a_terminal_without_the_letters_of_a_name(tmp_path, note):
    """Such as Windows' cp1252 for a Japanese name: the picture is there, and its name is shown as well as it can be."""
    said = "written: gr\\xf6\\xdfe.png"
    note("a terminal that has only ASCII, a non-ASCII file name", 1, "done", said)
    command = [sys.executable, "-m", "vae_lib", "generate", "--samples", "1", "--out", f"{NAME}.png"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (tmp_path / f"{NAME}.png").exists()
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, said, "")


def test_one_thread_offline(ordinary, tmp_path, note):
    """The lab profile, which would fetch real images, uses the sample; one thread rounds as two do, nearly."""
    sentence = "mnist: the embedded sample of real images (data/sample) is used"
    note("one thread, offline, lab profile", 1, "the same pictures", sentence)
    said = work(tmp_path / "work", {"OMP_NUM_THREADS": "1", "VAE_PROFILE": "lab"}, OFFLINE)
    assert sentence in said and "cpu, 1 threads" in said
    _, record = trained(tmp_path / "work")
    assert record["data"]["source"] == "sample" and record["data"]["train"] == 400
    for name in ("faces.png", "drawn.png"):
        assert np.abs(pixels(tmp_path / "work" / name) - pixels(ordinary[0] / name)).max() <= 1, name


# --- another Python, newer libraries ---

REQUIREMENTS = settings.REPOSITORY / "requirements.txt"


def has_version(python, version):
    """True if this Python runs, which pyenv's shims may not, and is of this version."""
    done = subprocess.run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True)
    return done.returncode == 0 and done.stdout.decode().strip() == version


def find_python(version):
    """Path of a Python of this version, on PATH or kept by pyenv; None if there is none."""
    on_path = [Path(folder) / f"python{version}" for folder in os.get_exec_path()]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = (path for path in (*on_path, *pyenv.glob(f"versions/{version}.*/bin/python")) if path.exists())
    return next((path for path in found if has_version(path, version)), None)


def install(name, python, *packages):
    """A virtual environment in build/, with the packages and this repository: -> its Python. Skips without an index."""
    folder = settings.REPOSITORY / "build" / name
    inside = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not inside.exists():
        subprocess.run([python, "-m", "venv", folder], check=True)
    command = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages, "-e", ".[grading]"]
    done = subprocess.run(command, cwd=settings.REPOSITORY, capture_output=True, text=True)
    if done.returncode and "(from versions: none)" in done.stderr:
        pytest.skip("pip reaches no package index")
    assert done.returncode == 0, done.stderr[-2000:]
    return inside


def run_tests(note, fault, python, *options):
    """The quick tests, run by another Python and noted."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [python, "-m", "pytest", "tests", "-q", "-m", "not browser and not slow", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-n", "2", "--dist", "loadscope", *options],
        cwd=settings.REPOSITORY,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    note(fault, int(passed[1]) if passed else 0, "the tests pass")
    assert done.returncode == 0 and passed, done.stdout[-5000:] + done.stderr[-2000:]


def test_the_other_python(note):
    version = "3.12" if sys.version_info[:2] == (3, 11) else "3.11"
    if (python := find_python(version)) is None:
        pytest.skip(f"there is no Python {version} on PATH or in pyenv")
    run_tests(note, f"Python {version}", install(f"python{version}", python, "-r", REQUIREMENTS))


def test_newer_torch_and_numpy_2(note):
    pinned = re.findall(r"^(?!torch|numpy)\w[\w-]*==.*", REQUIREMENTS.read_text(), re.M)
    python = install("newer", sys.executable, "--upgrade", "torch", "torchvision", "numpy>=2", *pinned)
    code = "from vae_lib.storage.records import versions; v = versions(); print(v['torch'], v['numpy'])"
    done = subprocess.run([python, "-c", code], cwd=settings.REPOSITORY, capture_output=True, text=True, check=True)
    torch, numpy = done.stdout.split()
    run_tests(note, f"torch {torch}, numpy {numpy}", python)
