"""The data sets that have a name of their own. To add one, add a row to `DATASETS`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

from normbench.data.arrays import Arrays
from normbench.data.dataset import HELD_OUT
from normbench.data.downloads import cifar10, from_torchvision


def _digits(root: Path) -> Arrays:
    """Return scikit-learn's 8x8 digits with 17 grey levels, enlarged to MNIST's 20x20 within 28x28.

    They are inside scikit-learn: nothing is read from `root`.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = torch.from_numpy(digits.images).float()[:, None] * (255 / 16)
    x = F.pad(F.interpolate(x, size=(20, 20), mode="bilinear"), (4, 4, 4, 4)).round().to(torch.uint8)
    x_train, x_test, y_train, y_test = train_test_split(
        x.numpy(), digits.target, test_size=297, stratify=digits.target, random_state=0
    )
    return x_train, y_train, x_test, y_test


class KnownDataset(NamedTuple):
    """A data set with a name of its own.

    `maker` takes the folder of data sets and returns x_train, y_train, x_test and y_test, in one of the layouts that
    `load` allows; it downloads them if need be. `folder` is where in the folder of data sets its files lie: what to
    delete if one of them is broken.
    """

    title: str
    classes: tuple[str, ...]
    maker: Callable[[Path], Arrays]
    folder: str = ""


DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
KANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DATASETS = {
    "mnist": KnownDataset("MNIST", DIGITS, partial(from_torchvision, "MNIST"), "MNIST"),
    "fashion_mnist": KnownDataset("Fashion-MNIST", CLOTHES, partial(from_torchvision, "FashionMNIST"), "FashionMNIST"),
    "kmnist": KnownDataset("KMNIST", KANA, partial(from_torchvision, "KMNIST"), "KMNIST"),
    "cifar10": KnownDataset("CIFAR-10", THINGS, cifar10, "cifar-10-batches-py"),
    "digits": KnownDataset("scikit-learn's digits", DIGITS, _digits),
}


def is_held_out(name: str) -> bool:
    """Tell whether `name` is that of a data set whose test set is a held-out part of the training images."""
    return name.endswith(HELD_OUT)


def title(name: str) -> str:
    """Return the data set's name for readers: "MNIST" for "mnist".

    For "mnist (validation)" it is "MNIST, held-out training images". A name that is not in `DATASETS` is its own title.
    """
    plain = name.removesuffix(HELD_OUT)
    readable = DATASETS[plain].title if plain in DATASETS else plain
    return f"{readable}, held-out training images" if is_held_out(name) else readable
