"""The search for an arm's learning rate: which to try next, and which is best. It knows scores and no networks.

Every trial is a complete training: after a part of a schedule that ends with small rates, another rate leads than at
its end.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

SEEDS = (0, 1_000_000)  # of trials: the second where two rates are close; no run that is compared has it
WHOLE = 3  # up to so many rates the grid is tried as a whole; accuracy may fall and rise again with the rate
WIDENINGS = 4  # how many rates beyond the grid an arm is given at most
CLOSE, TIED = 2.0, 1.0  # errors of the difference of two runs; of the difference of two means of two

Scores = Mapping[float, Sequence[float]]  # of the trials, by rate and in the order of SEEDS; nan for one that failed


def trials(tried: Scores, grid: Sequence[float], start: float, noise: float = 0.0) -> list[tuple[float, int]]:
    """Return the trials that are to be made next, as rates with seeds; none if the best rate is known.

    A small grid is tried as a whole; on a larger one the search begins at `start` and its neighbours. Then it goes to
    the better neighbour until both neighbours are worse, if need be beyond the grid. At the end the best two get a
    second seed if they are closer than the noise makes likely.

    Args:
        tried: the scores by now; a higher one is better.
        grid: the rates to choose from.
        start: of a larger grid, a likely one, such as the best of another arm.
        noise: the standard deviation of a run's score, as far as it is known before.
    """
    is_small = len(grid) <= WHOLE
    ladder = sorted({*grid, *tried} if is_small else {*grid, *tried, start})
    begin = ladder if is_small else _around(ladder, start)
    around = _around_the_best(ladder, tried, len(grid) + WIDENINGS) if tried else begin
    if missing := [rate for rate in around if rate not in tried]:
        return [(rate, SEEDS[0]) for rate in missing]
    if any(len(scores) > 1 for scores in tried.values()):
        return []
    first, *close = _best_two(tried, CLOSE * math.sqrt(2) * noise) or [start]
    return [(rate, SEEDS[1]) for rate in (first, *close)] if close else []


def best_rate(tried: Scores, noise: float = 0.0) -> float | None:
    """Return the rate with the best mean, or the lower of two that tie; None if all trials failed.

    Rates with two trials go before those with one, and a rate of which a trial failed is not the best.
    """
    most = max((len(scores) for scores in tried.values() if np.isfinite(scores).all()), default=0)
    compared = {rate: scores for rate, scores in tried.items() if len(scores) == most}
    return min(_best_two(compared, TIED * noise), default=None)


def next_rate(ladder: Sequence[float], best: float | None) -> float | None:
    """Return the rate to try beyond the best if that is at an edge of the sorted ladder; None if it lies inside.

    Where every rate failed, and there is no best, the next one is lower.
    """
    if len(ladder) < 2:
        return None
    if best is None or best == ladder[0]:
        return float(f"{ladder[0] ** 2 / ladder[1]:.1g}")
    return float(f"{ladder[-1] ** 2 / ladder[-2]:.1g}") if best == ladder[-1] else None


def _around(ladder: Sequence[float], rate: float) -> list[float]:
    """A rate and its neighbours."""
    place = ladder.index(rate)
    return list(ladder[max(0, place - 1) : place + 2])


def _around_the_best(ladder: Sequence[float], tried: Scores, most: int) -> list[float]:
    """The best rate by now and its neighbours; where all failed, the next lower one."""
    best = next(iter(_best_two({rate: scores[:1] for rate, scores in tried.items()}, 0.0)), None)
    if best is None and (lower := [rate for rate in ladder if rate < min(tried)]):
        return lower[-1:]
    beyond = next_rate(ladder, best) if len(ladder) < most else None
    around = [] if best is None else _around(ladder, best)
    return around if beyond is None else [*around, beyond]


def _best_two(tried: Scores, distance: float) -> list[float]:
    """The best rate, and then the second if it is no further behind than `distance`; none if all failed."""
    means = {rate: float(np.mean(scores)) for rate, scores in tried.items() if np.isfinite(scores).all()}
    ranked = sorted(means, key=lambda rate: (-means[rate], rate))
    return ranked[:1] + [rate for rate in ranked[1:2] if means[ranked[0]] - means[rate] <= distance]
