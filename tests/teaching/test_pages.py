"""The pages made of the notebooks: complete, offline, readable without TeX."""

import base64
import re

import nbformat
import pytest
from bs4 import BeautifulSoup

from teaching import pages

WIDGET = "application/vnd.jupyter.widget-view+json"
PIXEL = base64.b64encode(b"not looked at").decode()


def code(source, *data, **metadata):
    """A code cell that shows each dict of mimetypes."""
    alt = {"image/png": {"alt": "Chart: a < b"}}
    outputs = [nbformat.v4.new_output("display_data", bundle, metadata=alt) for bundle in data]
    return nbformat.v4.new_code_cell(source, outputs=outputs, metadata=metadata)


def text(source, **metadata):
    return nbformat.v4.new_markdown_cell(source, metadata=metadata)


def save(folder, name, *cells):
    path = folder / f"{name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), path)
    return path


def marked(grade, solution, points):
    return {"nbgrader": {"grade": grade, "solution": solution, "points": points, "locked": True, "grade_id": "one"}}


def visible(soup):
    """The text of a page, formulas included, without code."""
    return taken_out(BeautifulSoup(str(soup), "html.parser"))


def taken_out(soup):
    """`visible` of a page that is not needed any more: it loses its code."""
    for tag in soup.select("style, pre, code"):
        tag.extract()
    return soup.get_text()


@pytest.fixture
def soups(tmp_path):
    """Two invented notebooks as pages: {name: parsed page}."""
    first = save(
        tmp_path,
        "01_first",
        text("# 1. A & B\n\nWhy $\\beta = 1$? Because.\n\n## The *bound*\n\nSee [the next](02_second.ipynb)."),
        code("show(x)", {"image/png": PIXEL, "text/plain": "Chart"}),
        code("slide(x)", {WIDGET: {"model_id": "x"}, "text/plain": "Box()"}),
        code("table(x)", {"text/markdown": "| error |\n| --- |\n| $\\hat x$ |"}),
        code("def f(): ...", **marked(False, True, 0)),
        code("assert f()", **marked(True, False, 1)),
        text(
            "<!-- BEGIN SOLUTION -->\n**An answer.**\n\n$$\\log p(x) \\ge 0$$\n<!-- END SOLUTION -->",
            **marked(True, True, 10),
        ),
    )
    second = save(tmp_path, "02_second", text("# 2. C\n\nEnd."))
    pages.make_pages([first, second], tmp_path / "html")
    files = sorted((tmp_path / "html").iterdir())
    return {file.name: BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser") for file in files}


def test_one_page_for_each_notebook_and_a_list_of_them(soups):
    assert list(soups) == ["01_first.html", "02_second.html", "index.html"]
    assert [link["href"] for link in soups["index.html"].select("main a")] == ["01_first.html", "02_second.html"]
    entry = soups["index.html"].select_one("main li")
    assert entry.h2.get_text() == "1. A & B" and entry.p.get_text() == "Why β=1? Because."


def test_pages_lead_to_each_other_and_to_their_sections(soups):
    page = soups["01_first.html"]
    assert page.title.get_text() == "1. A & B - The VAE course lab" and page.html["lang"] == "en"
    assert page.select_one("main p a")["href"] == "02_second.html"
    assert [link["href"] for link in page.select("a[rel=next]")] == ["02_second.html"] * 2
    assert not page.select("a[rel=prev]") and soups["02_second.html"].select("a[rel=prev]")
    assert [link["href"] for link in page.select("nav.contents a")] == ["#the-bound"]
    assert page.find(id="the-bound").name == "h2" and page.select_one("a.skip")["href"] == f"#{page.main['id']}"


def test_pictures_have_words_and_widgets_a_note(soups):
    page = soups["01_first.html"]
    assert [image["alt"] for image in page.select("img")] == ["Chart: a < b"]
    assert [note.get_text() for note in page.select(".note")] == [
        "Interactive in Jupyter; the picture below shows the same with fixed values."
    ]
    assert "Box()" not in page.get_text()


def test_formulas_are_mathml_also_in_tables(soups):
    page = soups["01_first.html"]
    assert [formula["display"] for formula in page.select("main math")] == ["inline", "inline", "block"]
    assert page.select("table math") and not set("$\\") & set(visible(page))


def test_what_is_graded_says_so_and_marks_of_nbgrader_stay_hidden(soups):
    page = soups["01_first.html"]
    labels = [label.get_text() for label in page.select(".label")]
    assert labels == ["Exercise answer", "Tests, 1 point", "Graded by hand, 10 points"]
    assert "An answer." in visible(page) and "SOLUTION" not in visible(page)


def test_nothing_is_loaded_from_elsewhere(soups):
    for page in soups.values():
        assert not page.select("script, link, iframe") and "url(" not in page.style.get_text()
        assert all(image["src"].startswith("data:") for image in page.select("img"))


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        (r"\mathcal N(0, 1)", "&#x1D4A9;"),  # a script N, though without braces
        (r"\mathbb E", "&#x1D53C;"),
        (r"z \sim q", "<mo>&#x0223C;</mo>"),
        (r"a =: b", "<mo>=:</mo>"),
        (r"f'(z)", "<mi>′</mi>"),
        (r"\tfrac12 \log x", '<mspace width="0.167em" /><mi>log</mi><mspace width="0.167em" /><mi>x</mi>'),
        (r"\log(x)", "<mi>log</mi><mo"),
    ],
)
def test_formulas_look_as_in_tex(tex, expected):
    assert expected in pages.mathml(tex, "inline", "a.ipynb")


