"""What the sentences on MNIST rest on."""

from functools import cached_property
from typing import Any

from normbench.layers import label
from normbench.runs import Arm
from normbench.stats import Difference
from normbench.training import USUAL_L1, Run
from study.experiments import shortfall, unlearned
from study.numbers import Lead
from study.readings.common import Failures, Reading, best_rate, by_norm, failed_without_normalization, means, runs_of

GROUPS = ("GN:2", "GN:4", "GN:8")


class Rates(Reading):
    """Learning rates on MNIST."""

    name = "rates"
    usual = 0.1

    @cached_property
    def normalized(self) -> list[Arm]:
        return [arm for arm in self.n.arms(self.name) if arm.recipe.family != "none"]

    @cached_property
    def without(self) -> list[Arm]:
        return self.n.arms(self.name, "none")

    @cached_property
    def failures_without_at_high_rates(self) -> Failures:
        return Failures.of(arm for arm in self.without if arm.recipe.lr >= 0.2)

    @cached_property
    def failures_with_at_high_rates(self) -> Failures:
        return Failures.of(arm for arm in self.normalized if arm.recipe.lr >= 0.2)

    @cached_property
    def p_fails_more_without(self) -> float:
        """The p-value of 'at 0.2 and above, runs without normalization fail no more often'."""
        return self.failures_without_at_high_rates.more_than(self.failures_with_at_high_rates)

    @cached_property
    def broad_means(self) -> list[float]:
        """The means of the normalized arms at 0.05 and above, but for those with a run that did not learn."""
        return means(arm for arm in self.normalized if arm.recipe.lr >= 0.05 and not unlearned([arm]))

    @cached_property
    def shortfalls(self) -> dict[str, float]:
        """How far each variant's mean at the usual rate lies below that at its best rate, the largest first."""
        found = {norm: shortfall(arms, self.usual) for norm, arms in by_norm(self.n.arms(self.name)).items()}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @cached_property
    def largest_shortfall(self) -> float:
        return max(self.shortfalls.values())

    @cached_property
    def short_of_best(self) -> list[tuple[str, float, float]]:
        """The variants whose best rate is another than the usual: label, shortfall and best rate."""
        short = {norm: points for norm, points in self.shortfalls.items() if points > 0}
        arms = by_norm(self.n.arms(self.name))
        return [(label(norm), points, best_rate(arms[norm])) for norm, points in short.items()]


class HeadToHead(Reading):
    """Every normalization on MNIST, without a penalty and with L1."""

    name = "head_to_head"

    @cached_property
    def plain(self) -> list[Arm]:
        return self.n.arms(self.name, l1=0.0)

    @cached_property
    def means(self) -> list[float]:
        """Of the variants without a penalty."""
        return means(self.plain)

    @cached_property
    def differing(self) -> list[Lead]:
        return self.n.differing(self.name, self.plain)

    @cached_property
    def widest(self) -> Lead:
        return self.n.widest(self.name, self.plain)

    @cached_property
    def at_most(self) -> float:
        return self.n.at_most(self.name, self.plain)

    @cached_property
    def lost(self) -> Failures:
        """Which runs without normalization did not learn; they are in no mean."""
        return failed_without_normalization(self.plain)

    @cached_property
    def none_behind(self) -> Lead:
        """The best mean against that without normalization."""
        none = self.n.arm(self.name, "none")
        best = max((arm for arm in self.plain if arm is not none), key=lambda arm: arm.accuracy.mean)
        return Lead(best, none, self.n.gap(self.name, best, none))

    @cached_property
    def by_l1(self) -> dict[str, Difference]:
        """What L1 adds, by the norm."""
        with_l1 = self.n.arms(self.name, l1=USUAL_L1)
        return {arm.recipe.norm: self.n.gap(self.name, arm, self.n.arm(self.name, arm.recipe.norm)) for arm in with_l1}

    @cached_property
    def moved_by_l1(self) -> list[str]:
        """The norms that L1 measurably helps or harms."""
        return [norm for norm, gap in self.by_l1.items() if gap.low > 0 or gap.high < 0]

    @cached_property
    def by_groups(self) -> list[Arm]:
        """From one group (LN) to a group per channel (IN)."""
        return self.n.arms(self.name, "LN", *GROUPS, "IN", l1=0.0)

    @cached_property
    def differing_by_groups(self) -> list[Lead]:
        return self.n.differing(self.name, self.by_groups)

    @cached_property
    def widest_by_groups(self) -> Lead:
        return self.n.widest(self.name, self.by_groups)


