"""Runs over many seeds become matplotlib figures."""

import statistics
from collections.abc import Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullLocator

from normbench.config import Config
from normbench.experiments import GRID, PENALTIES, STRENGTHS, STUDY_C, VARIED, arms
from normbench.figures import COLORS, METRICS, STYLE, decorate, done, label_ends
from normbench.seed_figures import DARK, far_below, label_lines
from normbench.tables import devices, last
from normbench.train import Run

PARTS = {"all": "L1 on all parameters", "conv": "L1 on the convolutions", "gamma": "L1 on the scales γ"}
L1_PANELS = {
    "test_accuracy": "Test accuracy (%)",
    "l1_norm": "Σ|p| of the penalized parameters (log scale)",
    "zeros": "Exact zeros among them (%)",
}
WAYS = {
    False: dict(label="subgradient", color=COLORS["BN"], marker="o", linestyle="-"),
    True: dict(label="proximal step", color=DARK, marker="s", linestyle="--"),
}


def plot_seeds(runs: Sequence[Run], title: str) -> Figure:
    """The four `METRICS` against the epoch in a 2x2 figure: a line an arm, the mean of its seeds, in a band of all."""
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(2, 2, figsize=(13, 8.4), layout="constrained")
        for axes, (metric, name) in zip(grid.T.flat, METRICS.items()):
            _seed_curves(axes, arms(runs), metric)
            axes.set_title(name.split(" (")[0])
        figure.suptitle(f"{title}: {_data(runs)}; bands from lowest to highest", x=0.01, ha="left")
    return done(figure)


def _data(runs: Sequence[Run]) -> str:
    seeds = ", ".join(str(seed) for seed in sorted({run.config.seed for run in runs}))
    return f"{runs[0].dataset}, {runs[0].config.epochs} epochs, means of seeds {seeds}, {devices(runs)}"


def _seed_curves(axes: Axes, groups: dict[Config, list[Run]], metric: str) -> None:
    epochs = [row["epoch"] for row in next(iter(groups.values()))[0].history]
    colors, means = [COLORS[config.nm] for config in groups], []
    for color, runs in zip(colors, groups.values()):
        curves = np.array([[row[metric] for row in run.history] for run in runs])
        axes.fill_between(epochs, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.15, linewidth=0)
        axes.plot(epochs, curves.mean(axis=0), color=color, linewidth=2, marker="o", markersize=3)
        means.append(curves.mean(axis=0).tolist())
    decorate(axes, metric, means)
    digits = 4 if metric.endswith("loss") else 2
    labels = [f"{config.label} {mean[-1]:.{digits}f}" for config, mean in zip(groups, means)]
    label_ends(axes, epochs[-1], [mean[-1] for mean in means], labels, colors)


def plot_regularization(runs: Sequence[Run]) -> Figure:
    """Normalization x penalty as a heat map of mean test accuracy; study C's four arms in frames."""
    groups, shape = arms(runs, GRID), (len(VARIED), len(PENALTIES))
    values = [[run.history[-1]["test_accuracy"] for run in groups.get(config, ())] for config in GRID]
    means = np.reshape([statistics.mean(v) if v else np.nan for v in values], shape)
    low, high = np.nanmin(means), np.nanmax(means)
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, axes = plt.subplots(figsize=(9, 5.6), layout="constrained")
        # Twice the range, for light colours alone: black is readable on each of them.
        axes.imshow(means, cmap="Blues", aspect="auto", vmin=low, vmax=2 * high - low + 1e-9)
        for i, (config, accuracies) in enumerate(zip(GRID, values)):
            row, column = divmod(i, len(PENALTIES))
            _cell(axes, row, column, accuracies, framed=config in STUDY_C)
        axes.set_xticks(range(shape[1]), [_strengths(**penalty) for penalty in PENALTIES.values()])
        axes.set_yticks(range(shape[0]), [_name(config) for config in VARIED.values()])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(f"Test accuracy by normalization and penalty, and its range over the seeds\n{_data(runs)}")
        axes.set_xlabel("framed: the four arms of study C")
    return done(figure)


def _cell(axes: Axes, row: int, column: int, accuracies: Sequence[float], framed: bool) -> None:
    if accuracies:
        mean, spread = f"{statistics.mean(accuracies):.2f} %", f"{min(accuracies):.2f} to {max(accuracies):.2f}"
        axes.text(column, row - 0.02, mean, ha="center", weight="bold", size=13)
        axes.text(column, row + 0.27, spread, ha="center", size=10)
    if framed:
        axes.add_patch(Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, fill=False, linewidth=2.5))


