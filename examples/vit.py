"""A small vision transformer (Dosovitskiy et al. 2021), to compare normalizations in: four blocks, 208,000 parameters.

normbench compare examples/vit.py:build --dataset cifar10 --optimizer adamw
"""

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, HEADS, PATCH = 64, 4, 4


class Block(nn.Module):
    """Attention and a layer of two matrices, each of which follows a normalization and is added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Blocks over the patches of an image, whose mean is classified."""

    def __init__(self, num_classes: int, in_channels: int, patches: int):
        super().__init__()
        self.embed = nn.Conv2d(in_channels, WIDTH, PATCH, PATCH)
        self.position = nn.Parameter(0.02 * torch.randn(patches, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(4)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(tokens)).mean(dim=1))


def build(num_classes: int = 10, in_channels: int = 3, size: tuple[int, int] = (32, 32)) -> nn.Module:
    """Make the network, which takes images (N, in_channels, *size) to logits (N, num_classes)."""
    return Transformer(num_classes, in_channels, (size[0] // PATCH) * (size[1] // PATCH))
