"""The notebook as one page for a browser: everything it shows lies in the file, so that it needs no network."""

from pathlib import Path

import nbformat
from latex2mathml.converter import convert as mathml
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

# nbconvert's page, without the scripts that it loads from elsewhere.
TEMPLATE = """
{%- extends "lab/index.html.j2" -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
<style>main { max-width: 64rem; margin: 0 auto; } .jp-RenderedMarkdown math { font-size: 1.1em; }</style>
{%- endblock -%}
"""


class _Renderer(IPythonRenderer):
    """Markdown to HTML: formulas as MathML, which browsers draw by themselves, and pictures from elsewhere as words."""

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def block_math(self, body: str) -> str:
        return mathml(body, display="block")

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return text if url.startswith("http") else super().image(text, url, title)


class _Exporter(HTMLExporter):
    raw_template = TEMPLATE

    def markdown2html(self, context, source):
        # The Markdown has no HTML of its own: what looks like it, as the name of a data set may, is text.
        return MarkdownWithMath(renderer=_Renderer(escape=True)).render(source)

    markdown2html.jinja_pass_arg = HTMLExporter.markdown2html.jinja_pass_arg  # type: ignore[attr-defined]


def write_page(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write `notebook`, with its outputs, to `path` as HTML with its pictures and formulas inside.

    Raises OSError if it cannot be written.
    """
    lines = notebook.cells[0].source.splitlines() if notebook.cells else []
    title = next((line.lstrip("# ") for line in lines if line.startswith("# ")), path.stem)
    html, _ = _Exporter().from_notebook_node(notebook, {"metadata": {"name": title}})
    path.write_text(html, encoding="utf-8")
