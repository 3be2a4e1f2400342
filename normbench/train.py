"""One training, from a `Config` to a `Run`, with its checkpoint."""

import copy
import io
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import COLOUR, WIDTHS, Net
from normbench.augment import augmentation
from normbench.config import Config
from normbench.data import Dataset
from normbench.device import commit, device_name, epochs_bar, is_out_of_memory, seeded, versions
from normbench.fingerprint import network_fingerprint
from normbench.optimizers import Optimizers
from normbench.step import Step


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training.

    Attributes:
        config: the network and its training.
        dataset: the name of the data set.
        history: a row an epoch. train_loss and train_accuracy are those of the augmented training images as they were
            trained on, test_loss and test_accuracy those after the epoch: mean negative log-likelihoods in nats,
            without any penalty, and accuracies in %. penalty is the mean λ1·Σ|p| + λ2·Σp² over the epoch's steps;
            l1_norm (Σ|p|) and zeros (the share of exact zeros in %) describe the parameters that a penalty acts on,
            or would act on, at the end of the epoch. Besides these, epoch (from 1) and seconds.
        correct: (N,) bool, which test images the last epoch got right.
        parameters: how many numbers the network's parameters are.
        seconds: how long the training took, with the time before a stop.
        device: what it was trained on.
        mistakes: the ten wrong test images that the network was most sure of: (image, prediction, its probability).
        test_set: a checksum of the test labels.
        fingerprint: what else the result depends on, by checksums: "data" of all images and labels, "network" as
            `network_fingerprint` gives it; and "trainer", the function that trained. Empty where nobody recorded them.
        failure: why there is no result: "diverged" or "out of memory"; empty for a training that came to its end.
        statistics: what `batch_statistics.split` gives; empty where it was not asked for.
        versions: those of Python, PyTorch and NumPy.
        commit: that of this project's code.
        probabilities: (N, classes) float of the test images; None for a run that was read from a file.
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
    fingerprint: dict[str, str] = field(default_factory=dict)
    failure: str = ""
    statistics: dict[str, dict[str, float]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)
    commit: str = field(default_factory=commit)
    probabilities: Tensor | None = None

    @property
    def last(self) -> dict[str, float]:
        """The last epoch's row of the history: what is reported."""
        return self.history[-1]

    @property
    def best(self) -> dict[str, float]:
        """The row with the highest test accuracy, the first of several: selected on the test set, and so flattering."""
        return max(self.history, key=lambda row: row["test_accuracy"])

    @property
    def predictions(self) -> Tensor | None:
        """(N,) int64, the likeliest class of each test image; None for a run that was read from a file."""
        return None if self.probabilities is None else self.probabilities.argmax(dim=1)

    @property
    def errors(self) -> int:
        """How many test images the last epoch got wrong."""
        return int((~self.correct).sum())


def build(config: Config, data: Dataset) -> nn.Module:
    """The network of `config` for images of `data`, on the CPU; its weights depend on `config.seed` alone.

    Raises ValueError where the images are too small for it.
    """
    channels, height, width = data.image_shape
    arguments = COLOUR if channels > 1 else {"widths": WIDTHS}
    arguments = arguments | {
        "widths": tuple(config.width * filters for filters in arguments["widths"]),
        "in_channels": channels,
        "size": (height, width),
        "classes": len(data.classes),
    }
    if config.filters != "auto":
        arguments["standardized"] = config.filters == "standardized"
    with seeded(config.seed):
        return Net(config.nm, config.gp, config.ghost, **arguments)


