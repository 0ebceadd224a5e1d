#!/usr/bin/env bash
# Guess: a text that shows an attached picture, copied to another cell without its attachment, becomes a page with a
# broken picture, as JupyterLab shows it: the notebook is valid.
# Seen:  nbconvert writes no page at all, InvalidNotebook ends the whole notebook, so nbgrader's feedback with it. The
# same notebook becomes Markdown and a script. A file (not an attachment) that is missing is a broken picture.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nbconvert==7.17.2 nbformat==5.11.1 mistune==3.4.0 \
  >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
cat >"$folder/export.py" <<'END'
import sys
from importlib.metadata import version

import nbformat
from nbconvert import exporters

print(f"nbconvert {version('nbconvert')}, mistune {version('mistune')}")
seen = {}
for target in ("attachment:plot.png", "plot.png"):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"My answer. ![a plot]({target})")])
    nbformat.validate(notebook)
    for name in ("HTMLExporter", "MarkdownExporter", "PythonExporter"):
        try:
            text, _ = getattr(exporters, name)().from_notebook_node(notebook)
            seen[target, name] = "My answer." in text
        except Exception as error:
            seen[target, name] = type(error).__name__
        print(f"{target}: {name}: {seen[target, name]}")
expected = {pair: True for pair in seen} | {("attachment:plot.png", "HTMLExporter"): "InvalidNotebook"}
sys.exit(seen != expected)
END
"$folder/venv/bin/python" "$folder/export.py"
