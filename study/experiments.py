"""The study's experiments, as data: what is asked, which runs answer it, and the figures that show them."""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from normbench import runs
from normbench.data import HELD_OUT, IN_TURN, Dataset
from normbench.figures import plot_arms, plot_by_batch_size, plot_rates, plot_seeds
from normbench.runs import Arms, Engine, arms
from normbench.training import USUAL_L1, Recipe, Run, Trainer
from study import figures
from study.batch_statistics import SPLITTING
from study.networks import TRAINER, study_recipe
from study.rates import best_rate, judged

RESULTS = Path(__file__).parent / "results"
VALIDATION_IMAGES = 10_000  # training images that stand in for the test set where something is chosen


@dataclass(frozen=True)
class Experiment:
    """Runs that answer a question.

    Every arm is trained with every seed, seed by seed, so that a stop leaves arms that can be compared. Arms that
    depend on the results of another experiment are a function of the folder that holds them. With `validation` the
    runs are scored on training images held out: experiments that choose something. `figures` are drawn from the
    finished arms. An experiment that shares runs with another is `kept_in` its file.
    """

    question: str
    dataset: str
    arms: Sequence[Recipe] | Callable[[Path], Sequence[Recipe]]
    seeds: Sequence[int]
    figures: Mapping[str, Callable[[Arms], Figure]] = field(default_factory=dict)
    validation: bool = False
    trainer: Trainer = TRAINER
    kept_in: str = ""

    @property
    def data_name(self) -> str:
        """The data set's name as the runs have it."""
        return self.dataset + (HELD_OUT if self.validation else "")

    def plan(self, folder: str | os.PathLike = RESULTS) -> list[Recipe]:
        """List every run, in the order in which they are run. Raises FileNotFoundError as `arms` does."""
        recipes = self.arms(Path(folder)) if callable(self.arms) else self.arms
        return [replace(recipe, seed=seed) for seed, recipe in product(self.seeds, recipes)]


def by_norm(*norms: str, **options: Any) -> dict[str, Recipe]:
    """Make recipes that differ in their normalization alone."""
    return {norm: study_recipe(norm, **options) for norm in norms}


# Each normalization without a penalty, and with the L1 penalty of the published studies.
PLAIN = by_norm("none", "BN", "GN:2", "GN:4", "GN:8", "LN", "IN")
WITH_L1 = by_norm("BN", "GN:2", "LN", "IN", l1=USUAL_L1)
MAIN = (WITH_L1["BN"], PLAIN["GN:2"], PLAIN["LN"])  # the three that studies A, B and E compare
# The number of groups: all that divide every channel count, from 1 (LN) to a group per channel (IN).
GROUPS = tuple(PLAIN[norm] for norm in ("LN", "GN:2", "GN:4", "GN:8", "IN"))

RATES = (0.025, 0.05, 0.1, 0.2, 0.4)
TUNED = tuple(PLAIN[norm] for norm in ("none", "BN", "GN:2", "GN:8", "LN", "IN"))
BY_RATE = tuple(replace(recipe, lr=lr) for recipe in TUNED for lr in RATES)
# Layers that came after these: the three rates in the middle first, and then the next one wherever the best lies at an
# edge, which takes half the time.
TODAY = by_norm("LN_C", "RMS", "DyT")
NEXT = {"DyT": RATES[:1]}
BY_RATE_TODAY = tuple(
    replace(recipe, lr=lr) for norm, recipe in TODAY.items() for lr in (*NEXT.get(norm, ()), *RATES[1:4])
)

# Here every penalty is one of those that are varied, so there is no weight decay beside them.
VARIED = by_norm("BN", "GN:2", "LN", "IN", "none", weight_decay=0.0)
L2 = 2.5e-4
GRID = tuple(
    replace(recipe, l1=l1, l2=l2) for recipe in VARIED.values() for l2, l1 in product((0.0, L2), (0.0, USUAL_L1))
)
STUDY_C = (
    replace(VARIED["BN"], l1=USUAL_L1, l2=L2),
    replace(VARIED["GN:2"], l1=USUAL_L1),
    replace(VARIED["LN"], l2=L2),
    replace(VARIED["IN"], l1=USUAL_L1, l2=L2),
)
STRENGTHS = (
    VARIED["BN"],
    *(
        replace(VARIED["BN"], l1=l1, proximal=proximal)
        for proximal, l1 in product((False, True), (1e-5, 1e-4, 1e-3, 1e-2))
    ),
)

