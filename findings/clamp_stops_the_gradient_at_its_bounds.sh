#!/usr/bin/env bash
# Guess: torch.clamp lets the gradient pass at its bounds themselves, as it has since 2018; only beyond them it is 0.
# Seen:  so it is in torch 2.13; in 2.14.1 it is 0 at bounds that are numbers, and halved at those that are tensors. So a
# log-variance that starts at the bound to which it is clamped never moves, and a saturated reconstruction that is
# clamped to [0, 1] before the cross-entropy learns nothing. torch.where lets it pass (vae_lib/checks.py, nan_outside).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/check.py" <<'END'
import sys

import torch

logvar = torch.tensor([-6.0], requires_grad=True)  # of a decoder, learned, and clamped from below
optimizer = torch.optim.SGD([logvar], 0.01)
for _ in range(100):
    clamped = logvar.clamp(min=-6.0)
    loss = (0.5 * (1.0 / clamped.exp() + clamped)).sum()  # -log N of an error of 1
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([logvar], 1.0)
    optimizer.step()
moved = logvar.item() != -6.0
x = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0], requires_grad=True)
numbers, tensors, where = (
    torch.autograd.grad(y.sum(), x)[0].tolist()
    for y in (
        x.clamp(0, 1),
        x.clamp(torch.tensor(0.0), torch.tensor(1.0)),
        torch.where((x >= 0) & (x <= 1), x, 0.5),
    )
)
print(f"torch {torch.__version__}: log-variance after 100 steps {logvar.item():.2f}; gradients at -1, 0, 0.5, 1, 2:")
print(f"  clamp to numbers {numbers}, to tensors {tensors}; where {where}")
passes = [0, 1, 1, 1, 0]
expected = {"old": (True, passes, passes), "new": (False, [0, 0, 1, 0, 0], [0, 0.5, 1, 0.5, 0])}[sys.argv[1]]
sys.exit((moved, numbers, tensors) != expected or where != passes)
END
python3 -m venv "$folder/venv"
for version in 2.13.0:old 2.14.1:new; do
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "torch==${version%:*}" numpy==1.26.4 2>/dev/null
    "$folder/venv/bin/python" "$folder/check.py" "${version#*:}"
done
