#!/usr/bin/env bash
# Guess: torch.special.ndtr(x), the Gaussian distribution function, keeps its digits in the lower tail, as
#        math.erfc(-x / sqrt(2)) / 2 and torch's own log_ndtr do.
# Seen:  it is computed from 1 + erf, so float64 has lost all digits at -8.4 and float32 at -6, where it is 0; at -5.5
#        float32 is wrong by more than half. Whoever integrates a Gaussian over a grey value (a discretised likelihood)
#        gets log 0 for pixels that are merely unlikely: take differences of log_ndtr instead.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==1.26.4 2>/dev/null
"$folder/venv/bin/python" - <<'END'
import math
import sys

import torch

print("torch", torch.__version__, "on the CPU; the probability below x")
lost, kept = {}, True
for dtype, places in ((torch.float64, (-5.0, -8.0, -8.4, -20.0)), (torch.float32, (-4.0, -5.5, -6.0))):
    for x in places:
        true = math.erfc(-x / math.sqrt(2)) / 2
        found = torch.special.ndtr(torch.tensor(x, dtype=dtype)).item()
        by_log = torch.special.log_ndtr(torch.tensor(x, dtype=dtype)).item()
        lost[str(dtype), x] = found == 0
        kept = kept and math.isclose(by_log, math.log(true), rel_tol=1e-4)
        print(f"{dtype} {x:6}: {true:.4g}; ndtr {found:.4g}, exp(log_ndtr) {math.exp(by_log):.4g}")
expected = {("torch.float64", -8.4), ("torch.float64", -20.0), ("torch.float32", -6.0)}
sys.exit({place for place, zero in lost.items() if zero} != expected or not kept)
END
