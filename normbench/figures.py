"""Runs become matplotlib figures: one colour a normalization, everywhere.

Every function returns a `matplotlib.figure.Figure` on a white ground, readable on light and dark pages.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from normbench.augment import affine_matrices, warp
from normbench.data import Dataset
from normbench.train import Run

# Okabe & Ito's colours, told apart by colour-blind readers too.
COLORS = {"BN": "#0072B2", "GN": "#D55E00", "LN": "#009E73", "IN": "#CC79A7", "none": "#666666"}
NAMES = {"BN": "Batch norm", "GN": "Group norm", "LN": "Layer norm", "IN": "Instance norm"}
METRICS = {
    "test_loss": "Test loss (nats, log scale)",
    "test_accuracy": "Test accuracy (%)",
    "train_loss": "Training loss, data term (nats, log scale)",
    "train_accuracy": "Training accuracy (%)",
}
STYLE = {
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "savefig.bbox": "tight",
}


def plot_metric(runs: Sequence[Run], metric: str, title: str) -> Figure:
    """One of `METRICS` against the epoch, a line a run, labelled at its end."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(9, 4.8), layout="constrained")
        _curves(axes, runs, metric)
        axes.set_title(f"{title}\n{_data(runs[0])}")
    return _done(figure)


def plot_overview(runs: Sequence[Run]) -> Figure:
    """The four `METRICS` in a 2x2 figure."""
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(2, 2, figsize=(13, 8.4), layout="constrained")
        for axes, (metric, name) in zip(grid.T.flat, METRICS.items()):
            _curves(axes, runs, metric)
            axes.set_title(name.split(" (")[0])
        figure.suptitle(f"Test and training, loss and accuracy: {_data(runs[0])}", x=0.01, ha="left")
    return _done(figure)


def _data(run: Run) -> str:
    seed = f"seed {run.config.seed}"
    return f"{run.dataset}, {len(run.correct):,} test images, {run.config.epochs} epochs, {seed}"


def _curves(axes: Axes, runs: Sequence[Run], metric: str) -> None:
    curves = [(run, metric, run.config.label, "-") for run in runs]
    if metric == "train_loss":
        curves += [(run, "penalty", "L1 penalty", ":") for run in runs if run.config.l1]
    values = [[row[key] for row in run.history] for run, key, _, _ in curves]
    colors = [COLORS[run.config.nm] for run, *_ in curves]
    epochs = [row["epoch"] for row in runs[0].history]
    for y, color, (*_, style) in zip(values, colors, curves):
        axes.plot(epochs, y, color=color, linestyle=style, marker="o", markersize=4, linewidth=2)
    axes.set(xlabel="Epoch", ylabel=METRICS[metric])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if metric.endswith("loss"):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        _zoom(axes, values)
    digits = 4 if metric.endswith("loss") else 2
    labels = [f"{label} {y[-1]:.{digits}f}" for (_, _, label, _), y in zip(curves, values)]
    _label_ends(axes, epochs[-1], [y[-1] for y in values], labels, colors)


def _zoom(axes: Axes, curves: list[list[float]]) -> None:
    """Leave out the first fifth of the epochs, where accuracy climbs from nowhere, and say so."""
    start = len(curves[0]) // 5
    low, high = min(min(y[start:]) for y in curves), max(map(max, curves))
    margin = 0.06 * (high - low) or 0.5
    if min(map(min, curves)) < low - margin:
        note = dict(ha="right", color="#666666", size=10, transform=axes.transAxes)
        axes.text(0.99, 0.02, "early values lie below ↓", **note)
    axes.set_ylim(low - margin, high + margin)


def _label_ends(axes: Axes, x: float, values: list[float], labels: list[str], colors: list[str]) -> None:
    """Write each label right of its line's end, pushed apart where they would overlap."""
    figure = axes.get_figure()
    figure.draw_without_rendering()
    height = axes.get_window_extent().height * 72 / figure.dpi
    gap = 14 / height
    to_axes = (axes.transData + axes.transAxes.inverted()).transform
    heights = np.array([to_axes((x, value))[1] for value in values])
    order = np.argsort(heights)
    spread = heights[order]
    for i in range(1, len(spread)):
        spread[i] = max(spread[i], spread[i - 1] + gap)
    spread -= max(0.0, (spread - heights[order]).max() / 2)
    for i, y in zip(order, spread):
        axes.annotate(
            labels[i],
            (x, values[i]),
            (1.03, y),
            textcoords="axes fraction",
            color=colors[i],
            weight="bold",
            va="center",
            annotation_clip=False,
            arrowprops=dict(arrowstyle="-", color=colors[i], alpha=0.5, shrinkA=0, shrinkB=4),
        )


