"""Penalties on a network's parameters: λ1·Σ|p| + λ2·Σp²."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def l1_norm(parameters: Sequence[Tensor]) -> Tensor:
    """Return Σ|p| over all numbers p, differentiable; its gradient is the sign of each p, and 0 at 0."""
    return _flat(parameters).abs().sum()


def squares(parameters: Sequence[Tensor]) -> Tensor:
    """Return Σp² over all numbers p, differentiable."""
    return _flat(parameters).square().sum()


def _flat(parameters: Sequence[Tensor]) -> Tensor:
    return torch.cat([p.flatten() for p in parameters])


@torch.no_grad()
def soft_threshold_(parameters: Sequence[Tensor], threshold: float | Tensor) -> None:
    """Move each number towards 0 by `threshold`, and no further than 0: the proximal step of threshold·Σ|p|."""
    for p in parameters:
        p.copy_(p.sign() * (p.abs() - threshold).clamp(min=0))  # F.softshrink takes no tensor


class Penalty:
    """λ1·Σ|p| + λ2·Σp² over a network's parameters p, but for frozen ones, for one training.

    The L1 part works in one of two ways. As a subgradient it is part of the loss: each step adds λ1·sign(p)
    to the gradient, so that a weight crosses 0 back and forth and never rests there. As a proximal step
    (Parikh & Boyd 2014, section 6.5.2) it follows the optimizer's, and sets to exactly 0 what would cross it.

    Args:
        net: the network.
        l1: λ1.
        l2: λ2.
        proximal: whether the L1 part is a proximal step instead of a subgradient.
    """

    def __init__(self, net: nn.Module, l1: float, l2: float, proximal: bool = False):
        self.parameters = [p for p in net.parameters() if p.requires_grad]
        self.l1, self.l2, self.proximal = l1, l2, proximal

    @property
    def is_none(self) -> bool:
        """Whether there is nothing to add."""
        return not (self.l1 or self.l2)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Return the part of the penalty that belongs into the loss, and the whole.

        The part is λ2·Σp² where the L1 part is a proximal step, else the whole.
        """
        l1_part = self.l1 * l1_norm(self.parameters) if self.l1 else 0.0
        l2_part = self.l2 * squares(self.parameters) if self.l2 else 0.0
        whole = torch.as_tensor(l1_part + l2_part)
        return (torch.as_tensor(l2_part) if self.proximal else whole), whole

    def step(self, lr: float | Tensor, momentum: float) -> None:
        """Take the proximal step, after an optimizer's step with learning rate `lr`.

        A constant gradient g moves SGD with momentum by lr·g/(1 - momentum) per step in the long run. The
        threshold has the same factor, so that both ways minimize the same loss.
        """
        if self.proximal and self.l1:
            soft_threshold_(self.parameters, lr * self.l1 / (1 - momentum))

    @torch.no_grad()
    def state(self) -> dict[str, float]:
        """Return l1_norm, Σ|p|, and zeros, the share of exact zeros in %, of the parameters, whatever λ1 and λ2."""
        numbers = _flat(self.parameters).cpu()  # in one transfer
        nonzero = numbers.count_nonzero().item()
        return {"l1_norm": numbers.abs().sum().item(), "zeros": 100 * (1 - nonzero / len(numbers))}
