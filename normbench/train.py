"""One training, from a `Config` to a `Run`."""

import math
import os
import time
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import COLOUR, WIDTHS, Net
from normbench.augment import augmentation, warp
from normbench.checkpoint import Checkpoint
from normbench.config import Config
from normbench.data import Dataset
from normbench.device import commit, device_name, versions
from normbench.penalty import Penalty
from normbench.progress import epochs_bar

MOMENTUM = 0.9


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training.

    history has a row an epoch: epoch, train_loss (the data term: mean negative log-likelihood of the
    augmented training images as they were trained on), penalty (mean λ1·Σ|p| + λ2·Σp²), train_accuracy,
    test_loss, test_accuracy (both in %, losses in nats), and at its end l1_norm (Σ|p|) and zeros (the share of
    exact zeros, in %) of the parameters that a penalty acts on, or would; seconds.
    correct (N,) bool says which test images the last epoch got right; mistakes are those of the others that it
    was most sure of, as (image, prediction, its probability); test_set is a checksum that says which images
    were meant. statistics is what `batch_statistics.split` gives, where it was asked for. versions and commit say
    which code it was. probabilities (N, classes) float and predictions (N,) int64 are all its answers, None where
    the run was read back from a file.
    """

    config: Config
    dataset: str
    history: tuple[dict[str, float], ...]
    correct: Tensor
    parameters: int
    seconds: float
    device: str
    mistakes: tuple[tuple[int, int, float], ...] = ()
    test_set: str = ""
    statistics: dict[str, dict[str, float]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)
    commit: str = field(default_factory=commit)
    probabilities: Tensor | None = None

    @property
    def predictions(self) -> Tensor | None:
        return None if self.probabilities is None else self.probabilities.argmax(dim=1)

    @property
    def errors(self) -> int:
        return int((~self.correct).sum())


def build(config: Config, data: Dataset) -> nn.Module:
    """The network of `config` for images of `data`, on the CPU; its weights depend on `config.seed` alone.

    Raises ValueError where the images are too small for it.
    """
    channels, height, width = data.image_shape
    arguments = {"widths": WIDTHS} | (COLOUR if channels > 1 else {})
    arguments["widths"] = tuple(config.width * each for each in arguments["widths"])
    arguments |= dict(in_channels=channels, size=(height, width), classes=len(data.classes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Net(config.nm, config.gp, **arguments)


def train(
    config: Config,
    data: Dataset,
    progress: bool = True,
    net: nn.Module | None = None,
    checkpoint: str | os.PathLike | None = None,
) -> Run:
    """Train a network on `data`, on the device that holds it, and test it after every epoch.

    The network is that of `config`, unless another is given: one from images to log-probabilities.
    Same config, data, device and library versions give the same run, bit for bit on a CPU.
    With a `checkpoint`, the file of that name is renewed after every epoch, and the same call goes on from it
    after a stop, to the same run.

    Raises ValueError where the batch is larger than the training set or the checkpoint is another training's,
    FloatingPointError where the loss stops being finite.
    """
    data = data.first(config.images)
    n = len(data.y_train)
    if config.batch_size > n:
        raise ValueError(f"batch_size {config.batch_size} is above the {n} training images of {data.name}")
    net = (build(config, data) if net is None else net).to(data.device, memory_format=torch.channels_last)
    optimizer, schedule = make_optimizer(config, net, n)
    generator = torch.Generator().manual_seed(config.seed)
    kept = Checkpoint(checkpoint, config, data, net, optimizer, schedule, generator)
    history, before = kept.restore()
    started, x_test = time.perf_counter() - before, data.standardize(data.x_test)
    bar = epochs_bar(config.epochs, config.label, progress, done=len(history))
    for epoch in bar:
        epoch_started = time.perf_counter()
        row = {"epoch": epoch} | train_epoch(config, data, net, optimizer, schedule, generator)
        row |= scores("test", predict(net, x_test), data.y_test)
        row["seconds"] = time.perf_counter() - epoch_started
        history.append(row)
        bar.set_postfix_str(f"test {row['test_accuracy']:.2f} %, loss {row['test_loss']:.4f}", refresh=False)
        _check_finite(config, row)
        kept.save(history, time.perf_counter() - started)
    bar.close()
    probabilities = predict(net, x_test).exp()
    return Run(
        config=config,
        dataset=data.name,
        history=tuple(history),
        correct=(probabilities.argmax(dim=1) == data.y_test).cpu(),
        parameters=sum(p.numel() for p in net.parameters()),
        seconds=time.perf_counter() - started,
        device=device_name(data.device),
        mistakes=_mistakes(probabilities, data.y_test),
        test_set=data.test_set,
        probabilities=probabilities.cpu(),
    )


def make_optimizer(
    config: Config, net: nn.Module, images: int
) -> tuple[torch.optim.SGD, torch.optim.lr_scheduler.OneCycleLR]:
    """SGD with Nesterov momentum under the OneCycle schedule (Smith & Topin 2018), stepped every batch.

    The schedule ends when `config.epochs` times as many `images` have been trained on.
    """
    optimizer = torch.optim.SGD(
        net.parameters(), lr=config.lr, momentum=MOMENTUM, nesterov=True, weight_decay=config.weight_decay, fused=True
    )
    steps = config.epochs * math.ceil(images / config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps, cycle_momentum=False)
    return optimizer, schedule


def train_epoch(
    config: Config,
    data: Dataset,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    generator: torch.Generator,
) -> dict[str, float]:
    """Train on every image once, in random order, each under a random change of its own.

    Nothing in the loop waits for the device: outputs stay there until the epoch ends. Returns the epoch's
    train_loss, train_accuracy, penalty, l1_norm and zeros, as `Run` has them.
    """
    net.train()
    n, size = len(data.y_train), config.batch_size
    order = torch.randperm(n, generator=generator).to(data.device)
    draw = augmentation(config.augment, data.image_shape[0])
    matrices = draw(n, data.image_shape[1:], generator).to(data.device)
    images, labels = data.x_train[order], data.y_train[order]
    outputs = torch.empty(n, len(data.classes), device=data.device)
    penalty, penalties = Penalty(net, config.l1, config.l2, config.penalized, config.proximal), []
    for i in range(0, n, size):
        batch = slice(i, i + size)
        x = data.standardize(warp(images[batch].float(), matrices[batch]))
        log_probabilities = net(x)
        loss = F.nll_loss(log_probabilities, labels[batch])
        if penalty:
            in_the_loss, whole = penalty()
            loss = loss + in_the_loss
            penalties.append(whole.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        penalty.step(schedule.get_last_lr()[0], MOMENTUM)
        schedule.step()
        outputs[batch] = log_probabilities.detach()
    mean_penalty = torch.stack(penalties).mean().item() if penalties else 0.0
    return scores("train", outputs, labels) | {"penalty": mean_penalty} | penalty.state()


@torch.inference_mode()
def predict(net: nn.Module, x: Tensor, batch_size: int = 1000) -> Tensor:
    """Log-probabilities (N, classes) of standardized images x (N, C, H, W), in evaluation mode."""
    net.eval()
    return torch.cat([net(batch) for batch in x.split(batch_size)])


def scores(part: str, log_probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Mean negative log-likelihood, and accuracy in %."""
    loss = F.nll_loss(log_probabilities, labels)
    accuracy = (log_probabilities.argmax(dim=1) == labels).float().mean() * 100
    return {f"{part}_loss": loss.item(), f"{part}_accuracy": accuracy.item()}


def _mistakes(probabilities: Tensor, labels: Tensor, n: int = 10) -> tuple[tuple[int, int, float], ...]:
    """The `n` images that the network was most confidently wrong about: (image, prediction, its probability)."""
    confidence, predicted = probabilities.max(dim=1)
    wrong = torch.nonzero(predicted != labels).flatten()
    worst = wrong[confidence[wrong].argsort(descending=True)][:n]
    return tuple(zip(worst.tolist(), predicted[worst].tolist(), confidence[worst].tolist()))


def _check_finite(config: Config, row: dict[str, float]) -> None:
    if not math.isfinite(row["train_loss"] + row["test_loss"]):
        raise FloatingPointError(
            f"{config.label}: the loss is not finite in epoch {row['epoch']}; "
            f"try a lower learning rate than {config.lr:g}"
            + f" or smaller penalties than l1 {config.l1:g}, l2 {config.l2:g}"
            * bool(config.l1 or config.l2)
        )
