"""The named experiments, as data: which trainings, on which data set."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from normbench import runs
from normbench.config import USUAL_L1, Config
from normbench.data import Dataset
from normbench.train import Run

RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True)
class Experiment:
    """Trainings that answer one question; they are run in their order, seed by seed."""

    question: str
    dataset: str
    arms: tuple[Config, ...]
    seeds: tuple[int, ...]

    @property
    def configs(self) -> list[Config]:
        return [replace(arm, seed=seed) for seed, arm in product(self.seeds, self.arms)]


MAIN = (Config("BN", l1=USUAL_L1), Config("GN"), Config("LN"))
# Here every penalty is one of those that are varied, so there is no weight decay beside them. Without
# normalization the network does not bear the others' learning rate.
VARIED = {
    nm: Config(nm, epochs=2, weight_decay=0.0, lr=0.02 if nm == "none" else 0.1)
    for nm in ("BN", "GN", "LN", "IN", "none")
}
PENALTIES = {"none": {}, "L1": {"l1": USUAL_L1}, "L2": {"l2": 2.5e-4}, "L1 + L2": {"l1": USUAL_L1, "l2": 2.5e-4}}
GRID = tuple(replace(config, **penalty) for config in VARIED.values() for penalty in PENALTIES.values())
STUDY_C = tuple(
    replace(VARIED[nm], **PENALTIES[penalty])
    for nm, penalty in (("BN", "L1 + L2"), ("GN", "L1"), ("LN", "L2"), ("IN", "L1 + L2"))
)
STRENGTHS = (
    VARIED["BN"],
    *(replace(VARIED["BN"], l1=l1, proximal=way) for way, l1 in product((False, True), (1e-5, 1e-4, 1e-3))),
)

EXPERIMENTS = {
    "accuracy": Experiment("How accurate are BN + L1, GN and LN on MNIST?", "mnist", MAIN, tuple(range(20, 36))),
    "cifar10": Experiment(
        "How accurate are BN, GN and LN on CIFAR-10?", "cifar10", tuple(map(Config, ("BN", "GN", "LN"))), (1, 2, 3)
    ),
    "regularization": Experiment(
        "What does each penalty do to each normalization, and how strong should L1 be?",
        "mnist",
        tuple(dict.fromkeys((*GRID, *STRENGTHS))),
        (1, 2, 3),
    ),
}


def run(name: str, data: Dataset, folder: str | os.PathLike = RESULTS, workers: int = 1) -> list[Run]:
    """The runs of an experiment on `data`: those kept in `<folder>/<name>.jsonl`, and new ones for the rest."""
    return runs.run_all(EXPERIMENTS[name].configs, data, Path(folder) / f"{name}.jsonl", workers)


def finished(name: str, folder: str | os.PathLike = RESULTS) -> list[Run]:
    """The runs of an experiment that are kept in `<folder>/<name>.jsonl`, in the experiment's order.

    Raises FileNotFoundError where some are missing.
    """
    path, experiment = Path(folder) / f"{name}.jsonl", EXPERIMENTS[name]
    read = runs.read(path) if path.exists() else []
    kept = {run.config: run for run in read if run.dataset == experiment.dataset}
    found = [kept[config] for config in experiment.configs if config in kept]
    if len(found) < len(experiment.configs):
        raise FileNotFoundError(
            f"{path} has {len(found)} of {len(experiment.configs)} trainings: python -m normbench study {name} goes on"
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