def train(
    config: Config,
    data: Dataset,
    progress: bool = True,
    net: nn.Module | None = None,
    checkpoint: str | os.PathLike | None = None,
) -> Run:
    """Train a network on `data`, on the device that holds it, and test it after every epoch.

    Same config, data, device and library versions give the same run, bit for bit on a CPU, and on a GPU where
    `torch.backends.cudnn.deterministic` is set. (Where `net` draws random numbers, as dropout does, they come from
    PyTorch's global generator.)

    Args:
        config: the network and its training.
        data: what to train and test on.
        progress: whether a progress bar is shown.
        net: a network to train instead of that of `config`: from standardized images (N, C, H, W) to logits or
            log-probabilities (N, classes). It is trained in place.
        checkpoint: a file that is renewed after every epoch. After a stop, the same call goes on from it: on a CPU to
            the same run, bit for bit; on a GPU to one as close to it as two runs of one seed are there.

    Raises ValueError where the batch is larger than the training set, where `net` cannot be trained or returns
    something else, and where the checkpoint is broken or is another training's; FloatingPointError where the loss
    stops being finite; OSError where the checkpoint cannot be written.
    """
    all_data, data = data, data.first(config.images)
    n = len(data.y_train)
    if config.batch_size > n:
        raise ValueError(f"batch_size {config.batch_size} is above the {n} training images of {data.name}")
    if net is None:
        net = build(config, data)
    else:
        check_network(net, data, config.batch_size)
    fingerprint = _fingerprint(net, all_data)
    net = placed(with_log_probabilities(net), data.device)
    optimizers = Optimizers(config, net, n)
    step = Step(config, data, net, optimizers)
    generator = torch.Generator().manual_seed(config.seed)
    training = asdict(config) | {"dataset": data.name, "device": device_name(data.device)} | fingerprint
    saved = Checkpoint(checkpoint, training, generator, net=net, optimizers=optimizers)
    history, seconds_before = saved.restore()
    started, x_test = time.perf_counter() - seconds_before, data.standardize(data.x_test)
    log_probabilities = None
    bar = epochs_bar(config.epochs, config.label, progress, done=len(history))
    for epoch in bar:
        epoch_started = time.perf_counter()
        row = {"epoch": epoch} | train_epoch(config, data, step, generator)
        log_probabilities = predict(net, x_test)
        row |= scores("test", log_probabilities, data.y_test)
        row["seconds"] = time.perf_counter() - epoch_started
        history.append(row)
        bar.set_postfix_str(f"test {row['test_accuracy']:.2f} %, loss {row['test_loss']:.4f}", refresh=False)
        _check_finite(config, row)
        saved.save(history, time.perf_counter() - started)
    bar.close()
    if log_probabilities is None:  # the checkpoint is that of a finished training
        log_probabilities = predict(net, x_test)
    probabilities = log_probabilities.exp()
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
        fingerprint=fingerprint,
        probabilities=probabilities.cpu(),
    )


def train_or_diverge(
    config: Config,
    data: Dataset,
    progress: bool = True,
    build_network: Callable[[Config, Dataset], nn.Module] | None = None,
) -> Run:
    """`train`; and where the loss stops being finite or memory runs out, a run that says so instead of an error.

    Such a run has a `failure`, and no test image right. For trainings some of which are expected to fail, as those
    that try learning rates: one of them should not end the others. `build_network` makes another network than `build`.
    """
    net = build_network(config, data) if build_network else None
    try:
        run = train(config, data, progress, net=net)
    except FloatingPointError:
        run = _failed(config, data, net, "diverged")
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        run = _failed(config, data, net, "out of memory")
    return replace(run, fingerprint=run.fingerprint | {"trainer": "normbench.train.train_or_diverge"})


def _failed(config: Config, data: Dataset, net: nn.Module | None, failure: str) -> Run:
    net = net or build(config, data)
    return Run(
        config=config,
        dataset=data.name,
        history=({"epoch": config.epochs, "test_accuracy": 0.0},),
        correct=torch.zeros(len(data.y_test), dtype=torch.bool),
        parameters=sum(p.numel() for p in net.parameters()),
        seconds=0.0,
        device=device_name(data.device),
        test_set=data.test_set,
        fingerprint=_fingerprint(net, data),
        failure=failure,
    )


