"""ResNet-20 for images of 32×32 pixels, to compare normalizations in: 270,000 parameters (He et al. 2016, section 4.2).

normbench compare examples/resnet20.py:build --dataset cifar10
"""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Two convolutions, whose output is added to the input; new channels of the input are zeros."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.stride, self.new = stride, width - channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new))
        return F.relu(self.norm2(self.conv2(y)) + shortcut)


def build(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """Make the network, which takes images (N, in_channels, H, W) to logits (N, num_classes)."""
    layers = [nn.Conv2d(in_channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    channels = 16
    for width in (16, 32, 64):
        layers += [
            Block(channels, width, 1 if width == channels else 2),
            Block(width, width, 1),
            Block(width, width, 1),
        ]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))
