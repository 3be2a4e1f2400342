"""The table of normalizations: names, what shares statistics, how layers are made, colours.

A normalization is named by a text, its *norm*: "BN", "LN", "GN" (as many groups as fit), "GN:8" (eight groups), "BN:16"
(ghost batch norm with 16 images per statistic), "WS+GN" (with weight standardization of the convolution before it).

>>> make("GN:8", channels=64)
GroupNorm(8, 64, eps=1e-05, affine=True)
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_GROUPS = 32  # as Wu & He (2018) chose
STANDARDIZED = "WS+"
Maker = Callable[[int, int | None, tuple[int, int] | None], nn.Module]


class Normalization(NamedTuple):
    """A row of `NORMALIZATIONS`.

    Attributes:
        name: the method's name in words.
        shares: the activations that share one mean and one variance.
        make: makes the layer from the number of channels, the number behind the colon (None without one) and the size
            (H, W) of the feature maps (None where it is not known).
        colour: the colour in figures.
        number: what a number behind the colon counts, such as "groups"; "" where none is taken.
        any_shape: whether the layer takes inputs (N, C, …) of any number of axes.
        needs_size: whether `make` needs the size of the feature maps.
    """

    name: str
    shares: str
    make: Maker
    colour: str
    number: str = ""
    any_shape: bool = False
    needs_size: bool = False


class GhostBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that splits a batch and normalizes each part with its own mean and variance (Hoffer et al. 2017).

    So the images that share statistics can be few while those of a step are many, as when a batch is spread over GPUs.
    In evaluation mode it is `nn.BatchNorm2d`. A step moves the running averages as far as one with plain batch norm,
    towards the mean of the parts' statistics.

    Args:
        channels: of the feature maps.
        images: in each part; None for the whole batch. Of P parts, the first has images 0, P, 2P, … Images that are
            left over are a part of their own.
    """

    def __init__(self, channels: int, images: int | None):
        super().__init__(channels)
        self.images = images

    def forward(self, x: Tensor) -> Tensor:
        """x (N, channels, H, W) → the same shape."""
        if not self.training or self.images is None or self.images >= len(x):
            return super().forward(x)
        whole = len(x) - len(x) % self.images
        normalized = self._each_by_itself(x[:whole].unflatten(0, (self.images, -1)), whole / len(x))
        if whole == len(x):
            return normalized
        return torch.cat([normalized, self._each_by_itself(x[whole:].unsqueeze(1), 1 - whole / len(x))])

    def _each_by_itself(self, x: Tensor, share: float) -> Tensor:
        """Normalize x (images, parts, channels, H, W), a `share` of the batch → (images · parts, channels, H, W)."""
        parts, maps = x.shape[1], x.flatten(1, 2)  # to batch norm, the channels of each part are channels of one batch
        mean, variance = x.new_zeros(2, maps.shape[1])
        affine = self.weight.repeat(parts), self.bias.repeat(parts)
        normalized = F.batch_norm(maps, mean, variance, *affine, training=True, momentum=1.0, eps=self.eps)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean.view(parts, -1).mean(dim=0), self.momentum * share)
        self.running_var.lerp_(variance.view(parts, -1).mean(dim=0), self.momentum * share)
        return normalized.view(-1, *x.shape[2:])


