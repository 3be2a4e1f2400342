"""The named experiments, as data: which claim is tested by which trainings, on which data set."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from normbench import runs
from normbench.batch_statistics import train_and_split, train_or_diverge
from normbench.config import USUAL_L1, Config
from normbench.data import Dataset
from normbench.engines import Engine, Trainer
from normbench.penalty import PENALIZED
from normbench.train import Run, train

RESULTS = Path(__file__).parent.parent / "results"
HELD_OUT = 10_000  # training images that stand in for the test set


@dataclass(frozen=True)
class Experiment:
    """Trainings that test a claim.

    `plan` gives them, in the order they are run, from the folder of the results that it may depend on. With
    `validation`, they are scored on training images held out: experiments that choose something.
    """

    claim: str
    dataset: str
    plan: Callable[[Path], Sequence[Config]]
    validation: bool = False
    trainer: Trainer = train

    @property
    def data_name(self) -> str:
        """The data set's name as the runs have it."""
        return f"{self.dataset} (validation)" if self.validation else self.dataset


def seeded(arms: Iterable[Config], seeds: Iterable[int]) -> list[Config]:
    """Each arm with each seed, seed by seed, so that a stop leaves arms that can be compared."""
    return [replace(arm, seed=seed) for seed, arm in product(seeds, tuple(arms))]


MAIN = (Config("BN", l1=USUAL_L1), Config("GN"), Config("LN"))

# Without normalization the network does not bear the others' learning rate.
SHORT = {nm: Config(nm, epochs=4, lr=0.02 if nm == "none" else 0.1) for nm in ("none", "BN", "GN", "LN", "IN")}
HEAD_TO_HEAD = tuple(
    replace(SHORT[nm], l1=l1)
    for nm, l1s in dict(none=(0.0,), BN=(0.0, USUAL_L1), GN=(0.0, USUAL_L1), LN=(0.0, USUAL_L1), IN=(0.0,)).items()
    for l1 in l1s
)
# The number of groups, where 1 is LN and IN is a group a channel: all numbers that divide every channel count.
GROUPS = (SHORT["LN"], *(replace(SHORT["GN"], gp=gp) for gp in (2, 4, 8)), SHORT["IN"])

COLOUR_SHORT = tuple(Config(nm, epochs=2, images=10_000) for nm in ("BN", "GN", "LN", "IN"))

# Here every penalty is one of those that are varied, so there is no weight decay beside them.
VARIED = {nm: replace(SHORT[nm], epochs=2, weight_decay=0.0) for nm in ("BN", "GN", "LN", "IN", "none")}
PENALTIES = {"none": {}, "L1": {"l1": USUAL_L1}, "L2": {"l2": 2.5e-4}, "L1 + L2": {"l1": USUAL_L1, "l2": 2.5e-4}}
GRID = tuple(replace(config, **penalty) for config in VARIED.values() for penalty in PENALTIES.values())
STUDY_C = tuple(
    replace(VARIED[nm], **PENALTIES[penalty])
    for nm, penalty in (("BN", "L1 + L2"), ("GN", "L1"), ("LN", "L2"), ("IN", "L1 + L2"))
)
STRENGTHS = (
    VARIED["BN"],
    *(
        replace(VARIED["BN"], l1=l1, penalized=penalized, proximal=proximal)
        for penalized, proximal, l1 in product(PENALIZED, (False, True), (1e-5, 1e-4, 1e-3, 1e-2))
    ),
)

SIZES = (2, 4, 8, 16, 32, 64, 128, 256, 512)
BY_SIZE = tuple(Config(nm, epochs=2, images=10_000, batch_size=size) for size in SIZES for nm in ("BN", "GN", "LN"))
# The recipe's rate at its batch of 128, scaled to another batch in each of the three usual ways.
RATES = {"constant": 0.0, "square root": 0.5, "linear": 1.0}

RECORD = Config("BN", epochs=5, images=10_000)


def rates(config: Config) -> list[Config]:
    """`config` with each of the learning rates that are tried at its batch size."""
    tried = (replace(config, lr=round(0.1 * (config.batch_size / 128) ** power, 6)) for power in RATES.values())
    return list(dict.fromkeys(tried))


