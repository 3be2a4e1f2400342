"""The race: who is out when, and why it ends."""

import math

import numpy as np
import pytest
from scipy.stats import nct, t

from normbench.comparison.race import Ending, Rules, Sample, collapsed_runs, race
from normbench.comparison.verdict import Kind, verdict
from normbench.stats import level, scatter, seeds_to_show


def scores(*values):
    return Sample(np.array(values, float))


STEADY = [0.1, -0.1, 0.05, -0.05, 0.0, 0.1, -0.1, 0.05, -0.05, 0.0]


def around(mean, seeds=10, shift=0):
    """Scores around a mean; `shift` gives another order, so that arms do not vary alike."""
    return scores(*(mean + np.roll(STEADY, shift))[:seeds])


def test_who_is_behind_is_out_at_the_third_seed_and_the_others_go_on():
    standings = race({"BN": around(90), "GN": around(90.05, shift=3), "none": around(80, shift=5)}, Rules(10))
    assert [standing.racing for standing in standings[:2]] == [("BN", "GN", "none")] * 2 or not standings[1].out
    third = standings[2]
    assert third.out["none"].round == 3 and not third.out["none"].fails and set(third.racing) == {"BN", "GN"}
    assert third.leads["none"].low > 0


def test_a_race_follows_from_its_scores_and_stops_where_they_end():
    all_of_them = {"BN": around(90), "GN": around(89.9, shift=3)}
    whole = race(all_of_them, Rules(10))
    part = race({arm: Sample(sample.scores[:4]) for arm, sample in all_of_them.items()}, Rules(10))
    assert len(part) == 4 and part[-1].ending is None
    assert [standing.leads for standing in part] == [standing.leads for standing in whole[:4]]


def test_an_arm_that_is_out_needs_no_more_scores():
    standings = race({"BN": around(90), "GN": around(89.9, shift=3), "none": around(80, seeds=3)}, Rules(6))
    assert len(standings) > 3 and standings[-1].learned["none"] == (3, 3)


def test_the_ways_a_race_ends():
    near, far = around(90, shift=3), around(80, shift=5)
    assert race({"BN": around(91), "none": far}, Rules(10))[-1].ending is Ending.WON
    assert race({"BN": around(90), "GN": near}, Rules(10, margin=1.0))[-1].ending is Ending.EQUAL
    assert race({"BN": around(90), "GN": near}, Rules(10))[-1].ending is Ending.HOPELESS
    assert race({"BN": around(90), "GN": near}, Rules(3))[-1].ending is Ending.SEEDS
    assert race({"BN": scores(*[math.nan] * 3), "GN": scores(*[math.nan] * 3)}, Rules(10))[-1].ending is Ending.FAILED


def test_arms_are_not_called_equal_for_a_margin_that_they_may_exceed():
    arms = {"BN": around(90), "GN": around(90, shift=3), "LN": around(89.9, shift=5)}
    end = race(arms, Rules(10, margin=0.02))[-1]
    assert end.ending is not Ending.EQUAL
    assert max(max(-lead.low, lead.high) for lead in end.leads.values()) > 0.02


def test_a_fixed_design_looks_once_and_at_a_higher_level():
    arms = {"BN": around(90), "GN": around(89.9, shift=3), "none": around(80, shift=5)}
    standings = race(arms, Rules(5, early=False))
    assert len(standings) == 5 and not any(standing.out for standing in standings[:4])
    assert set(standings[-1].out) >= {"none"}
    early = race(arms, Rules(5))[-1].leads["GN"]
    assert standings[-1].leads["GN"].low > early.low or len(race(arms, Rules(5))) < 5


def test_far_behind_with_the_best_rate_is_out_after_two_seeds():
    arms = {"BN": around(90), "GN": around(90.05, shift=3), "none": around(60, shift=5)}
    assert race(arms, Rules(10), far_behind={"none"})[1].out["none"].round == 2
    assert not race(arms, Rules(10))[1].out
    assert not race({"BN": around(90), "none": around(90, shift=3)}, Rules(10), far_behind={"none"})[1].out


def test_runs_that_fail_are_counted_and_in_no_mean():
    end = race({"BN": around(90), "none": scores(85, math.nan, 85.1, 84.9, 85)}, Rules(5))[-1]
    assert end.learned["none"] == (2, 3) and end.means["none"].estimate == pytest.approx(85.05)
    assert not end.out["none"].fails, "one failure in three is no habit"
    often = race({"BN": around(90), "none": scores(95, math.nan, 95, math.nan, 95)}, Rules(5))
    assert often[-1].racing == ("BN",) and often[-1].out["none"].fails and often[-1].out["none"].round == 4


