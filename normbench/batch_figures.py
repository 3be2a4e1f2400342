"""Batch size as a figure: our law, the published one, and what batch norm's loss is made of."""

from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from normbench.figures import COLORS, STYLE, done
from normbench.seed_figures import DARK, data_line, label_lines
from normbench.train import Run

# ResNet-50's validation error on ImageNet in %, by images a GPU: Wu & He 2018, "Group Normalization", table 2.
WU_HE_IMAGES = (2, 4, 8, 16, 32)
WU_HE_ERRORS = {"BN": (34.7, 27.3, 24.8, 23.7, 23.6), "GN": (24.1, 24.2, 24.0, 24.2, 24.1)}
# Whose means and variances BN is tested with, in shades of its blue, as `batch_statistics.split` explains.
STATISTICS = {
    "running": dict(label="running averages", color=COLORS["BN"], marker="o", linestyle="-"),
    "precise": dict(label="precise statistics", color="#4AA3DF", marker="s", linestyle="--"),
    "batch": dict(label="batch statistics", color=DARK, marker="^", linestyle=":"),
}


def plot_batch_size(runs: Sequence[Run]) -> Figure:
    """Test error by batch size, beside what Wu & He found on ImageNet, and batch norm's loss by its statistics."""
    of_norm = {nm: [run for run in runs if run.config.nm == nm] for nm in ("BN", "GN", "LN")}
    theirs = dict(marker="o", linestyle="--", markerfacecolor="white", markeredgewidth=1.5)
    with plt.rc_context(STYLE):
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(16, 5.2), layout="constrained")
        figure.get_layout_engine().set(wspace=0.05)
        for nm, of_this in of_norm.items():
            errors = _by_size(of_this, lambda run: 100 - run.history[-1]["test_accuracy"])
            _against_size(left, errors, label=nm, color=COLORS[nm], marker="o")
        for nm, published in WU_HE_ERRORS.items():
            errors = {size: [error] for size, error in zip(WU_HE_IMAGES, published)}
            _against_size(middle, errors, label=nm, color=COLORS[nm], **theirs)
        for kind, style in STATISTICS.items():
            losses = _by_size(of_norm["BN"], lambda run, kind=kind: run.statistics[kind]["test_loss"])
            _against_size(right, losses, **style)
        error, loss = "error (%, log scale)", "Test loss (nats, log scale)"
        _finish_sizes(left, "Ours: test error by\nbatch size and normalization", "Batch size", f"Test {error}")
        title = "Not ours: Wu & He (2018, table 2)\nResNet-50 on ImageNet"
        _finish_sizes(middle, title, "Images a GPU, over which BN averages", f"Validation {error}")
        title = "Ours: BN's test loss, by the\nstatistics it normalizes with"
        _finish_sizes(right, title, "Batch size in training", loss)
        what = "What the batch size does, with the best of three rates each. Lines: means; bands: lowest to highest"
        figure.suptitle(f"{what}\n{data_line(runs)}", x=0.01, ha="left")
    return done(figure)


def _by_size(runs: Sequence[Run], value: Callable[[Run], float]) -> dict[int, list[float]]:
    sizes = sorted({run.config.batch_size for run in runs})
    return {size: [value(run) for run in runs if run.config.batch_size == size] for size in sizes}


def _against_size(axes: Axes, values: dict[int, list[float]], **style) -> None:
    sizes, rows = list(values), list(values.values())
    axes.fill_between(sizes, [*map(min, rows)], [*map(max, rows)], color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(sizes, [*map(np.mean, rows)], linewidth=2, markersize=6, **style)


def _finish_sizes(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """Scale and label the lines, which are drawn."""
    sizes = sorted({int(size) for line in axes.lines for size in line.get_xdata()})
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, yscale="log")
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, map(str, sizes))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter("{x:g}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    label_lines(axes, axes.lines)
