"""One small convolutional network whose normalization is an argument.

>>> net = Net("GN", gp=4)
>>> log_probabilities = net(torch.zeros(2, 1, 28, 28))
"""

import torch
from torch import nn

NORMALIZATIONS = ("BN", "GN", "LN", "IN", "none")
WIDTHS = (8, 8, 16, 16, 16)


def normalization(nm: str, channels: int, group: int = 2) -> nn.Module:
    """The normalization layer `nm` for maps of shape (N, channels, H, W).

    Each subtracts the mean and divides by the biased standard deviation of a set of activations,
    then scales by gamma and shifts by beta, one pair of trainable numbers a channel:

    - "BN"   batch norm (Ioffe & Szegedy 2015): one set a channel, over (N, H, W)
    - "GN"   group norm (Wu & He 2018): one set an image and group of channels, over (C/group, H, W)
    - "LN"   layer norm (Ba et al. 2016) as GroupNorm(1, C): one set an image, over (C, H, W)
    - "IN"   instance norm (Ulyanov et al. 2016): one set an image and channel, over (H, W)
    - "none" nothing

    `group` is the number of groups and matters for "GN" alone.

    Raises ValueError for an unknown `nm`, and where `group` does not divide `channels`.
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
    if nm == "none":
        return nn.Identity()
    raise ValueError(f"unknown normalization {nm!r}; choose one of {', '.join(NORMALIZATIONS)}")


class Net(nn.Module):
    """Convolutions, each normalized and rectified; then an average over the image, then a linear layer.

    Args:
        nm: the normalization, one of `NORMALIZATIONS`.
        gp: the number of groups, for "GN" alone.
        in_channels: channels of an image.
        classes: number of classes.
        widths: output channels of each convolution. The first is 5x5 and unpadded, the others are 3x3 and padded.
        pools: the convolutions, counted from 1, after which the image is halved.

    Convolutions carry no bias: a normalization would subtract it, and its beta stands in for it. Where an
    image is halved, that comes before the normalization, which then has a quarter of the numbers to handle.
    They start as He et al. (2015) derive for ReLUs, without which "none" would hardly learn.
    The average at the end has trainable weights, 6x6 for each channel, that start out equal: where in the
    image something was found tells digits apart, and a plain average would forget it.
    The same random seed gives the same convolution weights whatever `nm`.

    Raises ValueError as `normalization` does.
    """

    def __init__(
        self,
        nm: str = "BN",
        gp: int = 2,
        *,
        in_channels: int = 1,
        classes: int = 10,
        widths: tuple[int, ...] = WIDTHS,
        pools: tuple[int, ...] = (1, 3),
    ):
        super().__init__()
        features = []
        for i, (channels, width) in enumerate(zip((in_channels, *widths), widths), start=1):
            kernel, padding = (5, 0) if i == 1 else (3, 1)
            convolution = nn.Conv2d(channels, width, kernel, padding=padding, bias=False)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            features.append(convolution)
            if i in pools:
                features.append(nn.MaxPool2d(2))
            features += [normalization(nm, width, gp), nn.ReLU(inplace=True)]
        average = nn.Conv2d(widths[-1], widths[-1], 6, groups=widths[-1], bias=False)
        nn.init.constant_(average.weight, 1 / 36)
        self.features = nn.Sequential(*features)
        # 28x28 images have 6x6 maps by now; those of other sizes are brought to it.
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d(6), average, nn.Flatten())
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (N, C, H, W) float → log-probabilities (N, classes)."""
        return self.classifier(self.average(self.features(x))).log_softmax(dim=1)
