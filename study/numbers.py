"""The numbers of the pages: finished experiments, their variants by name, and comparisons in families fixed beforehand.

What a single sentence rests on is a property of a class in `readings`: `Filters(Numbers(folder)).plain_lead`.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import combinations, groupby
from pathlib import Path
from typing import Any, NamedTuple

from normbench import runs, stats
from normbench.comparison import MARGIN, Comparison, gap, seeds_to_tell
from normbench.runs import Arm, Arms
from normbench.training import Recipe, Run
from study.claims import Claim, claims
from study.experiments import EXPERIMENTS, RESULTS, finished

Pairs = list[tuple[Recipe, Recipe]]


class Lead(NamedTuple):
    """Two arms, the one with the higher mean first, and the difference of their accuracies in points."""

    first: Arm
    second: Arm
    gap: stats.Difference


def scores(arm: Arm) -> list[float]:
    """Return the accuracy after the last epoch of each run that came to its end, in %."""
    return [run.last["test_accuracy"] for run in arm.succeeded]


def winners(arms: Iterable[Arm]) -> dict[str, float]:
    """Return how often each arm, by its label, is best if one takes one run of each that came to its end."""
    return stats.winners({arm.label: scores(arm) for arm in arms})


def all_pairs(recipes: Iterable[Recipe]) -> list[Pairs]:
    """Return one family: each variant with each other."""
    return [list(combinations(recipes, 2))]


def plain_pairs_and_l1(recipes: Iterable[Recipe]) -> list[Pairs]:
    """Return one family: all pairs without a penalty, and each variant with L1 against itself without it."""
    recipes = list(recipes)
    penalized = [(recipe, replace(recipe, l1=0.0)) for recipe in recipes if recipe.l1]
    return [[*combinations((recipe for recipe in recipes if not recipe.l1), 2), *penalized]]


def pairs_of_each_length(recipes: Iterable[Recipe]) -> list[Pairs]:
    """Return a family for each number of epochs: each variant with each other."""
    by_epochs = groupby(sorted(recipes, key=lambda recipe: recipe.epochs), key=lambda recipe: recipe.epochs)
    return [list(combinations(of_length, 2)) for _, of_length in by_epochs]


def pairs_of_each_batch_size(recipes: Iterable[Recipe]) -> list[Pairs]:
    """Return one family: all pairs with equal batches, and each norm's largest batches against its smallest."""
    recipes = list(recipes)
    sizes = sorted({recipe.batch_size for recipe in recipes})
    of_size = {size: [recipe for recipe in recipes if recipe.batch_size == size] for size in sizes}
    equal = [pair for same in of_size.values() for pair in combinations(same, 2)]
    unequal = [(many, few) for many in of_size[sizes[-1]] for few in of_size[sizes[0]] if many.norm == few.norm]
    return [equal + unequal]


def each_penalty_against_none(recipes: Iterable[Recipe]) -> list[Pairs]:
    """Return one family: each variant with a penalty against the same without."""
    penalized = [recipe for recipe in recipes if recipe.l1 or recipe.l2]
    return [[(recipe, replace(recipe, l1=0.0, l2=0.0, proximal=False)) for recipe in penalized]]


def each_strength_and_way(recipes: Iterable[Recipe]) -> list[Pairs]:
    """Return one family: each penalty against none, and each proximal step against the subgradient."""
    recipes = list(recipes)
    proximal = [(recipe, replace(recipe, proximal=False)) for recipe in recipes if recipe.proximal]
    return [each_penalty_against_none(recipes)[0] + proximal]


def many_against_few(recipes: Iterable[Recipe]) -> list[Pairs]:
    """Return one family of one pair: batch norm with 32 images per statistic against 2."""
    of_bn = {recipe.images_per_statistic: recipe for recipe in recipes if recipe.family == "BN"}
    return [[(of_bn[32], of_bn[2])]]


def group_norm_against_batch_norm(recipes: Iterable[Recipe]) -> list[Pairs]:
    """Return one family: batch norm with 32 images per statistic against 2, and group norm against each number."""
    recipes = list(recipes)
    (gn,) = (recipe for recipe in recipes if recipe.family == "GN")
    against = [(gn, recipe) for recipe in recipes if recipe.family == "BN" and recipe.images_per_statistic <= 32]
    return [many_against_few(recipes)[0] + against]


# The comparisons that are made in an experiment, in families whose intervals hold simultaneously (Bonferroni). So a
# pair has one interval, wherever it is printed. In experiments that are not named here, each variant is compared with
# each other.
FAMILIES: Mapping[str, Callable[[Iterable[Recipe]], list[Pairs]]] = {
    "head_to_head": plain_pairs_and_l1,
    "length": pairs_of_each_length,
    "small_batches": pairs_of_each_batch_size,
    "penalties": each_penalty_against_none,
    "l1_strength": each_strength_and_way,
    "ghosts": many_against_few,
    "cifar10_ghosts": group_norm_against_batch_norm,
}


