"""Four NumPy arrays become a data set, after a check of every shape, type and label; so do those of an npz file."""

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from normbench.data.dataset import ARRAYS, Dataset

MOST_CLASSES = 10_000

Arrays = tuple[Any, Any, Any, Any]  # x_train, y_train, x_test, y_test: what np.asarray takes


def from_npz(name: str, path: Path, classes: tuple[str, ...] | None = None) -> Dataset:
    """Read the data set `name` from an npz file in Keras' layout.

    Raises ValueError, which names the file, if it is broken or has something else. Pickles in it are not opened.
    """
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

    Without `classes` their names are "0", "1", … up to the highest training label.

    Raises ValueError, which starts with `source`, for anything that cannot be trained and tested on.
    """
    try:
        x_train, y_train, x_test, y_test = (np.asarray(array) for array in arrays)
        for key, array in zip(ARRAYS, (x_train, y_train, x_test, y_test)):
            if not array.size:
                raise ValueError(f"{key} is empty, its shape is {array.shape}")
        images = _images("x_train", x_train), _images("x_test", x_test)
        most = len(classes) if classes else MOST_CLASSES
        labels = _labels("y_train", y_train, most), _labels("y_test", y_test, most)
        untrained = np.setdiff1d(labels[1], labels[0])
        if untrained.size:
            raise ValueError(f"y_test has the label {untrained[0]}, which no training image has")
        names = classes or tuple(str(label) for label in range(int(labels[0].max()) + 1))
        return Dataset(name, names, images[0], labels[0], images[1], labels[1])
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _images(key: str, x: np.ndarray) -> Tensor:
    """Return images in one of the layouts that `load` allows as (N, C, H, W)."""
    if x.dtype != np.uint8:
        raise ValueError(
            f"{key} must be uint8 images with pixels from 0 to 255, got {x.dtype}; "
            "make them (255 * x).round().astype('uint8') of pixels in [0, 1], x.astype('uint8') of pixels in [0, 255]"
        )
    images = torch.from_numpy(x)
    if x.ndim == 3:
        images = images[:, None]
    elif x.ndim == 4 and x.shape[3] in (1, 3):
        images = images.permute(0, 3, 1, 2)
    elif x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            f"{key} must have the shape (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1 or 3, got {x.shape}; "
            "drop an alpha channel: x[..., :3] of four channels, x[..., :1] of two"
        )
    return images.contiguous()


def _labels(key: str, y: np.ndarray, classes: int) -> Tensor:
    """Return labels (N,) or (N, 1) as int64 (N,), if each is a whole number below `classes`."""
    if y.ndim != 1 and y.shape[1:] != (1,):
        raise ValueError(f"{key} must have the shape (N,) or (N, 1), got {y.shape}; take y.argmax(1) of one-hot labels")
    flat = y.ravel()
    is_real = flat.dtype.kind in "biuf"
    is_class = np.isin(flat, np.arange(classes)) if is_real else np.zeros(len(flat), dtype=bool)
    if not is_class.all():
        raise ValueError(f"{key} has the label {flat[~is_class][0]}, allowed are whole numbers from 0 to {classes - 1}")
    return torch.from_numpy(flat.astype(np.int64))
