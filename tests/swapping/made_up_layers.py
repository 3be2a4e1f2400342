"""Small networks and layers on which swaps are tried."""

import torch
import torch.nn.functional as F
from torch import nn

from normbench.swapping import normalizations


def conv_norm_relu(norm=nn.BatchNorm2d, channels=8, **arguments):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, channels, 3, bias=False), norm(channels, **arguments), nn.ReLU())


def randomized(net):
    """`net` with other γ, β and running averages than the first ones, with which mistakes would not show."""
    with torch.no_grad():
        for layer in normalizations(net).values():
            for values in layer.state_dict().values():
                if values.is_floating_point():
                    values.uniform_(0.5, 1.5)
    return net


NETS = {
    "1-D": (nn.Sequential(nn.Conv1d(3, 32, 3, bias=False), nn.BatchNorm1d(32), nn.ReLU()), (2, 3, 9)),
    "2-D": (nn.Sequential(nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU()), (2, 3, 9, 8)),
    "3-D": (nn.Sequential(nn.Conv3d(3, 32, 3, bias=False), nn.BatchNorm3d(32), nn.ReLU()), (2, 3, 6, 5, 4)),
    "vectors": (nn.Sequential(nn.Linear(9, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU()), (6, 9)),
    "tokens": (nn.Sequential(nn.Linear(9, 32), nn.LayerNorm(32), nn.ReLU()), (2, 7, 9)),
    "maps, channels last": (nn.Sequential(nn.Linear(9, 32), nn.LayerNorm(32), nn.ReLU()), (2, 7, 5, 9)),
    "RMSNorm": (nn.Sequential(nn.Linear(9, 32), nn.RMSNorm(32), nn.ReLU()), (2, 7, 9)),
}


class MyNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.weight_of_another = nn.Parameter(torch.ones(1))

    def forward(self, x):
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return x * self.weight.view(shape) + self.bias.view(shape)


def vector(*shape):
    return nn.Parameter(torch.rand(shape) + 0.5)


class BNReLU(nn.BatchNorm2d):
    def forward(self, x):
        return F.relu(super().forward(x))


class Conditional(nn.BatchNorm2d):
    def __init__(self, channels, classes=5):
        super().__init__(channels, affine=False)
        self.embed = nn.Embedding(classes, 2 * channels)

    def forward(self, x, y):
        gain, bias = self.embed(y)[..., None, None].chunk(2, 1)
        return (1 + gain) * super().forward(x) + bias
