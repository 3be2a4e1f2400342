"""Training on samples of any shape, by the loss and the metric that they come with."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from normbench.data import ACCURACY, Samples
from normbench.training.optimizers import Optimizers
from normbench.training.penalty import Penalty
from normbench.training.recipe import Recipe

Row = dict[str, float]


def check_recipe(recipe: Recipe) -> None:
    """Raise ValueError for options of a recipe that are for images in memory."""
    if recipe.mirrored:
        raise ValueError("mirrored is for images in memory")
    if recipe.augment not in ("auto", "none"):
        raise ValueError(
            f"augment {recipe.augment!r} is for images in memory; let the training set make its random changes"
        )


class OnSamples:
    """The epochs and tests of one training on samples.

    Args:
        samples: what to train and test on, the loss and the metric.
        net: from inputs (N, …) to outputs as the loss takes them.
        optimizers: those of `net`.
        penalty: that of `net`.
        recipe: the training.
        generator: decides their order.
    """

    def __init__(
        self,
        samples: Samples,
        net: nn.Module,
        optimizers: Optimizers,
        penalty: Penalty,
        recipe: Recipe,
        generator: torch.Generator,
    ):
        self.samples, self.net, self.optimizers, self.penalty = samples, net, optimizers, penalty
        self.training = samples.loader("train", recipe.batch_size, generator)
        self.testing = samples.loader("test", recipe.batch_size)
        self.loss = samples.goal.loss_on(samples.device)
        metric = samples.goal.metric_on(samples.device)
        self.scored = Scored(metric)
        self.scored_in_training = metric if samples.goal.is_of_the_table else None

    def epoch(self) -> Row:
        """Train on every sample once, in random order; return the row as `Run` has it, but for tests."""
        self.net.train()
        losses, penalties, scores = Mean(), Mean(), Mean()
        for inputs, targets in self.samples.read(self.training, self.samples.device):
            outputs, loss, penalty = self.step(inputs, targets)
            losses.add(loss, len(inputs))
            penalties.add(penalty)
            if self.scored_in_training is not None:
                score = self.scored_in_training(outputs.detach(), targets)
                scores.add(score.float().mean() * (100 if score.dtype == torch.bool else 1), len(inputs))
        row = {"train_loss": losses.value, "penalty": penalties.value} | self.penalty.state()
        return row | ({f"train_{self.samples.goal.name}": scores.value} if scores.sums else {})

    def step(self, inputs: Tensor, targets: Any) -> tuple[Any, Tensor, Tensor]:
        """Move the parameters along the gradient of loss and penalty; return outputs and both, from before the step."""
        rate = self.optimizers.next_rate()
        outputs = self.net(inputs)
        loss = self.loss(outputs, targets)
        in_the_loss, penalty = self.penalty()
        self.net.zero_grad()
        (loss + in_the_loss).backward()
        self.optimizers.step(rate)
        if self.optimizers.momentum is not None:
            self.penalty.step(rate, self.optimizers.momentum)
        return outputs, loss.detach(), penalty.detach()

    @torch.no_grad()
    def test(self) -> Row:
        """Return test_loss, and "test_NAME" of the metric: the mean over the samples, in % of those that are right."""
        self.net.eval()
        losses = Mean()
        self.scored.start()
        for inputs, targets in self.samples.read(self.testing, self.samples.device):
            outputs = self.net(inputs)
            losses.add(self.loss(outputs, targets), len(inputs))
            self.scored.add(outputs, targets, len(inputs))
        self.scored.end()
        name, value = self.samples.goal.name, self.scored.value
        return {"test_loss": losses.value} | ({} if value is None else {f"test_{name}": value})

    def said(self, row: Row) -> str:
        """Say what a row's test gave."""
        tested = {key.replace("_", " "): value for key, value in row.items() if key.startswith("test_")}
        return ", ".join(f"{key} {value:.4g}" for key, value in tested.items())

    def outcome(self) -> dict[str, Any]:
        """Return what a run has of the last test: fields of `Run`."""
        examples, name = self.scored.examples, self.samples.goal.name
        is_right = examples.dtype == torch.bool
        in_percent = is_right or name == ACCURACY
        return {
            "correct": examples if is_right else torch.zeros(0, dtype=torch.bool),
            "scores": torch.zeros(0) if is_right else examples.float(),
            "measure": name,
            "unit": "%" if in_percent else "",
        }


class Mean:
    """A mean of numbers that stay on their device until it is asked for."""

    def __init__(self) -> None:
        self.sums: list[Tensor] = []
        self.weights = 0

    def add(self, value: Tensor, weight: int = 1) -> None:
        """Take in a scalar with the weight."""
        self.sums.append(value.detach().float() * weight)
        self.weights += weight

    @property
    def value(self) -> float:
        """The mean so far; nan of nothing."""
        return float(torch.stack(self.sums).sum() / self.weights) if self.sums else math.nan


class Scored:
    """A metric over the batches of a test: a score per example, or one for all examples at the end.

    Which it is shows at the first batch. A metric that has one for all, such as an area under a curve, gets all outputs
    and targets at once.

    Args:
        metric: from outputs and targets to (N,) or a scalar; None where the loss is all that is asked for.
    """

    def __init__(self, metric: Callable[[Any, Any], Any] | None):
        self.metric = metric
        self.start()

    def start(self) -> None:
        """Forget what was seen."""
        self.parts: list[Tensor] = []
        self.seen: list[tuple[Any, Any]] = []
        self.value: float | None = None
        self.examples = torch.zeros(0)

    def add(self, outputs: Any, targets: Any, n: int) -> None:
        """Take in a batch of `n` examples."""
        if self.metric is None:
            return
        if not self.seen:
            scores = self._of_each(outputs, targets, n)
            if scores is not None:
                self.parts.append(scores)
                return
        self.seen.append((outputs, targets))

    def _of_each(self, outputs: Any, targets: Any, n: int) -> Tensor | None:
        """The scores of a batch, (n,); None for a metric that has no score per example."""
        assert self.metric is not None
        try:
            scores = torch.as_tensor(self.metric(outputs, targets))
        except Exception:
            if self.parts:
                raise
            return None  # it may need more examples, with some of each class; else it fails again at the end
        if scores.shape == (n,) and (n > 1 or self.parts):
            return scores.detach()
        if self.parts:
            raise ValueError(f"the metric returned {tuple(scores.shape)} for a batch of {n}, and ({n},) is expected")
        return None

    def end(self) -> None:
        """Work out the score.

        Raises ValueError for a metric that returns neither a score per example nor one number.
        """
        if self.seen:
            outputs, targets = (_joined([batch[i] for batch in self.seen]) for i in (0, 1))
            assert self.metric is not None
            score = torch.as_tensor(self.metric(outputs, targets)).detach()
            self.seen = []
            if score.dim() == 0:
                self.value = float(score)
                return
            if score.dim() != 1:
                raise ValueError(
                    f"the metric must return a score per example or one for all, but it returned {tuple(score.shape)}"
                )
            self.parts = [score]
        if self.parts:
            self.examples = torch.cat(self.parts).cpu()
            is_right = self.examples.dtype == torch.bool
            self.value = float(self.examples.double().mean()) * (100 if is_right else 1)


def _joined(parts: list[Any]) -> Any:
    """Batches of tensors, or of tuples, lists and dicts of tensors, as one."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)
    if isinstance(first, dict):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, (tuple, list)):
        return type(first)(_joined([part[i] for part in parts]) for i in range(len(first)))
    return parts
