"""What tables say of an arm, on the page and in Markdown."""

import math
from typing import TYPE_CHECKING

from normbench.runs import Arm
from normbench.stats import Interval
from normbench.words import fixed, span

if TYPE_CHECKING:
    from normbench.comparison.result import Result

UNKNOWN = "–"


def mean(result: "Result", arm: Arm) -> str:
    """The mean score of an arm, with its interval."""
    found = result.mean(arm)
    return UNKNOWN if found is None else _with_ends(found, result.measure.digits)


def behind(result: "Result", arm: Arm) -> str:
    """How far an arm is behind the first one, with the interval of that."""
    lead = result.standing.leads.get(arm.recipe)
    return UNKNOWN if lead is None else _with_ends(result.possible(lead), result.measure.digits)


def learned(result: "Result", arm: Arm) -> str:
    """How many runs of an arm learned."""
    some, runs = result.standing.learned[arm.recipe]
    return f"{some} of {runs}"


def loss(result: "Result", arm: Arm) -> str:
    """The mean test loss of an arm."""
    found = result.loss(arm)
    return UNKNOWN if found is None else fixed(found, 3)


def milliseconds(result: "Result", arm: Arm) -> str:
    """How long a training step of an arm takes."""
    seconds = result.step_seconds.get(arm.recipe.norm)
    return UNKNOWN if seconds is None else fixed(1000 * seconds, 1 if seconds > 0.01 else 2)


def _with_ends(value: Interval, digits: int) -> str:
    ends = f" ({span(value, digits)})" if math.isfinite(value.low) else ""
    return fixed(value.estimate, digits) + ends
