"""Pixels of any real type become 8 bits, and arrays of images get their axes in order."""

from collections.abc import Sequence

import numpy as np

PART = 1000  # images that are scaled at once, to spare memory


def to_8_bits(x_train: np.ndarray, x_test: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Scale pixels to uint8, 0 to 255; say by what they were scaled, "" if they were 8 bits already.

    Numbers from 0 to 1 are multiplied by 255, whole numbers from 0 to 255 stay, and all others are scaled by the range
    of the training images; what lies beyond it in test images is cut off.

    Raises ValueError for what is no real number, is not finite, or has another type in training than at test time.
    """
    kinds = [_kind(key, x) for key, x in (("x_train", x_train), ("x_test", x_test))]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"x_train is {x_train.dtype.name} and x_test {x_test.dtype.name}; bring both to one type and scale"
        )
    if kinds[0] == "uint8":
        return x_train, x_test, ""
    low, high = float(x_train.min()), float(x_train.max())
    for key, x in (("x_train", x_train), ("x_test", x_test)):
        if not np.isfinite([x.min(), x.max()]).all():
            raise ValueError(f"{key} has pixels that are not finite; replace them, as by np.nan_to_num")
    said = f"{x_train.dtype.name} pixels from {low:g} to {high:g}"
    if low >= 0 and high <= 1:
        low, high, said = 0.0, 1.0, f"{said} are multiplied by 255"
    elif low >= 0 and high <= 255 and (kinds[0] == "integer" or high > 2):
        low, high, said = 0.0, 255.0, f"{said} are rounded to 8 bits"
    else:
        said = f"{said} are scaled to 0 to 255, in 8 bits"
    return scaled(x_train, low, high), scaled(x_test, low, high), said


def scaled(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Bring numbers from `low` to `high` to uint8, 0 to 255; numbers beyond become 0 and 255."""
    new = np.empty(x.shape, np.uint8)
    factor = 255 / ((high - low) or 1)
    for start in range(0, len(x), PART):
        part = (x[start : start + PART].astype(np.float64) - low) * factor
        new[start : start + PART] = part.clip(0, 255).round()
    return new


def _kind(key: str, x: np.ndarray) -> str:
    if x.dtype == np.uint8:
        return "uint8"
    kinds = {"b": "truth value", "i": "integer", "u": "integer", "f": "real number"}
    if x.dtype.kind not in kinds:
        raise ValueError(f"{key} must have pixels that are real numbers, got {x.dtype.name}")
    return kinds[x.dtype.kind]


def axis_of_channels(key: str, shape: Sequence[int]) -> int | None:
    """Return which axis the channels of (N, H, W, C) or (N, C, H, W) are; None for (N, H, W).

    It is the last one if that is 1 or 3 long, else the second if that is; else the one that leaves square images, or
    that is shorter than height and width.

    Raises ValueError for another number of axes, and if the channels cannot be told from height and width.
    """
    if len(shape) == 3:
        return None
    if len(shape) != 4:
        raise ValueError(
            f"{key} must have the shape (N, H, W), (N, H, W, C) or (N, C, H, W), got {tuple(shape)}{_hint(shape)}"
        )
    _, first, second, last = shape
    if last in (1, 3):
        return 3
    if first in (1, 3):
        return 1
    if (first == second) != (second == last):
        return 3 if first == second else 1
    if first != last and min(first, last) < second:
        return 1 if first < last else 3
    raise ValueError(
        f"{key} has the shape {tuple(shape)}, in which channels cannot be told from height and width; for volumes give "
        "a pair of torch Datasets"
    )


def _hint(shape: Sequence[int]) -> str:
    if len(shape) == 2:
        side = round(shape[1] ** 0.5)
        sides = f"{side}, {side}" if side**2 == shape[1] else "H, W"
        return f"; flat images are x.reshape(-1, {sides}), and for vectors give a pair of torch Datasets"
    return "; for volumes and videos give a pair of torch Datasets" if len(shape) > 4 else ""
