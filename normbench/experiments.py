"""The studies' experiments, as data: what is asked, which trainings answer it, and the figures that show them."""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from matplotlib.figure import Figure

from normbench import figures, runs
from normbench.batch_statistics import train_and_split
from normbench.config import USUAL_L1, Config
from normbench.data import Dataset
from normbench.engines import Engine, Trainer
from normbench.runs import Arm, Arms, arms
from normbench.train import Run, train, train_or_diverge

CHECKOUT = Path(__file__).parent.parent
RESULTS = CHECKOUT / "results" if (CHECKOUT / "results").is_dir() else Path("results")  # of an installed package
LEARNED = 50.0  # a training that ends below so many % has not learned; one that diverged neither
HELD_OUT = 10_000  # training images that stand in for the test set where something is chosen


@dataclass(frozen=True)
class Experiment:
    """Trainings that answer a question.

    Every arm that `arms` gives is trained with every seed, seed by seed, so that a stop leaves arms that can be
    compared; `arms` is given the folder of the results, which it may depend on. With `validation` the runs are scored
    on training images held out: experiments that choose something. `figures` are drawn from the finished arms.
    An experiment that shares trainings with another is `kept_in` its file.
    """

    question: str
    dataset: str
    arms: Callable[[Path], Iterable[Config]]
    seeds: Sequence[int]
    figures: Mapping[str, Callable[[Arms], Figure]] = field(default_factory=dict)
    validation: bool = False
    trainer: Trainer = train
    kept_in: str = ""

    @property
    def data_name(self) -> str:
        """The data set's name as the runs have it."""
        return f"{self.dataset} (validation)" if self.validation else self.dataset

    def plan(self, folder: str | os.PathLike = RESULTS) -> list[Config]:
        """Every training, in the order in which they are run."""
        wanted = tuple(self.arms(Path(folder)))
        return [replace(config, seed=seed) for seed, config in product(self.seeds, wanted)]


# Each normalization without a penalty, and with the L1 penalty of the studies.
PLAIN = {
    "none": Config("none"),
    "BN": Config("BN"),
    "GN": Config("GN"),
    "GN 4": Config("GN", gp=4),
    "GN 8": Config("GN", gp=8),
    "LN": Config("LN"),
    "IN": Config("IN"),
}
WITH_L1 = {nm: replace(PLAIN[nm], l1=USUAL_L1) for nm in ("BN", "GN", "LN", "IN")}
MAIN = (WITH_L1["BN"], PLAIN["GN"], PLAIN["LN"])  # the three that studies A, B and E compare
# The number of groups: all that divide every channel count, from 1 (LN) to a group a channel (IN).
GROUPS = tuple(PLAIN[name] for name in ("LN", "GN", "GN 4", "GN 8", "IN"))

RATES = (0.025, 0.05, 0.1, 0.2, 0.4)
TUNED = tuple(PLAIN[name] for name in ("none", "BN", "GN", "GN 8", "LN", "IN"))

# Here every penalty is one of those that are varied, so there is no weight decay beside them.
VARIED = {nm: Config(nm, weight_decay=0.0) for nm in ("BN", "GN", "LN", "IN", "none")}
PENALTIES = ({}, {"l1": USUAL_L1}, {"l2": 2.5e-4}, {"l1": USUAL_L1, "l2": 2.5e-4})
GRID = tuple(replace(config, **penalty) for config in VARIED.values() for penalty in PENALTIES)
STUDY_C = (  # BN + L1 + L2, GN + L1, LN + L2, IN + L1 + L2
    *(replace(VARIED["BN"], **PENALTIES[3]), replace(VARIED["GN"], **PENALTIES[1])),
    *(replace(VARIED["LN"], **PENALTIES[2]), replace(VARIED["IN"], **PENALTIES[3])),
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
    replace(PLAIN[name], epochs=epochs) for epochs in LENGTHS for name in ("none", "BN", "GN 8", "LN", "IN")
)

# Ghost batch norm: batches stay as they are, and BN takes its statistics over so many of their images.
GHOSTS = (2, 4, 8, 16, 32, 0)
BY_GHOST = (
    *(Config("BN", ghost=images, epochs=5) for images in GHOSTS),
    Config("GN", epochs=5),
    Config("LN", epochs=5),
)

