"""The parts of README and notebook that are made from the files in results/, by name: Markdown, and figures."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from normbench import readings, runs
from normbench.answer import answer
from normbench.batch_figures import plot_batch_size
from normbench.by_hand import trainable_table
from normbench.claims import claims
from normbench.config import Config
from normbench.experiments import GROUPS, HEAD_TO_HEAD, RESULTS, STRENGTHS, STUDY_C, chosen, finished
from normbench.published import slips
from normbench.report import conditions, findings, table
from normbench.seed_figures import plot_arms, plot_groups, plot_luck
from normbench.study_figures import plot_regularization, plot_seeds, plot_strengths
from normbench.tables import penalties_table, seeds_conditions, seeds_table, speed_conditions, speed_table
from normbench.train import Run
from normbench.verdicts import claims_table


def part(name: str, results: Path = RESULTS) -> str:
    """The part called `name`; raises FileNotFoundError where runs that it needs are missing in `results`."""
    return PARTS[name](results)


def draw(name: str, results: Path = RESULTS) -> Figure:
    """The figure called `name`; raises FileNotFoundError where runs that it needs are missing in `results`."""
    experiment, plot = FIGURES[name]
    return plot(finished(experiment, results))


def _paragraphs(*texts: str) -> str:
    return "\n\n".join(texts)


def _published(results: Path) -> str:
    found = runs.read(results / "notebook.jsonl")
    return _paragraphs(table(found), conditions(found), findings(found))


def _head_to_head(name: str, wanted: Sequence[Config] | None, results: Path) -> str:
    found = finished(name, results)
    found = found if wanted is None else chosen(found, wanted)
    return _paragraphs(readings.head_to_head(found), seeds_table(found), seeds_conditions(found))


def _groups(results: Path) -> str:
    found = chosen(finished("head_to_head", results), GROUPS)
    return _paragraphs(readings.groups(found), seeds_conditions(found))


def _batch_size(results: Path) -> str:
    found = finished("batch_size", results)
    return _paragraphs(readings.batch_size(found), readings.rates(found), seeds_conditions(found))


def _strengths(results: Path) -> str:
    found = chosen(finished("regularization", results), STRENGTHS)
    on_all = [run for run in found if run.config.penalized == "all"]
    return _paragraphs(readings.strengths(found), penalties_table(on_all), seeds_conditions(found))


def _study_c(results: Path) -> str:
    found = chosen(finished("regularization", results), STUDY_C)
    return _paragraphs(seeds_table(found), seeds_conditions(found))


def _luck(results: Path) -> str:
    found = finished("luck", results)
    contests = (finished(name, results) for name in ("accuracy", "head_to_head", "regularization"))
    return _paragraphs(readings.luck(found), seeds_conditions(found), readings.winners_table(*contests))


def _speed(results: Path) -> str:
    rows = [json.loads(line) for line in (results / "speed.jsonl").read_text().splitlines()]
    return _paragraphs(speed_table(rows), speed_conditions(rows))


PARTS: dict[str, Callable[[Path], str]] = {
    "answer": answer,
    "claims": lambda results: claims_table(claims(results)),
    "results": _published,
    "accuracy": partial(_head_to_head, "accuracy", None),
    "head to head": partial(_head_to_head, "head_to_head", HEAD_TO_HEAD),
    "cifar10": partial(_head_to_head, "cifar10", None),
    "cifar10 short": partial(_head_to_head, "cifar10_short", None),
    "batch size": _batch_size,
    "groups": _groups,
    "L1": _strengths,
    "study C": _study_c,
    "luck": _luck,
    "parameters": lambda _: trainable_table(),
    "slips": lambda _: slips(),
    "speed": _speed,
}

# Each figure of runs over many seeds: the experiment, and what draws it.
FIGURES: dict[str, tuple[str, Callable[[Sequence[Run]], Figure]]] = {
    "accuracy": ("accuracy", lambda runs: plot_arms(runs, "The studies' three models")),
    "head_to_head": ("head_to_head", lambda runs: plot_arms(chosen(runs, HEAD_TO_HEAD), "Head to head")),
    "groups": ("head_to_head", plot_groups),
    "cifar10_curves": ("cifar10", lambda runs: plot_seeds(runs, "CIFAR-10")),
    "cifar10_arms": ("cifar10_short", lambda runs: plot_arms(runs, "Head to head")),
    "batch_size": ("batch_size", plot_batch_size),
    "regularization": ("regularization", plot_regularization),
    "l1_strength": ("regularization", plot_strengths),
    "study_c": ("regularization", lambda runs: plot_seeds(chosen(runs, STUDY_C), "Study C's four arms")),
    "study_c_without_in": (
        "regularization",
        lambda runs: plot_seeds(chosen(runs, [c for c in STUDY_C if c.nm != "IN"]), "Study C without IN"),
    ),
    "luck": ("luck", plot_luck),
}
