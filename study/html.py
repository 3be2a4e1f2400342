"""The notebook as one page for a browser: everything it shows lies in the file, so that it needs no network."""

import html
import re
from pathlib import Path

import nbformat
from latex2mathml.converter import convert as mathml
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from study import colab

CONTENTS = '<nav aria-label="Contents" id="contents"></nav>'  # attributes in nbconvert's order
STYLE = Path(__file__).parent / "templates" / "page.css"
HEADING = re.compile(r'<h([23])[^>]*? id="([^"]+)"[^>]*>(.*?)<a class="anchor-link"', re.DOTALL)

# nbconvert's page without the scripts that it loads from elsewhere: light or dark, contents at the left, code folded.
TEMPLATE = (
    """
{%- extends "lab/index.html.j2" -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
{{ super() }}
<style>@media (prefers-color-scheme: dark) { {{ resources.dark }} }</style>
<style>{{ resources.looks }}</style>
{%- endblock -%}
{%- block body_header -%}
<body class="jp-Notebook">"""
    + CONTENTS
    + """<main>
{%- endblock -%}
{%- block input_group -%}
<details><summary>Show the code</summary>{{ super() }}</details>
{%- endblock input_group -%}
{%- block data_png scoped -%}
{%- set about = output.metadata.get("image/png", {}) -%}
<div class="jp-RenderedImage jp-OutputArea-output {{ "chart" if about.chart }}">
<img src="data:image/png;base64,{{ output.data["image/png"] }}" alt="{{ about.alt | default("", true) | e }}"
{%- if about.width %} width="{{ about.width | int }}"{% endif %}></div>
{%- endblock -%}
"""
)


class _Renderer(IPythonRenderer):
    """Markdown to HTML: formulas as MathML, which browsers draw by themselves, and pictures from elsewhere as words.

    Links to files of the project lead to its address; where it has none they are words: the page lies elsewhere.
    """

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def block_math(self, body: str) -> str:
        return mathml(body, display="block")

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return text if url.startswith("http") else super().image(text, url, title)

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if url.startswith(("http", "#")):
            return super().link(text, url, title)
        repository = colab.address()
        return super().link(text, f"{repository}/blob/main/{url}", title) if repository else text


class _Exporter(HTMLExporter):
    raw_template = TEMPLATE

    def markdown2html(self, context, source):
        # The Markdown has no HTML of its own: what looks like it, as the name of a data set may, is text.
        return MarkdownWithMath(renderer=_Renderer(escape=True)).render(source)

    markdown2html.jinja_pass_arg = HTMLExporter.markdown2html.jinja_pass_arg  # type: ignore[attr-defined]


def write_page(notebook: nbformat.NotebookNode, path: Path, data: str = "") -> None:
    """Write `notebook`, with its outputs, to `path` as HTML with its pictures and formulas inside.

    `data` names the data set, for the title. Raises OSError if the file cannot be written.
    """
    lines = notebook.cells[0].source.splitlines() if notebook.cells else []
    title = next((line.lstrip("# ") for line in lines if line.startswith("# ")), path.stem)
    exporter = _Exporter()
    dark, *_ = exporter.environment.loader.get_source(exporter.environment, "lab/static/theme-dark.css")
    metadata = {"name": f"{title} ({data})" if data else title}
    text, _ = exporter.from_notebook_node(
        notebook, {"metadata": metadata, "dark": dark, "looks": STYLE.read_text("utf-8")}
    )
    path.write_text(text.replace(CONTENTS, _contents(text, data)), encoding="utf-8")


def _contents(page: str, data: str) -> str:
    """Make the list of the headings of a page, with links to them, below the name of the data set."""
    items = [
        f'<li class="h{level}"><a href="#{html.escape(anchor)}">{re.sub("<.*?>", "", heading).strip()}</a></li>'
        for level, anchor, heading in HEADING.findall(page)
    ]
    about = f"<p>Data: {html.escape(data)}</p>" if data else ""
    return CONTENTS.replace("></nav>", f">{about}<ol>{''.join(items)}</ol></nav>")
