#!/usr/bin/env bash
# Guess: what safetensors.torch.load_file returns is in memory; whatever happens to the file afterwards, it stays.
# Seen:  the tensors are mapped to the file. Another file of the same size copied over it changes the model that was
# loaded before, without a word; load_state_dict, which copies, does not help what was loaded with assign=True or is
# used as it is. And Windows replaces no file that is mapped: a run could not write the checkpoint that it goes on from.
# A clone of each tensor is in memory (vae_lib/storage/weights.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==1.26.4 safetensors==0.8.0 \
    packaging==25.0 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import shutil
import sys

import safetensors
import torch
from safetensors.torch import load_file, save_file

for name, value in (("before", 1.0), ("after", 2.0)):
    save_file({"weight": torch.full((3,), value)}, f"{name}.safetensors")
shutil.copyfile("before.safetensors", "model.safetensors")
loaded = load_file("model.safetensors")["weight"]
copied = loaded.clone()
print(f"safetensors {safetensors.__version__}, torch {torch.__version__}; loaded: {loaded.tolist()}")
shutil.copyfile("after.safetensors", "model.safetensors")
print(f"after another file was copied over it: {loaded.tolist()}; a clone that was made before: {copied.tolist()}")
sys.exit(loaded.tolist() != [2.0] * 3 or copied.tolist() != [1.0] * 3)
END
