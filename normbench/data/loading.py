"""Load a data set by its name: one that is known, an npz file, or a folder of images."""

import os
import sys
from http.client import HTTPException
from pathlib import Path

import torch

from normbench.data.arrays import from_arrays, from_npz
from normbench.data.dataset import Dataset
from normbench.data.downloads import time_limit
from normbench.data.folder import FOLDER_SIZE, from_folder
from normbench.data.known import DATASETS


def load(
    name: str | os.PathLike[str] = "auto",
    root: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
    size: int | None = None,
) -> Dataset:
    """Load the data set `name` onto `device`.

    - "mnist", "fashion_mnist", "kmnist", "cifar10", also as "Fashion-MNIST": `<root>/<name>.npz` if there is one, else
      through torchvision, which downloads it to `root` the first time.
    - "digits": the 1,797 handwritten digits inside scikit-learn, brought to 28x28; needs no network.
    - "auto": MNIST; if it can be neither found nor downloaded, the digits, and a line on stderr says so.
    - a folder of images: in torchvision's layout, with a folder for each class, and those in train/ and test/ (or
      val/); or without these two, and then a fifth of each class, drawn at random, is kept for testing. The middle of
      each image is brought to `size` x `size` pixels, by default 32. A name without a slash is a folder's if it is
      nothing else.
    - the path of an npz file, or any other name: `<root>/<name>.npz`.

    An npz file has Keras' layout: x_train and x_test are images (N, H, W), (N, H, W, C) or (N, C, H, W), y_train and
    y_test are (N,) or (N, 1), with a label from 0 to 9,999 for each image, or one-hot, (N, K). Labels may be of any
    real type, booleans too, if they are whole numbers; labels from 1 on are fine. Pixels that are not uint8 are scaled
    to 8 bits, once, and a line on stderr says by what.

    `root` is the folder of data sets: by default the environment's DATA_DIR, else "data". `device` is the CPU by
    default.

    Raises FileNotFoundError if the data set cannot be had, ValueError if a file is broken or has something else, if
    there is one class only, if there are test images of a class without training images, or if a folder's images do
    not fit into memory.
    """
    target, text = device or "cpu", os.fspath(name)
    folder = Path(root or os.environ.get("DATA_DIR") or "data").expanduser()
    path = _path_of(text, name, folder)
    if path is not None and path.suffix != ".npz":
        return from_folder(path, FOLDER_SIZE if size is None else size).to(target)
    if size is not None:
        raise ValueError(f"a size is for folders of images, got {size}; the images of {text} have theirs")
    if path is not None and (path.is_file() or len(Path(text).parts) > 1 or _usual(path.stem) not in DATASETS):
        known = DATASETS.get(path.stem)
        return from_npz(path.stem, path, known.classes if known else None).to(target)
    text = text if path is None else path.stem
    if text != "auto":
        return _load(_usual(text), folder).to(target)
    try:
        return _load("mnist", folder).to(target)
    except FileNotFoundError as missing:
        print(f"{missing}\nUsing scikit-learn's 1,797 digits instead.", file=sys.stderr)
        return _load("digits", folder).to(target)


def _path_of(text: str, name: str | os.PathLike[str], root: Path) -> Path | None:
    """Return the path that a name is; None for a data set's name."""
    path = Path(text).expanduser()
    if "/" in text or os.sep in text or not isinstance(name, str):
        return path
    if path.suffix == ".npz":
        return path if path.is_file() else root / path
    is_a_name = text == "auto" or _usual(text) in DATASETS or (root / f"{text}.npz").is_file()
    return path if not is_a_name and text and path.is_dir() else None


def _usual(name: str) -> str:
    """Return how a known data set is written here: "fashion_mnist" for "Fashion-MNIST"; any other name as it is."""
    letters = {_letters(known): known for known in DATASETS}
    return letters.get(_letters(name), name)


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _load(name: str, root: Path) -> Dataset:
    file = root / f"{name}.npz"
    if file.is_file() and name != "digits":  # which scikit-learn has
        return from_npz(name, file, DATASETS[name].classes if name in DATASETS else None)
    if name in DATASETS:
        return _known(name, root)
    raise FileNotFoundError(
        f"unknown data set {name!r}: choose auto, {', '.join(DATASETS)}, "
        f"put a file {name}.npz in Keras' layout into {root}/, or give a folder of images with a slash: {name}/"
    )


def _known(name: str, root: Path) -> Dataset:
    """Load one of the `DATASETS`; its errors become one line that says what to do."""
    known = DATASETS[name]
    try:
        with time_limit():
            arrays = known.maker(root)
    except ImportError:
        raise
    except Exception as error:  # torchvision takes existing files without a check: broken ones raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        if isinstance(error, OSError | HTTPException) or str(error).startswith("Error downloading"):
            raise FileNotFoundError(
                f"{name} is not in {root}/ and could not be downloaded ({reason}). Put its files "
                f"there, name the folder that has them with DATA_DIR, or use DATASET=digits."
            ) from error
        raise ValueError(
            f"{name}: a file under {root / known.folder}/ is broken ({reason}); delete that folder, and it is "
            "downloaded again"
        ) from error
    return from_arrays(name, arrays, name, known.classes)
