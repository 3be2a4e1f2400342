"""Differences between arms: how far apart two of them are, and what that allows one to say."""

import math
from collections.abc import Iterable

import numpy as np

from normbench.runs import Arm, Arms
from normbench.stats import (
    Difference,
    Interval,
    accuracy_difference,
    difference,
    seed_effect,
    seeds_for_accuracy_difference,
)
from normbench.training import Recipe

ALPHA = 0.05
MARGIN = 0.05  # percentage points of accuracy: arms that are reliably closer count as the same
FEWEST_PAIRS = 5  # simulated intervals of fewer pairs of seeds hold the truth in less than 94 %

Pair = tuple[Recipe, Recipe]


def share_seeds(arms: Arms) -> bool:
    """Tell whether the seed has a significant effect across arms (F test, 5 %): differences are then taken by seed.

    They never are if the arms have different seeds, fewer than five of them, or a run that failed.
    """
    seeds = {arm.seeds for arm in arms.values()}
    if len(arms) < 2 or len(seeds) > 1 or len(*seeds) < FEWEST_PAIRS:
        return False
    accuracies = np.stack([arm.last() for arm in arms.values()])
    return bool(np.isfinite(accuracies).all()) and seed_effect(accuracies) < ALPHA


def gap(arms: Arms, a: Recipe, b: Recipe, family: int = 1) -> Difference:
    """Return the expected score of arm `a` minus that of `b`, for new seeds and, where each has one, test examples.

    That of accuracies is in percentage points. The 95 % interval is one of a `family` of simultaneous ones
    (Bonferroni). If `share_seeds` finds a seed effect among all the `arms`, runs with the same seed are compared.
    """
    confidence = 1 - ALPHA / family
    first, second, paired = arms[a], arms[b], share_seeds(arms)
    if has_examples(first, second):
        return accuracy_difference(first.examples, second.examples, paired, confidence)
    return difference(_finite(first), _finite(second), paired, confidence)


def has_examples(*arms: Arm) -> bool:
    """Tell whether the arms have a score for each of the same test examples; else new seeds alone are spoken of."""
    numbers = {arm.examples.shape[1] for arm in arms}
    return len(numbers) == 1 and min(numbers) > 1


def gaps(arms: Arms, pairs: Iterable[Pair]) -> dict[Pair, Difference]:
    """Return the `gap` of each pair of arms, in one family."""
    family = list(pairs)
    return {(a, b): gap(arms, a, b, family=len(family)) for a, b in family}


def seeds_to_tell(arms: Arms, a: Recipe, b: Recipe, family: int = 1, distance: float | None = None) -> float:
    """Estimate how many seeds each arm needs before the interval of the `gap` excludes 0 with 80 % power.

    With a `distance`, it is to exclude a value that many points from the gap instead. The estimates are taken for the
    truth. Infinite if even `stats.MOST_SEEDS` are too few: that needs more test images.
    """
    paired, confidence = share_seeds(arms), 1 - ALPHA / family
    first, second = arms[a].examples, arms[b].examples
    if not has_examples(arms[a], arms[b]):  # two examples that are alike add no variance
        first, second = (np.repeat(_finite(arm)[:, None], 2, axis=1) for arm in (arms[a], arms[b]))
    return seeds_for_accuracy_difference(first, second, paired, confidence, distance=distance) or math.inf


def _finite(arm: Arm) -> np.ndarray:
    """The scores of the runs that did not fail, (seeds,)."""
    values = arm.last()
    return values[np.isfinite(values)]


def same(interval: Interval, margin: float = MARGIN) -> bool:
    """Tell whether the whole interval lies closer to 0 than `margin`."""
    return -margin < interval.low and interval.high < margin


def seeds_to_decide(arms: Arms, a: Recipe, b: Recipe, family: int = 1) -> float:
    """Estimate how many seeds per arm tell whether `a` and `b` differ or are closer than `MARGIN`.

    It is the smaller of both numbers.
    """
    apart = abs(arms[a].accuracy.mean - arms[b].accuracy.mean)
    return seeds_to_tell(arms, a, b, family, distance=max(apart, MARGIN - apart))


def typical_difference(arm: Arm) -> float:
    """Return how far two runs of one arm lie apart on average, in points: the mean of |a − b| over all pairs."""
    values = arm.last()
    first, second = np.triu_indices(len(values), 1)
    return float(np.abs(values[first] - values[second]).mean())
