"""The generated parts of README and notebook, by name: Markdown from the files in results/."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from normbench import readings, runs
from normbench.answer import answer
from normbench.by_hand import trainable_table
from normbench.claims import claims
from normbench.experiments import COLOUR_SHORT, HEAD_TO_HEAD, RESULTS, STRENGTHS, STUDY_C, chosen, finished
from normbench.published import slips
from normbench.report import conditions, findings, table
from normbench.tables import penalties_table, seeds_conditions, seeds_table, speed_conditions, speed_table
from normbench.verdicts import claims_table


def part(name: str, results: Path = RESULTS) -> str:
    """The part called `name`; raises FileNotFoundError where runs that it needs are missing in `results`."""
    return PARTS[name](results)


def _paragraphs(*texts: str) -> str:
    return "\n\n".join(texts)


def _published(results: Path) -> str:
    found = runs.read(results / "notebook.jsonl")
    return _paragraphs(table(found), conditions(found), findings(found))


def _head_to_head(name: str, wanted, results: Path) -> str:
    found = finished(name, results)
    found = found if wanted is None else chosen(found, wanted)
    return _paragraphs(readings.head_to_head(found), seeds_table(found), seeds_conditions(found))


def _cifar10_short(results: Path) -> str:
    found = finished("cifar10_short", results)
    return _paragraphs(readings.cifar10(found), seeds_table(chosen(found, COLOUR_SHORT)), seeds_conditions(found))


def _groups(results: Path) -> str:
    return readings.groups(finished("head_to_head", results))


def _batch_size(results: Path) -> str:
    found = finished("batch_size", results)
    return _paragraphs(readings.batch_size(found), readings.rates(found))


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
    "cifar10 short": _cifar10_short,
    "batch size": _batch_size,
    "groups": _groups,
    "L1": _strengths,
    "study C": _study_c,
    "luck": _luck,
    "parameters": lambda _: trainable_table(),
    "slips": lambda _: slips(),
    "speed": _speed,
}
