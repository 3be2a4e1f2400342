"""Penalties on a network's parameters: λ1·Σ|p| + λ2·Σp²."""

import torch
from torch import Tensor, nn

PENALIZED = ("all", "conv", "gamma")
NORMALIZATION_LAYERS = (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm)


def penalized_parameters(net: nn.Module, which: str = "all") -> list[nn.Parameter]:
    """All parameters of `net`, the weights of its convolutions ("conv"), or its normalizations' γ ("gamma").

    Raises ValueError where there are none.
    """
    kinds = {"conv": nn.Conv2d, "gamma": NORMALIZATION_LAYERS}
    if which == "all":
        return list(net.parameters())
    found = [layer.weight for layer in net.modules() if isinstance(layer, kinds[which])]
    if not found:
        raise ValueError(f"the network has no {which} parameters to penalize; choose all")
    return found


def l1_norm(parameters: list[Tensor]) -> Tensor:
    """Σ|p|, differentiable; its gradient is the sign of each p, and 0 at 0."""
    return torch.cat([p.flatten() for p in parameters]).abs().sum()


def squares(parameters: list[Tensor]) -> Tensor:
    """Σp², differentiable."""
    return torch.cat([p.flatten() for p in parameters]).square().sum()


def share_of_zeros(parameters: list[Tensor]) -> float:
    """The share of numbers that are exactly 0, in %."""
    return 100 * (1 - sum(int(p.count_nonzero()) for p in parameters) / sum(p.numel() for p in parameters))


@torch.no_grad()
def soft_threshold_(parameters: list[Tensor], threshold: float) -> None:
    """Move each number towards 0 by `threshold`, and no further than 0: the proximal step of threshold·Σ|p|."""
    for p in parameters:
        p.copy_(p.sign() * (p.abs() - threshold).clamp(min=0))


class Penalty:
    """λ1·Σ|p| + λ2·Σp² over some of a network's parameters, for one training.

    The L1 part works in one of two ways. As a subgradient it is part of the loss: each step adds λ1·sign(p)
    to the gradient, so that a weight crosses 0 back and forth and never rests there. As a proximal step
    (Parikh & Boyd 2014, 6.5.2) it follows the optimizer's, and sets to exactly 0 what would cross it.
    """

    def __init__(self, net: nn.Module, l1: float, l2: float, which: str = "all", proximal: bool = False):
        self.parameters = penalized_parameters(net, which)
        self.l1, self.l2, self.proximal = l1, l2, proximal

    def __bool__(self) -> bool:
        return bool(self.l1 or self.l2)

    def __call__(self) -> tuple[Tensor | float, Tensor | float]:
        """What the loss gains, and the whole penalty, which the proximal way keeps out of the loss."""
        first = self.l1 * l1_norm(self.parameters) if self.l1 else 0.0
        second = self.l2 * squares(self.parameters) if self.l2 else 0.0
        whole = first + second
        return (second if self.proximal else whole), whole

    def step(self, lr: float, momentum: float) -> None:
        """The proximal step, after an optimizer's step with learning rate `lr`.

        A constant gradient g moves SGD with momentum by lr·g/(1 - momentum) a step in the long run. The
        threshold has the same factor, so that both ways minimize the same loss.
        """
        if self.proximal and self.l1:
            soft_threshold_(self.parameters, lr * self.l1 / (1 - momentum))

    def state(self) -> dict[str, float]:
        """Σ|p| and the share of exact zeros in % of the penalized parameters, whatever λ is."""
        with torch.no_grad():
            return {"l1_norm": l1_norm(self.parameters).item(), "zeros": share_of_zeros(self.parameters)}
