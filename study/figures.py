"""The study's own figures: the answer, and accuracy by groups, length, images per statistic, seeds and penalties."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import inf, isclose, log10

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, MultipleLocator

from normbench.data import title as data_title
from normbench.figures import METRICS, WIDTH, caption, label_ends, line, lines_by, log_scale, looks, rows, styled
from normbench.figures.arms import DASHES, DOTS_AND_LINES, INTERVALS, failed_at_the_foot, failures, finished, measured
from normbench.figures.style import is_dark
from normbench.layers import colour, parse
from normbench.runs import Arm, Arms, conditions
from normbench.stats import best_of, summary
from normbench.training import Recipe, labels
from normbench.words import count

MIDDLE, LIGHT = colour("BN"), "#4AA3DF"  # of batch norm's blue, where a figure has nothing else
MARKERS = ("o", "s", "^")
# Whose means and variances BN is tested with: see `batch_statistics.split`.
STATISTICS = {
    "running": "running averages",
    "precise": "precise statistics",
    "batch": "the batch's own",
}
EFFECTS = {  # of L1, by the title of their panel
    "Test error (%, log scale)": lambda arm: 100 - arm.last(),
    "Sum of absolute weights (log scale)": lambda arm: arm.last("l1_norm"),
    "Exact zeros (%)": lambda arm: arm.last("zeros"),
}


def shades() -> tuple[str, str, str]:
    """Return three shades of batch norm's blue, of which the third is far from the background."""
    return MIDDLE, LIGHT, "#BFE3FF" if is_dark() else "#00344F"


@styled
def plot_answer(panels: Mapping[str, Arms], wide: bool = False) -> Figure:
    """Plot the rows of each title's arms, a panel each, on axes that are equally many points of accuracy wide.

    The panels stand below each other, with `wide` beside each other.
    """
    heights = [len(arms) for arms in panels.values()]
    if wide:
        figure, grid = plt.subplots(1, len(heights), figsize=(2 * WIDTH, 1.3 + 0.42 * max(heights)), squeeze=False)
    else:
        size, ratios = (WIDTH, 1.3 + 0.4 * sum(heights) + 0.75 * len(heights)), [n + 0.5 for n in heights]
        figure, grid = plt.subplots(len(heights), figsize=size, height_ratios=ratios, squeeze=False)
    for axes, (title, arms) in zip(grid.flat, panels.items()):
        rows(axes, arms.values(), [recipe.family for recipe in arms])
        if wide:
            axes.set_ylim(max(heights) - 0.5, -0.6)
        axes.set_title(title)
        axes.set_xlabel(_conditions(arms))
    span = max(np.ptp(axes.get_xlim()) for axes in grid.flat)
    for axes in grid.flat:
        low = min(np.mean(axes.get_xlim()) - span / 2, 100 - span)
        axes.set_xlim(low, low + span)
        axes.xaxis.set_major_locator(MultipleLocator(1))
    caption(figure, "", f"Test accuracy. {INTERVALS}. All panels span {span:.1f} percentage points")
    figure.draw_without_rendering()
    for axes in grid.flat:  # titles stand above the names too, because they need the width
        left = min(name.get_window_extent().x0 for name in axes.get_yticklabels())
        axes.set_title(axes.get_title("left"), x=axes.transAxes.inverted().transform((left, 0))[0])
    return figure


def _conditions(arms: Arms) -> str:
    """Say in a few words what the arms were trained on and how long."""
    arm = next(iter(arms.values()))
    images = f", {arm.recipe.images:,} images" if arm.recipe.images else ""
    return f"{data_title(arm.runs[0].dataset)}{images}, batches of {arm.recipe.batch_size}"


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
    """Plot test accuracy and loss of batch norm against the images that share statistics, beside other normalizations'.

    Raises ValueError if arms of batch norm differ in anything else than the number of these images.
    """
    ghosts = _ghosts(arms)
    names = labels([_whole_batch(next(iter(ghosts.values())).recipe), *(r for r in arms if r.family != "BN")])
    figure, column = plt.subplots(2, figsize=(WIDTH, 6.6), sharex=True)
    batch = next(iter(arms)).batch_size
    note = f"Batches of {batch}, of which BN normalizes parts. {DOTS_AND_LINES}"
    title = "Batch norm when few images share its statistics"
    caption(figure, title, note, failures(arms.values()), conditions(arms.values()))
    for axes, metric in zip(column, ("test_accuracy", "test_loss")):
        axes.set_title(METRICS[metric])
        samples = {images: arm.last(metric) for images, arm in ghosts.items()}
        lines = []
        for (recipe, name), look in zip(names.items(), looks([recipe.norm for recipe in names])):
            if recipe.family == "BN":
                lines.append(line(axes, samples, **look, label=name))
            elif len(values := finished(arms[recipe].last(metric))):
                lines += axes.plot([min(ghosts), max(ghosts)], [values.mean()] * 2, **look, label=name)
        label_ends(axes, lines)
    _images_per_statistic(column[-1], ghosts)
    return figure


