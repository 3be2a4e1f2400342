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
    name: str = "auto",
    root: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
    size: int | None = None,
) -> Dataset:
    """Load the data set `name` onto `device`.

    - "mnist", "fashion_mnist", "kmnist", "cifar10": `<root>/<name>.npz` if there is one, else through torchvision,
      which downloads it to `root` the first time.
    - "digits": the 1,797 handwritten digits inside scikit-learn, brought to 28x28; needs no network.
    - "auto": MNIST; if it can be neither found nor downloaded, the digits, and a line on stderr says so.
    - a folder of images, with a slash in its name: in torchvision's layout, with a folder for each class, and those in
      train/ and test/; or without these two, and then a fifth of each class, drawn at random, is kept for testing. The
      middle of each image is brought to `size` x `size` pixels, by default 32.
    - any other name: `<root>/<name>.npz`.

    An npz file has Keras' layout: x_train and x_test are uint8 (N, H, W) or (N, H, W, C) with C of 1 or 3, y_train and
    y_test are (N,) or (N, 1), with a label from 0 to 9,999 for each image. Labels may be of any real type, booleans
    too, if they are whole numbers. Images (N, C, H, W) are taken as well, unless the last axis too is 1 or 3 long.

    `root` is the folder of data sets: by default the environment's DATA_DIR, else "data". `device` is the CPU by
    default.

    Raises FileNotFoundError if the data set cannot be had, ValueError if a file is broken or has something else, if
    there are test images of a class without training images, or if a folder's images do not fit into memory.
    """
    target = device or "cpu"
    if "/" in name or os.sep in name:
        return from_folder(Path(name).expanduser(), FOLDER_SIZE if size is None else size).to(target)
    if size is not None:
        raise ValueError(f"a size is for folders of images, got {size}; the images of {name} have theirs")
    folder = Path(root or os.environ.get("DATA_DIR") or "data").expanduser()
    if name != "auto":
        return _load(name, folder).to(target)
    try:
        return _load("mnist", folder).to(target)
    except FileNotFoundError as missing:
        print(f"{missing}\nUsing scikit-learn's 1,797 digits instead.", file=sys.stderr)
        return _load("digits", folder).to(target)


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
