"""What single trainings would have shown: how often each arm wins, and what the best of several adds."""

import math
from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np
from scipy.special import comb
from scipy.stats import studentized_range

from normbench.stats import is_constant, sample_of


def superiority(a: Sequence[float], b: Sequence[float]) -> float:
    """How often a run of A beats a run of B, each with a new seed: Mann and Whitney's U / (n m), ties count half."""
    return float((np.sign(np.subtract.outer(sample_of(a), sample_of(b))).mean() + 1) / 2)


def winners(groups: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """How often each arm is best if one takes one run of each: over all combinations, shared firsts split equally.

    As if each arm drew a lot from [0, 1] and the highest of those tied won: the integral over the winner's lot is a
    polynomial's, so Gauss's rule makes it exact. Raises ValueError for an arm without finite values.
    """
    samples = [sample_of(values) for values in groups.values()]
    distinct = np.unique(np.concatenate(samples))[:, None]
    nodes, weights = np.polynomial.legendre.leggauss(len(samples))
    at = [(sample == distinct).mean(axis=1, keepdims=True) for sample in samples]
    behind = [(sample < distinct).mean(axis=1, keepdims=True) + p * (nodes + 1) / 2 for sample, p in zip(samples, at)]
    wins = [at[i] * math.prod(behind[:i] + behind[i + 1 :]) * weights / 2 for i in range(len(samples))]
    return {arm: float(np.sum(of_arm)) for arm, of_arm in zip(groups, wins)}


def orders(groups: Mapping[str, Sequence[float]]) -> dict[tuple[str, ...], float]:
    """How often one run of each arm gives each order from best to worst; ties split equally among those they allow.

    Goes through all combinations and all orders: meant for up to four arms of twenty values.
    Raises ValueError for an arm without finite values.
    """
    taken = np.stack([grid.ravel() for grid in np.meshgrid(*map(sample_of, groups.values()))])
    places = map(list, permutations(range(len(groups))))
    allowed = np.stack([np.all(np.diff(taken[order], axis=0) <= 0, axis=0) for order in places])
    return dict(zip(permutations(groups), (allowed / allowed.sum(axis=0)).mean(axis=1).tolist()))


def best_of(values: Sequence[float], k: int) -> float:
    """Expected maximum of k of the n values, drawn without replacement; ValueError unless 1 <= k <= n."""
    sample = np.sort(sample_of(values))
    if not 1 <= k <= len(sample):
        raise ValueError(f"k is {k}: it must be between 1 and {len(sample)}")
    # The value that has i below it is the best of the choices that take their other k - 1 from these
    return float(sample @ comb(np.arange(len(sample)), k - 1) / comb(len(sample), k))


def chance_of_range(values: Sequence[float], k: int, at_least: float) -> float:
    """How often the best and the worst of k new runs are at least at_least points apart, from values (n,).

    Runs are taken as normal. Their range over the deviation of the values is a studentized range with n - 1 degrees of
    freedom, which allows for the deviation being an estimate. Raises ValueError for k < 2 and fewer than two values.
    """
    sample = sample_of(values, 2)
    if k < 2:
        raise ValueError(f"k is {k}: a range needs two runs or more")
    if at_least <= 0 or is_constant(sample):
        return float(at_least <= 0)
    return float(studentized_range.sf(at_least / sample.std(ddof=1), k, len(sample) - 1))
