"""Runs and arms become matplotlib figures, one colour a normalization, with text that a phone still shows legibly."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from model import NORMALIZATIONS
from normbench.config import Config
from normbench.data import title as data_title
from normbench.runs import Arm, Arms
from normbench.stats import best_of, summary
from normbench.style import WIDTH, caption, label_ends, log_scale, styled
from normbench.train import Run
from normbench.words import count

SHADES = (NORMALIZATIONS["BN"].colour, "#4AA3DF", "#00344F")  # of batch norm's blue, where a figure has nothing else
MARKERS, DASHES = ("o", "s", "^"), ("-", "--", "-.")
METRICS = {
    "test_loss": "Test loss (nats)",
    "test_accuracy": "Test accuracy (%)",
    "train_loss": "Training loss (nats)",
    "train_accuracy": "Training accuracy (%)",
}
INTERVALS = "Dots: seeds. Diamonds, bars and numbers: means, 95 % intervals"


def conditions(arms: Collection[Arm]) -> str:
    """One line on what a figure's runs were made with: "MNIST, 20 epochs, 24 seeds an arm, CPU (1 thread, AVX2)"."""
    runs = [run for arm in arms for run in arm.runs]
    config, seeds = runs[0].config, {run.config.seed for run in runs}
    images = f"first {config.images:,} training images, " if config.images else ""
    counts = sorted(len(arm.runs) for arm in arms)
    several = f"{counts[0]} seeds" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]} seeds"
    seeds = f"seed {seeds.pop()}" if len(seeds) == 1 else several + (" an arm" if len(arms) > 1 else "")
    return f"{data_title(runs[0].dataset)}, {images}{lengths(runs)}, {seeds}, {_devices({run.device for run in runs})}"


def _devices(names: Collection[str]) -> str:
    """The only one's name, or how many kinds there are: "2 kinds of CPU", "CPU and GPU"."""
    kinds = Counter("CPU" if name.startswith("CPU") else "GPU" for name in names)
    several = " and ".join(f"{n} kinds of {kind}" if n > 1 else kind for kind, n in sorted(kinds.items()))
    return several if len(names) > 1 else next(iter(names))


def lengths(runs: Iterable[Run]) -> str:
    """How long the trainings are: "1 epoch", "20 epochs", "1 to 32 epochs"."""
    epochs = sorted({run.config.epochs for run in runs})
    if len(epochs) > 1:
        return f"{epochs[0]} to {epochs[-1]} epochs"
    return count(epochs[0], "epoch")


def _accuracy(arms: Arms) -> str:
    held_out = any("(validation)" in arm.runs[0].dataset for arm in arms.values())
    return "Accuracy on held-out training images" if held_out else "Test accuracy"


def _unlearned(arms: Iterable[Arm]) -> float:
    """The accuracy in % up to which a training counts as one that has not learned: half the best.

    No axis could show it and the others.
    """
    return max(arm.last().max() for arm in arms) / 2


def _dashes(configs: Collection[Config]) -> list[str]:
    """A line style each: arms of one normalization have one colour, and differ in this."""
    names = [config.nm for config in configs]
    return [DASHES[names[:i].count(nm) % len(DASHES)] for i, nm in enumerate(names)]


def _labelled_families(arms: Arms, number: str) -> Iterator[tuple[dict[float, Arm], dict[str, str]]]:
    """The arms of one label, by a number of their config, and the style of their line."""
    families: dict[str, dict[float, Arm]] = {config.label: {} for config in arms}
    for config, arm in sorted(arms.items(), key=lambda item: getattr(item[0], number)):
        families[config.label][getattr(config, number)] = arm
    configs = [next(iter(family.values())).config for family in families.values()]
    for (label, family), config, dashes in zip(families.items(), configs, _dashes(configs)):
        yield family, {"color": NORMALIZATIONS[config.nm].colour, "linestyle": dashes, "label": label}


@styled
def plot_metric(runs: Sequence[Run], metric: str, title: str) -> Figure:
    """One of `METRICS` against the epoch, a line a run, labelled at its end."""
    arms = [Arm(run.config, (run,)) for run in runs]
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2))
    axes.set_title(METRICS[metric])
    note = "Log scale; the loss is that without penalties" if metric.endswith("loss") else ""
    caption(figure, title, note, conditions(arms))
    _curves(axes, arms, [arm.label for arm in arms], metric, penalty="{} penalty")
    return figure


