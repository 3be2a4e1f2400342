"""How every figure looks: width and fonts, title and caption, labels at the ends of lines; and how it is kept."""

import io
import os
from collections.abc import Callable, Iterable, Sequence
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

if TYPE_CHECKING:
    from IPython.display import Image

WIDTH = 7.0  # inches of every figure: text of 12 points is 10 pixels high where the figure is shown 420 pixels wide
GREY = "#666666"
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
    "figure.dpi": 140,
    "figure.constrained_layout.use": True,
    "lines.linewidth": 2,
}

P = ParamSpec("P")


def styled(plot: Callable[P, Figure]) -> Callable[P, Figure]:
    """Have `plot` work in this style, and keep its figure out of pyplot's list of those to be shown.

    A notebook then shows a figure once, where it is returned.
    """

    @wraps(plot)
    def plot_styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with plt.rc_context(STYLE):
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
    return Image(filename=path, metadata={"alt": alt} if alt else None)  # IPython 7 has no argument `alt`


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
    figure.suptitle(title, x=0.01, ha="left", weight="bold", size=14)
    figure.supxlabel("\n".join(filter(None, lines)), x=0.01, ha="left", color=GREY, size=11, wrap=True)


def label_ends(axes: Axes, lines: Iterable[Line2D]) -> None:
    """Write the label of each line that has points right of the axes, as near to the line's end as they fit."""
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
    beside = offset_copy(axes.transAxes, figure, x=14, units="points")
    for i, y in zip(order, places):
        color = shown[i].get_color()
        # From the middle of the label's left side, so that no line runs through a label
        leader = {"arrowstyle": "-", "color": color, "alpha": 0.5, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)}
        axes.annotate(
            str(shown[i].get_label()),
            ends[i],
            (1, y),
            textcoords=beside,
            color=color,
            weight="bold",
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