def _name(config: Config) -> str:
    """Where the network is not normalized, its learning rate is another, and that has to be said."""
    return config.nm if config.nm != "none" else f"no norm\n(rate {config.lr:g})"


def _strengths(l1: float = 0.0, l2: float = 0.0) -> str:
    return " + ".join([f"L1 {l1:g}"] * (l1 > 0) + [f"L2 {l2:g}"] * (l2 > 0)) or "no penalty"


def plot_strengths(runs: Sequence[Run]) -> Figure:
    """Accuracy, Σ|p| and exact zeros against λ1 by what is penalized: a dot a run, a line a way through the means.

    What lies below an axis is written at its foot: accuracies that `far_below` names, and 0 on a log scale.
    """
    groups = arms(runs, STRENGTHS)
    limits = {"test_accuracy": _readable([last(of_arm) for of_arm in groups.values()]), "zeros": (-4.0, 104.0)}
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(len(PARTS), len(L1_PANELS), figsize=(14, 10), layout="constrained")
        figure.get_layout_engine().set(wspace=0.04, hspace=0.04)
        for row, (penalized, part) in zip(grid, PARTS.items()):
            row[0].set_ylabel(part, weight="bold")
            for axes, key in zip(row, L1_PANELS):
                _strength_panel(axes, groups, penalized, key)
                _scale(axes, limits.get(key))
                for i, line in enumerate(axes.lines[1::2]):
                    _write_below(axes, line, 0.03 + 0.09 * i)
            label_lines(row[-1], list(row[-1].lines[1::2]))
        for axes, title in zip(grid[0], L1_PANELS.values()):
            axes.set_title(title)
        for axes in grid[-1]:
            axes.set_xlabel("λ")
        title = f"What L1 does, by its strength λ and by what it acts on\nBatch norm, {_data(runs)}"
        figure.suptitle(title, x=0.01, ha="left")
    return done(figure)


def _readable(accuracies: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Limits of an axis for accuracies without those far below, for which it leaves room at its foot."""
    far = far_below(accuracies)
    shown = np.concatenate([of_arm for i, of_arm in enumerate(accuracies) if i not in far])
    margin = 0.06 * np.ptp(shown) or 0.5
    return shown.min() - margin * (3 if far else 1), shown.max() + margin


def _strength_panel(axes: Axes, groups: dict[Config, list[Run]], penalized: str, key: str) -> None:
    """Both ways of L1; without it, Σ|p| and zeros are those of all parameters, and belong to no other row."""
    strengths = sorted({config.l1 for config in STRENGTHS})
    axes.set_xticks(range(len(strengths)), [f"{l1:.0e}".replace("e-0", "e-") if l1 else "0" for l1 in strengths])
    axes.set_xlim(-0.4, len(strengths) - 0.6)
    for proximal, style in WAYS.items():
        wanted = [replace(VARIED["BN"], l1=l1, penalized=penalized, proximal=proximal) for l1 in strengths[1:]]
        if penalized == "all" or key == "test_accuracy":
            wanted.insert(0, VARIED["BN"])
        values = {strengths.index(config.l1): last(groups[config], key) for config in wanted if config in groups}
        dots = [(place + 0.2 * proximal - 0.1, value) for place, of_arm in values.items() for value in of_arm]
        axes.plot(*zip(*dots), **(style | dict(label=None, linestyle="", alpha=0.35, markersize=5, markeredgewidth=0)))
        axes.plot(list(values), [statistics.mean(of_arm) for of_arm in values.values()], linewidth=2, **style)


def _scale(axes: Axes, limits: tuple[float, float] | None) -> None:
    """Set the limits, or where there are none a log scale, with room at its foot for zeros."""
    if limits:
        axes.set_ylim(limits)
        return
    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    if any(min(line.get_ydata()) <= 0 for line in axes.lines):
        axes.set_ylim(low * (low / high) ** 0.2, high)


def _write_below(axes: Axes, line: Line2D, height: float) -> None:
    """The values of `line` below the axis, as numbers at that height of the axes."""
    low = axes.get_ylim()[0]
    style = dict(transform=axes.get_xaxis_transform(), color=line.get_color(), weight="bold", ha="center")
    for x, y in line.get_xydata():
        if y < low:
            axes.text(x, height, f"↓ {y:.4g}", **style)
