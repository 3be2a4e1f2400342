"""How far runs of several arms scatter from seed to seed, judged together: few seeds of one arm say too little.

Arrays may have leading axes, over which simulations run; the last is that of the arms.
"""

import math
from bisect import bisect_left
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import fdtrc, stdtrit
from scipy.stats import nct

from normbench.stats.samples import MOST_SEEDS

APART = 0.05  # F test: in so many of all comparisons an arm that scatters like the others is judged by itself


class Scatter(NamedTuple):
    """The variance of a single run of each arm, (…, arms), with its degrees of freedom.

    Attributes:
        variance: of a run.
        freedom: the degrees of freedom; those of all arms in the pool, or an arm's own where it is judged by itself.
        apart: whether the arm scatters so much more than the others that it is judged by itself.
    """

    variance: np.ndarray
    freedom: np.ndarray
    apart: np.ndarray

    def error(self, runs: np.ndarray, a: np.ndarray, images: ArrayLike = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Return the variance of the difference of arm a's mean from each arm's, (…, arms), and its degrees of freedom.

        `runs` are the numbers of runs (…, arms), `a` an index (…), and `images` is added: the variance that test
        examples have. Degrees of freedom are the pool's, or, where one of both is apart, Satterthwaite's (1946).
        """

        def of_a(values: np.ndarray) -> np.ndarray:
            return np.take_along_axis(values, np.expand_dims(a, -1), -1)

        parts = self.variance / np.maximum(runs, 1)
        total = parts + of_a(parts)
        own = parts**2 / np.maximum(self.freedom, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mixed = np.where(total > 0, total**2 / (own + of_a(own)), np.inf)
        freedom = np.where(self.apart | of_a(self.apart), mixed, np.maximum(self.freedom, 1))
        return total + images, freedom


def scatter(variances: ArrayLike, freedom: ArrayLike, floor: ArrayLike = 0.0, pooled: ArrayLike = True) -> Scatter:
    """Return the variance of a run of each arm, from the arms' own variances with their degrees of freedom.

    A run's variance is what its test examples cause alone, the `floor`, and something on top that the arms have in
    common (pooled, never below 0). No arm is credited with less variance than its own runs show, and one that shows
    far more is apart: an F test against the arms that scatter less, at `APART` for all arms together. Arms that are not
    to be `pooled` take what the others have in common, and add nothing to it.
    """
    own, least = (np.array(part, float) for part in np.broadcast_arrays(variances, floor))
    degrees = np.where(pooled, np.broadcast_to(freedom, own.shape), 0).astype(float)
    known, arms = degrees > 0, own.shape[-1]
    seen = np.where(known, own, 0.0)
    order = np.argsort(np.where(known, seen - least, np.inf), axis=-1)
    total, pool, alone = np.zeros(seen.shape[:-1]), np.zeros(seen.shape[:-1]), np.zeros(seen.shape[:-1], bool)
    apart = np.zeros(seen.shape, bool)

    def sorted_by_excess(values: np.ndarray) -> np.ndarray:
        return np.moveaxis(np.take_along_axis(values, order, -1), -1, 0)

    for rank, (s, d, f) in enumerate(zip(*map(sorted_by_excess, (seen, degrees, least)))):
        if rank >= arms // 2:  # the steadier half is the pool to begin with
            expected = f + np.maximum(0.0, total / np.maximum(pool, 1))
            with np.errstate(invalid="ignore", divide="ignore"):
                p = np.where(expected > 0, fdtrc(np.maximum(d, 1), np.maximum(pool, 1), s / expected), s == 0)
            alone = alone | ((p < APART / max(1, arms - 1)) & (d > 0) & (pool > 0))
        np.put_along_axis(apart, order[..., rank : rank + 1], alone[..., None], -1)
        total, pool = total + np.where(alone, 0.0, d * (s - f)), pool + np.where(alone, 0.0, d)
    common = np.maximum(0.0, total / np.maximum(pool, 1))[..., None]
    return Scatter(
        variance=np.maximum(least + common, np.where(np.asarray(freedom) > 0, own, 0.0)),
        freedom=np.where(apart, degrees, pool[..., None]),
        apart=apart,
    )


def seeds_to_show(
    difference: float, of_a_run: float, images: float, arms: int, level: float, power: float = 0.8
) -> int | None:
    """Return how many runs per arm show a true difference with this power; None, where `MOST_SEEDS` are too few.

    The difference of two runs has the variance `of_a_run`, which `arms` arms tell together; test examples add `images`,
    whatever the number of runs. `level` is the one-sided one of a look.
    """

    def shown(runs: int) -> float:
        error, freedom = math.sqrt(of_a_run / runs + images), arms * (runs - 1)
        return float(nct.sf(-stdtrit(freedom, level), freedom, abs(difference) / error)) if error else 1.0

    candidates = range(2, MOST_SEEDS + 1)
    index = bisect_left(candidates, power, key=shown)
    return candidates[index] if index < len(candidates) and difference else None
