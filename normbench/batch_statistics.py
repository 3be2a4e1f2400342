"""Trainings for the batch-size law: tries of learning rates, and batch norm's loss split by its statistics."""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from normbench.augment import augmentation, warp
from normbench.config import Config
from normbench.data import Dataset
from normbench.device import device_name
from normbench.train import Run, build, predict, scores, train


def train_or_diverge(config: Config, data: Dataset, progress: bool = True) -> Run:
    """`train`; and where the loss stops being finite, a run without a test image right instead of an error.

    For trainings that try learning rates, of which some are too high: one of them should not end the others.
    """
    try:
        return train(config, data, progress)
    except FloatingPointError:
        return Run(
            config=config,
            dataset=data.name,
            history=({"epoch": config.epochs, "test_accuracy": 0.0},),
            correct=torch.zeros(len(data.y_test), dtype=torch.bool),
            parameters=sum(p.numel() for p in build(config, data).parameters()),
            seconds=0.0,
            device=device_name(data.device),
            test_set=data.test_set,
        )


def train_and_split(config: Config, data: Dataset, progress: bool = True) -> Run:
    """`train`, and for batch norm the test scores with three kinds of statistics, as `split` gives them."""
    net = build(config, data)
    run = train(config, data, progress, net=net)
    return replace(run, statistics=split(net, config, data.first(config.images))) if config.nm == "BN" else run


def split(net: nn.Module, config: Config, data: Dataset) -> dict[str, dict[str, float]]:
    """test_loss and test_accuracy of a trained `net` with batch norm, by the statistics it normalizes with.

    - "running": the averages that training kept: what testing uses
    - "precise": mean and variance of the training images under the final weights (Wu & Johnson 2021, section 3)
    - "batch": those of the test images themselves, in batches of the training's size: what training uses

    From batch to precise, the noise of small batches goes; from precise to running, the lag and noise of the
    averages comes. The network is left as it is.
    """
    x = data.standardize(data.x_test)
    outputs = {
        "running": predict(net, x),
        "precise": predict(with_precise_statistics(net, config, data), x),
        "batch": _in_training_mode(copy.deepcopy(net), x.split(config.batch_size)),
    }
    return {kind: scores("test", of_kind, data.y_test) for kind, of_kind in outputs.items()}


def with_precise_statistics(net: nn.Module, config: Config, data: Dataset, batch_size: int = 1000) -> nn.Module:
    """A copy of `net` whose running averages are plain means over the training images, distorted as in training."""
    net = copy.deepcopy(net)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the average of all batches, each with the same weight
    draw, n = augmentation(config.augment, data.image_shape[0]), len(data.y_train)
    matrices = draw(n, data.image_shape[1:], torch.Generator().manual_seed(config.seed)).to(data.device)
    batches = zip(data.x_train.split(batch_size), matrices.split(batch_size))
    _in_training_mode(net, (data.standardize(warp(images.float(), own)) for images, own in batches))
    return net


@torch.inference_mode()
def _in_training_mode(net: nn.Module, batches) -> Tensor:
    net.train()
    return torch.cat([net(batch) for batch in batches])
