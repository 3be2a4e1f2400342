"""The numbers of the pages: finished experiments, their variants by name, and how these compare.

What a single sentence rests on is a property of a class in `readings`: `Filters(Numbers(folder)).plain_lead`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from normbench import runs, stats
from normbench.comparison import MARGIN, Comparison
from normbench.runs import Arm, Arms
from normbench.training import Recipe, Run
from study import families
from study.claims import Claim, claims
from study.experiments import EXPERIMENTS, RESULTS, finished


class Lead(NamedTuple):
    """Two arms, the one with the higher mean first, and the difference of their accuracies in points."""

    first: Arm
    second: Arm
    gap: stats.Difference


def has_runs(arm: Arm) -> bool:
    """Tell whether at least two runs came to their end, so that the arm can be compared."""
    return len(arm.succeeded) > 1


def winners(arms: Iterable[Arm]) -> dict[str, float]:
    """Return how often each arm, by its label, is best if one takes one run of each that came to its end."""
    return stats.winners({arm.label: families.last(arm) for arm in arms})


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

    def family(self, name: str) -> list[families.Comparison]:
        """Return the comparisons of an experiment, whose intervals are simultaneous."""
        return families.family(name, self.experiment(name))

    def gap(self, name: str, *arms: Arm) -> stats.Difference:
        """Return how far the first arm is ahead of the second in points, with the interval of their experiment.

        Of four arms: how much more that is than the third is ahead of the fourth.
        """
        return families.gap(name, self.experiment(name), *(arm.recipe for arm in arms))

    def loss_gap(self, name: str, a: Arm, b: Arm) -> stats.Difference:
        """Return the test loss of arm `a` minus that of `b` in nats, for new seeds."""
        return families.gap_of(name, self.experiment(name), "test_loss", a.recipe, b.recipe)

    def gap_on_these_images(self, name: str, a: Arm, b: Arm) -> stats.Difference:
        """Return the `gap` of two arms for new seeds alone, on the test images that there are."""
        return families.gap_of(name, self.experiment(name), "test_accuracy", a.recipe, b.recipe)

    def compared(self, name: str) -> list[Lead]:
        """Return every two arms that are compared, the higher mean first, but for arms that failed."""
        pairs = [[self.experiment(name)[recipe] for recipe in compared] for compared in self.family(name)]
        return [self.lead(name, *pair) for pair in pairs if len(pair) == 2 and all(map(has_runs, pair))]

    def lead(self, name: str, a: Arm, b: Arm) -> Lead:
        """Return two arms and their gap, the one with the higher mean first."""
        first, second = (a, b) if a.accuracy.mean >= b.accuracy.mean else (b, a)
        return Lead(first, second, self.gap(name, first, second))

    def leads(self, name: str, arms: Iterable[Arm]) -> list[Lead]:
        """Return the lead of each pair of arms, by their means, but for arms that failed."""
        ranked = sorted(filter(has_runs, arms), key=lambda arm: -arm.accuracy.mean)
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

    def seeds_to_exclude(self, name: str, a: Arm, b: Arm) -> float:
        """Return the seeds per arm that show the stated difference of two arms, or that there is none."""
        return families.seeds_to_exclude(name, self.experiment(name), a.recipe, b.recipe)

    def stated(self, name: str) -> float:
        """Return the difference in points that it takes to matter on an experiment's data set."""
        return families.stated(name)

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
