"""Images, and which activations are normalized together, as matplotlib figures."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from normbench.augment import augmentation, warp
from normbench.data import Dataset
from normbench.figures import COLORS, NAMES, STYLE, done
from normbench.train import Run


def plot_misclassified(run: Run, data: Dataset, n: int = 10) -> Figure:
    """The `n` test images that the run was most confidently wrong about, in rows of 2.

    Beside each: what was predicted, with the run's probability for it, and what it is.

    Raises ValueError where `data` is not what the run was tested on.
    """
    if run.test_set != data.test_set:
        raise ValueError(f"the run was tested on other images, or in another order, than {data.name} has here")
    mistakes = run.mistakes[:n]
    shown = [i for i, _, _ in mistakes]
    images, labels = _pixels(data.x_test[shown]), data.y_test[shown].tolist()
    title = f"{run.config.label}: {run.errors:,} of {len(run.correct):,} {data.name} test images are wrong"
    rows = max(1, (len(mistakes) + 1) // 2)
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, grid = plt.subplots(rows, 2, figsize=(7, 1.4 * rows + 0.5), layout="constrained")
        for axes in grid.flat:
            axes.axis("off")
        for axes, (_, predicted, confidence), image, actual in zip(grid.flat, mistakes, images, labels):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 0, 1))
            axes.set_xlim(0, 2.3)
            says = f"predicted {data.classes[predicted]}\n({confidence:.1%} sure)"
            axes.text(1.12, 0.64, says, color=COLORS[run.config.nm], weight="bold", va="center")
            axes.text(1.12, 0.2, f"actual {data.classes[actual]}", va="center")
        said = f"the {len(mistakes)} most confident mistakes" if mistakes else "no mistakes to show"
        figure.suptitle(f"{title};\n{said}, after {run.config.epochs} epochs", x=0.02, ha="left", size=13)
    return done(figure)


def plot_samples(data: Dataset, n: int = 10, seed: int = 0) -> Figure:
    """`n` training images with their labels, and two augmented versions of each below."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(data.y_train), generator=generator)[:n]
    images, labels = data.x_train[chosen].cpu(), data.y_train[chosen].tolist()
    rows = {"as it is": images}
    for name in ("augmented", "and again"):
        rows[name] = warp(images.float(), augmentation("auto", data.image_shape[0])(n, data.image_shape[1:], generator))
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
    return done(figure)


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
    return done(figure)


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
