"""What the sentences on MNIST rest on."""

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from normbench.comparison import same
from normbench.layers import label
from normbench.runs import Arm
from normbench.stats import Difference
from normbench.training import USUAL_L1, Run
from study.experiments import LENGTHS
from study.families import ALPHA, last
from study.numbers import Lead
from study.rates import TIE, best_rate, shortfall, unlearned
from study.readings.common import Failures, Reading, by_norm, failed_without_normalization, means, runs_of

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


class Plain(Reading):
    """Normalizations on MNIST without a penalty, all of which are compared with each other."""

    name: str

    @cached_property
    def plain(self) -> list[Arm]:
        return self.n.arms(self.name, l1=0.0)

    @cached_property
    def means(self) -> list[float]:
        return means(self.plain)

    @cached_property
    def leads(self) -> list[Lead]:
        """Every two of them, the higher mean first."""
        return self.n.leads(self.name, self.plain)

    @cached_property
    def differing(self) -> list[Lead]:
        return [lead for lead in self.leads if lead.gap.low > 0]

    @cached_property
    def behind(self) -> dict[str, list[Lead]]:
        """The leads over each variant that is clearly behind another, by its label."""
        found: dict[str, list[Lead]] = {}
        for lead in self.differing:
            found.setdefault(lead.second.label, []).append(lead)
        return found

    @cached_property
    def same(self) -> list[Lead]:
        """Those whose whole interval lies within the margin."""
        return [lead for lead in self.leads if same(lead.gap, self.n.margin)]

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
    def none(self) -> Arm:
        return self.n.arms(self.name, "none", l1=0.0)[0]

    @cached_property
    def none_behind(self) -> list[Difference]:
        """How far each normalization is ahead of none."""
        return [self.n.gap(self.name, arm, self.none) for arm in self.plain if arm is not self.none]

    @cached_property
    def loss_of_none(self) -> float:
        """The mean test loss without normalization, in nats, of the runs that learned."""
        return float(np.mean(last(self.none, "test_loss")))

    @cached_property
    def worse_loss_than_none(self) -> dict[str, Difference]:
        """The normalizations whose test loss is clearly above that without one, by how many nats, by label."""
        found = {arm.label: self.n.loss_gap(self.name, arm, self.none) for arm in self.plain if arm is not self.none}
        return {label: gap for label, gap in found.items() if gap.low > 0}

    @cached_property
    def differing_in_loss(self) -> list[tuple[str, str, Difference]]:
        """Every two normalizations, none left out, whose test losses clearly differ: the lower one's label first."""
        normalized = (arm for arm in self.plain if arm is not self.none)
        arms = sorted(normalized, key=lambda arm: np.mean(last(arm, "test_loss")))
        pairs = [(a, b, self.n.loss_gap(self.name, b, a)) for a, b in combinations(arms, 2)]
        return [(a.label, b.label, gap) for a, b, gap in pairs if gap.low > 0]


class Begun(Reading):
    """An experiment that may not have been run yet."""

    name: str

    @cached_property
    def is_there(self) -> bool:
        """Whether two seeds or more are complete."""
        try:
            return bool(self.n.experiment(self.name))
        except FileNotFoundError:
            return False


class RatesToday(Begun):
    """Learning rates of the layers that came after batch, group, layer and instance norm."""

    name = "rates_today"

    @cached_property
    def families(self) -> dict[str, list[Arm]]:
        return by_norm(self.n.arms(self.name))

    @cached_property
    def best(self) -> dict[str, tuple[float, float]]:
        """By label, the best rate and its mean accuracy in %."""
        found = {}
        for norm, arms in self.families.items():
            means = {arm.recipe.lr: arm.accuracy.mean for arm in arms}
            found[label(norm)] = (rate := best_rate(arms), means[rate])
        return found

    @cached_property
    def at_an_edge(self) -> list[str]:
        """The norms whose best rate is the lowest or the highest tried."""
        return [norm for norm, arms in self.families.items() if not is_inner(best_rate(arms), arms)]


class OwnRates(Plain, Begun):
    """Every normalization on MNIST with the learning rate that suits it best."""

    name = "own_rates"
    tie = TIE

    @cached_property
    def rates(self) -> dict[str, float]:
        """The learning rate of each, by label."""
        return {arm.label: arm.recipe.lr for arm in self.plain}

    @cached_property
    def at_an_edge(self) -> list[str]:
        """The norms whose rate is the lowest or the highest tried, so that a better one may lie beyond."""
        tried = by_norm([*self.n.arms("rates"), *self.n.arms("rates_today")])
        return [arm.recipe.norm for arm in self.plain if not is_inner(arm.recipe.lr, tried[arm.recipe.norm])]

    @cached_property
    def failing(self) -> list[Arm]:
        """Those of which runs failed, as a few seeds for the choice of a rate may not foretell."""
        return [arm for arm in self.plain if arm.failures]


def is_inner(rate: float, tried: Sequence[Arm]) -> bool:
    """Tell whether a lower and a higher rate than this one were tried."""
    rates = [arm.recipe.lr for arm in tried]
    return min(rates) < rate < max(rates)


class HeadToHead(Plain):
    """Every normalization on MNIST, without a penalty and with L1."""

    name = "head_to_head"

    @cached_property
    def by_l1(self) -> dict[str, Difference]:
        """What L1 adds, by the norm."""
        with_l1 = self.n.arms(self.name, l1=USUAL_L1)
        return {arm.recipe.norm: self.n.gap(self.name, arm, self.n.arm(self.name, arm.recipe.norm)) for arm in with_l1}

    @cached_property
    def moved_by_l1(self) -> list[str]:
        """The norms whose accuracy L1 measurably changes."""
        return [norm for norm, gap in self.by_l1.items() if gap.low > 0 or gap.high < 0]

    @cached_property
    def loss_raised_by_l1(self) -> dict[str, Difference]:
        """The norms whose test loss L1 measurably raises, and by how much."""
        with_l1 = self.n.arms(self.name, l1=USUAL_L1)
        found = {
            arm.recipe.norm: self.n.loss_gap(self.name, arm, self.n.arm(self.name, arm.recipe.norm)) for arm in with_l1
        }
        return {norm: gap for norm, gap in found.items() if gap.low > 0}

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
    def differing_at(self) -> list[int]:
        """The lengths at which any two variants differ."""
        return [epochs for epochs in LENGTHS if self.differing(epochs)]

    def p_below(self, norm: str, epochs: int) -> float:
        """Return the p-value of 'runs of a norm rank no lower than those of the other normalizations' at a length.

        Mann and Whitney's test, one-sided; a run that failed ranks lowest. Ranks see what Student's t cannot where a
        single run of six failed or lags.
        """
        own, others = [], []
        for arm in self.of(epochs):
            values = np.nan_to_num(arm.last(), nan=0.0)
            if arm.recipe.norm == norm:
                own += list(values)
            elif arm.recipe.family != "none":
                others += list(values)
        return float(mannwhitneyu(own, others, alternative="less").pvalue)

    @cached_property
    def below(self) -> dict[str, list[int]]:
        """The lengths at which layer norm, and no normalization, rank below the others, all tests together at 5 %."""
        level = ALPHA / (2 * len(LENGTHS))
        return {norm: [n for n in LENGTHS if self.p_below(norm, n) < level] for norm in ("LN", "none")}

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
