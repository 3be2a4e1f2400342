"""One training, from a `Config` to a `Run`."""

import math
import time
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import WIDTHS, Net, normalization
from normbench.augment import affine_matrices, warp
from normbench.data import Dataset
from normbench.device import device_name
from normbench.progress import epochs_bar


@dataclass(frozen=True)
class Config:
    """What decides a training, apart from the data.

    Raises ValueError for a value out of range, TypeError for one of the wrong type.
    """

    nm: str = "BN"  # normalization, one of model.NORMALIZATIONS
    gp: int = 2  # groups, for GN alone
    l1: float = 0.0  # λ of the penalty λ·Σ|p| over all parameters
    epochs: int = 20
    batch_size: int = 128
    lr: float = 0.1  # peak of the OneCycle schedule
    weight_decay: float = 5e-4
    width: int = 1  # factor on the channels of every convolution
    seed: int = 0

    def __post_init__(self):
        for field in fields(self):
            value, allowed = getattr(self, field.name), (field.type,) + (int,) * (field.type is float)
            if not isinstance(value, allowed) or isinstance(value, bool):
                raise TypeError(f"{field.name} must be of type {field.type.__name__}, got {value!r}")
        for name, low in dict(gp=1, epochs=1, batch_size=1, width=1, seed=0, l1=0, weight_decay=0).items():
            if not getattr(self, name) >= low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
            if getattr(self, name) == math.inf:
                raise ValueError(f"{name} must be finite, got inf")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be above 0, got {self.lr}")
        normalization(self.nm, channels=self.gp, group=self.gp)  # raises for an unknown name

    @property
    def label(self) -> str:
        """The arm's name in figures and tables: "BN + L1", "GN"."""
        return self.nm + " + L1" * (self.l1 > 0)


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training.

    history has a row an epoch: epoch, train_loss (the data term: mean negative log-likelihood of the
    augmented training images as they were trained on), penalty (mean λ·Σ|p|), train_accuracy, test_loss,
    test_accuracy (both in %, losses in nats), seconds.
    correct (N,) bool says which test images the last epoch got right; probabilities (N, classes) float
    and predictions (N,) int64 are its answers, None where the run was read back from a file.
    """

    config: Config
    dataset: str
    history: tuple[dict[str, float], ...]
    correct: Tensor
    parameters: int
    seconds: float
    device: str
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
    widths = tuple(config.width * width for width in WIDTHS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = Net(config.nm, config.gp, in_channels=data.image_shape[0], classes=len(data.classes), widths=widths)
    try:
        predict(net, torch.zeros(1, *data.image_shape))
    except RuntimeError as error:
        height, width = data.image_shape[1:]
        raise ValueError(f"images of {height}x{width} pixels are too small for the network") from error
    return net


def train(config: Config, data: Dataset, progress: bool = True, net: nn.Module | None = None) -> Run:
    """Train a network on `data`, on the device that holds it, and test it after every epoch.

    The network is that of `config`, unless another is given: one from images to log-probabilities.
    Same config, data, device and library versions give the same run, bit for bit on a CPU.

    Raises ValueError where the batch is larger than the training set, FloatingPointError where the
    loss stops being finite.
    """
    n = len(data.y_train)
    if config.batch_size > n:
        raise ValueError(f"batch_size {config.batch_size} is above the {n} training images of {data.name}")
    started = time.perf_counter()
    net = (build(config, data) if net is None else net).to(data.device, memory_format=torch.channels_last)
    optimizer, schedule = make_optimizer(config, net, n)
    generator = torch.Generator().manual_seed(config.seed)
    x_test, history = data.standardize(data.x_test), []
    bar = epochs_bar(config.epochs, config.label, progress)
    for epoch in bar:
        epoch_started = time.perf_counter()
        row = {"epoch": epoch} | train_epoch(config, data, net, optimizer, schedule, generator)
        log_probabilities = predict(net, x_test)
        row |= _scores("test", log_probabilities, data.y_test)
        row["seconds"] = time.perf_counter() - epoch_started
        history.append(row)
        bar.set_postfix_str(f"test {row['test_accuracy']:.2f} %, loss {row['test_loss']:.4f}", refresh=False)
        _check_finite(config, row)
    bar.close()
    return Run(
        config=config,
        dataset=data.name,
        history=tuple(history),
        correct=(log_probabilities.argmax(dim=1) == data.y_test).cpu(),
        parameters=sum(p.numel() for p in net.parameters()),
        seconds=time.perf_counter() - started,
        device=device_name(data.device),
        probabilities=log_probabilities.exp().cpu(),
    )


def make_optimizer(
    config: Config, net: nn.Module, images: int
) -> tuple[torch.optim.SGD, torch.optim.lr_scheduler.OneCycleLR]:
    """SGD with Nesterov momentum under the OneCycle schedule (Smith & Topin 2018), stepped every batch.

    The schedule ends when `config.epochs` times as many `images` have been trained on.
    """
    optimizer = torch.optim.SGD(
        net.parameters(), lr=config.lr, momentum=0.9, nesterov=True, weight_decay=config.weight_decay, fused=True
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
    """Train on every image once, in random order, each under a random affine map of its own.

    Nothing in the loop waits for the device: outputs stay there until the epoch ends. Returns the epoch's
    train_loss, train_accuracy and penalty, as `Run` has them.
    """
    net.train()
    n, size = len(data.y_train), config.batch_size
    order = torch.randperm(n, generator=generator).to(data.device)
    matrices = affine_matrices(n, data.image_shape[1:], generator).to(data.device)
    images, labels = data.x_train[order], data.y_train[order]
    outputs = torch.empty(n, len(data.classes), device=data.device)
    penalties = []
    for i in range(0, n, size):
        batch = slice(i, i + size)
        x = data.standardize(warp(images[batch].float(), matrices[batch]))
        log_probabilities = net(x)
        loss = F.nll_loss(log_probabilities, labels[batch])
        if config.l1:
            penalty = config.l1 * l1_norm(net)
            loss = loss + penalty
            penalties.append(penalty.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        outputs[batch] = log_probabilities.detach()
    penalty = torch.stack(penalties).mean().item() if penalties else 0.0
    return _scores("train", outputs, labels) | {"penalty": penalty}


def l1_norm(net: nn.Module) -> Tensor:
    """Σ|p| over all parameters, differentiable; its gradient is the sign of each, and 0 at 0."""
    return torch.cat([p.flatten() for p in net.parameters()]).abs().sum()


@torch.inference_mode()
def predict(net: nn.Module, x: Tensor, batch_size: int = 1000) -> Tensor:
    """Log-probabilities (N, classes) of standardized images x (N, C, H, W), in evaluation mode."""
    net.eval()
    return torch.cat([net(batch) for batch in x.split(batch_size)])


def _scores(part: str, log_probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Mean negative log-likelihood, and accuracy in %."""
    loss = F.nll_loss(log_probabilities, labels)
    accuracy = (log_probabilities.argmax(dim=1) == labels).float().mean() * 100
    return {f"{part}_loss": loss.item(), f"{part}_accuracy": accuracy.item()}


def _check_finite(config: Config, row: dict[str, float]) -> None:
    if not math.isfinite(row["train_loss"] + row["test_loss"]):
        raise FloatingPointError(
            f"{config.label}: the loss is not finite in epoch {row['epoch']}; "
            f"try a lower learning rate than {config.lr:g} or a smaller l1 than {config.l1:g}"
        )
