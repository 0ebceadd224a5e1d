#!/usr/bin/env bash
# Guess: importing nbformat, as JupyterLab, nbconvert, papermill and nbgrader do when they start, costs little: it reads
# JSON.
# Seen:  it costs as much as importing torch. What jupyter-events asks for, jsonschema[format-nongpl], has brought
# rfc3987-syntax since jsonschema 4.25, and that builds 39 parsers of its grammar when it is imported, although no
# notebook is checked with any. With jsonschema 4.24.1 none is built, and the import takes less than a tenth.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nbformat==5.11.1 jupyter-events==0.12.1 \
  "jsonschema[format-nongpl]==4.26.0" rfc3987-syntax==1.1.0 lark==1.3.1 2>/dev/null
cat >"$folder/count.py" <<'END'
import sys
import time
from importlib.metadata import version
from unittest import mock

import lark

with mock.patch.object(lark.Lark, "__init__", autospec=True, side_effect=lark.Lark.__init__) as build:
    start = time.process_time()
    import nbformat

    seconds = time.process_time() - start
print(f"nbformat {nbformat.__version__}, jsonschema {version('jsonschema')}: {build.call_count} parsers, {seconds:.1f} s")
sys.exit(build.call_count != int(sys.argv[1]))
END
"$folder/venv/bin/python" "$folder/count.py" 39
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jsonschema==4.24.1 2>/dev/null
"$folder/venv/bin/python" "$folder/count.py" 0
