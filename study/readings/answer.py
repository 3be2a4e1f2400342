"""What the answer rests on: which normalization to take."""

from functools import cached_property

from normbench import runs
from normbench.comparison import typical_difference
from normbench.data import is_held_out
from normbench.runs import Arm
from normbench.stats import Difference, accuracy_contrast
from study.families import ALPHA
from study.numbers import Lead
from study.readings.cifar10 import Cifar10, Filters
from study.readings.common import Reading
from study.readings.mnist import HeadToHead
from study.readings.small_batches import SmallBatches


class Answer(Reading):
    """What to take."""

    @cached_property
    def mnist(self) -> HeadToHead:
        return HeadToHead(self.n)

    @cached_property
    def cifar10(self) -> Cifar10:
        return Cifar10(self.n)

    @cached_property
    def filters(self) -> Filters:
        return Filters(self.n)

    @cached_property
    def small(self) -> SmallBatches:
        return SmallBatches(self.n)

    @cached_property
    def leads_at_2(self) -> list[Difference]:
        """How far group norm and layer norm are ahead of batch norm with 2 images per batch."""
        return self.small.leads_at_2

    @cached_property
    def bn(self) -> Arm:
        """Batch norm on MNIST."""
        return self.n.arm("head_to_head", "BN")

    @cached_property
    def typical_difference(self) -> float:
        """How far two runs of batch norm on MNIST lie apart on average, in points."""
        return typical_difference(self.bn)

    @cached_property
    def spread_of_means(self) -> float:
        """How far the means of the normalizations on MNIST lie apart, in points."""
        return self.mnist.widest.gap.estimate

    @cached_property
    def example_leads(self) -> list[Difference]:
        """How far batch norm is ahead of the others in the network of examples/resnet8.py, at each batch size."""
        arms = self.n.example.arms.values()
        pairs = [
            (bn, other)
            for bn in arms
            for other in arms
            if bn.recipe.family == "BN" != other.recipe.family and bn.recipe.batch_size == other.recipe.batch_size
        ]
        confidence = 1 - ALPHA / len(pairs)
        return [accuracy_contrast([bn.correct, other.correct], confidence=confidence) for bn, other in pairs]

    @cached_property
    def images_of_example_rates(self) -> int:
        """On how many held-out images its learning rates were chosen."""
        kept = runs.read(self.n.results / "compare.jsonl")
        return min(len(run.correct) for run in kept if is_held_out(run.dataset))

    @cached_property
    def example_sizes(self) -> list[int]:
        return sorted({arm.recipe.batch_size for arm in self.n.example.arms.values()})

    @cached_property
    def ahead_of_bn(self) -> list[Lead]:
        """What is measurably ahead of batch norm with batches of 8 images or more, without a penalty."""
        leads = [*self.mnist.differing, *self.n.differing("cifar10", self.n.arms("cifar10"))]
        leads += self.n.differing("filters", [self.filters.plain_bn, self.filters.plain_gn])
        leads += [*self.small.differing(8), *self.small.differing(32)]
        return [lead for lead in leads if lead.second.recipe.family == "BN"]
