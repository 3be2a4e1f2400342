"""Data sets of any shape: a pair of torch data sets, read in batches, with a loss and a metric."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from normbench.data.dataset import HELD_OUT
from normbench.data.goal import Function, Goal, described
from normbench.device import seeded
from normbench.source import known_or_unique, source_checksum

LOOKED_AT = 64  # samples of each part, which tell one data set from another


@dataclass(frozen=True, eq=False)
class Samples:
    """Training and test samples of any shape, each an (input, target), and what a network is trained for on them.

    `compare`, `train` and everything else that takes a `Dataset` of images in memory take it as well.

    Args:
        train: the training samples: anything with a length and items, as `torch.utils.data.Dataset`. It makes the
            random changes of its samples.
        test: the test samples.
        loss: "cross_entropy", "mse", "bce", or a function of outputs and targets that returns a scalar.
        metric: "accuracy", "mse", "mae", "loss", or a function of outputs and targets that returns a score per example,
            (N,), or one for all; by default that of the loss.
        validation: what learning rates are chosen on; by default a part of `train`, with its random changes.
        name: what runs remember; by default that of the class of `train`.
        version: stands for the samples, the loss and the metric in what runs are known by; else a checksum of their
            source, and of 64 samples of each part, does. Change it where anything else has changed.
        num_workers: processes that read samples, as of `torch.utils.data.DataLoader`.
        collate: what makes a batch of a list of samples, as `collate_fn` there.
        at: the device that networks are trained on.

    Raises ValueError for a part without samples or without a length, and for an unknown loss or metric.
    """

    train: Any
    test: Any
    loss: str | Function = "cross_entropy"
    metric: str | Function | None = None
    validation: Any = None
    name: str = ""
    version: str = ""
    num_workers: int = 0
    collate: Callable[[list[Any]], Any] | None = None
    at: str = "cpu"

    def __post_init__(self) -> None:
        for part in ("train", "test", "validation"):
            if part != "validation" or self.validation is not None:
                _check_part(part, getattr(self, part))
        Goal(self.loss, self.metric)  # raises for an unknown name
        if not self.name:
            object.__setattr__(self, "name", type(_whole(self.train)).__name__)

    @property
    def goal(self) -> Goal:
        """The loss and the metric."""
        return Goal(self.loss, self.metric)

    @property
    def device(self) -> torch.device:
        """Where networks are trained."""
        return torch.device(self.at)

    @property
    def things(self) -> str:
        """What a message calls the examples."""
        return "samples"

    @property
    def sizes(self) -> tuple[int, int]:
        """The numbers of training and test samples."""
        return len(self.train), len(self.test)

    @property
    def tests(self) -> int:
        """Before a training it is not known whether each test sample has a score."""
        return 0

    @property
    def test_set(self) -> str:
        """Nothing is known of all test targets without reading them."""
        return ""

    @property
    def offers(self) -> dict[str, object]:
        """What a function that makes a network may ask for: what the first input and known labels say."""
        shape = tuple(self.example(1).shape[1:])
        offers: dict[str, object] = {"in_channels": shape[0], "size": shape[1:]} if shape else {}
        classes = self.classes
        return offers | ({"num_classes": classes} if classes else {})

    @property
    def classes(self) -> int:
        """How many classes there are, as the training labels or the classes of the data set say; 0 if nothing does."""
        if self.loss != "cross_entropy":
            return 0
        if (named := getattr(_whole(self.train), "classes", None)) is not None and hasattr(named, "__len__"):
            return len(named)
        labels = known_labels(self.train)
        return 0 if labels is None or not len(labels) else int(labels.max()) + 1

    def example(self, n: int) -> Tensor:
        """Return the first `n` test inputs, (n, …), on the CPU."""
        few = replace(self, test=Subset(self.test, range(min(n, len(self.test)))))
        return next(self.read(few.loader("test", n), torch.device("cpu")))[0]

    def batch(self, n: int) -> tuple[Tensor, Any]:
        """Return a batch of the first `n` training samples on the device, as a training reads them."""
        few = replace(self, train=Subset(self.train, range(min(n, len(self.train)))))
        return next(self.read(few.loader("train", n), self.device))

    def cut(self, n_train: int, n_test: int) -> "Samples":
        """Return the first samples of both parts, so many of each."""
        return replace(self, train=Subset(self.train, range(n_train)), test=Subset(self.test, range(n_test)))

    def to(self, device: torch.device | str) -> "Samples":
        """Return these samples for training on another device."""
        return replace(self, at=str(device))

    def first(self, n: int | None) -> "Samples":
        """Return these samples with only `n` of the training samples, a random choice; None keeps all.

        Raises ValueError if `n` is below 1 or above the number of training samples.
        """
        if n is None or n == len(self.train):
            return self
        if not 1 <= n <= len(self.train):
            raise ValueError(
                f"images must be from 1 to {len(self.train)}, the training samples of {self.name}; got {n}"
            )
        return replace(self, train=Subset(self.train, self._order()[:n]))

    def hold_out(self, n: int) -> "Samples":
        """Return samples to make choices on: tested on `validation` or, without one, on `n` training samples.

        These leave the training set. Raises ValueError unless some training samples remain.
        """
        name = self.name + HELD_OUT
        if self.validation is not None:
            return replace(self, name=name, test=self.validation, validation=None)
        if not 0 < n < len(self.train):
            raise ValueError(f"cannot hold out {n} of {len(self.train)} training samples of {self.name}")
        order = self._order()
        return replace(self, name=name, train=Subset(self.train, order[:-n]), test=Subset(self.train, order[-n:]))

    def _order(self) -> list[int]:
        return torch.randperm(len(self.train), generator=torch.Generator().manual_seed(0)).tolist()

    def loader(self, part: str, size: int, generator: torch.Generator | None = None) -> "DataLoader[Any]":
        """Return what reads the samples of a part in batches of `size`, the last one smaller.

        With a generator they come in random order, and it seeds the worker processes.
        """
        data = getattr(self, part)
        order = SequentialSampler(data) if generator is None else RandomSampler(data, generator=generator)
        batches = BatchSampler(order, size, drop_last=False)
        if _takes_lists(data) and self.collate is None:  # a batch at once, instead of sample by sample
            return DataLoader(data, sampler=batches, batch_size=None, generator=generator)
        return DataLoader(
            data,
            batch_sampler=batches,
            collate_fn=self.collate,
            num_workers=self.num_workers,
            generator=generator,
            pin_memory=self.device.type == "cuda",
        )

    def read(self, loader: "DataLoader[Any]", device: torch.device) -> Iterator[tuple[Tensor, Any]]:
        """Yield batches of inputs (N, …) and targets on the device; floats become float32.

        Raises ValueError for samples that make no batch of inputs and targets.
        """
        batches = iter(loader)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except Exception as error:  # code of the user's own can raise anything
                reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
                raise ValueError(f"{self.name} cannot be read in batches: {reason}") from error
            if not isinstance(batch, (tuple, list)) or len(batch) != 2 or not isinstance(batch[0], Tensor):
                raise ValueError(
                    f"the samples of {self.name} must be (input, target), with inputs that become a tensor; a batch of "
                    f"them is {_kinds(batch)}. Wrap the data set, or train by a function of your own"
                )
            yield _moved(batch[0], device), _moved(batch[1], device)

    @cached_property
    def fingerprint(self) -> str:
        """A checksum of what a run depends on besides network and recipe; of its own where it cannot be known."""
        functions = [each for each in (self.loss, self.metric) if callable(each)]
        known = self.version or source_checksum([*functions, *map(_whole, (self.train, self.test))])
        if not known:
            return known_or_unique(known)
        digest = hashlib.blake2b(digest_size=8)
        for fact in (known, described(self.loss), described(self.metric), *self.sizes):
            digest.update(f"{fact}\n".encode())
        if not self.version:
            for part in (self.train, self.test):
                _digest(part, digest.update)
        return digest.hexdigest()


def known_labels(data: Any) -> Tensor | None:
    """Return the classes of all samples, int64 (N,), where a data set has them at hand; else None.

    Labels that a data set of the user's own keeps are held against a few of its samples.
    """
    if isinstance(data, Subset):
        labels = known_labels(data.dataset)
        return None if labels is None else labels[torch.as_tensor(data.indices)]
    if isinstance(data, TensorDataset):
        labels = data.tensors[1] if len(data.tensors) == 2 else None
    else:
        labels = _kept_labels(data)
    if labels is None or labels.is_floating_point() or labels.is_complex() or labels.numel() != len(data):
        return None
    return labels.flatten().long()


def _kept_labels(data: Any) -> Tensor | None:
    for name in ("targets", "labels"):
        try:
            labels = torch.as_tensor(np.asarray(getattr(data, name)))
            if labels.shape == (len(data),) and all(int(data[i][1]) == int(labels[i]) for i in _spread(len(data), 4)):
                return labels
        except Exception:  # it has none, or others
            continue
    return None


def _check_part(part: str, data: Any) -> None:
    if isinstance(data, IterableDataset) or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise ValueError(
            f"{part} must have a length and items, as torch.utils.data.Dataset has; got {type(data).__name__}"
        )
    if not len(data):
        raise ValueError(f"{part} has no samples")


def _whole(data: Any) -> Any:
    """The data set that a subset is of."""
    return _whole(data.dataset) if isinstance(data, Subset) else data


def _takes_lists(data: Any) -> bool:
    return isinstance(_whole(data), TensorDataset)


def _moved(value: Any, device: torch.device) -> Any:
    """A tensor, or tensors in tuples, lists and dicts, on the device."""
    if isinstance(value, Tensor):
        value = value.float() if value.dtype == torch.float64 else value
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: _moved(part, device) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_moved(part, device) for part in value)
    return value


def _kinds(batch: Any) -> str:
    if not isinstance(batch, (tuple, list)):
        return type(batch).__name__
    return "(" + ", ".join(type(part).__name__ for part in batch) + ")"


def _spread(n: int, most: int) -> list[int]:
    """Up to so many numbers below `n`, evenly spread, with the first and the last."""
    return sorted(set(np.linspace(0, n - 1, min(n, most)).round().astype(int).tolist()))


def _digest(data: Any, update: Callable[[bytes], object]) -> None:
    """Take in all of the tensors of a data set in memory; of another some samples, their random changes fixed."""
    if isinstance(data, TensorDataset):
        for values in data.tensors:
            _digest_value(values, update)
        return
    with seeded(0):
        for i in _spread(len(data), LOOKED_AT):
            _digest_value(data[i], update)


def _digest_value(value: Any, update: Callable[[bytes], object]) -> None:
    if isinstance(value, (tuple, list)):
        for part in value:
            _digest_value(part, update)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            update(str(key).encode())
            _digest_value(value[key], update)
    elif isinstance(value, (Tensor, np.ndarray, np.generic)):
        array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
        update(f"{array.dtype} {array.shape}".encode())
        update(np.ascontiguousarray(array).tobytes())
    else:
        update(repr(value)[:200].encode())
