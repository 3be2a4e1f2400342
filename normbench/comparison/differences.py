"""What may be said of differences between arms."""

import numpy as np

from normbench.runs import Arm
from normbench.stats import Interval
from normbench.training import Recipe

MARGIN = 0.05  # percentage points of accuracy: arms that are reliably closer count as the same

Pair = tuple[Recipe, Recipe]


def has_examples(*arms: Arm) -> bool:
    """Tell whether the arms have a score for each of the same test examples; else new seeds alone are spoken of."""
    numbers = {arm.examples.shape[1] for arm in arms}
    return len(numbers) == 1 and min(numbers) > 1


def same(interval: Interval, margin: float = MARGIN) -> bool:
    """Tell whether the whole interval lies closer to 0 than `margin`."""
    return -margin < interval.low and interval.high < margin


def typical_difference(arm: Arm) -> float:
    """Return how far two runs of one arm lie apart on average, in points: the mean of |a − b| over all pairs."""
    values = arm.last()
    first, second = np.triu_indices(len(values), 1)
    return float(np.abs(values[first] - values[second]).mean())