LENGTHS = (1, 2, 4, 8, 16, 32)
BY_LENGTH = tuple(
    replace(PLAIN[norm], epochs=epochs) for epochs in LENGTHS for norm in ("none", "BN", "GN:8", "LN", "IN")
)

# Ghost batch norm: batches stay as they are, and BN takes its statistics over so many of their images.
BY_GHOST = by_norm("BN:2", "BN:4", "BN:8", "BN:16", "BN:32", "BN", "GN:2", "LN", epochs=5)

# Colour images are trained by Muon and tested with their mirror images. Weight standardization (WS) helps there.
IN_COLOUR = {"optimizer": "muon", "mirrored": True}
FEW_IMAGES = {"images": 10_000, "epochs": 6}
ON_CIFAR10 = by_norm("WS+BN", "WS+GN:2", "WS+LN", "WS+IN", **IN_COLOUR)
FILTERS = by_norm("WS+BN", "BN", "WS+GN:2", "GN:2", **IN_COLOUR)
# Half as long as the runs that they are chosen for, which would take ten hours of a processor core more. IN is
# not among them: not all of its rates have been tried.
TUNED_ON_CIFAR10 = by_norm("none", "BN", "GN:2", "GN:8", "LN", epochs=10, **IN_COLOUR)
BY_RATE_ON_CIFAR10 = tuple(replace(recipe, lr=lr) for recipe in TUNED_ON_CIFAR10.values() for lr in (0.05, 0.1, 0.2))
# A change of the recipe is for all: it is taken if it raises the mean of these three by the standard error of the
# difference, about 0.2 points, or more. What is tried stays as it is, whichever of the three it brings ahead.
CHANGED_ON_CIFAR10 = tuple(
    replace(TUNED_ON_CIFAR10[norm], augment=augment) for augment in ("auto", IN_TURN) for norm in ("BN", "GN:2", "LN")
)
GHOSTS_ON_CIFAR10 = by_norm("WS+BN:2", "WS+BN:8", "WS+BN:32", "WS+BN", "WS+GN:2", **FEW_IMAGES, **IN_COLOUR)
IN_SMALL_BATCHES = tuple(
    replace(recipe, batch_size=size)
    for size in (2, 8, 32)
    for recipe in by_norm("WS+BN", "WS+GN:2", "WS+LN", **FEW_IMAGES, **IN_COLOUR).values()
)


def near_rates(recipe: Recipe) -> list[Recipe]:
    """Vary the learning rate: that of `recipe`, scaled by the root of the batch size, times 1/4 to 4."""
    usual = recipe.lr * math.sqrt(recipe.batch_size / study_recipe().batch_size)
    return [replace(recipe, lr=round(usual * factor, 6)) for factor in (0.25, 0.5, 1, 2, 4)]


BY_RATE_IN_SMALL_BATCHES = tuple(rate for recipe in IN_SMALL_BATCHES for rate in near_rates(recipe))


def with_best_rates(folder: Path) -> list[Recipe]:
    """Give each of `IN_SMALL_BATCHES` the rate of `near_rates` that scored best on training images held out.

    A rate with which a run failed is not the best. Raises FileNotFoundError as long as the rates are not tried.
    """
    tried = finished("small_batches_rates", folder)

    def score(rate: Recipe) -> float:
        arm = tried[rate]
        return -math.inf if any(run.failure for run in arm.runs) else arm.accuracy.mean

    return [max(near_rates(recipe), key=score) for recipe in IN_SMALL_BATCHES]


