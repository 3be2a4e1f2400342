"""A comparison as a page in HTML, with all figures inside."""

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader

from normbench import words
from normbench.checking import price_table
from normbench.data import title
from normbench.figures import png
from normbench.runs import Measure
from normbench.stats import MOST_SEEDS, Summary
from normbench.training.provenance import commit, versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from normbench.comparison.result import Comparison


def page(comparison: "Comparison", command: str = "") -> str:
    """Return the page; `command` is what made the comparison."""
    return _environment().get_template("page.html").render(comparison=comparison, body=body(comparison, command))


def body(comparison: "Comparison", command: str = "") -> str:
    """Return what stands on the page, for notebooks too."""
    devices = dict.fromkeys(run.device for arm in comparison.arms.values() for run in arm.runs)
    return (
        _environment()
        .get_template("comparison.html")
        .render(
            comparison=comparison,
            title=title(comparison.data),
            most_seeds=MOST_SEEDS,
            price=price_table(comparison.price) if comparison.price else None,
            figures={name: _data_url(figure) for name, figure in comparison.figures().items()},
            made_by={
                "Command": command,
                "Device": ", ".join(devices),
                "Versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
                "Commit": commit(),
            },
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("normbench.comparison"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "fixed": words.fixed,
        "percent": words.percent,
        "signed": words.signed,
        "span": words.span,
        "within": _within,
    }
    return environment


def _within(score: Summary, measure: Measure) -> Summary:
    """Cut the interval of a score to where it can lie: that of an accuracy to 0 to 100 %."""
    low, high = measure.bounds
    return replace(score, low=max(low, score.low), high=min(high, score.high))


def _data_url(figure: "Figure") -> str:
    """Return the figure as a `data:` URL."""
    return f"data:image/png;base64,{base64.b64encode(png(figure)).decode()}"
