"""One training: a network, a data set and a recipe become a run."""

import math
import os
import time
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from normbench.data import IN_TURN, Dataset, Samples, Task, augmentation, mirrored_in_turn, shape_of_inputs
from normbench.device import device_name, seeded
from normbench.layers import BatchRenorm
from normbench.training.checkpoint import Checkpoint
from normbench.training.checks import check_network
from normbench.training.fingerprint import network_fingerprint
from normbench.training.optimizers import Optimizers
from normbench.training.penalty import Penalty
from normbench.training.placing import placed
from normbench.training.precision import InBfloat16
from normbench.training.progress import epochs_bar
from normbench.training.provenance import commit, versions
from normbench.training.recipe import Recipe
from normbench.training.run import ON_SAMPLES, Run
from normbench.training.samples import OnSamples, check_recipe
from normbench.training.step import Step
from normbench.training.testing import predict, scores, worst_mistakes


def train(
    net: nn.Module,
    data: Dataset | Samples,
    recipe: Recipe,
    *,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    check: bool = True,
    recorded: bool = False,
) -> Run:
    """Train `net` on `data`, on the device that holds it, and test it after every epoch.

    The same network, data, recipe, device and library versions give the same run, bit for bit on a CPU, and on a GPU if
    `torch.backends.cudnn.deterministic` is set. That holds for networks that draw random numbers too, as dropout does:
    while they are trained, PyTorch's, NumPy's and Python's generators are the training's own.

    Args:
        net: from standardized images (N, C, H, W) to logits or log-probabilities (N, classes); for samples from their
            inputs to what the loss takes. It is trained in place; its normalizations are its own, whatever
            `recipe.norm` says of them.
        data: what to train and test on.
        recipe: the training.
        progress: whether to show a progress bar.
        checkpoint: a file that is renewed after every epoch. After a stop, the same call goes on from it: on a CPU to
            the same run, bit for bit; on a GPU to one as close to it as two runs of one seed are there.
        check: whether to try the network on a few images first, so that one that cannot be trained is refused.
        recorded: whether a GPU's steps are recorded as a CUDA graph: for networks that do the same at every call.

    Raises ValueError where the batch is larger than the training set, where `net` cannot be trained or returns
    something else, and where the checkpoint is broken or belongs to another run; FloatingPointError where the loss
    stops being finite; OSError where the checkpoint cannot be written.
    """
    used = data.first(recipe.images)
    n = used.sizes[0]
    if recipe.batch_size > n:
        raise ValueError(f"batch_size {recipe.batch_size} is above the {n} training {used.things} of {data.name}")
    if isinstance(used, Samples):
        check_recipe(recipe)
    if check:
        check_network(net, used, recipe.batch_size)
    fingerprint, parameters = identity(net, data), sum(p.numel() for p in net.parameters())
    net = placed(net, data.device, used.batch(2)[0])
    net = InBfloat16(net) if recipe.amp else net
    steps = recipe.epochs * math.ceil(n / recipe.batch_size)
    for layer in net.modules():
        if isinstance(layer, BatchRenorm):
            layer.plan(steps)
    optimizers = Optimizers(recipe.optimizer, net, recipe.lr, recipe.weight_decay, steps, recipe.decay_on)
    penalty = Penalty(net, recipe.l1, recipe.l2, recipe.proximal)
    generator = torch.Generator().manual_seed(recipe.seed)
    course: Course
    if isinstance(used, Samples):
        course = OnSamples(used, net, optimizers, penalty, recipe, generator)
    else:
        step = Step(used, net, optimizers, penalty, recorded and not recipe.amp)
        course = OnImages(used, step, recipe, generator)
    training = asdict(recipe) | {"dataset": data.name, "device": device_name(data.device)} | fingerprint
    with seeded(_seed_of_steps(recipe.seed), data.device) as generators:
        saved = Checkpoint(checkpoint, training, generator, net=net, optimizers=optimizers, generators=generators)
        history, seconds = _epochs(recipe, course, optimizers, saved, progress)
    return Run(
        recipe=recipe,
        dataset=data.name,
        history=tuple(history),
        parameters=parameters,
        seconds=seconds,
        device=device_name(data.device),
        test_set=data.test_set,
        fingerprint=fingerprint,
        versions=versions(),
        commit=commit(),
        **course.outcome(),
    )


class Course(Protocol):
    """The epochs and tests of one training."""

    def epoch(self) -> dict[str, float]:
        """Train on everything once; return the row as `Run` has it, but for tests."""

    def test(self) -> dict[str, float]:
        """Return the scores of the test set, as `Run` has them."""

    def said(self, row: dict[str, float]) -> str:
        """Say what a row's test gave."""

    def outcome(self) -> dict[str, Any]:
        """Return what a run has of the last test: fields of `Run`."""


