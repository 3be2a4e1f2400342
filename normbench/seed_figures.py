"""Arms of many seeds become matplotlib figures: dots or bands for the seeds, a bold mark for their mean."""

from collections.abc import Sequence
from math import ceil

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from normbench.chance import best_of
from normbench.experiments import GROUPS, arms
from normbench.figures import COLORS, STYLE, done, label_ends
from normbench.stats import summary
from normbench.tables import best_epochs, devices, last
from normbench.train import Run

DARK = "#00344F"  # another shade of batch norm's blue
ACCURACY = "Test accuracy after the last epoch (%)"


def far_below(samples: Sequence[Sequence[float]]) -> set[int]:
    """The places of samples so low that an axis down to them would blur the others.

    Of the samples in the order of their means, these are all beneath the first gap that is more than three times the
    whole span of the values above it. The better half, and two samples at least, always stay.
    """
    order = sorted(range(len(samples)), key=lambda i: -np.mean(samples[i]))
    for kept in range(max(2, ceil(len(order) / 2)), len(order)):
        above = np.concatenate([samples[i] for i in order[:kept]])
        if above.min() - np.mean(samples[order[kept]]) > 3 * np.ptp(above):
            return set(order[kept:])
    return set()


def plot_arms(runs: Sequence[Run], title: str) -> Figure:
    """A row an arm: the last epoch's test accuracy of each seed, and their mean with its 95 % interval.

    Arms that `far_below` names stand at the edge, as arrows with their numbers.
    """
    groups = {config: last(of_arm) for config, of_arm in arms(runs).items()}
    far = far_below(list(groups.values()))
    with plt.rc_context(STYLE | {"axes.grid.axis": "x"}):
        figure, axes = plt.subplots(figsize=(11, 1.7 + 0.52 * len(groups)), layout="constrained")
        for row, (config, values) in enumerate(groups.items()):
            if row not in far:
                _sample(axes, row, values, COLORS[config.nm], on_y=True)
        axes.margins(x=0.04)
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        for row, (config, values) in enumerate(groups.items()):
            if row in far:
                _off_scale(axes, row, values, COLORS[config.nm])
            beside = dict(transform=axes.get_yaxis_transform(), va="center", color=COLORS[config.nm], weight="bold")
            axes.text(1.02, row, _numbers(values), **beside)
        _name_rows(axes, [config.label for config in groups], [COLORS[config.nm] for config in groups])
        axes.set_xlabel(f"{ACCURACY}. Dots: seeds; diamonds and bars: means and their 95 % intervals")
        figure.suptitle(f"{title}\n{data_line(runs)}", x=0.01, ha="left")
    return done(figure)


def _name_rows(axes: Axes, labels: Sequence[str], colors: Sequence[str]) -> None:
    axes.set(ylim=(len(labels) - 0.4, -0.6))
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    for tick, color in zip(axes.get_yticklabels(), colors):
        tick.set(color=color, weight="bold")
    axes.text(1.02, -0.65, "mean (95 % interval)", transform=axes.get_yaxis_transform(), color="#666666")


def _sample(axes: Axes, place: float, values: Sequence[float], color: str, on_y: bool = False) -> None:
    """A dot a value before `place` on the x axis, or the y axis, and there their mean with its 95 % interval."""
    of_arm, n = summary(values), len(values)
    # Steps of the golden section spread any number of dots evenly, and the same each time.
    jittered = place - 0.2 - 0.22 * (np.arange(n) * 0.618034 % 1)
    for at, shown, style in (
        (jittered, values, dict(marker="o", linestyle="", markersize=5, alpha=0.4, markeredgewidth=0)),
        ([place, place], [of_arm.low, of_arm.high], dict(linewidth=5, solid_capstyle="butt", alpha=0.6)),
        ([place], [of_arm.mean], dict(marker="D", markersize=9, markeredgecolor="white", markeredgewidth=1.2)),
    ):
        axes.plot(*((shown, at) if on_y else (at, shown)), color=color, **style)


def _off_scale(axes: Axes, row: int, values: Sequence[float], color: str) -> None:
    place = dict(transform=axes.get_yaxis_transform(), color=color)
    axes.plot([0.012], [row], marker="<", markersize=10, **place)
    text = f"off the scale: seeds from {min(values):.2f} to {max(values):.2f}"
    axes.text(0.03, row, text, va="center", **place)


def _numbers(values: Sequence[float]) -> str:
    of_arm = summary(values)
    return f"{of_arm.mean:.2f}" + f" ({of_arm.low:.2f} to {of_arm.high:.2f})" * (len(values) > 1)


def data_line(runs: Sequence[Run]) -> str:
    """What the runs of a figure were made with."""
    config, groups = runs[0].config, arms(runs).values()
    images = f"first {config.images:,} training images, " * (config.images > 0)
    counts = sorted({len(of_arm) for of_arm in groups})
    seeds = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    seeds += " seed" + "s" * (counts[-1] > 1) + " an arm" * (len(groups) > 1)
    return f"{runs[0].dataset}, {images}{config.epochs} epochs, {seeds}, {devices(runs)}"


