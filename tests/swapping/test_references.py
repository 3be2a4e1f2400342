import weakref
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.fx
import torch.nn.functional as F
from torch import nn

from normbench.swapping import swap, unknown


class Listed(nn.Module):
    """A network that takes its normalization layers from elsewhere than its attributes."""

    def __init__(self, keep):
        super().__init__()
        layers = [nn.BatchNorm1d(8) for _ in range(3)]
        for index, layer in enumerate(layers):
            setattr(self, f"norm{index}", layer)
        self.kept, self.layers = keep(self, layers), None

    def forward(self, x):
        kept = self.kept
        kept = kept() if callable(kept) else kept
        for layer in kept.values() if isinstance(kept, dict) else kept:
            x = (layer[0] if isinstance(layer, tuple) else layer)(x)
        return x


class Held(SimpleNamespace):
    def __call__(self):
        return self.layers


class Slots:
    __slots__ = ("layers",)

    def __init__(self, layers):
        self.layers = layers

    def __call__(self):
        return self.layers


KEPT = {
    "list": lambda net, layers: layers,
    "dict": lambda net, layers: dict(zip("abc", layers)),
    "tuple": lambda net, layers: tuple(layers),
    "list of tuples": lambda net, layers: [(layer, 1) for layer in layers],
    "methods": lambda net, layers: [layer.forward for layer in layers],
    "partial": lambda net, layers: [partial(layer.__call__) for layer in layers],
    "partial of a layer": lambda net, layers: [partial(layer) for layer in layers],
    "an object with slots": lambda net, layers: Slots(layers),
    "an object": lambda net, layers: Held(layers=layers),
    "nested": lambda net, layers: Held(layers={"all": layers[0], "rest": layers[1], "last": layers[2]}),
}


@pytest.mark.parametrize("where", KEPT)
@pytest.mark.parametrize("norm", ("GN", "none", "RMS"))
def test_layers_in_lists_and_elsewhere_are_replaced(where, norm, recwarn):
    net, x = Listed(KEPT[where]).train(), torch.randn(32, 8) + 1
    plain = nn.Sequential(*(nn.BatchNorm1d(8) for _ in range(3)))
    new = swap(net, norm).train()
    torch.testing.assert_close(new(x), swap(plain, norm)(x))
    assert not new(x).equal(net(x)) and not recwarn.list
    assert torch.equal(net(x), plain(x)), "the given network stays as it is"


def test_layers_that_no_swap_reaches_are_named():
    net = Listed(lambda net, layers: lambda: layers)  # a function is not copied
    with pytest.warns(UserWarning, match="kept: BatchNorm1d, "):
        swap(net, "GN")

    class Unregistered(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.others = nn.BatchNorm1d(8), [nn.BatchNorm1d(8)]

        def forward(self, x):
            return self.others[0](self.first(x))

    class OfTheClass(Unregistered):
        others = (nn.BatchNorm1d(8),)

        def __init__(self):
            super().__init__()
            del self.others

    class Weak(Unregistered):
        def __init__(self):
            super().__init__()
            self.others = weakref.ref(self.first)

        def forward(self, x):
            return self.others()(x)

    for kind in (Unregistered, OfTheClass, Weak):
        for example in (None, torch.randn(4, 8)):
            with pytest.warns(UserWarning, match="others"):
                swap(kind(), "GN", example)


# Functions


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x):
        return self.normalized(self.bn(self.conv(x)))

    def normalized(self, x):
        return F.layer_norm(x, x.shape[1:])


@pytest.mark.parametrize("example", (None, torch.randn(2, 3, 4, 4)))
def test_normalizations_called_as_functions_are_named(example):
    with pytest.warns(UserWarning, match=r"0: .*F\.layer_norm"):
        swap(nn.Sequential(Functional()), "GN", example)


def test_standardized_weights_are_not_named(recwarn):
    class Standardizing(nn.Conv2d):
        def forward(self, x):
            weight = F.batch_norm(self.weight.reshape(1, self.out_channels, -1), None, None, training=True)
            return self._conv_forward(x, weight.reshape_as(self.weight), self.bias)

    for example in (None, torch.randn(2, 3, 4, 4)):
        swap(nn.Sequential(Standardizing(3, 8, 1), nn.BatchNorm2d(8)), "GN", example)
    assert not recwarn.list


def test_a_layer_called_as_a_function_is_named_is_none():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer_norm = nn.LayerNorm(8)

        def forward(self, x):
            return self.layer_norm(x)

    assert not unknown(Block())
