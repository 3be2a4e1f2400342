"""A comparison that takes seconds: its network, its options and an engine that remembers what it trained."""

import torch
from torch import nn

FEW = {"seeds": 2, "epochs": 1, "batch_size": 64, "rates": (0.1,), "price": False, "progress": False}


def network(num_classes, in_channels):
    layers = nn.Conv2d(in_channels, 8, 5, stride=3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(512, num_classes))


class Engine:
    """Trains in this process, and remembers what; it stops before training number `stop`."""

    def __init__(self, stop=None):
        self.trained, self.stop = [], stop

    def __call__(self, trainer, recipes, data, progress):
        for recipe in recipes:
            if len(self.trained) == self.stop:
                raise KeyboardInterrupt
            self.trained.append(recipe)
            yield trainer(recipe, data, progress)


class MyNorm(nn.Module):
    """Divides each image by its root mean square."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return x / x.square().mean((1, 2, 3), keepdim=True).sqrt() * self.weight.view(1, -1, 1, 1)
