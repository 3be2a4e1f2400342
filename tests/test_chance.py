import itertools
from collections import Counter

import numpy as np
import pytest
import scipy.stats

from normbench import chance

A = [99.1, 99.3, 99.2, 99.4, 99.3]
# Runs that agree to the last digit, as accuracies do
TIED = {"BN": [3, 1, 2, 2, 5], "GN": [2, 2, 4], "LN": [1, 5, 2, 3], "IN": [2, 4]}


@pytest.mark.parametrize(
    "call",
    [
        lambda: chance.superiority(A, []),
        lambda: chance.winners({"BN": A, "LN": []}),
        lambda: chance.orders({"BN": A, "LN": []}),
        lambda: chance.best_of(A, 0),
        lambda: chance.best_of(A, 6),
        lambda: chance.chance_of_range(A, 1, 0.1),
        lambda: chance.chance_of_range([99.0], 2, 0.1),
    ],
)
def test_what_cannot_be_computed_is_a_value_error_of_one_line(call):
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) and "\n" not in str(raised.value)


def test_superiority_is_mann_and_whitney_s():
    a, b = TIED["BN"], TIED["LN"]
    by_hand = np.mean([(x > y) + (x == y) / 2 for x in a for y in b])
    assert chance.superiority(a, b) == pytest.approx(by_hand)
    assert chance.superiority(a, b) == pytest.approx(scipy.stats.mannwhitneyu(a, b).statistic / len(a) / len(b))


def test_winners_and_orders_are_those_of_all_combinations():
    won, ordered = Counter(), Counter()
    combinations = list(itertools.product(*TIED.values()))
    for values in combinations:
        taken = dict(zip(TIED, values))
        first = [arm for arm in taken if taken[arm] == max(values)]
        won.update(dict.fromkeys(first, 1 / len(first) / len(combinations)))
        descending = sorted(values, reverse=True)
        allowed = [order for order in itertools.permutations(TIED) if [taken[arm] for arm in order] == descending]
        ordered.update(dict.fromkeys(allowed, 1 / len(allowed) / len(combinations)))
    found = chance.orders(TIED)
    assert chance.winners(TIED) == pytest.approx(dict(won))
    assert {order: share for order, share in found.items() if share} == pytest.approx(dict(ordered))
    assert sum(found.values()) == pytest.approx(1) and len(found) == 24


def test_best_of_is_the_mean_over_all_choices():
    for k in (1, 3, 5):
        expected = np.mean([max(chosen) for chosen in itertools.combinations(A, k)])
        assert chance.best_of(A, k) == pytest.approx(expected)


def test_chance_of_range_is_how_often_new_runs_range_so_far():
    rng = np.random.default_rng(0)
    # 200,000 studies of five runs, of which each sees three new ones
    deviations = rng.normal(size=(200_000, 5)).std(axis=1, ddof=1)
    ranges = np.ptp(rng.normal(size=(200_000, 3)), axis=1)
    sample = np.array(A) / np.std(A, ddof=1)
    for distance in (1, 3):
        simulated = np.mean(ranges / deviations >= distance)
        assert chance.chance_of_range(sample, 3, distance) == pytest.approx(simulated, abs=0.004)
    assert (chance.chance_of_range(A, 3, 0), chance.chance_of_range([98.1] * 3, 3, 0.1)) == (1, 0)
