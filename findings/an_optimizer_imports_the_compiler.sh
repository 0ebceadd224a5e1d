#!/usr/bin/env bash
# Guess: `import torch` has brought all that eager training needs, so an optimizer of one number is made at once.
# Seen:  the first optimizer of a process, even SGD, imports torch's compiler, which nothing here asks for: 875 modules,
# sympy and torch.distributed's sharded tensors among them. It takes about as long as `import torch` itself (2.0 and
# 2.5 s on two older cores), and whoever times a first training step times this, too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==1.26.4 2>/dev/null
"$folder/venv/bin/python" - <<'END'
import sys
import time

start = time.perf_counter()
import torch  # noqa: E402

imported = time.perf_counter()
loss = torch.nn.Linear(1, 1)(torch.ones(1)).sum()
loss.backward()  # so this is not what takes the compiler
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
sys.exit(bool(early) or heavy - set(sys.modules) != set() or len(new) < 500)
END
