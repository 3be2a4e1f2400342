"""The runs of a comparison: how they are carried out, where they are kept, and how many are missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from normbench.comparison.candidates import Candidate
from normbench.data import Dataset, Samples, Task
from normbench.runs import Arms, Engine, Measure, arms, measure_of, read, run_all, stored
from normbench.runs.engines import threads_of_a_worker
from normbench.training import Recipe, Trainer
from normbench.words import duration

LONG = 1800  # seconds, from which on it is said how to be faster
WORKERS_START = 6  # seconds until processes have imported PyTorch and begin; measured: 4 to 8


@dataclass(frozen=True)
class Trainings:
    """What the runs of a comparison have in common.

    Attributes:
        trainer: builds and trains the networks.
        path: the file of finished runs.
        networks: what a run's fingerprint must say of each norm's network.
        engine: carries the runs out.
        progress: whether to print how far it is.
        higher_is_better: whether the best run is the one with the highest score.
    """

    trainer: Trainer
    path: Path
    networks: Mapping[str, Mapping[str, str]]
    engine: Engine
    progress: bool
    higher_is_better: bool = True

    def measure(self, of: Arms) -> Measure:
        """Return what arms are judged by."""
        return measure_of(of.values(), self.higher_is_better)

    def run(self, recipes: Iterable[Recipe], seeds: Iterable[int], data: Task) -> Arms:
        """Train each recipe with each seed, unless it is stored, and return the arms."""
        wanted = list(recipes)
        planned = [replace(recipe, seed=seed) for seed in seeds for recipe in wanted]
        done = run_all(
            planned,
            data,
            self.path,
            self.trainer,
            engine=self.engine,
            progress=self.progress,
            networks=self.networks,
        )
        return arms(done, wanted)

    def tell(self, line: str) -> None:
        """Print a line, if progress is to be shown."""
        if self.progress:
            print(line, flush=True)

    def done(self, recipes: Iterable[Recipe], data: Task) -> set[Recipe]:
        """Return those of the recipes that are stored."""
        return {run.recipe for run in stored(recipes, data, self.path, self.trainer, self.networks)}


@dataclass(frozen=True)
class Missing:
    """How many runs of an arm are missing: for its learning rate, and with the seeds."""

    rates: int
    seeds: int

    @property
    def total(self) -> int:
        """Return the number of both."""
        return self.rates + self.seeds


def missing(
    trainings: Trainings, recipes: Sequence[Recipe], grid: Sequence[float], seeds: int, data: Task, held_out: Task
) -> dict[Recipe, Missing]:
    """Count the missing runs of each arm.

    The rates are not chosen yet, so finished seeds count whatever their rate was.
    """
    chooses = len(grid) > 1
    tries = {replace(recipe, lr=rate): recipe for recipe in recipes for rate in grid}
    tried = trainings.done(tries, held_out) if chooses else set()
    found = {run.recipe for run in read(trainings.path)} if trainings.path.exists() else set()
    seeded = {
        other: recipe
        for recipe in recipes
        for other in found
        if replace(other, lr=recipe.lr, seed=0) == recipe and 1 <= other.seed <= seeds and (chooses or other.lr in grid)
    }
    finished = trainings.done(seeded, data)
    return {
        recipe: Missing(
            rates=sum(tries[other] == recipe for other in tries.keys() - tried) if chooses else 0,
            seeds=seeds - len({other.seed for other in finished if seeded[other] == recipe}),
        )
        for recipe in recipes
    }


def estimate(left: Mapping[Recipe, Missing], made: Iterable[Candidate], data: Task, workers: int) -> str:
    """Say how many runs are left and about how long they take, from a few steps of each arm; "" if none is left.

    How long a function of the user's own takes shows after its first run.
    """
    total = sum(counts.total for counts in left.values())
    if not total:
        return ""
    if not isinstance(data, (Dataset, Samples)):
        return f"Runs to go: {total}. If you stop them, the same command resumes."
    with threads_of_a_worker(workers, data):
        seconds = sum(n * candidate.seconds(data) for candidate in made if (n := left[candidate.recipe].total))
    chooses = any(counts.rates for counts in left.values())
    needed = seconds / workers + (WORKERS_START if workers > 1 else 0)
    more, about = (", and more if the best learning rate lies at the edge", "at least") if chooses else ("", "about")
    return (
        f"Runs to go: {total}{more}. They take {about} {duration(needed)} here, {workers} at a time. "
        "If you stop them, the same command resumes."
        + (" Fewer images (--images) or epochs (--epochs) give a rougher answer sooner." if needed > LONG else "")
    )