ON_CIFAR10 = tuple(PLAIN[name] for name in ("none", "BN", "GN", "LN", "IN"))
# Half as long as the trainings that they are chosen for, which would take ten hours of a processor core more.
BY_RATE_ON_CIFAR10 = tuple(replace(config, epochs=10, lr=lr) for config in ON_CIFAR10 for lr in (0.05, 0.1, 0.2))
# With standardized filters, as all networks for colour images have them, and with plain ones; Muon trains both.
FILTERS = tuple(config for nm in ("BN", "GN") for config in (PLAIN[nm], Config(nm, optimizer="muon", filters="plain")))
FEW_IMAGES = dict(images=10_000, epochs=6)
GHOSTS_ON_CIFAR10 = (
    *(Config("BN", ghost=images, **FEW_IMAGES) for images in (2, 8, 32, 0)),
    Config("GN", **FEW_IMAGES),
)
IN_SMALL_BATCHES = tuple(
    Config(nm, batch_size=size, **FEW_IMAGES) for size, nm in product((2, 8, 32), ("BN", "GN", "LN"))
)


def near_rates(config: Config) -> list[Config]:
    """`config` with its learning rate, scaled by the root of the batch size, and from a quarter to four times that."""
    usual = config.lr * math.sqrt(config.batch_size / Config().batch_size)
    return [replace(config, lr=round(usual * factor, 6)) for factor in (0.25, 0.5, 1, 2, 4)]


def with_best_rates(folder: Path) -> list[Config]:
    """Each of `IN_SMALL_BATCHES` with the rate of `near_rates` that scored best on training images held out.

    Raises FileNotFoundError where the rates are not yet tried.
    """
    tried = finished("small_batches_rates", folder)
    return [max(near_rates(config), key=lambda rate: tried[rate].accuracy.mean) for config in IN_SMALL_BATCHES]


def unlearned(tried: Iterable[Arm]) -> int:
    """How many of the trainings have not learned."""
    return sum(int((arm.last() < LEARNED).sum()) for arm in tried)


def shortfall(tried: Iterable[Arm], lr: float) -> float:
    """How far, in points, the mean accuracy with the learning rate `lr` lies below that with the best rate tried.

    A rate with which a training has not learned is not the best.
    """
    means = {arm.config.lr: arm.accuracy.mean for arm in tried if not unlearned([arm])}
    return max(means.values()) - means[lr]


def _chosen(arms: Arms, configs: Iterable[Config]) -> Arms:
    return {config: arms[config] for config in configs}


