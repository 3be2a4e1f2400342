"""A small network of the library's own, which `normbench compare` takes if none is given."""

from itertools import pairwise

from torch import nn


def small_network(num_classes: int, in_channels: int) -> nn.Module:
    """Make a convolutional network with batch norm for images of 8 × 8 pixels or more, of about 8,000 parameters."""
    layers: list[nn.Module] = []
    for i, (channels, filters) in enumerate(pairwise((in_channels, 8, 16, 16, 32))):
        layers += [nn.Conv2d(channels, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if i < 2 else []
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes))
