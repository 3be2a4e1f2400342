"""Accuracies of arms: as rows with intervals, and as lines by a number of their recipe, such as the learning rate."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from normbench.data import is_held_out
from normbench.figures.style import WIDTH, caption, label_ends, log_scale, looks, styled
from normbench.layers import colour
from normbench.runs import Arm, Arms, conditions
from normbench.training import Recipe, labels

INTERVALS = "Dots: seeds. Large markers, bars and numbers: means and 95 % intervals"
DOTS_AND_LINES = "Dots: seeds; lines: means"
DASHES = ("-", "--", "-.")  # of lines that are not normalizations


def measured(arms: Arms) -> str:
    """Name the accuracy that the arms have: on test images, or on training images that were held out."""
    held_out = any(is_held_out(arm.runs[0].dataset) for arm in arms.values())
    return "Accuracy on held-out training images" if held_out else "Test accuracy"


def failures(arms: Iterable[Arm]) -> str:
    """Say how many runs of which arms failed, for a caption; nothing if none did."""
    by_recipe = {arm.recipe: arm for arm in arms}
    lost = {label: by_recipe[recipe] for recipe, label in labels(by_recipe).items() if by_recipe[recipe].failures}
    counted = [f"{label} ({len(arm.runs) - len(arm.succeeded)} of {len(arm.runs)})" for label, arm in lost.items()]
    return f"Runs that failed, and are not shown: {', '.join(counted)}" if counted else ""


# Rows


@styled
def plot_arms(arms: Arms) -> Figure:
    """Plot a row per arm: the last epoch's accuracy of each seed, and their mean with its 95 % interval.

    Arms with a run that has not learned stand at the edge, as arrows with their numbers. Runs that failed are counted.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 1.7 + 0.4 * len(arms)))
    rows(axes, arms.values(), list(labels(arms).values()))
    caption(figure, f"{measured(arms)} after the last epoch", INTERVALS, conditions(arms.values()))
    return figure


