"""What batch norm's test scores owe to the statistics that it normalizes with."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from normbench.augment import augmentation, warp
from normbench.config import Config
from normbench.data import Dataset
from normbench.train import Run, build, predict, scores, train, with_log_probabilities


def train_and_split(config: Config, data: Dataset, progress: bool = True) -> Run:
    """Train as `train` does; a run with batch norm also gets its `statistics`, the test scores that `split` gives."""
    net = build(config, data)
    run = train(config, data, progress, net=net)
    statistics = split(net, config, data.first(config.images)) if config.nm == "BN" else {}
    trainer = {"trainer": "normbench.batch_statistics.train_and_split"}
    return replace(run, statistics=statistics, fingerprint=run.fingerprint | trainer)


def split(net: nn.Module, config: Config, data: Dataset) -> dict[str, dict[str, float]]:
    """test_loss and test_accuracy of a trained `net` with batch norm, by the statistics that it normalizes with.

    - "running": the running averages that training kept, which testing usually takes
    - "precise": mean and variance of all training images under the final weights (Wu & Johnson 2021, section 3)
    - "batch": those of the test images themselves, in batches of the training's size, as training takes them

    "batch" and "precise" differ by the noise of small batches; "precise" and "running" differ by the lag and the
    noise of the running averages. `net` is left as it is, but for being in evaluation mode.
    """
    net = with_log_probabilities(net)
    images = data.standardize(data.x_test)
    log_probabilities = {
        "running": predict(net, images),
        "precise": predict(with_precise_statistics(net, config, data), images),
        "batch": _with_those_of_batches(copy.deepcopy(net), images, config.batch_size),
    }
    return {statistics: scores("test", outputs, data.y_test) for statistics, outputs in log_probabilities.items()}


def _with_those_of_batches(net: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Log-probabilities; a network that is shown mirror images in testing is shown them here, too."""
    show = net.with_mirror_images if getattr(net, "mirrored", False) else net
    return _outputs_in_training_mode(net, images.split(batch_size), show)


def with_precise_statistics(net: nn.Module, config: Config, data: Dataset, batch_size: int = 1000) -> nn.Module:
    """A copy of `net` whose running averages are plain means over the training images, distorted as in training.

    Each batch of `batch_size` images counts alike, also a smaller last one.
    """
    net = copy.deepcopy(net)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over the batches instead of an exponential one
            layer.images = 0  # of a GhostBatchNorm2d: a whole batch, not a few of its images
    draw, n = augmentation(config.augment, data.image_shape[0]), len(data.y_train)
    matrices = draw(n, data.image_shape[1:], torch.Generator().manual_seed(config.seed)).to(data.device)
    batches = zip(data.x_train.split(batch_size), matrices.split(batch_size))
    _outputs_in_training_mode(net, (data.standardize(warp(images.float(), maps)) for images, maps in batches), net)
    return net


@torch.inference_mode()
def _outputs_in_training_mode(net: nn.Module, batches: Iterable[Tensor], show: Callable[[Tensor], Tensor]) -> Tensor:
    """What `show`, a way to call `net`, makes of the batches."""
    net.train()
    return torch.cat([show(batch) for batch in batches])
