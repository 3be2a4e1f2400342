"""The search for a learning rate: which rates it tries, and which it calls the best."""

import math

import pytest

from normbench.comparison.search import SEEDS, WIDENINGS, best_rate, trials

GRID = (0.01, 0.03, 0.1, 0.3, 1.0)


def searched(score, grid=GRID, start=0.1, noise=0.0):
    """Search where `score(rate, seed)` is what a trial gives: the scores of all that was tried, by rate."""
    tried = {}
    while wanted := trials(tried, grid, start, noise):
        for rate, seed in wanted:
            assert len(tried.get(rate, [])) == SEEDS.index(seed), "once with each seed"
            tried.setdefault(rate, []).append(score(rate, seed))
    return tried


def peak(at):
    """Scores that fall to both sides of a rate."""
    return lambda rate, seed: 90.0 - abs(math.log(rate / at))


@pytest.mark.parametrize("at", (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0))
@pytest.mark.parametrize("start", (0.01, 0.1, 1.0))
def test_it_finds_an_optimum_that_has_neighbours_on_both_sides(at, start):
    tried = searched(peak(at), start=start)
    best = best_rate(tried)
    assert best == pytest.approx(at, rel=0.2)
    assert min(tried) < best < max(tried) and len(tried) <= len(GRID) + WIDENINGS


def test_from_a_good_start_three_trials_are_enough():
    assert set(searched(peak(0.1))) == {0.03, 0.1, 0.3}
    assert len(searched(peak(0.03))) == 4


@pytest.mark.parametrize("start", (0.03, 0.1, 0.3, 1.0))
def test_a_small_grid_is_tried_as_a_whole_for_accuracy_may_fall_and_rise_again(start):
    scores = {0.009: 93.0, 0.03: 95.0, 0.1: 80.0, 0.3: 90.0, 0.9: 70.0}
    tried = searched(lambda rate, seed: scores[rate], grid=(0.03, 0.1, 0.3), start=start)
    assert best_rate(tried) == 0.03 and set(tried) == {0.009, 0.03, 0.1, 0.3}


def test_a_grid_of_one_edge_start_is_widened():
    assert best_rate(searched(peak(0.001), grid=(0.03, 0.1, 0.3), start=0.3)) == pytest.approx(0.001)
    never = searched(lambda rate, seed: rate, grid=(0.1, 0.2))
    assert len(never) == 2 + WIDENINGS, "it ends where more never helps"


def test_rates_that_fail_are_left_for_lower_ones():
    tried = searched(lambda rate, seed: math.nan if rate > 0.02 else peak(0.003)(rate, seed))
    assert best_rate(tried) == 0.003 and 1.0 not in tried
    nothing = searched(lambda rate, seed: math.nan)
    assert best_rate(nothing) is None and len(nothing) <= len(GRID) + WIDENINGS


def test_two_close_rates_get_a_second_seed_and_of_two_that_tie_the_lower_is_taken():
    scores = {0.03: (88.0,), 0.1: (90.0, 90.0), 0.3: (90.2, 90.1), 1.0: (80.0,)}
    given = lambda rate, seed: scores[rate][SEEDS.index(seed)]  # noqa: E731
    tried = searched(given, noise=1.0)
    assert len(tried[0.1]) == len(tried[0.3]) == 2 and len(tried[0.03]) == 1
    assert best_rate(tried, noise=1.0) == 0.1 and best_rate(tried, noise=0.05) == 0.3
    assert all(len(of_rate) == 1 for of_rate in searched(given, noise=0.05).values())


def test_a_rate_whose_second_seed_fails_is_not_the_best():
    scores = {0.03: (88.0,), 0.1: (90.0, 89.9), 0.3: (91.2, math.nan), 1.0: (80.0,)}
    assert best_rate(searched(lambda rate, seed: scores[rate][SEEDS.index(seed)], noise=1.0), 1.0) == 0.1


def test_a_single_rate_is_taken_as_it_is():
    assert best_rate(searched(peak(0.1), grid=(0.1,))) == 0.1