class Numbers:
    """The finished experiments of a folder, as the templates ask for them.

    Missing runs raise FileNotFoundError where they are asked for.
    """

    margin = MARGIN

    def __init__(self, results: Path = RESULTS):
        self.results = results
        self._finished: dict[str, Arms] = {}

    def experiment(self, name: str) -> Arms:
        """Return the arms of an experiment, by recipe and in its order."""
        if name not in self._finished:
            self._finished[name] = finished(name, self.results)
        return self._finished[name]

    def arms(self, name: str, *norms: str, **values: Any) -> list[Arm]:
        """Return the arms whose recipe has all these values; with norms, of those alone and in their order."""
        chosen = [arm for arm in self.experiment(name).values() if _has(arm.recipe, values)]
        if not norms:
            return chosen
        return [arm for norm in norms for arm in chosen if arm.recipe.norm == norm]

    def arm(self, name: str, norm: str, l1: float = 0.0, l2: float = 0.0, proximal: bool = False, **values: Any) -> Arm:
        """Return the one arm with this norm, this penalty and these values; KeyError unless there is exactly one."""
        found = self.arms(name, norm, l1=l1, l2=l2, proximal=proximal, **values)
        if len(found) != 1:
            raise KeyError(f"{name} has {len(found)} arms of norm {norm} with {dict(values, l1=l1, l2=l2)}, not one")
        return found[0]

    def question(self, name: str) -> str:
        """Return what an experiment asks."""
        return EXPERIMENTS[name].question

    def seeds(self, name: str) -> str:
        """Return how many seeds each variant has, and of how many planned where some are missing."""
        have, planned = len(self.arms(name)[0].runs), len(EXPERIMENTS[name].seeds)
        return f"{have}" if have == planned else f"{have} of {planned} planned"

    # Comparisons

    def family(self, name: str, a: Arm, b: Arm) -> int:
        """Return how many comparisons are made together with that of two arms; KeyError where it is none of them."""
        families = FAMILIES.get(name, all_pairs)(self.experiment(name))
        for pairs in families:
            if (a.recipe, b.recipe) in pairs or (b.recipe, a.recipe) in pairs:
                return len(pairs)
        raise KeyError(f"{a.label} and {b.label} are not compared in {name}: see FAMILIES")

    def gap(self, name: str, a: Arm, b: Arm) -> stats.Difference:
        """Return the accuracy of arm `a` minus that of `b` in points, with an interval that allows for its family."""
        return gap(self.experiment(name), a.recipe, b.recipe, self.family(name, a, b))

    def lead(self, name: str, a: Arm, b: Arm) -> Lead:
        """Return two arms and their gap, the one with the higher mean first."""
        first, second = (a, b) if a.accuracy.mean >= b.accuracy.mean else (b, a)
        return Lead(first, second, self.gap(name, first, second))

    def leads(self, name: str, arms: Iterable[Arm]) -> list[Lead]:
        """Return the lead of each pair of arms, by their means."""
        ranked = sorted(arms, key=lambda arm: -arm.accuracy.mean)
        return [self.lead(name, a, b) for a, b in combinations(ranked, 2)]

    def differing(self, name: str, arms: Iterable[Arm]) -> list[Lead]:
        """Return the leads whose interval lies above 0."""
        return [lead for lead in self.leads(name, arms) if lead.gap.low > 0]

    def widest(self, name: str, arms: Iterable[Arm]) -> Lead:
        """Return the lead of the arm with the highest mean over that with the lowest."""
        ranked = sorted(arms, key=lambda arm: -arm.accuracy.mean)
        return self.lead(name, ranked[0], ranked[-1])

    def at_most(self, name: str, arms: Iterable[Arm]) -> float:
        """Return the largest difference of any two of the arms, in points, that the intervals do not rule out."""
        return max(max(-lead.gap.low, lead.gap.high) for lead in self.leads(name, arms))

    def seeds_to_tell(self, name: str, a: Arm, b: Arm) -> float:
        """Return about how many seeds per arm would tell two arms apart; infinite where no number would."""
        return seeds_to_tell(self.experiment(name), a.recipe, b.recipe, self.family(name, a, b))

    # Single runs, benchmarks and claims

    @cached_property
    def published(self) -> list[Run]:
        """The notebook's own three runs."""
        return runs.read(self.results / "notebook.jsonl")

    def arm_of(self, name: str, run: Run) -> Arm:
        """Return the arm of an experiment that was trained as `run` was, but for the seed."""
        return self.experiment(name)[replace(run.recipe, seed=0)]

    @cached_property
    def claims(self) -> dict[str, Claim]:
        """The published claims by a short name, decided."""
        return claims(self.results)

    @cached_property
    def example(self) -> Comparison:
        """What `normbench compare` found for the network of examples/resnet8.py."""
        return Comparison.read(self.results / "compare.jsonl", "examples/resnet8.py")

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of NAME.jsonl, which a benchmark wrote."""
        text = (self.results / f"{name}.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


def _has(recipe: Recipe, values: Mapping[str, Any]) -> bool:
    return all(getattr(recipe, key) == value for key, value in values.items())