def rows(axes: Axes, arms: Iterable[Arm], names: Sequence[str]) -> None:
    """Draw the rows of `plot_arms`, with a name for each, from the top down."""
    shown = list(arms)
    too_low = unlearned(shown)
    axes.set_yticks(range(len(shown)), names)
    for row, (arm, look) in enumerate(zip(shown, looks([arm.recipe.norm for arm in shown]))):
        _row(axes, row, arm, too_low, look | {"linestyle": ""})
    axes.margins(x=0.04)
    axes.set_ylim(len(shown) - 0.5, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _row(axes: Axes, row: int, arm: Arm, too_low: float, look: dict[str, Any]) -> None:
    values, color = finished(arm.last()), colour(arm.recipe.norm)
    failed = len(arm.runs) - len(values)
    within: dict[str, Any] = {"color": color}
    at_edge = within | {"transform": axes.get_yaxis_transform()}
    text: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center_baseline"}
    if failed:
        axes.text(1.02, row + 0.36 * (len(values) > 0), f"{failed} of {len(arm.runs)} failed", size=11, **text)
    if not len(values):
        axes.plot([0.02], [row], "x", markersize=9, markeredgewidth=2, **at_edge)
        return
    mean = arm.accuracy
    low, high = np.clip([mean.low, mean.high], 0, 100)
    if values.min() < too_low:
        axes.plot([0.02], [row], "<", markersize=9, **at_edge)
        axes.text(0.05, row, f"seeds: {values.min():.2f} to {values.max():.2f}", **text)
    else:
        # Steps of the golden section spread any number of dots evenly, and the same each time.
        jittered = row - 0.2 - 0.22 * (np.arange(len(values)) * 0.618034 % 1)
        axes.plot(values, jittered, "o", markersize=5, alpha=0.4, markeredgewidth=0, **within)
        axes.plot([low, high], [row, row], linewidth=5, solid_capstyle="butt", alpha=0.6, **within)
        edge: dict[str, Any] = {
            "markeredgecolor": color if "markerfacecolor" in look else plt.rcParams["figure.facecolor"]
        }
        axes.plot([mean.mean], [row], markersize=9, markeredgewidth=1.2, gid="mean", **look, **edge)
    cut = (low, high) != (mean.low, mean.high)
    interval = f", {low:.2f} to {high:.2f}" if cut else f" ± {high - mean.mean:.2f}"
    axes.text(1.02, row, f"{mean.mean:.2f}{interval if mean.n > 1 else ''}", **text)


def finished(values: np.ndarray) -> np.ndarray:
    """Return those of an arm's values that are not nan, as a failed run's are."""
    return values[~np.isnan(values)]


def unlearned(arms: Iterable[Arm]) -> float:
    """Return the accuracy in % up to which a run counts as one that has not learned: half the best.

    No axis could show it and the others.
    """
    return max((finished(arm.last()).max(initial=0.0) for arm in arms), default=0.0) / 2


# Lines


@styled
def plot_rates(arms: Arms, chosen: Iterable[Recipe] = ()) -> Figure:
    """Plot accuracy against learning rate: a dot per run, and a line through the means of arms that differ in it alone.

    Runs that failed or have not learned are counted at the foot of the axes, and are in no mean. Arms that were
    `chosen` are ringed.
    """
    too_low = unlearned(arms.values())
    learned = {arm.recipe: np.where(arm.last() > too_low, arm.last(), np.nan) for arm in arms.values()}
    figure, axes = plt.subplots(figsize=(WIDTH, 5))
    axes.margins(y=0.12)
    marks = ". ×1/3: one of three failed, or has less than half of the best"
    note = DOTS_AND_LINES + (marks if np.isnan(np.concatenate(list(learned.values()))).any() else "")
    ringed = [recipe for recipe in chosen if recipe in arms and len(finished(learned[recipe]))]
    note += ". Ringed: chosen" if ringed else ""
    caption(figure, f"{measured(arms)} (%) by learning rate", note, conditions(arms.values()))
    lines = lines_by(axes, arms, lambda arm: learned[arm.recipe], "lr")
    ring: dict[str, Any] = {"color": plt.rcParams["text.color"], "markerfacecolor": "none", "gid": "chosen"}
    for recipe in ringed:
        axes.plot([recipe.lr], [finished(learned[recipe]).mean()], "o", markersize=14, **ring)
    rates = Counter(recipe.lr for recipe in arms)
    log_scale(axes.xaxis, sorted(rate for rate in rates if len(lines) == 1 or _has_a_tick(rate, rates)))
    axes.set_xlim(min(rates) / 1.15, max(rates) * 1.15)  # also where nothing learned
    axes.set_xlabel("Highest learning rate (log scale)")
    label_ends(axes, lines)
    return figure


def _has_a_tick(rate: float, tried: Mapping[float, int]) -> bool:
    """Tell whether several arms have a rate, or its tick is not in the way of another's."""
    return tried[rate] > 1 or all(max(rate / other, other / rate) > 1.9 for other in tried if other != rate)


@styled
def plot_by_batch_size(arms: Arms) -> Figure:
    """Plot accuracy against batch size: a dot per run, and a line through the means of arms that differ in it alone.

    Each batch size may have a learning rate of its own. Bars are the means' 95 % intervals.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 5))
    note = f"{DOTS_AND_LINES}; bars: 95 % intervals{failed_at_the_foot(arms)}"
    caption(figure, f"{measured(arms)} (%) by batch size", note, conditions(arms.values()))
    lines = lines_by(axes, arms, lambda arm: arm.last(), "batch_size", "lr")
    for arm in arms.values():
        if len(finished(arm.last())) > 1:
            ends = np.clip([arm.accuracy.low, arm.accuracy.high], 0, 100)
            axes.plot([arm.recipe.batch_size] * 2, ends, color=colour(arm.recipe.norm), linewidth=5, alpha=0.5)
    log_scale(axes.xaxis, sorted({recipe.batch_size for recipe in arms}))
    axes.set_xlabel("Training images per step (log scale)")
    label_ends(axes, lines)
    return figure


def lines_by(axes: Axes, arms: Arms, values: Callable[[Arm], np.ndarray], number: str, *also: str) -> list[Line2D]:
    """Draw a line through the means of the arms that share a recipe but for `number`, and what varies with it, `also`.

    Each has dots for the `values` of an arm's runs. Those that are nan, as a failed run's, are counted at the foot of
    the axes. Returns the lines, which `label_ends` labels.
    """
    families = _families(arms, number, *also)
    if sum(len(family) for family in families.values()) < len(arms):  # two arms at one place are not one line
        families = _families(arms, number)
    names, lines, marked = labels(families), [], Counter[float]()
    for (recipe, family), look in zip(families.items(), looks([recipe.norm for recipe in families])):
        color, samples = colour(recipe.norm), {x: values(arm) for x, arm in family.items()}
        lines.append(line(axes, samples, **look, label=names[recipe]))
        for x, sample in samples.items():
            if lost := int(np.isnan(sample).sum()):
                axes.margins(y=0.12)
                _mark(axes, x, marked[x], f"×{lost}/{len(sample)}", color)
                marked[x] += 1
    return lines


def failed_at_the_foot(arms: Arms) -> str:
    """Explain the marks of `lines_by` for failed runs, as the end of a note; nothing if there are none."""
    return ". ×1/3: one of three runs failed" if failures(arms.values()) else ""


def _families(arms: Arms, number: str, *also: str) -> dict[Recipe, dict[float, Arm]]:
    """Gather the arms that differ in nothing else, by `number`; what they share is a recipe with defaults in these."""
    usual: dict[str, Any] = {name: getattr(Recipe(), name) for name in (number, *also)}
    families: dict[Recipe, dict[float, Arm]] = {replace(recipe, **usual): {} for recipe in arms}
    for recipe, arm in sorted(arms.items(), key=lambda item: getattr(item[0], number)):
        families[replace(recipe, **usual)][getattr(recipe, number)] = arm
    return families


def _mark(axes: Axes, x: float, height: int, text: str, color: str) -> Text:
    place = x, 0.03 + 0.05 * height
    return axes.text(*place, text, transform=axes.get_xaxis_transform(), color=color, ha="center", size=11)


def line(
    axes: Axes,
    samples: Mapping[int, np.ndarray] | Mapping[float, np.ndarray],
    color: str,
    marker: str = "o",
    **style: Any,
) -> Line2D:
    """Draw a dot for each value of the samples (by their x), and a line through the means; leave out what is nan."""
    means = {}
    for x, values in samples.items():
        shown = finished(values)
        axes.plot([x] * len(shown), shown, "o", color=color, alpha=0.35, markersize=4, markeredgewidth=0)
        if len(shown):
            means[x] = shown.mean()
    return axes.plot(list(means), list(means.values()), color=color, marker=marker, markersize=7, **style)[0]
