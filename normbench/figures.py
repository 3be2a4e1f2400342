"""Runs become matplotlib figures: one colour a normalization, everywhere.

Every plot is a `matplotlib.figure.Figure` on a white ground, readable on light and dark pages.
"""

import io
import os
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from normbench.train import Run

# Okabe & Ito's colours, told apart by colour-blind readers too.
COLORS = {
    **{"BN": "#0072B2", "GN": "#D55E00", "LN": "#009E73", "IN": "#CC79A7"},
    **{"LN_CHW": "#B8860B", "none": "#666666"},
}
NAMES = {"BN": "Batch norm", "GN": "Group norm", "LN": "Layer norm", "IN": "Instance norm"}
METRICS = {
    "test_loss": "Test loss (nats, log scale)",
    "test_accuracy": "Test accuracy (%)",
    "train_loss": "Training loss, data term (nats, log scale)",
    "train_accuracy": "Training accuracy (%)",
}
STYLE = {
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "savefig.bbox": "tight",
}


def plot_metric(runs: Sequence[Run], metric: str, title: str) -> Figure:
    """One of `METRICS` against the epoch, a line a run, labelled at its end."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(9, 4.8), layout="constrained")
        _curves(axes, runs, metric)
        axes.set_title(f"{title}\n{_data(runs[0])}")
    return done(figure)


def plot_overview(runs: Sequence[Run]) -> Figure:
    """The four `METRICS` in a 2x2 figure."""
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(2, 2, figsize=(13, 8.4), layout="constrained")
        for axes, (metric, name) in zip(grid.T.flat, METRICS.items()):
            _curves(axes, runs, metric)
            axes.set_title(name.split(" (")[0])
        figure.suptitle(f"Test and training, loss and accuracy: {_data(runs[0])}", x=0.01, ha="left")
    return done(figure)


def _data(run: Run) -> str:
    seed = f"seed {run.config.seed}"
    return f"{run.dataset}, {len(run.correct):,} test images, {run.config.epochs} epochs, {seed}"


def _curves(axes: Axes, runs: Sequence[Run], metric: str) -> None:
    curves = [(run, metric, run.config.label, "-") for run in runs]
    if metric == "train_loss":
        curves += [(run, "penalty", _penalty(run), ":") for run in runs if run.config.l1 or run.config.l2]
    values = [[row[key] for row in run.history] for run, key, _, _ in curves]
    colors = [COLORS[run.config.nm] for run, *_ in curves]
    epochs = [row["epoch"] for row in runs[0].history]
    for y, color, (*_, style) in zip(values, colors, curves):
        axes.plot(epochs, y, color=color, linestyle=style, marker="o", markersize=4, linewidth=2)
    decorate(axes, metric, values)
    digits = 4 if metric.endswith("loss") else 2
    labels = [f"{label} {y[-1]:.{digits}f}" for (_, _, label, _), y in zip(curves, values)]
    label_ends(axes, epochs[-1], [y[-1] for y in values], labels, colors)


def _penalty(run: Run) -> str:
    return " + ".join(name for name in ("L1", "L2") if getattr(run.config, name.lower())) + " penalty"


def decorate(axes: Axes, metric: str, values: list[list[float]]) -> None:
    """Name the axes and scale them to the curves `values` of a metric."""
    axes.set(xlabel="Epoch", ylabel=METRICS[metric])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if metric.endswith("loss"):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        _zoom(axes, values)


def _zoom(axes: Axes, curves: list[list[float]]) -> None:
    """Leave out the first fifth of the epochs, where accuracy climbs from nowhere, and say so."""
    start = len(curves[0]) // 5
    low, high = min(min(y[start:]) for y in curves), max(map(max, curves))
    margin = 0.06 * (high - low) or 0.5
    if min(map(min, curves)) < low - margin:
        note = dict(ha="right", color="#666666", size=10, transform=axes.transAxes)
        axes.text(0.99, 0.02, "early values lie below ↓", **note)
    axes.set_ylim(low - margin, high + margin)


def label_ends(axes: Axes, x: float, values: list[float], labels: list[str], colors: list[str]) -> None:
    """Write each label right of its line's end, pushed apart where they would overlap."""
    figure = axes.get_figure()
    figure.draw_without_rendering()
    height = axes.get_window_extent().height * 72 / figure.dpi
    gap = 14 / height
    to_axes = (axes.transData + axes.transAxes.inverted()).transform
    heights = np.array([to_axes((x, value))[1] for value in values])
    order = np.argsort(heights)
    spread = heights[order]
    for i in range(1, len(spread)):
        spread[i] = max(spread[i], spread[i - 1] + gap)
    spread -= max(0.0, (spread - heights[order]).max() / 2)
    for i, y in zip(order, spread):
        axes.annotate(
            labels[i],
            (x, values[i]),
            (1.03, y),
            textcoords="axes fraction",
            color=colors[i],
            weight="bold",
            va="center",
            annotation_clip=False,
            arrowprops=dict(arrowstyle="-", color=colors[i], alpha=0.5, shrinkA=0, shrinkB=4),
        )


def done(figure: Figure) -> Figure:
    """Keep the figure out of pyplot's own list, so that a notebook shows it once: where it is returned."""
    plt.close(figure)
    return figure


def save(figure: Figure, path: str | os.PathLike) -> Image:
    """Write `figure` to `path` as a PNG of 256 colours, a third of the size, and hand that on for a notebook to show.

    Raises OSError where the file cannot be written.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    picture = PIL.Image.open(drawn).convert("RGB").quantize(256)
    picture.save(path, optimize=True)
    return Image(filename=path)
