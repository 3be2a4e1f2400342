import copy
import math

import pytest
import torch
import torch.fx
import torch.nn.functional as F
from made_up_layers import BNReLU, Conditional, vector
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from normbench.layers import (
    InFloat32,
    Place,
    make,
)
from normbench.swapping import Known, recognize, swap


class Norm(nn.Module):
    """A layer of another make: weights of these names, and a function of the layer and its input."""

    def __init__(self, compute, names, *shape, **attributes):
        super().__init__()
        self.compute = compute
        for name in names:
            setattr(self, name, vector(*shape))
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.compute(self, x)


class Layer(Norm):
    """The same, under a name that says nothing."""


def pixels_of_sam(n, x):
    centred = x - x.mean(1, keepdim=True)
    return (
        n.weight[:, None, None] * (centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + n.eps))
        + n.bias[:, None, None]
    )


def convnext(n, x):
    return F.layer_norm(x.movedim(1, -1), n.gamma.shape, n.gamma, n.beta, 1e-6).movedim(-1, 1)


def annotated_transformer(n, x):
    return n.a_2 * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + n.eps) + n.b_2


def llama(n, x):
    h = x.to(torch.float32)
    h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + n.variance_epsilon)
    return n.weight * h.to(x.dtype)


def gemma(n, x):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * (1 + n.scale)


def lucidrains(n, x):
    return F.normalize(x, dim=1) * n.g * x.shape[1] ** 0.5


def groups_of(n, x):
    return F.group_norm(x, n.groups, n.weight, n.bias, n.eps)


def instances(n, x):
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, correction=0)
    return n.scale.view(-1, 1, 1) * (x - mean) / torch.sqrt(variance + n.eps) + n.shift.view(-1, 1, 1)


def dynamic_tanh(n, x):
    return torch.tanh(n.alpha * x) * n.weight + n.bias


def dynamic_erf(n, x):
    return n.gamma[:, None, None] * torch.erf(n.alpha * x + n.s) + n.beta[:, None, None]


OWN = {
    "SAM": (Norm(pixels_of_sam, ["weight", "bias"], 8, eps=1e-6), "LN_C", False, (2, 8, 4, 5), 1e-6),
    "ConvNeXt": (Norm(convnext, ["gamma", "beta"], 8), "LN_C", False, (2, 8, 4, 5), 1e-6),
    "bias first": (Norm(convnext, ["beta", "gamma"], 8), "LN_C", False, (2, 8, 4, 5), 1e-6),
    "Annotated Transformer": (Norm(annotated_transformer, ["a_2", "b_2"], 8, eps=1e-6), "LN_C", True, (2, 5, 8), 1e-6),
    "Llama": (Norm(llama, ["weight"], 8, variance_epsilon=1e-5), "RMS", True, (2, 5, 8), 1e-5),
    "Gemma": (Norm(gemma, ["scale"], 8), "RMS", True, (2, 5, 8), 1e-6),
    "lucidrains": (Norm(lucidrains, ["g"], 8, 1, 1), "RMS", False, (2, 8, 4, 5), None),
    "groups": (Norm(groups_of, ["weight", "bias"], 8, groups=4, eps=1e-3), "GN", False, (2, 8, 4, 5), 1e-3),
    "instances": (Norm(instances, ["scale", "shift"], 8, eps=1e-5), "IN", False, (2, 8, 4, 5), 1e-5),
    "nameless": (Layer(convnext, ["gamma", "beta"], 8), "LN_C", False, (2, 8, 4, 5), 1e-6),
    "nameless of tokens": (Layer(llama, ["weight"], 8, variance_epsilon=1e-5), "RMS", True, (2, 5, 8), 1e-5),
    "DyT": (Layer(dynamic_tanh, ["weight", "bias"], 8, alpha=vector(1)), "DyT", True, (2, 5, 8), None),
    "Derf": (Layer(dynamic_erf, ["gamma", "beta"], 8, alpha=vector(1), s=vector(1)), "Derf", False, (2, 8, 4, 5), None),
}


@pytest.mark.parametrize("what", OWN)
def test_normalizations_of_another_make(what):
    layer, kind, last, shape, eps = OWN[what]
    before, known = copy.deepcopy(layer.state_dict()), recognize(layer)
    assert isinstance(known, Known), known
    assert (known.kind, known.channels, known.last) == (kind, 8, last)
    assert eps is None or known.eps == eps
    assert all(torch.equal(before[name], values) for name, values in layer.state_dict().items())
    net, x = nn.Sequential(layer), torch.randn(shape)
    assert swap(net, kind)[0](x).equal(layer(x)), "it is that already"
    for norm in ("BN", "GN", "LN", "none", "RMS", "DyT"):
        new = swap(net, norm).train()(x)
        assert new.shape == x.shape and new.isfinite().all()


