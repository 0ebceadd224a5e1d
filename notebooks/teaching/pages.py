"""Notebooks, as they are, as HTML pages for reading offline.

    python notebooks/teaching/pages.py                 those of notebooks/, as pages in build/html/
    python notebooks/teaching/pages.py FOLDER PAGES    those of another folder, such as the executed ones in build/

Formulas become MathML, which browsers draw themselves; each page is one file, and index.html lists them.
"""

import html
import re
import sys
from pathlib import Path

import nbformat
from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from pygments.formatters import HtmlFormatter

from vae_lib.checks import LabError
from vae_lib.settings import REPOSITORY
from vae_lib.storage.files import replacing, writing

CODE_COLOURS = {  # styles of Pygments, and where they hold
    "xcode": "print, (prefers-color-scheme: light)",
    "github-dark": "screen and (prefers-color-scheme: dark)",
}
TEMPLATES = REPOSITORY / "notebooks" / "teaching" / "pages"
HEADING = re.compile(r'<h([1-3]) id="([^"]*)">(.*?) <a aria-label')  # as PageRenderer writes it: level, id, text

RESPELLED = {  # TeX that latex2mathml reads differently: regular expressions, and what is put in their place
    r"\\(mathcal|mathbb)\s*([A-Z])": r"\\\1{\2}",
    r"'(?![a-z])": "′",
    r"(?<=[\w)}])\s*\\(log|ln|sin)\b": r"\\,\\\1",  # TeX's thin space before a function, and after it
    r"\\(log|ln|sin)(?=\s*[\w\\])": r"\\\1\\,",
}
RESPACED = {  # MathML: relations are operators; a slash, a bar or a full stop keeps no distance
    "<mi>&#x0007E;</mi>": "<mo>&#x0223C;</mo>",
    "<mo>&#x0003D;</mo><mi>:</mi>": "<mo>=:</mo>",
    "<mo>&#x0002F;</mo>": '<mo lspace="0" rspace="0">/</mo>',
    '<mo stretchy="false">&#x0007C;</mo>': '<mo stretchy="false" lspace="0" rspace="0">|</mo>',
    "<mo>&#x0002E;</mo>": '<mo lspace="0" rspace="0">.</mo>',
    "<mo>&#x02202;</mo>": "<mi>&#x02202;</mi>",
}


def mathml(tex, display, notebook):
    """A formula in MathML, display "inline" or "block"; LabError if anything of it is left in TeX."""
    spelled = tex.replace(r"\sum_", r"\sum\limits_") if display == "block" else tex
    for pattern, replacement in RESPELLED.items():
        spelled = re.sub(pattern, replacement, spelled)
    try:
        formula = convert(spelled, display=display)
    except Exception:  # latex2mathml's errors have no common ancestor; from some TeX it fails with an IndexError
        formula = None
    if formula is None or "\\" in formula or "$" in formula:  # what it does not know, it leaves as it is
        raise LabError(f"{notebook}: the formula {' '.join(tex.split())} cannot be converted; write it differently.")
    for found, replacement in RESPACED.items():
        formula = formula.replace(found, replacement)
    return formula


class PageRenderer(IPythonRenderer):
    """nbconvert's Markdown, but formulas are MathML, and links lead to pages."""

    def inline_math(self, body):
        return mathml(body, "inline", self.path)

    def block_math(self, body):
        return f'<span class="wide">{mathml(body, "block", self.path)}</span>'

    def latex_environment(self, name, body):
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def table(self, text):
        return f'<div class="wide"><table>\n{text}</table></div>\n'

    def link(self, text, url, title=None):
        return super().link(text, url if "://" in url else re.sub(r"\.ipynb(?=#|$)", ".html", url), title)

    def heading(self, text, level, **attrs):
        anchor = re.sub(r"\W+", "-", html.unescape(re.sub("<[^>]*>", "", text))).strip("-").lower()
        mark = f'<a aria-label="Link to this section" class="anchor" href="#{anchor}">#</a>'
        return f'<h{level} id="{anchor}">{text} {mark}</h{level}>\n'


@pass_context
def markdown_to_html(context, source):
    """The filter that nbconvert's templates call for Markdown cells and Markdown outputs."""
    renderer = PageRenderer(escape=False, path=context["resources"]["metadata"]["name"])
    text = MarkdownWithMath(renderer).render(source)
    return re.sub(r'<math [^>]*"inline">(?:(?!</math>).)*</math>[.,:;!?)]+', r'<span class="whole">\g<0></span>', text)


def convert_notebook(path, exporter):
    """What the templates show of a notebook: name, title, intro (the first paragraph), the other headings, body."""
    resources = {"metadata": {"name": path.name}}
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(
        nbformat.read(path, as_version=4), {}
    )  # bars: the last state
    body, _ = exporter.from_notebook_node(notebook, resources)
    (_, _, title), *headings = HEADING.findall(body)
    intro = re.search("<p>(.*?)</p>", body, re.DOTALL)[1]
    return {"name": f"{path.stem}.html", "title": title, "intro": intro, "headings": headings, "body": body}


def style():
    """Pygments' colours of code, light and dark, then style.css."""
    colours = ""
    for name, where in CODE_COLOURS.items():
        colours += f"@media {where} {{\n{HtmlFormatter(style=name).get_style_defs('.highlight')}\n}}\n"
    return colours + (TEMPLATES / "style.css").read_text(encoding="utf-8")


def make_pages(notebooks, folder):
    """Write a page for each notebook, and index.html; nothing is written unless all can be converted."""
    exporter = HTMLExporter(
        template_name=TEMPLATES.name,
        extra_template_basedirs=[str(TEMPLATES.parent)],
        filters={"markdown2html": markdown_to_html},
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    pages = [convert_notebook(path, exporter) for path in notebooks]
    page, overview = map(exporter.environment.get_template, ("page.html.j2", "overview.html.j2"))
    files = {"index.html": overview.render(pages=pages, style=style())}
    for previous, this, following in zip([None, *pages], pages, [*pages[1:], None]):
        files[this["name"]] = page.render(**this, previous=previous, next=following, style=style())
    for name, text in files.items():
        with writing(folder / name), replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def main(source=REPOSITORY / "notebooks", folder=REPOSITORY / "build" / "html"):
    notebooks = sorted(Path(source).glob("*.ipynb"))
    if not notebooks:
        sys.exit(f"There is no notebook in {source}; name the folder that holds them.")
    try:
        make_pages(notebooks, Path(folder))
    except LabError as error:
        sys.exit(str(error))
    print(f"Open {Path(folder).resolve() / 'index.html'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
