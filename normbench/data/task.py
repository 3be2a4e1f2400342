"""What a network is trained for, as far as those who build networks and keep runs need to know it."""

from collections.abc import Mapping
from typing import Protocol, Self

import torch
from torch import Tensor


class Task(Protocol):
    """A data set, or a training function of the user's own, which has data of its own."""

    @property
    def name(self) -> str:
        """What runs remember."""

    @property
    def fingerprint(self) -> str:
        """A checksum of all that a run depends on besides network and recipe; "" where it cannot be known."""

    @property
    def device(self) -> torch.device:
        """Where networks are trained."""

    @property
    def test_set(self) -> str:
        """A checksum of the test labels; "" where there is none."""

    @property
    def tests(self) -> int:
        """How many test examples have a score of their own, as far as that is known."""

    @property
    def offers(self) -> Mapping[str, object]:
        """What a function that makes a network may ask for: num_classes, in_channels, size."""

    def example(self, n: int) -> Tensor | None:
        """Return up to `n` inputs as a network is given them, (n, …); None where none are known."""

    def to(self, device: torch.device | str) -> Self:
        """Return the task on a device."""


def shape_of_inputs(task: Task) -> tuple[int, ...]:
    """Return the shape of one input, such as (C, H, W); () where no inputs are known."""
    example = task.example(1)
    return () if example is None else tuple(example.shape[1:])