class OnImages:
    """The epochs and tests of one training on images in memory.

    Args:
        data: what to train and test on.
        step: takes a step.
        recipe: the training.
        generator: decides the order of the images and their random changes.
    """

    def __init__(self, data: Dataset, step: Step, recipe: Recipe, generator: torch.Generator):
        self.data, self.step, self.recipe, self.generator = data, step, recipe, generator
        self.x_test = data.standardize(data.x_test)
        self.outputs = torch.empty(0)

    def epoch(self) -> dict[str, float]:
        """Train on every image once; return the row as `Run` has it, but for tests."""
        return train_epoch(self.recipe, self.data, self.step, self.generator)

    def test(self) -> dict[str, float]:
        """Return test_loss and test_accuracy, as `Run` has them."""
        self.outputs = predict(self.step.net, self.x_test, self.recipe.mirrored)
        return scores("test", self.outputs, self.data.y_test)

    def said(self, row: dict[str, float]) -> str:
        """Say what a row's test gave."""
        return f"test {row['test_accuracy']:.2f} %, loss {row['test_loss']:.4f}"

    def outcome(self) -> dict[str, Any]:
        """Return what a run has of the last test: fields of `Run`."""
        probabilities = self.outputs.exp()
        return {
            "correct": (probabilities.argmax(dim=1) == self.data.y_test).cpu(),
            "mistakes": worst_mistakes(probabilities, self.data.y_test),
            "probabilities": probabilities.cpu(),
        }


def _epochs(
    recipe: Recipe, course: Course, optimizers: Optimizers, saved: Checkpoint, progress: bool
) -> tuple[list[dict[str, float]], float]:
    """Train and test epoch by epoch; return the history and the seconds."""
    history, seconds_before = saved.restore()
    if optimizers.steps != len(history) * (len(optimizers.rates) // recipe.epochs):
        raise ValueError(f"{saved.path} is broken; delete it to start anew")
    started = time.perf_counter() - seconds_before
    if len(history) == recipe.epochs:  # the checkpoint is that of a finished run
        course.test()
    bar = epochs_bar(recipe.epochs, recipe.label, progress, done=len(history))
    for epoch in bar:
        epoch_started = time.perf_counter()
        row: dict[str, float] = {"epoch": epoch} | course.epoch()
        row |= course.test()
        row["seconds"] = time.perf_counter() - epoch_started
        history.append(row)
        bar.set_postfix_str(course.said(row), refresh=False)
        _check_finite(recipe, row)
        saved.save(history, time.perf_counter() - started)
    bar.close()
    return history, time.perf_counter() - started


def train_epoch(recipe: Recipe, data: Dataset, step: Step, generator: torch.Generator) -> dict[str, float]:
    """Train on every image once, in random order, each under a random change of its own.

    Nothing in the loop waits for the device: outputs stay there until the epoch ends. Returns the epoch's
    train_loss, train_accuracy, penalty, l1_norm and zeros, as `Run` has them.
    """
    step.net.train()
    n, size = len(data.y_train), recipe.batch_size
    order = torch.randperm(n, generator=generator).to(data.device)
    draw = augmentation(recipe.augment, data)
    matrices = draw(n, data.image_shape[1:], generator).to(data.device)
    if recipe.augment == IN_TURN:
        epoch = step.optimizers.steps // math.ceil(n / size)
        matrices = mirrored_in_turn(matrices, order, epoch, recipe.seed)
    images, labels = data.x_train[order], data.y_train[order]
    outputs = torch.empty(n, len(data.classes), device=data.device)
    penalties = torch.zeros(math.ceil(n / size), device=data.device)
    for i, start in enumerate(range(0, n, size)):
        batch = slice(start, start + size)
        outputs[batch], penalties[i] = step(images[batch], matrices[batch], labels[batch])
    return scores("train", outputs, labels) | {"penalty": penalties.mean().item()} | step.penalty.state()


def _seed_of_steps(seed: int) -> int:
    """Return the seed of what the network draws in its steps: a stream that the order of the images is no part of."""
    return int(np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1, np.uint64)[0])


def identity(net: nn.Module, data: Task) -> dict[str, str]:
    """Return what a run of `net` on `data` is known by: the run's `fingerprint`."""
    trainer = ON_SAMPLES if isinstance(data, Samples) else "train"
    return {"data": data.fingerprint, "network": network_fingerprint(net, shape_of_inputs(data)), "trainer": trainer}


def _check_finite(recipe: Recipe, row: dict[str, float]) -> None:
    if math.isfinite(row["train_loss"] + row["test_loss"]):
        return
    remedy = f"try a lower learning rate than {recipe.lr:g}"
    if recipe.l1 or recipe.l2:
        remedy += f" or smaller penalties than l1 {recipe.l1:g}, l2 {recipe.l2:g}"
    raise FloatingPointError(f"{recipe.label}: the loss is not finite in epoch {row['epoch']}; {remedy}")
