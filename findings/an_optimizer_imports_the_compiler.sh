#!/usr/bin/env bash
# Guess: `import torch` has brought all that eager training needs, so an optimizer of one number is made at once.
# Seen:  the first optimizer of a process, even SGD, imports torch's compiler, which nothing here asks for: some 900
# modules, sympy and torch.distributed's DTensor among them. It takes nearly as long as `import torch` itself (2.0 s
# after 2.5 s on two older cores), and whoever times a first training step times this, too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==1.26.4 >"$folder/log" 2>&1 ||
  { cat "$folder/log"; exit 1; }
"$folder/venv/bin/python" - <<'END'
import sys
import time

start = time.perf_counter()
import torch

imported = time.perf_counter()
loss = torch.nn.Linear(1, 1)(torch.ones(1)).sum()
loss.backward()  # a backward pass alone does not import it
heavy = {"torch._dynamo", "sympy", "torch.distributed.tensor"}
before, early = set(sys.modules), heavy & set(sys.modules)
first = time.perf_counter()
torch.optim.SGD([torch.zeros(1, requires_grad=True)])
second = time.perf_counter()
torch.optim.Adam([torch.zeros(1, requires_grad=True)])
third = time.perf_counter()
new = set(sys.modules) - before
print("torch", torch.__version__, f"import {imported - start:.2f} s")
print(f"first optimizer {second - first:.2f} s, {len(new)} new modules; second {third - second:.4f} s")
print("of", sorted(heavy), "there before:", sorted(early), "and after:", sorted(heavy & set(sys.modules)))
slow = second - first > 0.3 * (imported - start)
sys.exit(not (not early and heavy <= set(sys.modules) and len(new) > 500 and slow))
END
