"""What the sentences on penalties, study C and luck rest on."""

from functools import cached_property

import numpy as np

from normbench import stats
from normbench.comparison import typical_difference
from normbench.runs import Arm
from normbench.stats import Difference
from normbench.training import USUAL_L1
from study.numbers import Lead
from study.readings.common import Reading, by_norm

L2 = 2.5e-4  # of the grid of penalties


class Penalties(Reading):
    """L1, L2, both and neither, for each normalization."""

    name = "penalties"

    @cached_property
    def none(self) -> Arm:
        return self.n.arm(self.name, "none")

    def penalized(self, norm: str) -> list[Arm]:
        """Return the arms of a norm with L1, L2 and both."""
        return [arm for arm in self.n.arms(self.name, norm) if arm.recipe.l1 or arm.recipe.l2]

    def gains(self, norm: str) -> list[Difference]:
        """Return what L1, L2 and both add to a norm."""
        return [self.n.gap(self.name, arm, self.n.arm(self.name, norm)) for arm in self.penalized(norm)]

    @cached_property
    def gains_of_none(self) -> list[Difference]:
        return self.gains("none")

    @cached_property
    def gains_of_normalized(self) -> list[Difference]:
        norms = [norm for norm in by_norm(self.n.arms(self.name)) if norm != "none"]
        return [gap for norm in norms for gap in self.gains(norm)]

    @cached_property
    def moved(self) -> list[Difference]:
        """Those of the normalized that a penalty measurably helps or harms."""
        return [gap for gap in self.gains_of_normalized if gap.low > 0 or gap.high < 0]

    @cached_property
    def helps_none(self) -> list[str]:
        """The penalties that measurably help the network without normalization."""
        pairs = zip(self.penalized("none"), self.gains_of_none)
        return [arm.label.removeprefix("none + ") for arm, gap in pairs if gap.low > 0]

    @cached_property
    def none_needs_a_penalty(self) -> bool:
        """Whether each penalty measurably helps the network without normalization."""
        return len(self.helps_none) == len(self.gains_of_none)


class StudyC(Reading):
    """The four models of study C."""

    name = "study_c"

    @cached_property
    def leads(self) -> list[Lead]:
        return self.n.differing(self.name, self.n.arms(self.name))

    @cached_property
    def gn(self) -> Arm:
        return self.n.arm(self.name, "GN:2", l1=USUAL_L1)

    @cached_property
    def bn_lead(self) -> Difference:
        """BN + L1 + L2 over the study's winner, GN + L1."""
        return self.n.gap(self.name, self.n.arm(self.name, "BN", l1=USUAL_L1, l2=L2), self.gn)

    @cached_property
    def ln_lead(self) -> Difference:
        """LN + L2 over the study's winner, GN + L1."""
        return self.n.gap(self.name, self.n.arm(self.name, "LN", l2=L2), self.gn)

    @cached_property
    def ahead_of_gn(self) -> list[str]:
        """The norms that are measurably ahead of GN + L1, by name."""
        return sorted(lead.first.recipe.norm for lead in self.leads if lead.second is self.gn)


class L1Strength(Reading):
    """Batch norm with L1 of several strengths."""

    name = "l1_strength"

    @cached_property
    def plain(self) -> Arm:
        return self.n.arm(self.name, "BN")

    def by_subgradient(self, l1: float) -> Arm:
        """Return the arm with this strength, by the subgradient."""
        return self.n.arm(self.name, "BN", l1=l1)

    def proximal(self, l1: float) -> Arm:
        """Return the arm with this strength, by a proximal step."""
        return self.n.arm(self.name, "BN", l1=l1, proximal=True)

    def cost(self, l1: float) -> Difference:
        """Return what this strength costs, by the subgradient."""
        return self.n.gap(self.name, self.plain, self.by_subgradient(l1))

    @cached_property
    def cost_in_training(self) -> Difference:
        """What λ = 10⁻³ costs in training accuracy: with it minus without."""
        return stats.difference(self.by_subgradient(1e-3).last("train_accuracy"), self.plain.last("train_accuracy"))

    @cached_property
    def strongest(self) -> np.ndarray:
        """(seeds,) the accuracies with λ = 10⁻²."""
        return self.by_subgradient(1e-2).last()

    @cached_property
    def most_zeros_by_subgradient(self) -> float:
        """The largest share of exact zeros of any run, in %."""
        return float(max(arm.last("zeros").max() for arm in self.n.arms(self.name, proximal=False)))

    @cached_property
    def zeros(self) -> np.ndarray:
        """(seeds,) shares of exact zeros by a proximal step with λ = 10⁻³, in %."""
        return self.proximal(1e-3).last("zeros")

    @cached_property
    def proximal_gain(self) -> Difference:
        """A proximal step with λ = 10⁻³ over the subgradient."""
        return self.n.gap(self.name, self.proximal(1e-3), self.by_subgradient(1e-3))

    @cached_property
    def sums(self) -> np.ndarray:
        """(seeds,) Σ|p| by a proximal step with λ = 10⁻²."""
        return self.proximal(1e-2).last("l1_norm")


class Luck(Reading):
    """One recipe with many seeds."""

    name = "luck"

    @cached_property
    def arm(self) -> Arm:
        (arm,) = self.n.arms(self.name)
        return arm

    @cached_property
    def last(self) -> np.ndarray:
        """(seeds,) accuracies after the last epoch."""
        return self.arm.last()

    @cached_property
    def typical_difference(self) -> float:
        return typical_difference(self.arm)

    @cached_property
    def gain_of_best_epoch(self) -> float:
        """What reporting the best epoch adds, in points."""
        return float(self.arm.best().mean() - self.last.mean())

    @cached_property
    def gain_of_best_seed(self) -> float:
        """What reporting the best of ten seeds adds, in points."""
        return stats.best_of(self.last, 10) - float(self.last.mean())
