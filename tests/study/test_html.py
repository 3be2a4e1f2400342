"""The page that the notebook becomes: whole in one file."""

import re

import nbformat
import pytest
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
    assert len(re.findall('<img [^>]*src="data:image/png;base64,', html)) == pictures > 10
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


def drawn(**about):
    """A cell that shows a picture, with what is said about it."""
    output = new_output("display_data", {"image/png": "QUJD"}, metadata={"image/png": about})
    return new_code_cell("draw()", outputs=[output])


def test_pictures_have_their_alternative_text_and_charts_suit_a_dark_page(tmp_path):
    html = page(drawn(alt="One & its <mean>", chart=True), drawn(alt="A photo", chart=False), tmp_path=tmp_path)
    alts = re.findall('<img [^>]*?alt="(.*?)"', html)
    assert alts == ["One &amp; its &lt;mean&gt;", "A photo"] and "No description" not in html
    assert len(re.findall(r'class="[^"]*\bchart\b[^"]*"', html)) == 1


def test_contents_lead_to_every_heading_and_name_the_data(tmp_path, open_page):
    write_page(
        new_notebook(cells=[new_markdown_cell("# All\n\n## 1 · One\n\n### a <b>\n\ntext"), new_code_cell("x = 1")]),
        tmp_path / "page.html",
        "<i>my</i> digits",
    )
    shown = open_page((tmp_path / "page.html").as_uri())
    assert shown.title() == "All (<i>my</i> digits)" and "Data: <i>my</i> digits" in shown.inner_text("#contents")
    for link in shown.locator("#contents a").all():
        place = link.get_attribute("href").removeprefix("#")
        assert shown.evaluate("id => document.getElementById(id).innerText", place).startswith(link.inner_text())
    assert shown.locator("#contents a").all_inner_texts() == ["1 · One", "a <b>"]
    code = shown.locator("details")
    assert not code.locator(".highlight").is_visible()
    code.locator("summary").click()
    assert code.locator(".highlight").is_visible()
    assert shown.complaints == [] and len(shown.requests) == 1


@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_the_page_is_light_or_dark_as_its_reader_s_system(tmp_path, open_page, scheme):
    write_page(new_notebook(cells=[new_markdown_cell("# All\n\ntext")]), tmp_path / "page.html")
    shown = open_page((tmp_path / "page.html").as_uri(), width=420, scheme=scheme)
    bright = "element => getComputedStyle(element)[`%s`].match(/[\\d.]+/g).slice(0, 3).map(Number)"
    background = sum(shown.locator("body").evaluate(bright % "backgroundColor"))
    text = sum(shown.locator(".jp-RenderedMarkdown").evaluate(bright % "color"))
    assert (background > text) == (scheme == "light") and abs(background - text) > 384
    assert shown.evaluate("document.documentElement.scrollWidth") == 420


def test_links_to_files_of_the_project_lead_to_its_address_or_are_words(tmp_path, monkeypatch):
    cell = new_markdown_cell("[tables](docs/results.md#x), [here](#y), [there](https://example.org)")
    html = page(cell, tmp_path=tmp_path)
    assert 'href="docs' not in html and "tables" in html and 'href="#y"' in html and "https://example.org" in html
    monkeypatch.setattr("study.colab.address", lambda: "https://github.com/a/b")
    assert 'href="https://github.com/a/b/blob/main/docs/results.md#x"' in page(cell, tmp_path=tmp_path)
