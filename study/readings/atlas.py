"""What the atlas rests on: a setting is a network on a data set with one batch size, in which arms were compared."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from normbench.comparison import Comparison, Result
from normbench.layers import NORMALIZATIONS, parse
from normbench.runs import Arm
from normbench.stats import Difference
from normbench.training import Recipe
from study.readings.common import Reading

FOLDER, RUNS = "atlas", "runs.jsonl"


class Place(StrEnum):
    """Where an arm stands in a setting."""

    FIRST = "first"  # the highest mean, whether or not it is ahead of all others
    OPEN = "open"  # not told apart from the first
    BEHIND = "behind"
    FAILS = "fails"


@dataclass(frozen=True, eq=False)
class Setting:
    """A network on a data set with one batch size.

    Attributes:
        network: its name, which is that of the folder.
        comparison: what was found with all batch sizes.
        result: what was found with this one.
    """

    network: str
    comparison: Comparison
    result: Result

    @property
    def recipe(self) -> Recipe:
        """What the arms have in common, and the norm and the learning rate of the first."""
        return self.result.ranked[0].recipe

    @property
    def parameters(self) -> int:
        """How many parameters the network has with the first arm."""
        return self.result.ranked[0].runs[0].parameters

    @property
    def images(self) -> int | None:
        """How many training images there are; None where that is not known."""
        return self.recipe.images or (self.comparison.images or (None,))[0]

    @property
    def steps(self) -> int | None:
        """Over how many batches a run trained, roughly; None where the number of images is not known."""
        return None if self.images is None else round(self.images * self.recipe.epochs / self.recipe.batch_size)

    @cached_property
    def arms(self) -> dict[str, Arm]:
        """The arms that have a result, by norm, the best first."""
        return {arm.recipe.norm: arm for arm in self.result.ranked}

    @cached_property
    def places(self) -> dict[str, Place]:
        """Where each arm stands, by norm: the first, those not told apart from it, those behind, those that fail."""
        verdict = self.result.verdict
        found = {recipe.norm: Place.OPEN if i else Place.FIRST for i, recipe in enumerate(verdict.best)}
        found |= {recipe.norm: Place.BEHIND for recipe in verdict.behind}
        return found | {recipe.norm: Place.FAILS for recipe in (*verdict.fails, *self.result.failures)}

    @cached_property
    def behind(self) -> Mapping[str, Difference]:
        """How far arms are behind the first in points, with the race's interval, by norm."""
        return {recipe.norm: lead for recipe, lead in self.result.standing.leads.items()}

    @property
    def trainings(self) -> int:
        """How many trainings it took, those that chose learning rates included."""
        arms = (*self.result.arms.values(), *self.result.tried.values())
        return sum(len(arm.runs) for arm in arms)


def settings(folder: Path) -> Iterator[Setting]:
    """Read the settings of a folder, which has a folder of a finished comparison for each network.

    Raises ValueError for a comparison that was not judged by accuracy.
    """
    for file in sorted(folder.glob(f"*/{RUNS}")):
        found = Comparison.read(file, file.parent.name)
        for result in found.results:
            if result.arms and result.measure.unit != "%":
                raise ValueError(f"{file} is judged by {result.measure.name}; the atlas compares accuracies in %")
            if result.arms:
                yield Setting(file.parent.name, found, result)


class Atlas(Reading):
    """In which networks, on which data and with which batches a normalization is best, and where none is."""

    @cached_property
    def settings(self) -> list[Setting]:
        """The settings, network by network, small batches first."""
        found = settings(self.n.results / FOLDER)
        return sorted(found, key=lambda each: (each.network, each.comparison.data, each.recipe.batch_size))

    @cached_property
    def norms(self) -> list[str]:
        """The normalizations that were compared somewhere, in their usual order."""
        rows = list(NORMALIZATIONS)
        found = {norm for setting in self.settings for norm in setting.places}
        return sorted(found, key=lambda norm: (rows.index(name) if (name := parse(norm).name) in rows else -1, norm))

    @cached_property
    def counts(self) -> dict[str, Counter[Place]]:
        """How often each normalization stands where, by norm."""
        return {
            norm: Counter(each.places[norm] for each in self.settings if norm in each.places) for norm in self.norms
        }

    @cached_property
    def clear(self) -> list[Setting]:
        """The settings in which one normalization is ahead of all others."""
        return [setting for setting in self.settings if Place.OPEN not in setting.places.values()]

    @cached_property
    def devices(self) -> str:
        """What the trainings ran on."""
        arms = (arm for setting in self.settings for arm in setting.result.arms.values())
        return ", ".join(sorted({run.device for arm in arms for run in arm.runs}))
