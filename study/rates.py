"""Learning rates that were tried in the study: which is best, and what failed."""

import math
from collections.abc import Iterable
from dataclasses import replace

from normbench.runs import Arm
from normbench.training import Run

LEARNED = 50.0  # a run that ends below so many % has not learned, which is a failure
TIE = 0.01  # points: one image of those held out


def best_rate(tried: Iterable[Arm]) -> float:
    """Return the learning rate with the highest mean accuracy; of those that tie with it, the lowest.

    Two rates tie where their means are less than `TIE` apart. A rate with which a run failed is not the best.
    Raises ValueError if every rate has failed.
    """
    means = _means(tried)
    return min(rate for rate, mean in means.items() if max(means.values()) - mean < TIE)


def unlearned(tried: Iterable[Arm]) -> int:
    """Count the runs that failed: those that diverged, and those that did not learn."""
    return sum(bool(judged(run).failure) for arm in tried for run in arm.runs)


def judged(run: Run) -> Run:
    """Count a run that ends below `LEARNED` as failed, so that no mean has it; return others as they are."""
    if run.failure or run.last["test_accuracy"] >= LEARNED:
        return run
    return replace(run, failure="did not learn")


def shortfall(tried: Iterable[Arm], lr: float) -> float:
    """Return how far, in points, the mean accuracy with the learning rate `lr` is below that with the best rate tried.

    A rate with which a run has not learned is not the best; the shortfall of such an `lr` is infinite.
    """
    means = _means(tried)
    return max(means.values()) - means[lr] if lr in means else math.inf


def _means(tried: Iterable[Arm]) -> dict[float, float]:
    """The mean accuracy by rate, of the rates with which no run failed."""
    return {arm.recipe.lr: arm.accuracy.mean for arm in tried if not unlearned([arm])}
