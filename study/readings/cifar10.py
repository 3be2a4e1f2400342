"""What the sentences on CIFAR-10 rest on."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from normbench import stats
from normbench.comparison import typical_difference
from normbench.runs import Arm
from normbench.stats import Difference, Interval
from study import families
from study.numbers import Lead
from study.readings.common import Reading, by_norm, means

TEST_IMAGES = 10_000  # of CIFAR-10


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
    def typical_differences(self) -> list[float]:
        """How far two runs of each of the three lie apart on average, in points."""
        return [typical_difference(arm) for arm in self.three]

    @cached_property
    def at_most(self) -> float:
        """The largest difference between any two of the three, in points, that is not ruled out."""
        return self.n.at_most(self.name, self.three)

    @cached_property
    def instance_loses_single_runs(self) -> float:
        """How often a run of instance norm is behind one of the three, at least."""
        instance = families.last(self.instance)
        return min(stats.superiority(families.last(arm), instance) for arm in self.three)

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
    def plain_lead_on_these_images(self) -> Difference:
        """Batch norm over group norm with plain convolutions, on the test images that there are."""
        return self.n.gap_on_these_images(self.name, self.plain_bn, self.plain_gn)

    @cached_property
    def plain_loss(self) -> Difference:
        """The test loss of group norm minus that of batch norm with plain convolutions, in nats."""
        return self.n.loss_gap(self.name, self.plain_gn, self.plain_bn)

    @cached_property
    def loss_saved_by_plain(self) -> Difference:
        """The test loss of batch norm with standardized convolutions minus that with plain ones, in nats."""
        return self.n.loss_gap(self.name, self.bn, self.plain_bn)

    @cached_property
    def excess(self) -> list[Interval]:
        """By how much seeds differ beyond the chance of test images: plain BN and GN, then standardized."""
        return [stats.excess_deviation(arm.correct) for arm in (self.plain_bn, self.plain_gn, self.bn, self.gn)]

    @cached_property
    def chance(self) -> list[float]:
        """The deviations that the chance of the test images alone gives, for plain BN and GN, in points."""
        return [stats.chance_deviation(arm.correct) for arm in (self.plain_bn, self.plain_gn)]


@dataclass(frozen=True)
class Scored:
    """A recipe for CIFAR-10 that was scored on the test images: its letter, its arms' means and how far BN is ahead."""

    letter: str
    means: dict[str, float]
    seeds: str
    over_gn: Difference
    over_ln: Difference | None


class Recipes(Reading):
    """Every recipe for CIFAR-10 that was scored on the test images at 20 epochs, from the first to today's."""

    @cached_property
    def scored(self) -> list[Scored]:
        earlier: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for line in self.n.lines("cifar10_recipes"):
            earlier.setdefault(line["recipe"], {}).setdefault(line["norm"].removeprefix("WS+"), []).append(line)
        found = [
            _scored(letter, {norm: _right(lines) for norm, lines in arms.items()}) for letter, arms in earlier.items()
        ]
        for letter, name, prefix in (("D", "cifar10", "WS+"), ("E", "filters", "")):
            arms = {norm: self.n.arms(name, prefix + norm) for norm in ("BN", "GN:2", "LN")}
            found.append(_scored(letter, {norm: arm.correct for norm, of_norm in arms.items() for arm in of_norm}))
        return found

    @cached_property
    def leads(self) -> list[Difference]:
        """How far batch norm is ahead of group norm and of layer norm, in every recipe."""
        return [lead for scored in self.scored for lead in (scored.over_gn, scored.over_ln) if lead]


def _right(lines: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """Which test images each run got right, (seeds, images)."""
    bits = [np.frombuffer(base64.b64decode(line["correct"]), np.uint8) for line in lines]
    return np.unpackbits(np.stack(bits), axis=1)[:, :TEST_IMAGES].astype(bool)


def _scored(letter: str, right: Mapping[str, np.ndarray]) -> Scored:
    means = {norm: 100 * float(correct.mean()) for norm, correct in right.items()}
    leads = {norm: stats.accuracy_contrast([right["BN"], right[norm]]) for norm in right if norm != "BN"}
    return Scored(letter, means, f"{len(right['BN'])}", leads["GN:2"], leads.get("LN"))
