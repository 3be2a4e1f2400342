"""Synthetic results of every experiment, for tests of what is made of them."""

import os
import shutil

import pytest
from made_up import noise, run_of

from normbench.runs import append
from study.experiments import EXPERIMENTS, RESULTS, path

# What benchmarks, the notebook and the instrument's example wrote, which no experiment makes.
OTHERS = (
    "notebook",
    "speed",
    "search",
    "cost",
    "step",
    "side_by_side",
    "gpu",
    "compare",
    "networks",
    "cifar10_recipes",
)


def write_results(folder, accuracy, deviation=0.05, **row):
    """Write synthetic runs of every experiment to `folder`, as `made_up_arms` makes them, and copies of the others."""
    folder.mkdir(exist_ok=True)
    for name, experiment in EXPERIMENTS.items():
        made = [
            run_of(
                recipe,
                accuracy(recipe) + noise(recipe, deviation(recipe) if callable(deviation) else deviation),
                experiment.data_name,
                **{key: value(recipe) if callable(value) else value for key, value in row.items()},
            )
            for recipe in experiment.plan(folder)
        ]
        write_runs(made, path(name, folder))
    for name in OTHERS:
        if (file := RESULTS / f"{name}.jsonl").exists():
            shutil.copy(file, folder)
    shutil.copytree(RESULTS / "atlas", folder / "atlas")


def write_runs(runs, file):
    """Append runs without waiting for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        for run in runs:
            append(run, file)