@styled
def plot_statistics(arms: Arms) -> Figure:
    """Plot the mean test loss of batch norm by the statistics that it is tested with: a line for each of `STATISTICS`.

    Raises ValueError as `plot_ghosts` does.
    """
    ghosts = _ghosts(arms)
    figure, axes = plt.subplots(figsize=(WIDTH, 4))
    caption(
        figure,
        "Test loss of BN (nats) by the statistics used at test time",
        "Means of the seeds",
        conditions(arms.values()),
    )
    for (kind, name), color, marker, dash in zip(STATISTICS.items(), shades(), MARKERS, DASHES):
        means = [
            np.mean([run.statistics[kind]["test_loss"] for run in arm.runs if not run.failure] or [np.nan])
            for arm in ghosts.values()
        ]
        axes.plot(list(ghosts), means, marker, linestyle=dash, color=color, label=name)
    _images_per_statistic(axes, ghosts)
    label_ends(axes, axes.lines)
    return figure


def _images_per_statistic(axes: Axes, ghosts: Mapping[int, Arm]) -> None:
    axes.set_xlabel("Images that share a mean of BN (log scale)")
    log_scale(axes.xaxis, list(ghosts))


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


@styled
def plot_luck(arms: Arms) -> Figure:
    """Plot test accuracy over the seeds of one arm, and what the best of several seeds is expected to have.

    All for the last epoch. What choosing the best epoch would add is said below, because it is too little to be seen.
    """
    (arm,) = arms.values()
    last, best = finished(arm.last()), finished(arm.best())
    image = 100 / arm.correct.shape[1]
    width = image * max(1, round(np.ptp(last) / image / 24))  # of a bin: a whole number of images, for equal bins
    figure, (top, bottom) = plt.subplots(2, figsize=(WIDTH, 6.2))
    epoch = f"Last epoch; the best epoch instead would add {(best - last).mean():.3f} points on average"
    caption(figure, f"One recipe, {len(last)} seeds: {arm.label}", epoch, conditions([arm]))
    top.hist(last, np.arange(last.min() - image / 2, last.max() + width, width), color=shades()[0], alpha=0.6)
    deviation = summary(last.tolist()).deviation
    top.set_title(f"Runs by test accuracy (%): mean {last.mean():.2f}, s.d. {deviation:.2f}")
    top.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    expected = {k: best_of(last.tolist(), k) for k in range(1, min(50, len(last)) + 1)}
    bottom.plot(list(expected), list(expected.values()), color=shades()[0])
    some = min(10, len(last))
    bottom.plot([some], [expected[some]], "o", color=shades()[0], markersize=8)
    gain = f"{expected[some] - expected[1]:+.2f} from choosing\nthe best of {count(some, 'seed')} "
    bottom.annotate(gain, (some, expected[some]), (10, -8), textcoords="offset points", va="top")
    bottom.set(title="Expected test accuracy (%) of the best seed", xlabel="Seeds tried (log scale)")
    bottom.set_xlim(0.9, 1.1 * len(expected))
    log_scale(bottom.xaxis)
    return figure


