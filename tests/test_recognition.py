import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune
from torchvision.ops import Conv2dNormActivation, FrozenBatchNorm2d, Permute

from normbench.layers import InFloat32, make
from normbench.recognition import Known, recognize
from normbench.swapping import normalizations, swap, unknown


def vector(*shape):
    return nn.Parameter(torch.rand(shape) + 0.5)


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
    tolerance = 0.1 if what == "Annotated Transformer" else 1e-4  # it divides by n - 1
    torch.testing.assert_close(plain(x), layer(x), rtol=tolerance, atol=tolerance)


def recognize_place(known, x):
    from normbench.layers import Place

    return Place(known.channels, known.last, x.ndim)


class BNReLU(nn.BatchNorm2d):
    def forward(self, x):
        return F.relu(super().forward(x))


class BNLeaky(nn.BatchNorm2d):
    def forward(self, x):
        return F.leaky_relu(super().forward(x), 0.2, inplace=True)


class GNSilu(nn.GroupNorm):
    def forward(self, x):
        return F.silu(super().forward(x))


class LNGelu(nn.LayerNorm):
    def forward(self, x):
        return F.gelu(super().forward(x), approximate="tanh")


class BNAct(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.drop, self.act = nn.Dropout(0.5), nn.PReLU(channels)

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


class Plain(nn.BatchNorm2d):
    pass


class Unused(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.head = nn.Linear(channels, 3)


DERIVED = {
    BNReLU(8): nn.ReLU,
    BNLeaky(8): nn.LeakyReLU,
    GNSilu(4, 8): nn.SiLU,
    LNGelu(8): nn.GELU,
    Plain(8): None,
    Unused(8): None,
}


@pytest.mark.parametrize("layer", DERIVED, ids=lambda layer: type(layer).__name__)
def test_an_activation_inside_forward_survives(layer):
    known, kind = recognize(layer), DERIVED[layer]
    assert [type(part) for part in known.after] == ([kind] if kind else [])
    x = torch.randn(2, 4, 5, 8) if isinstance(layer, nn.LayerNorm) else torch.randn(2, 8, 4, 5)
    new = swap(nn.Sequential(layer), "IN").train()
    normalized = F.instance_norm(x.movedim(-1, 1)).movedim(1, -1) if known.last else F.instance_norm(x)
    special = {nn.LeakyReLU: {"negative_slope": 0.2}, nn.GELU: {"approximate": "tanh"}}
    expected = kind(**special.get(kind, {}))(normalized) if kind else normalized
    torch.testing.assert_close(new(x), expected, rtol=1e-4, atol=1e-5)


def test_what_follows_is_the_layers_own():
    net = nn.Sequential(BNAct(8))
    with torch.no_grad():
        net[0].act.weight.copy_(torch.arange(8.0))
    new = swap(net, "GN").train()
    assert [type(part) for part in new[0]] == [nn.GroupNorm, nn.Dropout, nn.PReLU]
    assert new[0][2].weight.equal(net[0].act.weight) and new[0][1].training
    assert new[0][2].weight is not net[0].act.weight


class ScaledBN(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.gain = nn.Parameter(torch.full((channels,), 3.0))

    def forward(self, x):
        return super().forward(x) * self.gain.view(1, -1, 1, 1)


class Doubled(nn.GroupNorm):
    def forward(self, x):
        return 2 * super().forward(x)


class Residual(nn.LayerNorm):
    def forward(self, x):
        return x + super().forward(x)


class Dropping(nn.LayerNorm):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.3, self.training)


class Turning(nn.BatchNorm1d):
    def forward(self, x):
        return super().forward(x.transpose(1, 2))


class Clamped(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).clamp(-0.5, 0.5)


class OnlyInTraining(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) * (2 if self.training else 1)


class AlwaysOfTheBatch(nn.BatchNorm2d):
    def forward(self, x):
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True)


class DropsBefore(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return super().forward(self.drop(x))


class Conditional(nn.BatchNorm2d):
    def __init__(self, channels, classes=5):
        super().__init__(channels, affine=False)
        self.embed = nn.Embedding(classes, 2 * channels)

    def forward(self, x, y):
        gain, bias = self.embed(y)[..., None, None].chunk(2, 1)
        return (1 + gain) * super().forward(x) + bias


class Optional(nn.LayerNorm):
    def __init__(self, channels):
        super().__init__(channels, elementwise_affine=False)
        self.linear = nn.Linear(4, channels)

    def forward(self, x, e=None):
        return super().forward(x) if e is None else super().forward(x) * (1 + self.linear(e))


class SelfConditioned(nn.InstanceNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.linear = nn.Linear(channels, channels)

    def forward(self, x):
        return super().forward(x) * self.linear(x.mean((2, 3)))[..., None, None]


class GRN(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gamma, self.beta = vector(1, 1, 1, channels), vector(1, 1, 1, channels)

    def forward(self, x):
        norms = x.norm(p=2, dim=(1, 2), keepdim=True)
        return x + self.gamma * (x * norms / (norms.mean(-1, keepdim=True) + 1e-6)) + self.beta


class PixelNorm(nn.Module):
    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class Failing(nn.BatchNorm2d):
    def forward(self, x):
        assert len(x) % 16 == 0
        return super().forward(x)


REFUSED = [
    *(ScaledBN(8), Doubled(4, 8), Residual(8), Dropping(8), Turning(8), Clamped(8), OnlyInTraining(8)),
    *(AlwaysOfTheBatch(8), DropsBefore(8), Conditional(8), Optional(8), SelfConditioned(8), GRN(8), PixelNorm()),
    *(Failing(8), nn.LocalResponseNorm(3), nn.RMSNorm((4, 5)), nn.LazyBatchNorm2d(), nn.LazyInstanceNorm1d()),
    torch.jit.script(nn.BatchNorm2d(8)),
]


@pytest.mark.parametrize("layer", REFUSED, ids=lambda layer: getattr(layer, "original_name", type(layer).__name__))
def test_what_is_more_than_a_normalization_is_refused_with_the_reason(layer):
    why = recognize(layer)
    assert isinstance(why, str) and why and "\n" not in why
    net = nn.Sequential(nn.BatchNorm2d(8), layer)
    with pytest.warns(UserWarning, match="1: ") as warned:
        new = swap(net, "GN")
    assert len(warned) == 1 and list(unknown(net)) == ["1"]
    assert type(new[1]) is type(layer) and isinstance(new[0], nn.GroupNorm)
    with pytest.raises(ValueError, match="no normalization layer") as raised:
        swap(nn.Sequential(layer), "GN")
    assert why in str(raised.value)


class ByAxes(nn.LayerNorm):
    def forward(self, x):
        if x.ndim == 3:
            return super().forward(x)
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class OfSequences(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.transpose(-2, -1)).transpose(-2, -1)


class OfTokens(nn.BatchNorm1d):
    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class LastOfMaps(nn.GroupNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Derived(nn.LayerNorm):
    pass


LAYOUTS = (
    (ByAxes(8), (2, 10, 8), True),
    (ByAxes(8), (2, 8, 8), True),
    (ByAxes(8), (2, 8, 4, 5), False),
    (OfSequences(8), (2, 8, 10), False),
    (OfSequences(8), (2, 8, 8), False),
    (OfTokens(8), (2, 10, 8), True),
    (LastOfMaps(2, 8), (2, 4, 5, 8), True),
    (Derived(8), (2, 8), True),
    (Derived(8), (2, 8, 8), True),
    (Derived(8), (2, 8, 8, 8), True),
    (Derived(8), (2, 3, 4, 5, 8), True),
)


@pytest.mark.parametrize("layer, shape, last", LAYOUTS)
@pytest.mark.parametrize("is_seen", (False, True))
def test_where_the_channels_are_is_found_for_each_number_of_axes(layer, shape, last, is_seen):
    for values in layer.parameters():
        nn.init.uniform_(values, 0.5, 1.5)
    net, x = nn.Sequential(layer), torch.randn(shape)
    example = x if is_seen else None
    kind = recognize(layer).kind
    torch.testing.assert_close(swap(net, kind, example)(x), layer(x))
    y = swap(net, "BN", example).train()(x)
    channels = (y.movedim(-1, 1) if last else y).transpose(0, 1).flatten(1)
    torch.testing.assert_close(channels.mean(dim=1), layer.bias, atol=1e-4, rtol=1e-4)
    for norm in ("GN", "LN", "LN_C", "RMS", "DyT", "none"):
        new = swap(net, norm, example)
        assert new(x).shape == x.shape
        if type(new[0]) is not type(layer):
            assert torch.jit.script(new)(x).equal(new(x)) and torch.fx.symbolic_trace(new)(x).equal(new(x))


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


def test_names_of_containers_and_of_other_things():
    class PreNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.norm, self.inner = vector(8), nn.LayerNorm(8), nn.Linear(8, 8)

        def forward(self, x):
            return x + self.scale * self.inner(self.norm(x))

    class NormFreeBlock(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gain = nn.Conv2d(8, 8, 1), nn.Parameter(torch.zeros(()))

    class Normalize(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(3, 1, 1))

    class NormalHead(nn.Linear):
        pass

    class LayerScale(nn.Module):
        def __init__(self):
            super().__init__()
            self.gamma = vector(8)

        def forward(self, x):
            return x * self.gamma

    containers = [
        *(Conv2dNormActivation(3, 8, norm_layer=None), PreNorm(), NormFreeBlock(), Normalize(), NormalHead(8, 8)),
        *(LayerScale(), nn.PReLU(8), Permute([0, 1]), nn.utils.weight_norm(nn.Linear(8, 8))),
        *(parametrizations.spectral_norm(nn.Linear(8, 8)), parametrizations.weight_norm(nn.Conv2d(3, 8, 1))),
        *(nn.Linear(8, 8), nn.LSTM(8, 8), nn.MultiheadAttention(8, 2), nn.Embedding(8, 8)),
    ]
    net = nn.ModuleList([*containers, nn.BatchNorm2d(8)])
    assert unknown(net) == {} and list(normalizations(net)) == ["1.norm", str(len(containers))]


def test_a_changed_forward_is_seen():
    layer = nn.BatchNorm2d(8)
    layer.forward = lambda x: 3 * F.batch_norm(x, layer.running_mean, layer.running_var)
    assert isinstance(recognize(layer), str)


def test_a_layers_hooks_are_not_called():
    layer, calls = BNReLU(8), []
    layer.register_forward_hook(lambda *_: calls.append(1))
    layer.register_forward_pre_hook(lambda *_: calls.append(1))
    assert isinstance(recognize(layer), Known) and not calls


def test_a_pruned_layer_of_another_make():
    layer = prune.l1_unstructured(BNReLU(8), "weight", amount=0.5)
    layer(torch.randn(2, 8, 3, 3))
    known = recognize(layer)
    assert isinstance(known, Known) and (known.weight == 0).sum() == 4


def test_layers_on_the_device_meta():
    with torch.device("meta"):
        layers = [BNReLU(8), OWN["SAM"][0].__class__(pixels_of_sam, ["weight", "bias"], 8, eps=1e-6), Conditional(8)]
    kinds = [recognize(layer) for layer in layers]
    assert [getattr(kind, "kind", None) for kind in kinds] == ["BN", "LN_C", None]
    assert kinds[0].weight is layers[0].weight
