"""The study's own figures: the answer, and accuracy by groups, length, images per statistic, seeds and penalties."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import inf

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from normbench.figures import METRICS, WIDTH, caption, label_ends, line, lines_by, log_scale, rows, styled
from normbench.figures.arms import DASHES, DOTS_AND_LINES, INTERVALS, failed_at_the_foot, failures, finished, measured
from normbench.layers import NORMALIZATIONS, colour, parse
from normbench.runs import Arm, Arms, conditions
from normbench.stats import best_of, summary
from normbench.training import Recipe, labels
from normbench.words import count

SHADES = (colour("BN"), "#4AA3DF", "#00344F")  # of batch norm's blue, where a figure has nothing else
MARKERS = ("o", "s", "^")
# Whose means and variances BN is tested with: see `batch_statistics.split`.
STATISTICS = {
    "running": "running averages",
    "precise": "precise statistics",
    "batch": "the batch's own",
}
EFFECTS = {  # of L1, by the title of their panel
    "Test error (%, log scale)": lambda arm: 100 - arm.last(),
    "Σ|p| (log scale)": lambda arm: arm.last("l1_norm"),
    "Exact zeros (%)": lambda arm: arm.last("zeros"),
}


@styled
def plot_answer(panels: Mapping[str, Arms]) -> Figure:
    """Plot the rows of each title's arms, one panel above the other, all axes equally many points of accuracy wide."""
    heights = [len(arms) for arms in panels.values()]
    size = (WIDTH, 1.3 + 0.36 * sum(heights) + 0.8 * len(heights))
    figure, column = plt.subplots(len(heights), figsize=size, height_ratios=[n + 0.5 for n in heights], squeeze=False)
    titles = []
    for axes, (title, arms) in zip(column.flat, panels.items()):
        rows(axes, arms.values(), [_in_words(recipe, name) for recipe, name in labels(arms).items()])
        means = [finished(arm.last()).mean() for arm in arms.values() if len(finished(arm.last()))]
        titles.append(axes.set_title(f"{title}: means within {np.ptp(means):.2f} points", pad=10))
    span = max(np.ptp(axes.get_xlim()) for axes in column.flat)
    for axes in column.flat:
        low = min(np.mean(axes.get_xlim()) - span / 2, 100 - span)
        axes.set_xlim(low, low + span)
    notes = [conditions(arms.values()) for arms in panels.values()]
    caption(figure, "Test accuracy by normalization", f"{INTERVALS}. Equal scales", *notes)
    figure.draw_without_rendering()
    for axes, text in zip(column.flat, titles):  # above the names too, for it needs the width
        text.set_x(axes.transAxes.inverted().transform((0.01 * figure.bbox.width, 0))[0])
    return figure


def _in_words(recipe: Recipe, label: str) -> str:
    return label.replace(recipe.family, NORMALIZATIONS[recipe.family].name, 1)


@styled
def plot_groups(arms: Arms) -> Figure:
    """Plot the rows of arms by their number of groups, from one (LN) to one per channel (IN)."""
    ordered = sorted(arms.values(), key=lambda arm: _groups(arm.recipe)[0])
    figure, axes = plt.subplots(figsize=(WIDTH, 1.9 + 0.4 * len(arms)))
    rows(axes, ordered, [_groups(arm.recipe)[1] for arm in ordered])
    axes.set_ylabel("groups (C: one per channel)")
    caption(figure, f"{measured(arms)} by number of groups", INTERVALS, conditions(arms.values()))
    return figure


def _groups(recipe: Recipe) -> tuple[float, str]:
    ends = {"LN": (1, "1 (LN)"), "IN": (inf, "C (IN)")}
    number = parse(recipe.norm).number
    if recipe.family in ends:
        return ends[recipe.family]
    if recipe.family != "GN" or number is None:
        raise ValueError(f"{recipe.norm} has no number of groups; take LN, GN:2, GN:4, … or IN")
    return number, f"{number}"


@styled
def plot_length(arms: Arms) -> Figure:
    """Plot error against the number of epochs: a dot per run, a line per normalization through the means."""
    figure, axes = plt.subplots(figsize=(WIDTH, 6))
    note = DOTS_AND_LINES + failed_at_the_foot(arms)
    caption(figure, "Test error (%) by length of training", note, conditions(arms.values()))
    log_scale(axes.yaxis)
    lines = lines_by(axes, arms, lambda arm: 100 - arm.last(), "epochs")
    log_scale(axes.xaxis, sorted({recipe.epochs for recipe in arms}))
    axes.set_xlabel("Epochs (log scales)")
    label_ends(axes, lines)
    return figure


