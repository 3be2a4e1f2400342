"""Markdown tables of the pages."""

from study.tables.benchmarks import epochs, networks, recipes, round_of, steps, steps_on_gpu, tries
from study.tables.experiments import (
    accuracy,
    claims,
    l1_strengths,
    lengths,
    mark,
    pairs,
    parameters,
    plus_minus,
    rates,
    results,
    sharing,
    single_runs,
    small_batches,
    small_batches_rates,
    trained,
)
from study.tables.text import markdown

__all__ = [
    "accuracy",
    "claims",
    "epochs",
    "l1_strengths",
    "lengths",
    "mark",
    "markdown",
    "networks",
    "pairs",
    "parameters",
    "plus_minus",
    "rates",
    "recipes",
    "results",
    "round_of",
    "sharing",
    "single_runs",
    "small_batches",
    "small_batches_rates",
    "steps",
    "steps_on_gpu",
    "trained",
    "tries",
]
