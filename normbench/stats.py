"""What samples of runs say about methods; accuracies and their differences are in points, that is in %."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Summary:
    """A sample of n values: mean, standard deviation (n - 1) and the interval for the mean."""

    n: int
    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its interval, in points."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """An interval for a difference of means, and the two-sided p-value of 'the means are equal'."""

    p: float


def summary(values: Sequence[float], confidence: float = 0.95) -> Summary:
    """Mean of the values (n,) with Student's t interval; of one value deviation, low and high are nan.

    Raises ValueError for no values, values that are not finite and a confidence outside (0, 1).
    """
    sample = sample_of(values)
    deviation = float(sample.std(ddof=1)) if len(sample) > 1 else math.nan
    half = _t_quantile(confidence, len(sample) - 1) * deviation / math.sqrt(len(sample))
    mean = float(sample.mean())
    return Summary(len(sample), mean, deviation, mean - half, mean + half)


def difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Difference:
    """mean(a) - mean(b) by Welch's t-test (1947), from values (n,) and (m,) of independent runs.

    If neither sample varies, the interval is the estimate and p is 1 for equal means, else 0.
    Raises ValueError for fewer than two values in a sample, values that are not finite and a confidence outside (0, 1).
    """
    first, second = sample_of(a, 2), sample_of(b, 2)
    estimate = float(first.mean() - second.mean())
    if is_constant(first) and is_constant(second):
        return Difference(estimate, estimate, estimate, float(first[0] == second[0]))
    test = _welch(first, second)
    return Difference(estimate, *map(float, test.confidence_interval(confidence)), float(test.pvalue))


def equivalence(a: Sequence[float], b: Sequence[float], margin: float) -> float:
    """p-value of 'the means differ by at least margin': if it is small, they are closer than margin points.

    Two one-sided tests (Schuirmann 1987) with Welch's t, from values (n,) and (m,) of independent runs. Raises
    ValueError for a margin that is not above 0, fewer than two values in a sample and values that are not finite.
    """
    return max(not_above(a, b, margin), not_above(b, a, margin))


def not_above(a: Sequence[float], b: Sequence[float], margin: float) -> float:
    """p-value of 'mean(a) is at least margin above mean(b)', by Welch's t: if it is small, a is not above by so much.

    Raises ValueError as `equivalence` does, of which this is one side.
    """
    first, second = sample_of(a, 2), sample_of(b, 2)
    if not margin > 0:
        raise ValueError(f"margin is {margin}: it must be above 0")
    if is_constant(first) and is_constant(second):
        return float(first[0] - second[0] >= margin)
    return float(_welch(first - margin, second, "less").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of Holm's step-down procedure (1979), in the order given; ValueError outside [0, 1]."""
    p = np.asarray(p_values, dtype=float)
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"p-values lie between 0 and 1: got {p.tolist()}")
    order, adjusted = np.argsort(p), np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1).tolist()


