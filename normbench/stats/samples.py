"""Samples become intervals, tests and chances; accuracies and their differences are in points, that is in %."""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import comb

MOST_SEEDS = 10_000  # per arm: what needs more of them is left open


@dataclass(frozen=True)
class Summary:
    """A sample of n values: mean, standard deviation (n - 1) and the ends of the interval for the mean."""

    n: int
    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """How two arms compare: an estimate, the ends of its interval, and the two-sided p-value of 'they are equal'."""

    p: float


def summary(values: ArrayLike, confidence: float = 0.95) -> Summary:
    """Return the mean of the values (n,) with Student's t interval; of one value deviation, low and high are nan.

    Raises ValueError for no values, values that are not finite and a confidence outside (0, 1).
    """
    sample, tail = sample_of(values), _tail(confidence)
    n, mean = len(sample), float(sample.mean())
    deviation = float(sample.std(ddof=1)) if n > 1 else math.nan
    half = float(stats.t.isf(tail, n - 1)) * deviation / math.sqrt(n)
    return Summary(n, mean, deviation, mean - half, mean + half)


def difference(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Difference:
    """Return mean(a) - mean(b) with interval and p-value: Welch's t-test (1947).

    Values are (n,) and (m,) of independent runs. Runs that share a seed count as independent, too: what two arms make
    of one seed has hardly anything in common. Where nothing varies, the interval is the estimate, and p is 1 for equal
    means, else 0.
    Raises ValueError for fewer than two values in a sample, values that are not finite and a confidence outside (0, 1).
    """
    first, second = sample_of(a, 2), sample_of(b, 2)
    return _student(float(first.mean() - second.mean()), [_of_mean(first), _of_mean(second)], confidence)


def accuracy_contrast(
    arms: Sequence[np.ndarray], weights: Sequence[float] = (1, -1), confidence: float = 0.95
) -> Difference:
    """Return a weighted sum of the arms' expected accuracies in points, for new seeds and new test images.

    With the weights 1 and -1 it is a difference; with (1, -1, -1, 1) how much larger one difference is than another.
    Each arm is bool (seeds, images): whether each trained network is right on each test image, the same in all arms.

    The variance of the estimate is that of each arm's seeds plus that of the images. A seed's part holds the
    interaction, what it happens to do to an image, which is therefore taken out of the images' part: counted in both,
    it would widen the interval (Owen 2007, The pigeonhole bootstrap). Interval and p-value are Student's t with
    Satterthwaite's degrees of freedom (1946). Where nothing varies, the interval is the estimate, and p is 1 for equal
    accuracies, else 0.

    No arm's seeds count as varying less than they must: if all networks of an arm were equally good and each image were
    right or wrong by a chance of its own, accuracies would still vary by the interaction (Jordan 2023,
    arXiv:2304.01910). A smaller variance over a few seeds is luck.

    Raises ValueError for fewer than two seeds or images, different images and a confidence outside (0, 1).
    """
    samples = _weighted(arms, weights)
    return _student(_estimate(samples), _variances(samples), confidence)


def seeds_to_exclude(
    arms: Sequence[np.ndarray],
    distance: float,
    weights: Sequence[float] = (1, -1),
    confidence: float = 0.95,
    power: float = 0.8,
) -> int | None:
    """Return how many seeds per arm let the interval of `accuracy_contrast` exclude a value so far from the truth.

    So many find a difference of `distance` points, or show that there is none of that size, with this power. None,
    where `MOST_SEEDS` are too few: they say nothing about other test images. Raises ValueError as `accuracy_contrast`,
    and for a distance that is not above 0.
    """
    if not distance > 0:
        raise ValueError(f"the distance is {distance}: it must be above 0")
    return _seeds_for(_variances(_weighted(arms, weights)), distance, confidence, power)


def chance_deviation(correct: np.ndarray) -> float:
    """Return the deviation over seeds, in points, that networks of one accuracy have by the chance of the test images.

    From bool (seeds, images), as if each image were right or wrong by a chance of its own (Jordan 2023,
    arXiv:2304.01910). Raises ValueError for fewer than two seeds or images.
    """
    (sample,) = _weighted([correct], [1])
    return math.sqrt(max(0.0, _interaction(sample)) / sample.shape[1])


def excess_deviation(correct: np.ndarray, confidence: float = 0.95) -> Interval:
    """Return by how much trained networks differ in points of accuracy, beyond what test images chance to do.

    From bool (seeds, images). The variance over seeds less that which networks of one accuracy have, if each image is
    right or wrong by a chance of its own (Jordan 2023, arXiv:2304.01910): as a standard deviation, 0 where nothing is
    left. The interval is that of the variance over seeds. Raises ValueError for fewer than two seeds or images, and for
    a confidence outside (0, 1).
    """
    (sample,) = _weighted([correct], [1])
    tail, freedom = _tail(confidence), len(sample) - 1
    by_chance = chance_deviation(correct) ** 2
    seen = float(sample.mean(axis=1).var(ddof=1))
    variances = seen, seen * freedom / stats.chi2.isf(tail, freedom), seen * freedom / stats.chi2.ppf(tail, freedom)
    return Interval(*(math.sqrt(max(0.0, variance - by_chance)) for variance in variances))


def _seeds_for(variances: Sequence[tuple[float, int]], distance: float, confidence: float, power: float) -> int | None:
    """The seeds per arm whose interval excludes what lies so far away; the last variance, that of images, stays."""
    *of_seeds, of_images = variances
    tail, candidates = _tail(confidence), range(2, MOST_SEEDS + 1)

    def found(n: int) -> float:
        variances = [(variance * (freedom + 1) / n, n - 1) for variance, freedom in of_seeds]
        error, freedom = _error([*variances, of_images])
        return float(stats.nct.sf(stats.t.isf(tail, freedom), freedom, distance / error)) if error else 1.0

    index = bisect_left(candidates, power, key=found)
    return candidates[index] if index < len(candidates) else None


def _in_points(scores: np.ndarray) -> np.ndarray:
    """Return what each example adds to a score: 100 or 0 for right or wrong, and scores of another kind as they are."""
    scores = np.asarray(scores)
    return 100.0 * scores if scores.dtype == bool else scores.astype(float)


def _weighted(arms: Sequence[np.ndarray], weights: Sequence[float]) -> list[np.ndarray]:
    """Return each arm's scores (seeds, images), in points where they are accuracies, times its weight."""
    samples = [_in_points(arm) for arm in arms]
    shapes = [sample.shape for sample in samples]
    if any(len(shape) != 2 or min(shape) < 2 for shape in shapes) or len({shape[1] for shape in shapes}) != 1:
        raise ValueError(f"needs (seeds, images), two or more of each and the same images: got {shapes}")
    return [weight * sample for weight, sample in zip(weights, samples, strict=True)]


def _estimate(samples: Sequence[np.ndarray]) -> float:
    """The sum of the means of scores (seeds, images)."""
    return float(np.mean(sum(sample.mean(axis=0) for sample in samples)))


def _variances(samples: Sequence[np.ndarray]) -> list[tuple[float, int]]:
    """The parts of the variance of a sum of means of scores (seeds, images): of each sample's seeds, then of images."""
    of_images, degrees = _of_mean(sum(sample.mean(axis=0) for sample in samples))
    interactions = [_interaction(sample) / sample.size for sample in samples]
    of_seeds = [_of_mean(sample.mean(axis=1)) for sample in samples]
    floored = [(max(seen, least), freedom) for (seen, freedom), least in zip(of_seeds, interactions)]
    return [*floored, (max(0.0, of_images - sum(interactions)), degrees)]


def _interaction(scores: np.ndarray) -> float:
    """Variance that seed and image have together: the residual mean square of the two-way layout (seeds, images)."""
    images = scores.shape[1]
    return float(scores.var(axis=0, ddof=1).mean() - scores.mean(axis=1).var(ddof=1)) * images / (images - 1)


def _of_mean(sample: np.ndarray) -> tuple[float, int]:
    """Variance of the mean of a sample (n,), exactly 0 where the sample does not vary, and its degrees of freedom."""
    variance = 0.0 if is_constant(sample) else float(sample.var(ddof=1)) / len(sample)
    return variance, len(sample) - 1


def _student(estimate: float, variances: Sequence[tuple[float, int]], confidence: float) -> Difference:
    """Student's t of an estimate whose variance is a sum of estimated variances, each with its degrees of freedom.

    The sum's degrees of freedom are Satterthwaite's (1946).
    """
    tail, (error, freedom) = _tail(confidence), _error(variances)
    if error == 0:
        return Difference(estimate, estimate, estimate, float(estimate == 0))
    half = float(stats.t.isf(tail, freedom)) * error
    return Difference(estimate, estimate - half, estimate + half, 2 * float(stats.t.sf(abs(estimate) / error, freedom)))


def _error(variances: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """The root of a sum of estimated variances, each with its degrees of freedom, and the sum's own (Satterthwaite)."""
    total = sum(variance for variance, _ in variances)
    parts = sum(variance**2 / freedom for variance, freedom in variances)
    return math.sqrt(total), total**2 / parts if total else math.inf


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> float:
    """Return the exact two-sided p-value of McNemar's test (1947), from bool (images,) twice; 1 if they never disagree.

    It compares two trained networks, not two methods: it knows nothing of what another seed would give.
    Raises ValueError unless both are one-dimensional and of one length.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"needs (images,) twice: got {a.shape} and {b.shape}")
    discordant = int((a ^ b).sum())
    return float(stats.binomtest(int((a & ~b).sum()), discordant).pvalue) if discordant else 1.0


def resampled(statistic: Callable[..., float], samples: Sequence[ArrayLike]) -> Interval:
    """Return a statistic of several samples, with its 95 % percentile interval if each is resampled (Efron 1979).

    `statistic` takes the samples, (n,) each, as arguments. The same samples give the same interval.
    Raises ValueError for fewer than two values in a sample and values that are not finite.
    """
    arrays = [sample_of(values, 2) for values in samples]
    test = stats.bootstrap(
        arrays,
        statistic,
        n_resamples=2000,
        vectorized=False,
        method="percentile",
        rng=0,
    )
    return Interval(float(statistic(*arrays)), *map(float, test.confidence_interval))


def superiority(a: ArrayLike, b: ArrayLike) -> float:
    """Return how often a run of A beats a run of B, with new seeds: Mann and Whitney's U / (n m), ties count half.

    Values are (n,) and (m,). Raises ValueError for no values and values that are not finite.
    """
    return float((np.sign(np.subtract.outer(sample_of(a), sample_of(b))).mean() + 1) / 2)


def winners(groups: Mapping[str, ArrayLike]) -> dict[str, float]:
    """Return how often each arm is best if one takes a run of each: over all combinations, shared firsts are split.

    As if each arm drew a lot from [0, 1] and the highest of those tied won: the integral over the winner's lot is a
    polynomial's, so Gauss's rule makes it exact. Raises ValueError for an arm without finite values.
    """
    samples = [sample_of(values) for values in groups.values()]
    distinct = np.unique(np.concatenate(samples))[:, None]
    nodes, weights = np.polynomial.legendre.leggauss(len(samples))
    at = [(sample == distinct).mean(axis=1, keepdims=True) for sample in samples]
    behind = [(sample < distinct).mean(axis=1, keepdims=True) + p * (nodes + 1) / 2 for sample, p in zip(samples, at)]
    wins = [at[i] * math.prod(behind[:i] + behind[i + 1 :]) * weights / 2 for i in range(len(samples))]
    return {arm: float(shares.sum()) for arm, shares in zip(groups, wins)}


def best_of(values: ArrayLike, k: int) -> float:
    """Return the expected maximum of k of the n values, drawn without replacement; ValueError unless 1 <= k <= n."""
    sample = np.sort(sample_of(values))
    if not 1 <= k <= len(sample):
        raise ValueError(f"k is {k}: it must be between 1 and {len(sample)}")
    # The value that has i below it is the best of the choices that take their other k - 1 from these
    return float(sample @ comb(np.arange(len(sample)), k - 1) / comb(len(sample), k))


def chance_of_range(values: ArrayLike, k: int, at_least: float) -> float:
    """Return how often the best and the worst of k new runs are at least at_least points apart, from values (n,).

    Runs are taken as normal. Their range over the deviation of the values is a studentized range with n - 1 degrees of
    freedom, which allows for the deviation being an estimate. Raises ValueError for k < 2 and fewer than two values.
    """
    sample = sample_of(values, 2)
    if k < 2:
        raise ValueError(f"k is {k}: a range needs two runs or more")
    if at_least <= 0 or is_constant(sample):
        return float(at_least <= 0)
    return float(stats.studentized_range.sf(at_least / sample.std(ddof=1), k, len(sample) - 1))


def sample_of(values: ArrayLike, at_least: int = 1) -> np.ndarray:
    """Return the values as an array (n,); raises ValueError for fewer than `at_least`, and where one is not finite."""
    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or len(sample) < at_least or not np.isfinite(sample).all():
        raise ValueError(f"a sample has {at_least} or more values, all finite: got {sample.tolist()}")
    return sample


def is_constant(sample: np.ndarray) -> bool:
    """Tell whether all values are the same."""
    return bool(np.ptp(sample) == 0)  # The variance of equal values may come out above 0, by rounding


def _tail(confidence: float) -> float:
    """Return the probability beyond each end of an interval."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: it must be between 0 and 1")
    return (1 - confidence) / 2
