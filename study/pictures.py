"""Drawings of what each normalization averages: cells of a batch in frames, and a small batch worked by hand."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from normbench.data import Dataset
from normbench.data import title as data_title
from normbench.figures import WIDTH, caption, styled
from normbench.layers import NORMALIZATIONS, colour
from normbench.training import Run
from normbench.words import fixed
from study.by_hand import EXAMPLE, Worked, sets, work_all

# Of the scheme: few enough to be taken in at once.
IMAGES_SHOWN, CHANNELS_SHOWN, GROUPS_SHOWN = 3, 4, 2

PITCH = 2.5  # from one channel to the next, where a pixel is 1 wide
GAPS = {"BN": 0.5, "GN": 1.3, "LN": 1.3, "IN": 1.9}  # between images; but for BN's, the results stand there
HEIGHTS = {"BN": 11.2, "GN": 13.2, "LN": 13.2, "IN": 15.6}  # of four images with their results, in pixels
MARGIN = 0.15  # of a frame around its cells


@styled
def plot_normalizations() -> Figure:
    """Plot which activations share one mean and standard deviation: a frame around each set, one of them filled."""
    # Height and width of a set, in images and channels.
    shapes = {
        "BN": (IMAGES_SHOWN, 1),
        "GN": (1, CHANNELS_SHOWN // GROUPS_SHOWN),
        "LN": (1, CHANNELS_SHOWN),
        "IN": (1, 1),
    }
    figure, grid = plt.subplots(2, 2, figsize=(WIDTH, 5.9))
    for axes, (nm, (height, width)) in zip(grid.flat, shapes.items()):
        _draw_sets(axes, height, width, colour(nm))
        axes.set_title(_heading(nm), loc="center")
        axes.set_xlabel(f"channels → {IMAGES_SHOWN * CHANNELS_SHOWN // (height * width)} means")
    for axes in grid[:, 0]:
        axes.set_ylabel("← images")
    caption(
        figure,
        "What shares one mean and one standard deviation",
        "One frame, one mean. A cell is one channel of one image.",
    )
    return figure


def _heading(nm: str) -> str:
    return f"{NORMALIZATIONS[nm].name.capitalize()} ({nm})"


def _draw_sets(axes: Axes, height: int, width: int, color: str) -> None:
    """Draw sets of `height` x `width` cells; a cell is one channel of one image, drawn as 2x2 pixels."""
    for top in range(0, IMAGES_SHOWN, height):
        for left in range(0, CHANNELS_SHOWN, width):
            corner, shape = (left + 0.06, top + 0.06), (width - 0.12, height - 0.12)
            strength = 0.75 if top == left == 0 else 0.15
            axes.add_patch(Rectangle(corner, *shape, facecolor=color, alpha=strength))
            axes.hlines(np.arange(top + 0.5, top + height, 0.5), left + 0.06, left + width - 0.06, color="white")
            axes.vlines(np.arange(left + 0.5, left + width, 0.5), top + 0.06, top + height - 0.06, color="white")
            axes.add_patch(Rectangle(corner, *shape, fill=False, edgecolor=color, linewidth=2.5, zorder=3))
    axes.set(xlim=(-0.05, CHANNELS_SHOWN + 0.05), ylim=(IMAGES_SHOWN + 0.05, -0.05), aspect="equal")
    axes.set(xticks=np.arange(CHANNELS_SHOWN) + 0.5, xticklabels=range(1, CHANNELS_SHOWN + 1))
    axes.set(yticks=np.arange(IMAGES_SHOWN) + 0.5, yticklabels=range(1, IMAGES_SHOWN + 1))
    _only_labels(axes)


def _only_labels(axes: Axes) -> None:
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


@styled
def plot_by_hand(nm: str, groups: int = 2) -> Figure:
    """Plot `EXAMPLE`, the cells that share one mean and standard deviation in one frame.

    Raises ValueError as `by_hand.sets` does.
    """
    worked = work_all(EXAMPLE, nm, groups)  # raises before anything is drawn
    figure, axes = plt.subplots(figsize=(WIDTH, 1.4 + 0.3 * HEIGHTS[_layout(nm, groups)]))
    _draw_batch(axes, EXAMPLE, nm, groups)
    _explain(axes, nm, worked)
    return figure


@styled
def plot_all_by_hand(wide: bool = False) -> Figure:
    """Plot `plot_by_hand` for the four, below each other; with `wide`, in the order of `plot_normalizations`."""
    order = ("BN", "GN", "LN", "IN")
    if wide:
        figure, grid = plt.subplots(2, 2, figsize=(9.2, 11), height_ratios=(HEIGHTS["GN"], HEIGHTS["IN"]))
    else:
        heights = [1.4 + 0.3 * HEIGHTS[nm] for nm in order]
        figure, grid = plt.subplots(4, figsize=(WIDTH, sum(heights)), height_ratios=heights)
    for axes, nm in zip(grid.flat, order):
        _draw_batch(axes, EXAMPLE, nm, GROUPS_SHOWN)
        _explain(axes, nm, work_all(EXAMPLE, nm, GROUPS_SHOWN))
    for place, axes in enumerate(grid.flat if wide else ()):  # one scale for all
        axes.set_ylim(HEIGHTS["GN" if place < 2 else "IN"], -0.3)
    return figure


def _layout(nm: str, groups: int) -> str:
    """Return whose layout is taken: GN with a group per channel is IN, and is drawn like it."""
    return "IN" if (nm, groups) == ("GN", EXAMPLE.shape[1]) else nm


def _explain(axes: Axes, nm: str, worked: Sequence[Worked]) -> None:
    axes.set_title(f"{_heading(nm)}\n{len(worked)} means and standard deviations", pad=74)
    text = f"each over {worked[0].n} numbers:\n{NORMALIZATIONS[nm].shares}"
    axes.annotate(text, (0, 1), (0, 40), xycoords="axes fraction", textcoords="offset points")


def _draw_batch(axes: Axes, x: torch.Tensor, nm: str, groups: int, digits: int = 0) -> None:
    """Draw a batch x (N, C, 2, 2): a row per image, a column per channel, a frame around each set."""
    images, channels = x.shape[:2]
    member, worked = sets(nm, x.shape, groups), work_all(x, nm, groups)
    layout = _layout(nm, groups)
    pitch = 2 + GAPS[layout]
    for i, result in enumerate(worked):
        _frame(axes, member == i, pitch, result)
        for n, c, row, column in torch.nonzero(member == i).tolist():
            _cell(axes, (PITCH * c + column, pitch * n + row), fixed(x[n, c, row, column].item(), digits))
    axes.set(xlim=(-0.3, PITCH * channels - 0.2), ylim=(HEIGHTS[layout], -0.3))
    axes.set(xticks=[PITCH * c + 1 for c in range(channels)], xticklabels=range(1, channels + 1), xlabel="channels")
    axes.set(yticks=[pitch * n + 1 for n in range(images)], yticklabels=range(1, images + 1), ylabel="images")
    axes.tick_params(top=False, labeltop=True, labelbottom=False)
    axes.xaxis.set_label_position("top")
    _only_labels(axes)


def _frame(axes: Axes, inside: torch.Tensor, pitch: float, worked: Worked) -> None:
    """Draw the frame around the cells that are `inside` (N, C, H, W), with their mean and deviation below it."""
    rows, columns = (torch.nonzero(inside.any(dim=other).any(dim=-1).any(dim=-1)) for other in (1, 0))
    left, right = columns.min().item() * PITCH, columns.max().item() * PITCH + 2
    top, bottom = rows.min().item() * pitch, rows.max().item() * pitch + 2
    corner, size = (left - MARGIN, top - MARGIN), (right - left + 2 * MARGIN, bottom - top + 2 * MARGIN)
    style = {"facecolor": plt.rcParams["grid.color"], "edgecolor": plt.rcParams["text.color"], "linewidth": 2.5}
    axes.add_patch(Rectangle(corner, *size, **style))
    between = "   " if right - left > 2 else "\n"
    text = f"μ = {fixed(worked.mean, 3)}{between}σ = {fixed(worked.deviation, 3)}"
    axes.text((left + right) / 2, bottom + 0.25, text, size=11, ha="center", va="top")


def _cell(axes: Axes, corner: tuple[float, float], text: str) -> None:
    background = plt.rcParams["axes.facecolor"]
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=background, edgecolor=plt.rcParams["grid.color"]))
    axes.text(corner[0] + 0.5, corner[1] + 0.53, text, ha="center", va="center", size=12)


MISTAKES = 6  # images in a grid of all models


@styled
def plot_mistakes(runs: Sequence[Run], data: Dataset) -> Figure:
    """Plot test images that at least one of the runs gets wrong, a row each, with what each run predicts.

    They are those that the most runs get wrong, and of these the ones that a run is most sure of.

    Raises ValueError if `data` is not what the runs were tested on.
    """
    if any(run.test_set != data.test_set for run in runs):
        raise ValueError(f"the runs were tested on other images, or in another order, than {data.name} has here")
    predicted = [{image: (label, sure) for image, label, sure in run.mistakes} for run in runs]
    surest = {image: max(found[image][1] for found in predicted if image in found) for image in set().union(*predicted)}
    wrong = ~torch.stack([run.correct for run in runs])
    chosen = sorted(surest, key=lambda image: (-int(wrong[:, image].sum()), -surest[image], image))[:MISTAKES]
    shown, row = max(1, len(chosen)), 0.25 + 0.2 * (1 + len(runs))  # inches
    figure, grid = plt.subplots(shown, 2, figsize=(WIDTH, 0.9 + row * shown), width_ratios=(1, 4.2))
    for (axes, text), image in zip(np.atleast_2d(grid), chosen):
        _show(axes, data.x_test[image])
        text.axis("off")
        text.set(xticks=[], yticks=[])
        lines = [f"actual: {data.classes[int(data.y_test[image])]}"]
        for run, found, is_wrong in zip(runs, predicted, wrong[:, image].tolist()):
            label, sure = found.get(image, (None, 0.0))
            said = f"✗ {data.classes[label]} ({sure:.0%} sure)" if label is not None else "✗"
            lines.append(f"{run.recipe.family}: {said if is_wrong else '✓'}")
        text.text(0, 0.5, "\n".join(lines), va="center", size=11, transform=text.transAxes)
    if not chosen:
        for axes in np.ravel(grid):
            axes.axis("off")
            axes.set(xticks=[], yticks=[])
        np.ravel(grid)[1].text(0, 0.5, "no mistakes", va="center")
    names = ", ".join(run.recipe.family for run in runs)
    caption(
        figure,
        f"What one run of each gets wrong: {names}",
        f"{data_title(data.name)}, test images. ✓ right, ✗ wrong, with the prediction of the ten surest of each",
    )
    return figure


def _show(axes: Axes, image: torch.Tensor) -> None:
    """Show an image (C, H, W), uint8, grey or in colour."""
    pixels = image.cpu().permute(1, 2, 0).numpy()
    axes.imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