def bootstrap_difference(
    a: np.ndarray, b: np.ndarray, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Expected accuracy of A minus that of B, in points, for new seeds and new test images.

    a and b are bool (seeds, images): whether a trained model got a test image right; the images are the same in both.
    Images and the seeds of each arm are resampled apart and their deviations added. To resample both at once (the
    pigeonhole bootstrap, Owen 2007) counts the interaction of seed and image up to three times; here the seeds' part
    alone holds it, and the images' part is shrunk by it. The percentiles are widened for few seeds (Hesterberg 2015)
    by Student's t, with Satterthwaite's degrees of freedom (1946) over the three parts.

    Raises ValueError for fewer than two seeds or images, unequal images and a confidence outside (0, 1).
    """
    a, b = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(*a.shape, *b.shape) < 2:
        raise ValueError(f"needs (seeds, images), two seeds or more and the same images: got {a.shape} and {b.shape}")
    # Whole numbers until the division: equal differences stay equal, and few distinct values are quick to draw from
    by_image = (a.sum(axis=0) * len(b) - b.sum(axis=0) * len(a)) / (len(a) * len(b))
    noise, total = _interaction(a) / len(a) + _interaction(b) / len(b), by_image.var(ddof=1)
    centre, shrink = by_image.mean(), math.sqrt(max(0.0, 1 - noise / total)) if total else 0.0
    samples = a.mean(axis=1), -b.mean(axis=1), centre + shrink * (by_image - centre)
    parts = np.array([sample.var(ddof=1) / len(sample) for sample in samples])
    freedom = parts.sum() ** 2 / (parts**2 / [len(sample) - 1 for sample in samples]).sum() if parts.any() else math.inf
    widen = _t_quantile(confidence, freedom) / _t_quantile(confidence, math.inf)
    rng = np.random.default_rng(seed)
    deviations = sum(_resampled_deviations(sample, resamples, rng) for sample in samples)
    # Of few resamples, NumPy's default quantiles lie too far inside
    ends = np.quantile(deviations, [(1 - confidence) / 2, (1 + confidence) / 2], method="weibull")
    low, high = 100 * (centre + widen * ends)
    return Interval(100 * float(centre), float(low), float(high))


def _interaction(right: np.ndarray) -> float:
    """Variance that seed and image have together: the residual mean square of the two-way layout (seeds, images)."""
    images = right.shape[1]
    return float(right.var(axis=0, ddof=1).mean() - right.mean(axis=1).var(ddof=1)) * images / (images - 1)


def _resampled_deviations(sample: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """(resamples,) means drawn from the sample less its mean, their variance that of a mean (n - 1, not n)."""
    n, (distinct, counts) = len(sample), np.unique(sample, return_counts=True)
    return rng.multinomial(n, counts / n, size=resamples) @ (distinct - sample.mean()) / math.sqrt(n * (n - 1))


def resampled(
    statistic: Callable[..., float], samples: Sequence[Sequence[float]], confidence: float = 0.95, resamples: int = 2000
) -> Interval:
    """A statistic of several samples, with the percentile interval of resampling each (the bootstrap, Efron 1979)."""
    test = stats.bootstrap(
        [sample_of(values, 2) for values in samples],
        statistic,
        confidence_level=confidence,
        n_resamples=resamples,
        vectorized=False,
        method="percentile",
        rng=0,
    )
    return Interval(float(statistic(*samples)), *map(float, test.confidence_interval))


def deviation_ratio(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Difference:
    """Standard deviation of A over that of B, with the interval and the two-sided p-value of the F-test of equality.

    Both samples are taken as normal. Raises ValueError for fewer than two values, and where one does not vary.
    """
    first, second = sample_of(a, 2), sample_of(b, 2)
    if is_constant(first) or is_constant(second):
        raise ValueError("a sample without variation has no ratio of deviations")
    ratio, law = first.var(ddof=1) / second.var(ddof=1), stats.f(len(first) - 1, len(second) - 1)
    low, high = (math.sqrt(ratio / law.ppf(part)) for part in ((1 + confidence) / 2, (1 - confidence) / 2))
    return Difference(math.sqrt(ratio), low, high, float(2 * min(law.sf(ratio), law.cdf(ratio))))


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> float:
    """Exact two-sided p-value of McNemar's test (1947), from bool (images,) and (images,); 1 if they never disagree.

    It compares two trained networks, not two methods: it knows nothing of what another seed would give.
    Raises ValueError unless both are one-dimensional and of one length.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"needs (images,) twice: got {a.shape} and {b.shape}")
    discordant = int((a ^ b).sum())
    return float(stats.binomtest(int((a & ~b).sum()), discordant).pvalue) if discordant else 1.0


def sample_of(values: Sequence[float], at_least: int = 1) -> np.ndarray:
    """The values as an array (n,); raises ValueError for fewer than `at_least`, and where one is not finite."""
    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or len(sample) < at_least or not np.isfinite(sample).all():
        raise ValueError(f"a sample has {at_least} or more values, all finite: got {sample.tolist()}")
    return sample


def is_constant(sample: np.ndarray) -> bool:
    """Whether all values are the same."""
    return bool(np.ptp(sample) == 0)  # The variance of equal values may come out above 0, by rounding


def _t_quantile(confidence: float, freedom: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: it must be between 0 and 1")
    return float(stats.t.ppf((1 + confidence) / 2, freedom))


def _welch(a: np.ndarray, b: np.ndarray, alternative: str = "two-sided"):
    with warnings.catch_warnings():
        # SciPy warns where one sample is constant, as the accuracy of diverged runs may be; Welch's t stands there
        warnings.simplefilter("ignore", RuntimeWarning)
        return stats.ttest_ind(a, b, equal_var=False, alternative=alternative)
