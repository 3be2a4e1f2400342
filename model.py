"""A small convolutional network whose normalization is an argument, and the table of normalizations.

>>> net = Net("GN", gp=4)
>>> log_probabilities = net(torch.zeros(2, 1, 28, 28))  # two images in, (2, 10) out
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

# Output channels of each convolution of the network for grey images.
WIDTHS = (8, 8, 16, 16, 16)

# What to give Net for small colour photographs, such as those of CIFAR-10.
COLOUR = dict(
    **{"in_channels": 3, "size": (32, 32), "widths": (16, 24, 32, 32, 40, 40), "pools": (2, 4), "stem": (3, 1)},
    **{"standardized": True, "activation": nn.SiLU, "mirrored": True},
)


class Normalization(NamedTuple):
    """A row of `NORMALIZATIONS`.

    Attributes:
        name: the method's name in words.
        set: the activations that share one mean and one variance.
        make: makes the layer from the number of channels and, by name, from `normalization`'s other arguments.
        colour: in figures.
    """

    name: str
    set: str
    make: Callable[..., nn.Module]
    colour: str


class GhostBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that splits a batch and normalizes each part with its own mean and variance (Hoffer et al. 2017).

    So the images that share statistics can be few while a step's are many, as where a batch is spread over GPUs. In
    evaluation mode it is `nn.BatchNorm2d`. A step moves the running averages as far as one with plain batch norm,
    towards the mean of the parts' statistics.

    Args:
        channels: of the maps.
        images: of each part; 0 for the whole batch. Of P parts, the first has images 0, P, 2P, … Images that are left
            over are a part of their own.
    """

    def __init__(self, channels: int, images: int):
        super().__init__(channels)
        self.images = images

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (N, channels, H, W) → the same shape."""
        if not (self.training and 0 < self.images < len(x)):
            return super().forward(x)
        whole = len(x) - len(x) % self.images
        parts = (x[:whole].unflatten(0, (self.images, -1)), x[whole:].unsqueeze(1))
        momenta = (self.momentum * part.shape[:2].numel() / len(x) for part in parts)
        return torch.cat([self._each_by_itself(part, momentum) for part, momentum in zip(parts, momenta) if len(part)])

    def _each_by_itself(self, x: torch.Tensor, momentum: float) -> torch.Tensor:
        """x (images, parts, channels, H, W) → (images · parts, channels, H, W); its parts' channels are one part's."""
        parts, maps = x.shape[1], x.flatten(1, 2)
        mean, variance = x.new_zeros(2, maps.shape[1])
        affine = self.weight.repeat(parts), self.bias.repeat(parts)
        normalized = F.batch_norm(maps, mean, variance, *affine, training=True, momentum=1.0, eps=self.eps)
        self.running_mean.lerp_(mean.view(parts, -1).mean(dim=0), momentum)
        self.running_var.lerp_(variance.view(parts, -1).mean(dim=0), momentum)
        return normalized.view(-1, *x.shape[2:])


class LayerNormOfPixels(nn.LayerNorm):
    """Layer norm over the channels at each pixel, as ConvNeXt (Liu et al. 2022) has it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (N, C, ...) → the same shape."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def _batch_norm(channels: int, ghost: int, **_) -> nn.Module:
    return GhostBatchNorm2d(channels, ghost) if ghost else nn.BatchNorm2d(channels)


def _group_norm(channels: int, group: int, **_) -> nn.Module:
    if group < 1 or channels % group:
        raise ValueError(
            f"group norm with {group} groups cannot split {channels} channels evenly; "
            f"choose a number of groups (gp) that divides {channels}"
        )
    return nn.GroupNorm(group, channels)


def _layer_norm(channels: int, **_) -> nn.Module:
    return nn.GroupNorm(1, channels)


def _layer_norm_of_elements(channels: int, size: tuple[int, int] | None, **_) -> nn.Module:
    if size is None:
        raise ValueError("LN_CHW has a weight for each element: give the size (H, W) of its maps")
    return nn.LayerNorm([channels, *size])


def _layer_norm_of_pixels(channels: int, **_) -> nn.Module:
    return LayerNormOfPixels(channels, eps=1e-5)


def _instance_norm(channels: int, **_) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


def _identity(channels: int, **_) -> nn.Module:
    return nn.Identity()


# The colours are Okabe and Ito's, which colour-blind readers can tell apart, and two dark yellows and a grey.
NORMALIZATIONS = {
    "BN": Normalization("batch norm", "one channel of all images", _batch_norm, "#0072B2"),
    "GN": Normalization("group norm", "a group of channels of one image", _group_norm, "#D55E00"),
    "LN": Normalization("layer norm", "all channels of one image", _layer_norm, "#009E73"),
    "IN": Normalization("instance norm", "one channel of one image", _instance_norm, "#CC79A7"),
    "LN_CHW": Normalization(
        "layer norm, a weight for each element", "all channels of one image", _layer_norm_of_elements, "#B8860B"
    ),
    "LN_C": Normalization(
        "layer norm at each pixel", "all channels of one pixel of one image", _layer_norm_of_pixels, "#8C6D1F"
    ),
    "none": Normalization("no normalization", "nothing", _identity, "#666666"),
}


