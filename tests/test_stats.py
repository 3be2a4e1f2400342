import itertools
import math
from collections import Counter

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats import contingency_tables
from statsmodels.stats.power import TTestIndPower

from normbench import stats

A, B = [99.1, 99.3, 99.2, 99.4, 99.3], [99.0, 99.1, 99.3]


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.summary([]),
        lambda: stats.summary([99.0, math.nan]),
        lambda: stats.summary(A, confidence=95),
        lambda: stats.difference(A, [99.0]),
        lambda: stats.difference([99.0, math.inf], B),
        lambda: stats.difference(A, B, confidence=1.0),
        lambda: stats.accuracy_contrast([np.ones((3, 10)), np.ones((3, 9))]),
        lambda: stats.accuracy_contrast([np.ones((1, 10)), np.ones((3, 10))]),
        lambda: stats.accuracy_contrast([np.ones((3, 10))] * 3),
        lambda: stats.accuracy_contrast([np.ones((3, 10)), np.ones((4, 10))], confidence=95),
        lambda: stats.excess_deviation(np.ones((1, 10))),
        lambda: stats.mcnemar(np.ones(3), np.ones(4)),
        lambda: stats.resampled(np.mean, [[1.0]]),
        lambda: stats.superiority(A, []),
        lambda: stats.winners({"BN": A, "LN": []}),
        lambda: stats.best_of(A, 0),
        lambda: stats.best_of(A, 6),
        lambda: stats.chance_of_range(A, 1, 0.1),
        lambda: stats.chance_of_range([99.0], 2, 0.1),
    ],
)
def test_what_cannot_be_computed_is_a_value_error_of_one_line(call):
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) and "\n" not in str(raised.value)


def test_summary_is_student_s_interval():
    result = stats.summary([98.0, 99.0, 99.5])
    # Deviation: sqrt((0.8333² + 0.1667² + 0.6667²) / 2); t with two degrees of freedom is 4.303
    assert (result.n, round(result.mean, 3), round(result.deviation, 3)) == (3, 98.833, 0.764)
    assert (round(result.low, 3), round(result.high, 3)) == (96.936, 100.731)
    expected = scipy.stats.t.interval(0.9, 4, np.mean(A), scipy.stats.sem(A))
    result = stats.summary(A, confidence=0.9)
    assert (result.low, result.high) == pytest.approx(expected)


@pytest.mark.filterwarnings("error")
def test_summary_of_one_value_has_no_interval():
    result = stats.summary([98.0])
    assert (result.n, result.mean) == (1, 98.0)
    assert all(map(math.isnan, (result.deviation, result.low, result.high)))


@pytest.mark.parametrize("confidence", (0.8, 0.95))
def test_difference_is_scipy_s_t_test(confidence):
    result, expected = stats.difference(A, B, confidence), scipy.stats.ttest_ind(A, B, equal_var=False)
    assert result.p == pytest.approx(expected.pvalue)
    assert (result.low, result.high) == pytest.approx(tuple(expected.confidence_interval(confidence)))


def test_difference_by_hand():
    # Means 2 and 4, variances of the means 1/3 and 4/3: t = -2 / sqrt(5/3), (5/3)² / ((1/9 + 16/9) / 2) = 2.941 degrees
    result = stats.difference([1, 2, 3], [2, 4, 6])
    reach = scipy.stats.t.ppf(0.975, 50 / 17) * math.sqrt(5 / 3)
    assert (result.estimate, result.low, result.high) == pytest.approx((-2, -2 - reach, -2 + reach))


@pytest.mark.filterwarnings("error")
def test_difference_of_samples_that_do_not_vary():
    same, other = [98.1] * 3, [98.4] * 3
    assert stats.difference(same, same) == stats.Difference(0, 0, 0, 1)
    apart = stats.difference(same, other)
    assert apart.low == apart.high == apart.estimate == pytest.approx(-0.3) and apart.p == 0
    # One that varies has its own Student's t
    assert stats.difference(A, same).p == pytest.approx(scipy.stats.ttest_1samp(A, 98.1).pvalue)


@pytest.fixture(scope="module")
def right():
    """Of two arms and five seeds each, which of 400 images are right: some images are harder, and some seeds better."""
    rng = np.random.default_rng(0)
    difficulty, luck = rng.normal(0, 2, 400), rng.normal(0, 0.5, (5, 1))
    return [rng.random((5, 400)) < scipy.special.expit(ease + difficulty + luck) for ease in (2.5, 2.0)]


