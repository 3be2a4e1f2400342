"""The table of optimizers: what moves a network's parameters, at which rates and with which weight decay.

A new optimizer is a row of `OPTIMIZERS` and the function that makes it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from normbench.training.decay import WEIGHTS, Groups, parameter_groups

MOMENTUM = 0.9


class Part(NamedTuple):
    """An optimizer of some of the parameters, and its rate as a share of the training's."""

    optimizer: torch.optim.Optimizer
    share: float = 1.0


class OptimizerRow(NamedTuple):
    """A row of `OPTIMIZERS`.

    Attributes:
        make: makes the parts from a network, its parameters in groups, and the highest learning rate.
        rates: the highest learning rates that are worth a try; that in the middle is the usual one.
        weight_decay: the usual one.
        rising: the share of the steps in which the learning rate rises.
        momentum: that of SGD, from which a proximal step takes its size; None where no such step is possible.
        recordable: whether a step may be recorded as a CUDA graph, as was seen on a GPU.
    """

    make: Callable[[nn.Module, Groups, float], list[Part]]
    rates: tuple[float, ...]
    weight_decay: float
    rising: float
    momentum: float | None = None
    recordable: bool = False

    @property
    def rate(self) -> float:
        """The usual learning rate."""
        return self.rates[len(self.rates) // 2]


class FilterMuon(torch.optim.Muon):
    """Muon (Jordan et al. 2024): steps of gradient descent whose matrices are made orthogonal first.

    PyTorch's Muon takes matrices alone; this one takes filters (out, in, h, w) as matrices (out, in·h·w).

    Args:
        filters: what to train, in place.
        lr: the learning rate. A step moves each row of a wide matrix by a vector of about this length.
        weight_decay: each step shrinks the filters by its product with the rate.
        momentum: the share of the last step's direction that goes on.
    """

    def __init__(self, filters: Sequence[nn.Parameter], lr: float, weight_decay: float, momentum: float):
        self.filters = list(filters)
        self.matrices = [nn.Parameter(_matrix(weights.detach(), weights)) for weights in filters]  # of the same memory
        super().__init__(self.matrices, lr=lr, weight_decay=weight_decay, momentum=momentum)

    @torch.no_grad()
    def step(self, closure=None):
        for matrix, weights in zip(self.matrices, self.filters):
            matrix.grad = None if weights.grad is None else _matrix(weights.grad, weights)
        group = self.param_groups[0]
        if not isinstance(rate := group["lr"], Tensor):
            return super().step(closure)
        # PyTorch's Muon reads the number in a tensor, for which the GPU would have to wait. But its step is
        # proportional to its rate: this takes the step of rate 1, and goes `rate` of the way.
        before = [matrix.clone() for matrix in self.matrices]
        group["lr"] = 1.0
        super().step(closure)
        group["lr"] = rate
        for matrix, start in zip(self.matrices, before):
            matrix.copy_(start.lerp(matrix, rate))


def _matrix(values: Tensor, weights: Tensor) -> Tensor:
    """`values` (out, in, h, w) as a matrix, its columns in the order in which `weights` lie in memory."""
    return (values if weights.is_contiguous() else values.permute(0, 2, 3, 1)).flatten(1)


def _sgd(groups: Groups, lr: float) -> Part:
    return Part(torch.optim.SGD(groups, lr, momentum=MOMENTUM, nesterov=True, fused=True))


def _make_sgd(net: nn.Module, groups: Groups, lr: float) -> list[Part]:
    return [_sgd(groups, lr)]


def _make_adamw(net: nn.Module, groups: Groups, lr: float) -> list[Part]:
    return [Part(torch.optim.AdamW(groups, lr, fused=True))]


def _make_muon(net: nn.Module, groups: Groups, lr: float) -> list[Part]:
    """Muon for the filters of convolutions, but for depthwise and grouped ones; SGD for the rest."""
    convolutions = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d) and layer.groups == 1]
    filters = [p for layer in convolutions if isinstance(p := layer.weight, nn.Parameter)]
    if not filters:
        return [_sgd(groups, lr)]
    share, by_muon = 0.5, set(filters)
    others = [group | {"params": [p for p in group["params"] if p not in by_muon]} for group in groups]
    return [
        _sgd([group for group in others if group["params"]], lr),
        Part(FilterMuon(filters, share * lr, weight_decay=0.05, momentum=0.8), share),
    ]


OPTIMIZERS = {
    "sgd": OptimizerRow(
        _make_sgd,
        rates=(0.03, 0.1, 0.3),
        weight_decay=5e-4,
        rising=0.3,
        momentum=MOMENTUM,
        recordable=True,
    ),
    "adamw": OptimizerRow(
        _make_adamw,
        rates=(3e-4, 1e-3, 3e-3),
        weight_decay=0.05,
        rising=0.3,
    ),
    "muon": OptimizerRow(
        _make_muon,
        rates=(0.03, 0.1, 0.3),
        weight_decay=5e-4,
        rising=0.15,
        momentum=MOMENTUM,
        recordable=True,
    ),
}


def one_cycle(lr: float, steps: int, rising: float) -> list[float]:
    """Return the learning rate of each step by the OneCycle schedule (Smith & Topin 2018).

    The rate rises from lr / 25 to `lr` in a share `rising` of the steps, and falls to lr / 250,000, along half cosines:
    the numbers of `torch.optim.lr_scheduler.OneCycleLR`.
    """
    first, last = lr / 25, lr / 25 / 1e4
    turn, end = rising * steps - 1, steps - 1

    def between(start: float, stop: float, way: float) -> float:
        return stop + (start - stop) / 2 * (math.cos(math.pi * way) + 1)

    def rate(step: int) -> float:
        rises = 0 < turn >= step
        return between(first, lr, step / turn) if rises else between(lr, last, (step - turn) / (end - turn))

    return [rate(step) for step in range(steps)]


class Optimizers:
    """The optimizers of one training, and the learning rate of each of its steps.

    Args:
        name: a key of `OPTIMIZERS`.
        net: whose parameters are trained.
        lr: the highest learning rate.
        weight_decay: how strong it is; Muon's own is another.
        steps: how many steps the training has.
        decay_on: what it falls on, one of `decay.DECAY_ON`.
    """

    def __init__(self, name: str, net: nn.Module, lr: float, weight_decay: float, steps: int, decay_on: str = WEIGHTS):
        row = OPTIMIZERS[name]
        self.momentum, self.recordable = row.momentum, row.recordable
        self.parts = row.make(net, parameter_groups(net, weight_decay, decay_on), lr)
        self.rates = one_cycle(lr, steps, row.rising)
        self.steps = 0

    def next_rate(self) -> float:
        """Return the next step's learning rate and advance the schedule."""
        self.steps += 1
        return self.rates[self.steps - 1]

    def step(self, rate: float | Tensor) -> None:
        """Take a step with the learning rate `rate`, of which each part takes its share.

        On a GPU `rate` is a tensor, which a CUDA graph reads anew at each replay.
        """
        for optimizer, share in self.parts:
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "states": [optimizer.state_dict() for optimizer, _ in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        for (optimizer, _), saved in zip(self.parts, state["states"], strict=True):
            optimizer.load_state_dict(saved)