@styled
def plot_overview(runs: Sequence[Run]) -> Figure:
    """The four `METRICS` against the epoch in a 2x2 figure, a line a run; dotted, its penalty."""
    arms = [Arm(run.config, (run,)) for run in runs]
    return _four_panels(arms, "Test and training, loss and accuracy", "dotted: penalties", penalty="{}")


@styled
def plot_seeds(arms: Arms) -> Figure:
    """The four `METRICS` against the epoch in a 2x2 figure: a line an arm, the mean of its seeds, in a band of all."""
    note = "bands: from the lowest seed to the highest"
    return _four_panels(list(arms.values()), "Loss and accuracy by epoch, means of the seeds", note)


def _four_panels(arms: Sequence[Arm], title: str, note: str, penalty: str = "") -> Figure:
    figure, grid = plt.subplots(2, 2, figsize=(WIDTH, 6.4))
    labels, short = [arm.label for arm in arms], [arm.config.nm for arm in arms]
    names = labels if len(set(short)) < len(short) else short
    key = "" if names == labels else ", ".join(labels)
    caption(figure, title, key, f"Losses without penalties, on log scales; {note}", conditions(arms))
    for axes, (metric, name) in zip(grid.T.flat, METRICS.items()):
        axes.set_title(name)
        _curves(axes, arms, names, metric, penalty)
    for axes in grid[0]:
        axes.set_xlabel("")
    return figure


