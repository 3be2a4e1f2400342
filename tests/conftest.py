import math
import os
from pathlib import Path

import pytest
import torch

from normbench import runs
from normbench.data import Dataset, load
from normbench.experiments import EXPERIMENTS
from normbench.train import Config, Run

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="session")
def few_digits(digits) -> Dataset:
    """The first 300 training and 50 test images: enough for whether, too few for how well."""
    parts = dict(x_train=digits.x_train[:300], y_train=digits.y_train[:300])
    return Dataset("digits", digits.classes, **parts, x_test=digits.x_test[:50], y_test=digits.y_test[:50])


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    return load("mnist")


def made_up_run(nm, errors, l1=0.0, accuracies=(90.0, 99.0, 98.0)):
    """A run over 200 test images of which the first `errors` are wrong."""
    history = tuple(
        dict(
            epoch=i,
            train_loss=0.25,
            penalty=1000 * l1,
            train_accuracy=97.5,
            test_loss=0.125,
            test_accuracy=accuracy,
            seconds=1.0,
        )
        for i, accuracy in enumerate(accuracies, 1)
    )
    correct = torch.arange(200) >= errors
    return Run(Config(nm, l1=l1, epochs=3), "made-up", history, correct, parameters=7000, seconds=4.0, device="CPU")


def run_of(config, accuracy, dataset="mnist", images=2000, **row):
    """A made-up run of `config` with that last-epoch test accuracy, wrong on its first test images."""
    correct = torch.arange(images) >= round(images * (1 - accuracy / 100))
    scores = dict(train_loss=0.02, penalty=0.03 * (config.l1 > 0), train_accuracy=98.0, test_loss=0.03)
    scores |= dict(l1_norm=1000.0, zeros=0.0, seconds=1.0) | row
    history = tuple(
        scores | dict(epoch=epoch, test_accuracy=accuracy - 0.5 * (config.epochs - epoch))
        for epoch in range(1, config.epochs + 1)
    )
    statistics = {kind: dict(test_loss=0.1, test_accuracy=accuracy) for kind in ("running", "precise", "batch")}
    return Run(config, dataset, history, correct, parameters=7000, seconds=4.0, device="CPU", statistics=statistics)


def noise(config, deviation=0.05):
    """What a seed adds: known numbers, different for each seed, that say nothing of the arm."""
    return deviation * math.sqrt(2) * math.sin(12.9898 * config.seed + len(config.nm) + 7 * config.l1 + config.lr)


def write_results(folder, accuracy, deviation=0.05):
    """Made-up runs of every experiment in `folder`: `accuracy(config)` is each one's, but for what the seed does."""
    for name, experiment in EXPERIMENTS.items():
        path = folder / f"{name}.jsonl"
        path.unlink(missing_ok=True)
        for config in experiment.plan(folder):
            runs.append(run_of(config, accuracy(config) + noise(config, deviation), experiment.data_name), path)


def pytest_collection_modifyitems(items):
    """Tests marked `mnist` or `cifar10` run where DATA_DIR is set, which says that the data are there."""
    if not os.environ.get("DATA_DIR"):
        for item in items:
            if {"mnist", "cifar10"} & {marker.name for marker in item.iter_markers()}:
                item.add_marker(pytest.mark.skip(reason="set DATA_DIR to the folder that holds MNIST and CIFAR-10"))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
