"""One training: a network, a data set and a recipe become a run."""

import math
import os
import time
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn

from normbench.data import Dataset, Task, augmentation, shape_of_inputs
from normbench.device import device_name, seeded
from normbench.layers import BatchRenorm
from normbench.training.checkpoint import Checkpoint
from normbench.training.checks import check_network
from normbench.training.fingerprint import network_fingerprint
from normbench.training.optimizers import Optimizers
from normbench.training.penalty import Penalty
from normbench.training.placing import placed
from normbench.training.progress import epochs_bar
from normbench.training.provenance import commit, versions
from normbench.training.recipe import Recipe
from normbench.training.run import Run
from normbench.training.step import Step
from normbench.training.testing import predict, scores, worst_mistakes


def train(
    net: nn.Module,
    data: Dataset,
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
        net: from standardized images (N, C, H, W) to logits or log-probabilities (N, classes). It is trained in place;
            its normalizations are its own, whatever `recipe.norm` says of them.
        data: what to train and test on.
        recipe: the training.
        progress: whether to show a progress bar.
        checkpoint: a file that is renewed after every epoch. After a stop, the same call goes on from it: on a CPU to
            the same run, bit for bit; on a GPU to one as close to it as two runs of one seed are there.
        check: whether to try the network on a few images first, so that one that cannot be trained is refused.
        recorded: whether a GPU's steps are recorded as a CUDA graph: for networks that do the same at every call.

    Raises ValueError where the batch is larger than the training set, where `net` cannot be trained or returns
    something else, and where the checkpoint is broken or belongs to another training; FloatingPointError where the loss
    stops being finite; OSError where the checkpoint cannot be written.
    """
    used = data.first(recipe.images)
    n = len(used.y_train)
    if recipe.batch_size > n:
        raise ValueError(f"batch_size {recipe.batch_size} is above the {n} training images of {data.name}")
    if check:
        check_network(net, used, recipe.batch_size)
    fingerprint = identity(net, data)
    net = placed(net, data.device, used.standardize(used.x_train[:2]))
    steps = recipe.epochs * math.ceil(n / recipe.batch_size)
    for layer in net.modules():
        if isinstance(layer, BatchRenorm):
            layer.plan(steps)
    optimizers = Optimizers(recipe.optimizer, net, recipe.lr, recipe.weight_decay, steps, recipe.decay_on)
    step = Step(used, net, optimizers, Penalty(net, recipe.l1, recipe.l2, recipe.proximal), recorded)
    generator = torch.Generator().manual_seed(recipe.seed)
    training = asdict(recipe) | {"dataset": data.name, "device": device_name(data.device)} | fingerprint
    with seeded(_seed_of_steps(recipe.seed), data.device) as generators:
        saved = Checkpoint(checkpoint, training, generator, net=net, optimizers=optimizers, generators=generators)
        history, outputs, seconds = _epochs(recipe, used, step, generator, saved, progress)
    probabilities = outputs.exp()
    return Run(
        recipe=recipe,
        dataset=data.name,
        history=tuple(history),
        correct=(probabilities.argmax(dim=1) == data.y_test).cpu(),
        parameters=sum(p.numel() for p in net.parameters()),
        seconds=seconds,
        device=device_name(data.device),
        mistakes=worst_mistakes(probabilities, data.y_test),
        test_set=data.test_set,
        fingerprint=fingerprint,
        versions=versions(),
        commit=commit(),
        probabilities=probabilities.cpu(),
    )


def _epochs(
    recipe: Recipe, data: Dataset, step: Step, generator: torch.Generator, saved: Checkpoint, progress: bool
) -> tuple[list[dict[str, float]], Tensor, float]:
    """Train and test epoch by epoch; return the history, the last log-probabilities of the test images, the seconds."""
    history, seconds_before = saved.restore()
    if step.optimizers.steps != len(history) * math.ceil(len(data.y_train) / recipe.batch_size):
        raise ValueError(f"{saved.path} is broken; delete it to start anew")
    started, x_test = time.perf_counter() - seconds_before, data.standardize(data.x_test)
    outputs = None
    bar = epochs_bar(recipe.epochs, recipe.label, progress, done=len(history))
    for epoch in bar:
        epoch_started = time.perf_counter()
        row: dict[str, float] = {"epoch": epoch} | train_epoch(recipe, data, step, generator)
        outputs = predict(step.net, x_test, recipe.mirrored)
        row |= scores("test", outputs, data.y_test)
        row["seconds"] = time.perf_counter() - epoch_started
        history.append(row)
        bar.set_postfix_str(f"test {row['test_accuracy']:.2f} %, loss {row['test_loss']:.4f}", refresh=False)
        _check_finite(recipe, row)
        saved.save(history, time.perf_counter() - started)
    bar.close()
    if outputs is None:  # the checkpoint is that of a finished training
        outputs = predict(step.net, x_test, recipe.mirrored)
    return history, outputs, time.perf_counter() - started


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
    return {"data": data.fingerprint, "network": network_fingerprint(net, shape_of_inputs(data)), "trainer": "train"}


def _check_finite(recipe: Recipe, row: dict[str, float]) -> None:
    if math.isfinite(row["train_loss"] + row["test_loss"]):
        return
    remedy = f"try a lower learning rate than {recipe.lr:g}"
    if recipe.l1 or recipe.l2:
        remedy += f" or smaller penalties than l1 {recipe.l1:g}, l2 {recipe.l2:g}"
    raise FloatingPointError(f"{recipe.label}: the loss is not finite in epoch {row['epoch']}; {remedy}")
