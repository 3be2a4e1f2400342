"""A small network of depthwise and pointwise convolutions, to compare normalizations in.

Its layers are those of MobileNet (Howard et al. 2017): six pairs, 56,000 parameters with ten classes.

    normbench compare examples/depthwise.py:build --dataset cifar10
"""

from torch import nn


def pair(channels: int, width: int, stride: int) -> list[nn.Module]:
    """A convolution of each channel by itself, and one that mixes the channels of each pixel."""
    return [
        nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]


def build(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """Make the network, which takes images (N, in_channels, H, W) to logits (N, num_classes)."""
    layers = [nn.Conv2d(in_channels, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    widths = (32, 64, 64, 128, 128, 128)
    for channels, width in zip((32, *widths), widths, strict=False):
        layers += pair(channels, width, 1 if width == channels else 2)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], num_classes))
