import os
from pathlib import Path

import pytest
import torch

from normbench.data import Dataset, load

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


def pytest_collection_modifyitems(items):
    """Tests marked `mnist` run where DATA_DIR is set, which says that the data are there."""
    if not os.environ.get("DATA_DIR"):
        for item in items:
            if "mnist" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="set DATA_DIR to the folder that holds MNIST"))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
