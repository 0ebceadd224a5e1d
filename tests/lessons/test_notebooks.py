"""What every notebook of the lab must be like, and the commands that run them."""

import ast
import copy
import os
import re
import shutil
import subprocess
import sys
import time

import nbformat
import pytest

from teaching.render import HIDDEN_TESTS, dumped, fingerprint, reached
from vae_lib import settings

NOTEBOOKS = sorted((settings.REPOSITORY / "notebooks").glob("*.ipynb"))
EXERCISE = re.compile(r"### BEGIN SOLUTION\n.*?### END SOLUTION", re.DOTALL)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_runs_from_a_fresh_kernel_without_errors(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert not [out for cell in code_cells(notebook) for out in cell.outputs if out.output_type == "error"]


def test_outputs_are_those_of_the_full_profile_on_real_data(notebook):
    said = "\n".join(out.get("text", "") for cell in code_cells(notebook) for out in cell.outputs)
    assert "profile full" in said and not re.search("sample (mnist|cifar10)|(mnist|cifar10|celeba): the embedded", said)


def test_is_light_and_has_no_widget_state(notebook):
    assert "widgets" not in notebook.metadata
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= 25
        assert len(nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))) < 300_000


def test_every_picture_is_followed_by_words(notebook):
    for cell, following in zip(notebook.cells, [*notebook.cells[1:], None]):
        if any("image/png" in out.get("data", {}) for out in cell.get("outputs", [])):
            pair = (following, notebook.cells[notebook.cells.index(cell) + 2 :][:1])
            kinds = [pair[0].cell_type, *(after.cell_type for after in pair[1])]
            assert "markdown" in kinds, f"no words after: {cell.source[:80]}"


def test_every_picture_has_an_alternative_text(notebook):
    for output in (output for cell in code_cells(notebook) for output in cell.outputs):
        if "image/png" in output.get("data", {}):
            assert len(output.metadata["image/png"]["alt"]) > 20
        for image in re.findall("<img[^>]*>", "".join(output.get("data", {}).get("text/html", ""))):
            assert re.search('alt="[^"]{20,}"', image)


def test_every_widget_has_a_static_twin(notebook):
    cells = code_cells(notebook)
    for cell, twin in zip(cells, [*cells[1:], None]):
        if any("application/vnd.jupyter.widget-view+json" in out.get("data", {}) for out in cell.outputs):
            assert twin and any("image/png" in out.get("data", {}) for out in twin.outputs), cell.source[:60]
            assert "widgets." in twin.source or "photos." in twin.source  # made by the same drawing function


def test_every_chart_names_its_axes(notebook):
    for output in (output for cell in code_cells(notebook) for output in cell.outputs):
        text = output.get("metadata", {}).get("image/png", {}).get("alt", "")
        assert not text.startswith("Chart: ") or ("x axis: " in text and "y axis: " in text), text


def sentences(paragraph):
    """The sentences of a paragraph; formulas, code and what stands in parentheses do not count."""
    text = re.sub(r"\$[^$]*\$|`[^`]*`|\([^()]*\)", "x", paragraph)
    return [part for part in re.split(r"""(?<=[.!?])["*_)]*\s+(?=\S)""", text) if part.strip()]


def test_sentences_are_counted():
    assert len(sentences("One (two. three). It is 2.5 units, *not 3.* And $a. b$ is `c. d`, is it? Yes!")) == 4


def test_what_to_see_makes_at_most_three_claims(notebook):
    words = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    paragraphs = [part.removeprefix("**What to see.**") for part in words.split("\n\n") if "**What to see." in part]
    assert paragraphs and not [paragraph for paragraph in paragraphs if len(sentences(paragraph)) > 3]


CONVENTIONS = (
    "**Conventions.** A number after ± is one standard error of the mean; over what it is taken is said beside it. "
    "A latent dimension is *in use* if its KL, averaged over the images, exceeds 0.1 nat."
)