@styled
def plot_ghosts(arms: Arms) -> Figure:
    """Plot test loss and accuracy of batch norm against the images that share statistics, beside other normalizations'.

    Below them, what the loss owes to the statistics that it is tested with.

    Raises ValueError if arms of batch norm differ in anything else than the number of these images.
    """
    ghosts = _ghosts(arms)
    names = labels([_whole_batch(next(iter(ghosts.values())).recipe), *(r for r in arms if r.family != "BN")])
    figure, column = plt.subplots(3, figsize=(WIDTH, 9.6), sharex=True)
    batch = next(iter(arms)).batch_size
    note = f"Batches of {batch}, of which BN normalizes parts. {DOTS_AND_LINES}"
    title = "Batch norm with few images per statistic"
    caption(figure, title, note, failures(arms.values()), conditions(arms.values()))
    for axes, metric in zip(column, ("test_loss", "test_accuracy")):
        axes.set_title(METRICS[metric])
        samples = {images: arm.last(metric) for images, arm in ghosts.items()}
        lines = []
        for recipe, name in names.items():
            if recipe.family == "BN":
                lines.append(line(axes, samples, colour("BN"), label=name))
            elif len(values := finished(arms[recipe].last(metric))):
                style = {"color": colour(recipe.norm), "linestyle": "--", "label": name}
                lines += axes.plot([min(ghosts), max(ghosts)], [values.mean()] * 2, **style)
        label_ends(axes, lines)
    _by_statistics(column[-1], ghosts)
    return figure


def _ghosts(arms: Arms) -> dict[int, Arm]:
    """Return batch norm's arms by the images that share statistics."""
    of_batch_norm = [arm for recipe, arm in arms.items() if recipe.family == "BN"]
    ghosts = {arm.recipe.images_per_statistic: arm for arm in of_batch_norm}
    if len({_whole_batch(arm.recipe) for arm in of_batch_norm}) != 1 or len(ghosts) < len(of_batch_norm):
        names = ", ".join(labels(arm.recipe for arm in of_batch_norm).values())
        raise ValueError(f"arms of batch norm must differ only in the images per statistic, got {names}")
    return dict(sorted(ghosts.items()))


def _whole_batch(recipe: Recipe) -> Recipe:
    return replace(recipe, norm=recipe.norm.partition(":")[0])


def _by_statistics(axes: Axes, ghosts: Mapping[int, Arm]) -> None:
    """Draw a line for each of `STATISTICS`: the mean test loss with them."""
    for (kind, name), color, marker, dash in zip(STATISTICS.items(), SHADES, MARKERS, DASHES):
        means = [
            np.mean([run.statistics[kind]["test_loss"] for run in arm.runs if not run.failure] or [np.nan])
            for arm in ghosts.values()
        ]
        axes.plot(list(ghosts), means, marker, linestyle=dash, color=color, label=name)
    axes.set_title("Test loss of BN by the statistics that it is tested with, means")
    axes.set_xlabel("Images per statistic of BN (log scale)")
    log_scale(axes.xaxis, list(ghosts))
    label_ends(axes, axes.lines)


@styled
def plot_luck(arms: Arms) -> Figure:
    """Plot test accuracy over the seeds of one arm, and what the best of several seeds is expected to have.

    Each for the last epoch, filled, and for the best epoch, which is chosen by the test images themselves.
    """
    (arm,) = arms.values()
    last, best = finished(arm.last()), finished(arm.best())
    image, pooled = 100 / arm.correct.shape[1], np.concatenate([last, best])
    width = image * max(1, round(np.ptp(pooled) / image / 24))  # of a bin: a whole number of images, for equal bins
    edges = np.arange(pooled.min() - image / 2, pooled.max() + width, width)
    counts = range(1, min(50, len(last)) + 1)
    figure, (top, bottom) = plt.subplots(2, figsize=(WIDTH, 6.8))
    caption(figure, f"One recipe, other seeds: {arm.label}", conditions([arm]))
    shapes = {"histtype": "stepfilled", "alpha": 0.4}, {"histtype": "step", "linewidth": 1.8}
    kinds = ("last epoch", last, SHADES[0]), ("best epoch", best, SHADES[2])
    for (name, values, color), shape in zip(kinds, shapes):
        label = f"{name}: mean {values.mean():.2f}, deviation {summary(values.tolist()).deviation:.2f}"
        top.hist(values, edges, label=label, color=color, **shape)
        expected = [best_of(values.tolist(), k) for k in counts]
        bottom.plot(counts, expected, color=color, label=f"{name} {expected[-1]:.2f}")
    top.set(title="Test accuracy (%) of the seeds: numbers of runs", ylim=(0, 1.35 * top.get_ylim()[1]))
    top.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    top.legend(loc="upper left")
    bottom.set(title="Expected test accuracy (%) of the best seed", xlabel="Seeds tried (log scale)")
    bottom.set_xlim(0.9, 1.1 * counts[-1])
    log_scale(bottom.xaxis)
    label_ends(bottom, bottom.lines)
    return figure