class LayerNormOfPixels(nn.LayerNorm):
    """Layer norm over the channels at each pixel, as in ConvNeXt (Liu et al. 2022)."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, ...) → the same shape."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class StandardizedConv2d(nn.Conv2d):
    """A convolution that uses its weights with mean 0 and variance 2 / fan-in per filter (Qiao et al. 2019).

    Activations after a ReLU are never negative, so a filter whose weights have a mean moves its whole channel up or
    down. Batch norm removes that from each channel. A normalization with one mean for several channels cannot: the
    next ReLU then passes nearly all of a channel that lies far above the mean, and nothing of one far below.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in_channels, H, W) → (N, out_channels, H', W')."""
        # Element by element, which keeps the weights' memory format: convolutions take theirs from the weights.
        fan_in = self.weight[0].numel()
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        standardized = (self.weight - mean) * torch.rsqrt(fan_in / 2 * variance + 1e-5)
        return self._conv_forward(x, standardized, self.bias)


def fitting_groups(channels: int) -> int:
    """Return the largest number of groups up to 32 that divides `channels` and leaves two or more channels per group.

    So no set holds a single number, which normalization would turn into 0.
    """
    most = min(MOST_GROUPS, max(1, channels // 2))
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)


def _batch_norm(channels: int, images: int | None, size: tuple[int, int] | None) -> nn.Module:
    return nn.BatchNorm2d(channels) if images is None else GhostBatchNorm2d(channels, images)


def _group_norm(channels: int, groups: int | None, size: tuple[int, int] | None) -> nn.Module:
    if groups is not None and channels % groups:
        raise ValueError(
            f"{groups} groups cannot split {channels} channels evenly; "
            "leave the number out (GN), and each layer gets one that fits"
        )
    return nn.GroupNorm(groups or fitting_groups(channels), channels)


def _layer_norm(channels: int, number: int | None, size: tuple[int, int] | None) -> nn.Module:
    return nn.GroupNorm(1, channels)


def _instance_norm(channels: int, number: int | None, size: tuple[int, int] | None) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


def _layer_norm_of_elements(channels: int, number: int | None, size: tuple[int, int] | None) -> nn.Module:
    if size is None:
        raise ValueError("LN_CHW has a weight per element: the size (H, W) of its feature maps must be known")
    return nn.LayerNorm([channels, *size])


def _layer_norm_of_pixels(channels: int, number: int | None, size: tuple[int, int] | None) -> nn.Module:
    return LayerNormOfPixels(channels, eps=1e-5)


def _identity(channels: int, number: int | None, size: tuple[int, int] | None) -> nn.Module:
    return nn.Identity()


# The colours are those of Okabe and Ito, which colour-blind readers can distinguish, two dark yellows and a grey.
NORMALIZATIONS = {
    "BN": Normalization("batch norm", "one channel of all images", _batch_norm, "#0072B2", number="images"),
    "GN": Normalization(
        "group norm", "a group of channels of one image", _group_norm, "#D55E00", number="groups", any_shape=True
    ),
    "LN": Normalization("layer norm", "all channels of one image", _layer_norm, "#009E73", any_shape=True),
    "IN": Normalization("instance norm", "one channel of one image", _instance_norm, "#CC79A7"),
    "LN_CHW": Normalization(
        "layer norm, a weight per element",
        "all channels of one image",
        _layer_norm_of_elements,
        "#B8860B",
        needs_size=True,
    ),
    "LN_C": Normalization(
        "layer norm at each pixel",
        "all channels of one pixel of one image",
        _layer_norm_of_pixels,
        "#8C6D1F",
        any_shape=True,
    ),
    "none": Normalization("no normalization", "nothing", _identity, "#666666", any_shape=True),
}


class Spec(NamedTuple):
    """What a norm says: a name in `NORMALIZATIONS`, the number behind the colon, whether weights are standardized."""

    name: str
    number: int | None
    standardized: bool


def parse(norm: str) -> Spec:
    """Read a norm such as "BN", "GN:8", "BN:16" or "WS+GN:2".

    Raises ValueError for an unknown name, and for a number where none is taken or that is not 1 or more.
    """
    standardized = norm.startswith(STANDARDIZED)
    name, colon, digits = norm.removeprefix(STANDARDIZED).partition(":")
    if name not in NORMALIZATIONS:
        raise ValueError(
            f"unknown normalization {norm!r}; choose one of {', '.join(NORMALIZATIONS)}, or GN:8, BN:16, …"
        )
    counted = NORMALIZATIONS[name].number
    if colon and not counted:
        raise ValueError(f"{norm!r}: {name} takes no number; write {norm.partition(':')[0]}")
    if colon and not (digits.isascii() and digits.isdigit() and int(digits)):
        raise ValueError(f"{norm!r}: behind the colon stands the number of {counted}, 1 or more, as in {name}:8")
    return Spec(name, int(digits) if colon else None, standardized)


def label(norm: str) -> str:
    """Name a norm in figures and tables: "BN", "GN (8 groups)", "BN (16 images)", "WS + GN (2 groups)"."""
    name, number, standardized = parse(norm)
    counted = NORMALIZATIONS[name].number
    counted = counted.removesuffix("s") if number == 1 else counted
    return ("WS + " if standardized else "") + (f"{name} ({number} {counted})" if number else name)


def colour(norm: str) -> str:
    """Return the colour of a norm in figures, as #RRGGBB."""
    return NORMALIZATIONS[parse(norm).name].colour


def make(norm: str, channels: int, size: tuple[int, int] | None = None) -> nn.Module:
    """Make the normalization layer of a norm for feature maps (N, channels, H, W), with γ = 1 and β = 0.

    Weight standardization, which is a property of the convolution before the layer, is not part of it.

    Raises ValueError as `parse` does, for groups that do not divide `channels`, and for "LN_CHW" without a `size`.
    """
    name, number, _ = parse(norm)
    return NORMALIZATIONS[name].make(channels, number, size)
