"""What is left to do: how many runs of a comparison are missing, and about how long they take."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from normbench.comparison.candidates import Candidate
from normbench.comparison.race import FIRST_LOOK
from normbench.comparison.racing import Course, hold
from normbench.comparison.rates import Rates, choose_decays, choose_rates
from normbench.comparison.search import WHOLE
from normbench.comparison.trainings import Trainings
from normbench.data import Dataset, Samples, Task
from normbench.runs import read
from normbench.runs.engines import threads_of_a_worker
from normbench.training import Recipe, Run
from normbench.words import duration

LONG = 1800  # seconds, from which on it is said how to be faster
WORKERS_START = 6  # seconds until processes have imported PyTorch and begin; measured: 4 to 8


@dataclass(frozen=True)
class Missing:
    """How many runs of an arm are missing: at least, if the race ends at its first look, and at most.

    More rates may have to be tried than `most` counts, if the best lies at the edge or two are close.
    """

    least: int
    most: int


class Unfinished(Exception):
    """Runs are missing.

    Attributes:
        planned: the runs that were asked for.
        missing: those that are not stored.
    """

    def __init__(self, planned: Sequence[Recipe], missing: Sequence[Recipe]):
        super().__init__(f"{len(missing)} of {len(planned)} runs are missing")
        self.planned, self.missing = planned, missing


class Stored(Trainings):
    """Runs of which those that are stored are taken and none is trained."""

    def run(self, planned: Sequence[Recipe], data: Task) -> list[Run]:
        """Return the stored run of each recipe; raises Unfinished where one is missing."""
        done = self.done(planned, data)
        if missing := [recipe for recipe in planned if recipe not in done]:
            raise Unfinished(planned, missing)
        return [done[recipe] for recipe in planned]


def missing(
    trainings: Trainings,
    recipes: Sequence[Recipe],
    to_try: tuple[Sequence[float], Sequence[float]],
    course: Course,
    held_out: Task,
) -> dict[Recipe, Missing]:
    """Count the missing runs of each arm; `to_try` are the rates, and the weight decays if there are several.

    Each comparison is held with the runs that are stored, up to the first that is missing.
    """
    stored = Stored(**vars(trainings) | {"progress": False})
    counted: dict[Recipe, Missing] = {}
    for size in dict.fromkeys(recipe.batch_size for recipe in recipes):
        of_size = [recipe for recipe in recipes if recipe.batch_size == size]
        try:
            rates = choose_rates(stored, of_size, to_try[0], held_out)
            if len(to_try[1]) > 1:
                rates = choose_decays(stored, rates, to_try[1], held_out)
        except Unfinished as stop:
            counted |= _before_the_race(stored, of_size, to_try, course, held_out, stop)
        else:
            counted |= _in_the_race(stored, of_size, rates, course)
    return counted


def _before_the_race(
    stored: Stored,
    recipes: Sequence[Recipe],
    to_try: tuple[Sequence[float], Sequence[float]],
    course: Course,
    held_out: Task,
    stop: Unfinished,
) -> dict[Recipe, Missing]:
    """Count the missing trials and seeds; finished seeds count whatever their rate and weight decay were."""
    (grid, decays), rules = to_try, course.rules
    trials = min(WHOLE, len(grid)) + max(0, len(decays) - 1)  # of a single rate for the first weight decay alone
    first = min(FIRST_LOOK, rules.seeds) if rules.early else rules.seeds
    found = {run.recipe for run in read(stored.path)} if stored.path.exists() else set()
    counted = {}
    for recipe in recipes:
        of_arm = [other for other in found if _usual(other, recipe, to_try) == recipe]
        tried = {(other.lr, other.weight_decay) for other in stored.done(of_arm, held_out)}
        planned = sum(_usual(other, recipe, to_try) == recipe for other in stop.missing)
        rates = max(planned, trials - len(tried))
        usable = [other for other in of_arm if 1 <= other.seed <= rules.seeds]
        seeds = {other.seed for other in stored.done(usable, course.data)}
        counted[recipe] = Missing(rates + max(0, first - len(seeds)), rates + rules.seeds - len(seeds))
    return counted


def _usual(other: Recipe, recipe: Recipe, to_try: tuple[Sequence[float], Sequence[float]]) -> Recipe:
    """Return a recipe with the rate, seed and, if several are tried, weight decay of another one."""
    usual = replace(other, lr=recipe.lr, seed=0)
    return replace(usual, weight_decay=recipe.weight_decay) if len(to_try[1]) > 1 else usual


def _in_the_race(stored: Stored, recipes: Sequence[Recipe], rates: Rates, course: Course) -> dict[Recipe, Missing]:
    """Count the missing seeds of the arms that are in the race where the stored runs end; it may be over."""
    counted = dict.fromkeys(recipes, Missing(0, 0))
    try:
        if rates.settings:
            hold(stored, rates.settings, replace(course, deadline=math.inf), rates.far_behind)
    except Unfinished as stop:
        by_norm, begin = {recipe.norm: recipe for recipe in recipes}, min(recipe.seed for recipe in stop.planned)
        for racing in dict.fromkeys(replace(recipe, seed=0) for recipe in stop.planned):
            seeds = [replace(racing, seed=seed) for seed in range(begin, course.rules.seeds + 1)]
            least = sum(recipe.norm == racing.norm for recipe in stop.missing)
            counted[by_norm[racing.norm]] = Missing(least, len(seeds) - len(stored.done(seeds, course.data)))
    return counted


def estimate(left: Mapping[Recipe, Missing], made: Iterable[Candidate], data: Task, workers: int) -> str:
    """Say how many runs are left and about how long they take, from a few steps of each arm.

    How long a function of the user's own takes shows after its first run.
    """
    least, most = (sum(getattr(counts, end) for counts in left.values()) for end in ("least", "most"))
    if not most:
        return "All runs are finished: nothing is left to train."
    numbers = f"{most}" if least == most else f"{least} to {most}, as many as it takes to tell"
    line, needed = f"Runs to go: {numbers}.", [0.0]
    if isinstance(data, (Dataset, Samples)):
        with threads_of_a_worker(workers, data):
            seconds = {made.recipe: made.seconds(data) for made in made if left[made.recipe].most}
        ends = [sum(getattr(left[recipe], end) * each for recipe, each in seconds.items()) for end in ("least", "most")]
        needed = [end / workers + (WORKERS_START if workers > 1 else 0) for end in ends]
        line += f" They take about {' to '.join(dict.fromkeys(map(duration, needed)))} here, {workers} at a time."
    line += " If you stop them, the same command resumes."
    if needed[0] > LONG:
        line += " Fewer images (--images) or epochs (--epochs) give a rougher answer sooner."
    return line
