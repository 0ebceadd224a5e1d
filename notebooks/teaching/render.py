"""Run notebooks in the full profile and keep their outputs: make render, or this script with some of their names.

Whatever would differ from one rendering to the next is left out of the files, and each gets a fingerprint of what its
outputs depend on, so that a test can tell when they are stale.
"""

import ast
import hashlib
import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

from vae_lib.settings import REPOSITORY
from vae_lib.storage.files import replacing

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"
HIDDEN_TESTS = re.compile(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.DOTALL)


def render(path):
    """Execute one notebook from a fresh kernel, in its folder, and write it back with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=None, resources=resources, record_timing=False, store_widget_state=False)
    client.execute()
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})  # of a progress bar, keep the last state
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if WIDGET in output.get("data", {}):
                output.data[WIDGET]["model_id"] = cell.id  # random, and of no use without the kernel
    write(notebook, path)


def stamp(path):
    """Note in a rendered notebook what its outputs were made from."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["vae_lab"] = {"rendered_from": fingerprint(notebook)}
    write(notebook, path)


def write(notebook, path):
    """All or nothing."""
    with replacing(path) as temporary:
        nbformat.write(notebook, temporary)


def fingerprint(notebook, library=REPOSITORY / "vae_lib", weights=REPOSITORY / "data" / "pretrained"):
    """A hash of all that the outputs depend on: the code cells, the modules of vae_lib they reach, the weights.

    Comments, docstrings, layout, Markdown cells and hidden tests do not count.
    """
    cells = [HIDDEN_TESTS.sub("", cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    trees = [ast.parse(source) for source in cells]
    modules = reached(trees, library)
    trees += [without_docstrings(ast.parse((library / f"{name}.py").read_bytes())) for name in sorted(modules)]
    digest = hashlib.sha256()
    for tree in trees:
        digest.update(ast.dump(tree).replace(", type_params=[]", "").encode())  # which Python 3.12 adds
    for file in sorted(weights.glob("[!.]*")):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def reached(trees, library):
    """The modules of vae_lib that code imports, directly or through each other."""
    everything, found, waiting = {file.stem for file in library.glob("*.py")}, set(), list(trees)
    while waiting:
        new = imported(waiting.pop()) & everything - found
        found |= new
        waiting += [ast.parse((library / f"{name}.py").read_bytes()) for name in new]
    return found


def imported(tree):
    """Names that may be modules of vae_lib, in any kind of import."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vae_lib":
            names |= {"__init__", *node.module.split(".")[1:], *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "vae_lib" for alias in node.names):
            names |= {"__init__", *(part for alias in node.names for part in alias.name.split(".")[1:])}
    return names


def without_docstrings(tree):
    """The syntax tree with every docstring emptied."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            node.body[0].value.value = ""
    return tree


def main(names):
    os.environ["VAE_PROFILE"] = "full"
    paths = [Path(name).resolve() for name in names] or NOTEBOOKS
    for path in paths:
        print(f"rendering {path.name}", flush=True)
        render(path)
    for path in paths:  # at the end, since any notebook may have written new weights
        stamp(path)


if __name__ == "__main__":
    main(sys.argv[1:])