@styled
def plot_penalties(arms: Arms, framed: Collection[Recipe] = ()) -> Figure:
    """Write normalization x penalty as a table of mean test accuracy, with half of its 95 % interval.

    `framed` are the arms of study C, which get a frame.
    """
    plain = {recipe: replace(recipe, l1=0.0, l2=0.0, proximal=False) for recipe in arms}
    down, across = list(dict.fromkeys(plain.values())), {_penalty(recipe): _in_numbers(recipe) for recipe in arms}
    figure, axes = plt.subplots(figsize=(WIDTH, 1.7 + 0.62 * len(down)))
    for recipe, arm in arms.items():
        row, column = down.index(plain[recipe]), list(across).index(_penalty(recipe))
        _cell(axes, row, column, arm)
        if recipe in framed:
            axes.add_patch(
                Rectangle(
                    (column - 0.47, row - 0.46),
                    0.94,
                    0.92,
                    fill=False,
                    edgecolor=plt.rcParams["text.color"],
                    linewidth=2.5,
                )
            )
    axes.set(xlim=(-0.5, len(across) - 0.5), ylim=(len(down) - 0.5, -0.5))
    axes.hlines(np.arange(len(down) - 1) + 0.5, -0.5, len(across) - 0.5, color=plt.rcParams["grid.color"], linewidth=1)
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(across)), list(across.values()))
    axes.set_yticks(range(len(down)), list(labels(down).values()))
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    notes = (
        "Means of the seeds; ± is half of the 95 % interval",
        "Framed: the four models of study C" if framed else "",
    )
    caption(figure, "Test accuracy by normalization and penalty", *notes, conditions(arms.values()))
    return figure


def _penalty(recipe: Recipe) -> tuple[float, float, bool]:
    return recipe.l1, recipe.l2, recipe.proximal


def _in_numbers(recipe: Recipe) -> str:
    l1 = [f"{'proximal ' if recipe.proximal else ''}L1 {_power(recipe.l1)}"] if recipe.l1 else []
    l2 = [f"L2 {recipe.l2:g}"] if recipe.l2 else []
    return " +\n".join(l1 + l2) or "no penalty"


def _cell(axes: Axes, row: int, column: int, arm: Arm) -> None:
    """Write an arm's mean and half of its interval, or how many of its runs failed."""
    learned = len(finished(arm.last()))
    failed = len(arm.runs) - learned
    if learned:
        axes.text(column, row - 0.05, f"{arm.accuracy.mean:.2f} %", ha="center", weight="bold", size=13)
    half = f"± {arm.accuracy.high - arm.accuracy.mean:.2f}" if learned > 1 else ""
    axes.text(column, row + 0.3, f"{count(failed, 'run')} failed" if failed else half, ha="center", size=11)


@styled
def plot_strengths(arms: Arms) -> Figure:
    """Plot error, Σ|p| and exact zeros against λ1: a line for L1 by its subgradient, one for a proximal step."""
    strengths = sorted({recipe.l1 for recipe in arms})
    name = replace(next(iter(arms)), l1=0.0, proximal=False).label
    figure, column = plt.subplots(len(EFFECTS), figsize=(WIDTH, 7.4), sharex=True)
    notes = DOTS_AND_LINES, failures(arms.values()), conditions(arms.values())
    caption(figure, f"What L1 does to {name}, by its strength λ", *notes)
    for axes, (title, effect) in zip(column, EFFECTS.items()):
        axes.set_title(title)
        lines = []
        ways = (False, "subgradient", shades()[0]), (True, "proximal step", shades()[2])
        for (proximal, way, color), marker, dash in zip(ways, MARKERS, DASHES):
            of_way = {recipe.l1: arm for recipe, arm in arms.items() if recipe.proximal == proximal or not recipe.l1}
            values = {strengths.index(l1): effect(of_way[l1]) for l1 in sorted(of_way)}
            lines.append(line(axes, values, color, marker, linestyle=dash, label=way))
        if "log scale" in title:
            log_scale(axes.yaxis)
        label_ends(axes, lines)
    column[-1].set_xticks(range(len(strengths)), [_power(l1) for l1 in strengths])
    column[-1].set_xlabel("λ")
    return figure


def _power(number: float) -> str:
    """Write a power of ten as such: 10⁻⁴; another number plainly."""
    exponent = round(log10(number)) if number else 0
    return f"$10^{{{exponent}}}$" if number and isclose(number, 10**exponent) else f"{number:g}"
