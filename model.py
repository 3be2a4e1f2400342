"""One small convolutional network whose normalization is an argument.

>>> net = Net("GN", gp=4)
>>> log_probabilities = net(torch.zeros(2, 1, 28, 28))
"""

import torch
import torch.nn.functional as F
from torch import nn

NORMALIZATIONS = ("BN", "GN", "LN", "IN", "LN_CHW", "none")
WIDTHS = (8, 8, 16, 16, 16)
# What to give Net for small colour photographs, such as those of CIFAR-10.
COLOUR = dict(
    in_channels=3, size=(32, 32), widths=(16, 24, 32, 32, 40, 32), pools=(2, 4), stem=(3, 1), standardized=True
)


def normalization(nm: str, channels: int, group: int = 2, size: tuple[int, int] | None = None) -> nn.Module:
    """The normalization layer `nm` for maps of shape (N, channels, H, W).

    Each subtracts the mean and divides by the biased standard deviation of a set of activations,
    then scales by gamma and shifts by beta, one pair of trainable numbers a channel but for "LN_CHW":

    - "BN"   batch norm (Ioffe & Szegedy 2015): one set a channel, over (N, H, W)
    - "GN"   group norm (Wu & He 2018): one set an image and group of channels, over (C/group, H, W)
    - "LN"   layer norm (Ba et al. 2016) as GroupNorm(1, C): one set an image, over (C, H, W)
    - "IN"   instance norm (Ulyanov et al. 2016): one set an image and channel, over (H, W)
    - "LN_CHW" layer norm as in Ba et al.: sets as in "LN", but a gamma and a beta for each element (C, H, W)
    - "none" nothing

    `group` is the number of groups and matters for "GN" alone; `size` is (H, W) and matters for "LN_CHW" alone.

    Raises ValueError for an unknown `nm`, where `group` does not divide `channels`, and where "LN_CHW" has no `size`.
    """
    if nm == "BN":
        return nn.BatchNorm2d(channels)
    if nm == "GN":
        if group < 1 or channels % group:
            raise ValueError(
                f"group norm with {group} groups cannot split {channels} channels evenly; "
                f"choose a number of groups (gp) that divides {channels}"
            )
        return nn.GroupNorm(group, channels)
    if nm == "LN":
        return nn.GroupNorm(1, channels)
    if nm == "IN":
        return nn.InstanceNorm2d(channels, affine=True)
    if nm == "LN_CHW":
        if size is None:
            raise ValueError("LN_CHW has a weight for each element: give the size (H, W) of its maps")
        return nn.LayerNorm([channels, *size])
    if nm == "none":
        return nn.Identity()
    raise ValueError(f"unknown normalization {nm!r}; choose one of {', '.join(NORMALIZATIONS)}")


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose weights are used with mean 0 and variance 2 / fan-in in each filter (Qiao et al. 2019).

    Activations after a ReLU are never negative, so a filter with a mean of its own moves its whole channel up or
    down. Batch norm takes that out of each channel. A normalization with one mean for several channels cannot: the
    ReLU then passes all of a channel far above it, and nothing of one far below.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Element by element, so that weights in channels_last stay so: the whole network follows the first ones.
        fan_in, filters = self.weight[0].numel(), (1, 2, 3)
        variance, mean = torch.var_mean(self.weight, filters, correction=0, keepdim=True)
        standardized = (self.weight - mean) * torch.rsqrt(fan_in / 2 * variance + 1e-5)
        return F.conv2d(x, standardized, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Net(nn.Module):
    """Convolutions, each normalized and rectified; then an average over the image, then a linear layer.

    Args:
        nm: the normalization, one of `NORMALIZATIONS`.
        gp: the number of groups, for "GN" alone.
        in_channels: channels of an image.
        size: (H, W) of an image. Others are taken too, but not by "LN_CHW".
        classes: number of classes.
        widths: output channels of each convolution.
        pools: the convolutions, counted from 1, after which the image is halved.
        stem: kernel size and padding of the first convolution; the others are 3x3 and padded.
        standardized: whether convolutions use standardized weights.

    Convolutions carry no bias: a normalization would subtract it, and its beta stands in for it. Where an
    image is halved, that comes before the normalization, which then has a quarter of the numbers to handle.
    They start as He et al. (2015) derive for ReLUs, without which "none" would hardly learn.
    The average at the end has trainable weights, one for each element of the last maps, that start out equal:
    where in the image something was found tells classes apart, and a plain average would forget it.
    The same random seed gives the same convolution weights whatever `nm`.

    Raises ValueError as `normalization` does, and for a `size` that is too small for the poolings.
    """

    def __init__(
        self,
        nm: str = "BN",
        gp: int = 2,
        *,
        in_channels: int = 1,
        size: tuple[int, int] = (28, 28),
        classes: int = 10,
        widths: tuple[int, ...] = WIDTHS,
        pools: tuple[int, ...] = (1, 3),
        stem: tuple[int, int] = (5, 0),
        standardized: bool = False,
    ):
        super().__init__()
        features, image = [], size
        for i, (channels, width) in enumerate(zip((in_channels, *widths), widths), start=1):
            kernel, padding = stem if i == 1 else (3, 1)
            convolution = (StandardizedConv2d if standardized else nn.Conv2d)(
                channels, width, kernel, padding=padding, bias=False
            )
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            features.append(convolution)
            size = tuple(length + 2 * padding - kernel + 1 for length in size)
            if i in pools:
                features.append(nn.MaxPool2d(2))
                size = tuple(length // 2 for length in size)
            if min(size) < 1:
                height, width = image
                raise ValueError(
                    f"images of {height}x{width} pixels are too small: nothing is left of them after convolution {i}"
                )
            features += [normalization(nm, width, gp, size), nn.ReLU(inplace=True)]
        average = nn.Conv2d(widths[-1], widths[-1], size, groups=widths[-1], bias=False)
        nn.init.constant_(average.weight, 1 / (size[0] * size[1]))
        self.features = nn.Sequential(*features)
        # Images of another size than expected have other last maps, which are brought to the expected.
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d(size), average, nn.Flatten())
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (N, C, H, W) float → log-probabilities (N, classes)."""
        return self.classifier(self.average(self.features(x))).log_softmax(dim=1)