def test_a_sum_keeps_its_limits_below_in_a_brace():
    formula = pages.mathml(r"\underbrace{\sum_j x_j}_{\text{price}}", "block", "a.ipynb")
    assert formula.count("<munder>") == 3  # the sum, its brace, the words


@pytest.mark.parametrize("tex", [r"\nosuchcommand{x}", r"x^2^3", r"\text{with $y$}", r"\left( x"])
def test_an_unknown_formula_ends_it_with_one_sentence(tmp_path, tex):
    save(tmp_path, "01_first", text(f"# 1\n\nText\n\n$${tex}$$"))
    with pytest.raises(SystemExit, match=re.escape(f"01_first.ipynb: the formula {tex} cannot be converted")):
        pages.main(tmp_path, tmp_path / "html")
    assert not (tmp_path / "html").exists()


def test_says_where_to_start(tmp_path, capsys):
    save(tmp_path, "01_first", text("# 1\n\nText"))
    pages.main(tmp_path, tmp_path / "html")
    assert capsys.readouterr().out.splitlines()[-1] == f"Open {tmp_path / 'html' / 'index.html'}"
    with pytest.raises(SystemExit, match="There is no notebook in"):
        pages.main(tmp_path / "html")


def test_executed_notebooks_become_pages_beside_them_with_the_last_state_of_a_bar(tmp_path):
    """As `make notebooks` does with those in build/."""
    bars = code("train()")
    bars.outputs = [nbformat.v4.new_output("stream", name="stderr", text=f"\repoch {k}") for k in (1, 2, 3)]
    save(tmp_path, "01_first", text("# 1\n\nText, then [the next](02_second.ipynb#c)."), bars)
    save(tmp_path, "02_second", text("# C\n\nEnd."))
    pages.main(tmp_path, tmp_path)
    page = BeautifulSoup((tmp_path / "01_first.html").read_text(encoding="utf-8"), "html.parser")
    assert page.select_one("main p a")["href"] == "02_second.html#c"
    assert "epoch 3" in page.get_text() and "epoch 1" not in page.get_text()
    assert (tmp_path / "index.html").exists()


def words_only(path):
    """A notebook without code and pictures, which take most of the time."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source, cell.outputs = "", [out for out in cell.outputs if "text/markdown" in out.get("data", {})]
    return notebook


def test_all_notebooks_become_pages_without_tex_whose_links_resolve(tmp_path):
    copies = []
    for path in sorted((pages.REPOSITORY / "notebooks").glob("*.ipynb")):
        copies.append(tmp_path / path.name)
        nbformat.write(words_only(path), copies[-1])
    pages.make_pages(copies, tmp_path / "html")
    soups = {
        file.name: BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")
        for file in (tmp_path / "html").iterdir()
    }
    ids = {name: [tag["id"] for tag in soup.select("[id]")] for name, soup in soups.items()}
    assert len(soups) == len(copies) + 1 and sum(len(soup.select("math")) for soup in soups.values()) > 100
    for name, soup in soups.items():
        assert len(ids[name]) == len(set(ids[name])), name
        for link in soup.select("a[href]"):
            target, _, anchor = link["href"].partition("#")
            if "://" not in target:
                assert (target or name) in soups and (not anchor or anchor in ids[target or name]), link["href"]
        assert not set("$\\") & set(taken_out(soup)), name
