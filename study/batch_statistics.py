"""What the test scores of batch norm owe to the statistics that it normalizes with."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from normbench.data import Dataset, augmentation, warp
from normbench.layers import GhostBatchNorm2d
from normbench.training import Recipe, Run, Trainer, predict, scores, train
from normbench.training.testing import log_probabilities
from study.networks import build


def train_and_split(net: nn.Module, data: Dataset, recipe: Recipe, **options: Any) -> Run:
    """Train as `train` does; a run with batch norm also gets its `statistics`, the test scores that `split` gives."""
    run = train(net, data, recipe, **options)
    if recipe.family != "BN":
        return run
    return replace(run, statistics=split(net, recipe, data.first(recipe.images)))


SPLITTING = Trainer("train and split", build, train=train_and_split, recorded=True)


def split(net: nn.Module, recipe: Recipe, data: Dataset) -> dict[str, dict[str, float]]:
    """Return test_loss and test_accuracy of a trained `net` with batch norm, by the statistics that it normalizes with.

    - "running": the running averages that training kept, with which one usually tests
    - "precise": mean and variance of all training images under the final weights (Wu & Johnson 2021, section 3)
    - "batch": those of the test images themselves, in batches of the training's size, as in training

    "batch" and "precise" differ by the noise of small batches; "precise" and "running" differ by the lag and the
    noise of the running averages. `net` stays as it is, but is in evaluation mode afterwards.
    """
    images = data.standardize(data.x_test)
    outputs = {
        "running": predict(net, images, recipe.mirrored),
        "precise": predict(with_precise_statistics(net, recipe, data), images, recipe.mirrored),
        "batch": _by_batches(copy.deepcopy(net), images, recipe),
    }
    return {statistics: scores("test", output, data.y_test) for statistics, output in outputs.items()}


def with_precise_statistics(net: nn.Module, recipe: Recipe, data: Dataset, batch_size: int = 1000) -> nn.Module:
    """Return a copy of `net` whose running averages are plain means over the training images, augmented as in training.

    Each batch of `batch_size` images has the same weight, also a smaller last one.
    """
    net = copy.deepcopy(net)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over the batches instead of an exponential one
        if isinstance(layer, GhostBatchNorm2d):
            layer.images = None  # the statistics of a whole batch, not those of a few of its images
    draw, n = augmentation(recipe.augment, data), len(data.y_train)
    matrices = draw(n, data.image_shape[1:], torch.Generator().manual_seed(recipe.seed)).to(data.device)
    net.train()
    with torch.inference_mode():
        for images, maps in zip(data.x_train.split(batch_size), matrices.split(batch_size)):
            net(data.standardize(warp(images.float(), maps, grey=data.is_grey)))
    return net


@torch.inference_mode()
def _by_batches(net: nn.Module, images: Tensor, recipe: Recipe) -> Tensor:
    """Log-probabilities (N, classes), each batch normalized with its own statistics, and its mirror image as well."""
    net.train()
    batches = images.split(recipe.batch_size)
    return torch.cat([log_probabilities(net, batch, recipe.mirrored) for batch in batches])