def test_a_contrast_adds_the_variances_of_seeds_and_of_images_without_interaction(right):
    a, b = (100.0 * arm for arm in right)
    variances = []
    by_image = a.mean(axis=0) - b.mean(axis=0)
    of_images = by_image.var(ddof=1) / 400
    for scores in (a, b):
        of_seed, of_image = scores.mean(axis=1, keepdims=True), scores.mean(axis=0)
        residual = scores - of_seed - of_image + scores.mean()
        of_images -= (residual**2).sum() / (4 * 399) / 5 / 400
        variances.append((of_seed.var(ddof=1) / 5, 4))
    variances.append((of_images, 399))
    total = sum(variance for variance, _ in variances)
    law = scipy.stats.t(total**2 / sum(variance**2 / degrees for variance, degrees in variances))
    result, estimate = stats.accuracy_contrast(right, confidence=0.9), a.mean() - b.mean()
    reach = law.ppf(0.95) * math.sqrt(total)
    assert of_images > 0
    assert (result.estimate, result.low, result.high) == pytest.approx((estimate, estimate - reach, estimate + reach))
    assert result.p == pytest.approx(2 * law.cdf(-estimate / math.sqrt(total)))


def test_a_contrast_knows_neither_order_nor_side(right):
    a, b = right
    rng = np.random.default_rng(1)
    images, seeds = rng.permutation(400), rng.permutation(5)
    result = stats.accuracy_contrast([a, b])
    assert vars(stats.accuracy_contrast([a[seeds][:, images], b[:, images]])) == pytest.approx(vars(result))
    mirrored = stats.accuracy_contrast([b, a])
    assert (-mirrored.high, -mirrored.estimate, -mirrored.low, mirrored.p) == pytest.approx(
        (result.low, result.estimate, result.high, result.p)
    )


def test_the_interval_ends_at_0_where_the_confidence_is_1_minus_p(right):
    p = stats.accuracy_contrast(right).p
    result = stats.accuracy_contrast(right, confidence=1 - p)
    assert 0.0001 < p < 0.5 and min(abs(result.low), abs(result.high)) == pytest.approx(0, abs=1e-9)


def test_on_very_many_images_the_interval_is_that_over_seeds():
    rng = np.random.default_rng(0)
    arms = [rng.random((5, 100_000)) < rate for rate in rng.normal(0.9, 0.01, (2, 5, 1))]
    over_seeds = stats.difference(*(100 * arm.mean(axis=1) for arm in arms))
    assert vars(stats.accuracy_contrast(arms)) == pytest.approx(vars(over_seeds), rel=0.01)


@pytest.mark.filterwarnings("error")
def test_a_contrast_of_networks_that_do_not_vary():
    right, wrong = np.ones((3, 7), dtype=bool), np.zeros((3, 7), dtype=bool)
    assert stats.accuracy_contrast([right, wrong]) == stats.Difference(100, 100, 100, 0)
    assert stats.accuracy_contrast([right, right]) == stats.Difference(0, 0, 0, 1)
    # Seeds alike, images not: the t-test over images
    few = np.tile(np.arange(7) < 3, (3, 1))
    expected = scipy.stats.ttest_1samp(100 * few[0], 0)
    assert stats.accuracy_contrast([few, wrong]).p == pytest.approx(expected.pvalue)


EASE = (8.0, 7.5)  # Logit of each arm's accuracy on the median image: 98.8 % and 98.3 % right over all


def study(rng, seeds, images, shared, own, of_seed):
    """Two arms on new images with new seeds: logits of being right, and from these the answers, drawn apart.

    The deviations are those of an image's difficulty for both arms and for one, and of a seed.
    """
    difficulty = rng.normal(0, shared, images)
    for count, ease in zip(seeds, EASE):
        logits = ease + difficulty + rng.normal(0, own, images) + rng.normal(0, of_seed, (count, 1))
        yield rng.random((count, images), dtype=np.float32) < scipy.special.expit(logits, dtype=np.float32)


def expected_accuracy(ease, deviation):
    """Accuracy in % over all images and seeds: their logits are normal."""
    at = np.linspace(-8, 8, 2001)
    weights = scipy.stats.norm.pdf(at)
    return 100 * weights @ scipy.special.expit(ease + deviation * at) / weights.sum()


