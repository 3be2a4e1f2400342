"""The example of `by_hand` as pictures: the cells in the colour of their set, with its mean and deviation."""

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from normbench.by_hand import CHANNELS, EXAMPLE, Worked, fixed, normalize_by_hand, sets, work_all
from normbench.figures import COLORS, NAMES, STYLE, done

# By Okabe & Ito, but for the brown: told apart by colour-blind readers too. Sets that lie within one image
# have that image's hue, so that the hues of channels mean channels alone.
CHANNEL_HUES = ("#0072B2", "#009E73", "#E8C800", "#8B5A2B")
IMAGE_HUES = ("#CC79A7", "#E69F00", "#56B4E9", "#777777")
STRENGTHS = (0.45, 0.15, 0.7, 0.28)  # of the sets within one image, neighbours far apart
SETS = {
    "BN": "one channel of all images",
    "GN": "a group of channels of one image",
    "LN": "all channels of one image",
    "IN": "one channel of one image",
}
PITCH = 2.5  # from one channel to the next, where a pixel is 1 wide
GAPS = {"BN": 0.5, "GN": 1.3, "LN": 0.5, "IN": 1.55}  # between images: GN's and IN's results stand there
MARGIN = 0.15  # of a frame around its cells


def plot_by_hand(nm: str, groups: int = 2) -> Figure:
    """`EXAMPLE`, the cells that share one mean and deviation in one colour and one frame.

    Raises ValueError as `by_hand.sets` does.
    """
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, axes = plt.subplots(figsize=(7.5, 7.2), layout="constrained")
        _draw(axes, EXAMPLE, nm, groups)
        _title(axes, nm, *_what(nm, groups))
    return done(figure)


def plot_all_by_hand(groups: int = 2) -> Figure:
    """`plot_by_hand` for the four: above BN and LN, and below each the one with smaller sets, GN and IN."""
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, grid = plt.subplots(2, 2, figsize=(12, 12.7), layout="constrained", height_ratios=(11, 14))
        for axes, nm in zip(grid.flat, ("BN", "LN", "GN", "IN")):
            _draw(axes, EXAMPLE, nm, groups)
            _title(axes, nm, *_what(nm, groups))
            axes.set(xlim=(-0.3, 12.4), ylim=(max(axes.get_ylim()[0], 10.8), -0.3))  # one scale for all
            axes.set_anchor("NW")
    return done(figure)


def plot_before_and_after(nm: str, groups: int = 2) -> Figure:
    """`EXAMPLE` and, beside it, what `nm` makes of it, with the mean and deviation of each set of both."""
    with plt.rc_context(STYLE | {"axes.grid": False}):
        size = (13, 7.4 if nm in ("GN", "IN") else 6.4)
        figure, (left, right) = plt.subplots(1, 2, figsize=size, layout="constrained")
        _draw(left, EXAMPLE, nm, groups)
        _draw(right, normalize_by_hand(EXAMPLE, nm, groups), nm, groups, digits=2)
        _title(left, nm, *_what(nm, groups))
        _title(right, nm, "normalized: (x − μ) / √(σ² + ε)", "each number with the μ and σ of its set, to the left")
    return done(figure)


def _what(nm: str, groups: int) -> tuple[str, str]:
    worked = work_all(EXAMPLE, nm, groups)
    return f"{NAMES[nm]} ({nm}): {len(worked)} means and deviations", f"each over {SETS[nm]}: {worked[0].n} numbers"


def _title(axes: Axes, nm: str, first: str, second: str) -> None:
    axes.set_title(first, color=COLORS[nm], weight="bold", pad=44)
    axes.annotate(second, (0, 1), (0, 29), xycoords="axes fraction", textcoords="offset points", size=12)


def _draw(axes: Axes, x: torch.Tensor, nm: str, groups: int, digits: int = 0) -> None:
    """A batch x (N, C, 2, 2): a row an image, a column a channel, the cells coloured by their set."""
    images, channels = x.shape[:2]
    member, worked = sets(nm, x.shape, groups), work_all(x, nm, groups)
    pitch = 2 + GAPS[nm]
    for i, w in enumerate(worked):
        hue, strength = _tint(nm, i, len(worked) // images)
        rows, columns = (torch.nonzero((member == i).any(dim=d).any(dim=-1).any(dim=-1)) for d in (1, 0))
        left, right = columns.min().item() * PITCH, columns.max().item() * PITCH + 2
        top, bottom = rows.min().item() * pitch, rows.max().item() * pitch + 2
        corner, size = (left - MARGIN, top - MARGIN), (right - left + 2 * MARGIN, bottom - top + 2 * MARGIN)
        edge = _mix(hue, "black", 0.65)
        background = _mix(hue, "white", strength / 2)
        axes.add_patch(Rectangle(corner, *size, facecolor=background, edgecolor=edge, linewidth=2.5))
        _label(axes, nm, w, (left, right, top, bottom), edge)
        for n, c, row, column in torch.nonzero(member == i).tolist():
            place = (PITCH * c + column, pitch * n + row)
            _cell(axes, place, fixed(x[n, c, row, column].item(), digits), _mix(hue, "white", strength))
    axes.set(xlim=(-0.3, PITCH * channels + (2.2 if nm == "LN" else -0.2)))
    axes.set(ylim=(pitch * images + (1 if nm == "BN" else 0), -0.3), aspect="equal")
    axes.set(xticks=[PITCH * c + 1 for c in range(channels)], xticklabels=CHANNELS[:channels])
    axes.set(yticks=[pitch * n + 1 for n in range(images)], yticklabels=[f"image {n + 1}" for n in range(images)])
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)


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
    size = 12 if len(text) < 3 else 9.5
    axes.text(corner[0] + 0.5, corner[1] + 0.53, text, ha="center", va="center", size=size, color="black")


def _label(axes: Axes, nm: str, w: Worked, box: tuple[float, ...], color: tuple[float, ...]) -> None:
    """The set's mean and deviation: right of an image for LN, otherwise below."""
    left, right, top, bottom = box
    between = "   " if nm == "GN" and right - left > 2 else "\n"
    text = f"μ = {fixed(w.mean, 3)}{between}σ = {fixed(w.deviation, 3)}"
    style = dict(color=color, weight="bold", size=10)
    if nm == "LN":
        axes.text(right + 0.4, (top + bottom) / 2, text, va="center", **style)
    else:
        axes.text((left + right) / 2, bottom + 0.25, text, ha="center", va="top", **style)
