"""Networks in which a swap would be wrong without a word: it is right there, or said, or refused."""

import functools

import numpy as np
import pytest
import torch
import torch.fx
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from normbench.swapping import recognize, swap, swapped

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A convolution and `normalized`, with a batch norm that it may use."""

    def __init__(self, norm=None):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, bias=False), norm or nn.BatchNorm2d(8)

    def forward(self, x):
        return self.normalized(self.conv(x))

    def normalized(self, x):
        return self.bn(x)


def left(net, norm="GN", example=None):
    return swapped(net, norm, example)[1].left


# Forwards that ask for the class of their layers


class ByClass(Net):
    def normalized(self, x):
        for layer in self.children():
            x = layer(x) if isinstance(layer, nn.BatchNorm2d) else x
        return x


class ByName(Net):
    def normalized(self, x):
        for layer in self.children():
            x = layer(x) if type(layer).__name__ == "BatchNorm2d" else x
        return x


class ByClassWhenMade(Net):
    def __init__(self):
        super().__init__()
        assert isinstance(self.bn, nn.BatchNorm2d)


@pytest.mark.parametrize("net", (ByClass(), ByName()), ids=lambda net: type(net).__name__)
@pytest.mark.parametrize("norm", ("GN", "RMS", "none"))
def test_a_layer_that_is_passed_over_is_named(net, norm):
    assert "calls nothing there any more" in left(net, norm, X)["bn"]


def test_without_an_example_the_code_tells_who_asks():
    assert "asks for BatchNorm2d" in left(ByClass())[""]
    assert not left(ByClassWhenMade()) and not left(Net())


# Layers called without their hooks, and layers that a network makes in its forward


class WithoutHooks(Net):
    def normalized(self, x):
        return self.bn.forward(x)


@pytest.mark.parametrize("norm", ("GN", "RMS"))
def test_a_forward_that_is_called_by_itself_is_reached(norm):
    net = WithoutHooks()
    assert not left(net, norm, X)
    torch.testing.assert_close(swap(net, norm, X)(X), swap(nn.Sequential(net.conv, net.bn), norm)(X))


class Lazy(Net):
    def __init__(self):
        super().__init__()
        self.late = None

    def normalized(self, x):
        self.late = self.late or nn.BatchNorm2d(x.shape[1])
        return self.late(self.bn(x))


@pytest.mark.parametrize("example", (None, X))
def test_a_layer_that_is_made_in_forward_is_named(example):
    assert "BatchNorm2d" in left(Lazy(), "GN", example)[""] or "F.batch_norm" in left(Lazy(), "GN", example)[""]


# Functions that normalize, wherever they are called


OF_THE_MODULE = nn.BatchNorm2d(8)


def helper(x):
    return F.instance_norm(x)


class ByHelper(Net):
    def normalized(self, x):
        return helper(self.bn(x))


class ByAnOperator(Net):
    def normalized(self, x):
        return torch.ops.aten.instance_norm(self.bn(x), None, None, None, None, True, 0.1, 1e-5, False)


class ByAnOverload(Net):
    def normalized(self, x):
        return torch.ops.aten.instance_norm.default(self.bn(x), None, None, None, None, True, 0.1, 1e-5, False)


class InComprehension(Net):
    def normalized(self, x):
        return torch.cat([F.instance_norm(part) for part in self.bn(x).chunk(2, 1)], 1)


class OfTheModule(Net):
    def normalized(self, x):
        return OF_THE_MODULE(self.bn(x))


class Graph(Net):
    def __init__(self):
        super().__init__()
        self.part = torch.fx.symbolic_trace(ByHelper())

    def normalized(self, x):
        return self.bn(x) + self.part(x[:, :3])[:, :1].mean()


class Exported(Net):
    def __init__(self):
        super().__init__()
        self.part = torch.export.export(nn.BatchNorm2d(8).eval(), (torch.ones(4, 8, 6, 6),)).module()

    def normalized(self, x):
        return self.part(self.bn(x))


@pytest.mark.parametrize("example", (None, X), ids=("code", "run"))
@pytest.mark.parametrize(
    "net",
    (ByHelper(), ByAnOperator(), ByAnOverload(), InComprehension(), OfTheModule(), Graph(), Exported()),
    ids=lambda net: type(net).__name__,
)
def test_normalizations_that_no_swap_reaches_are_named(net, example):
    said = " ".join(left(net, "none", example).values())
    assert "F.instance_norm" in said or "F.batch_norm" in said or "BatchNorm2d, for it is held" in said


class ByHand(Net):
    def normalized(self, x):
        x = self.bn(x)
        return (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)


class StandardizedWeights(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight / weight.std((1, 2, 3), keepdim=True), self.bias)


def test_a_normalization_written_by_hand_is_named_where_the_network_is_run():
    assert "std" in left(ByHand(), "GN", X)[""]
    assert not left(nn.Sequential(StandardizedWeights(3, 8, 3), nn.BatchNorm2d(8)), "GN", X)


def test_where_nothing_can_be_replaced_what_normalizes_is_named():
    by_function, by_hand = Net(nn.Identity()), Net(nn.Identity())
    by_function.normalized, by_hand.normalized = helper, lambda x: x / x.std()
    for example, net, part in (
        (None, ByHelper(nn.Identity()), "F.instance"),
        (X, by_function, "F.inst"),
        (X, by_hand, "std"),
    ):
        with pytest.raises(ValueError, match=f"no normalization layer.*{part}"):
            swap(net, "GN", example)


# Networks that read what the new layer lacks


class ReadsAverages(Net):
    def normalized(self, x):
        return self.bn(x) * self.bn.running_var.mean()


def test_a_network_that_no_longer_runs_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"after the swap.*'GroupNorm' object has no attribute 'running_var'") as error:
        swap(ReadsAverages(), "GN", X)
    assert "\n" not in str(error.value)
    assert type(swap(ReadsAverages(), "BRN", X).bn).__name__ == "BatchRenorm"


# Layers that are more in the network than by themselves


class Flag(nn.BatchNorm2d):
    rectified = False

    def forward(self, x):
        y = super().forward(x)
        return F.relu(y) if self.rectified else y


class SetsTheFlag(Net):
    def normalized(self, x):
        self.bn.rectified = True
        return self.bn(x)


class OfLargeMaps(nn.BatchNorm2d):
    def forward(self, x):
        y = super().forward(x)
        return F.relu(y) if x.shape[-1] == 6 else y


class OwnCall(nn.BatchNorm2d):
    def __call__(self, x):
        return F.relu(super().__call__(x))


@pytest.mark.parametrize("net", (SetsTheFlag(Flag(8)), Net(OfLargeMaps(8))), ids=lambda net: type(net.bn).__name__)
def test_a_layer_that_does_more_in_its_network_is_left_with_the_reason(net):
    assert recognize(net.bn).kind == "BN"
    net = nn.Sequential(net, nn.BatchNorm2d(8))
    assert "in the network" in left(net, "GN", X)["0.bn"]
    torch.testing.assert_close(swapped(net, "GN", X)[0][0].eval()(X), net[0].eval()(X))


def test_a_call_of_ones_own_is_a_reason():
    assert isinstance(recognize(OwnCall(8)), str) and recognize(Flag(8)).kind == "BN"


class NeverTrains(nn.BatchNorm2d):
    def train(self, mode=True):
        return super().train(False)


def test_batch_norm_that_never_trains_is_frozen():
    assert recognize(NeverTrains(8).eval()).kind == "FrozenBN"


# What is attached to a layer


def test_parametrized_weights_stay_parametrized():
    net = Net()
    parametrize.register_parametrization(net.bn, "weight", nn.Softplus())
    for norm in ("GN", "RMS", "FrozenBN"):
        new = swap(net, norm, X)
        assert torch.equal(new.bn.weight, net.bn.weight) and parametrize.is_parametrized(new.bn, "weight")
        assert torch.allclose(new.bn.parametrizations.weight.original, net.bn.parametrizations.weight.original)


def test_hooks_of_the_backward_pass_stay():
    net = Net()
    net.bn.register_full_backward_hook(lambda layer, grads, _: (0 * grads[0],))
    new = swap(net, "GN", X)
    new(X).square().sum().backward()
    assert not new.conv.weight.grad.any() and new.bn.weight.grad.any()


def test_a_hook_that_calls_the_old_layer_is_named():
    net = Net()
    net.conv.register_forward_hook(functools.partial(lambda norm, *seen: norm(seen[-1]), net.bn))
    assert not left(net), "a partial is copied, and its layer replaced"
    net = Net()
    norm = net.bn
    net.conv.register_forward_hook(lambda *seen: norm(seen[-1]))
    assert "BatchNorm2d" in left(net)["conv._forward_hooks"]


def test_layers_in_an_array_and_modules_of_python_as_attributes():
    net = Net()
    net.norms, net.functions = np.array([None, net.bn], dtype=object), F
    new = swap(net, "GN")
    assert new.norms[1] is new.bn and type(new.bn) is nn.GroupNorm and new.functions is F
    assert net.norms[1] is net.bn and type(net.bn) is nn.BatchNorm2d