def with_own_rates(folder: Path) -> list[Recipe]:
    """Give each normalization that is trained on MNIST its `best_rate` of the rates tried on images held out.

    Raises FileNotFoundError as long as they have not been tried.
    """
    tried = finished("rates", folder) | finished("rates_today", folder)
    order = ("none", "BN", "GN:2", "GN:8", "LN", "LN_C", "IN", "RMS", "DyT")
    by_norm = {norm: [arm for recipe, arm in tried.items() if recipe.norm == norm] for norm in order}
    return [replace(arms[0].recipe, lr=best_rate(arms)) for arms in by_norm.values()]


def _of(arms: Arms, recipes: Iterable[Recipe]) -> Arms:
    return {recipe: arms[recipe] for recipe in recipes}


EXPERIMENTS = {
    "rates": Experiment(
        "Which learning rate suits each normalization, and how wide is the good range?",
        "mnist",
        BY_RATE,
        range(3),
        {"rates": plot_rates},
        validation=True,
    ),
    "rates_today": Experiment(
        "Which learning rate suits the layers that came after these normalizations?",
        "mnist",
        BY_RATE_TODAY,
        range(3),
        {"rates_today": plot_rates},
        validation=True,
        kept_in="rates",
    ),
    # All pairs are compared, in one family. Two arms are the same where the interval lies within 0.05 points.
    "own_rates": Experiment(
        "Which is most accurate on MNIST if each has the learning rate that suits it best?",
        "mnist",
        with_own_rates,
        range(20, 44),
        {"own_rates": plot_arms},
        kept_in="head_to_head",
    ),
    "head_to_head": Experiment(
        "With equal training, which normalization is most accurate on MNIST, and what does L1 add?",
        "mnist",
        (*PLAIN.values(), *WITH_L1.values()),
        range(20, 44),
        {
            "head_to_head": plot_arms,
            "groups": lambda arms: figures.plot_groups(_of(arms, GROUPS)),
        },
    ),
    "cifar10_rates": Experiment(
        "Which learning rate suits each normalization on CIFAR-10, where weights are not standardized?",
        "cifar10",
        BY_RATE_ON_CIFAR10,
        range(1),
        {"cifar10_rates": plot_rates},
        validation=True,
    ),
    "cifar10_recipe": Experiment(
        "Which changes of the recipe help batch, group and layer norm alike on CIFAR-10?",
        "cifar10",
        CHANGED_ON_CIFAR10,
        range(2),
        validation=True,
        kept_in="cifar10_rates",
    ),
    "cifar10": Experiment(
        "Does the order of the normalizations on CIFAR-10 differ from that on MNIST?",
        "cifar10",
        tuple(ON_CIFAR10.values()),
        range(20, 26),
        {"cifar10": plot_arms, "cifar10_curves": plot_seeds},
    ),
    "filters": Experiment(
        "What does weight standardization do for batch norm, and what for group norm?",
        "cifar10",
        tuple(FILTERS.values()),
        range(20, 26),
        kept_in="cifar10",
    ),
    "cifar10_ghosts": Experiment(
        "Does batch norm lose on CIFAR-10 where few images share its statistics?",
        "cifar10",
        tuple(GHOSTS_ON_CIFAR10.values()),
        range(100, 108),
        {"cifar10_ghosts": figures.plot_ghosts, "cifar10_ghosts_statistics": figures.plot_statistics},
        trainer=SPLITTING,
    ),
    "small_batches_rates": Experiment(
        "Which learning rate suits small batches on CIFAR-10?",
        "cifar10",
        BY_RATE_IN_SMALL_BATCHES,
        range(2),
        validation=True,
    ),
    "small_batches": Experiment(
        "Does batch norm lose on CIFAR-10 where batches are small?",
        "cifar10",
        with_best_rates,
        range(110, 118),
        {"small_batches": plot_by_batch_size},
    ),
    "length": Experiment(
        "How many epochs until the normalizations no longer differ?",
        "mnist",
        BY_LENGTH,
        range(60, 66),
        {"length": figures.plot_length},
    ),
    "ghosts": Experiment(
        "Does batch norm suffer when only the number of images behind its statistics shrinks?",
        "mnist",
        tuple(BY_GHOST.values()),
        range(100, 125),
        {"ghosts": figures.plot_ghosts, "ghosts_statistics": figures.plot_statistics},
        trainer=SPLITTING,
    ),
    "penalties": Experiment(
        "What do L1 and L2 do, and does it depend on the normalization?",
        "mnist",
        GRID,
        range(1, 6),
        {"penalties": lambda arms: figures.plot_penalties(arms, STUDY_C)},
    ),
    "l1_strength": Experiment(
        "How strong should L1 be?",
        "mnist",
        STRENGTHS,
        range(1, 6),
        {"l1_strength": figures.plot_strengths},
        kept_in="penalties",
    ),
    "study_c": Experiment(
        "Do study C's four models differ?",
        "mnist",
        STUDY_C,
        range(1, 9),
        {"study_c": plot_seeds},
        kept_in="penalties",
    ),
    "luck": Experiment(
        "How much of a record is luck?",
        "mnist",
        (study_recipe("BN", epochs=5, images=10_000),),
        range(100, 200),
        {"luck": figures.plot_luck},
    ),
}


