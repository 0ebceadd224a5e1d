#!/usr/bin/env bash
# Guess: torch.manual_seed, where no GPU has been used, sets one generator: some microseconds, wherever it is called.
# Seen:  each call formats the whole call stack three times, once each for CUDA, XPU and MTIA, to keep it for the case
# that such a device is used later. So it costs the more, the deeper it is called (in a notebook, a web server, a test),
# and fifty frames deep more than twenty times as much as seeding a generator of one's own (here sixty times), which a
# loop over seeds can do wherever the code takes a generator.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==1.26.4 >"$folder/log" 2>&1 ||
  { cat "$folder/log"; exit 1; }
CUDA_VISIBLE_DEVICES= "$folder/venv/bin/python" - <<'END'
import sys
import time
import traceback

import torch


def deep(frames, function, *given):
    return deep(frames - 1, function, *given) if frames else function(*given)


def seconds(seed, frames, calls=200):
    start = time.perf_counter()
    for k in range(calls):
        deep(frames, seed, k)
    return (time.perf_counter() - start) / calls


print("torch", torch.__version__)
generator, took = torch.Generator(), {}
for frames in (0, 50):
    for name, seed in {"torch.manual_seed": torch.manual_seed, "generator.manual_seed": generator.manual_seed}.items():
        seconds(seed, frames)
        took[name, frames] = seconds(seed, frames)
        print(f"{name}, {frames} frames deep: {1e6 * took[name, frames]:.1f} microseconds")
stacks, format_stack = [], traceback.format_stack
traceback.format_stack = lambda *given, **more: stacks.append(format_stack(*given, **more)) or stacks[-1]
deep(50, torch.manual_seed, 0)
print("stacks formatted by one call:", len(stacks))
grows = took["torch.manual_seed", 50] > 2 * took["torch.manual_seed", 0]
costly = took["torch.manual_seed", 50] > 20 * took["generator.manual_seed", 50]
sys.exit(not (grows and costly and len(stacks) == 3))
END
