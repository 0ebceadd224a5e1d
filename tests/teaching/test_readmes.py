"""The READMEs: links resolve, numbers and arrows are those of the code, the table of faults is written by the suite."""

import ast
import re
from types import SimpleNamespace

import pytest
from answers import ANSWERS

import report
from teaching import points
from teaching.render import imported
from vae_lib.settings import REPOSITORY

FOLDERS = ("", "notebooks", "figures", "data", "tests", "vae_lib")
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
CORE = ("models.py", "losses.py", "training.py")
ROOMS = ("data", "engine", "storage")  # which know no lesson
FOR_ALL = {"vae_lib", "vae_lib.checks", "vae_lib.settings"}


def links(text):
    """Targets of the links and images of a Markdown text, without its code."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]


def anchors(text):
    """The anchors that GitHub gives the headings of a Markdown text."""
    titles = re.findall(r"^#+ (.*)", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("folder", FOLDERS)
def test_links_and_images_resolve(folder):
    readme = REPOSITORY / folder / "README.md"
    for link in links(readme.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = readme.parent / path if path else readme
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_folder_has_a_readme_that_some_other_links_to():
    linked = set()
    for folder in FOLDERS:
        text = (REPOSITORY / folder / "README.md").read_text(encoding="utf-8")
        linked |= {(REPOSITORY / folder / link.partition("#")[0]).resolve() for link in links(text)}
    assert {REPOSITORY / folder / "README.md" for folder in FOLDERS if folder} <= linked


def test_the_first_readme_is_short():
    lines = README.splitlines()
    assert len(lines) <= 133 and max(map(len, lines)) <= 120


def test_numbers_of_the_first_readme():
    lines = sum(len((REPOSITORY / "vae_lib" / name).read_text(encoding="utf-8").splitlines()) for name in CORE)
    assert f"## The VAE in {lines} lines" in README
    exercises = [answers for lesson in ANSWERS.values() for answers in lesson.values()]
    right = sum(len(right) + 1 for _, right, *_ in exercises)  # and our own
    wrong = sum(len(wrong) for _, _, wrong, _ in exercises)
    text = " ".join(README.split())
    assert len(exercises) == 23 and f"{right} right answers keep their points, {wrong} wrong ones lose them" in text


def test_the_table_of_points_is_that_of_the_notebooks():
    lines = (REPOSITORY / "notebooks" / "README.md").read_text(encoding="utf-8").splitlines()
    rows = {cells[1].strip(): cells[2] for cells in (line.split("|") for line in lines) if len(cells) == 5}
    for path in points.NOTEBOOKS:
        exercises = points.exercises(path)
        coded = [f"{name} ({worth})" for name, worth, _ in exercises if not name.startswith("question_")]
        assert rows[path.stem].strip() == ", ".join(coded)
        for name, worth, scheme in exercises:  # the parts of a mark scheme add up to the points
            parts = [int(part) for part in re.findall(r"\((\d+)\)", scheme)]
            assert not name.startswith("question_") or sum(parts) == worth, f"{path.stem}, {name}: {parts}"


def test_its_python_is_of_the_public_interface():
    """Each name of `vae_lib` in the example is there; running it all would train a model."""
    import vae_lib

    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) <= 10
    used = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)]
    names = {node.attr for node in used if isinstance(node.value, ast.Name) and node.value.id == "vae_lib"}
    assert len(names) >= 5 and all(hasattr(vae_lib, name) for name in names)


def test_its_tree_and_that_of_the_tests_name_what_there_is():
    (tree,) = re.findall(r"```\n(notebooks/ .*?)```", README, re.DOTALL)
    for line in tree.splitlines():
        folder = REPOSITORY / "vae_lib" if line.startswith("  ") else REPOSITORY
        assert (folder / line.split()[0]).exists(), line
        assert all((REPOSITORY / line.split()[0] / name).is_dir() for name in re.findall(r"(\w+)/:", line)), line
    tests = (REPOSITORY / "tests" / "README.md").read_text(encoding="utf-8")
    folders = {path.name for path in (REPOSITORY / "tests").iterdir() if path.is_dir() and path.name[0] not in "._"}
    assert not [folder for folder in folders if f"`{folder}/`" not in tests]


def modules(folder):
    """{dotted name: what it imports of vae_lib} of the modules in a folder of vae_lib, or of its core."""
    library = REPOSITORY / "vae_lib"
    files = (library / folder).glob("*.py") if folder else [library / name for name in CORE]
    packages = {file: ".".join(["vae_lib", *file.relative_to(library).parts[:-1]]) for file in files}
    trees = {file: ast.parse(file.read_bytes()) for file in packages}
    return {
        f"{packages[file]}.{file.stem}": {name for name in imported(tree, packages[file]) if name.startswith("vae_lib")}
        for file, tree in trees.items()
    }


def is_module(name):
    path = REPOSITORY.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("room", [*ROOMS, ""])
def test_arrows_point_one_way(room):
    """As vae_lib/README.md says: the rooms know no lesson, and the core knows itself, `evaluation` and the rooms."""
    allowed = tuple(f"vae_lib.{name}" for name in ROOMS)
    core = set() if room else {"vae_lib.models", "vae_lib.losses", "vae_lib.training", "vae_lib.evaluation"}
    for module, names in modules(room).items():
        others = {name for name in names if is_module(name) and not name.startswith(allowed)}
        assert others <= FOR_ALL | core, module


# --- the table of faults ---

ROWS = [("a fault", 2, "refused", "Do this.", True), ("another", 1_000, "the same", "", True)]


def test_the_table_is_put_between_the_marks_and_nowhere_else(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"# Tests\n\n{report.BEGIN}\nold\n{report.END}\nThe end: ü.\n", encoding="utf-8")
    for tries in ("2", "2"):  # a second time, nothing is added
        report.put_between_marks(report.fault_table(ROWS), readme)
        before, text, after = re.split("(?s)<!--.*?-->\n", readme.read_text(encoding="utf-8"))
        assert before == "# Tests\n\n" and after == "\nThe end: ü.\n" and "old" not in text
        assert f"| a fault | {tries} | refused | Do this. |\n| another | 1,000 | the same |  |\n" in text
        assert re.search(r"One run: .*, \d+ CPU cores, Python 3\.\d+\.\d+, \d+ minutes\.\n\n\| Fault", text)
    assert list(tmp_path.iterdir()) == [readme]


def test_without_the_marks_nothing_is_written(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"{report.END}\n{report.BEGIN}")
    with pytest.raises(ValueError, match="needs the lines"):
        report.put_between_marks("table", readme)
    assert readme.read_text() == f"{report.END}\n{report.BEGIN}"


def test_the_marks_are_there_with_a_table():
    text = report.README.read_text(encoding="utf-8")
    table = text.partition(report.BEGIN)[2].partition(report.END)[0]
    assert report.HEADER in table and table.count("\n|") > 50 and "FAILED" not in table


WHOLE = {"markexpr": "not browser", "keyword": "", "deselect": None, "lf": False}


@pytest.mark.parametrize(
    "change, arguments, exitstatus, skipped, expected",
    [
        ({}, ["tests/faults"], 0, 0, True),
        ({}, ["tests/faults"], 1, 0, False),  # a test failed
        ({}, ["tests/faults"], 2, 0, False),  # interrupted
        ({}, ["tests/faults"], 0, 1, False),
        ({}, ["tests/faults/test_disk.py"], 0, 0, False),
        ({}, ["tests"], 0, 0, False),
        ({"markexpr": "not browser and not slow"}, ["tests/faults"], 0, 0, False),  # make test
        ({"keyword": "kill"}, ["tests/faults"], 0, 0, False),
        ({"deselect": ["tests/faults/test_disk.py"]}, ["tests/faults"], 0, 0, False),
        ({"lf": True}, ["tests/faults"], 0, 0, False),
    ],
)
def test_only_the_whole_suite_counts(monkeypatch, change, arguments, exitstatus, skipped, expected):
    monkeypatch.chdir(REPOSITORY)
    options = WHOLE | change
    config = SimpleNamespace(args=arguments, getoption=lambda name, default=None: options.get(name, default))
    assert report.is_whole_suite(config, exitstatus, skipped) == expected
    config.workerinput = {}  # a process of pytest-xdist
    assert not report.is_whole_suite(config, exitstatus, skipped)
    (command,) = re.findall(r"^test-faults:.*\n\t(.*)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert '-m "not browser"' in command and command.endswith(" tests/faults")
