#!/usr/bin/env bash
# Guess: the _repr_mimebundle_ of a class takes precedence (over _repr_png_, as the docstring of IPython's
# DisplayFormatter.format says), so a class derived from matplotlib's Figure that gives its own picture there, with an
# alternative text, is drawn once, by itself.
# Seen:  what the inline backend registers for Figure comes before the bundle (a comment in IPython's source says so),
# but the bundle is asked first: the picture is drawn, thrown away and drawn again by matplotlib, and then has the
# metadata of the one that was thrown away. A bundle of text and metadata alone, with the picture in _repr_png_, is
# drawn once.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ipython==9.18.1 matplotlib==3.11.2 \
  numpy==1.26.4 >"$folder/log" 2>&1 ||
  { cat "$folder/log"; exit 1; }
MPLCONFIGDIR="$folder" IPYTHONDIR="$folder" MPLBACKEND=agg "$folder/venv/bin/python" - <<'END'
import sys
from types import SimpleNamespace

import IPython
import matplotlib
from IPython.core.formatters import DisplayFormatter
from IPython.core.pylabtools import select_figure_formats
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure


class InTheBundle(Figure):
    def _repr_mimebundle_(self, **ignored):
        drawn.append("by the class")
        return {"image/png": "a picture of its own", "text/plain": "words"}, {"image/png": {"alt": "words"}}


class Beside(Figure):
    def _repr_mimebundle_(self, **ignored):
        return {"text/plain": "words"}, {"image/png": {"alt": "words"}}

    def _repr_png_(self):
        drawn.append("by the class")
        return "a picture of its own"


draw = FigureCanvasBase.print_figure
FigureCanvasBase.print_figure = lambda *given, **more: (drawn.append("by matplotlib"), draw(*given, **more))[1]
print("IPython", IPython.__version__, "matplotlib", matplotlib.__version__)
seen = []
for kind in (InTheBundle, Beside):
    for inline in (False, True):
        formatter, drawn = DisplayFormatter(), []
        if inline:  # what %matplotlib inline does
            select_figure_formats(SimpleNamespace(display_formatter=formatter), {"png"})
        figure = kind()
        figure.add_subplot()
        data, metadata = formatter.format(figure)
        own = data["image/png"] == "a picture of its own"
        seen.append((drawn, own, metadata))
        print(f"{kind.__name__}, inline {inline}: drawn {drawn}; shows its own picture: {own}; metadata {metadata}")
alt = {"image/png": {"alt": "words"}}
expected = [
    (["by the class"], True, alt),
    (["by the class", "by matplotlib"], False, alt),
    (["by the class"], True, alt),
    (["by matplotlib"], False, alt),
]
sys.exit(seen != expected)
END
