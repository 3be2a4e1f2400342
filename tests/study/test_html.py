"""The page that the notebook becomes: whole in one file."""

import re

import nbformat
from made_up import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from study.html import write_page

NOTEBOOK = ROOT / "S5_Normalization.ipynb"
ELSEWHERE = re.compile(r"""(?:src|href)\s*=\s*["']https?:[^"']*["']|url\(["']?https?:|import .* from ["']http""")


def page(*cells, tmp_path):
    write_page(new_notebook(cells=list(cells)), tmp_path / "page.html")
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def shown(markdown):
    """A cell whose output is that Markdown."""
    return new_code_cell("show()", outputs=[new_output("display_data", {"text/markdown": markdown})])


def test_the_study_loads_nothing_and_shows_all(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    write_page(notebook, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    links = set(re.findall(r'<a [^>]*href="(https?:[^"]*)"', html))
    assert {match for match in ELSEWHERE.findall(html) if not any(link in match for link in links)} == set()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert len(re.findall('<img [^>]*src="data:image/png;base64,', html)) == pictures > 20
    assert "<script src" not in html and "$" not in re.sub(r"<(script|style|iframe).*?</\1>", "", html, flags=re.DOTALL)


def test_formulas_are_drawn_by_the_browser_itself(tmp_path):
    html = page(new_markdown_cell("# All of it\n\n$\\mu_S$ and $$y = \\frac{x}{2}$$ cost `$5`"), tmp_path=tmp_path)
    assert html.count("<math") == 2 and html.count('display="block"') == 1 and "<mfrac>" in html
    assert "<code>$5</code>" in html and "<title>All of it</title>" in html
    assert "<msup>" in page(shown("$x^2$"), tmp_path=tmp_path), "in Markdown that code gives, too"


def test_the_name_of_a_data_set_is_text(tmp_path):
    name = "<img src=x onerror=alert(1)> a<b>c"
    html = page(new_markdown_cell(f"# {name}"), shown(f"{name}\n\n| {name} |\n|---|\n| {name} |"), tmp_path=tmp_path)
    assert "<img src=x" not in html and "<b>c" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") >= 4


def test_a_picture_from_elsewhere_becomes_its_words(tmp_path):
    html = page(
        new_markdown_cell("[![Open it](https://example.org/badge.svg)](https://example.org)"), tmp_path=tmp_path
    )
    assert "badge.svg" not in html and ">Open it</a>" in html