def with_best_rates(folder: Path) -> list[Config]:
    """Each of `BY_SIZE` with the learning rate that scored best on the training images held out.

    Raises FileNotFoundError where the rates are not yet tried.
    """
    score = {run.config: run.history[-1]["test_accuracy"] for run in finished("rates", folder)}
    return [max(rates(config), key=score.__getitem__) for config in BY_SIZE]


EXPERIMENTS = {
    "accuracy": Experiment(
        "A, B, C, E: of BN + L1, GN and LN on MNIST, one is best", "mnist", lambda _: seeded(MAIN, range(20, 36))
    ),
    "head_to_head": Experiment(
        "B, C, E: normalization, L1 and the number of groups each decide how accurate the network is; IN is worse",
        "mnist",
        lambda _: seeded(dict.fromkeys(HEAD_TO_HEAD + GROUPS), range(40, 48)),
    ),
    "cifar10": Experiment(
        "D: of BN, GN and LN on CIFAR-10, GN is best",
        "cifar10",
        lambda _: seeded(map(Config, ("BN", "GN", "LN")), (1, 2, 3)),
    ),
    "cifar10_short": Experiment(
        "D: the 1.15 points between its three models on CIFAR-10 are the effect of their normalization",
        "cifar10",
        lambda _: seeded(COLOUR_SHORT, range(11, 16)),
    ),
    "rates": Experiment(
        "The best learning rate depends on the batch size",
        "mnist",
        lambda _: [rate for config in BY_SIZE for rate in rates(config)],
        validation=True,
        trainer=train_or_diverge,
    ),
    "batch_size": Experiment(
        "Wu & He: GN does not depend on the batch size, and BN loses at small batches",
        "mnist",
        lambda folder: seeded(with_best_rates(folder), range(50, 54)),
        trainer=train_and_split,
    ),
    "regularization": Experiment(
        "B, C, E: what L1 and L2 do depends on the normalization and on λ; λ = 1e-3 is too much; L1 makes no zeros",
        "mnist",
        lambda _: seeded(dict.fromkeys(GRID + STRENGTHS), (1, 2, 3)),
    ),
    "luck": Experiment(
        "A to E: the best epoch of one seed says how good a recipe is",
        "mnist",
        lambda _: seeded([RECORD], range(100, 200)),
    ),
}


def run(name: str, data: Dataset, folder: str | os.PathLike = RESULTS, engine: Engine | None = None) -> list[Run]:
    """The runs of an experiment on `data`: those kept in `<folder>/<name>.jsonl`, and new ones for the rest."""
    experiment, path = EXPERIMENTS[name], Path(folder) / f"{name}.jsonl"
    data = data.hold_out(HELD_OUT) if experiment.validation else data
    return runs.run_all(experiment.plan(Path(folder)), data, path, engine=engine, trainer=experiment.trainer)


def finished(name: str, folder: str | os.PathLike = RESULTS) -> list[Run]:
    """The runs of an experiment that are kept in `<folder>/<name>.jsonl`, in the experiment's order.

    Raises FileNotFoundError where some are missing.
    """
    path, experiment = Path(folder) / f"{name}.jsonl", EXPERIMENTS[name]
    read, configs = runs.read(path) if path.exists() else [], experiment.plan(Path(folder))
    kept = {run.config: run for run in read if run.dataset == experiment.data_name}
    found = [kept[config] for config in configs if config in kept]
    if len(found) < len(configs):
        raise FileNotFoundError(
            f"{path} has {len(found)} of {len(configs)} trainings: python -m normbench study {name} goes on"
        )
    return found


def arms(found: Sequence[Run], wanted: Sequence[Config] | None = None) -> dict[Config, list[Run]]:
    """The runs that differ in nothing but the seed, together, under their config with seed 0.

    Where `wanted` configs are given, those alone and in their order.
    """
    groups: dict[Config, list[Run]] = {}
    for each in sorted(found, key=lambda run: run.config.seed):
        groups.setdefault(replace(each.config, seed=0), []).append(each)
    return groups if wanted is None else {config: groups[config] for config in wanted if config in groups}


def chosen(found: Sequence[Run], wanted: Sequence[Config]) -> list[Run]:
    """The runs of the `wanted` configs, in their order, whatever the seed."""
    return [run for of_arm in arms(found, wanted).values() for run in of_arm]
