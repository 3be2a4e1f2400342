"""What the sentences on CIFAR-10 rest on."""

from functools import cached_property

from normbench import stats
from normbench.runs import Arm
from normbench.stats import Difference
from study.numbers import Lead
from study.readings.common import Reading, by_norm, means


class Standardized(Reading):
    """Batch norm and group norm with weight-standardized convolutions."""

    name: str

    @cached_property
    def bn(self) -> Arm:
        return self.n.arm(self.name, "WS+BN")

    @cached_property
    def gn(self) -> Arm:
        return self.n.arm(self.name, "WS+GN:2")


class Cifar10(Standardized):
    """CIFAR-10 with weight-standardized convolutions."""

    name = "cifar10"

    @cached_property
    def ln(self) -> Arm:
        return self.n.arm(self.name, "WS+LN")

    @cached_property
    def instance(self) -> Arm:
        return self.n.arm(self.name, "WS+IN")

    @cached_property
    def three(self) -> list[Arm]:
        return [self.bn, self.gn, self.ln]

    @cached_property
    def three_means(self) -> list[float]:
        return means(self.three)

    @cached_property
    def lowest_of_three(self) -> float:
        """The lowest end of the intervals of the three means, in %."""
        return min(arm.accuracy.low for arm in self.three)

    @cached_property
    def differing(self) -> list[Lead]:
        return self.n.differing(self.name, self.three)

    @cached_property
    def widest(self) -> Lead:
        return self.n.widest(self.name, self.three)

    @cached_property
    def over_instance(self) -> list[Difference]:
        """How far each of the three is ahead of instance norm."""
        return [self.n.gap(self.name, arm, self.instance) for arm in self.three]

    @cached_property
    def chance_of_spread(self) -> float:
        """How often three runs of batch norm lie as far apart as study D's three models."""
        return stats.chance_of_range(self.bn.last(), 3, 1.15)


class Cifar10Rates(Reading):
    """Learning rates on CIFAR-10, plain convolutions, without normalization too."""

    name = "cifar10_rates"
    usual = 0.1

    @cached_property
    def best(self) -> dict[str, Arm]:
        """The arm of each norm with the best mean, by norm."""
        families = by_norm(self.n.arms(self.name))
        return {norm: max(arms, key=lambda arm: arm.accuracy.mean) for norm, arms in families.items()}

    @cached_property
    def none(self) -> Arm:
        return self.best["none"]

    @cached_property
    def normalized_means(self) -> list[float]:
        """Of those with a normalization, each at its best rate."""
        return means(arm for norm, arm in self.best.items() if norm != "none")

    @cached_property
    def best_rate_is_usual(self) -> bool:
        """Whether the usual rate, the middle one of those tried, is the best for each."""
        return all(arm.recipe.lr == self.usual for arm in self.best.values())


class Filters(Standardized):
    """Plain and weight-standardized convolutions on CIFAR-10, with batch norm and group norm."""

    name = "filters"

    @cached_property
    def plain_bn(self) -> Arm:
        return self.n.arm(self.name, "BN")

    @cached_property
    def plain_gn(self) -> Arm:
        return self.n.arm(self.name, "GN:2")

    @cached_property
    def plain_gains(self) -> list[Difference]:
        """How far plain convolutions are ahead of standardized ones, with batch norm and with group norm."""
        pairs = (self.plain_bn, self.bn), (self.plain_gn, self.gn)
        return [self.n.gap(self.name, plain, standardized) for plain, standardized in pairs]

    @cached_property
    def plain_lead(self) -> Difference:
        """Batch norm over group norm with plain convolutions."""
        return self.n.gap(self.name, self.plain_bn, self.plain_gn)

    @cached_property
    def standardized_lead(self) -> Difference:
        """Batch norm over group norm with standardized convolutions."""
        return self.n.gap(self.name, self.bn, self.gn)

    @cached_property
    def scatters_less(self) -> list[Difference]:
        """The standard deviation over the seeds with plain convolutions over that with standardized ones."""
        pairs = (self.plain_bn, self.bn), (self.plain_gn, self.gn)
        return [stats.deviation_ratio(plain.last(), standardized.last()) for plain, standardized in pairs]
