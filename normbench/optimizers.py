"""What moves a network's parameters: SGD, and Muon for the filters of convolutions."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from model import StandardizedConv2d
from normbench.config import Config

MOMENTUM = 0.9
MUON = dict(momentum=0.8, weight_decay=0.05)
MUON_SHARE = 0.5  # Muon's rate, of SGD's


class Optimizers:
    """What moves a network's parameters: SGD with Nesterov momentum, and Muon for filters where the config says so.

    Their rates follow the OneCycle schedule (Smith & Topin 2018), one for each batch, which ends when `config.epochs`
    times as many `images` have been trained on.
    """

    def __init__(self, config: Config, net: nn.Module, images: int):
        filters = _filters_for_muon(config.optimizer, net)
        others = [p for p in net.parameters() if not any(p is weights for weights in filters)]
        sgd = dict(lr=config.lr, momentum=MOMENTUM, nesterov=True, weight_decay=config.weight_decay, fused=True)
        self.optimizers = [torch.optim.SGD(others, **sgd)]
        if filters:
            self.optimizers.append(FilterMuon(filters, MUON_SHARE * config.lr, **MUON))
        steps = config.epochs * math.ceil(images / config.batch_size)
        self.rates = one_cycle(config.lr, steps, rising=0.15 if filters else 0.3)
        self.steps = 0

    def next_rate(self) -> float:
        """The learning rate of the next step, and the schedule goes on to that of the one after it."""
        self.steps += 1
        return next(self.rates)

    def step(self, rate: float | Tensor) -> None:
        """A step with the learning rate `rate`, of which Muon takes its share.

        On a GPU `rate` is a tensor, which a CUDA graph reads anew at each replay.
        """
        for optimizer, share in zip(self.optimizers, (1.0, MUON_SHARE)):
            optimizer.param_groups[0]["lr"] = rate * share
            optimizer.step()

    def state_dict(self) -> dict:
        return {"steps": self.steps, "states": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state: dict) -> None:
        while self.steps < state["steps"]:
            self.next_rate()
        for optimizer, of_it in zip(self.optimizers, state["states"], strict=True):
            optimizer.load_state_dict(of_it)


def one_cycle(lr: float, steps: int, rising: float) -> Iterator[float]:
    """The learning rates of the OneCycle schedule, one for each step; they rise to `lr` in a share `rising` of them."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps, pct_start=rising, cycle_momentum=False
    )
    for _ in range(steps):
        yield from schedule.get_last_lr()
        optimizer.step()
        schedule.step()


def _filters_for_muon(optimizer: str, net: nn.Module) -> list[nn.Parameter]:
    kind = {"sgd": (), "muon": nn.Conv2d, "auto": StandardizedConv2d}[optimizer]
    return [layer.weight for layer in net.modules() if isinstance(layer, kind) and layer.groups == 1]


class FilterMuon(torch.optim.Muon):
    """Muon (Jordan et al. 2024): steps of gradient descent whose matrices are made orthogonal first.

    PyTorch's takes matrices alone; this one takes filters (out, in, h, w) as matrices (out, in·h·w).

    Args:
        filters: what to train, in place.
        lr: the learning rate. A step moves each row of a wide matrix by a vector of about this length.
        weight_decay: each step shrinks the filters by its product with the rate.
        momentum: the share of the last step's direction that goes on.
    """

    def __init__(self, filters: list[nn.Parameter], lr: float, weight_decay: float, momentum: float):
        self.filters = filters
        self.matrices = [nn.Parameter(_matrix(weights.detach(), weights)) for weights in filters]  # of the same memory
        super().__init__(self.matrices, lr=lr, weight_decay=weight_decay, momentum=momentum)

    @torch.no_grad()
    def step(self, closure=None):
        for matrix, weights in zip(self.matrices, self.filters):
            matrix.grad = _matrix(weights.grad, weights)
        group = self.param_groups[0]
        if not isinstance(rate := group["lr"], Tensor):
            return super().step(closure)
        # PyTorch's Muon reads the number in a tensor, for which the GPU would be waited. But its step is proportional
        # to its rate: this takes the step of rate 1, and goes `rate` of the way.
        before = [matrix.clone() for matrix in self.matrices]
        group["lr"] = 1.0
        super().step(closure)
        group["lr"] = rate
        for matrix, start in zip(self.matrices, before):
            matrix.copy_(start.lerp(matrix, rate))


def _matrix(values: Tensor, weights: Tensor) -> Tensor:
    """`values` (out, in, h, w) as a matrix, its columns in the order in which `weights` lie in memory."""
    return (values if weights.is_contiguous() else values.permute(0, 2, 3, 1)).flatten(1)
