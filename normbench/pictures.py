"""Images, mistakes, and which activations are normalized together."""

from collections.abc import Sequence
from math import ceil

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from model import NORMALIZATIONS
from normbench.augment import augmentation, warp
from normbench.by_hand import CHANNELS, EXAMPLE, Worked, normalize_by_hand, sets, work_all
from normbench.data import Dataset
from normbench.data import title as data_title
from normbench.style import WIDTH, styled
from normbench.train import Run
from normbench.words import fixed

PER_ROW = 5  # mistakes


@styled
def plot_misclassified(run: Run, data: Dataset, n: int = 10) -> Figure:
    """The `n` test images that the run was most confidently wrong about, five a row.

    Above each: what was predicted, and the run's probability for it; below: what it is.

    Raises ValueError where `data` is not what the run was tested on.
    """
    if run.test_set != data.test_set:
        raise ValueError(f"the run was tested on other images, or in another order, than {data.name} has here")
    mistakes = run.mistakes[:n]
    rows = ceil(len(mistakes) / PER_ROW)
    figure = plt.figure(figsize=(WIDTH, 0.7 + 2.15 * rows))
    shown = [i for i, _, _ in mistakes]
    for place, image, actual, (_, predicted, confidence) in zip(
        range(len(mistakes)), _pixels(data.x_test[shown]), data.y_test[shown].tolist(), mistakes
    ):
        axes = figure.add_subplot(rows, PER_ROW, place + 1)
        _show(axes, image)
        style = dict(loc="center", fontsize=11, color=NORMALIZATIONS[run.config.nm].colour)
        axes.set_title(f"{data.classes[predicted]}\n{confidence:.1%} sure", **style)
        axes.set_xlabel(f"actual:\n{data.classes[actual]}", fontsize=11)
    title = f"{run.config.label}: {run.errors:,} of {len(run.correct):,} {data_title(data.name)} test images are wrong"
    said = f"the {len(mistakes)} most confident mistakes" if mistakes else "no mistakes to show"
    figure.suptitle(f"{title};\n{said}", x=0.01, ha="left", weight="bold", size=12)
    return figure