def first_epoch(run: Run, accuracy: float) -> int | None:
    """Return the first epoch after which the test accuracy was at least so many %; None if there was none."""
    return next((int(row["epoch"]) for row in run.history if row["test_accuracy"] >= accuracy), None)


class Length(Reading):
    """Shorter and longer trainings on MNIST."""

    name = "length"
    asked = 99.4  # % in under 15 epochs, which study E asks for

    def of(self, epochs: int) -> list[Arm]:
        """Return the arms of this length."""
        return self.n.arms(self.name, epochs=epochs)

    def differing(self, epochs: int) -> list[Lead]:
        """Return the pairs of this length that differ."""
        return self.n.differing(self.name, self.of(epochs))

    def means(self, epochs: int) -> list[float]:
        """Return the means of this length."""
        return means(self.of(epochs))

    def at_most(self, epochs: int) -> float:
        """Return the largest difference at this length, in points, that is not ruled out."""
        return self.n.at_most(self.name, self.of(epochs))

    @cached_property
    def early(self) -> list[Arm]:
        """After one epoch, but for layer norm and no normalization."""
        return self.n.arms(self.name, "BN", "GN:8", "IN", epochs=1)

    @cached_property
    def early_means(self) -> list[float]:
        return means(self.early)

    @cached_property
    def ln(self) -> Arm:
        """Layer norm after one epoch."""
        return self.n.arm(self.name, "LN", epochs=1)

    @cached_property
    def lead_over_ln(self) -> Lead:
        """The best mean after one epoch against that of layer norm."""
        best = max(self.early, key=lambda arm: arm.accuracy.mean)
        return Lead(best, self.ln, self.n.gap(self.name, best, self.ln))

    @cached_property
    def none(self) -> Arm:
        """No normalization after one epoch."""
        return self.n.arm(self.name, "none", epochs=1)

    @cached_property
    def failures_without(self) -> Failures:
        """Of all lengths."""
        return Failures.of(self.n.arms(self.name, "none"))

    @cached_property
    def failures_with(self) -> Failures:
        """Of all lengths."""
        return Failures.of(arm for arm in self.n.arms(self.name) if arm.recipe.family != "none")

    @cached_property
    def p_fails_more_without(self) -> float:
        """The p-value of 'runs without normalization fail no more often'."""
        return self.failures_without.more_than(self.failures_with)

    @cached_property
    def there_by_8_epochs(self) -> list[str]:
        """The labels of the variants whose mean has reached what study E asks for after 8 epochs."""
        return [arm.label for arm in self.of(8) if arm.accuracy.mean >= self.asked]

    @cached_property
    def lowest_of_16_epochs(self) -> float:
        return min(means(self.of(16)))

    @cached_property
    def in_time_of_16_epochs(self) -> int:
        """How many of the runs planned for 16 epochs have reached it by epoch 14."""
        reached = [first_epoch(run, self.asked) for arm in self.of(16) for run in arm.runs]
        return sum(epoch is not None and epoch < 15 for epoch in reached)

    @cached_property
    def runs_of_16_epochs(self) -> int:
        return runs_of(self.of(16))

    @cached_property
    def speed(self) -> dict[str, Any]:
        """What an epoch with batch norm costs here."""
        return next(line for line in self.n.lines("speed") if line["nm"] == "BN")
