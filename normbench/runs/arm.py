"""Runs that differ only in their seed are an arm; runs and arms become arrays and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from normbench.training import Recipe, Run, labels

if TYPE_CHECKING:
    import pandas as pd

    from normbench.stats import Summary


@dataclass(frozen=True, eq=False)
class Arm:
    """Runs that differ only in their seed, in the order of their seeds; `recipe` is theirs with seed 0.

    A failed run counts (`seeds`, `failures`) and is never averaged: its scores are nan.
    """

    recipe: Recipe
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        """The arm's name for readers. Beside other arms, take `normbench.training.labels`: theirs all differ."""
        return self.recipe.label

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each run."""
        return tuple(run.recipe.seed for run in self.runs)

    @property
    def succeeded(self) -> tuple[Run, ...]:
        """The runs that did not fail."""
        return tuple(run for run in self.runs if not run.failure)

    @property
    def failures(self) -> dict[str, int]:
        """How many runs failed, by the reason: {"diverged": 2}; empty if none did."""
        return dict(Counter(run.failure for run in self.runs if run.failure))

    @property
    def measure(self) -> str:
        """The name of the score that decides."""
        return self.runs[0].measure

    def last(self, metric: str | None = None) -> np.ndarray:
        """Return the last epoch's metric of each run, (seeds,), by default the score that decides.

        It is nan for a failed run.
        """
        return np.array([nan if run.failure else run.last[metric or f"test_{run.measure}"] for run in self.runs])

    def best(self) -> np.ndarray:
        """Return the highest test accuracy among each run's epochs, (seeds,): selected on the test set.

        It is nan for a failed run.
        """
        return np.array([nan if run.failure else run.best["test_accuracy"] for run in self.runs])

    def curve(self, metric: str) -> np.ndarray:
        """Return a metric over the epochs, (seeds, epochs); a failed run is a row of nan."""
        no_curve = [nan] * self.recipe.epochs
        return np.array([no_curve if run.failure else [row[metric] for row in run.history] for run in self.runs])

    @cached_property
    def correct(self) -> np.ndarray:
        """Which test images each run that did not fail got right, (seeds, images) bool.

        Raises ValueError if they were tested on different numbers of images.
        """
        if len(numbers := {len(run.correct) for run in self.succeeded}) > 1:
            raise ValueError(f"runs of {self.label} were tested on {' and '.join(map(str, sorted(numbers)))} images")
        images = len(self.runs[0].correct)
        return np.array([run.correct.numpy() for run in self.succeeded], dtype=bool).reshape(-1, images)

    @cached_property
    def examples(self) -> np.ndarray:
        """What each test example adds to the score of each run that did not fail, (seeds, examples) float.

        There are no examples, (seeds, 0), where a run has a single number.
        """
        scores = [run.examples.numpy() for run in self.succeeded]
        examples = min((len(score) for score in scores), default=0)
        return np.array([score[:examples] for score in scores], dtype=float).reshape(len(scores), examples)

    @cached_property
    def score(self) -> Summary:
        """Mean, deviation and interval of the score that decides over the runs that did not fail.

        If all failed, n is 0 and the rest nan.
        """
        return self.summary()

    @property
    def accuracy(self) -> Summary:
        """The `score` of arms that are judged by the last epoch's test accuracy, in %."""
        return self.score

    def summary(self, metric: str | None = None) -> Summary:
        """Return mean, deviation and interval of the last epoch's metric, as `last` takes it."""
        from normbench.stats import Summary, summary  # SciPy takes a second to import; worker processes do without

        values = self.last(metric)
        values = values[np.isfinite(values)]
        return summary(values) if len(values) else Summary(0, nan, nan, nan, nan)


Arms = dict[Recipe, Arm]


def arms(runs: Iterable[Run], wanted: Iterable[Recipe] | None = None) -> Arms:
    """Group runs into arms, each under its recipe with seed 0.

    Given `wanted` recipes, return the arms of those alone, in their order.
    """
    groups: dict[Recipe, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.recipe.seed):
        groups.setdefault(replace(run.recipe, seed=0), []).append(run)
    order = groups if wanted is None else [recipe for recipe in wanted if recipe in groups]
    return {recipe: Arm(recipe, tuple(groups[recipe])) for recipe in order}


def frame(runs: Iterable[Run]) -> pd.DataFrame:
    """Return a table with a row per run.

    Columns: label, the recipe's fields, data set, the last epoch's scores, best epoch's accuracy, why it failed,
    parameters, seconds, device. A failed run has NaN for its scores.
    """
    import pandas as pd  # slow to import, and only tables need it

    runs = list(runs)
    label = labels(_arm_of(run) for run in runs)
    return pd.DataFrame([{"label": label[_arm_of(run)]} | _row(run) for run in runs])


def _arm_of(run: Run) -> Recipe:
    return replace(run.recipe, seed=0)


def _row(run: Run) -> dict[str, Any]:
    scores = {} if run.failure else {key: run.last[key] for key in run.last if key not in ("epoch", "seconds")}
    return {
        **asdict(run.recipe),
        "dataset": run.dataset,
        f"test_{run.measure}": nan,  # of a failed run; the others' follows
        **scores,
        "best_accuracy": run.best.get("test_accuracy", nan),
        "failure": run.failure,
        "parameters": run.parameters,
        "seconds": run.seconds,
        "device": run.device,
    }