@styled
def plot_penalties(arms: Arms, framed: Collection[Recipe] = ()) -> Figure:
    """Plot normalization x penalty as a heat map of mean test accuracy with its range over the seeds.

    `framed` are the arms of a published study, which get a frame.
    """
    plain = {recipe: replace(recipe, l1=0.0, l2=0.0, proximal=False) for recipe in arms}
    down, across = list(dict.fromkeys(plain.values())), {_penalty(recipe): _in_numbers(recipe) for recipe in arms}
    figure, axes = plt.subplots(figsize=(WIDTH, 1.7 + 0.7 * len(down)))
    means = np.full((len(down), len(across)), np.nan)
    for recipe, arm in arms.items():
        row, column = down.index(plain[recipe]), list(across).index(_penalty(recipe))
        means[row, column] = _cell(axes, row, column, arm)
        if recipe in framed:
            axes.add_patch(Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, fill=False, linewidth=2.5))
    low, high = np.nanmin(means), np.nanmax(means)
    # Twice the range, for light colours alone: black is readable on each of them.
    axes.imshow(means, cmap="Blues", aspect="auto", vmin=low, vmax=2 * high - low + 1e-9)
    axes.set_xticks(range(len(across)), list(across.values()))
    axes.set_yticks(range(len(down)), list(labels(down).values()))
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    notes = (
        "Means of the seeds, and below them the lowest to the highest",
        "Framed: a published study" if framed else "",
    )
    caption(figure, "Test accuracy by normalization and penalty", *notes, conditions(arms.values()))
    return figure


def _penalty(recipe: Recipe) -> tuple[float, float, bool]:
    return recipe.l1, recipe.l2, recipe.proximal


def _in_numbers(recipe: Recipe) -> str:
    l1 = [f"{'proximal ' if recipe.proximal else ''}L1 {recipe.l1:g}"] if recipe.l1 else []
    l2 = [f"L2 {recipe.l2:g}"] if recipe.l2 else []
    return "\n+ ".join(l1 + l2) or "no penalty"


def _cell(axes: Axes, row: int, column: int, arm: Arm) -> float:
    """Write an arm's mean and range, or how many of its runs failed, and return the mean: nan if all of them failed."""
    values = finished(arm.last())
    failed = len(arm.runs) - len(values)
    if len(values):
        axes.text(column, row - 0.05, f"{values.mean():.2f} %", ha="center", weight="bold", size=13)
    below = f"{count(failed, 'run')} failed" if failed else f"{values.min():.2f} to {values.max():.2f}"
    axes.text(column, row + 0.3, below, ha="center", size=11)
    return values.mean() if len(values) else np.nan


@styled
def plot_strengths(arms: Arms) -> Figure:
    """Plot error, Σ|p| and exact zeros against λ1: a line for L1 by its subgradient, one for a proximal step."""
    strengths = sorted({recipe.l1 for recipe in arms})
    name = replace(next(iter(arms)), l1=0.0, proximal=False).label
    figure, column = plt.subplots(len(EFFECTS), figsize=(WIDTH, 7.6), sharex=True)
    notes = DOTS_AND_LINES, failures(arms.values()), conditions(arms.values())
    caption(figure, f"What L1 does to {name}, by its strength λ", *notes)
    for axes, (title, effect) in zip(column, EFFECTS.items()):
        axes.set_title(title)
        lines = []
        ways = (False, "subgradient", SHADES[0]), (True, "proximal step", SHADES[2])
        for (proximal, way, color), marker, dash in zip(ways, MARKERS, DASHES):
            of_way = {recipe.l1: arm for recipe, arm in arms.items() if recipe.proximal == proximal or not recipe.l1}
            values = {strengths.index(l1): effect(of_way[l1]) for l1 in sorted(of_way)}
            lines.append(line(axes, values, color, marker, linestyle=dash, label=way))
        if "log scale" in title:
            log_scale(axes.yaxis)
        label_ends(axes, lines)
    column[-1].set_xticks(range(len(strengths)), [f"{l1:g}" for l1 in strengths])
    column[-1].set_xlabel("λ")
    return figure
