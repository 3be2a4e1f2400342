"""What the sentences on small batches, and on few images per statistic, rest on."""

from functools import cached_property

import numpy as np

from normbench.runs import Arm
from normbench.stats import Difference
from study.numbers import Lead
from study.readings.common import Reading


class SmallBatches(Reading):
    """Batches of 2, 8 and 32 images of CIFAR-10."""

    name = "small_batches"
    rates = "small_batches_rates"

    def arm(self, family: str, size: int) -> Arm:
        """Return the arm of a normalization and a batch size."""
        (arm,) = (arm for arm in self.n.arms(self.name, batch_size=size) if arm.recipe.family == family)
        return arm

    def of(self, size: int) -> list[Arm]:
        """Return the arms of a batch size."""
        return self.n.arms(self.name, batch_size=size)

    @cached_property
    def losses(self) -> dict[str, Difference]:
        """What 2 images per batch cost against 32, by normalization."""
        families = [arm.recipe.family for arm in self.of(2)]
        return {family: self.n.gap(self.name, self.arm(family, 32), self.arm(family, 2)) for family in families}

    def loses_more_than(self, family: str) -> Difference:
        """Return how many points more batch norm loses from 32 to 2 images per batch than another normalization."""
        arms = [self.arm("BN", 32), self.arm("BN", 2), self.arm(family, 32), self.arm(family, 2)]
        return self.n.gap(self.name, *arms)

    def over_bn(self, family: str, size: int) -> Difference:
        """Return how far a normalization is ahead of batch norm at a batch size."""
        return self.n.gap(self.name, self.arm(family, size), self.arm("BN", size))

    def bn_over(self, family: str, size: int) -> Difference:
        """Return how far batch norm is ahead of a normalization at a batch size."""
        return self.n.gap(self.name, self.arm("BN", size), self.arm(family, size))

    @cached_property
    def leads_at_2(self) -> list[Difference]:
        """How far group norm and layer norm are ahead of batch norm with 2 images per batch."""
        return [self.over_bn("GN", 2), self.over_bn("LN", 2)]

    def differing(self, size: int) -> list[Lead]:
        """Return the pairs of a batch size that differ."""
        return self.n.differing(self.name, self.of(size))

    @cached_property
    def rates_at_an_edge(self) -> list[Arm]:
        """The arms whose learning rate is the lowest or the highest of those tried."""
        return [arm for arm in self.n.arms(self.name) if not self._is_inner(arm)]

    def _is_inner(self, arm: Arm) -> bool:
        tried = [other.recipe.lr for other in self.tried(arm)]
        return min(tried) < arm.recipe.lr < max(tried)

    def tried(self, arm: Arm) -> list[Arm]:
        """Return the rates that were tried for an arm."""
        return self.n.arms(self.rates, arm.recipe.norm, batch_size=arm.recipe.batch_size)


class Ghosts(Reading):
    """Batch norm on MNIST when only few images of a batch share its statistics."""

    name = "ghosts"

    def bn(self, images: int) -> Arm:
        """Return batch norm with so many images per statistic."""
        arms = self.n.arms(self.name)
        (arm,) = (arm for arm in arms if arm.recipe.family == "BN" and arm.recipe.images_per_statistic == images)
        return arm

    @cached_property
    def loss(self) -> Difference:
        """The test loss with 2 images per statistic minus that with 32, in nats."""
        return self.n.loss_gap(self.name, self.bn(2), self.bn(32))

    @cached_property
    def cost(self) -> Difference:
        """The accuracy with 32 images per statistic minus that with 2."""
        return self.n.gap(self.name, self.bn(32), self.bn(2))

    @cached_property
    def left_from_8(self) -> float:
        """How far the mean with 8 images per statistic lies below that of the whole batch, in points."""
        return self.bn(128).accuracy.mean - self.bn(8).accuracy.mean

    @cached_property
    def precise_loss(self) -> float:
        """The test loss with 2 images per statistic, if tested with statistics of all training images."""
        return mean_precise_loss(self.bn(2))

    @cached_property
    def from_testing(self) -> float:
        """How much of the test loss with 2 images per statistic comes from the running averages, in nats."""
        return float(self.bn(2).last("test_loss").mean()) - self.precise_loss

    @cached_property
    def others(self) -> list[Arm]:
        """Group norm and layer norm."""
        return [arm for arm in self.n.arms(self.name) if arm.recipe.family != "BN"]

    @cached_property
    def lowest_of_gn(self) -> float:
        """The lowest run of group norm, in %."""
        return float(self.gn.last().min())

    @cached_property
    def gn(self) -> Arm:
        (gn,) = (arm for arm in self.n.arms(self.name) if arm.recipe.family == "GN")
        return gn


def median(arm: Arm) -> float:
    """Return the median accuracy in %, which one run that lags behind does not move."""
    return float(np.median(arm.last()))


class Cifar10Ghosts(Ghosts):
    """The same on CIFAR-10, with weight-standardized convolutions and without layer norm."""

    name = "cifar10_ghosts"

    def over_gn(self, images: int) -> Difference:
        """Return how far batch norm with so many images per statistic is ahead of group norm."""
        return self.n.gap(self.name, self.bn(images), self.gn)

    @cached_property
    def gn_over_2(self) -> Difference:
        """How far group norm is ahead of batch norm with 2 images per statistic."""
        return self.n.gap(self.name, self.gn, self.bn(2))


def mean_precise_loss(arm: Arm) -> float:
    """Return the mean test loss with statistics of all training images in place of the running averages."""
    return float(np.mean([run.statistics["precise"]["test_loss"] for run in arm.runs]))
