"""The page that the notebook becomes: whole in one file."""

import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from normbench.html import write_page

NOTEBOOK = Path(__file__).parent.parent / "S5_Normalization.ipynb"
ELSEWHERE = re.compile(r"""(?:src|href)\s*=\s*["']https?:[^"']*["']|url\(["']?https?:|import .* from ["']http""")


def page(*cells, tmp_path):
    write_page(new_notebook(cells=list(cells)), tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


def test_the_study_loads_nothing_and_shows_all(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    write_page(notebook, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
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


def test_markdown_that_code_gives_has_formulas_too(tmp_path):
    output = new_output("display_data", {"text/markdown": "$x^2$"})
    assert "<msup>" in page(new_code_cell("show()", outputs=[output]), tmp_path=tmp_path)


def test_a_picture_from_elsewhere_becomes_its_words(tmp_path):
    html = page(
        new_markdown_cell("[![Open it](https://example.org/badge.svg)](https://example.org)"), tmp_path=tmp_path
    )
    assert "badge.svg" not in html and ">Open it</a>" in html
