"""The atlas as its page shows it: a table of settings, every difference with its interval, a figure."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from normbench.comparison import cells
from normbench.data import title
from normbench.figures import WIDTH, caption, looks, styled
from normbench.words import fixed
from study.readings import Atlas, Place, Setting
from study.tables import markdown

TICKS = (0, 1, 2, 5, 10, 20, 50)
HEIGHT, GAP = 0.23, 1.6  # of a row in inches, and of the space between settings in rows
WORDS = {
    Place.FIRST: "first",
    Place.OPEN: "not told apart from the first",
    Place.BEHIND: "behind",
    Place.FAILS: "fails",
}


def overview(atlas: Atlas) -> str:
    """Show where each normalization stands: a row per setting."""
    heads = ["network", "data", "batch>", "steps>", *(f"{norm}>" for norm in atlas.norms)]
    rows = (
        [each.network, _data(each), each.recipe.batch_size, _steps(each), *(_cell(each, norm) for norm in atlas.norms)]
        for each in atlas.settings
    )
    return markdown(heads, rows)


def _data(setting: Setting) -> str:
    images = f", {setting.images:,} images" if setting.images else ""
    return f"{title(setting.comparison.data)}{images}, {setting.recipe.epochs} epochs"


def _steps(setting: Setting) -> str:
    return "" if setting.steps is None else f"{setting.steps:,}"


def _cell(setting: Setting, norm: str) -> str:
    digits = setting.result.measure.digits
    match setting.places.get(norm):
        case Place.FIRST:
            return f"**{fixed(setting.arms[norm].accuracy.mean, digits)}**"
        case Place.OPEN:
            return f"≤ {fixed(setting.behind[norm].high, 1)}" if norm in setting.behind else "?"
        case Place.BEHIND:
            return f"−{fixed(setting.behind[norm].estimate, 1)}"
        case Place.FAILS:
            return "fails"
    return ""


def counts(atlas: Atlas) -> str:
    """Show how often each normalization stands where: a row per normalization."""
    heads = ["normalization", *(f"{word}>" for word in WORDS.values()), "settings>"]
    return markdown(
        heads,
        ([norm, *(found[place] for place in WORDS), found.total()] for norm, found in atlas.counts.items()),
    )


def differences(atlas: Atlas) -> str:
    """Show each arm's mean, rate and distance from the first, with intervals: a row per setting and normalization."""
    heads = ["network", "batch>", "normalization", "accuracy (%)>", "behind the first (points)>"]
    heads += ["learned>", "learning rate>"]
    return markdown(heads, (row for setting in atlas.settings for row in _differences(setting)))


def _differences(setting: Setting) -> list[list[object]]:
    where, result = [setting.network, setting.recipe.batch_size], setting.result
    rows: list[list[object]] = []
    for norm, arm in setting.arms.items():
        said = (cells.mean(result, arm), cells.behind(result, arm), cells.learned(result, arm))
        rows.append([*where, norm, *said, f"{arm.recipe.lr:g}"])
    failed = [[*where, recipe.norm, "–", "–", why, ""] for recipe, why in result.failures.items()]
    return rows + failed


@styled
def plot_atlas(settings: Sequence[Setting]) -> Figure:
    """Plot a block of rows per setting: how far each arm is behind the first, with its interval.

    The first and those not told apart from it have bold names; those that fail have no marker.
    """
    heights = [len(setting.places) + GAP for setting in settings]
    figure, axes = plt.subplots(figsize=(WIDTH, 1.6 + HEIGHT * sum(heights)))
    caption(
        figure,
        "Points behind the first",
        "Markers and bars: differences of means with the intervals of the race. Bold: the first, and what cannot be "
        "told apart from it",
    )
    top = 0.0
    for setting, height in zip(settings, heights, strict=True):
        name = f"{setting.network}, {title(setting.comparison.data)}, batches of {setting.recipe.batch_size}"
        axes.text(0, top, name, transform=axes.get_yaxis_transform(), weight="bold", size=11)
        _block(axes, setting, top + 1)
        top += height
    axes.set_ylim(top - 0.6, -0.9)
    axes.set_yticks([])
    axes.set_xscale("symlog", linthresh=1, linscale=0.6)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(-1.5, 100)  # how far the best may be behind is of less interest
    axes.axvline(0, color="0.6", linewidth=1, zorder=0)
    axes.spines["left"].set_visible(False)
    return figure


def _block(axes: Axes, setting: Setting, top: float) -> None:
    """Draw a row per arm from `top` down, with its name at the right."""
    for row, (norm, look) in enumerate(zip(setting.places, looks(list(setting.places)), strict=True)):
        y, place, lead = top + row, setting.places[norm], setting.behind.get(norm)
        by = lead.estimate if lead else 0.0
        if lead:
            axes.plot([lead.low, lead.high], [y, y], color=look["color"], linewidth=4, alpha=0.5, solid_capstyle="butt")
        if place is not Place.FAILS:
            axes.plot([by], [y], **look | {"linestyle": ""}, markersize=8)
        is_first = place in (Place.FIRST, Place.OPEN)
        said = f"{norm}, fails" if place is Place.FAILS else norm
        axes.text(
            1.02,
            y,
            said,
            transform=axes.get_yaxis_transform(),
            va="center_baseline",
            size=11,
            weight="bold" if is_first else "normal",
        )