@styled
def plot_samples(data: Dataset, n: int = 6, seed: int = 0) -> Figure:
    """`n` training images with their labels, and two augmented versions of each below."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(data.y_train), generator=generator)[:n]
    images, labels = data.x_train[chosen].cpu(), data.y_train[chosen].tolist()
    rows = {"as it is": images}
    for name in ("augmented", "and again"):
        rows[name] = warp(images.float(), augmentation("auto", data.image_shape[0])(n, data.image_shape[1:], generator))
    figure, grid = plt.subplots(3, n, figsize=(WIDTH, 0.6 + 3 * (WIDTH - 0.3) / n), squeeze=False)
    for line, (name, batch) in zip(grid, rows.items()):
        for axes, image in zip(line, _pixels(batch)):
            _show(axes, image)
        line[0].set_ylabel(name)
    for axes, label in zip(grid[0], labels):
        axes.set_title(data.classes[label], loc="center", fontsize=11)
    figure.suptitle(f"Training images of {data_title(data.name)}", x=0.01, ha="left", weight="bold", size=14)
    return figure


def _show(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _pixels(images: torch.Tensor) -> np.ndarray:
    """Images (N, C, H, W) in [0, 255] as (N, H, W) grey or (N, H, W, 3) colour, uint8."""
    pixels = images.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


@styled
def plot_normalizations(images: int = 3, channels: int = 4, groups: int = 2) -> Figure:
    """Which activations share one mean and deviation: a frame around each set, one of them filled."""
    # Height and width of a set, in images and channels.
    shapes = {"BN": (images, 1), "GN": (1, channels // groups), "LN": (1, channels), "IN": (1, 1)}
    figure, grid = plt.subplots(2, 2, figsize=(WIDTH, 6))
    for axes, (nm, (height, width)) in zip(grid.flat, shapes.items()):
        color = NORMALIZATIONS[nm].colour
        _draw_sets(axes, images, channels, height, width, color)
        axes.set_title(_heading(nm), loc="center", color=color)
        axes.set_xlabel(f"{images * channels // (height * width)} means and deviations")
    for axes in grid[:, 0]:
        axes.set_ylabel("images of a batch")
    figure.supxlabel("channels", size=12)
    return figure


def _heading(nm: str) -> str:
    return f"{NORMALIZATIONS[nm].name.capitalize()} ({nm})"


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
    _only_labels(axes)


def _only_labels(axes: Axes) -> None:
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


# By Okabe & Ito, but for the brown: told apart by colour-blind readers too. Sets that lie within one image
# have that image's hue, so that the hues of channels mean channels alone.
CHANNEL_HUES = ("#0072B2", "#009E73", "#E8C800", "#8B5A2B")
IMAGE_HUES = ("#CC79A7", "#E69F00", "#56B4E9", "#777777")
STRENGTHS = (0.45, 0.15, 0.7, 0.28)  # of the sets within one image, neighbours far apart
PITCH = 2.5  # from one channel to the next, where a pixel is 1 wide
GAPS = {"BN": 0.5, "GN": 1.3, "LN": 1.3, "IN": 1.9}  # between images; but for BN's, the results stand there
HEIGHTS = {"BN": 11.2, "GN": 13.2, "LN": 13.2, "IN": 15.6}  # of four images with their results, in pixels
MARGIN = 0.15  # of a frame around its cells


@styled
def plot_by_hand(nm: str, groups: int = 2) -> Figure:
    """`EXAMPLE`, the cells that share one mean and deviation in one colour and one frame.

    Raises ValueError as `by_hand.sets` does.
    """
    worked = work_all(EXAMPLE, nm, groups)  # raises before anything is drawn
    figure, axes = plt.subplots(figsize=(WIDTH, 1.4 + 0.3 * HEIGHTS[_layout(nm, groups)]))
    _draw(axes, EXAMPLE, nm, groups)
    _explain(axes, nm, worked)
    return figure


@styled
def plot_all_by_hand(groups: int = 2) -> Figure:
    """`plot_by_hand` for the four: above BN and LN, and below each the one with smaller sets, GN and IN."""
    figure, grid = plt.subplots(2, 2, figsize=(8, 10.4), height_ratios=(HEIGHTS["LN"], HEIGHTS["IN"]))
    for axes, nm in zip(grid.flat, ("BN", "LN", "GN", "IN")):
        _draw(axes, EXAMPLE, nm, groups)
        _explain(axes, nm, work_all(EXAMPLE, nm, groups))
    for axes in grid.flat:  # one scale for all
        axes.set_ylim(HEIGHTS["LN" if axes in grid[0] else "IN"], -0.3)
    return figure


@styled
def plot_before_and_after(nm: str, groups: int = 2) -> Figure:
    """`EXAMPLE` and, below it, what `nm` makes of it, with the mean and deviation of each set of both.

    Raises ValueError as `by_hand.sets` does.
    """
    worked = work_all(EXAMPLE, nm, groups)
    figure, (top, bottom) = plt.subplots(2, figsize=(WIDTH, 2.6 + 0.6 * HEIGHTS[_layout(nm, groups)]))
    _draw(top, EXAMPLE, nm, groups)
    _explain(top, nm, worked)
    _draw(bottom, normalize_by_hand(EXAMPLE, nm, groups), nm, groups, digits=2)
    bottom.set_title("Normalized: (x − μ) / √(σ² + ε), with the μ and σ above", pad=30)
    return figure


def _layout(nm: str, groups: int) -> str:
    """GN with a group a channel is IN, and is drawn like it."""
    return "IN" if (nm, groups) == ("GN", len(CHANNELS)) else nm


def _explain(axes: Axes, nm: str, worked: Sequence[Worked]) -> None:
    axes.set_title(f"{_heading(nm)}\n{len(worked)} means and deviations", color=NORMALIZATIONS[nm].colour, pad=62)
    text = f"each over {worked[0].n} numbers:\n{NORMALIZATIONS[nm].set}"
    axes.annotate(text, (0, 1), (0, 29), xycoords="axes fraction", textcoords="offset points")


def _draw(axes: Axes, x: torch.Tensor, nm: str, groups: int, digits: int = 0) -> None:
    """A batch x (N, C, 2, 2): a row an image, a column a channel, the cells coloured by their set."""
    images, channels = x.shape[:2]
    member, worked = sets(nm, x.shape, groups), work_all(x, nm, groups)
    layout = _layout(nm, groups)
    pitch = 2 + GAPS[layout]
    for i, w in enumerate(worked):
        hue, strength = _tint(nm, i, len(worked) // images)
        rows, columns = (torch.nonzero((member == i).any(dim=d).any(dim=-1).any(dim=-1)) for d in (1, 0))
        left, right = columns.min().item() * PITCH, columns.max().item() * PITCH + 2
        top, bottom = rows.min().item() * pitch, rows.max().item() * pitch + 2
        corner, size = (left - MARGIN, top - MARGIN), (right - left + 2 * MARGIN, bottom - top + 2 * MARGIN)
        edge = _mix(hue, "black", 0.65)
        background = _mix(hue, "white", strength / 2)
        axes.add_patch(Rectangle(corner, *size, facecolor=background, edgecolor=edge, linewidth=2.5))
        _label(axes, w, (left + right) / 2, bottom + 0.25, edge, wide=right - left > 2)
        for n, c, row, column in torch.nonzero(member == i).tolist():
            place = (PITCH * c + column, pitch * n + row)
            _cell(axes, place, fixed(x[n, c, row, column].item(), digits), _mix(hue, "white", strength))
    axes.set(xlim=(-0.3, PITCH * channels - 0.2), ylim=(HEIGHTS[layout], -0.3))
    axes.set(xticks=[PITCH * c + 1 for c in range(channels)], xticklabels=CHANNELS[:channels])
    axes.set(yticks=[pitch * n + 1 for n in range(images)], yticklabels=range(1, images + 1), ylabel="images")
    axes.tick_params(top=False, labeltop=True, labelbottom=False)
    _only_labels(axes)


def _tint(nm: str, number: int, per_image: int) -> tuple[str, float]:
    """Hue and strength of a set: sets of batch norm have the hue of a channel, the others that of an image."""
    if nm == "BN":
        return CHANNEL_HUES[number], STRENGTHS[0]
    image, place = divmod(number, per_image)
    return IMAGE_HUES[image], STRENGTHS[place]


def _mix(color: str, other: str, share: float) -> tuple[float, ...]:
    return tuple(share * a + (1 - share) * b for a, b in zip(to_rgb(color), to_rgb(other)))


def _cell(axes: Axes, corner: tuple[float, float], text: str, color: tuple[float, ...]) -> None:
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=color, edgecolor="white"))
    axes.text(corner[0] + 0.5, corner[1] + 0.53, text, ha="center", va="center", size=12)


def _label(axes: Axes, worked: Worked, x: float, y: float, color: tuple[float, ...], wide: bool) -> None:
    """The set's mean and deviation below it, in one line where it is `wide`."""
    between = "   " if wide else "\n"
    text = f"μ = {fixed(worked.mean, 3)}{between}σ = {fixed(worked.deviation, 3)}"
    axes.text(x, y, text, color=color, size=10, ha="center", va="top")