def test_conventions_are_said_first_and_kept(notebook):
    assert CONVENTIONS in " ".join(notebook.cells[0].source.split())
    for cell in notebook.cells:
        assert "+-" not in cell.source and "NBVAL" not in cell.source and "1.96" not in cell.source
        assert not re.search(
            r"std\([^)]*\) / (len\([^)]*\) \*\* 0.5|math\.sqrt\(len)", HIDDEN_TESTS.sub("", cell.source)
        )


def test_the_notebooks_are_read_in_an_afternoon():
    """Words of all Markdown cells, model answers included."""
    notebooks = [nbformat.read(path, as_version=4) for path in NOTEBOOKS]
    assert (
        sum(len(cell.source.split()) for nb in notebooks for cell in nb.cells if cell.cell_type == "markdown") <= 20_950
    )


def test_no_cell_depends_on_the_profile(notebook):
    assert not [cell for cell in code_cells(notebook) if "VAE_PROFILE" in cell.source or "PROFILE." in cell.source]


def test_outputs_were_made_by_this_code(notebook):
    """If this fails, run `make render` (with the real data) and look at what has changed."""
    assert notebook.metadata.vae_lab.rendered_from == fingerprint(notebook)


@pytest.fixture(scope="module")
def original():
    return nbformat.read(NOTEBOOKS[0], as_version=4)


@pytest.fixture(scope="module")
def fresh(original):
    return fingerprint(original)


@pytest.fixture
def library(tmp_path):
    return shutil.copytree(settings.REPOSITORY / "vae_lib", tmp_path / "vae_lib")


def test_all_pythons_see_the_same_code():
    """Python 3.12 puts an empty text behind the b of f"{a:{b}}"."""
    older, newer = (ast.parse('f"{a:{b}}"') for _ in range(2))
    spec = newer.body[0].value.values[0].format_spec
    spec.values = [spec.values[0], ast.Constant("")]
    assert dumped(older) == dumped(newer)
    assert dumped(ast.parse('a or ""')) != dumped(ast.parse("a"))  # an empty text elsewhere counts


def with_source(notebook, old, new):
    """A copy of the notebook with a text of one cell replaced."""
    changed = copy.deepcopy(notebook)
    cell = next(cell for cell in changed.cells if old in cell.source)
    cell.source = cell.source.replace(old, new)
    return changed


def test_words_hidden_tests_and_other_profiles_do_not_make_outputs_stale(original, fresh, library):
    assert fingerprint(original, library) == fresh
    assert fingerprint(with_source(original, "# 1. Theory", "# 1. In theory <!-- a comment -->")) == fresh
    assert fingerprint(with_source(original, "def exact_elbo", "# a comment\ndef exact_elbo")) == fresh
    assert fingerprint(with_source(original, "for each row", "for every row")) == fresh  # in a hidden test
    for module in (library / "losses.py", library / "storage" / "files.py"):
        module.write_text("# a comment\n" + module.read_text().replace('"""', '"""Once more: ', 1))
    (library / "cli" / "parser.py").write_text("other = 1")  # no notebook reaches the command line
    profiles = library / "settings.py"
    profiles.write_text(re.sub(r'(Profile\("(quick|lab)", ).*\)', r'\1"whatever")', profiles.read_text()))
    assert '"lab", "whatever"' in profiles.read_text() and fingerprint(original, library) == fresh
    profiles.write_text(profiles.read_text().replace('Profile("full", "required"', 'Profile("full", "never"'))
    assert fingerprint(original, library) != fresh


@pytest.mark.parametrize(
    "file",
    ["__init__.py", "losses.py", "settings.py", "plots.py", "data/__init__.py", "data/cache.py", "storage/files.py"],
)
def test_a_change_of_the_library_makes_outputs_stale(original, fresh, library, file):
    with (library / file).open("a") as module:
        module.write("\nplanted = 1\n")
    assert fingerprint(original, library) != fresh


