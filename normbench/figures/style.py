"""How every figure looks: width, fonts, markers, title and caption, labels at the ends of lines; and how it is kept."""

import io
import os
import textwrap
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator
from matplotlib.transforms import offset_copy
from scipy.optimize import isotonic_regression

from normbench.layers import colour, parse

if TYPE_CHECKING:
    from IPython.display import Image

WIDTH = 5.3  # inches of a figure: a phone that shows it 380 pixels wide has text of 11 points at 11 pixels
STYLE: dict[Any, Any] = {
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.dpi": 200,
    "figure.constrained_layout.use": True,
    "lines.linewidth": 2,
}

# For pages with a dark background. "xtick.labelcolor" and its like follow "xtick.color".
DARK: dict[Any, Any] = {
    "figure.facecolor": "#0d1117",
    "axes.facecolor": "#0d1117",
    "savefig.facecolor": "#0d1117",
    "axes.edgecolor": "#e6e6e6",
    "axes.labelcolor": "#e6e6e6",
    "text.color": "#e6e6e6",
    "xtick.color": "#e6e6e6",
    "ytick.color": "#e6e6e6",
    "grid.color": "#30363d",
}
# A marker and dashes for each normalization, beside its colour: they can be told apart in grey, too.
LOOKS: dict[str, tuple[str, Any]] = {
    "BN": ("o", "-"),
    "GN": ("s", (0, (5, 1.5))),
    "LN": ("^", (0, (5, 1.5, 1.2, 1.5))),
    "IN": ("D", (0, (1.5, 1.2))),
    "none": ("X", (0, (3, 2, 1, 2, 1, 2))),
    "RMS": ("P", (0, (8, 2))),
    "own": ("*", "-"),
}
OTHER_MARKERS = ("v", "<", ">", "p", "h", "d", "8")

P = ParamSpec("P")
_is_dark = ContextVar("dark", default=False)


@contextmanager
def dark() -> Iterator[None]:
    """Have figures that are drawn meanwhile a dark background."""
    token = _is_dark.set(True)
    try:
        yield
    finally:
        _is_dark.reset(token)


def is_dark() -> bool:
    """Tell whether a figure that is drawn now has a dark background."""
    return _is_dark.get()


def style() -> dict[Any, Any]:
    """Return matplotlib's settings for a figure that is drawn now."""
    return STYLE | (DARK if is_dark() else {})


def looks(norms: Sequence[str]) -> list[dict[str, Any]]:
    """Give each of the norms colour, marker and dashes; a second one of the same normalization has an empty marker."""
    seen: Counter[str] = Counter()
    found = []
    for norm in norms:
        family = parse(norm).name
        marker, dash = LOOKS.get(family, (OTHER_MARKERS[zlib.crc32(family.encode()) % len(OTHER_MARKERS)], "-"))
        look = {"color": colour(norm), "marker": marker, "linestyle": dash}
        if seen[family]:
            look["markerfacecolor"] = plt.rcParams["figure.facecolor"]
        if seen[family] > 1:
            look["linestyle"] = (0, (1, 1 + seen[family]))
        seen[family] += 1
        found.append(look)
    return found


def styled(plot: Callable[P, Figure]) -> Callable[P, Figure]:
    """Have `plot` work in this style, and keep its figure out of pyplot's list of those to be shown.

    A notebook then shows a figure once, where it is returned.
    """

    @wraps(plot)
    def plot_styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with plt.rc_context(style()):
            figure = plot(*args, **kwargs)
            figure.draw_without_rendering()  # ticks take the style when they are first drawn
        plt.close(figure)
        return figure

    return plot_styled


def save(figure: Figure, path: str | os.PathLike, alt: str = "") -> "Image | Path":
    """Write `figure` to `path` as `png` gives it, and return it for a notebook to show; without IPython, the path.

    `alt` is the alternative text of the picture in the notebook. Raises OSError if the file cannot be written.
    """
    Path(path).write_bytes(png(figure))
    try:
        from IPython.display import Image  # only a notebook needs it
    except ImportError:
        return Path(path)
    is_chart = not any(axes.images for axes in figure.axes)  # a page may turn its colours for a dark background
    # Twice the pixels of its size on the page; IPython 7 has no argument `alt`.
    return Image(filename=path, retina=True, metadata={"alt": alt, "chart": is_chart})


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG of 256 colours, which is a third of the size."""
    drawn, smaller = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    PIL.Image.open(drawn).convert("RGB").quantize(256).save(smaller, format="png", optimize=True)
    return smaller.getvalue()


def caption(figure: Figure, title: str, *lines: str) -> None:
    """Write the title above the figure; below it what its marks mean and what the runs were made with.

    Lines that are empty are left out, those that are too long are broken.
    """
    columns = int(8 * figure.get_figwidth())  # so many letters of this size fit
    if title:
        figure.suptitle(textwrap.fill(title, columns), x=0.01, ha="left", weight="bold", size=13)
    figure.supxlabel("\n".join(filter(None, lines)), x=0.01, ha="left", size=11, wrap=True)


def label_ends(axes: Axes, lines: Iterable[Line2D]) -> None:
    """Write each line's label right of the axes, after its marker, as near to the line's end as it fits."""
    shown = [line for line in lines if len(np.asarray(line.get_xydata()))]
    if not shown:
        return
    figure, ends = axes.figure, [np.asarray(line.get_xydata())[-1] for line in shown]
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    gap = 1.2 * plt.rcParams["font.size"] / 72 * figure.dpi / axes.get_window_extent().height
    heights = (axes.transData + axes.transAxes.inverted()).transform(ends)[:, 1]
    order, steps = np.argsort(heights), gap * np.arange(len(ends))
    # The least squares of the moves under which neighbours stay a gap apart, and within the axes
    places = isotonic_regression(heights[order] - steps).x.clip(gap / 2, max(gap / 2, 1 - gap / 2 - steps[-1])) + steps
    has_markers = any(line.get_marker() not in ("None", None, "") for line in shown)
    at_marker = offset_copy(axes.transAxes, figure, x=14, units="points")
    beside = offset_copy(axes.transAxes, figure, x=23 if has_markers else 14, units="points")
    for i, y in zip(order, places):
        color = shown[i].get_color()
        # From the middle of the label's left side, so that no line runs through a label
        shrink = 10 if has_markers else 1
        leader = {"arrowstyle": "-", "color": color, "alpha": 0.5, "shrinkA": shrink, "shrinkB": 3, "relpos": (0, 0.5)}
        if has_markers:
            key = Line2D([1], [y], transform=at_marker, clip_on=False, color=color, markersize=7)
            key.set(marker=shown[i].get_marker(), markerfacecolor=shown[i].get_markerfacecolor())
            figure.add_artist(key)  # not one of the lines of the axes
        axes.annotate(
            str(shown[i].get_label()),
            ends[i],
            (1, y),
            textcoords=beside,
            va="center",
            annotation_clip=False,
            arrowprops=leader,
        )


def log_scale(axis: XAxis | YAxis, ticks: Sequence[float] = (), subs: Sequence[float] = (1, 2, 5)) -> None:
    """Make the axis logarithmic, with plain numbers at the ticks: those given, or `subs` times powers of 10."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(FixedLocator(ticks) if ticks else LogLocator(subs=subs))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
