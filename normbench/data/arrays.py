"""Four NumPy arrays become a data set, after a check of every shape, type and label; so do those of an npz file."""

import os
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from normbench.data.dataset import ARRAYS, Dataset
from normbench.data.pixels import axis_of_channels, to_8_bits

MOST_CLASSES = 10_000

Arrays = tuple[Any, Any, Any, Any]  # x_train, y_train, x_test, y_test: what np.asarray takes


def from_npz(name: str, path: Path, classes: tuple[str, ...] | None = None) -> Dataset:
    """Read the data set `name` from an npz file in Keras' layout.

    Raises FileNotFoundError if there is none; ValueError, which names the file, if it is broken or has something else.
    Pickles in it are not opened.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("it is a single array, of np.save; np.savez writes the four")
        with file:
            arrays = [file[key] for key in ARRAYS]
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is broken or not in Keras' layout ({', '.join(ARRAYS)}): {error}") from error
    return from_arrays(name, arrays, path, classes)


def from_arrays(
    name: str, arrays: Sequence[Any], source: str | os.PathLike[str], classes: tuple[str, ...] | None = None
) -> Dataset:
    """Make a data set of the four `ARRAYS`, in one of the layouts that `load` allows.

    Without `classes` their names are "0", "1", … up to the highest training label. A line on stderr says how pixels
    that are no 8 bits were scaled.

    Raises ValueError, which starts with `source`, for anything that cannot be trained and tested on.
    """
    try:
        x_train, y_train, x_test, y_test = (np.asarray(array) for array in arrays)
        for key, array in zip(ARRAYS, (x_train, y_train, x_test, y_test)):
            if not array.size:
                raise ValueError(f"{key} is empty, its shape is {array.shape}")
        axes = axis_of_channels("x_train", x_train.shape), axis_of_channels("x_test", x_test.shape)
        labels_train, labels_test, names = _labels(y_train, y_test, classes)
        x_train, x_test, how = to_8_bits(x_train, x_test)
        for line in (how, _remark(x_train.shape, axes[0])):
            if line:
                print(f"{source}: {line}", file=sys.stderr)
        return Dataset(name, names, _images(x_train, axes[0]), labels_train, _images(x_test, axes[1]), labels_test)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _images(x: np.ndarray, channels: int | None) -> Tensor:
    """Return images as (N, C, H, W)."""
    images = torch.from_numpy(x)
    return (images[:, None] if channels is None else images.movedim(channels, 1)).contiguous()


def _remark(shape: Sequence[int], channels: int | None) -> str:
    if channels is None or shape[channels] not in (2, 4):
        return ""
    colours = f":{shape[channels] - 1}"
    without = f"x[..., {colours}]" if channels == 3 else f"x[:, {colours}]"
    return f"images have {shape[channels]} channels; if the last of them is alpha, leave it out: {without}"


def _labels(
    y_train: np.ndarray, y_test: np.ndarray, classes: tuple[str, ...] | None
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return the labels as indices of classes, int64 (N,), and the classes' names.

    Without names, labels from 1 to K are those of K classes, "1" to "K".
    """
    most = len(classes) if classes else MOST_CLASSES
    train, test = _flat_labels("y_train", y_train, most), _flat_labels("y_test", y_test, most)
    found = np.unique(train)
    untrained = np.setdiff1d(test, found)
    if untrained.size:
        raise ValueError(f"y_test has the label {untrained[0]}, which no training image has")
    if len(found) < 2:
        which = repr(classes[found[0]]) if classes else str(found[0])
        raise ValueError(f"all training images are of one class, {which}; a comparison needs two or more")
    first = 1 if classes is None and np.array_equal(found, np.arange(1, len(found) + 1)) else 0
    names = classes or tuple(str(label) for label in range(first, int(found[-1]) + 1))
    return torch.from_numpy(train - first), torch.from_numpy(test - first), names


def _flat_labels(key: str, y: np.ndarray, classes: int) -> np.ndarray:
    """Return labels (N,), (N, 1) or one-hot (N, K) as int64 (N,), if each is a whole number below `classes`."""
    if y.ndim == 2 and y.shape[1] > 1 and _is_one_hot(y):
        y = y.argmax(axis=1)
    if y.ndim != 1 and y.shape[1:] != (1,):
        raise ValueError(
            f"{key} must have the shape (N,) or (N, 1), or be one-hot, (N, K), got {y.shape}; of probabilities take "
            "y.argmax(1)"
        )
    flat = y.ravel()
    is_real = flat.dtype.kind in "biuf"
    is_class = np.isin(flat, np.arange(classes)) if is_real else np.zeros(len(flat), dtype=bool)
    if not is_class.all():
        raise ValueError(f"{key} has the label {flat[~is_class][0]}, allowed are whole numbers from 0 to {classes - 1}")
    return flat.astype(np.int64)


def _is_one_hot(y: np.ndarray) -> bool:
    return y.dtype.kind in "biuf" and bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all())
