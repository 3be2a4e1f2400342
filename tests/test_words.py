import pytest

from normbench.stats import Interval
from normbench.words import count, duration, fixed, interval, roughly, signed, span


@pytest.mark.parametrize(
    "value, digits, plain, with_sign",
    (
        (-0.001, 2, "0.00", "−0.00"),
        (-0.0, 2, "0.00", "+0.00"),
        (-1.5, 1, "−1.5", "−1.5"),
        (1234.5, 1, "1,234.5", "+1234.5"),
    ),
)
def test_numbers_as_text(value, digits, plain, with_sign):
    assert fixed(value, digits) == plain and signed(value, digits) == with_sign


def test_intervals_of_differences_have_signs_and_those_of_amounts_none():
    assert interval(Interval(0.5, -0.04, 1.0)) == "−0.04 to +1.00"
    assert span(Interval(3.6, 3.04, 4.0), 1) == "3.0 to 4.0"


def test_counts_and_durations():
    assert (count(1, "epoch"), count(1200, "epoch")) == ("1 epoch", "1,200 epochs")
    assert [roughly(number) for number in (7, 17, 126, 311_413)] == ["7", "17", "130", "310,000"]
    assert [duration(seconds) for seconds in (89, 90, 5399, 5400)] == ["89 s", "2 minutes", "90 minutes", "1.5 hours"]
