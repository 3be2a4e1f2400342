"""A comparison as pictures: scores with their intervals, and the race."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from normbench.figures.style import WIDTH, caption, looks, styled
from normbench.figures.vector import GREY
from normbench.stats import Interval

MARKS = "Small marks: runs; large ones and bars: means with 95 % intervals"
ROUNDS = "Marks: runs; dotted: seeds that were not needed"
FAILED = "; hollow: runs that failed or did not learn"


@dataclass(frozen=True)
class Row:
    """An arm in a picture.

    Attributes:
        label: its name.
        norm: gives its colour, its marker and its dashes.
        scores: of each run, in the order of the seeds; nan for one that failed or has not learned.
        mean: their mean with its interval; None if no run learned.
        out: what is written where its race ends; "" if it was not out.
        said: its mean as text.
    """

    label: str
    norm: str
    scores: Sequence[float]
    mean: Interval | None = None
    out: str = ""
    said: str = ""

    @property
    def failed(self) -> int:
        """How many runs failed."""
        return int(np.isnan(np.asarray(self.scores, float)).sum())


def legend(rows: Sequence[Row], marks: str) -> str:
    """Say what the marks of a picture of these rows mean."""
    return marks + FAILED * any(row.failed for row in rows)


@styled
def plot_verdict(rows: Sequence[Row], of: str, title: str = "") -> Figure:
    """Plot a row per arm: a mark per run, the mean with its interval, and how many runs failed.

    `of` is what the scores are, such as "accuracy (%)". A page that says the verdict and what the marks mean in its own
    words gives no title.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 1.0 + 0.42 * len(rows) + 0.9 * bool(title)))
    _names(axes, rows)
    for place, (row, look) in enumerate(zip(rows, _looks(rows))):
        _scores(axes, place, row, look)
    axes.margins(x=0.05)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlabel(f"Test {of}", size=11)
    if title:
        caption(figure, title, legend(rows, MARKS))
    return figure


@styled
def plot_race(rows: Sequence[Row], planned: int, title: str = "") -> Figure:
    """Plot a row per arm: a mark per seed that was trained, a hollow one if it failed, and where the arm was out.

    A page that says so in its own words gives no title.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 1.0 + 0.42 * len(rows) + 0.9 * bool(title)))
    _names(axes, rows)
    for place, (row, look) in enumerate(zip(rows, _looks(rows))):
        scores, color, marker = np.asarray(row.scores, float), look["color"], look["marker"]
        seeds, failed = np.arange(1, len(scores) + 1), np.isnan(scores)
        dashes = look["linestyle"]
        axes.plot([1, len(scores)], [place, place], color=color, linestyle=dashes, linewidth=2, alpha=0.6)
        axes.plot([len(scores), planned], [place, place], ":", color=GREY, linewidth=1)
        for of_kind, filled in ((~failed, True), (failed, False)):
            mark = _mark(marker, color, filled)
            axes.plot(seeds[of_kind], np.full(of_kind.sum(), place), markersize=7, **mark)
        axes.text(len(scores) + 0.02 * planned, place - 0.28, row.out, va="center", size=10)
    axes.set_xlim(0.6, planned + 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(min(planned, 10), integer=True))
    axes.set_xlabel("Seeds", size=11)
    if title:
        caption(figure, title, legend(rows, ROUNDS))
    return figure


def _looks(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Colour, marker and dashes of each row; two of one normalization have their names to be told apart by."""
    return looks([row.norm for row in rows])


def _mark(marker: str, color: str, filled: bool = True) -> dict[str, Any]:
    face = {} if filled else {"markerfacecolor": "none", "markeredgewidth": 1.5}
    return {"marker": marker, "color": color, "linestyle": "none"} | face


def _names(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _scores(axes: Axes, place: int, row: Row, look: dict[str, Any]) -> None:
    values, color, marker = np.asarray(row.scores, float), look["color"], look["marker"]
    values = values[~np.isnan(values)]
    across: dict[str, Any] = {"transform": axes.get_yaxis_transform()}
    text = across | {"va": "center_baseline", "size": 11}
    if row.failed:
        below = place + 0.3 * (row.mean is not None)
        axes.plot([0.025], [below], markersize=7, **_mark(marker, color, filled=False), **across)
        axes.text(0.065, below, f"{row.failed} of {len(row.scores)} failed", **text)
    if row.mean is None:
        return
    # Steps of the golden section spread any number of marks evenly, and the same each time
    spread = place - 0.2 - 0.2 * (np.arange(len(values)) * 0.618034 % 1)
    axes.plot(values, spread, markersize=5, alpha=0.5, markeredgewidth=0, **_mark(marker, color))
    if np.isfinite(row.mean.low):
        ends = [row.mean.low, row.mean.high]
        axes.plot(ends, [place, place], color=color, linewidth=5, solid_capstyle="butt", alpha=0.6)
    axes.plot([row.mean.estimate], [place], markersize=9, **_mark(marker, color))
    axes.text(1.02, place, row.said, weight="bold", **text)
