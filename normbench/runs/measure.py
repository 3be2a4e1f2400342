"""What runs are judged by: the name of a score, which way is better, and how a value of it is printed."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from normbench.words import fixed

if TYPE_CHECKING:
    from normbench.runs.arm import Arm

ACCURACY = "accuracy"
MOST_DIGITS = 8


@dataclass(frozen=True)
class Measure:
    """The score that decides.

    Attributes:
        name: as runs have it: their last row has "test_NAME".
        higher_is_better: whether the best arm is the one with the highest mean.
        unit: "%" for shares of 100, whose differences are in points; "" for plain numbers.
        digits: decimals with which values and differences are printed.
    """

    name: str = ACCURACY
    higher_is_better: bool = True
    unit: str = "%"
    digits: int = 2

    @property
    def key(self) -> str:
        """Its name in a row of a run's history."""
        return f"test_{self.name}"

    @property
    def sign(self) -> int:
        """1 where higher is better, −1 where lower is: a lead is this times a difference."""
        return 1 if self.higher_is_better else -1

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which values it lies: 0 and 100 where it is in %."""
        return (0.0, 100.0) if self.unit else (-math.inf, math.inf)

    @property
    def title(self) -> str:
        """Its name at the head of a column or an axis: "accuracy (%)", "dice"."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def amount(self, value: float) -> str:
        """A value: "93.21 %", "dice 0.913"."""
        return f"{fixed(value, self.digits)} {self.unit}" if self.unit else f"{self.name} {fixed(value, self.digits)}"

    def distance(self, value: float) -> str:
        """A difference of two values, without its sign: "0.40 points", "0.013"."""
        return fixed(abs(value), self.digits) + (" points" if self.unit else "")


def measure_of(arms: "Collection[Arm]", higher_is_better: bool = True) -> Measure:
    """Return what arms are judged by. Raises ValueError if that is not one score for all."""
    named = {(run.measure, run.unit): run for arm in arms for run in arm.succeeded}
    if len(named) > 1:
        said = " and ".join(f"{run.measure!r} of {run.recipe.label}" for run in named.values())
        raise ValueError(f"runs that are compared must be judged by one score, got {said}")
    name, unit = next(iter(named), (ACCURACY, "%"))
    return Measure(name, higher_is_better, unit, 2 if unit else digits_for(arm.last() for arm in arms))


def digits_for(values: Iterable[np.ndarray]) -> int:
    """Return how many decimals show two digits of the typical deviation of samples, (seeds,) each; at least 2."""
    deviations = [float(np.nanstd(sample, ddof=1)) for sample in values if np.isfinite(sample).sum() > 1]
    usual = float(np.median(deviations)) if deviations else 0.0
    return min(MOST_DIGITS, max(2, 1 - math.floor(math.log10(usual)))) if usual > 0 else 4
