"""A data set: training and test images with their labels, held as tensors on one device."""

import hashlib
import zlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
HELD_OUT = " (validation)"  # ends the name of a data set whose test set is a held-out part of the training images


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images of one size on one device, with their labels.

    The images are uint8 (N, C, H, W), the labels int64 (N,): indices into `classes`.

    Raises ValueError if images and labels differ in number, or training and test images in size, or if the images are
    not (N, C, H, W).
    """

    name: str
    classes: tuple[str, ...]
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    def __post_init__(self) -> None:
        for part, x, y in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            if x.dim() != 4:
                raise ValueError(f"x_{part} must have the shape (N, C, H, W), got {tuple(x.shape)}")
            if len(x) != len(y):
                raise ValueError(f"x_{part} has {len(x)} images and y_{part} {len(y)} labels")
        shapes = self.image_shape, tuple(self.x_test.shape[1:])
        if shapes[0] != shapes[1]:
            raise ValueError(f"x_train has images (C, H, W) of {shapes[0]}, x_test of {shapes[1]}")

    @property
    def device(self) -> torch.device:
        """Return the device that holds the images and labels."""
        return self.x_train.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return (C, H, W) of every image."""
        channels, height, width = self.x_train.shape[1:]
        return channels, height, width

    @property
    def is_grey(self) -> bool:
        """Tell grey images, which have one channel, from colour images."""
        return self.image_shape[0] == 1

    @property
    def things(self) -> str:
        """Return what a message calls the examples."""
        return "images"

    @property
    def sizes(self) -> tuple[int, int]:
        """Return the numbers of training and test images."""
        return len(self.y_train), len(self.y_test)

    def batch(self, n: int) -> tuple[Tensor, Tensor]:
        """Return the first `n` training images, standardized, and their labels."""
        return self.standardize(self.x_train[:n]), self.y_train[:n]

    def cut(self, n_train: int, n_test: int) -> "Dataset":
        """Return the first images of both parts, so many of each."""
        return replace(self.first(n_train), x_test=self.x_test[:n_test], y_test=self.y_test[:n_test])

    @property
    def tests(self) -> int:
        """Return the number of test images."""
        return len(self.y_test)

    @property
    def offers(self) -> dict[str, object]:
        """Return what a function that makes a network may ask for."""
        channels, *size = self.image_shape
        return {"num_classes": len(self.classes), "in_channels": channels, "size": tuple(size)}

    def example(self, n: int) -> Tensor:
        """Return the first `n` test images, standardized."""
        return self.standardize(self.x_test[:n])

    @cached_property
    def test_set(self) -> str:
        """Return a checksum of the test labels: if two runs share it, image 7 of one is image 7 of the other."""
        return f"{zlib.crc32(self.y_test.cpu().numpy().tobytes()):08x}"

    @cached_property
    def fingerprint(self) -> str:
        """Return a checksum of all images and labels, the same on every device: 16 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=8)
        for array in (getattr(self, key).cpu().numpy() for key in ARRAYS):
            digest.update(f"{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @cached_property
    def mean_std(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the training pixels in [0, 1], each float (1, C, 1, 1)."""
        pixels = self.x_train.float().div_(255)  # in place: one copy in float is 0.6 GB for CIFAR-10
        std, mean = torch.std_mean(pixels, dim=(0, 2, 3), keepdim=True)
        return mean, std.clamp(min=1 / 255)  # a channel may be constant

    @cached_property
    def _factor_and_offset(self) -> tuple[Tensor, Tensor]:
        mean, std = self.mean_std
        return 1 / (255 * std), mean / std

    def standardize(self, images: Tensor) -> Tensor:
        """Scale pixels in [0, 255] by the training set's mean and standard deviation, which become 0 and 1.

        images (N, C, H, W) of any type; returns float (N, C, H, W).
        """
        factor, offset = self._factor_and_offset
        return images.float().mul(factor).sub_(offset)

    def to(self, device: torch.device | str) -> "Dataset":
        """Return this data set on `device`."""
        return replace(self, **{key: getattr(self, key).to(device) for key in ARRAYS})

    def first(self, n: int | None) -> "Dataset":
        """Return this data set with only the first `n` of its training images; None keeps all.

        Raises ValueError if `n` is below 1 or above the number of training images.
        """
        if n is None:
            return self
        if not 1 <= n <= len(self.y_train):
            raise ValueError(
                f"images must be from 1 to {len(self.y_train)}, the number of training images of {self.name}; got {n}"
            )
        return replace(self, x_train=self.x_train[:n], y_train=self.y_train[:n])

    def hold_out(self, n: int) -> "Dataset":
        """Return a data set, "NAME (validation)", to make choices on: its test set is the last `n` training images.

        They leave the training set, and the real test set is no part of it. Raises ValueError unless some training
        images remain.
        """
        if not 0 < n < len(self.y_train):
            raise ValueError(f"cannot hold out {n} of {len(self.y_train)} training images of {self.name}")
        return replace(
            self,
            name=self.name + HELD_OUT,
            x_train=self.x_train[:-n],
            y_train=self.y_train[:-n],
            x_test=self.x_train[-n:],
            y_test=self.y_train[-n:],
        )
