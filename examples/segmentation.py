"""A network for segmentation, and a training function of its own that is scored by Dice.

normbench compare examples/segmentation.py:UNet --train examples/segmentation.py:train \
    --arms BN GN:4 IN none --seeds 5 --rates 3e-3 1e-2 3e-2

The images are made up: a bright disc in noise, and the mask of the disc. In your own function they are read from files;
nothing else needs to change.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class UNet(nn.Module):
    """A small U-Net: images (N, 1, H, W) to logits (N, 1, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle, self.up = block(1, 8), block(8, 16), block(24, 8)
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down(x)
        coarse = F.interpolate(self.middle(F.max_pool2d(fine, 2)), scale_factor=2)
        return self.head(self.up(torch.cat([fine, coarse], dim=1)))


def discs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw `n` noisy images of a disc, (n, 1, 24, 24), and their masks."""
    generator = torch.Generator().manual_seed(seed)
    x, y, radius = (torch.rand(n, 1, 1, generator=generator) * size + low for size, low in ((12, 6), (12, 6), (4, 3)))
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    masks = ((columns - x).square() + (rows - y).square() < radius.square()).float()[:, None]
    return masks + torch.randn(n, 1, 24, 24, generator=generator), masks


def train(net: nn.Module, lr: float, seed: int, batch_size: int = 4, split: str = "test") -> dict[str, Tensor]:
    """Train `net` and return the Dice of each test image, (60,); with "validation", of others, to choose rates by."""
    images, masks = discs(64, seed=0)
    test_images, test_masks = discs(60, seed=2 if split == "validation" else 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr)
    order = torch.Generator().manual_seed(seed)
    for _ in range(4):
        for batch in torch.randperm(len(images), generator=order).split(batch_size):
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(net(images[batch]), masks[batch]).backward()
            optimizer.step()
    net.eval()
    with torch.no_grad():
        found = (net(test_images) > 0).float()
    overlap, sizes = (found * test_masks).sum((1, 2, 3)), found.sum((1, 2, 3)) + test_masks.sum((1, 2, 3))
    return {"dice": 2 * overlap / sizes}
