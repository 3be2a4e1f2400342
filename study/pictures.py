"""Drawings of what each normalization averages: cells of a batch in frames, and a small batch worked by hand."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from normbench.figures import WIDTH, styled
from normbench.layers import NORMALIZATIONS, colour
from normbench.words import fixed
from study.by_hand import CHANNELS, EXAMPLE, Worked, normalize_by_hand, sets, work_all

# Of the scheme: few enough to be taken in at once.
IMAGES_SHOWN, CHANNELS_SHOWN, GROUPS_SHOWN = 3, 4, 2

# By Okabe & Ito, but for the brown: colour-blind readers can distinguish them, too. Sets that lie within one image
# have that image's hue, so that the hues of channels mean channels alone.
CHANNEL_HUES = ("#0072B2", "#009E73", "#E8C800", "#8B5A2B")
IMAGE_HUES = ("#CC79A7", "#E69F00", "#56B4E9", "#777777")
STRENGTHS = (0.45, 0.15, 0.7, 0.28)  # of the sets within one image, neighbours far apart
PITCH = 2.5  # from one channel to the next, where a pixel is 1 wide
GAPS = {"BN": 0.5, "GN": 1.3, "LN": 1.3, "IN": 1.9}  # between images; but for BN's, the results stand there
HEIGHTS = {"BN": 11.2, "GN": 13.2, "LN": 13.2, "IN": 15.6}  # of four images with their results, in pixels
MARGIN = 0.15  # of a frame around its cells


@styled
def plot_normalizations() -> Figure:
    """Plot which activations share one mean and deviation: a frame around each set, one of them filled."""
    # Height and width of a set, in images and channels.
    shapes = {
        "BN": (IMAGES_SHOWN, 1),
        "GN": (1, CHANNELS_SHOWN // GROUPS_SHOWN),
        "LN": (1, CHANNELS_SHOWN),
        "IN": (1, 1),
    }
    figure, grid = plt.subplots(2, 2, figsize=(WIDTH, 6))
    for axes, (nm, (height, width)) in zip(grid.flat, shapes.items()):
        _draw_sets(axes, height, width, colour(nm))
        axes.set_title(_heading(nm), loc="center", color=colour(nm))
        axes.set_xlabel(f"{IMAGES_SHOWN * CHANNELS_SHOWN // (height * width)} means and deviations")
    for axes in grid[:, 0]:
        axes.set_ylabel("images of a batch")
    figure.supxlabel("channels", size=12)
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
    """Plot `EXAMPLE`, the cells that share one mean and deviation in one colour and one frame.

    Raises ValueError as `by_hand.sets` does.
    """
    worked = work_all(EXAMPLE, nm, groups)  # raises before anything is drawn
    figure, axes = plt.subplots(figsize=(WIDTH, 1.4 + 0.3 * HEIGHTS[_layout(nm, groups)]))
    _draw_batch(axes, EXAMPLE, nm, groups)
    _explain(axes, nm, worked)
    return figure


@styled
def plot_all_by_hand() -> Figure:
    """Plot `plot_by_hand` for the four: above BN and LN, and below each the one with smaller sets, GN and IN."""
    figure, grid = plt.subplots(2, 2, figsize=(8, 10.4), height_ratios=(HEIGHTS["LN"], HEIGHTS["IN"]))
    for axes, nm in zip(grid.flat, ("BN", "LN", "GN", "IN")):
        _draw_batch(axes, EXAMPLE, nm, GROUPS_SHOWN)
        _explain(axes, nm, work_all(EXAMPLE, nm, GROUPS_SHOWN))
    for axes in grid.flat:  # one scale for all
        axes.set_ylim(HEIGHTS["LN" if axes in grid[0] else "IN"], -0.3)
    return figure


@styled
def plot_before_and_after(nm: str, groups: int = 2) -> Figure:
    """Plot `EXAMPLE` and, below it, what `nm` makes of it, with the mean and deviation of each set of both.

    Raises ValueError as `by_hand.sets` does.
    """
    worked = work_all(EXAMPLE, nm, groups)
    figure, (top, bottom) = plt.subplots(2, figsize=(WIDTH, 2.6 + 0.6 * HEIGHTS[_layout(nm, groups)]))
    _draw_batch(top, EXAMPLE, nm, groups)
    _explain(top, nm, worked)
    _draw_batch(bottom, normalize_by_hand(EXAMPLE, nm, groups), nm, groups, digits=2)
    bottom.set_title("Normalized: (x − μ) / √(σ² + ε), with the μ and σ above", pad=30)
    return figure


def _layout(nm: str, groups: int) -> str:
    """Return whose layout is taken: GN with a group per channel is IN, and is drawn like it."""
    return "IN" if (nm, groups) == ("GN", len(CHANNELS)) else nm


def _explain(axes: Axes, nm: str, worked: Sequence[Worked]) -> None:
    axes.set_title(f"{_heading(nm)}\n{len(worked)} means and deviations", color=colour(nm), pad=62)
    text = f"each over {worked[0].n} numbers:\n{NORMALIZATIONS[nm].shares}"
    axes.annotate(text, (0, 1), (0, 29), xycoords="axes fraction", textcoords="offset points")


def _draw_batch(axes: Axes, x: torch.Tensor, nm: str, groups: int, digits: int = 0) -> None:
    """Draw a batch x (N, C, 2, 2): a row per image, a column per channel, the cells coloured by their set."""
    images, channels = x.shape[:2]
    member, worked = sets(nm, x.shape, groups), work_all(x, nm, groups)
    layout = _layout(nm, groups)
    pitch = 2 + GAPS[layout]
    for i, result in enumerate(worked):
        hue, strength = _tint(nm, i, len(worked) // images)
        edge = _mix(hue, "black", 0.65)
        _frame(axes, member == i, pitch, edge, _mix(hue, "white", strength / 2), result)
        for n, c, row, column in torch.nonzero(member == i).tolist():
            place = (PITCH * c + column, pitch * n + row)
            _cell(axes, place, fixed(x[n, c, row, column].item(), digits), _mix(hue, "white", strength))
    axes.set(xlim=(-0.3, PITCH * channels - 0.2), ylim=(HEIGHTS[layout], -0.3))
    axes.set(xticks=[PITCH * c + 1 for c in range(channels)], xticklabels=CHANNELS[:channels])
    axes.set(yticks=[pitch * n + 1 for n in range(images)], yticklabels=range(1, images + 1), ylabel="images")
    axes.tick_params(top=False, labeltop=True, labelbottom=False)
    _only_labels(axes)


Colour = str | tuple[float, ...]


def _frame(axes: Axes, inside: torch.Tensor, pitch: float, edge: Colour, background: Colour, worked: Worked) -> None:
    """Draw the frame around the cells that are `inside` (N, C, H, W), with their mean and deviation below it."""
    rows, columns = (torch.nonzero(inside.any(dim=other).any(dim=-1).any(dim=-1)) for other in (1, 0))
    left, right = columns.min().item() * PITCH, columns.max().item() * PITCH + 2
    top, bottom = rows.min().item() * pitch, rows.max().item() * pitch + 2
    corner, size = (left - MARGIN, top - MARGIN), (right - left + 2 * MARGIN, bottom - top + 2 * MARGIN)
    axes.add_patch(Rectangle(corner, *size, facecolor=background, edgecolor=edge, linewidth=2.5))
    between = "   " if right - left > 2 else "\n"
    text = f"μ = {fixed(worked.mean, 3)}{between}σ = {fixed(worked.deviation, 3)}"
    axes.text((left + right) / 2, bottom + 0.25, text, color=edge, size=10, ha="center", va="top")


def _tint(nm: str, number: int, per_image: int) -> tuple[str, float]:
    """Return hue and strength of a set: sets of batch norm have the hue of a channel, the others that of an image."""
    if nm == "BN":
        return CHANNEL_HUES[number], STRENGTHS[0]
    image, place = divmod(number, per_image)
    return IMAGE_HUES[image], STRENGTHS[place]


def _mix(color: str, other: str, share: float) -> tuple[float, ...]:
    return tuple(share * a + (1 - share) * b for a, b in zip(to_rgb(color), to_rgb(other)))


def _cell(axes: Axes, corner: tuple[float, float], text: str, color: Colour) -> None:
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=color, edgecolor="white"))
    axes.text(corner[0] + 0.5, corner[1] + 0.53, text, ha="center", va="center", size=12)