EXPERIMENTS = {
    "rates": Experiment(
        "Which learning rate suits each normalization, and how wide is the good range?",
        "mnist",
        lambda _: [replace(config, lr=lr) for config in TUNED for lr in RATES],
        range(3),
        {"rates": figures.plot_rates},
        validation=True,
        trainer=train_or_diverge,
    ),
    "head_to_head": Experiment(
        "With equal training, which normalization is most accurate on MNIST, and what does L1 add?",
        "mnist",
        lambda _: (*PLAIN.values(), *WITH_L1.values()),
        range(20, 44),
        {
            "head_to_head": figures.plot_arms,
            "groups": lambda arms: figures.plot_groups(_chosen(arms, GROUPS)),
        },
    ),
    "cifar10_rates": Experiment(
        "Which learning rate suits each normalization on CIFAR-10?",
        "cifar10",
        lambda _: BY_RATE_ON_CIFAR10,
        range(1),
        {"cifar10_rates": figures.plot_rates},
        validation=True,
        trainer=train_or_diverge,
    ),
    "cifar10": Experiment(
        "Does the order of the normalizations on CIFAR-10 differ from that on MNIST?",
        "cifar10",
        lambda _: ON_CIFAR10,
        range(20, 26),
        {"cifar10": figures.plot_arms, "cifar10_curves": figures.plot_seeds},
    ),
    "filters": Experiment(
        "What do standardized filters do for batch norm, and what for group norm?",
        "cifar10",
        lambda _: FILTERS,
        range(20, 26),
        kept_in="cifar10",
    ),
    "cifar10_ghosts": Experiment(
        "Does batch norm lose on CIFAR-10 where few images share its statistics?",
        "cifar10",
        lambda _: GHOSTS_ON_CIFAR10,
        range(100, 108),
        {"cifar10_ghosts": figures.plot_ghosts},
        trainer=train_and_split,
    ),
    "small_batches_rates": Experiment(
        "Which learning rate suits small batches on CIFAR-10?",
        "cifar10",
        lambda _: [rate for config in IN_SMALL_BATCHES for rate in near_rates(config)],
        range(2),
        validation=True,
        trainer=train_or_diverge,
    ),
    "small_batches": Experiment(
        "Does batch norm lose on CIFAR-10 where batches are small?",
        "cifar10",
        with_best_rates,
        range(110, 118),
        {"small_batches": figures.plot_by_batch_size},
    ),
    "length": Experiment(
        "How long must one train until the normalizations no longer differ?",
        "mnist",
        lambda _: BY_LENGTH,
        range(60, 66),
        {"length": figures.plot_length},
    ),
    "ghosts": Experiment(
        "Does batch norm lose where few images share its statistics, while all else stays as it is?",
        "mnist",
        lambda _: BY_GHOST,
        range(100, 125),
        {"ghosts": figures.plot_ghosts},
        trainer=train_and_split,
    ),
    "penalties": Experiment(
        "What do L1 and L2 do, and does it depend on the normalization?",
        "mnist",
        lambda _: GRID,
        range(1, 6),
        {"penalties": lambda arms: figures.plot_penalties(arms, STUDY_C)},
    ),
    "l1_strength": Experiment(
        "How strong should L1 be?",
        "mnist",
        lambda _: STRENGTHS,
        range(1, 6),
        {"l1_strength": figures.plot_strengths},
        kept_in="penalties",
    ),
    "study_c": Experiment(
        "Do study C's four models differ?",
        "mnist",
        lambda _: STUDY_C,
        range(1, 9),
        {
            "study_c": figures.plot_seeds,
            "study_c_without_in": lambda arms: figures.plot_seeds(_chosen(arms, STUDY_C[:3])),
        },
        kept_in="penalties",
    ),
    "luck": Experiment(
        "How much of a record is luck?",
        "mnist",
        lambda _: (Config("BN", epochs=5, images=10_000),),
        range(100, 200),
        {"luck": figures.plot_luck},
    ),
}


def path(name: str, folder: str | os.PathLike = RESULTS) -> Path:
    """The file in which an experiment's runs are kept."""
    return Path(folder) / f"{EXPERIMENTS[name].kept_in or name}.jsonl"


def stored(name: str, folder: str | os.PathLike, data_name: str) -> dict[Config, Run]:
    """The runs on the data set `data_name` that an experiment's file in `folder` holds; none where there is no file."""
    file = path(name, folder)
    return {run.config: run for run in (runs.read(file) if file.exists() else []) if run.dataset == data_name}


def run(name: str, data: Dataset, folder: str | os.PathLike = RESULTS, engine: Engine | None = None) -> list[Run]:
    """The runs of an experiment on `data`: those kept in its file in `folder`, and new ones for the rest."""
    experiment = EXPERIMENTS[name]
    data = data.hold_out(HELD_OUT) if experiment.validation else data
    return runs.run_all(experiment.plan(folder), data, path(name, folder), engine=engine, trainer=experiment.trainer)


def finished(name: str, folder: str | os.PathLike = RESULTS) -> Arms:
    """The arms of an experiment, in its order, from its file in `folder`.

    They hold the seeds that every arm has, so that arms stay comparable while the experiment is being run.

    Raises FileNotFoundError where fewer than two seeds (or the only one) are complete.
    """
    experiment = EXPERIMENTS[name]
    plan, kept = experiment.plan(folder), stored(name, folder, experiment.data_name)
    lacking = {config.seed for config in plan if config not in kept}
    complete = [config for config in plan if config.seed not in lacking]
    seeds = len(experiment.seeds) - len(lacking)
    if seeds < min(2, len(experiment.seeds)):
        there = sum(config in kept for config in plan)
        where = "" if Path(folder) == RESULTS else f" --output {folder}"
        raise FileNotFoundError(
            f"{path(name, folder)} has {there} of {len(plan)} trainings: "
            f"python -m normbench study {name}{where} goes on"
        )
    return arms((kept[config] for config in complete), (replace(config, seed=0) for config in plan))
