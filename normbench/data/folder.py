"""A folder of images becomes a data set: files listed by class, split, and brought to one size."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from normbench.data.arrays import from_arrays
from normbench.data.dataset import Dataset

FOLDER_SIZE = 32  # pixels to which the images are brought by default

Files = dict[str, list[str]]  # image files by class


def from_folder(path: Path, size: int = FOLDER_SIZE) -> Dataset:
    """Read a folder with a folder of images for each class, or with train/ and test/ that have such folders.

    The middle of each image is brought to `size` x `size` pixels. The data set has the folder's name; its images have
    one channel if all of them are grey.

    Raises FileNotFoundError if there is no such folder; ValueError if it has another layout, a class without training
    images, a file that is no image, or more images than fit into memory.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    train, test = _train_and_test(path)
    classes = tuple(train)
    if empty := [name for name in classes if not train[name]]:
        raise ValueError(f"{path}/ has no training images of the class {empty[0]!r}")
    _check_memory(path, _count(train), _count(test), size)
    x_train, y_train = _opened(train, classes, size)
    x_test, y_test = _opened(test, classes, size)
    if _all_grey(x_train) and _all_grey(x_test):
        x_train, x_test = x_train[..., :1], x_test[..., :1]
    return from_arrays(path.resolve().name, (x_train, y_train, x_test, y_test), path, classes)


def _train_and_test(path: Path) -> tuple[Files, Files]:
    """List the training and the test files; without train/ and test/, a fifth of each class is for testing."""
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}/")
    train, test = path / "train", path / "test"
    is_split = train.is_dir() and test.is_dir()
    try:
        listed = [_listed(folder) for folder in ((train, test) if is_split else (path,))]
    except FileNotFoundError as error:
        layout = "a folder for each class of images, or train/ and test/ with such folders"
        raise ValueError(f"{path}/ must have {layout} ({str(error).splitlines()[0]})") from error
    if not is_split:
        print(
            f"{path}/ has no train/ and test/: a fifth of each class, drawn at random, is for testing", file=sys.stderr
        )
        return _split(listed[0])
    if foreign := sorted(set(listed[1]) - set(listed[0])):
        raise ValueError(f"{test}/ has a class {foreign[0]!r}, which {train}/ has not")
    if lacking := [name for name in listed[0] if not listed[1].get(name)]:
        print(f"{test}/ has no images of {', '.join(lacking)}", file=sys.stderr)
    return listed[0], listed[1]


def _listed(folder: Path) -> Files:
    """List the image files in each of the folder's folders."""
    from torchvision.datasets import ImageFolder

    found = ImageFolder(folder, allow_empty=True)
    files: Files = {name: [] for name in found.classes}
    for file, label in found.samples:
        files[found.classes[label]].append(file)
    return files


def _split(files: Files) -> tuple[Files, Files]:
    """Return four fifths of each class's files, and the last fifth; the same each time."""
    train, test = {}, {}
    for name, names in files.items():
        shuffled, cut = list(np.random.default_rng(0).permutation(names)), len(names) - len(names) // 5
        train[name], test[name] = shuffled[:cut], shuffled[cut:]
    return train, test


def _count(files: Files) -> int:
    return sum(len(names) for names in files.values())


def _check_memory(path: Path, train: int, test: int, size: int) -> None:
    """Refuse more images than fit into half of the memory, if the machine says how much it has.

    An epoch's order is a second copy of the training images, and test images are kept as floats, too.
    """
    memory = _physical_memory()
    needed = 3 * size**2 * (2 * train + 5 * test)
    if memory is not None and needed > memory / 2:
        raise ValueError(
            f"{path}/: {train + test:,} images of {size}x{size} pixels need {needed / 2**30:.1f} GiB, and this machine "
            f"has {memory / 2**30:.1f}; choose a smaller size or fewer images"
        )


def _physical_memory() -> int | None:
    """Return the machine's memory in bytes; None if it cannot be asked so, as on Windows."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _opened(files: Files, classes: Sequence[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of each image, uint8 (N, size, size, 3), class by class, and the labels, int (N,)."""
    names = [files.get(name, []) for name in classes]
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda file: _opened_image(file, size), [file for part in names for file in part]))
    labels = np.repeat(np.arange(len(classes)), [len(part) for part in names])
    return np.stack(images) if images else np.empty((0, size, size, 3), np.uint8), labels


def _opened_image(file: str, size: int) -> np.ndarray:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} cannot be read as an image ({error}); replace or delete it") from error


def _all_grey(images: np.ndarray) -> bool:
    return bool((images == images[..., :1]).all())
