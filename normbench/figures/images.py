"""Images: a run's most confident mistakes, and training images with their augmentations."""

import textwrap
from math import ceil

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normbench.data import Dataset, augmentation, warp
from normbench.data import title as data_title
from normbench.figures.style import WIDTH, styled
from normbench.training import Run

PER_ROW = 5  # mistakes
SAMPLES = 5


@styled
def plot_misclassified(run: Run, data: Dataset) -> Figure:
    """Plot the test images that the run was most confidently wrong about, ten at most, five per row.

    Above each: what was predicted, and the run's probability for it; below: what it is.

    Raises ValueError if `data` is not what the run was tested on.
    """
    if run.test_set != data.test_set:
        raise ValueError(f"the run was tested on other images, or in another order, than {data.name} has here")
    mistakes = run.mistakes[: 2 * PER_ROW]
    row_count = ceil(len(mistakes) / PER_ROW)
    figure = plt.figure(figsize=(WIDTH, 0.8 + 2.1 * row_count))
    places = [image for image, _, _ in mistakes]
    actual = data.y_test[places].tolist()
    for i, (pixels, (_, predicted, confidence)) in enumerate(zip(_pixels(data.x_test[places]), mistakes)):
        axes = figure.add_subplot(row_count, PER_ROW, i + 1)
        _show(axes, pixels)
        said = f"predicted\n{data.classes[predicted]}\n{confidence:.1%} sure"
        axes.set_title(said, loc="center", fontsize=11, weight="normal")
        axes.set_xlabel(f"actual\n{data.classes[actual[i]]}", fontsize=11, weight="bold")
    figure.suptitle(_errors(run, data, len(mistakes)), x=0.01, ha="left", weight="bold", size=13)
    return figure


def _errors(run: Run, data: Dataset, shown: int) -> str:
    tested = f"{data_title(data.name)} test images"
    if run.failure:
        return f"{run.recipe.label} failed ({run.failure}):\nno result on the {tested}"
    wrong = f"{run.recipe.label}: {run.errors:,} of {len(run.correct):,} wrong"
    which = f"The {shown} most confident mistakes" if shown else "No mistakes to show"
    return f"{textwrap.fill(wrong, 42)}\n{textwrap.fill(f'{which} ({data_title(data.name)})', 42)}"


@styled
def plot_samples(data: Dataset) -> Figure:
    """Plot five training images with their labels, and two augmented versions of each below; always the same ones."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(data.y_train), generator=generator)[:SAMPLES]
    images, classes = data.x_train[chosen].cpu(), [data.classes[i] for i in data.y_train[chosen].tolist()]
    change = augmentation("auto", data)
    rows = {"original": images}
    for name in ("augmented", "again"):
        matrices = change(len(images), data.image_shape[1:], generator)
        rows[name] = warp(images.float(), matrices, grey=data.is_grey)
    size = (WIDTH, 0.6 + 3 * (WIDTH - 0.3) / len(images))
    figure, grid = plt.subplots(len(rows), len(images), figsize=size, squeeze=False)
    for line, (name, batch) in zip(grid, rows.items()):
        for axes, pixels in zip(line, _pixels(batch)):
            _show(axes, pixels)
        line[0].set_ylabel(name)
    for axes, name in zip(grid[0], classes):
        axes.set_title(name, loc="center", fontsize=11)
    figure.suptitle(f"Training images of {data_title(data.name)}", x=0.01, ha="left", weight="bold", size=13)
    return figure


def _show(axes: Axes, pixels: np.ndarray) -> None:
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _pixels(images: torch.Tensor) -> np.ndarray:
    """Return images (N, C, H, W) in [0, 255] as (N, H, W) grey or (N, H, W, 3) colour, uint8."""
    pixels = images.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
