"""Convolutions with standardized weights."""

import torch
from torch import Tensor, nn


def standardized(weight: Tensor) -> Tensor:
    """Return weights with mean 0 and variance 2 / fan-in per filter (Qiao et al. 2019).

    Activations after a ReLU are never negative, so a filter whose weights have a mean moves its whole channel up or
    down. Batch norm removes that from each channel. A normalization with one mean for several channels cannot: the
    next ReLU then passes nearly all of a channel that lies far above the mean, and nothing of one far below.
    """
    # Element by element, which keeps the weights' memory format: convolutions take theirs from the weights.
    fan_in = weight[0].numel()
    axes = list(range(1, weight.dim()))
    variance, mean = torch.var_mean(weight, dim=axes, correction=0, keepdim=True)
    return (weight - mean) * torch.rsqrt(fan_in / 2 * variance + 1e-5)


class StandardizedConv1d(nn.Conv1d):
    """A convolution that uses its weights as `standardized` makes them."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in_channels, L) → (N, out_channels, L')."""
        return self._conv_forward(x, standardized(self.weight), self.bias)


class StandardizedConv2d(nn.Conv2d):
    """A convolution that uses its weights as `standardized` makes them."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in_channels, H, W) → (N, out_channels, H', W')."""
        return self._conv_forward(x, standardized(self.weight), self.bias)


class StandardizedConv3d(nn.Conv3d):
    """A convolution that uses its weights as `standardized` makes them."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in_channels, D, H, W) → (N, out_channels, D', H', W')."""
        return self._conv_forward(x, standardized(self.weight), self.bias)


STANDARDIZING: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: StandardizedConv1d,
    nn.Conv2d: StandardizedConv2d,
    nn.Conv3d: StandardizedConv3d,
}
