"""Runs over many seeds become matplotlib figures."""

import statistics
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from normbench.config import Config
from normbench.experiments import GRID, PENALTIES, STRENGTHS, STUDY_C, VARIED, arms
from normbench.figures import COLORS, METRICS, STYLE, decorate, done, label_ends
from normbench.tables import devices
from normbench.train import Run

L1_PANELS = {
    "test_accuracy": "Test accuracy (%)",
    "l1_norm": "Σ|p| over all parameters",
    "zeros": "Parameters that are exactly 0 (%)",
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
    """Accuracy, Σ|p| and exact zeros against λ1, by subgradient and by proximal step: a dot a run, a line the means."""
    groups = arms(runs, STRENGTHS)
    with plt.rc_context(STYLE):
        figure, row = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
        for axes, (key, title) in zip(row, L1_PANELS.items()):
            for proximal, style in (
                (False, dict(color="#0072B2", marker="o")),
                (True, dict(color="#D55E00", marker="s")),
            ):
                ways = {c.l1: of_arm for c, of_arm in groups.items() if c.proximal == proximal or not c.l1}
                _against_strength(axes, ways, key, label="proximal step" if proximal else "subgradient", **style)
            axes.set(title=title, xlabel="λ")
        row[-1].legend(frameon=False, loc="upper left")
        figure.suptitle(f"How strong should L1 be? Batch norm, {_data(runs)}", x=0.01, ha="left")
    return done(figure)


def _against_strength(axes: Axes, groups: dict[float, list[Run]], key: str, **style: str) -> None:
    values = [[run.history[-1][key] for run in groups[l1]] for l1 in sorted(groups)]
    for i, of_strength in enumerate(values):
        axes.plot([i] * len(of_strength), of_strength, linestyle="", alpha=0.35, **(style | {"label": None}))
    axes.plot([statistics.mean(v) for v in values], linewidth=2, **style)
    axes.set_xticks(range(len(groups)), [f"{l1:g}" for l1 in sorted(groups)])