def plot_groups(runs: Sequence[Run]) -> Figure:
    """Test accuracy by the number of groups, from one (LN) to one a channel (IN)."""
    groups = arms(runs, GROUPS)
    ticks = [{"LN": "1\n(LN)", "IN": "C\n(IN)"}.get(config.nm, str(config.gp)) for config in GROUPS]
    with plt.rc_context(STYLE | {"axes.grid.axis": "y"}):
        figure, axes = plt.subplots(figsize=(9, 4.8), layout="constrained")
        for config, of_arm in groups.items():
            place, color = GROUPS.index(config), COLORS[config.nm]
            _sample(axes, place, last(of_arm), color)
            mean = summary(last(of_arm)).mean
            axes.text(place + 0.1, mean, f"{mean:.2f}", color=color, weight="bold", va="center")
        axes.set_xticks(range(len(GROUPS)), ticks)
        axes.set(xlim=(-0.6, len(GROUPS) - 0.4), ylabel=ACCURACY)
        axes.set_xlabel("Groups of channels; C: a group a channel")
        what = "Accuracy by number of groups. Dots: seeds; diamonds and bars: means, 95 % intervals"
        figure.suptitle(
            f"{what}\n{data_line([run for of_arm in groups.values() for run in of_arm])}", x=0.01, ha="left"
        )
    return done(figure)


def label_lines(axes: Axes, lines: Sequence[Line2D]) -> None:
    """Write their labels at the ends of lines that all end at one x."""
    x, values = lines[0].get_xdata()[-1], [line.get_ydata()[-1] for line in lines]
    label_ends(axes, x, values, [line.get_label() for line in lines], [line.get_color() for line in lines])


def plot_luck(runs: Sequence[Run]) -> Figure:
    """Test accuracy over the seeds of one recipe, and what the best of several seeds is expected to have.

    Each for the last epoch and for the best epoch, which is chosen by the test images themselves.
    """
    kinds = {"last epoch": (last(runs), COLORS[runs[0].config.nm]), "best epoch": (best_epochs(runs), DARK)}
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(14, 5.2), layout="constrained")
        figure.get_layout_engine().set(wspace=0.05)
        _histogram(left, kinds, 100 / len(runs[0].correct))
        _expected_best(right, kinds, min(50, len(runs)))
        figure.suptitle(f"One recipe, other seeds: {runs[0].config.label}\n{data_line(runs)}", x=0.01, ha="left")
    return done(figure)


def _histogram(axes: Axes, kinds: dict[str, tuple[list[float], str]], image: float) -> None:
    """Filled for the first kind, in outline for the second; above them mean and standard deviation of each.

    Accuracies are whole numbers of test images, `image` points each: bins of a whole number of them are all alike.
    """
    values = np.concatenate([of_kind for of_kind, _ in kinds.values()])
    width = image * max(1, round(np.ptp(values) / image / 24))
    edges = values.min() - image / 2 + width * np.arange(ceil((np.ptp(values) + image) / width - 1e-6) + 1)
    for (name, (of_kind, color)), filled in zip(kinds.items(), (True, False)):
        shape = dict(histtype="stepfilled", alpha=0.4) if filled else dict(histtype="step", linewidth=1.8)
        axes.hist(of_kind, edges, label=name, color=color, **shape)
    top = axes.get_ylim()[1]
    axes.set(ylim=(0, 1.35 * top), ylabel="Runs", title="Each seed's accuracy")
    axes.set_xlabel("Test accuracy (%). Bars: one standard deviation either side of the mean")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    for height, (name, (of_kind, color)) in zip((1.05 * top, 1.2 * top), kinds.items()):
        of_runs = summary(of_kind)
        bar = dict(fmt="D", color=color, markersize=9, markeredgecolor="white", elinewidth=4)
        axes.errorbar([of_runs.mean], [height], xerr=[of_runs.deviation], **bar)
        text = f"{name}: mean {of_runs.mean:.2f}, deviation {of_runs.deviation:.2f}"
        axes.text(of_runs.mean, height + 0.045 * top, text, color=color, ha="center", weight="bold")


def _expected_best(axes: Axes, kinds: dict[str, tuple[list[float], str]], most: int) -> None:
    counts = range(1, most + 1)
    for name, (of_kind, color) in kinds.items():
        expected = [best_of(of_kind, k) for k in counts]
        axes.plot(counts, expected, linewidth=2, color=color, label=f"{name} {expected[-1]:.2f}")
    axes.set_xscale("log")
    axes.set_xticks(ticks := [k for k in (1, 2, 5, 10, 20, 50) if k <= most], map(str, ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="Seeds tried (log scale)", ylabel="Expected best test accuracy (%)", title="The best of k seeds")
    label_lines(axes, axes.lines)