def with_log_probabilities(net: nn.Module) -> nn.Module:
    """`net` as it is where it is a `Net`, else followed by a log-softmax.

    That makes log-probabilities of logits, and leaves log-probabilities as they are.
    """
    return net if type(net) is Net else nn.Sequential(net, nn.LogSoftmax(dim=1))


def placed(net: nn.Module, device: torch.device) -> nn.Module:
    """`net` on `device`, in the memory format that is fastest there."""
    net = net.to(device)
    # CUDA's group norm copies maps in channels_last into contiguous memory first.
    return net.to(memory_format=torch.channels_last) if device.type == "cpu" else net


def check_network(net: nn.Module, data: Dataset, batch_size: int) -> None:
    """Raise ValueError where `net` cannot be tested, or trained, with the images of an epoch's smallest batch.

    `net` goes to the device of `data`, and keeps its state; lazy layers get theirs.
    """
    net.to(data.device)
    if not any(p.requires_grad for p in net.parameters()):
        raise ValueError("the network has no parameters to train")
    last_batch = len(data.y_train) % batch_size or batch_size
    images = data.standardize(data.x_train[: min(2, last_batch)])
    devices = [data.device] if data.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices):
        _check_outputs(net.eval(), images, data, "")
        state = copy.deepcopy(net.state_dict())
        hint = f"; choose another batch_size than {batch_size}, whose last batch has 1 image" if last_batch == 1 else ""
        _check_outputs(net.train(), images, data, hint)
        net.load_state_dict(state)


def _check_outputs(net: nn.Module, images: Tensor, data: Dataset, hint: str) -> None:
    mode, wanted = "training" if net.training else "testing", (len(images), len(data.classes))
    try:
        outputs = net(images)
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"the network fails in {mode} on images {tuple(images.shape)}: {reason}{hint}") from error
    if not isinstance(outputs, Tensor) or outputs.shape != wanted:
        returned = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ValueError(
            f"the network must return logits or log-probabilities (images, classes), {wanted} for {wanted[0]} images "
            f"of {data.name}, but in {mode} it returned {returned}"
        )
    if (outputs >= 0).all() and torch.allclose(outputs.sum(dim=1), torch.ones_like(outputs[:, 0]), atol=1e-3):
        raise ValueError("the network returns probabilities; leave out its softmax, or take its logarithm")


def _fingerprint(net: nn.Module, data: Dataset) -> dict[str, str]:
    return {
        "data": data.fingerprint,
        "network": network_fingerprint(net, data.image_shape),
        "trainer": "normbench.train.train",
    }


def train_epoch(config: Config, data: Dataset, step: Step, generator: torch.Generator) -> dict[str, float]:
    """Train on every image once, in random order, each under a random change of its own.

    Nothing in the loop waits for the device: outputs stay there until the epoch ends. Returns the epoch's
    train_loss, train_accuracy, penalty, l1_norm and zeros, as `Run` has them.
    """
    step.net.train()
    n, size = len(data.y_train), config.batch_size
    order = torch.randperm(n, generator=generator).to(data.device)
    draw = augmentation(config.augment, data.image_shape[0])
    matrices = draw(n, data.image_shape[1:], generator).to(data.device)
    images, labels = data.x_train[order], data.y_train[order]
    outputs = torch.empty(n, len(data.classes), device=data.device)
    penalties = torch.zeros(math.ceil(n / size), device=data.device)
    for i, start in enumerate(range(0, n, size)):
        batch = slice(start, start + size)
        outputs[batch], penalties[i] = step(images[batch], matrices[batch], labels[batch])
    return scores("train", outputs, labels) | {"penalty": penalties.mean().item()} | step.penalty.state()


