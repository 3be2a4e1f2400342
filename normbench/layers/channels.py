"""Layers that treat each pixel or token by itself: normalizations over its channels, and functions of each number."""

from collections.abc import Callable
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn


# What is wrapped, torch.fx calls as it is: it cannot follow what these functions ask of shapes.
@torch.fx.wrap
def along_channels(values: Tensor, x: Tensor, last: bool) -> Tensor:
    """`values` (C,) in a shape that multiplies the channels of x, which are its last or its second axis."""
    return values if last else values.view([1, -1] + [1] * (x.dim() - 2))


@torch.fx.wrap
def laid_out_as(x: Tensor, y: Tensor) -> Tensor:
    """Lay y out in memory as x is, so that `.view` works on it where it worked on x."""
    return torch.empty_like(x, dtype=y.dtype).copy_(y)


class LayerNormOfPixels(nn.LayerNorm):
    """Layer norm over the channels at each pixel, as in ConvNeXt (Liu et al. 2022)."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, …) → the same shape, in the same memory format."""
        normalized = F.layer_norm(x.movedim(1, -1), self.normalized_shape, self.weight, self.bias, self.eps)
        return laid_out_as(x, normalized.movedim(-1, 1))


class RMSNormOfChannels(nn.Module):
    """RMSNorm (Zhang & Sennrich 2019) over the channels of each pixel or token: γ·x / √(mean x² + ε) + β.

    The method has no β. It is there so that a layer which replaces another keeps what the other one had.

    Args:
        channels: C.
        last: whether the channels are the last axis, (N, …, C), instead of the second, (N, C, …).
        eps: ε.
    """

    def __init__(self, channels: int, last: bool = False, eps: float = 1e-5):
        super().__init__()
        self.channels, self.last, self.eps = channels, last, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape."""
        y = F.rms_norm(x if self.last else x.movedim(1, -1), [self.channels], self.weight, self.eps)
        if self.bias is not None:
            y = y + self.bias
        return y if self.last else laid_out_as(x, y.movedim(-1, 1))


class DyT(nn.Module):
    """Dynamic tanh (Zhu et al. 2025): γ·tanh(α·x) + β, where α is a trained number.

    It normalizes nothing: no statistics are taken. Its authors did not find that it can replace batch norm without a
    loss.

    Args:
        channels: C, the number of γ and β.
        last: whether the channels are the last axis, (N, …, C), instead of the second, (N, C, …).
        alpha: where α starts.
    """

    def __init__(self, channels: int, last: bool = False, alpha: float = 0.5):
        super().__init__()
        self.channels, self.last = channels, last
        self.alpha = nn.Parameter(torch.full((1,), alpha))
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def squashed(self, x: Tensor) -> Tensor:
        """Return the bounded numbers, before γ and β."""
        return torch.tanh(self.alpha * x)

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape."""
        y = self.squashed(x)
        if self.weight is not None:
            y = y * along_channels(self.weight, x, self.last)
        if self.bias is not None:
            y = y + along_channels(self.bias, x, self.last)
        return y


class Derf(DyT):
    """Dynamic erf (Chen et al. 2025): γ·erf(α·x + s) + β, where α and s are trained numbers.

    Args:
        channels: C, the number of γ and β.
        last: whether the channels are the last axis, (N, …, C), instead of the second, (N, C, …).
        alpha: where α starts; s starts at 0.
    """

    def __init__(self, channels: int, last: bool = False, alpha: float = 0.5):
        super().__init__(channels, last, alpha)
        self.shift = nn.Parameter(torch.zeros(1))

    def squashed(self, x: Tensor) -> Tensor:
        """Return the bounded numbers, before γ and β."""
        return torch.erf(self.alpha * x + self.shift)


class Affine(nn.Module):
    """What "none" leaves of a normalization: x·scale + β per channel, as far as there are any.

    Args:
        scale: a number per channel, (C,), or one for all, (1,); None for none.
        bias: β, (C,); None for none.
        last: whether the channels are the last axis instead of the second.
    """

    def __init__(self, scale: nn.Parameter | None, bias: nn.Parameter | None, last: bool = False):
        super().__init__()
        self.scale, self.bias, self.last = scale, bias, last

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape."""
        if self.scale is not None:
            x = x * along_channels(self.scale, x, self.last)
        if self.bias is not None:
            x = x + along_channels(self.bias, x, self.last)
        return x


class Copied(nn.Module):
    """What "none" leaves where nothing is to be computed, but others need the input as it is."""

    def forward(self, x: Tensor) -> Tensor:
        """x → a copy, which an activation may change in place."""
        return x.clone()


class ChannelsLast(nn.Module):
    """A layer for inputs (N, C, …) made to take inputs (N, …, C).

    Args:
        norm: the layer.
    """

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """x (N, …, C) → the same shape."""
        return laid_out_as(x, self.norm(x.movedim(-1, 1)).movedim(1, -1))


@torch.fx.wrap
def channels_second(x: Tensor, last_axes: list[int]) -> Tensor:
    """Move the channels of x from the last axis to the second, if x has as many axes as one of `last_axes`."""
    return x.movedim(-1, 1) if x.dim() in last_axes else x


@torch.fx.wrap
def moved_back(y: Tensor, x: Tensor, last_axes: list[int]) -> Tensor:
    """Move what was made of `channels_second(x)` back."""
    return laid_out_as(x, y.movedim(1, -1)) if x.dim() in last_axes else y


class ChannelsByAxes(nn.Module):
    """A layer for inputs (N, C, …) made to take also inputs (N, …, C), told apart by their number of axes.

    Args:
        norm: the layer.
        last_axes: the numbers of axes of inputs whose channels are the last axis.
    """

    def __init__(self, norm: nn.Module, last_axes: list[int]):
        super().__init__()
        self.norm, self.last_axes = norm, last_axes

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape."""
        return moved_back(self.norm(channels_second(x, self.last_axes)), x, self.last_axes)


class InFloat32(nn.Module):
    """A layer that computes in float32, whatever its inputs are; its weights stay in float32 too.

    Args:
        norm: the layer.
    """

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm = norm.float()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "InFloat32":
        super()._apply(fn, recurse)
        self.norm.float()  # after net.half()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape and dtype."""
        return self.norm(x.float()).to(x.dtype)


@torch.fx.wrap
def layer_norm_of_tokens_or_maps(
    x: Tensor, channels: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Compute layer norm of x (N, …, C), as `LayerNormOfTokensOrMaps` does."""
    if x.dim() <= 3:
        return F.layer_norm(x, [channels], weight, bias, eps)
    return laid_out_as(x, F.group_norm(x.movedim(-1, 1), 1, weight, bias, eps).movedim(1, -1))


class LayerNormOfTokensOrMaps(nn.Module):
    """Layer norm of inputs (N, …, C): per token if they are (N, L, C), over each image if they are maps (N, H, W, C).

    In networks over tokens "layer norm" means the one, in networks over feature maps the other.

    Args:
        channels: C.
        eps: ε.
    """

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.channels, self.eps = channels, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x (N, …, C) → the same shape."""
        return layer_norm_of_tokens_or_maps(x, self.channels, self.weight, self.bias, self.eps)