def plot_misclassified(run: Run, data: Dataset, n: int = 10) -> Figure:
    """The `n` test images that the run was most confidently wrong about, in rows of 2.

    Beside each: what was predicted, with the run's probability for it, and what it is.
    """
    confidence, predicted = run.probabilities.max(dim=1)
    wrong = torch.nonzero(~run.correct).flatten()
    worst = wrong[confidence[wrong].argsort(descending=True)][:n].tolist()
    images, labels = _pixels(data.x_test[worst]), data.y_test[worst].tolist()
    title = f"{run.config.label}: {len(wrong)} of {len(run.correct):,} {data.name} test images are wrong"
    rows = max(1, (len(worst) + 1) // 2)
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, grid = plt.subplots(rows, 2, figsize=(7, 1.4 * rows + 0.5), layout="constrained")
        for axes in grid.flat:
            axes.axis("off")
        for axes, i, image, actual in zip(grid.flat, worst, images, labels):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 0, 1))
            axes.set_xlim(0, 2.3)
            says = f"predicted {data.classes[predicted[i]]}\n({confidence[i]:.1%} sure)"
            axes.text(1.12, 0.64, says, color=COLORS[run.config.nm], weight="bold", va="center")
            axes.text(1.12, 0.2, f"actual {data.classes[actual]}", va="center")
        shown = f"the {len(worst)} most confident mistakes" if worst else "no mistakes to show"
        figure.suptitle(f"{title};\n{shown}, after {run.config.epochs} epochs", x=0.02, ha="left", size=13)
    return _done(figure)


def plot_samples(data: Dataset, n: int = 10, seed: int = 0) -> Figure:
    """`n` training images with their labels, and two augmented versions of each below."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(data.y_train), generator=generator)[:n]
    images, labels = data.x_train[chosen].cpu(), data.y_train[chosen].tolist()
    rows = {"as it is": images}
    for name in ("augmented", "and again"):
        rows[name] = warp(images.float(), affine_matrices(n, data.image_shape[1:], generator))
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, grid = plt.subplots(3, n, figsize=(1.05 * n, 3.9), layout="constrained")
        for line, (name, batch) in zip(grid, rows.items()):
            for axes, image in zip(line, _pixels(batch)):
                axes.imshow(image, cmap="gray", vmin=0, vmax=255)
                axes.set(xticks=[], yticks=[])
            line[0].set_ylabel(name)
        for axes, label in zip(grid[0], labels):
            axes.set_title(data.classes[label], loc="center")
        figure.suptitle(f"Training images of {data.name}", x=0.01, ha="left", size=13)
    return _done(figure)


def plot_normalizations(images: int = 3, channels: int = 4, groups: int = 2) -> Figure:
    """Which activations share one mean and deviation: a frame around each set, one of them filled."""
    # Height and width of a set, in images and channels.
    sets = {"BN": (images, 1), "GN": (1, channels // groups), "LN": (1, channels), "IN": (1, 1)}
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, row = plt.subplots(1, 4, figsize=(12, 3.1), layout="constrained")
        for axes, (nm, (height, width)) in zip(row, sets.items()):
            _draw_sets(axes, images, channels, height, width, COLORS[nm])
            axes.set_title(f"{NAMES[nm]} ({nm})", loc="center", color=COLORS[nm], weight="bold")
            share = f"{images * channels // (height * width)} means and deviations"
            axes.set_xlabel(f"channels\n{share}")
        row[0].set_ylabel("images of a batch")
    return _done(figure)


def _draw_sets(axes: Axes, rows: int, columns: int, height: int, width: int, color: str) -> None:
    """A cell is one channel of one image, drawn as 2x2 pixels; a set is `height` x `width` cells."""
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            corner, shape = (left + 0.06, top + 0.06), (width - 0.12, height - 0.12)
            strength = 0.75 if top == left == 0 else 0.15
            axes.add_patch(Rectangle(corner, *shape, facecolor=color, alpha=strength))
            axes.hlines(np.arange(top + 0.5, top + height, 0.5), left + 0.06, left + width - 0.06, color="white")
            axes.vlines(np.arange(left + 0.5, left + width, 0.5), top + 0.06, top + height - 0.06, color="white")
            axes.add_patch(Rectangle(corner, *shape, fill=False, edgecolor=color, linewidth=2.5, zorder=3))
    axes.set(xlim=(-0.05, columns + 0.05), ylim=(rows + 0.05, -0.05), aspect="equal")
    axes.set(xticks=np.arange(columns) + 0.5, xticklabels=range(1, columns + 1))
    axes.set(yticks=np.arange(rows) + 0.5, yticklabels=range(1, rows + 1))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _pixels(images: torch.Tensor) -> np.ndarray:
    """Images (N, C, H, W) in [0, 255] as (N, H, W) grey or (N, H, W, 3) colour, uint8."""
    pixels = images.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _done(figure: Figure) -> Figure:
    """Keep the figure out of pyplot's own list, so that a notebook shows it once: where it is returned."""
    plt.close(figure)
    return figure
