"""A figure as an SVG element of a page: it takes the page's font and colours, light or dark."""

import io
import re
from html import escape

import matplotlib.pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

GREY = "#666666"
INK = "#010203"  # stands for the colour of a page's text
SVG_OF_A_PAGE = {  # what matplotlib writes, and what a page that holds several figures wants
    r"<metadata>.*?</metadata>": "",
    r'<g id="[^"]*"': "<g",
    r"font-family: [^;\"]*": "font-family: inherit",
    f"{INK}|#000000": "currentColor",
    "#e6e6e6": "#88888833",
    "fill: #ffffff": "fill: Canvas",  # of empty markers: the ground of the page
    GREY: "#888888",
}


def svg(figure: Figure, alt: str) -> str:
    """Return the figure as an SVG element for a page in HTML: in the page's font and colours, light or dark.

    `alt` describes it to those who do not see it.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if to_hex(text.get_color()) == "#000000":  # which would be written as no colour
            text.set_color(INK)
    drawn = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": alt}):
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    written = drawn.getvalue()
    box = re.search(r'viewBox="[^"]*"', written)
    assert box, "matplotlib writes one"
    body = written[written.index(">", written.index("<svg")) + 1 :]
    for pattern, own in SVG_OF_A_PAGE.items():
        body = re.sub(pattern, own, body, flags=re.DOTALL)
    return f'<svg role="img" aria-label="{escape(alt, quote=True)}" {box[0]}>{body}'
