"""Learning rates and weight decays: each arm gets those that are best for it on held-out training images."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from normbench.comparison.search import CLOSE, WHOLE, best_rate, trials
from normbench.comparison.trainings import Trainings
from normbench.data import Task
from normbench.runs import Arm, Arms, Measure, arms, measure_of
from normbench.training import Recipe, Run

TIE_BREAK = 1e-9  # of the loss
FAR_BEHIND = 10.0  # points of accuracy, and five errors of a difference


@dataclass(frozen=True)
class Rates:
    """Learning rates, and weight decays where several are tried, and what they were chosen by.

    Attributes:
        chosen: the rate of each arm that could be trained.
        failures: why the others have none.
        tried: the trials, by recipe with the rate.
        far_behind: arms whose best trial lies so far below the best of all that two seeds will be enough for them.
    """

    chosen: dict[Recipe, float]
    failures: dict[Recipe, str] = field(default_factory=dict)
    tried: Arms = field(default_factory=dict)
    far_behind: frozenset[Recipe] = frozenset()

    @property
    def settings(self) -> list[Recipe]:
        """The recipe of each arm that could be trained, with what was chosen for it."""
        return [replace(recipe, lr=rate) for recipe, rate in self.chosen.items()]


def choose_decays(trainings: Trainings, rates: Rates, values: Sequence[float], held_out: Task) -> Rates:
    """Give each arm the best of several weight decays at its rate: every arm tries each of them, once.

    Rates were chosen with the first of them, which an arm keeps unless another is ahead by more than chance.
    """
    wanted = [replace(recipe, weight_decay=value) for recipe in rates.settings for value in values]
    tried = arms(trainings.run(wanted, held_out)) | rates.tried  # where two seeds chose the rate, both stay
    measure = trainings.measure(tried)
    chance, taken = CLOSE * math.sqrt(2) * noise_of(tried, measure), {}
    for recipe in rates.settings:
        scores = {value: _first_score(tried[replace(recipe, weight_decay=value)], measure) for value in values}
        best = max(values, key=scores.__getitem__)
        kept = recipe.weight_decay if scores[best] - scores[recipe.weight_decay] <= chance else best
        taken[recipe] = replace(recipe, weight_decay=kept)
    chosen = {replace(recipe, lr=usual.lr): recipe.lr for usual, recipe in zip(rates.chosen, taken.values())}
    return replace(rates, chosen=chosen, tried=tried, far_behind=frozenset(taken[arm] for arm in rates.far_behind))


def _first_score(arm: Arm, measure: Measure) -> float:
    run = arm.runs[0]
    return -math.inf if run.failure else measure.sign * run.score


def choose_rates(trainings: Trainings, recipes: Sequence[Recipe], grid: Sequence[float], held_out: Task) -> Rates:
    """Find the best rate of each arm; of many rates the first arm's from the middle, the others' from that one."""
    if len(grid) < 2:
        return Rates(dict.fromkeys(recipes, grid[0]))
    found: list[Run] = []
    start = sorted(grid)[(len(grid) - 1) // 2]
    for group in (recipes,) if len(grid) <= WHOLE else (recipes[:1], recipes[1:]):
        while planned := _planned(group, found, grid, start, trainings.higher_is_better):
            found += trainings.run(planned, held_out)
        tried = arms(found)
        measure = trainings.measure(tried)
        start = best_of(recipes[0], tried, measure) or start
    best = {recipe: best_of(recipe, tried, measure) for recipe in recipes}
    chosen = {recipe: rate for recipe, rate in best.items() if rate is not None}
    failures = {recipe: why_no_rate(recipe, tried) for recipe, rate in best.items() if rate is None}
    return Rates(chosen, failures, tried, _far_behind(chosen, tried, measure))


def best_of(recipe: Recipe, tried: Arms, measure: Measure | None = None) -> float | None:
    """Return the rate of `recipe` that scored best, of two that tie the lower; None if every run failed."""
    measure = measure or Measure()
    return best_rate(scores_of(recipe, tried, measure), noise_of(tried, measure))


def scores_of(recipe: Recipe, tried: Arms, measure: Measure) -> dict[float, list[float]]:
    """Return the scores of the trials of an arm by rate, in the order of their seeds; a higher one is better.

    Of equal scores that with the lower loss is a little higher.
    """
    of_recipe = {key.lr: arm for key, arm in tried.items() if replace(key, lr=recipe.lr) == recipe}
    return {
        rate: [measure.sign * run.score - TIE_BREAK * run.last.get("test_loss", 0.0) for run in arm.runs]
        for rate, arm in of_recipe.items()
    }


def noise_of(tried: Arms, measure: Measure) -> float:
    """Return how much a score varies from seed to seed by chance: for accuracies √(e / 2n), with e the best's errors.

    That is how much they vary on n test images where the networks are equally good (Jordan 2023, arXiv:2304.01910).
    It is 0 for scores of which nothing is known.
    """
    runs = [run for arm in tried.values() for run in arm.succeeded if len(run.correct)]
    if not runs or not measure.unit:
        return 0.0
    best = min(runs, key=lambda run: run.errors)
    return 100 * math.sqrt(max(1, best.errors) / 2) / len(best.correct)


def why_no_rate(recipe: Recipe, tried: Arms) -> str:
    """Say which rates failed, and how."""
    runs = [run for key, arm in tried.items() if replace(key, lr=recipe.lr) == recipe for run in arm.runs]
    rates = sorted(run.recipe.lr for run in runs)
    failures = counted(run.failure for run in runs if run.failure)
    return f"no learning rate from {rates[0]:g} to {rates[-1]:g} could be trained ({failures})"


def counted(failures: Iterable[str]) -> str:
    """Say how many runs failed, by the reason: "2 diverged, 1 out of memory"."""
    return ", ".join(f"{n} {failure}" for failure, n in Counter(failures).items())


def _planned(
    group: Sequence[Recipe], found: Sequence[Run], grid: Sequence[float], start: float, higher_is_better: bool
) -> list[Recipe]:
    """The trials that are to be made next, for all arms of a group."""
    tried = arms(found)
    measure = measure_of(tried.values(), higher_is_better)
    noise = noise_of(tried, measure)
    planned = []
    for recipe in group:
        scores = scores_of(recipe, tried, measure)
        of_arm = [run for key, arm in tried.items() if replace(key, lr=recipe.lr) == recipe for run in arm.runs]
        if of_arm and all(run.raised for run in of_arm):  # another rate would not help
            continue
        planned += [replace(recipe, lr=rate, seed=seed) for rate, seed in trials(scores, grid, start, noise)]
    return planned


def _far_behind(chosen: dict[Recipe, float], tried: Arms, measure: Measure) -> frozenset[Recipe]:
    if not measure.unit or not chosen:
        return frozenset()
    best = {recipe: np.nanmax(measure.sign * tried[replace(recipe, lr=rate)].last()) for recipe, rate in chosen.items()}
    least = max(best.values()) - max(FAR_BEHIND, 5 * math.sqrt(2) * noise_of(tried, measure))
    return frozenset(replace(recipe, lr=chosen[recipe]) for recipe, score in best.items() if score < least)
