"""Profile, folders and device: the environment is read here, once, and nowhere else.

VAE_PROFILE   quick | lab (default) | full
VAE_DATA_DIR  where the real datasets lie (default: the repository's data/)
The variables of torchrun, srun and mpirun say which of several processes this one is (distributed.py).
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from vae_lib.checks import LabError


@dataclass(frozen=True)
class Profile:
    """What a run may use: which data, whose weights, how much training."""

    name: str
    real_data: str  # "never" (the embedded sample) | "if available" (on disk or downloadable) | "required"
    sample_images: dict[str, int] | None  # how many of the embedded sample's, per split (of large images: fewer)
    drawn_images: int  # drawn faces
    images_per_training: int | None  # in all epochs of train_or_load (a large one counts as several); None: no limit
    share_of_repetitions: float  # of all that a notebook writes as reduced(n)
    repeats: int  # of a training with other seeds, at most
    loads_weights: bool  # may use data/pretrained when name, architecture and configuration match
    writes_results: bool  # writes data/pretrained and figures/
    network_seconds: int | None  # that load_dataset waits for a download, at most; None: as long as it takes


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("quick", "never", {"train": 500, "val": 120, "test": 120}, 500, 256, 0.1, 1, False, False, 0),
        Profile("lab", "if available", None, 10_000, 40_000, 1, 9, True, False, 20),
        Profile("full", "required", None, 10_000, None, 1, 9, True, True, None),
    )
}


def choose_profile(name):
    """The Profile called `name`; LabError if there is none."""
    if name not in PROFILES:
        raise LabError(f"VAE_PROFILE is {name!r}; set it to one of {', '.join(PROFILES)}.")
    return PROFILES[name]


def reduced(n):
    """n steps, epochs, draws or faces; in the quick profile, that of the automatic tests, a tenth, at least one."""
    return max(1, round(PROFILE.share_of_repetitions * n))


def own_profile():
    """The Profile that VAE_PROFILE names. A command ends where there is none, since its `main` is not yet imported."""
    try:
        return choose_profile((os.environ.get("VAE_PROFILE") or "lab").lower())
    except LabError as error:
        program = (sys.argv or [""])[0]
        if Path(program).stem == "vae" or (program == "-m" and "vae_lib" in sys.orig_argv):
            sys.exit(f"vae: {error}")
        raise


def is_clone(folder):
    """True for a clone of the lab, and for what `make release` writes."""
    return (folder / "pyproject.toml").is_file() and (folder / "vae_lib").is_dir()


def find_repository():
    """The clone that vae_lib lies in. Where it was installed without -e: the one that the current folder lies in, or
    else the current folder, so that nothing is written beside installed packages."""
    if is_clone(beside := Path(__file__).resolve().parent.parent):
        return beside
    here = Path.cwd()
    return next(filter(is_clone, (here, *here.parents)), here)


def count_tasks(environment):
    """How many processes srun or mpirun has started as one step, this one among them; 1 if none did.

    SLURM_NTASKS would not do: a script of sbatch and a shell of salloc have it, too, and are alone.
    """
    names = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
    values = (environment.get(name, "") for name in names)
    return max([1, *(int(value) for value in values if value.isdecimal())])


REPOSITORY = find_repository()
WITHOUT_CLONE = (
    None
    if is_clone(REPOSITORY)
    else "vae-lib was installed without -e, so its sample and weights are not beside it; work in the folder of the "
    "clone, or run `pip install -e .` there"
)
PROFILE = own_profile()
DATA_DIR = Path(os.path.expanduser(os.environ.get("VAE_DATA_DIR") or REPOSITORY / "data")).absolute()
SAMPLE_DIR = REPOSITORY / "data" / "sample"
PRETRAINED_DIR = REPOSITORY / "data" / "pretrained"
CHECKPOINT_DIR = REPOSITORY / "data" / "checkpoints"
FIGURES_DIR = REPOSITORY / "figures"
LAUNCHED_BY_TORCHRUN = "TORCHELASTIC_RUN_ID" in os.environ
LOCAL_RANK = int(os.environ["LOCAL_RANK"]) if LAUNCHED_BY_TORCHRUN else 0  # among the processes of this machine
TASKS = 1 if LAUNCHED_BY_TORCHRUN else count_tasks(os.environ)
THREADS_ARE_CHOSEN = "OMP_NUM_THREADS" in os.environ
GPU = f"cuda:{LOCAL_RANK}" if LAUNCHED_BY_TORCHRUN else "cuda"
DEVICE = torch.device(GPU if torch.cuda.is_available() else "cpu")