@pytest.mark.parametrize(
    "seeds, images, shared, own, of_seed",
    [
        ((16, 16), 500, 3, 1, 0.15),
        ((3, 3), 1000, 3, 1, 0.15),
        ((5, 5), 500, 3, 0.5, 0.6),  # the seed decides
        ((16, 5), 500, 3, 0, 0.15),  # what is hard is hard for both: beside the seed, only the interaction
    ],
)
def test_a_contrast_covers_what_new_seeds_on_new_images_give(seeds, images, shared, own, of_seed):
    deviation = math.hypot(shared, own, of_seed)
    truth = expected_accuracy(EASE[0], deviation) - expected_accuracy(EASE[1], deviation)
    rng = np.random.default_rng(0)
    studies = (list(study(rng, seeds, images, shared, own, of_seed)) for _ in range(1000))
    covered = np.mean([interval.low <= truth <= interval.high for interval in map(stats.accuracy_contrast, studies)])
    # 2 % are three standard errors of a thousand studies; the floor of few seeds makes intervals wider
    assert 0.93 <= covered <= 0.99


def test_a_contrast_is_linear(right):
    a, b = right
    assert stats.accuracy_contrast([a, b, a, b], (1, -1, -1, 1)).estimate == pytest.approx(0)
    once, twice = stats.accuracy_contrast(right), stats.accuracy_contrast(right, (2, -2))
    assert (twice.estimate, twice.low, twice.high, twice.p) == pytest.approx(
        (2 * once.estimate, 2 * once.low, 2 * once.high, once.p)
    )


def test_seeds_never_vary_less_than_chance_lets_them():
    """Five networks right on 90 of 100 images, each on others: the same accuracy, by luck."""
    lucky = np.array([np.roll(np.arange(100) >= 10, 20 * seed) for seed in range(5)])
    wrong = np.zeros((5, 100), dtype=bool)
    # Each image has its own chance: the variance over seeds of an image, 100² · 0.2 · 0.8 · 5/4 for half of the images
    by_chance = 100**2 * 0.2 * 0.8 * 5 / 4 / 2 / 100 * 100 / 99
    floored = stats.accuracy_contrast([lucky, wrong])
    of_images = (100 * lucky.mean(axis=0)).var(ddof=1) / 100 - by_chance / 5
    assert of_images < 0, "all of it is the interaction's"
    reach = scipy.stats.t.ppf(0.975, 4) * math.sqrt(by_chance / 5)
    assert floored.estimate == 90 and floored.high - 90 == pytest.approx(reach)


def test_a_difference_of_differences_covers_the_truth_with_few_seeds():
    rng = np.random.default_rng(0)
    truth, found = 0.0, []
    for _ in range(500):
        arms = [arm for _ in range(2) for arm in study(rng, (4, 4), 500, 3, 0, 0.1)]
        found.append(stats.accuracy_contrast(arms, (1, -1, -1, 1)))
    assert 0.94 <= np.mean([interval.low <= truth <= interval.high for interval in found]) <= 0.99


def test_the_excess_is_what_seeds_add_to_the_chance_of_images():
    rng = np.random.default_rng(0)
    chance = scipy.special.expit(rng.normal(2, 2, 5000))
    alike = stats.excess_deviation(rng.random((200, 5000)) < chance)
    assert alike.low == 0 and alike.high < 0.3, "seeds and chance alone have about the same deviation, 0.4 points"
    unlike = np.array([rng.random(5000) < chance - luck for luck in rng.normal(0.02, 0.01, 200)])
    assert stats.excess_deviation(unlike).low < 1.0 < stats.excess_deviation(unlike).high
    few, many = (stats.excess_deviation(unlike[:n]) for n in (5, 100))
    assert many.high - many.low < few.high - few.low
    expected = 100 * math.sqrt((chance * (1 - chance)).mean() / 5000)
    assert stats.chance_deviation(unlike) == pytest.approx(expected, rel=0.05)


def test_an_interval_for_a_mean_covers_it():
    studies = np.random.default_rng(0).normal(99, 0.1, size=(1000, 5))
    assert 0.93 <= np.mean([result.low <= 99 <= result.high for result in map(stats.summary, studies)]) <= 0.97


def test_an_interval_for_a_difference_covers_it_where_deviations_differ():
    rng = np.random.default_rng(0)
    results = [stats.difference(rng.normal(99, 0.1, 16), rng.normal(99, 0.4, 8)) for _ in range(1000)]
    assert 0.93 <= np.mean([result.low <= 0 <= result.high for result in results]) <= 0.97


def test_mcnemar_is_statsmodels():
    a, b = np.random.default_rng(0).random((2, 200)) < [[0.9], [0.8]]
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert stats.mcnemar(a, b) == pytest.approx(contingency_tables.mcnemar(table, exact=True).pvalue)
    # Four images, all to A: twice 1/2⁴
    assert stats.mcnemar([1, 1, 1, 1, 0], [0, 0, 0, 0, 0]) == pytest.approx(0.125)
    assert stats.mcnemar(a, a) == 1


