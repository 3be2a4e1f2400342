"""A small residual network for photographs of 32×32 pixels, to compare normalizations in.

It is the ResNet of MLPerf Tiny (Banbury et al. 2021): three stages of one block, 78,000 parameters with ten classes.

    normbench compare examples/resnet8.py:build --dataset cifar10
"""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Two convolutions, whose output is added to the input (He et al. 2016)."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Conv2d(channels, width, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def build(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """Make the network, which takes images (N, in_channels, H, W) to logits (N, num_classes)."""
    stem = [nn.Conv2d(in_channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    stages = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))
