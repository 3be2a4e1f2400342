"""ResNet-20 for images of 32×32 pixels, to compare normalizations in: 270,000 parameters (He et al. 2016, section 4.2).

normbench compare examples/resnet20.py:build --dataset cifar10
"""

import torch
import torch.nn.functional as F
from resnet8 import Block
from torch import nn


class Shortcut(nn.Module):
    """Every second pixel, with zeros in as many new channels."""

    def __init__(self, new: int):
        super().__init__()
        self.new = new

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.new))


def smaller(channels: int, width: int) -> Block:
    """Make a block that halves the image, and has no weights beside its two convolutions."""
    block = Block(channels, width, 2)
    block.shortcut = Shortcut(width - channels)
    return block


def build(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """Make the network, which takes images (N, in_channels, H, W) to logits (N, num_classes)."""
    stem = [nn.Conv2d(in_channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [Block(16, 16, 1) for _ in range(3)]
    for width in (32, 64):
        blocks += [smaller(width // 2, width), Block(width, width, 1), Block(width, width, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))
