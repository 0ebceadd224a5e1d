#!/usr/bin/env bash
# Guess: scikit-learn's LogisticRegression finds the same plane, to a thousandth or so, whether whole numbers reach it as
#        float32 or as float64: both hold them exactly, and it warns where it has not converged.
# Seen:  with features in the hundreds or thousands, the float32 fit ends after a third of the iterations, with a normal
#        that is off by up to a fifth of its length and a lower accuracy on its own data, and without any warning. With
#        features of size 1 the two agree. So codes or pixels of 0 to 255 are divided, or given as float64, first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==1.26.4 2>/dev/null
"$folder/venv/bin/python" - <<'END'
import sys
import warnings

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression

warnings.simplefilter("error")  # a warning of not having converged would end this
print("scikit-learn", sklearn.__version__)
worst = {}
for size in (1, 1000):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        whole = rng.integers(-3000, 3001, size=(40, 3)) + 5000
        has = (whole - 5000) @ np.array([1.0, -0.4, -0.6]) + 1000 * rng.normal(size=40) > 0
        normals, said = [], []
        for kind in (np.float32, np.float64):
            x = whole.astype(kind) / kind(1000 // size)
            model = LogisticRegression(max_iter=1000).fit(x, has)
            normals.append(model.coef_[0] / np.linalg.norm(model.coef_[0]))
            said.append(f"{model.n_iter_[0]} iterations, accuracy {model.score(x, has):.3f}")
        off = np.abs(normals[0] - normals[1]).max()
        worst[size] = max(worst.get(size, 0), off)
        print(f"size {size}, seed {seed}: float32 {said[0]}; float64 {said[1]}; normals differ by {off:.4f}")
sys.exit(not (worst[1000] > 0.05 and worst[1] < 0.001))
END
