"""What a training makes small, and what it is scored by: losses and metrics by name, or functions of one's own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Function = Callable[[Any, Any], Any]  # of outputs and targets

ACCURACY, LOSS = "accuracy", "loss"


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (N, C, …) and classes (N, …), or probabilities (N, C, …)."""
    return F.cross_entropy(outputs, _as_classes(outputs, targets))


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error of numbers of any shape."""
    return F.mse_loss(outputs, _as_numbers(outputs, targets))


def bce(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of logits of any shape and targets from 0 to 1."""
    return F.binary_cross_entropy_with_logits(outputs, _as_numbers(outputs, targets))


def right_class(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return whether the largest logit is that of the class, (N,) bool; of several classes each the share in %."""
    classes = _as_classes(outputs, targets)
    if classes.shape == outputs.shape:
        classes = classes.argmax(dim=1)
    return _right(outputs.argmax(dim=1) == classes)


def right_side(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return whether the logit is on the right side of 0, (N,) bool; of several logits each the share in %."""
    return _right((outputs > 0) == (_as_numbers(outputs, targets) > 0.5))


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error of each example, (N,)."""
    return _mean_of_each((outputs - _as_numbers(outputs, targets)).square())


def absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean absolute error of each example, (N,)."""
    return _mean_of_each((outputs - _as_numbers(outputs, targets)).abs())


class Loss(NamedTuple):
    """A row of `LOSSES`: the function, the usual metric, and what accuracy means where that is asked for."""

    function: Function
    metric: str
    accuracy: Function = right_class


class Metric(NamedTuple):
    """A row of `METRICS`: from outputs and targets to a score per example, (N,), and which way is better."""

    function: Function
    higher_is_better: bool


LOSSES = {
    "cross_entropy": Loss(cross_entropy, ACCURACY),
    "mse": Loss(mse, "mse"),
    "bce": Loss(bce, ACCURACY, right_side),
}

METRICS = {
    ACCURACY: Metric(right_class, True),
    "mse": Metric(squared_error, False),
    "mae": Metric(absolute_error, False),
}


@dataclass(frozen=True)
class Goal:
    """What is made small, and what decides.

    Args:
        loss: a name in `LOSSES`, or a function of outputs and targets that returns a scalar, such as
            `nn.HuberLoss()`.
        metric: a name in `METRICS`; "loss" for the loss; or a function of outputs and targets that returns a score per
            example, (N,), or one for all of them. By default that of the loss in the table, else the loss itself.

    Raises ValueError for an unknown name.
    """

    loss: str | Function = "cross_entropy"
    metric: str | Function | None = None

    def __post_init__(self) -> None:
        for option, given, table in (("loss", self.loss, [*LOSSES]), ("metric", self.metric, [*METRICS, LOSS])):
            if isinstance(given, str) and given not in table:
                raise ValueError(
                    f"{option} must be one of {', '.join(table)}, or a function of outputs and targets; got {given!r}"
                )
            if not isinstance(given, str) and not callable(given) and (given is not None or option == "loss"):
                raise ValueError(f"{option} must be a name or a function of outputs and targets, got {given!r}")

    @property
    def loss_function(self) -> Function:
        """From outputs and targets to a scalar."""
        return LOSSES[self.loss].function if isinstance(self.loss, str) else self.loss

    @property
    def _metric(self) -> str | Function:
        if self.metric is not None:
            return self.metric
        return LOSSES[self.loss].metric if isinstance(self.loss, str) else LOSS

    @property
    def metric_function(self) -> Function | None:
        """From outputs and targets to the score; None where that is the loss itself."""
        if not isinstance(self._metric, str):
            return self._metric
        if self._metric == ACCURACY and isinstance(self.loss, str):
            return LOSSES[self.loss].accuracy
        return None if self._metric == LOSS else METRICS[self._metric].function

    def loss_on(self, device: torch.device) -> Function:
        """Return `loss_function` for tensors on a device: a loss that is a module may have weights."""
        return _on(self.loss_function, device)

    def metric_on(self, device: torch.device) -> Function | None:
        """Return `metric_function` for tensors on a device."""
        return None if self.metric_function is None else _on(self.metric_function, device)

    @property
    def loss_name(self) -> str:
        """The loss's name, for messages."""
        return self.loss if isinstance(self.loss, str) else _name(self.loss)

    @property
    def name(self) -> str:
        """The metric's name, by which runs have it."""
        if isinstance(self._metric, str):
            return self._metric
        name = _name(self._metric)
        return name if name.isidentifier() else "score"

    @property
    def is_of_the_table(self) -> bool:
        """Whether the metric is a row of `METRICS`."""
        return isinstance(self._metric, str) and self._metric in METRICS

    @property
    def higher_is_better(self) -> bool:
        """Which way is better, unless the user says otherwise: for a function of the user's own, higher."""
        if not isinstance(self._metric, str):
            return True
        return self._metric in METRICS and METRICS[self._metric].higher_is_better


def described(function: object) -> str:
    """Say which function it is, with its settings: of partial functions the arguments, of modules the attributes."""
    if isinstance(function, partial):
        return f"partial({described(function.func)}, {function.args}, {sorted(function.keywords.items())})"
    if isinstance(function, nn.Module):
        settings = [(key, repr(value)) for key, value in vars(function).items() if not key.startswith("_")]
        state = [(key, values.tolist()) for key, values in function.state_dict().items()]
        return f"{_name(function)}({sorted(settings)}, {state})"
    return f"{getattr(function, '__module__', '')}.{_name(function)}" if callable(function) else repr(function)


def _on(function: Function, device: torch.device) -> Function:
    return function.to(device) if isinstance(function, nn.Module) else function


def _name(function: Any) -> str:
    if isinstance(function, partial):
        return _name(function.func)
    return str(getattr(function, "__name__", type(function).__name__))


def _as_classes(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets as cross-entropy takes them: int64 (N, …), or float of the shape of the outputs.

    Raises ValueError if they are neither classes nor have the shape of the outputs.
    """
    if targets.shape == outputs.shape:  # probabilities, or one-hot
        return targets.to(outputs.dtype)
    classes = targets
    if targets.dim() == outputs.dim() and targets.shape[1:2] == (1,):
        classes = targets.squeeze(1)
    if classes.shape != outputs.shape[:1] + outputs.shape[2:]:
        raise _misfit("classes (N, …) for outputs (N, C, …), or one-hot ones of their shape", outputs, targets)
    if classes.is_floating_point() and not bool((classes == classes.round()).all()):
        raise ValueError("cross_entropy takes whole numbers as classes; the targets are none: take loss='mse'?")
    return classes.long()


def _as_numbers(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets of the shape of the outputs: with (N, 1) and (N,) the difference would be (N, N).

    Raises ValueError if they have another number of elements.
    """
    if targets.numel() != outputs.numel() or len(targets) != len(outputs):
        raise _misfit("the shape of the outputs", outputs, targets)
    return targets.to(outputs.dtype).view_as(outputs)


def _misfit(wanted: str, outputs: Tensor, targets: Tensor) -> ValueError:
    shapes = f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"
    return ValueError(f"targets must have {wanted}; got {shapes}. For others give a loss and a metric of your own")


def _right(right: Tensor) -> Tensor:
    if right.numel() == len(right):
        return right.flatten()
    return 100 * _mean_of_each(right.float())


def _mean_of_each(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).mean(dim=1)
