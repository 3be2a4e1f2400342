"""What the readings of several experiments share: means, arms by their norm, and how many runs did not learn."""

from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import fisher_exact

from normbench.runs import Arm
from study.numbers import Numbers
from study.rates import unlearned


def means(arms: Iterable[Arm]) -> list[float]:
    """Return the mean accuracy of each arm in %."""
    return [arm.accuracy.mean for arm in arms]


def runs_of(arms: Iterable[Arm]) -> int:
    """Return how many runs the arms have."""
    return sum(len(arm.runs) for arm in arms)


def by_norm(arms: Iterable[Arm]) -> dict[str, list[Arm]]:
    """Return the arms by their norm, where they differ in something else, such as the learning rate."""
    families: dict[str, list[Arm]] = {}
    for arm in arms:
        families.setdefault(arm.recipe.norm, []).append(arm)
    return families


@dataclass(frozen=True)
class Failures:
    """How many of some runs did not learn."""

    failed: int
    runs: int

    @classmethod
    def of(cls, arms: Iterable[Arm]) -> "Failures":
        """Count the runs of these arms."""
        arms = list(arms)
        return cls(unlearned(arms), runs_of(arms))

    def more_than(self, other: "Failures") -> float:
        """Return the one-sided p-value of 'these fail no more often than the others' (Fisher's exact test)."""
        table = [[self.failed, self.runs - self.failed], [other.failed, other.runs - other.failed]]
        return float(fisher_exact(table, alternative="greater").pvalue)


def failed_without_normalization(arms: Iterable[Arm]) -> Failures:
    """Count the runs without normalization, and those of them that did not learn."""
    return Failures.of(arm for arm in arms if arm.recipe.family == "none")


@dataclass(frozen=True)
class Reading:
    """The statistics of one reading, from the finished experiments `n`."""

    n: Numbers
