"""Loss and accuracy by epoch: a line per run, or per arm with a band of its seeds."""

from collections.abc import Sequence
from math import ceil, inf

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from normbench.figures.arms import failures
from normbench.figures.style import WIDTH, caption, label_ends, log_scale, looks, styled
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
    figure, axes = plt.subplots(figsize=(WIDTH, 4))
    axes.set_title(METRICS[metric])
    note = "Log scale; the loss is that without penalties" if metric.endswith("loss") else ""
    caption(figure, title, note, failures(arms), conditions(arms))
    names = labels(arm.recipe for arm in arms)
    _curves(axes, arms, [names[arm.recipe] for arm in arms], metric, penalty="{} penalty")
    return figure


@styled
def plot_overview(runs: Sequence[Run]) -> Figure:
    """Plot the four `METRICS` against the epoch, one below the other: a line per run; dotted, its penalty."""
    arms = [Arm(run.recipe, (run,)) for run in runs]
    return _four_panels(arms, "Loss and accuracy, training and test", penalty="{} penalty")


@styled
def plot_seeds(arms: Arms) -> Figure:
    """Plot the four `METRICS` against the epoch: per arm the mean of its seeds, in a band of all."""
    note = "Bands: from the lowest seed to the highest"
    return _four_panels(list(arms.values()), "Loss and accuracy by epoch, means of the seeds", note)


def _four_panels(arms: Sequence[Arm], title: str, note: str = "", penalty: str = "") -> Figure:
    figure, column = plt.subplots(4, figsize=(WIDTH, 9.6), sharex=True)
    names = labels(arm.recipe for arm in arms)
    caption(figure, title, "Losses without penalties, on log scales", note, failures(arms), conditions(arms))
    for axes, (metric, name) in zip(column, METRICS.items()):
        axes.set_title(name)
        _curves(axes, arms, [names[arm.recipe] for arm in arms], metric, penalty)
    for axes in column[:-1]:
        axes.set_xlabel("")
    return figure


def _curves(axes: Axes, arms: Sequence[Arm], names: Sequence[str], metric: str, penalty: str = "") -> None:
    """Draw a line per arm; `penalty`, such as "{} penalty", names dotted ones for L1 and L2 beside training losses."""
    lines: list[Line2D] = []
    lowest, epochs = inf, 1
    whole = [Arm(arm.recipe, arm.succeeded) for arm in arms]
    for arm, name, look in zip(whole, names, looks([arm.recipe.norm for arm in arms])):
        if not arm.runs:
            continue
        epoch = arm.curve("epoch")[0]
        epochs = max(epochs, len(epoch))
        look |= {"markersize": 5, "markevery": max(1, len(epoch) // 5)}
        curves = [(name, arm.curve(metric), look)]
        penalties = " + ".join(key for key in ("L1", "L2") if getattr(arm.recipe, key.lower()))
        if penalty and penalties and metric == "train_loss":
            dotted = {"color": look["color"], "linestyle": ":", "marker": ""}
            curves.append((penalty.format(penalties), arm.curve("penalty"), dotted))
        for label, values, style in curves:
            low, high, color = values.min(axis=0), values.max(axis=0), look["color"]
            axes.fill_between(epoch, low, high, color=color, alpha=0.15, linewidth=0)
            lines += axes.plot(epoch, values.mean(axis=0), label=label, **style)
            lowest = min(lowest, values.min())
    axes.set_xlabel("Epoch")
    axes.margins(x=0.05 if epochs > 1 else 0.5)
    step = 1 if epochs < 8 else 5 * ceil(epochs / 25)
    axes.xaxis.set_major_locator(FixedLocator(sorted({1, *range(step, epochs + 1, step)})))
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
        axes.set_ylabel(f"starts at {low - margin:.1f} %")


def _heights(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata())
