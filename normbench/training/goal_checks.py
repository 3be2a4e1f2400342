"""Whether a loss and a metric fit a network's outputs and the targets, known before hours are spent on it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from normbench.data import Samples, known_labels
from normbench.words import reason

# What a metric raises that would fail with any outputs; with two samples alone it may fail for want of others.
MISTAKES = (NameError, AttributeError, TypeError, ImportError)


def check_goal(outputs: Any, inputs: Tensor, targets: Any, data: Samples) -> Tensor:
    """Return the loss of a batch of samples. Raises ValueError where loss or metric cannot be had of them."""
    goal = data.goal
    if goal.loss == "cross_entropy":
        _check_logits(outputs, inputs, targets, data)
    elif isinstance(goal.loss, str) and not isinstance(outputs, Tensor):
        raise ValueError(f"the loss {goal.loss} takes a tensor, but the network returned {type(outputs).__name__}")
    loss = _called(goal.loss_on(data.device), outputs, targets, f"the loss {goal.loss_name}")
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
        returned = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"the loss {goal.loss_name} must return one number, but it returned {returned}: take its mean")
    metric = goal.metric_on(data.device)
    if metric is not None:
        try:
            with torch.no_grad():
                metric(outputs, targets)
        except MISTAKES as error:
            raise ValueError(f"the metric {goal.name} fails: {type(error).__name__}: {error}") from error
        except Exception:
            if isinstance(goal.metric, str):
                raise
    return loss


def are_probabilities(outputs: Tensor) -> bool:
    """Tell whether outputs (N, C) look as if a softmax had made them."""
    sums = outputs.sum(dim=1)
    return bool((outputs >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)


def _check_logits(outputs: Any, inputs: Tensor, targets: Any, data: Samples) -> None:
    if not isinstance(outputs, Tensor) or outputs.dim() < 2 or len(outputs) != len(inputs):
        returned = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ValueError(
            f"for cross_entropy the network must return logits (samples, classes, …), but for {len(inputs)} samples it "
            f"returned {returned}; other outputs need another loss"
        )
    if not outputs.is_floating_point():
        raise ValueError(f"the network returned {outputs.dtype}, which is no type of logits")
    if are_probabilities(outputs):
        raise ValueError("the network returns probabilities; leave out its softmax, or take its logarithm")
    if outputs.dim() > 2 or (labels := known_labels(data.train)) is None:
        return
    lowest, highest, classes = int(labels.min()), int(labels.max()), outputs.shape[1]
    if lowest < 0 or highest >= classes:
        remedy = ": subtract 1" if (lowest, highest) == (1, classes) else ""
        raise ValueError(
            f"the labels of {data.name} are from {lowest} to {highest}, and the network returned {classes} logits, for "
            f"labels from 0 to {classes - 1}{remedy}"
        )


def _called(function: Callable[[Any, Any], Any], outputs: Any, targets: Any, what: str) -> Any:
    try:
        return function(outputs, targets)
    except Exception as error:  # a function of the user's own can raise anything
        shapes = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in (outputs, targets)]
        raise ValueError(f"{what} fails on outputs {shapes[0]} and targets {shapes[1]}: {reason(error)}") from error
