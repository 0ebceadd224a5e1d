"""Commands that install things, for submissions: they only say what was asked for. Grading changes no environment."""

import sys

SAID = "Nothing is installed or removed while work is graded."
COMMANDS = ("pip", "pip3", f"pip3.{sys.version_info.minor}", "pipx", "uv", "conda", "mamba", "micromamba")
COMMANDS += ("apt", "apt-get", "brew", "sudo")
MODULES = ("pip", "uv", "conda", "ensurepip")  # as in python -m pip
SCRIPT = f"""#!/bin/sh
echo "$(basename "$0") $*" >> "${{VAE_INSTALLS:-/dev/null}}"
echo "{SAID}"
"""
MODULE = f"""import os
import sys


def main(arguments=()):
    with open(os.environ.get("VAE_INSTALLS", os.devnull), "a") as asked:
        print("NAME", *arguments, file=asked)
    print("{SAID}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
"""


def no_installs(folder, environment):
    """Write such commands into a folder, and return the variables that make a process find them before all others.

    Each call of one adds a line to the file that the variable VAE_INSTALLS names.
    """
    commands, modules = folder / "commands", folder / "modules"
    for parent in (commands, modules):
        parent.mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        (commands / name).write_text(SCRIPT)
        (commands / name).chmod(0o755)
    for name in MODULES:
        (modules / f"{name}.py").write_text(MODULE.replace("NAME", name))
    first = {"PATH": commands, "PYTHONPATH": modules}
    return {name: ":".join([str(path), *filter(None, [environment.get(name)])]) for name, path in first.items()}


def asked_for(file):
    """What submissions wanted to install, such as ["pip install tqdm"], from the file that VAE_INSTALLS named."""
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    return [line.strip()[:80] for line in dict.fromkeys(lines)][:5]
