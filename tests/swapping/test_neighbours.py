import threading

import pytest
import torch
import torch.fx
from made_up_layers import conv_norm_relu, randomized
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from normbench.layers import (
    Affine,
)
from normbench.swapping import swap


class Flag(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 3, 3, 3)), False


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(0.0))


@pytest.mark.parametrize(
    "before",
    (nn.LSTM(8, 8), nn.GRU(8, 8), Flag(), Shift(), nn.LazyConv2d(8, 3), nn.LazyLinear(8), nn.Bilinear(2, 2, 5)),
)
@pytest.mark.parametrize("norm", ("GN", "none"))
def test_a_bias_that_is_no_vector_of_the_channels_is_none(before, norm):
    new = swap(nn.ModuleList([before, nn.BatchNorm2d(8)]), norm)
    assert norm == "GN" or isinstance(new[1], Affine)


@pytest.mark.parametrize("is_first", (False, True))
@pytest.mark.parametrize("norm", ("GN", "BN", "none", "RMS", "LN_C"))
def test_transformers_of_pytorch_use_the_new_layers_in_evaluation(norm, is_first):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=is_first)
    net = randomized(nn.TransformerEncoder(layer, 2, enable_nested_tensor=not is_first)).eval()
    new, x = swap(net, norm), torch.randn(2, 5, 8)
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    for keywords in ({}, {"src_key_padding_mask": mask}):
        with torch.no_grad():
            fast, own = new(x, **keywords), net(x, **keywords)
        if norm == "LN_C":
            torch.testing.assert_close(fast, own, rtol=0, atol=0)
            continue
        torch.testing.assert_close(fast, new(x, **keywords), rtol=1e-5, atol=1e-5)  # gradients turn the fast path off
        assert not torch.allclose(fast, own, atol=1e-3)


class Keeps(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.seen = nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), {}

    def forward(self, x):
        self.features = self.conv(x)
        self.seen["all"] = [self.features, (x, self.features.relu())]
        return self.bn(self.features)


def pruned(index):
    net = nn.Sequential(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8))
    prune.l1_unstructured(net[index], "weight", amount=0.5)
    return net


UNUSUAL = {
    "weight_norm": nn.Sequential(weight_norm(nn.Conv1d(3, 8, 3)), nn.BatchNorm1d(8)),
    "spectral_norm": nn.Sequential(spectral_norm(nn.Conv1d(3, 8, 3)), nn.BatchNorm1d(8)),
    "weight_norm as parametrization": nn.Sequential(
        parametrizations.weight_norm(nn.Conv1d(3, 8, 3)), nn.BatchNorm1d(8)
    ),
    "spectral_norm as parametrization": nn.Sequential(
        parametrizations.spectral_norm(nn.Conv1d(3, 8, 3)), nn.BatchNorm1d(8)
    ),
    "orthogonal": nn.Sequential(parametrizations.orthogonal(nn.Linear(9, 9)), nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8)),
    "activations": Keeps(),
    "pruned convolution": pruned(0),
    "pruned normalization": pruned(1),
}


@pytest.mark.parametrize("what", UNUSUAL)
@pytest.mark.parametrize("norm", ("GN", "BN", "none"))
def test_networks_that_python_alone_cannot_copy(what, norm):
    net, x = UNUSUAL[what].train(), torch.randn(2, 3, 9)
    net(x)
    for example in (None, x):
        new = swap(net, norm, example)
        if norm == "BN":
            torch.testing.assert_close(new.eval()(x), net.eval()(x))
        net.train()
        assert new.train()(x).shape == (2, 8, 7)
        new(x).sum().backward()


def test_pruned_weights_stay_pruned():
    net = pruned(1)
    net(torch.randn(2, 3, 9))
    new = swap(net, "GN")
    new(torch.randn(2, 3, 9)).sum().backward()
    with torch.no_grad():
        for values in new.parameters():
            values.add_(1)
    new(torch.randn(2, 3, 9))
    assert new[1].weight_mask.equal(net[1].weight_mask) and (new[1].weight == 0).sum() == 4


def test_what_cannot_be_copied_is_named():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), conv_norm_relu(channels=8))
    net[1][2].guard = threading.Lock()
    with pytest.raises(ValueError, match=r"'guard' of layer '1\.2'") as raised:
        swap(net, "GN")
    assert "\n" not in str(raised.value)


def test_hooks_stay():
    net, seen = conv_norm_relu(), []
    net[1].register_forward_hook(lambda layer, inputs, output: seen.append(type(layer)))
    swap(net, "GN")(torch.randn(2, 3, 5, 5))
    assert seen == [nn.GroupNorm]


def test_a_scripted_network_is_named():
    with pytest.raises(ValueError, match="1 is left: BatchNorm1d, for it is scripted"):
        swap(torch.jit.script(nn.Sequential(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8))), "GN")