@pytest.mark.parametrize(
    "values, failed",
    (
        ([97, 99, 99.6, 98, 63.3], [4]),
        ([10.77, 69.7, 81.82], [0]),
        ([99, 98, 60], [2]),
        ([88, 70, 60], []),  # they scatter, all of them
        ([99, math.nan, 98], []),
        ([98, 30], [1]),
        ([2.0, 0.9], []),  # of a hundred classes, after an epoch
        ([math.nan], []),
    ),
)
def test_a_run_has_collapsed_that_lies_far_below_and_apart(values, failed):
    assert np.flatnonzero(collapsed_runs(np.array(values, float), 10.0)).tolist() == failed


def test_chance_alone_makes_test_examples_scatter_and_no_arm_varies_less():
    rng = np.random.default_rng(0)
    examples = 100.0 * (rng.random((3, 1000)) < 0.9)
    lucky = Sample(np.array([90.0, 90.0, 90.0]), examples)
    assert lucky.floor == pytest.approx(100**2 * 0.09 / 1000, rel=0.1)
    end = race({"BN": lucky, "GN": Sample(lucky.scores - 0.5, examples)}, Rules(3))[-1]
    assert end.leads["GN"].low < 0 < end.leads["GN"].high, "equal scores are luck"


def test_other_test_images_may_reverse_a_lead():
    rng = np.random.default_rng(1)
    right = rng.random(200) < 0.9
    easier = right | (rng.random(200) < 0.2)
    arms = {
        name: Sample(np.full(4, 100 * bits.mean()), 100.0 * np.tile(bits, (4, 1)))
        for name, bits in {"BN": easier, "GN": right}.items()
    }
    lead = race(arms, Rules(4))[-1].leads["GN"]
    assert lead.high - lead.low > 1, "seeds never vary, and yet"


def test_an_arm_that_scatters_widely_is_judged_by_itself():
    spread = scatter([1.0, 1.2, 0.8, 400.0], [2, 2, 2, 2])
    assert spread.apart.tolist() == [False, False, False, True]
    assert spread.variance[3] == 400 and spread.freedom.tolist() == [6, 6, 6, 2]
    assert spread.variance[1] == 1.2 and spread.variance[2] == pytest.approx(1.0), "never less than its own"
    assert scatter([1.0, 2.0], [2, 2], [4.0, 4.0]).variance.tolist() == [4.0, 4.0]


def test_a_level_falls_with_looks_and_arms():
    assert level(2, None) == pytest.approx(0.025, rel=0.05)
    assert level(2, 10) < level(2, 5) < level(2, None) and level(12, 10) < level(5, 10) < level(3, 10)
    assert level(5, 10) < level(5, 9) < level(5, 8) and level(20, 10) < level(12, 10)
    assert level(5, 100) < level(5, 30)
    for wrong in ((1, 5), (2, 0)):
        with pytest.raises(ValueError, match="two or more arms"):
            level(*wrong)


def test_seeds_to_show_are_those_whose_t_test_has_the_power():
    needed = seeds_to_show(1.0, 2.0, 0.0, 2, 0.025)
    for runs, enough in ((needed, True), (needed - 1, False)):
        freedom = 2 * (runs - 1)
        assert (nct.sf(t.isf(0.025, freedom), freedom, 1 / math.sqrt(2 / runs)) >= 0.8) is np.bool_(enough)
    assert seeds_to_show(0.5, 2.0, 0.0, 2, 0.025) > needed and seeds_to_show(0.5, 2.0, 1.0, 2, 0.025) is None
    assert seeds_to_show(0.0, 2.0, 0.0, 2, 0.025) is None


def test_verdicts():
    near, far, fails = around(90, shift=3), around(80, shift=5), scores(*[math.nan] * 10)
    won = verdict(race({"BN": around(91), "none": far, "LN": fails}, Rules(10))[-1])
    assert won.kind is Kind.TAKE and won.best == ("BN",) and set(won.behind) == {"none"} and won.fails == ("LN",)
    tied = verdict(race({"BN": around(90.01), "GN": near, "none": far}, Rules(10))[-1])
    assert tied.kind is Kind.OPEN and tied.best == ("BN", "GN") and set(tied.behind) == {"none"} and tied.stopped
    assert tied.hidden == max(-tied.level["GN"].low, tied.level["GN"].high) and tied.seeds_needed > 10
    equal = verdict(race({"BN": around(90), "GN": near}, Rules(10, margin=1))[-1], 1)
    assert equal.kind is Kind.EQUAL and equal.seeds_needed is None and not equal.stopped
    assert verdict(race({"BN": fails, "GN": fails}, Rules(10))[-1]).kind is Kind.FAILED
    assert verdict(race({"BN": scores(90), "GN": scores(80)}, Rules(1))[-1]).kind is Kind.ONE_SEED