def path(name: str, folder: str | os.PathLike = RESULTS) -> Path:
    """Return the file in which an experiment's runs are kept."""
    return Path(folder) / f"{EXPERIMENTS[name].kept_in or name}.jsonl"


def stored(name: str, folder: str | os.PathLike = RESULTS, validation: bool = False) -> dict[Recipe, Run]:
    """Read the runs that an experiment's file in `folder` holds on its data set; none if there is no file.

    With `validation` those on training images held out, whatever the experiment's own data set is.
    """
    file, data_name = path(name, folder), _asked(name, validation).data_name
    return {run.recipe: run for run in (runs.read(file) if file.exists() else []) if run.dataset == data_name}


def complete(name: str, folder: str | os.PathLike = RESULTS, validation: bool = False) -> list[Run]:
    """Read the runs of an experiment if its file in `folder` has all of them, else return none.

    That takes neither the data nor a file that can be written to. Raises FileNotFoundError as `Experiment.plan` does.
    """
    plan, there = EXPERIMENTS[name].plan(folder), stored(name, folder, validation)
    return [there[recipe] for recipe in plan] if there.keys() >= set(plan) else []


def run(
    name: str,
    data: Dataset,
    folder: str | os.PathLike = RESULTS,
    engine: Engine | None = None,
    validation: bool = False,
) -> list[Run]:
    """Return the runs of an experiment on `data`: those kept in its file in `folder`, and new ones for the rest.

    With `validation` every experiment is scored on training images held out. Raises as `runs.run_all` does.
    """
    experiment = _asked(name, validation)
    if experiment.validation:
        data = data.hold_out(VALIDATION_IMAGES)
    return runs.run_all(experiment.plan(folder), data, path(name, folder), experiment.trainer, engine=engine)


def _asked(name: str, validation: bool) -> Experiment:
    experiment = EXPERIMENTS[name]
    return replace(experiment, validation=True) if validation else experiment


def finished(name: str, folder: str | os.PathLike = RESULTS) -> Arms:
    """Return the arms of an experiment, in its order, from its file in `folder`.

    They hold the seeds that every arm has, so that arms stay comparable while the experiment is being run. Failed
    runs are among them; so are those that did not learn, as failed ones.

    Raises FileNotFoundError if fewer than two seeds (or the only one) are complete.
    """
    experiment = EXPERIMENTS[name]
    plan, kept = experiment.plan(folder), stored(name, folder)
    lacking = {recipe.seed for recipe in plan if recipe not in kept}
    whole = [recipe for recipe in plan if recipe.seed not in lacking]
    seeds = len(experiment.seeds) - len(lacking)
    if seeds < min(2, len(experiment.seeds)):
        there = sum(recipe in kept for recipe in plan)
        where = "" if Path(folder) == RESULTS else f" --output {folder}"
        raise FileNotFoundError(
            f"{path(name, folder)} has {there} of {len(plan)} runs: python -m study run {name}{where} goes on"
        )
    return arms((judged(kept[recipe]) for recipe in whole), (replace(recipe, seed=0) for recipe in plan))
