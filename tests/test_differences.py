"""What may be said of differences between arms."""

import pytest
from made_up import made_up_arms

from normbench.comparison import same, typical_difference
from normbench.stats import Interval
from normbench.training import Recipe

BN = Recipe("BN")


@pytest.mark.parametrize(
    "low, high, expected", ((-0.04, 0.04, True), (-0.06, 0.04, False), (-0.04, 0.06, False), (0.01, 0.04, True))
)
def test_same_asks_for_the_whole_interval(low, high, expected):
    assert same(Interval(0.0, low, high), margin=0.05) is expected


def test_typical_difference_is_the_mean_over_pairs():
    arm = made_up_arms([BN], lambda recipe: [98.0, 98.1, 98.4][recipe.seed], seeds=3, deviation=0.0)[BN]
    assert typical_difference(arm) == pytest.approx((0.1 + 0.4 + 0.3) / 3)