def normalization(
    nm: str, channels: int, group: int = 2, size: tuple[int, int] | None = None, ghost: int = 0
) -> nn.Module:
    """The normalization layer `nm` for maps of shape (N, channels, H, W).

    A layer splits the activations into sets, subtracts each set's mean, divides by its standard deviation (biased,
    with 1e-5 added to the variance), then multiplies by γ and adds β, which are trained: one pair for each channel.

    - "BN" batch norm (Ioffe & Szegedy 2015): a set for each channel, over (N, H, W)
    - "GN" group norm (Wu & He 2018): a set for each image and group of channels, over (channels / group, H, W)
    - "LN" layer norm (Ba et al. 2016): a set for each image, over (channels, H, W)
    - "IN" instance norm (Ulyanov et al. 2016): a set for each image and channel, over (H, W)
    - "LN_CHW" layer norm with the same sets as "LN", but as published: a pair of γ and β for each element
    - "LN_C" ConvNeXt's layer norm (Liu et al. 2022): a set for each image and pixel, over (channels,)
    - "none" leaves the activations as they are

    `group` is the number of groups, for "GN" alone; `size` is (H, W), for "LN_CHW" alone; `ghost`, for "BN" alone, is
    the number of images whose activations share a set, 0 for all of a batch (`GhostBatchNorm2d`).

    Raises ValueError for an unknown `nm`, where `group` does not divide `channels`, and where "LN_CHW" has no `size`.
    """
    if nm not in NORMALIZATIONS:
        raise ValueError(f"unknown normalization {nm!r}; choose one of {', '.join(NORMALIZATIONS)}")
    return NORMALIZATIONS[nm].make(channels, group=group, size=size, ghost=ghost)


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose weights are used with mean 0 and variance 2 / fan-in in each filter (Qiao et al. 2019).

    Activations after a ReLU are never negative, so a filter whose weights have a mean moves its whole channel up or
    down. Batch norm removes that from each channel. A normalization with one mean for several channels cannot: the
    next ReLU then passes nearly all of a channel that lies far above the mean, and nothing of one far below.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (N, in_channels, H, W) → (N, out_channels, H', W')."""
        # Element by element, which keeps the weights' memory format: convolutions take theirs from the weights.
        fan_in = self.weight[0].numel()
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        standardized = (self.weight - mean) * torch.rsqrt(fan_in / 2 * variance + 1e-5)
        return F.conv2d(x, standardized, self.bias, self.stride, self.padding, self.dilation, self.groups)


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)


class Net(nn.Module):
    """Convolutions, each normalized and rectified; then an average over the image, then a linear layer.

    - Convolutions have no bias: a normalization would subtract it, and its β stands in for it. Their weights start as
      He et al. (2015) derive for ReLUs, without which "none" would hardly learn.
    - Where an image is halved, that comes before the normalization, which then has a quarter of the work.
    - The average has trainable weights, one for each element of the last maps, equal at the start: where in the image
      a feature is helps to tell classes apart, and a plain average would lose it.
    - A random seed gives the same first weights of convolutions and linear layer for every `nm`.

    Args:
        nm: the normalization, one of `NORMALIZATIONS`.
        gp: the number of groups, for "GN" alone.
        ghost: how many images share statistics, for "BN" alone; 0 for all of a batch.
        in_channels: channels of an image.
        size: (H, W) of an image. Images of another size are taken too, but not by "LN_CHW".
        classes: number of classes.
        widths: output channels of each convolution.
        pools: the convolutions, counted from 1, after which the image is halved.
        stem: kernel size and padding of the first convolution; the others are 3x3 with padding 1.
        standardized: whether convolutions use standardized weights, as `StandardizedConv2d` does.
        activation: makes what follows each normalization.
        mirrored: whether evaluation shows the network each image twice, as it is and in a mirror, and averages the
            probabilities, as Krizhevsky et al. (2012) do: right where a mirror image is of the same class.

    Raises ValueError as `normalization` does, and for a `size` that is too small for the poolings.
    """

    def __init__(
        self,
        nm: str = "BN",
        gp: int = 2,
        ghost: int = 0,
        *,
        in_channels: int = 1,
        size: tuple[int, int] = (28, 28),
        classes: int = 10,
        widths: tuple[int, ...] = WIDTHS,
        pools: tuple[int, ...] = (1, 3),
        stem: tuple[int, int] = (5, 0),
        standardized: bool = False,
        activation: Callable[[], nn.Module] = _relu,
        mirrored: bool = False,
    ):
        super().__init__()
        self.mirrored = mirrored
        convolution = StandardizedConv2d if standardized else nn.Conv2d
        layers, channels, (height, width) = [], in_channels, size
        for i, filters in enumerate(widths, start=1):
            kernel, padding = stem if i == 1 else (3, 1)
            layers.append(convolution(channels, filters, kernel, padding=padding, bias=False))
            nn.init.kaiming_normal_(layers[-1].weight, nonlinearity="relu")
            height, width = (length + 2 * padding - kernel + 1 for length in (height, width))
            if i in pools:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            if min(height, width) < 1:
                raise ValueError(
                    f"images of {size[0]}x{size[1]} pixels are too small: nothing is left of them after convolution {i}"
                )
            layers += [normalization(nm, filters, gp, (height, width), ghost), activation()]
            channels = filters
        average = nn.Conv2d(channels, channels, (height, width), groups=channels, bias=False)
        nn.init.constant_(average.weight, 1 / (height * width))
        self.features = nn.Sequential(*layers)
        # The pooling changes only maps of images of another size, which it brings to the expected one.
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d((height, width)), average, nn.Flatten())
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (N, in_channels, H, W) float, standardized → log-probabilities (N, classes)."""
        return self._once(x) if self.training or not self.mirrored else self.with_mirror_images(x)

    def with_mirror_images(self, x: torch.Tensor) -> torch.Tensor:
        """As `forward`, but of each image as it is and in a mirror, in training mode too: the mean probabilities."""
        return torch.stack([self._once(x), self._once(x.flip(3))]).logsumexp(dim=0) - math.log(2)

    def _once(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.average(self.features(x))).log_softmax(dim=1)
