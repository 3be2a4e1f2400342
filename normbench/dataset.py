"""A data set as tensors on one device."""

import zlib
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set on one device: images uint8 (N, C, H, W), labels int64 (N,)."""

    name: str
    classes: tuple[str, ...]
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    def __post_init__(self):
        for part in ("train", "test"):
            x, y = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            _check(self.name, part, x, y, len(self.classes))
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            shapes = tuple(self.x_train.shape[1:]), tuple(self.x_test.shape[1:])
            raise ValueError(f"{self.name}: x_train has images of {shapes[0]}, x_test of {shapes[1]}")

    @property
    def device(self) -> torch.device:
        return self.x_train.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return tuple(self.x_train.shape[1:])

    @cached_property
    def test_set(self) -> str:
        """A checksum of the test labels: tells whether image 7 here is image 7 of a run made elsewhere."""
        return f"{zlib.crc32(self.y_test.cpu().numpy().tobytes()):08x}"

    @cached_property
    def mean_std(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the training pixels in [0, 1], each (1, C, 1, 1)."""
        pixels = self.x_train.float().div_(255)  # in place: one copy in float is 0.6 GB for CIFAR-10
        std, mean = torch.std_mean(pixels, dim=(0, 2, 3), keepdim=True)
        return mean, std.clamp(min=1 / 255)  # a channel may be empty

    def standardize(self, images: Tensor) -> Tensor:
        """Pixels in [0, 255], any shape (N, C, H, W), to mean 0 and deviation 1 over the training set."""
        mean, std = self.mean_std
        return images.float().mul(1 / (255 * std)).sub_(mean / std)

    def to(self, device: torch.device | str) -> "Dataset":
        """The same on another device."""
        return replace(self, **{k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)})

    def first(self, n: int) -> "Dataset":
        """The same with the first `n` training images alone; 0 for all.

        Raises ValueError where there are fewer.
        """
        if n > len(self.y_train):
            raise ValueError(f"images {n} is above the {len(self.y_train)} training images of {self.name}")
        return replace(self, x_train=self.x_train[:n], y_train=self.y_train[:n]) if n else self

    def hold_out(self, n: int) -> "Dataset":
        """The last `n` training images stand in for the test set: what choices are made on."""
        if not 0 < n < len(self.y_train):
            raise ValueError(f"cannot hold out {n} of {len(self.y_train)} training images")
        x, y = self.x_train, self.y_train
        name = f"{self.name} (validation)"
        return replace(self, name=name, x_train=x[:-n], y_train=y[:-n], x_test=x[-n:], y_test=y[-n:])


def _check(name: str, part: str, x: Tensor, y: Tensor, classes: int) -> None:
    if x.ndim != 4 or x.dtype != torch.uint8:
        raise ValueError(
            f"{name}: x_{part} must be uint8 images (N, H, W) or (N, H, W, C), "
            f"got {str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"
        )
    if len(x) != len(y) or not len(y):
        raise ValueError(f"{name}: x_{part} has {len(x)} images and y_{part} {len(y)} labels")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        raise ValueError(f"{name}: y_{part} has labels from {low} to {high}, allowed are 0 to {classes - 1}")
