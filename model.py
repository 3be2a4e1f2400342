"""A small convolutional network whose normalization is an argument.

>>> net = Net("GN", gp=4)
>>> log_probabilities = net(torch.zeros(2, 1, 28, 28))  # two images in, (2, 10) out
"""

from collections.abc import Callable

import torch
from torch import nn

# Output channels of each convolution of the network for grey images.
WIDTHS = (8, 8, 16, 16, 16)

# What to give Net for small colour photographs, such as those of CIFAR-10.
COLOUR = {
    "in_channels": 3,
    "size": (32, 32),
    "widths": (16, 24, 32, 32, 40, 40),
    "pools": (2, 4),
    "stem": (3, 1),
    "activation": nn.SiLU,
}


def normalization(nm: str, channels: int, group: int = 2) -> nn.Module:
    """Make the normalization layer `nm` for feature maps of shape (N, channels, H, W).

    A layer splits the activations into sets, subtracts each set's mean, divides by its standard deviation (biased,
    with 1e-5 added to the variance), then multiplies by γ and adds β, which are trained: one pair per channel.

    - "BN" batch norm (Ioffe & Szegedy 2015): one set per channel, over (N, H, W)
    - "GN" group norm (Wu & He 2018): one set per image and group of channels, over (channels / group, H, W)
    - "LN" layer norm (Ba et al. 2016): one set per image, over (channels, H, W)
    - "IN" instance norm (Ulyanov et al. 2016): one set per image and channel, over (H, W)
    - "none" leaves the activations as they are

    `group` is the number of groups, for "GN" alone.

    Raises ValueError for an unknown `nm`, and for groups that do not divide `channels`.
    """
    if nm == "GN" and (group < 1 or channels % group):
        raise ValueError(
            f"group norm with {group} groups cannot split {channels} channels evenly; "
            f"choose a number of groups (gp) that divides {channels}"
        )
    layers: dict[str, Callable[[], nn.Module]] = {
        "BN": lambda: nn.BatchNorm2d(channels),
        "GN": lambda: nn.GroupNorm(group, channels),
        "LN": lambda: nn.GroupNorm(1, channels),
        "IN": lambda: nn.InstanceNorm2d(channels, affine=True),
        "none": nn.Identity,
    }
    if nm not in layers:
        raise ValueError(f"unknown normalization {nm!r}; choose one of {', '.join(layers)}")
    return layers[nm]()


def convolution(channels: int, filters: int, kernel: int, padding: int, bias: bool) -> nn.Conv2d:
    """Make a convolution with the initial weights of He et al. (2015), and a bias of 0 if it has one."""
    layer = nn.Conv2d(channels, filters, kernel, padding=padding, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if bias:  # added here, because PyTorch would draw it, and the other weights would no longer be those of the seed
        layer.bias = nn.Parameter(torch.zeros(filters))
    return layer


class Net(nn.Module):
    """Convolutions, each normalized and activated; then an average over the image, then a linear layer.

    - Convolutions have no bias: a normalization would subtract it, and its β takes its place. Without a normalization
      they have one. Their initial weights keep the size of the activations, so that "none" can be trained at all.
    - Where an image is halved, that comes before the normalization, which then has a quarter of the work.
    - The average has trainable weights, one per element of the last feature maps, equal at the start: where in the
      image a feature is helps to tell classes apart, and a plain average would lose it.
    - A random seed gives the same initial weights of convolutions and linear layer for every `nm`.

    Args:
        nm: the normalization, as `normalization` takes it.
        gp: the number of groups, for "GN" alone.
        in_channels: channels of an image.
        size: (H, W) of an image. Images of another size are taken too.
        classes: number of classes.
        widths: output channels of each convolution.
        pools: the convolutions, counted from 1, after which the image is halved.
        stem: kernel size and padding of the first convolution; the others are 3x3 with padding 1.
        activation: the type of the layer that follows each normalization.

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
        activation: Callable[..., nn.Module] = nn.ReLU,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        channels, (height, width) = in_channels, size
        for i, filters in enumerate(widths, start=1):
            kernel, padding = stem if i == 1 else (3, 1)
            layers.append(convolution(channels, filters, kernel, padding, bias=nm == "none"))
            height, width = height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1
            if i in pools:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            if min(height, width) < 1:
                raise ValueError(f"images of {size[0]}x{size[1]} pixels are too small: convolution {i} leaves nothing")
            layers += [normalization(nm, filters, gp), activation(inplace=True)]
            channels = filters
        average = nn.Conv2d(channels, channels, (height, width), groups=channels, bias=False)
        nn.init.constant_(average.weight, 1 / (height * width))
        self.features = nn.Sequential(*layers)
        # The pooling changes only maps of images of another size, which it brings to the expected one.
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d((height, width)), average, nn.Flatten())
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (N, in_channels, H, W) float, standardized → log-probabilities (N, classes)."""
        return self.classifier(self.average(self.features(x))).log_softmax(dim=1)
