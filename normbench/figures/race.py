"""A comparison as pictures: scores with their intervals, and the race."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from normbench.figures.style import WIDTH, styled
from normbench.figures.vector import GREY
from normbench.layers import colour
from normbench.stats import Interval


@dataclass(frozen=True)
class Row:
    """An arm in a picture.

    Attributes:
        label: its name.
        norm: gives its colour.
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


@styled
def plot_verdict(rows: Sequence[Row], of: str) -> Figure:
    """Plot a row per arm: a dot per run, the mean with its interval, and a cross with a number for runs that failed.

    `of` is what the scores are, such as "accuracy (%)".
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 1.0 + 0.42 * len(rows)))
    _names(axes, rows)
    for place, row in enumerate(rows):
        _scores(axes, place, row)
    axes.margins(x=0.05)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlabel(f"Test {of}", size=11)
    return figure


@styled
def plot_race(rows: Sequence[Row], planned: int) -> Figure:
    """Plot a row per arm: a dot per seed that was trained, a cross for one that failed, and where it was out."""
    figure, axes = plt.subplots(figsize=(WIDTH, 1.0 + 0.42 * len(rows)))
    _names(axes, rows)
    for place, row in enumerate(rows):
        scores, color = np.asarray(row.scores, float), colour(row.norm)
        seeds, failed = np.arange(1, len(scores) + 1), np.isnan(scores)
        axes.plot([1, len(scores)], [place, place], color=color, linewidth=3, alpha=0.5)
        axes.plot([len(scores), planned], [place, place], ":", color=GREY, linewidth=1)
        axes.plot(seeds[~failed], np.full((~failed).sum(), place), "o", color=color, markersize=6)
        axes.plot(seeds[failed], np.full(failed.sum(), place), "x", color=color, markersize=8, markeredgewidth=2)
        axes.text(len(scores) + 0.02 * planned, place - 0.28, row.out, va="center", size=10)
    axes.set_xlim(0.6, planned + 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(min(planned, 10), integer=True))
    axes.set_xlabel(
        "Seeds. Dots: runs; crosses: runs that failed; dotted: seeds that were not needed", size=10, color=GREY
    )
    return figure


def _names(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _scores(axes: Axes, place: int, row: Row) -> None:
    values, color = np.asarray(row.scores, float), colour(row.norm)
    values = values[~np.isnan(values)]
    across: dict[str, Any] = {"transform": axes.get_yaxis_transform()}
    text = across | {"va": "center_baseline", "size": 11}
    if row.failed:
        axes.plot([0.015], [place], "x", color=color, markersize=8, markeredgewidth=2, **across)
        axes.text(0.035, place, f"{row.failed} of {len(row.scores)} failed", **text)
    if row.mean is None:
        return
    # Steps of the golden section spread any number of dots evenly, and the same each time
    spread = place - 0.2 - 0.2 * (np.arange(len(values)) * 0.618034 % 1)
    axes.plot(values, spread, "o", color=color, markersize=5, alpha=0.5, markeredgewidth=0)
    if np.isfinite(row.mean.low):
        ends = [row.mean.low, row.mean.high]
        axes.plot(ends, [place, place], color=color, linewidth=5, solid_capstyle="butt", alpha=0.6)
    axes.plot([row.mean.estimate], [place], "D", color=color, markersize=8)
    axes.text(1.02, place, row.said, weight="bold", **text)
