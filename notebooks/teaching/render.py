"""Run notebooks in the full profile and keep their outputs: make render, or this script with some of their names.

Whatever would differ from one rendering to the next is left out of the files, and each gets a fingerprint of what its
outputs depend on, so that a test can tell when they are stale.
"""

import ast
import hashlib
import json
import os
import re
import sys
import tempfile
from functools import cache
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

from vae_lib.settings import REPOSITORY
from vae_lib.storage.files import replacing

HERE = Path(__file__).resolve().parent
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
SAMPLE = REPOSITORY / "data" / "sample"
WIDGET = "application/vnd.jupyter.widget-view+json"
WATCH = "import sys; sys.path.append({library!r}); import photographs; photographs.watch({report!r})"
HIDDEN_TESTS = re.compile(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.DOTALL)


def render(path):
    """Execute one notebook from a fresh kernel, in its folder, and write it back with its outputs.

    What photographs.py has seen is noted in its metadata; CellExecutionError if that was a photograph of CelebA.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "pictures.json"
        watch = WATCH.format(library=str(HERE), report=str(report))
        client = NotebookClient(
            notebook,
            timeout=None,
            resources={"metadata": {"path": str(path.parent)}},
            record_timing=False,
            store_widget_state=False,
            on_notebook_start=lambda notebook: client.kc.execute(watch, silent=True, store_history=False),
        )
        client.execute()
        notebook.metadata["vae_lab"] = {"pictures": json.loads(report.read_text())}
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})  # of a progress bar, keep the last state
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if WIDGET in output.get("data", {}):
                output.data[WIDGET]["model_id"] = cell.id  # random, and of no use without the kernel
    write(notebook, path)


def stamp(path):
    """Note in a rendered notebook what its outputs were made from."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["vae_lab"]["rendered_from"] = fingerprint(notebook)
    write(notebook, path)


def write(notebook, path):
    """All or nothing."""
    with replacing(path) as temporary:
        nbformat.write(notebook, temporary)


def fingerprint(notebook, library=REPOSITORY / "vae_lib", weights=REPOSITORY / "data" / "pretrained"):
    """A hash of all that the outputs depend on: the code cells, the modules of vae_lib they reach, weights and sample.

    Comments, docstrings, layout, Markdown cells, hidden tests and profiles other than "full" do not count.
    """
    cells = [HIDDEN_TESTS.sub("", cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    trees = [ast.parse(source) for source in cells]
    digest = hashlib.sha256()
    for text in (*map(dumped, trees), *(text for _, text in sorted(reached(trees, library).items()))):
        digest.update(text.encode())
    for file in sorted([*weights.glob("[!.]*"), *SAMPLE.rglob("*.png"), *SAMPLE.rglob("*.jpg"), *SAMPLE.glob("*.csv")]):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def reached(trees, library):
    """The modules of a package that code imports, directly or through each other: {dotted name: what counts of it}.

    library: the package's folder. An import anywhere counts, also one inside a function.
    """
    found, waiting = {}, set().union(*(imported(tree) for tree in trees))
    while waiting:
        name = waiting.pop()
        file = module_file(name, library)
        if file is not None and name not in found:
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            imports, found[name] = read_module(file.read_bytes(), package)
            waiting |= imports
    return found


@cache
def read_module(source, package):
    """-> what a module imports, and what counts of it, as a text. Every notebook reaches nearly the same modules."""
    tree = ast.parse(source)
    return imported(tree, package), dumped(what_counts(tree))


def dumped(tree):
    """A syntax tree as a text, the same from every Python: without what Python 3.12 adds, which also puts an empty text
    behind the b of f"{a:{b}}"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            node.values = [part for part in node.values if not isinstance(part, ast.Constant) or part.value]
    return ast.dump(tree).replace(", type_params=[]", "")


def imported(tree, package=""):
    """All dotted names that the imports of a module may load, with the packages around them; some are no modules.

    "from a.b import c" -> {"a", "a.b", "a.b.c"}. package: where relative imports start.
    """
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return {".".join(parts[: n + 1]) for parts in (name.split(".") for name in names) for n in range(len(parts))}


def module_file(name, library):
    """The file of a module of the package in the folder `library`; None for anything else."""
    top, *parts = name.split(".")
    path = library.joinpath(*parts)
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if top == library.name and file.is_file()), None)


def what_counts(tree):
    """The syntax tree of a module without docstrings, and without the fields of the profiles quick and lab."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Name("Profile"), [ast.Constant("quick" | "lab"), *_]):
                node.args = []
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() if ast.get_docstring(node, clean=False):
                node.body[0].value.value = ""
    return tree


def main(names):
    os.environ["VAE_PROFILE"] = "full"
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # numbers are those of a number of threads
    paths = [Path(name).resolve() for name in names] or NOTEBOOKS
    for path in paths:
        print(f"rendering {path.name}", flush=True)
        render(path)
    for path in paths:  # at the end, since any notebook may have written new weights
        stamp(path)


if __name__ == "__main__":
    main(sys.argv[1:])
