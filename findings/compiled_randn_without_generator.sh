#!/usr/bin/env bash
# Guess: generator=None is the default of torch.randn, so it changes nothing where a function is compiled.
# Seen:  the first size works. At the second one torch.compile makes the size a variable, and then randn(size,
# generator=None) raises, where randn(size) and empty(size).normal_(generator=None) go on. So a model that passes its
# optional generator on to randn trains until the last, smaller batch of the first epoch.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==1.26.4 2>/dev/null
"$folder/venv/bin/python" - <<'END'
import sys

import torch

noises = {
    "randn(size)": lambda x: torch.randn(x.shape),
    "randn(size, generator=None)": lambda x: torch.randn(x.shape, generator=None),
    "empty(size).normal_(generator=None)": lambda x: torch.empty(x.shape).normal_(generator=None),
}
print("torch", torch.__version__, "on the CPU, backend eager, batches of 8, 8 and 5 numbers")
seen = {}
for name, noise in noises.items():
    compiled, seen[name] = torch.compile(noise, backend="eager"), []
    for n in (8, 8, 5):
        try:
            seen[name].append(len(compiled(torch.zeros(n))))
        except Exception as error:
            seen[name].append(type(error).__name__)
    print(f"{name}: {seen[name]}")
works, fails, filled = seen.values()
sys.exit(not (works == filled == [8, 8, 5] and fails == [8, 8, "TorchRuntimeError"]))
END
