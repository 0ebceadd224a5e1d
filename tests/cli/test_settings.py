"""What the environment and the place of vae_lib decide; how it is without the clone that it came from."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vae_lib import LabError, load_dataset, reduced, settings
from vae_lib.cli.parser import main
from vae_lib.data.download import DataMissing


@pytest.fixture
def read(monkeypatch):
    """read(path, NAME=value, ...): settings.py, or a copy of it, as Python runs it in such an environment."""

    def read(path=settings.__file__, **environment):
        for name in ("VAE_PROFILE", "VAE_DATA_DIR", "TORCHELASTIC_RUN_ID", "LOCAL_RANK"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        spec = importlib.util.spec_from_file_location("copied_settings", path)
        spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
        return module

    return read


@pytest.fixture
def installed(tmp_path):
    """vae_lib as `pip install .` without -e leaves it: -> the folder of packages."""
    shutil.copytree(Path(settings.__file__).parent, tmp_path / "site" / "vae_lib", ignore=lambda *_: ["__pycache__"])
    return tmp_path / "site"


# --- the profile ---


@pytest.mark.parametrize(
    ("argv", "original"),
    [
        (["/usr/local/bin/vae", "info"], ["python", "/usr/local/bin/vae", "info"]),
        (["vae.exe", "info"], ["python.exe", "vae.exe", "info"]),
        (["-m", "info"], ["python", "-u", "-m", "vae_lib", "info"]),
    ],
)
def test_a_misspelt_profile_ends_a_command_with_one_sentence(read, monkeypatch, argv, original):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", original)
    with pytest.raises(SystemExit) as exit:
        read(VAE_PROFILE="ful")
    assert exit.value.code == "vae: VAE_PROFILE is 'ful'; set it to one of quick, lab, full."  # on stderr, and 1


@pytest.mark.parametrize("argv", [["train.py"], ["-m"], [""], []])
def test_elsewhere_it_is_a_lab_error(read, monkeypatch, argv):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", ["python", *argv])
    with pytest.raises(LabError, match="VAE_PROFILE is 'ful'"):
        read(VAE_PROFILE="ful")


def test_what_the_environment_says(read, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    there = read(VAE_PROFILE="Quick", VAE_DATA_DIR="~/pictures", SLURM_STEP_NUM_TASKS="4")
    assert (there.PROFILE.name, there.DATA_DIR, there.TASKS) == ("quick", tmp_path / "pictures", 4)
    assert read(VAE_DATA_DIR="~nobody-has-this-name/x").DATA_DIR.is_absolute()
    under_torchrun = read(SLURM_STEP_NUM_TASKS="4", TORCHELASTIC_RUN_ID="a", LOCAL_RANK="1")
    assert (under_torchrun.TASKS, under_torchrun.LOCAL_RANK) == (1, 1)  # one torchrun a node, started by srun


def test_less_is_done_in_the_quick_profile_only(use_profile):
    for name, expected in {"quick": [100, 2, 1], "lab": [1_000, 15, 3], "full": [1_000, 15, 3]}.items():
        use_profile(name)
        assert [reduced(1_000), reduced(15), reduced(3)] == expected


# --- without the clone ---


def test_folders_are_those_of_the_clone_or_the_current_ones(read, installed, here, monkeypatch):
    """Never those beside the packages."""
    copy = installed / "vae_lib" / "settings.py"
    there = read(copy)
    folders = (there.DATA_DIR, there.SAMPLE_DIR, there.PRETRAINED_DIR, there.CHECKPOINT_DIR, there.FIGURES_DIR)
    assert there.REPOSITORY.samefile(here) and all(folder.is_relative_to(here) for folder in folders)
    assert "pip install -e ." in there.WITHOUT_CLONE
    (clone := here / "lab").mkdir()
    for folder in ("vae_lib", "notebooks"):
        (clone / folder).mkdir()
    (clone / "pyproject.toml").touch()
    for folder in (clone, clone / "notebooks"):
        monkeypatch.chdir(folder)
        there = read(copy)
        assert there.REPOSITORY.samefile(clone) and there.WITHOUT_CLONE is None
    assert read().REPOSITORY == settings.REPOSITORY and settings.WITHOUT_CLONE is None  # with -e, from anywhere


def test_what_needs_the_sample_says_where_it_is(here, monkeypatch, use_profile, capsys):
    monkeypatch.setattr(settings, "SAMPLE_DIR", here / "data" / "sample")
    monkeypatch.setattr(settings, "WITHOUT_CLONE", "vae-lib was installed without -e; do this")
    for profile in ("quick", "lab"):
        use_profile(profile)
        for name in ("mnist", "celeba", "ffhq", "faces", "portraits"):
            with pytest.raises(LabError, match="There is no sample in .*sample: vae-lib was installed") as caught:
                load_dataset(name)
            assert isinstance(caught.value, DataMissing) == (profile == "lab" and name in ("mnist", "celeba", "ffhq"))
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    assert "is used" not in said and said.splitlines()[-1] == "vae-lib was installed without -e; do this."
    assert "portraits not there\n" in said and not list(here.iterdir())


WORK = """
import torch, vae_lib
images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
train = vae_lib.ImageDataset(images, torch.arange(40) % 10, "0123456789", "mine", "train", "real")
vae_lib.fit(vae_lib.FCVAE((1, 8, 8), (8,), 2), train, None, vae_lib.TrainConfig(epochs=1), progress=False)
from vae_lib.cli.parser import main
print(vae_lib.__file__, main(["generate"]), main(["data"]))
main(["--help"])
"""


def test_an_installed_copy_trains_and_writes_nothing(installed, here):
    before = sorted(installed.rglob("*"))
    environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1", "VAE_PROFILE": "full"}
    environment.pop("VAE_DATA_DIR", None)
    done = subprocess.run([sys.executable, "-c", WORK], env=environment, cwd=here, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.startswith("vae: There are no weights called"), done.stderr
    assert f"{installed / 'vae_lib' / '__init__.py'} 1 0\n" in done.stdout and "usage: vae" in done.stdout
    assert sorted(installed.rglob("*")) == before and not list(here.iterdir())