PACKAGE = {  # a package of which each module is reached in another way, or not at all
    "__init__.py": "from . import first",
    "first.py": "def later():\n    from .inner.second import some_function",
    "inner/__init__.py": "import lab.third",
    "inner/second.py": "from .. import fourth\nfrom ..deep import *",
    "third.py": "import torch, os.path",
    "fourth.py": "from lab.inner import sibling",
    "deep/__init__.py": "from .fifth import name",
    "deep/fifth.py": "",
    "inner/sibling.py": "",
    "sixth.py": "from lab.seventh import name",
    "seventh/__init__.py": "",
    "os/path.py": "",
}


@pytest.mark.parametrize(
    "code", ["import lab", "from lab import nothing", "import lab.first as f", "if 1:\n import lab"]
)
def test_modules_are_reached_by_every_kind_of_import(tmp_path, code):
    for name, source in PACKAGE.items():
        (tmp_path / "lab" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lab" / name).write_text(source)
    inner = {"lab.inner", "lab.inner.second", "lab.inner.sibling"}
    expected = {"lab", "lab.first", *inner, "lab.third", "lab.fourth", "lab.deep", "lab.deep.fifth"}
    assert reached([ast.parse(code)], tmp_path / "lab").keys() == expected
    assert not reached([ast.parse("import laboratory, os.path")], tmp_path / "lab")


def test_a_change_of_code_or_weights_makes_outputs_stale(original, fresh, tmp_path):
    (tmp_path / "mnist-ae-z2.safetensors").write_bytes(b"others")
    assert fingerprint(original, weights=tmp_path) != fresh
    assert fingerprint(with_source(original, "-0.5, 1.8, 60", "-0.5, 1.8, 61")) != fresh


def test_exercises_have_a_solution_and_a_check(notebook):
    for position, cell in enumerate(notebook.cells):
        if "### BEGIN SOLUTION" in cell.source:
            assert len(EXERCISE.findall(cell.source)) == cell.source.count("### BEGIN SOLUTION")
            checks = [after for after in notebook.cells[position + 1 : position + 4] if "assert" in after.source]
            assert checks, f"no check after {cell.source[:60]}"


# --- the commands ---


def test_import_is_silent_and_needs_no_folder(tmp_path):
    """vae_lib imports from anywhere, writes nothing, and reads the profile from the environment."""
    environment = {**os.environ, "VAE_PROFILE": "lab", "VAE_DATA_DIR": str(tmp_path / "nowhere")}
    code = "import vae_lib.settings as s; print(s.PROFILE.name, s.DATA_DIR)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["lab", str(tmp_path / "nowhere")] and done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_unknown_profile_is_one_sentence(tmp_path):
    environment = {**os.environ, "VAE_PROFILE": "fast"}
    done = subprocess.run([sys.executable, "-c", "import vae_lib"], env=environment, capture_output=True, text=True)
    assert done.returncode and done.stderr.splitlines()[-1].endswith(
        "VAE_PROFILE is 'fast'; set it to one of quick, lab, full."
    )


@pytest.mark.skipif(sys.platform == "win32", reason="make is for Linux and macOS")
@pytest.mark.parametrize("version", ["(3, 13, 0)", "(3, 10, 4)"])
def test_a_wrong_python_gets_one_sentence(tmp_path, version):
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = {version}; $2"\n')
    fake.chmod(0o755)
    for name in ("Makefile", "requirements.txt", "pyproject.toml", "setup.py"):
        (tmp_path / name).write_bytes((settings.REPOSITORY / name).read_bytes())
    start = time.perf_counter()
    done = subprocess.run(["make", "test", f"PYTHON={fake}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode and time.perf_counter() - start < 10
    sentences = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(sentences) == 1 and "needs Python 3.11 or 3.12" in sentences[0]
    assert not (tmp_path / ".venv").exists()
