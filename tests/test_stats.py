import math

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats import contingency_tables, multitest, weightstats

from normbench import stats

A, B = [99.1, 99.3, 99.2, 99.4, 99.3], [99.0, 99.1, 99.3]


def test_summary_is_student_s_interval():
    found = stats.summary([98.0, 99.0, 99.5])
    # Deviation: sqrt((0.8333² + 0.1667² + 0.6667²) / 2); t with two degrees of freedom is 4.303
    assert (found.n, round(found.mean, 3), round(found.deviation, 3)) == (3, 98.833, 0.764)
    assert (round(found.low, 3), round(found.high, 3)) == (96.936, 100.731)
    expected = scipy.stats.t.interval(0.9, 4, np.mean(A), scipy.stats.sem(A))
    found = stats.summary(A, confidence=0.9)
    assert (found.low, found.high) == pytest.approx(expected)


@pytest.mark.filterwarnings("error")
def test_summary_of_one_value_has_no_interval():
    found = stats.summary([98.0])
    assert (found.n, found.mean) == (1, 98.0)
    assert all(map(math.isnan, (found.deviation, found.low, found.high)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.summary([]),
        lambda: stats.summary([99.0, math.nan]),
        lambda: stats.summary(A, confidence=95),
        lambda: stats.difference(A, [99.0]),
        lambda: stats.difference([99.0, math.inf], B),
        lambda: stats.equivalence([99.0], B, 1),
        lambda: stats.equivalence(A, B, 0),
        lambda: stats.holm([0.5, 1.5]),
        lambda: stats.holm([math.nan]),
        lambda: stats.bootstrap_difference(np.ones((3, 10)), np.ones((3, 9))),
        lambda: stats.bootstrap_difference(np.ones((1, 10)), np.ones((3, 10))),
        lambda: stats.mcnemar(np.ones(3), np.ones(4)),
        lambda: stats.deviation_ratio(A, [99.0, 99.0]),
    ],
)
def test_what_cannot_be_computed_is_a_value_error_of_one_line(call):
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) and "\n" not in str(raised.value)


def test_difference_is_welch_s():
    # Means 2 and 4, variances of the means 1/3 and 4/3: t = -2 / sqrt(5/3), (5/3)² / ((1/9 + 16/9) / 2) = 2.941 degrees
    found = stats.difference([1, 2, 3], [2, 4, 6])
    reach = scipy.stats.t.ppf(0.975, 50 / 17) * math.sqrt(5 / 3)
    assert (found.estimate, found.low, found.high) == pytest.approx((-2, -2 - reach, -2 + reach))
    assert found.p == pytest.approx(2 * scipy.stats.t.cdf(-2 / math.sqrt(5 / 3), 50 / 17))


@pytest.mark.filterwarnings("error")
def test_difference_and_equivalence_of_samples_that_do_not_vary():
    same, other = [98.1] * 3, [98.4] * 4
    assert stats.difference(same, same) == stats.Difference(0, 0, 0, 1)
    apart = stats.difference(same, other)
    assert apart.low == apart.high == apart.estimate == pytest.approx(-0.3) and apart.p == 0
    assert (stats.equivalence(same, other, 0.2), stats.equivalence(same, other, 0.4)) == (1, 0)
    # One that varies has its own Student's t
    one = stats.difference(A, [98.1] * 3)
    assert one.p == pytest.approx(scipy.stats.ttest_1samp(A, 98.1).pvalue)


def test_holm_is_statsmodels():
    p = [0.04, 0.001, 0.03, 0.02, 0.9, 0.03]
    assert stats.holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([]) == []


def test_equivalence_is_statsmodels():
    for margin in (0.05, 0.2, 1):
        expected = weightstats.ttost_ind(np.array(A), np.array(B), -margin, margin, usevar="unequal")[0]
        assert stats.equivalence(A, B, margin) == pytest.approx(expected)


def test_mcnemar_is_statsmodels():
    a, b = np.random.default_rng(0).random((2, 200)) < [[0.9], [0.8]]
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert stats.mcnemar(a, b) == pytest.approx(contingency_tables.mcnemar(table, exact=True).pvalue)
    # Four images, all to A: twice 1/2⁴
    assert stats.mcnemar([1, 1, 1, 1, 0], [0, 0, 0, 0, 0]) == pytest.approx(0.125)
    assert stats.mcnemar(a, a) == 1


def test_the_ratio_of_deviations_is_that_of_the_f_test():
    found = stats.deviation_ratio(A, B)
    assert found.estimate == pytest.approx(np.std(A, ddof=1) / np.std(B, ddof=1))
    # Were it the end of the interval, the test would be exactly at its level
    for end in (found.low, found.high):
        tail = scipy.stats.f(4, 2).sf((found.estimate / end) ** 2)
        assert min(tail, 1 - tail) == pytest.approx(0.025)
    assert stats.deviation_ratio(B, A).p == pytest.approx(found.p)


