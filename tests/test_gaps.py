import math
from dataclasses import replace

import numpy as np
import pytest
from made_up import failed_run_of, made_up_arms

from normbench.comparison import gap, gaps, same, seeds_to_decide, seeds_to_tell, share_seeds, typical_difference
from normbench.runs import Arm
from normbench.stats import Interval
from normbench.training import Recipe

BN, GN, LN = Recipe("BN"), Recipe("GN:2"), Recipe("LN")


def with_seed_effect(effect):
    """Three arms of 16 seeds, all of which gain or lose `effect` points with the seed alike."""
    return made_up_arms([BN, GN, LN], lambda recipe: 98.0 + effect * (recipe.seed % 3))


def test_a_seed_effect_shows_and_differences_are_then_taken_seed_by_seed():
    plain, shared = with_seed_effect(0.0), with_seed_effect(0.5)
    assert not share_seeds(plain) and share_seeds(shared)
    unpaired = replace_seeds(shared)
    assert not share_seeds(unpaired), "arms with other seeds cannot be paired"
    assert np.ptp([gap(shared, BN, GN).low, gap(shared, BN, GN).high]) < 0.5 * np.ptp(
        [gap(unpaired, BN, GN).low, gap(unpaired, BN, GN).high]
    )


def replace_seeds(arms):
    """The same arms, the second with other seeds."""
    other = [replace(run, recipe=replace(run.recipe, seed=run.recipe.seed + 100)) for run in arms[GN].runs]
    return arms | {GN: Arm(GN, tuple(other))}


def test_a_family_of_comparisons_has_wider_intervals():
    arms = with_seed_effect(0.0)
    alone, together = gap(arms, BN, GN), gaps(arms, [(BN, GN), (BN, LN), (GN, LN)])[BN, GN]
    assert (
        alone.estimate == together.estimate == pytest.approx(arms[BN].last().mean() - arms[GN].last().mean(), abs=0.01)
    )
    assert together.low < alone.low < alone.high < together.high


@pytest.mark.parametrize(
    "low, high, expected", ((-0.04, 0.04, True), (-0.06, 0.04, False), (-0.04, 0.06, False), (0.01, 0.04, True))
)
def test_same_asks_for_the_whole_interval(low, high, expected):
    assert same(Interval(0.0, low, high), margin=0.05) is expected


def test_seeds_to_decide_grow_with_the_noise_and_towards_the_boundary():
    def needed(apart, deviation):
        """Seeds lie `deviation` above and below the mean in turn."""
        arms = made_up_arms(
            [BN, GN],
            lambda recipe: 98.0 + apart * (recipe.norm == "BN") + deviation * (-1) ** recipe.seed,
            deviation=0.0,
        )
        return seeds_to_decide(replace_seeds(arms), BN, GN)

    assert needed(0.5, 0.2) > needed(0.5, 0.1) > 1
    assert needed(0.03, 0.1) > needed(0.0, 0.1), "halfway to the margin, neither is easy to show"


def test_seeds_to_tell_are_fewer_for_what_lies_further_away_and_none_for_what_images_hide():
    def accuracies(recipe):
        return 98.0 + 0.2 * (recipe.norm == "BN") + 0.1 * (-1) ** recipe.seed

    arms = replace_seeds(made_up_arms([BN, GN], accuracies, deviation=0.0))
    assert 2 <= seeds_to_tell(arms, BN, GN, distance=0.6) < seeds_to_tell(arms, BN, GN, distance=0.4)
    assert seeds_to_tell(arms, BN, GN) == seeds_to_tell(arms, BN, GN, distance=0.2)
    assert seeds_to_tell(arms, BN, GN, distance=0.01) == math.inf, "of 1,000 test images"


def test_typical_difference_is_the_mean_over_pairs():
    arm = made_up_arms([BN], lambda recipe: [98.0, 98.1, 98.4][recipe.seed], seeds=3, deviation=0.0)[BN]
    assert typical_difference(arm) == pytest.approx((0.1 + 0.4 + 0.3) / 3)


def test_a_run_that_failed_is_left_out_and_its_seed_is_not_paired():
    arms = with_seed_effect(0.5)
    first, *others = arms[GN].runs
    failed = failed_run_of(first.recipe, images=len(first.correct))
    with_failure = arms | {GN: Arm(GN, (failed, *others))}
    assert not share_seeds(with_failure)
    assert gap(with_failure, BN, GN).estimate == pytest.approx(
        arms[BN].accuracy.mean - np.mean([run.last["test_accuracy"] for run in others]), abs=0.02
    )
