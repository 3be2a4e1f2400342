"""The interactive page docs/explorer.html: its data, what it shows without scripts, and its frame in a notebook."""

import html
import json
import re
from typing import Any

from normbench.layers import NORMALIZATIONS
from normbench.runs import conditions
from normbench.words import fixed
from study import CHECKOUT, by_hand
from study.numbers import Numbers

PAGE = CHECKOUT / "docs" / "explorer.html"
DATA = re.compile(r'(?<=<script type="application/json" id="data">).*?(?=</script>)', re.DOTALL)
STILL = re.compile(r'(?<=<noscript id="still">).*?(?=</noscript>)', re.DOTALL)


def page(n: Numbers) -> str:
    """Return docs/explorer.html with its data and its part without scripts anew; all else is written by hand.

    Raises ValueError if the file does not have one place for each.
    """
    text = PAGE.read_text(encoding="utf-8")
    data = json.dumps(_data(n), sort_keys=True).replace("<", "\\u003c")
    for place, new in ((DATA, data), (STILL, _still(n))):
        text, places = place.subn(lambda _, new=new: new, text)  # type: ignore[misc]
        if places != 1:
            raise ValueError(f"{PAGE.name} has {places} places for {place.pattern!r}, and needs one")
    return text


def frame() -> str:
    """Return the page as a frame for a notebook: HTML that holds all of it and shows the grid and the steps."""
    text = html.escape(PAGE.read_text(encoding="utf-8"))
    style = "width: 100%; height: 40rem; border: 0"  # until the page in it has measured itself
    # Of a bare frame IPython would say that it has a class for addresses.
    return f'<div><iframe title="Explorer" style="{style}" srcdoc="{text}"></iframe></div>'


def _data(n: Numbers) -> dict[str, Any]:
    """Make what the page calculates with: the batch worked by hand, and what few images per statistic cost."""
    arms = n.arms("cifar10_ghosts")
    of_batch_norm = [arm for arm in arms if arm.recipe.family == "BN"]
    points = {arm.recipe.images_per_statistic: arm.accuracy for arm in of_batch_norm}
    levels = {arm.recipe.family: arm.accuracy for arm in arms if arm.recipe.family != "BN"}
    measured = {
        "batch": max(arm.recipe.batch_size for arm in arms),
        "conditions": conditions(arms),
        "points": [[images, points[images].mean, points[images].low, points[images].high] for images in sorted(points)],
        "levels": [{"name": name, "mean": a.mean, "low": a.low, "high": a.high} for name, a in levels.items()],
        "colours": {family: NORMALIZATIONS[family].colour for family in ("BN", *levels)},
    }
    return {"shape": by_hand.EXAMPLE.shape, "example": by_hand.EXAMPLE.flatten().tolist(), "measured": measured}


def _still(n: Numbers) -> str:
    """Make the HTML for a browser without scripts: the first batch, each method's sets, steps, what was measured."""
    measured = _data(n)["measured"]
    rows = [(f"BN, {images} images", mean, low, high) for images, mean, low, high in measured["points"]]
    rows += [(level["name"], level["mean"], level["low"], level["high"]) for level in measured["levels"]]
    accuracies = [[name, fixed(mean), f"{fixed(low)} to {fixed(high)}"] for name, mean, low, high in rows]
    parts = [
        "<p>Without JavaScript nothing can be changed here. This is the first batch, and what becomes of it.</p>",
        f"<h2>The batch</h2>{_table(['', *_channels()], _cells(by_hand.EXAMPLE.tolist(), by_hand.show))}",
    ]
    for nm in by_hand.NORMS:
        sets = by_hand.work_all(by_hand.EXAMPLE, nm)
        statistics = "; ".join(f"{fixed(w.mean, 3)}, {fixed(w.deviation, 3)}" for w in sets)
        y = by_hand.normalize_by_hand(by_hand.EXAMPLE, nm).tolist()
        norm = NORMALIZATIONS[nm]
        parts.append(
            f"<h2>{norm.name.capitalize()}</h2><p>{len(sets)} sets of {sets[0].n} numbers: {norm.shares}. "
            f"Their μ and σ: {statistics}.</p>{_table(['', *_channels()], _cells(y, fixed))}"
        )
    parts += [
        f"<h2>Step by step</h2><pre>{html.escape(by_hand.steps(by_hand.EXAMPLE, 'GN'))}</pre>",
        f"<h2>What few images per mean cost</h2><p>{html.escape(measured['conditions'])}.</p>",
        _table(["images that share a mean", "test accuracy (%)", "95 % interval"], accuracies),
    ]
    return "\n".join(parts)


def _channels() -> list[str]:
    return [f"channel {number}" for number in range(1, by_hand.EXAMPLE.shape[1] + 1)]


def _cells(batch: list, write: Any) -> list[list[str]]:
    """Make a table's rows of a batch (N, C, 2, 2): a row per image, the two rows of a map below each other."""
    return [
        [f"image {number}", *("<br>".join("&ensp;".join(map(write, row)) for row in channel) for channel in image)]
        for number, image in enumerate(batch, start=1)
    ]


def _table(heads: list[str], rows: list[list[str]]) -> str:
    head = "".join(f'<th scope="col">{cell}' for cell in heads)
    body = "".join(f'<tr><th scope="row">{first}' + "".join(f"<td>{cell}" for cell in rest) for first, *rest in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</thead><tbody>{body}</tbody></table></div>'
