"""Simulate the levels of `normbench.stats.levels`: at which a race's looks together are wrong in 5 %.

    nice -n 19 python -m study.benchmarks.levels [--races 100000]

prints the table, in %. Wrong is: that one of several equal arms, named beforehand, is said to be behind the leader; or
that one of two equal arms is said to be ahead of the other, if all others have been left behind. The level is the lower
of both. Arms are normal, with one variance, which is pooled; the t statistics do not depend on what it is.
"""

import argparse

import numpy as np
from scipy.special import stdtr

from normbench.stats.levels import SEEDS

WRONG = 0.05
AT_ONCE = 5_000  # races that are in memory together


def p_values(arms: int, races: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Simulate races of equal arms; return the one-sided p-values at each look from two seeds on, (races, looks) twice.

    The first are those of an arm named beforehand against the leader, the second those of two arms.
    """
    most = max(SEEDS)
    values = rng.standard_normal((races, arms, most))
    sums, squares = values.cumsum(axis=2), (values**2).cumsum(axis=2)
    named, pair = [], []
    for seeds in range(2, most + 1):
        means = sums[:, :, seeds - 1] / seeds
        freedom = arms * (seeds - 1)
        variance = (squares[:, :, seeds - 1] - seeds * means**2).sum(axis=1) / freedom
        error = np.sqrt(2 * variance / seeds)
        named.append(stdtr(freedom, -(means.max(axis=1) - means[:, 0]) / error))
        pair.append(stdtr(freedom, -np.abs(means[:, 0] - means[:, 1]) / error))
    return np.stack(named, axis=1), np.stack(pair, axis=1)


def levels(arms: int, races: int, rng: np.random.Generator) -> tuple[list[float], float]:
    """Return the level for each number of seeds in `SEEDS`, and that of a single look, whenever it is taken."""
    parts = [p_values(arms, AT_ONCE, rng) for _ in range(races // AT_ONCE)]
    looks = [np.concatenate([part[kind] for part in parts]) for kind in range(2)]
    at = np.array(SEEDS) - 2
    lowest = [np.quantile(np.minimum.accumulate(kind, axis=1)[:, at], WRONG, axis=0) for kind in looks]
    single = [np.quantile(kind[:, at], WRONG, axis=0).min() for kind in looks]
    return np.minimum(*lowest).tolist(), min(single)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--races", type=int, default=100_000)
    races, rng = parser.parse_args().races, np.random.default_rng(0)
    for arms in range(2, 13):
        repeated, single = levels(arms, races, rng)
        print(f"    {arms}: ({', '.join(f'{100 * level:.3g}' for level in [*repeated, single])}),", flush=True)


if __name__ == "__main__":
    main()
