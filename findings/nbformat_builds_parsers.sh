#!/usr/bin/env bash
# Guess: importing nbformat, as JupyterLab, nbconvert, papermill and nbgrader do when they start, costs little: it reads
# JSON.
# Seen:  it takes seconds. What jupyter-events asks for, jsonschema[format-nongpl], has brought rfc3987-syntax since
# jsonschema 4.25, and that builds 39 parsers of its grammar when it is imported, although no notebook is checked with
# any. With jsonschema 4.24.1 none is built, and the import takes less than a fifth.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
install() {
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@" >"$folder/log" 2>&1 ||
    { cat "$folder/log"; exit 1; }
}
cat >"$folder/count.py" <<'END'
import sys
import time
from importlib.metadata import version
from unittest import mock

start = time.process_time()
import lark

with mock.patch.object(lark.Lark, "__init__", autospec=True, side_effect=lark.Lark.__init__) as build:
    import nbformat
seconds = time.process_time() - start
print(f"nbformat {nbformat.__version__}, jsonschema {version('jsonschema')}: {build.call_count} parsers, {seconds:.2f} s",
      file=sys.stderr)
print(build.call_count, seconds)
END
install nbformat==5.11.1 jupyter-events==0.12.1 "jsonschema[format-nongpl]==4.26.0" rfc3987-syntax==1.1.0 lark==1.3.1
new=$("$folder/venv/bin/python" "$folder/count.py")
install jsonschema==4.24.1
old=$("$folder/venv/bin/python" "$folder/count.py")
python3 -c 'import sys; n, slow, m, fast = map(float, sys.argv[1:]); sys.exit((n, m) != (39, 0) or fast > slow / 5)' $new $old
