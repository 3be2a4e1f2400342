"""The race is held: the seeds that it asks for are trained, round after round, in the time that there is."""

import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from normbench.comparison.race import FIRST_LOOK, Rules, Sample, Standing, race
from normbench.comparison.trainings import Trainings
from normbench.data import Task
from normbench.runs import Arm, Arms, Measure, arms
from normbench.training import Recipe, Run, labels
from normbench.words import count, duration, fixed

SURE = 3  # standard errors above chance: a run that is no further has not learned


def samples(of: Arms, measure: Measure, chance: float | None) -> dict[Recipe, Sample]:
    """Return the scores of each arm, where a higher one is better.

    A run that is no better than `chance`, the accuracy in % of who always names the most frequent class, has failed.
    """
    return {recipe: _sample(arm, measure, chance) for recipe, arm in of.items()}


def _sample(arm: Arm, measure: Measure, chance: float | None) -> Sample:
    scores, number = arm.last(), max(len(run.correct) for run in arm.runs)
    if chance is not None and number:
        error = math.sqrt(chance * (100 - chance) / number)
        scores = np.where(scores > chance + SURE * error, scores, np.nan)
    lengths = {len(run.examples) for run in arm.succeeded}
    if len(lengths) != 1 or min(lengths) < 2:
        return Sample(measure.sign * scores)
    nothing = np.full(lengths.pop(), np.nan, np.float32)
    examples = [nothing if run.failure else run.examples.numpy() for run in arm.runs]
    return Sample(measure.sign * scores, measure.sign * np.array(examples))


def rules_for(rules: Rules, measure: Measure) -> Rules:
    """Return the rules for a measure: of scores that are no accuracies nobody knows how far is far below."""
    return rules if measure.unit else replace(rules, collapsed=None)


@dataclass(frozen=True)
class Course:
    """What a race is held under, apart from its arms.

    Attributes:
        rules: what it is decided by.
        data: what is trained and tested on.
        chance: the accuracy of who always names the most frequent class, in %; None where it is not known.
        at_once: how many runs take place side by side.
        deadline: when it has to end, in seconds of `time.monotonic`.
    """

    rules: Rules
    data: Task
    chance: float | None = None
    at_once: int = 1
    deadline: float = math.inf


def hold(
    trainings: Trainings, recipes: Sequence[Recipe], course: Course, far_behind: Collection[Recipe] = ()
) -> tuple[Arms, bool]:
    """Train the arms seed by seed until the race is over; return their runs, and whether time ended it.

    Two seeds per arm are trained whatever the time is.
    """
    runs: list[Run] = []
    standing: Standing[Recipe] | None = None
    while standing is None or standing.ending is None:
        racing, done = (standing.racing, standing.round) if standing else (tuple(recipes), 0)
        next_round = [replace(recipe, seed=done + 1) for recipe in racing]
        is_stored = len(trainings.done(next_round, course.data)) == len(racing)
        at_once = 1 if is_stored else course.at_once  # what is looked at does not depend on who trained it
        seeds = range(done + 1, _next_look(course.rules, done, at_once // len(racing), bool(far_behind)) + 1)
        if standing and time.monotonic() + _seconds(runs, racing, len(seeds), course.at_once) > course.deadline:
            return arms(runs, recipes), True
        _tell_seeds(trainings, seeds, course.rules.seeds)
        runs += trainings.run([replace(recipe, seed=seed) for seed in seeds for recipe in racing], course.data)
        held = arms(runs, recipes)
        measure = trainings.measure(held)
        standing = race(samples(held, measure, course.chance), rules_for(course.rules, measure), far_behind)[-1]
        _tell_standing(trainings, standing, measure, runs, course)
    return _used(arms(runs, recipes), standing), False


def _next_look(rules: Rules, done: int, together: int, sooner: bool) -> int:
    """The seed up to which is trained before it is looked again; `together` are those that keep all workers busy."""
    if not rules.early:
        return rules.seeds
    return min(rules.seeds, max(2 if sooner else FIRST_LOOK, done + max(1, together)))


def _used(held: Arms, standing: Standing[Recipe]) -> Arms:
    """Leave out runs that were trained beyond the end of the race."""
    return {recipe: replace(arm, runs=arm.runs[: standing.learned[recipe][1]]) for recipe, arm in held.items()}


def _seconds(runs: Iterable[Run], racing: Collection[Recipe], seeds: int, at_once: int) -> float:
    """About how long so many more seeds take."""
    took: dict[Recipe, list[float]] = {recipe: [] for recipe in racing}
    for run in runs:
        took.get(replace(run.recipe, seed=0), []).append(run.seconds)
    return seeds * sum(float(np.mean(times)) for times in took.values() if times) / min(at_once, len(took))


def _tell_seeds(trainings: Trainings, seeds: range, most: int) -> None:
    numbers = f"Seed {seeds[0]}" if len(seeds) == 1 else f"Seeds {seeds[0]} to {seeds[-1]}"
    trainings.tell(f"{numbers} of {most}:")


def _tell_standing(
    trainings: Trainings, standing: Standing[Recipe], measure: Measure, runs: Sequence[Run], course: Course
) -> None:
    """Say who leads, by how much, who is out, and how much there is to do."""
    named = labels(standing.learned)
    line = f"After {count(standing.round, 'seed')}: {in_short(standing, named, measure)}."
    if standing.ending is None:
        left = course.rules.seeds - standing.round
        one, most = (_seconds(runs, standing.racing, seeds, course.at_once) for seeds in (1, left))
        line += (
            f" One more seed: {count(len(standing.racing), 'run')}, about {duration(one)}; "
            f"at most {count(left * len(standing.racing), 'run')}, {duration(most)}."
        )
    trainings.tell(line)


def in_short(standing: Standing[Recipe], named: Mapping[Recipe, str], measure: Measure) -> str:
    """Say in a line who leads, how far the others are behind, and who is out."""
    if standing.leader is None:
        return "no arm learns reliably"
    others = [
        f"{named[arm]} {_behind(standing, arm, measure)}" if arm in standing.leads else named[arm]
        for arm in standing.racing[1:]
    ]
    out = [
        f"{named[arm]} ({'runs fail' if left.fails else _behind(standing, arm, measure)})"
        for arm, left in standing.out.items()
    ]
    mean = standing.means.get(standing.leader)
    leads = f"{named[standing.leader]} leads with {measure.amount(measure.sign * mean.estimate)}" if mean else ""
    return "; ".join(filter(None, [leads, ", ".join(others), f"out: {', '.join(out)}" if out else ""]))


def _behind(standing: Standing[Recipe], arm: Recipe, measure: Measure) -> str:
    lead = standing.leads.get(arm)
    if lead is None:
        return "behind"
    return f"{fixed(abs(lead.estimate), measure.digits)} {'behind' if lead.estimate >= 0 else 'ahead'}"