def test_resampling_a_difference_gives_its_known_error():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 200), rng.normal(0, 2, 300)
    result = stats.resampled(lambda a, b: float(np.mean(a) - np.mean(b)), [a, b])
    error = math.sqrt(a.var() / 200 + b.var() / 300)
    assert result.estimate == pytest.approx(a.mean() - b.mean())
    assert (result.high - result.low) / 2 == pytest.approx(1.96 * error, rel=0.07)


# Runs that agree to the last digit, as accuracies do
TIED = {"BN": [3, 1, 2, 2, 5], "GN": [2, 2, 4], "LN": [1, 5, 2, 3], "IN": [2, 4]}


def test_superiority_is_mann_and_whitney_s():
    a, b = TIED["BN"], TIED["LN"]
    by_hand = np.mean([(x > y) + (x == y) / 2 for x in a for y in b])
    assert stats.superiority(a, b) == pytest.approx(by_hand)
    assert stats.superiority(a, b) == pytest.approx(scipy.stats.mannwhitneyu(a, b).statistic / len(a) / len(b))


def test_winners_are_those_of_all_combinations():
    won = Counter()
    combinations = list(itertools.product(*TIED.values()))
    for values in combinations:
        first = [arm for arm, value in zip(TIED, values) if value == max(values)]
        won.update(dict.fromkeys(first, 1 / len(first) / len(combinations)))
    assert stats.winners(TIED) == pytest.approx(dict(won))


def test_best_of_is_the_mean_over_all_choices():
    for k in (1, 3, 5):
        expected = np.mean([max(chosen) for chosen in itertools.combinations(A, k)])
        assert stats.best_of(A, k) == pytest.approx(expected)


def test_chance_of_range_is_how_often_new_runs_range_so_far():
    rng = np.random.default_rng(0)
    # 200,000 studies of five runs, of which each sees three new ones
    deviations = rng.normal(size=(200_000, 5)).std(axis=1, ddof=1)
    ranges = np.ptp(rng.normal(size=(200_000, 3)), axis=1)
    sample = np.array(A) / np.std(A, ddof=1)
    for distance in (1, 3):
        simulated = np.mean(ranges / deviations >= distance)
        assert stats.chance_of_range(sample, 3, distance) == pytest.approx(simulated, abs=0.004)
    assert (stats.chance_of_range(A, 3, 0), stats.chance_of_range([98.1] * 3, 3, 0.1)) == (1, 0)


def right_on(images, accuracies):
    """(seeds, images) of networks that are right on their first images: all arms agree on which are hard."""
    return np.arange(images) < images * np.array(accuracies)[:, None] / 100


def seeds_of_a_t_test(effect, alpha=0.05):
    """Seeds an arm that find so many deviations in four of five studies, by statsmodels."""
    return math.ceil(TTestIndPower().solve_power(effect, power=0.8, alpha=alpha))


def test_seeds_to_exclude_are_those_of_the_t_test_where_images_do_not_vary():
    """Between arms that differ in next to no image, the images' part is next to nothing, and so is the floor."""
    arms = right_on(10**6, [90, 90.01, 90.02]), right_on(10**6, [89.99, 90.0, 90.01])
    assert stats.seeds_to_exclude(arms, 0.01) == seeds_of_a_t_test(1.0) == 17
    assert stats.seeds_to_exclude(arms, 0.01, confidence=0.99) == seeds_of_a_t_test(1.0, alpha=0.01)
    with pytest.raises(ValueError, match="above 0"):
        stats.seeds_to_exclude(arms, 0.0)


def test_more_seeds_do_not_make_up_for_few_images():
    a, b = (np.array(accuracies) for accuracies in ([90, 91, 90.5], [89.5, 90.5, 90]))

    def needed(images):
        """Each arm has hard images of its own."""
        return stats.seeds_to_exclude([right_on(images, a), right_on(images, b)[:, ::-1]], 0.5)

    assert needed(200) is None and 17 < needed(10**5) < needed(8 * 10**4)


def test_as_many_seeds_as_are_said_find_the_difference():
    """Of studies with that many seeds an arm, about four in five tell the arms apart."""
    rng = np.random.default_rng(0)
    hard = rng.normal(1.3, 1, 400)

    def arm(lead, seeds):
        return hard + lead + rng.normal(0, 0.3, (seeds, 1)) + rng.normal(0, 0.5, (seeds, 400)) > 0

    known = [arm(0.2, 400), arm(0, 400)]
    needed = stats.seeds_to_exclude(known, stats.accuracy_contrast(known).estimate)
    found = np.mean([stats.accuracy_contrast([arm(0.2, needed), arm(0, needed)]).low > 0 for _ in range(300)])
    assert 5 < needed < 100 and found == pytest.approx(0.8, abs=0.07)
