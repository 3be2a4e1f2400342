"""What a comparison trains on: images in memory, torch data sets, or whatever a function of the user's own knows."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from normbench.comparison.own import OwnTraining, train_by_function
from normbench.data import Dataset, Goal, Samples, Task
from normbench.device import choose_device
from normbench.training import BY_FUNCTION, ON_SAMPLES, Trainer

HELD_OUT_SHARE = 1 / 6  # of the training images, on which rates are chosen, up to
MOST_HELD_OUT = 10_000  # images


def data_of(given: object, goal: Goal, version: str, device: str | torch.device, augment: str) -> Dataset | Samples:
    """Return what is trained on. Raises ValueError for what is no data, and for options of other data."""
    usual = goal == Goal()
    if isinstance(given, Dataset):
        if not usual:
            raise ValueError("loss and metric are for torch data sets: give data=(train, test); images are classified")
        return _shuffled(given)
    if augment != "auto":
        raise ValueError(f"augment {augment!r} is for images in memory; let your training set make its random changes")
    if isinstance(given, Samples):
        if not usual or version:
            raise ValueError("Samples have a loss, a metric and a version of their own: give them there")
        return given
    return samples_of(given, goal, version, device)


def samples_of(given: object, goal: Goal, version: str, device: str | torch.device) -> Samples:
    """Return torch data sets (train, test) or (train, validation, test) as samples. Raises ValueError for others."""
    if isinstance(given, (tuple, list)) and len(given) in (2, 3):
        train, *validation, test = given
        chosen_on = validation[0] if validation else None
        place = str(choose_device(str(device)))
        return Samples(train, test, goal.loss, goal.metric, chosen_on, version=version, at=place)
    raise ValueError(
        "give data to train and test on: normbench.load(…), or torch data sets (train, test) or (train, validation, "
        f"test); or a training function of your own, train=…; got {type(given).__name__}"
    )


def for_rates(data: Task) -> Task:
    """Return what learning rates are chosen on: a part of the training images or, for a function, what it is told."""
    if isinstance(data, (Dataset, Samples)):
        return data.hold_out(max(1, min(MOST_HELD_OUT, round(HELD_OUT_SHARE * data.sizes[0]))))
    assert isinstance(data, OwnTraining)
    return data.choosing()


def _shuffled(data: Dataset) -> Dataset:
    """Return `data` with its training images in another order: in files they are often sorted by class."""
    order = torch.randperm(len(data.y_train), generator=torch.Generator().manual_seed(0)).to(data.device)
    return replace(data, x_train=data.x_train[order], y_train=data.y_train[order])


def trainer_of(task: Task, build: Callable[..., Any]) -> Trainer:
    """Return what trains the networks that `build` makes."""
    if isinstance(task, OwnTraining):
        return Trainer(BY_FUNCTION, build, train_by_function, is_of_a_user=True)
    return Trainer(ON_SAMPLES if isinstance(task, Samples) else "train", build, is_of_a_user=True)


def sizes_of(data: Task) -> tuple[int, int] | None:
    return data.sizes if isinstance(data, (Dataset, Samples)) else None


def chance_of(data: Task) -> float | None:
    """The accuracy in % of who always names the most frequent class of the test images."""
    return 100 * float(data.y_test.bincount().max()) / len(data.y_test) if isinstance(data, Dataset) else None


def scored_on(held_out: Task) -> str:
    if isinstance(held_out, (Dataset, Samples)):
        return f"on {held_out.sizes[1]:,} held-out {held_out.things}"
    assert isinstance(held_out, OwnTraining)
    return "on the validation split" if held_out.takes("split") else "each with a seed of its own"
