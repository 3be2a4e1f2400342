"""A folder of images becomes a data set: files listed by class, opened as they are seen, and brought to one size."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from normbench.data.arrays import from_arrays
from normbench.data.dataset import Dataset
from normbench.data.layout import Files, train_and_test, warn_of_few
from normbench.data.pixels import scaled

FOLDER_SIZE = 32  # pixels to which the images are brought by default


def from_folder(path: Path, size: int = FOLDER_SIZE) -> Dataset:
    """Read a folder with a folder of images for each class, or with train/ and test/ that have such folders.

    The middle of each image is brought to `size` x `size` pixels. Images are turned as their EXIF tag says, transparent
    pixels are white, and images of more than 8 bits are scaled by the range of the training images. The data set has
    the folder's name; its images have one channel if all of them are grey.

    Raises FileNotFoundError if there is no such folder; ValueError if it has another layout, one class only, a file
    that is no image, or more images than fit into memory.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    train, test = train_and_test(path)
    classes = tuple(train)
    _check_memory(path, _count(train), _count(test), size)
    opened, y_train = _opened(train, classes, size)
    opened_tests, y_test = _opened(test, classes, size)
    warn_of_few(path, len(y_test))
    x_train, x_test = _in_8_bits(path, opened, opened_tests)
    if _all_grey(x_train) and _all_grey(x_test):
        x_train, x_test = x_train[..., :1], x_test[..., :1]
    return from_arrays(path.resolve().name, (x_train, y_train, x_test, y_test), path, classes)


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


class _Opened(NamedTuple):
    """An image of the right size: (size, size, 3) in 8 bits, or (size, size) in float, and how many bits it had."""

    pixels: np.ndarray
    depth: str


def _opened(files: Files, classes: Sequence[str], size: int) -> tuple[list[_Opened], np.ndarray]:
    """Return the middle of each image, class by class, and the labels, int (N,)."""
    names = [files.get(name, []) for name in classes]
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda file: _opened_image(file, size), [file for part in names for file in part]))
    return images, np.repeat(np.arange(len(classes)), [len(part) for part in names])


def _opened_image(file: str, size: int) -> _Opened:
    from PIL import Image, ImageOps

    def middle(image: Image.Image) -> np.ndarray:
        return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR))

    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode in DEPTHS:
                pixels = np.asarray(image).astype(np.float32)
                if not np.isfinite(pixels).all():
                    raise ValueError("it has pixels that are not finite")
                return _Opened(middle(Image.fromarray(pixels)), DEPTHS[image.mode])
            if "A" in image.mode.upper() or "transparency" in image.info:
                seen = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
            return _Opened(middle(image.convert("RGB")), "8 bits")
    except Exception as error:  # a broken file can raise almost anything
        raise ValueError(f"{file} cannot be read as an image ({error}); replace or delete it") from error


# Pillow's modes of more than 8 bits; its own conversion would cut off all but the lowest values
DEPTHS = {
    "I;16": "16 bits",
    "I;16L": "16 bits",
    "I;16B": "16 bits",
    "I;16N": "16 bits",
    "I": "32 bits",
    "F": "real numbers",
}


def _in_8_bits(path: Path, train: Sequence[_Opened], test: Sequence[_Opened]) -> tuple[np.ndarray, np.ndarray]:
    """Return the images as uint8 (N, size, size, 3); deeper ones are scaled by the range of those for training."""
    ranges: dict[str, tuple[float, float]] = {}
    for depth in sorted({image.depth for image in (*train, *test)} - {"8 bits"}):
        deep = [image.pixels for image in train if image.depth == depth]
        if not deep:
            raise ValueError(f"{path}/: test images have {depth} per pixel, and no training image has")
        ranges[depth] = low, high = min(float(x.min()) for x in deep), max(float(x.max()) for x in deep)
        print(
            f"{path}/: images of {depth}, from {low:g} to {high:g}, are scaled to 0 to 255, in 8 bits", file=sys.stderr
        )

    def converted(image: _Opened) -> np.ndarray:
        if image.depth == "8 bits":
            return image.pixels
        return np.stack([scaled(image.pixels, *ranges[image.depth])] * 3, axis=-1)

    return np.stack([*map(converted, train)]), np.stack([*map(converted, test)])


def _all_grey(images: np.ndarray) -> bool:
    return bool((images == images[..., :1]).all())
