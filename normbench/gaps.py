"""Arms compared: how far apart they are, and what that difference allows one to say."""

import math
from collections.abc import Sequence

import numpy as np

from normbench.config import Config
from normbench.runs import Arm, Arms
from normbench.stats import (
    Difference,
    Interval,
    accuracy_difference,
    seed_effect,
    seeds_for_accuracy_difference,
)

ALPHA = 0.05
MARGIN = 0.05  # points of accuracy: arms that are surely closer count as the same


def share_seeds(arms: Arms) -> bool:
    """Whether a seed's effect shows in all arms alike (F test, 5 %), so that differences are taken seed by seed.

    With fewer than five seeds they are not: simulated intervals of so few pairs hold the truth in less than 94 %.
    """
    seeds = {arm.seeds for arm in arms.values()}
    if len(arms) < 2 or len(seeds) > 1 or len(*seeds) < 5:
        return False
    return seed_effect(np.stack([arm.last() for arm in arms.values()])) < ALPHA


def gap(arms: Arms, a: Config, b: Config, family: int = 1) -> Difference:
    """Expected accuracy of arm `a` minus that of `b` in points, for new seeds and new test images.

    The 95 % interval is one of a `family` of comparisons which hold together (Bonferroni). Where `share_seeds` finds a
    seed effect among all the `arms`, differences are taken seed by seed.
    """
    confidence = 1 - ALPHA / family
    return accuracy_difference(arms[a].correct, arms[b].correct, paired=share_seeds(arms), confidence=confidence)


def gaps(arms: Arms, pairs: Sequence[tuple[Config, Config]]) -> dict[tuple[Config, Config], Difference]:
    """The `gap` of each pair of arms, in one family."""
    return {(a, b): gap(arms, a, b, family=len(pairs)) for a, b in pairs}


def seeds_to_tell(arms: Arms, a: Config, b: Config, family: int = 1, distance: float | None = None) -> float:
    """About how many seeds an arm would have the interval of the `gap` leave out 0 in four of five studies.

    With a `distance`, what it leaves out lies so many points from the gap instead. The estimates are taken for the
    truth. Infinite where even `stats.MOST_SEEDS` are too few: that needs more test images.
    """
    paired, confidence = share_seeds(arms), 1 - ALPHA / family
    correct = arms[a].correct, arms[b].correct
    return seeds_for_accuracy_difference(*correct, paired, confidence, distance=distance) or math.inf


def same(interval: Interval, margin: float = MARGIN) -> bool:
    """Whether the whole interval lies closer to 0 than `margin`."""
    return -margin < interval.low and interval.high < margin


def seeds_to_decide(arms: Arms, a: Config, b: Config, family: int = 1) -> float:
    """`seeds_to_tell` whether `a` and `b` differ or are closer than `MARGIN`, whichever is sooner told."""
    apart = abs(arms[a].accuracy.mean - arms[b].accuracy.mean)
    return seeds_to_tell(arms, a, b, family, distance=max(apart, MARGIN - apart))


def typical_difference(arm: Arm) -> float:
    """How far two runs of one arm lie apart on average, in points: the mean of |a − b| over all pairs of its runs."""
    values = arm.last()
    first, second = np.triu_indices(len(values), 1)
    return float(np.abs(values[first] - values[second]).mean())