def _curves(axes: Axes, arms: Sequence[Arm], names: Sequence[str], metric: str, penalty: str = "") -> None:
    """A line an arm; `penalty`, such as "{} penalty", names dotted ones for L1 and L2 beside the training losses."""
    lines, lowest = [], inf
    for arm, name, dashes in zip(arms, names, _dashes([arm.config for arm in arms])):
        curves = [(name, arm.curve(metric), dashes)]
        penalties = " + ".join(key for key in ("L1", "L2") if getattr(arm.config, key.lower()))
        if penalty and penalties and metric == "train_loss":
            curves.append((penalty.format(penalties), arm.curve("penalty"), ":"))
        color, epochs = NORMALIZATIONS[arm.config.nm].colour, arm.curve("epoch")[0]
        for label, values, style in curves:
            axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15, linewidth=0)
            lines += axes.plot(epochs, values.mean(axis=0), style, color=color, marker="o", markersize=3, label=label)
            lowest = min(lowest, values.min())
    axes.set_xlabel("Epoch")
    axes.margins(x=0.05 if len(arms[0].runs[0].history) > 1 else 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    if metric.endswith("accuracy"):
        # Without the first fifth of the epochs, where accuracy climbs from nowhere
        means = [line.get_ydata() for line in lines]
        low, high = min(y[len(y) // 5 :].min() for y in means), max(y.max() for y in means)
        margin = 0.06 * (high - low) or 0.5
        axes.set_ylim(low - margin, high + margin)
        if lowest < low - margin:
            axes.set_xlabel("Epoch (cut off below)")
    elif lowest > 0:
        log_scale(axes.yaxis)
    digits = 4 if metric.endswith("loss") else 2
    for line in lines:
        line.set_label(f"{line.get_label()} {line.get_ydata()[-1]:.{digits}f}")
    label_ends(axes, lines)


@styled
def plot_arms(arms: Arms) -> Figure:
    """A row an arm: the last epoch's accuracy of each seed, and their mean with its 95 % interval.

    Arms with a training that has not learned stand at the edge, as arrows with their numbers.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 1.7 + 0.4 * len(arms)))
    _rows(axes, arms.values(), [arm.label for arm in arms.values()])
    caption(figure, f"{_accuracy(arms)} after the last epoch", INTERVALS, conditions(arms.values()))
    return figure


@styled
def plot_answer(panels: Mapping[str, Arms]) -> Figure:
    """A panel of `plot_arms` for each title, one above the other, their axes equally many points of accuracy wide."""
    rows = [len(arms) for arms in panels.values()]
    size = (WIDTH, 1.3 + 0.36 * sum(rows) + 0.8 * len(rows))
    figure, column = plt.subplots(len(rows), figsize=size, height_ratios=[n + 0.5 for n in rows], squeeze=False)
    for axes, (title, arms) in zip(column.flat, panels.items()):
        names = (arm.label.replace(arm.config.nm, NORMALIZATIONS[arm.config.nm].name, 1) for arm in arms.values())
        _rows(axes, arms.values(), list(names))
        apart = np.ptp([arm.accuracy.mean for arm in arms.values()])
        axes.set_title(f"{title}: means within {apart:.2f} points", pad=10)
    span = max(np.ptp(axes.get_xlim()) for axes in column.flat)
    for axes in column.flat:
        low = min(np.mean(axes.get_xlim()) - span / 2, 100 - span)
        axes.set_xlim(low, low + span)
    notes = [conditions(arms.values()) for arms in panels.values()]
    caption(figure, "Test accuracy by normalization", f"{INTERVALS}. Equal scales", *notes)
    return figure


def _rows(axes: Axes, arms: Iterable[Arm], names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names, weight="bold")
    arms = list(arms)
    too_low = _unlearned(arms)
    for row, (arm, tick) in enumerate(zip(arms, axes.get_yticklabels())):
        values, mean, color = arm.last(), arm.accuracy, NORMALIZATIONS[arm.config.nm].colour
        text = dict(transform=axes.get_yaxis_transform(), va="center_baseline", color=color)
        if values.min() < too_low:
            axes.plot([0.02], [row], "<", markersize=9, transform=axes.get_yaxis_transform(), color=color)
            axes.text(0.05, row, f"seeds: {values.min():.2f} to {values.max():.2f}", **text)
        else:
            # Steps of the golden section spread any number of dots evenly, and the same each time.
            jittered = row - 0.2 - 0.22 * (np.arange(len(values)) * 0.618034 % 1)
            axes.plot(values, jittered, "o", color=color, markersize=5, alpha=0.4, markeredgewidth=0)
            axes.plot([mean.low, mean.high], [row, row], color=color, linewidth=5, solid_capstyle="butt", alpha=0.6)
            axes.plot([mean.mean], [row], "D", color=color, markersize=9, markeredgecolor="white", markeredgewidth=1.2)
        interval = f" ± {mean.high - mean.mean:.2f}" if mean.n > 1 else ""
        axes.text(1.02, row, f"{mean.mean:.2f}{interval}", weight="bold", **text)
        tick.set_color(color)
    axes.margins(x=0.04)
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


@styled
def plot_groups(arms: Arms) -> Figure:
    """`plot_arms` in the order of the number of groups, from one (LN) to one a channel (IN)."""
    ends = {"LN": (1, "1 (LN)"), "IN": (inf, "C (IN)")}
    groups = {ends.get(config.nm, (config.gp, f"{config.gp}")): arm for config, arm in arms.items()}
    figure, axes = plt.subplots(figsize=(WIDTH, 1.9 + 0.4 * len(arms)))
    _rows(axes, [groups[number] for number in sorted(groups)], [name for _, name in sorted(groups)])
    axes.set_ylabel("groups (C: one a channel)")
    caption(figure, f"{_accuracy(arms)} by number of groups", INTERVALS, conditions(arms.values()))
    return figure


@styled
def plot_rates(arms: Arms) -> Figure:
    """Accuracy against learning rate: a dot a run, a line a normalization through the means.

    Trainings that have not learned are counted at the foot of the axes, and are in no mean.
    """
    families, lines, counted = list(_labelled_families(arms, "lr")), [], Counter()
    figure, axes = plt.subplots(figsize=(WIDTH, 5))
    note = "Dots: seeds; lines: means. ×1/3: one of three has not learned (less than half of the best)"
    too_low = _unlearned(arms.values())
    caption(figure, f"{_accuracy(arms)} (%) by learning rate", note, conditions(arms.values()))
    axes.margins(y=0.12)
    for family, style in families:
        learned = {rate: arm.last()[arm.last() > too_low] for rate, arm in family.items()}
        lines.append(_line(axes, learned, **style))
        for rate, arm in family.items():
            if lost := len(arm.runs) - len(learned[rate]):
                mark = dict(color=style["color"], ha="center", size=10, weight="bold")
                place = rate, 0.03 + 0.05 * counted[rate]
                axes.text(*place, f"×{lost}/{len(arm.runs)}", transform=axes.get_xaxis_transform(), **mark)
                counted[rate] += 1
    rates = Counter(config.lr for config in arms)
    log_scale(axes.xaxis, sorted(rate for rate, n in rates.items() if n > 1 or len(families) == 1))
    axes.set_xlim(min(rates) / 1.15, max(rates) * 1.15)  # also where nothing learned
    axes.set_xlabel("Highest learning rate (log scale)")
    label_ends(axes, lines)
    return figure


def _line(axes: Axes, samples: Mapping[float, Sequence[float]], color: str, marker: str = "o", **style) -> Line2D:
    """A dot for each value of the samples (by their x), and a line through the means of those that are not empty."""
    for x, values in samples.items():
        axes.plot([x] * len(values), values, marker, color=color, alpha=0.35, markersize=5, markeredgewidth=0)
    means = {x: np.mean(values) for x, values in samples.items() if len(values)}
    return axes.plot(list(means), list(means.values()), color=color, marker=marker, markersize=6, **style)[0]


@styled
def plot_by_batch_size(arms: Arms) -> Figure:
    """Accuracy against batch size: a dot a run, a line a normalization through the means."""
    figure, axes = plt.subplots(figsize=(WIDTH, 5))
    caption(figure, f"{_accuracy(arms)} (%) by batch size", DOTS_AND_LINES, conditions(arms.values()))
    _lines_by("batch_size", arms, axes, lambda arm: arm.last())
    axes.set_xlabel("Training images a step (log scale)")
    return figure


@styled
def plot_length(arms: Arms) -> Figure:
    """Error against the number of epochs: a dot a run, a line a normalization through the means; log scales."""
    figure, axes = plt.subplots(figsize=(WIDTH, 6))
    caption(figure, "Test error (%) by length of training", DOTS_AND_LINES, conditions(arms.values()))
    log_scale(axes.yaxis, subs=(1, 2, 5))
    _lines_by("epochs", arms, axes, lambda arm: 100 - arm.last())
    axes.set_xlabel("Epochs (log scales)")
    return figure


DOTS_AND_LINES = "Dots: seeds; lines: means"


def _lines_by(number: str, arms: Arms, axes: Axes, values: Callable[[Arm], np.ndarray]) -> None:
    lines = [
        _line(axes, {x: values(arm) for x, arm in family.items()}, **style)
        for family, style in _labelled_families(arms, number)
    ]
    log_scale(axes.xaxis, sorted({getattr(config, number) for config in arms}))
    label_ends(axes, lines)


# Whose means and variances BN is tested with: see `batch_statistics.split`.
STATISTICS = {"running": "running averages", "precise": "precise statistics", "batch": "the batch's own"}


@styled
def plot_ghosts(arms: Arms) -> Figure:
    """Test loss and accuracy of batch norm against the images that share statistics, beside other normalizations'.

    Below them, what the loss owes to the statistics that it is tested with.
    """
    figure, column = plt.subplots(3, figsize=(WIDTH, 9.6), sharex=True)
    batch = next(iter(arms)).batch_size
    note = f"Batches of {batch}, of which BN normalizes parts. Dots: seeds; lines: means"
    caption(figure, "Batch norm with few images a statistic", note, conditions(arms.values()))
    ghosts = {config.images_a_statistic: arm for config, arm in arms.items() if config.nm == "BN"}
    ghosts = dict(sorted(ghosts.items()))
    for axes, metric in zip(column, ("test_loss", "test_accuracy")):
        axes.set_title(METRICS[metric])
        values = {images: arm.last(metric) for images, arm in ghosts.items()}
        lines = [_line(axes, values, NORMALIZATIONS["BN"].colour, label="BN")]
        for config, arm in arms.items():
            if config.nm != "BN":
                style = dict(color=NORMALIZATIONS[config.nm].colour, linestyle="--", label=config.label)
                lines += axes.plot([min(ghosts), max(ghosts)], [arm.last(metric).mean()] * 2, **style)
        label_ends(axes, lines)
    for (kind, name), color, marker, dashes in zip(STATISTICS.items(), SHADES, MARKERS, DASHES):
        losses = {images: [run.statistics[kind]["test_loss"] for run in arm.runs] for images, arm in ghosts.items()}
        means = [np.mean(values) for values in losses.values()]
        column[-1].plot(list(losses), means, marker, linestyle=dashes, color=color, label=name)
    column[-1].set_title("Test loss of BN by the statistics that it is tested with, means")
    column[-1].set_xlabel("Images a statistic of BN (log scale)")
    log_scale(column[-1].xaxis, list(ghosts))
    label_ends(column[-1], column[-1].lines)
    return figure


@styled
def plot_luck(arms: Arms) -> Figure:
    """Test accuracy over the seeds of one arm, and what the best of several seeds is expected to have.

    Each for the last epoch, filled, and for the best epoch, which is chosen by the test images themselves.
    """
    (arm,) = arms.values()
    image, pooled = 100 / arm.correct.shape[1], np.concatenate([arm.last(), arm.best()])
    width = image * max(1, round(np.ptp(pooled) / image / 24))  # of a bin: a whole number of images, for equal bins
    edges = np.arange(pooled.min() - image / 2, pooled.max() + width, width)
    counts = np.arange(1, min(50, len(arm.runs)) + 1)
    figure, (top, bottom) = plt.subplots(2, figsize=(WIDTH, 6.8))
    caption(figure, f"One recipe, other seeds: {arm.label}", conditions([arm]))
    shapes = dict(histtype="stepfilled", alpha=0.4), dict(histtype="step", linewidth=1.8)
    kinds = ("last epoch", arm.last(), SHADES[0]), ("best epoch", arm.best(), SHADES[2])
    for (name, values, color), shape in zip(kinds, shapes):
        label = f"{name}: mean {values.mean():.2f}, deviation {summary(values).deviation:.2f}"
        top.hist(values, edges, label=label, color=color, **shape)
        expected = [best_of(values, k) for k in counts]
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
def plot_penalties(arms: Arms, framed: Collection[Config] = ()) -> Figure:
    """Normalization x penalty as a heat map of mean test accuracy with its range over the seeds.

    `framed` are the arms of a published study, which get a frame.
    """
    places = {config: (replace(config, l1=0.0, l2=0.0), (config.l1, config.l2)) for config in arms}
    rows, columns = (list(dict.fromkeys(labels)) for labels in zip(*places.values()))
    figure, axes = plt.subplots(figsize=(WIDTH, 1.7 + 0.7 * len(rows)))
    means = np.full((len(rows), len(columns)), np.nan)
    for config, (plain, penalty) in places.items():
        row, column, values = rows.index(plain), columns.index(penalty), arms[config].last()
        means[row, column] = values.mean()
        axes.text(column, row - 0.05, f"{values.mean():.2f} %", ha="center", weight="bold", size=13)
        axes.text(column, row + 0.3, f"{values.min():.2f} to {values.max():.2f}", ha="center", size=11)
        if config in framed:
            axes.add_patch(Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, fill=False, linewidth=2.5))
    low, high = np.nanmin(means), np.nanmax(means)
    # Twice the range, for light colours alone: black is readable on each of them.
    axes.imshow(means, cmap="Blues", aspect="auto", vmin=low, vmax=2 * high - low + 1e-9)
    names = [[f"{name} {value:g}" for name, value in zip(("L1", "L2"), penalty) if value] for penalty in columns]
    axes.set_xticks(range(len(columns)), ["\n+ ".join(name) or "no penalty" for name in names])
    axes.set_yticks(range(len(rows)), [config.nm for config in rows])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    notes = (
        "Means of the seeds, and below them the lowest to the highest",
        "Framed: a published study" if framed else "",
    )
    caption(figure, "Test accuracy by normalization and penalty", *notes, conditions(arms.values()))
    return figure


OF_STRENGTHS = {
    "Test error (%, log scale)": lambda arm: 100 - arm.last(),
    "Σ|p| (log scale)": lambda arm: arm.last("l1_norm"),
    "Exact zeros (%)": lambda arm: arm.last("zeros"),
}


@styled
def plot_strengths(arms: Arms) -> Figure:
    """Error, Σ|p| and exact zeros against λ1: a line for L1 by its subgradient, one for a proximal step."""
    strengths, nm = sorted({config.l1 for config in arms}), next(iter(arms)).nm
    figure, column = plt.subplots(len(OF_STRENGTHS), figsize=(WIDTH, 7.6), sharex=True)
    caption(figure, f"What L1 does to {nm}, by its strength λ", DOTS_AND_LINES, conditions(arms.values()))
    for axes, (title, value) in zip(column, OF_STRENGTHS.items()):
        axes.set_title(title)
        lines = []
        ways = (False, "subgradient", SHADES[0]), (True, "proximal step", SHADES[2])
        for (proximal, name, color), marker, dashes in zip(ways, MARKERS, DASHES):
            line = {config.l1: arm for config, arm in arms.items() if config.proximal == proximal or not config.l1}
            values = {strengths.index(l1): value(line[l1]) for l1 in sorted(line)}
            lines.append(_line(axes, values, color, marker, linestyle=dashes, label=name))
        if "log scale" in title:
            log_scale(axes.yaxis)
        label_ends(axes, lines)
    column[-1].set_xticks(range(len(strengths)), [f"{l1:g}" for l1 in strengths])
    column[-1].set_xlabel("λ")
    return figure
