"""Loss and accuracy by epoch: a line per run, or per arm with a band of its seeds."""

from collections.abc import Sequence
from math import inf

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from normbench.figures.arms import dashes, failures
from normbench.figures.style import WIDTH, caption, label_ends, log_scale, styled
from normbench.layers import colour
from normbench.runs import Arm, Arms, conditions
from normbench.training import Run, labels

METRICS = {
    "test_loss": "Test loss (nats)",
    "test_accuracy": "Test accuracy (%)",
    "train_loss": "Training loss (nats)",
    "train_accuracy": "Training accuracy (%)",
}


@styled
def plot_metric(runs: Sequence[Run], metric: str, title: str) -> Figure:
    """Plot one of `METRICS` against the epoch: a line per run, labelled at its end."""
    arms = [Arm(run.recipe, (run,)) for run in runs]
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2))
    axes.set_title(METRICS[metric])
    note = "Log scale; the loss is that without penalties" if metric.endswith("loss") else ""
    caption(figure, title, note, failures(arms), conditions(arms))
    names = labels(arm.recipe for arm in arms)
    _curves(axes, arms, [names[arm.recipe] for arm in arms], metric, penalty="{} penalty")
    return figure


@styled
def plot_overview(runs: Sequence[Run]) -> Figure:
    """Plot the four `METRICS` against the epoch in a 2x2 figure: a line per run; dotted, its penalty."""
    arms = [Arm(run.recipe, (run,)) for run in runs]
    return _four_panels(arms, "Test and training, loss and accuracy", "dotted: penalties", penalty="{}")


@styled
def plot_seeds(arms: Arms) -> Figure:
    """Plot the four `METRICS` against the epoch in a 2x2 figure: per arm the mean of its seeds, in a band of all."""
    note = "bands: from the lowest seed to the highest"
    return _four_panels(list(arms.values()), "Loss and accuracy by epoch, means of the seeds", note)


def _four_panels(arms: Sequence[Arm], title: str, note: str, penalty: str = "") -> Figure:
    figure, grid = plt.subplots(2, 2, figsize=(WIDTH, 6.4))
    named = labels(arm.recipe for arm in arms)
    long, short = [named[arm.recipe] for arm in arms], [arm.recipe.family for arm in arms]
    names = long if len(set(short)) < len(short) else short
    key = "" if names == long else ", ".join(long)
    caption(figure, title, key, f"Losses without penalties, on log scales; {note}", failures(arms), conditions(arms))
    for axes, (metric, name) in zip(grid.T.flat, METRICS.items()):
        axes.set_title(name)
        _curves(axes, arms, names, metric, penalty)
    for axes in grid[0]:
        axes.set_xlabel("")
    return figure


def _curves(axes: Axes, arms: Sequence[Arm], names: Sequence[str], metric: str, penalty: str = "") -> None:
    """Draw a line per arm; `penalty`, such as "{} penalty", names dotted ones for L1 and L2 beside training losses."""
    lines: list[Line2D] = []
    lowest, epochs = inf, 1
    whole = [Arm(arm.recipe, arm.succeeded) for arm in arms]
    for arm, name, dash in zip(whole, names, dashes([arm.recipe for arm in arms])):
        if not arm.runs:
            continue
        curves = [(name, arm.curve(metric), dash)]
        penalties = " + ".join(key for key in ("L1", "L2") if getattr(arm.recipe, key.lower()))
        if penalty and penalties and metric == "train_loss":
            curves.append((penalty.format(penalties), arm.curve("penalty"), ":"))
        color, epoch = colour(arm.recipe.norm), arm.curve("epoch")[0]
        epochs = max(epochs, len(epoch))
        for label, values, style in curves:
            axes.fill_between(epoch, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15, linewidth=0)
            lines += axes.plot(epoch, values.mean(axis=0), style, color=color, marker="o", markersize=3, label=label)
            lowest = min(lowest, values.min())
    axes.set_xlabel("Epoch")
    axes.margins(x=0.05 if epochs > 1 else 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    if metric.endswith("accuracy"):
        _zoom(axes, lines, lowest)
    elif 0 < lowest < inf:
        log_scale(axes.yaxis)
    digits = 4 if metric.endswith("loss") else 2
    for line in lines:
        line.set_label(f"{line.get_label()} {_heights(line)[-1]:.{digits}f}")
    label_ends(axes, lines)


def _zoom(axes: Axes, lines: Sequence[Line2D], lowest: float) -> None:
    """Leave out the first fifth of the epochs, where accuracy climbs from nowhere, and say if that cuts off a band."""
    means = [_heights(line) for line in lines]
    if not means:
        return
    low, high = min(y[len(y) // 5 :].min() for y in means), max(y.max() for y in means)
    margin = 0.06 * (high - low) or 0.5
    axes.set_ylim(low - margin, high + margin)
    if lowest < low - margin:
        axes.set_xlabel("Epoch (cut off below)")


def _heights(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata())