@pytest.mark.parametrize("what", [what for what in OWN if what not in ("DyT", "Derf", "groups", "instances")])
def test_weights_of_another_make_are_handed_on(what):
    """The plain layer of the same kind computes what the layer of another make does."""
    layer, kind, _, shape, _ = OWN[what]
    x, known = torch.randn(shape), recognize(layer)
    plain = make(kind, recognize_place(known, x))
    plain.weight = nn.Parameter(known.weight.flatten())
    plain.bias = None if known.bias is None else nn.Parameter(known.bias.flatten())
    computed = plain(x)
    if what == "Annotated Transformer":  # it divides by n - 1
        computed = known.bias + (computed - known.bias) * math.sqrt(7 / 8)
    torch.testing.assert_close(computed, layer(x), rtol=1e-4, atol=1e-4)


def recognize_place(known, x):

    return Place(known.channels, known.last, x.ndim)


@pytest.mark.parametrize("averages", (("running_mean", "running_var"), ("moving_mean", "moving_variance")))
@pytest.mark.parametrize("is_frozen", (False, True))
def test_batch_norm_of_another_make(averages, is_frozen):
    class BatchNormalization(nn.Module):
        def __init__(self):
            super().__init__()
            self.gamma, self.beta = vector(1, 8, 1, 1), vector(1, 8, 1, 1)
            for name in averages:
                self.register_buffer(name, torch.rand(1, 8, 1, 1) + 0.5)

        def forward(self, x):
            if self.training and not is_frozen:
                mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
            else:
                mean, variance = (getattr(self, name) for name in averages)
            return self.gamma * (x - mean) / torch.sqrt(variance + 1e-5) + self.beta

    net, x = nn.Sequential(BatchNormalization()).eval(), torch.randn(4, 8, 3, 3)
    kind = "FrozenBN" if is_frozen else "BN"
    assert recognize(net[0]).kind == kind and recognize(net[0]).weight is net[0].gamma
    other = swap(net, "BN" if is_frozen else "BN:2")
    torch.testing.assert_close(other(x), net(x), rtol=1e-3, atol=1e-4)


def test_frozen_batch_norm_of_torchvision_becomes_one_that_is_trained():
    layer = FrozenBatchNorm2d(8)
    for values in layer.buffers():
        values.uniform_(0.5, 1.5)
    net, x = nn.Sequential(nn.Conv2d(3, 8, 1), layer).eval(), torch.randn(2, 3, 4, 4)
    assert type(swap(net, "FrozenBN")[1]) is FrozenBatchNorm2d
    new = swap(net, "BN")
    torch.testing.assert_close(new(x), net(x))
    assert isinstance(new[1], nn.BatchNorm2d) and new[1].weight.requires_grad and len(list(new.parameters())) == 4


class Casting(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.float()).to(x.dtype)


@pytest.mark.parametrize("layer", (Casting(8), OWN["Llama"][0]))
def test_a_cast_to_float32_stays(layer):
    x = torch.randn(2, 5, 8, dtype=torch.bfloat16)
    for norm in ("GN", "BN", "LN", "DyT"):
        net = nn.Sequential(nn.Linear(8, 8), layer)
        new = swap(net, norm).bfloat16().train()
        assert new(x).dtype == torch.bfloat16
        if isinstance(new[1], InFloat32):
            assert {p.dtype for p in new[1].parameters()} == {torch.float32}
            assert torch.jit.script(new)(x).equal(new(x))


def test_float64_is_not_taken_for_a_cast():
    assert not recognize(OWN["SAM"][0]).in_float32 and recognize(OWN["Llama"][0]).in_float32


def test_layers_on_the_device_meta():
    with torch.device("meta"):
        layers = [BNReLU(8), OWN["SAM"][0].__class__(pixels_of_sam, ["weight", "bias"], 8, eps=1e-6), Conditional(8)]
    kinds = [recognize(layer) for layer in layers]
    assert [getattr(kind, "kind", None) for kind in kinds] == ["BN", "LN_C", None]
    assert kinds[0].weight is layers[0].weight