def test_resampling_a_difference_gives_its_known_error():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 200), rng.normal(0, 2, 300)
    found = stats.resampled(lambda a, b: float(np.mean(a) - np.mean(b)), [a, b])
    error = math.sqrt(a.var() / 200 + b.var() / 300)
    assert found.estimate == pytest.approx(a.mean() - b.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.07)


def test_bootstrap_difference_gives_points_and_repeats():
    rng = np.random.default_rng(0)
    a, b = rng.random((4, 300)) < 0.9, rng.random((3, 300)) < 0.7
    found = stats.bootstrap_difference(a, b)
    assert found.estimate == pytest.approx(100 * (a.mean() - b.mean()))
    assert found == stats.bootstrap_difference(a, b)
    assert found != stats.bootstrap_difference(a, b, seed=1)
    wider = stats.bootstrap_difference(a, b, confidence=0.99)
    assert wider.low < found.low < found.estimate < found.high < wider.high
    mirrored = stats.bootstrap_difference(b, a, resamples=200_000)
    assert (-mirrored.high, -mirrored.low) == pytest.approx((found.low, found.high), abs=0.15)


@pytest.mark.filterwarnings("error")
def test_bootstrap_difference_of_models_without_variance():
    right, wrong = np.ones((2, 5), dtype=bool), np.zeros((3, 5), dtype=bool)
    assert stats.bootstrap_difference(right, wrong) == stats.Interval(100, 100, 100)
    assert stats.bootstrap_difference(right, right) == stats.Interval(0, 0, 0)


def test_an_interval_for_a_mean_covers_it():
    studies = np.random.default_rng(0).normal(99, 0.1, size=(1500, 5))
    covered = np.mean([found.low <= 99 <= found.high for found in map(stats.summary, studies)])
    assert 0.93 <= covered <= 0.97


def test_an_interval_for_a_difference_covers_it_where_deviations_differ():
    rng = np.random.default_rng(0)
    studies = [(rng.normal(99, 0.1, 16), rng.normal(99, 0.4, 8)) for _ in range(1000)]
    found = [stats.difference(a, b) for a, b in studies]
    assert 0.93 <= np.mean([each.low <= 0 <= each.high for each in found]) <= 0.97
    assert 0.03 <= np.mean([each.p < 0.05 for each in found]) <= 0.07


def test_means_at_the_margin_seldom_pass_for_equivalent():
    rng = np.random.default_rng(0)
    studies = [(rng.normal(99.3, 0.1, 16), rng.normal(99, 0.2, 8)) for _ in range(1000)]
    passed = np.mean([stats.equivalence(a, b, margin=0.3) <= 0.05 for a, b in studies])
    # 5 % is what the test allows; 2 % are three standard errors of a thousand studies
    assert 0.03 <= passed <= 0.07


EASE = (8.0, 7.5)  # Logit of each arm's accuracy on the median image: 98.8 % and 98.3 % right over all


def _study(rng: np.random.Generator, seeds: tuple[int, int], images: int, shared: float, own: float, of_seed: float):
    """Two arms on new images with new seeds: logits of being right, and from these the answers, drawn apart."""
    difficulty = rng.normal(0, shared, images)
    for count, ease in zip(seeds, EASE):
        logits = ease + difficulty + rng.normal(0, own, images) + rng.normal(0, of_seed, (count, 1))
        yield rng.random((count, images), dtype=np.float32) < scipy.special.expit(logits, dtype=np.float32)


def _expected(ease: float, deviation: float) -> float:
    """Accuracy in % over all images and seeds: their logits are normal."""
    at = np.linspace(-8, 8, 2001)
    weights = scipy.stats.norm.pdf(at)
    return 100 * weights @ scipy.special.expit(ease + deviation * at) / weights.sum()


@pytest.mark.parametrize(
    "seeds, images, shared, own, of_seed",
    [
        ((16, 16), 800, 3, 1, 0.15),
        ((5, 5), 1000, 3, 1, 0.15),
        ((5, 5), 500, 3, 0.5, 0.6),  # the seed decides
        ((16, 5), 500, 3, 0, 0.15),  # what is hard is hard for both: beside the seed there is only the interaction
    ],
)
def test_a_bootstrap_interval_covers_what_new_seeds_on_new_images_give(seeds, images, shared, own, of_seed):
    deviation = math.hypot(shared, own, of_seed)
    truth = _expected(EASE[0], deviation) - _expected(EASE[1], deviation)
    rng = np.random.default_rng(0)
    studies = (_study(rng, seeds, images, shared, own, of_seed) for _ in range(1000))
    found = [stats.bootstrap_difference(a, b, resamples=400) for a, b in studies]
    assert 0.93 <= np.mean([each.low <= truth <= each.high for each in found]) <= 0.97