@torch.inference_mode()
def predict(net: nn.Module, x: Tensor, batch_size: int = 1000) -> Tensor:
    """Log-probabilities (N, classes) of standardized images x (N, C, H, W), in evaluation mode.

    `net` may return logits, too.
    """
    net = with_log_probabilities(net).eval()
    return torch.cat([net(batch) for batch in x.split(batch_size)])


def scores(part: str, log_probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """{part}_loss, the mean negative log-likelihood in nats, and {part}_accuracy in %.

    log_probabilities (N, classes), labels (N,).
    """
    loss = F.nll_loss(log_probabilities, labels)
    accuracy = (log_probabilities.argmax(dim=1) == labels).float().mean() * 100
    loss, accuracy = torch.stack([loss, accuracy]).tolist()
    return {f"{part}_loss": loss, f"{part}_accuracy": accuracy}


def _mistakes(probabilities: Tensor, labels: Tensor, n: int = 10) -> tuple[tuple[int, int, float], ...]:
    """The `n` wrong images that the network was most sure of: (image, prediction, its probability).

    Of equal probabilities, the first image comes first.
    """
    confidence, predicted = probabilities.max(dim=1)
    wrong = torch.nonzero(predicted != labels).flatten()
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)][:n]
    return tuple(zip(worst.tolist(), predicted[worst].tolist(), confidence[worst].tolist()))


def _check_finite(config: Config, row: dict[str, float]) -> None:
    if math.isfinite(row["train_loss"] + row["test_loss"]):
        return
    remedy = f"try a lower learning rate than {config.lr:g}"
    if config.l1 or config.l2:
        remedy += f" or smaller penalties than l1 {config.l1:g}, l2 {config.l2:g}"
    raise FloatingPointError(f"{config.label}: the loss is not finite in epoch {row['epoch']}; {remedy}")


class Checkpoint:
    """A file with everything that the next epoch depends on. Without a path, nothing is saved.

    Args:
        path: the file, or None.
        training: what decides the training, by name: only a checkpoint with the same is taken.
        generator: that of the images' order and random changes.
        stateful: what else changes from step to step, by name: with `state_dict` and `load_state_dict`.
    """

    def __init__(
        self,
        path: str | os.PathLike | None,
        training: dict[str, str | float],
        generator: torch.Generator,
        **stateful: nn.Module | Optimizers,
    ):
        self.path = Path(path) if path else None
        self.training, self.generator, self.stateful = training, generator, stateful

    def restore(self) -> tuple[list[dict[str, float]], float]:
        """Bring everything to where the file left it; returns its history and its seconds, [] and 0 without a file.

        Raises ValueError where the file is broken or is that of another training, OSError where it cannot be read.
        """
        if not (self.path and self.path.exists()):
            return [], 0.0
        content = io.BytesIO(self.path.read_bytes())
        try:
            state = dict(torch.load(content, map_location="cpu", weights_only=True))
            changed = [name for name, value in self.training.items() if state["training"].get(name) != value]
            if not changed:
                for name, part in self.stateful.items():
                    part.load_state_dict(state[name])
                self.generator.set_state(state["generator"])
                return [dict(row) for row in state["history"]], float(state["seconds"])
        except Exception as error:  # loading what is no checkpoint can raise almost anything
            raise ValueError(f"{self.path} is broken; delete it to start anew") from error
        raise ValueError(f"{self.path} is of a training with another {', '.join(changed)}; delete it to start anew")

    def save(self, history: Sequence[dict[str, float]], seconds: float) -> None:
        """Renew the file, in one step: a stop at any moment leaves the one before or the new one.

        Raises OSError, with the file's name and the reason, where it cannot be written.
        """
        if not self.path:
            return
        state = {name: part.state_dict() for name, part in self.stateful.items()}
        state |= {"generator": self.generator.get_state(), "training": self.training}
        state |= {"history": list(history), "seconds": seconds}
        partial = self.path.with_name(self.path.name + ".partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, partial)
            os.replace(partial, self.path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise OSError(f"the training could not be saved to {self.path}: {error}") from error
