"""The runs of a comparison: how they are carried out, where they are kept, and how many are missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from normbench.comparison.candidates import Candidate
from normbench.comparison.race import FIRST_LOOK, Rules
from normbench.data import Dataset, Samples, Task
from normbench.runs import Arms, Engine, Measure, measure_of, read, run_all, stored
from normbench.runs.engines import threads_of_a_worker
from normbench.training import Recipe, Run, Trainer
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

    def run(self, planned: Sequence[Recipe], data: Task) -> list[Run]:
        """Return the run of each recipe: the stored one, or else it is trained."""
        return run_all(
            planned,
            data,
            self.path,
            self.trainer,
            engine=self.engine,
            progress=self.progress,
            networks=self.networks,
        )

    def tell(self, line: str) -> None:
        """Print a line, if progress is to be shown."""
        if self.progress:
            print(line, flush=True)

    def done(self, recipes: Iterable[Recipe], data: Task) -> set[Recipe]:
        """Return those of the recipes that are stored."""
        return {run.recipe for run in stored(recipes, data, self.path, self.trainer, self.networks)}


@dataclass(frozen=True)
class Missing:
    """How many runs of an arm are missing: at least, if the race ends at its first look, and at most.

    More rates may have to be tried than `most` counts, if the best lies at the edge.
    """

    least: int
    most: int


def missing(
    trainings: Trainings,
    recipes: Sequence[Recipe],
    to_try: tuple[Sequence[float], Sequence[float]],
    rules: Rules,
    data: Task,
    held_out: Task,
) -> dict[Recipe, Missing]:
    """Count the missing runs of each arm; `to_try` are the rates, and the weight decays if there are several.

    The rates are not chosen yet, so finished seeds count whatever their rate and weight decay were.
    """
    grid, decays = to_try
    trials = (min(3, len(grid)) if len(grid) > 1 else 0) + max(0, len(decays) - 1)
    first = min(FIRST_LOOK, rules.seeds) if rules.early else rules.seeds
    found = {run.recipe for run in read(trainings.path)} if trainings.path.exists() else set()
    counted = {}
    for recipe in recipes:
        same = {"lr": recipe.lr, "seed": 0} | ({"weight_decay": recipe.weight_decay} if len(decays) > 1 else {})
        of_arm = [other for other in found if replace(other, **same) == recipe]  # type: ignore[arg-type]
        tried = {(other.lr, other.weight_decay) for other in trainings.done(of_arm, held_out)} if trials else set()
        usable = [other for other in of_arm if 1 <= other.seed <= rules.seeds and (trials or other.lr in grid)]
        seeds = {other.seed for other in trainings.done(usable, data)}
        rates = max(0, trials - len(tried))
        counted[recipe] = Missing(rates + max(0, first - len(seeds)), rates + rules.seeds - len(seeds))
    return counted


def estimate(left: Mapping[Recipe, Missing], made: Iterable[Candidate], data: Task, workers: int) -> str:
    """Say how many runs are left and about how long they take, from a few steps of each arm; "" if none is left.

    How long a function of the user's own takes shows after its first run.
    """
    least, most = (sum(getattr(counts, end) for counts in left.values()) for end in ("least", "most"))
    if not most:
        return ""
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
