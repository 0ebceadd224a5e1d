#!/usr/bin/env bash
# Guess: with one seed, torch.randn(60) is the beginning of torch.randn(80), as torch.rand(60) is of torch.rand(80).
# Seen:  only where the shorter size is a multiple of 16. Otherwise its last 16 numbers differ, and below 16 all do.
# So three pictures decoded from seeded draws need not be the first three of four: whoever wants that draws a code at a
# time, or a multiple of 16 numbers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==1.26.4 2>/dev/null
"$folder/venv/bin/python" - <<'END'
import sys

import torch


def first_difference(draw, short, long):
    """The first place where the shorter draw is not the beginning of the longer one; None if there is none."""
    one, other = (draw(n, generator=torch.Generator().manual_seed(0)) for n in (short, long))
    places = (one != other[:short]).nonzero().flatten().tolist()
    return places[0] if places else None


expected = {(12, 16): 0, (40, 60): 24, (60, 80): 44, (64, 80): None, (16, 32): None}
print("torch", torch.__version__, "on the CPU; first difference between n numbers and the first n of more")
seen = {pair: first_difference(torch.randn, *pair) for pair in expected}
for (short, long), place in seen.items():
    print(f"randn({short}) and randn({long}): {'none' if place is None else f'at number {place}'}")
uniform = [first_difference(torch.rand, *pair) for pair in expected]
print(f"rand, the same sizes: {uniform}")
sys.exit(seen != expected or any(place is not None for place in uniform))
END
