import copy
import math

import numpy as np
import pytest
import torch
import torch.fx
import torch.nn.functional as F
from torch import nn
from torchvision.models.convnext import LayerNorm2d
from torchvision.ops.misc import FrozenBatchNorm2d

from normbench.layers import (
    NORMALIZATIONS,
    Affine,
    GhostBatchNorm2d,
    Place,
    StandardizedConv1d,
    StandardizedConv2d,
    StandardizedConv3d,
    colour,
    fitting_groups,
    label,
    make,
)
from normbench.layers import parse as parsed


@pytest.mark.parametrize(
    "norm, name, number, standardized, written",
    (
        ("BN", "BN", None, False, "BN"),
        ("GN", "GN", None, False, "GN"),
        ("GN:8", "GN", 8, False, "GN (8 groups)"),
        ("GN:1", "GN", 1, False, "GN (1 group)"),
        ("BN:16", "BN", 16, False, "BN (16 images)"),
        ("WS+GN:2", "GN", 2, True, "WS + GN (2 groups)"),
        ("WS+LN", "LN", None, True, "WS + LN"),
        ("none", "none", None, False, "none"),
    ),
)
def test_what_a_norm_says(norm, name, number, standardized, written):
    assert parsed(norm) == (name, number, standardized)
    assert label(norm) == written and colour(norm) == NORMALIZATIONS[name].colour


@pytest.mark.parametrize(
    "norm",
    (
        *("batch", "", "GN:", "GN:0", "GN:-1", "GN:²", "GN:2.5", "LN:4", "none:2", "WS+", "GN:8:2"),
        *("gn", "BN:sixteen", "RMS:2", "LN_C:x", "LN_CHW:mine", "WS+own", "()", " ()", ":MyNorm", "norms:MyNorm"),
        *("my_norms.py:", "my_norms.py:My-Norm", "DyT:0.5"),
    ),
)
def test_what_is_no_norm_is_named_in_one_line(norm):
    with pytest.raises(ValueError) as raised:
        parsed(norm)
    assert repr(norm) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "norm, written",
    (
        ("own", "own"),
        ("mine()", "mine"),
        ("my_norms.py:MyNorm", "MyNorm"),
        ("folder/my_norms.py:MyNorm", "MyNorm"),
        (r"C:\\nets\\norms.py:MyNorm", "MyNorm"),
        ("package.module:MyNorm", "MyNorm"),
        ("my_norms:MyNorm", "MyNorm"),
    ),
)
def test_norms_that_are_not_in_the_table(norm, written):
    assert parsed(norm) == (norm, None, False) and not parsed(norm).is_known
    assert label(norm) == written and colour(norm).startswith("#") and len(colour(norm)) == 7
    with pytest.raises(ValueError, match="not in the table"):
        make(norm, 8)


def test_colours_differ():
    colours = {row.colour for row in NORMALIZATIONS.values()} | {colour("own")}
    assert len(colours) == len(NORMALIZATIONS) + 1
    assert colour("mine()") == colour("mine()") not in colours


@pytest.mark.parametrize("channels, groups", ((64, 32), (48, 24), (72, 24), (8, 4), (7, 1), (1, 1), (2, 1)))
def test_groups_that_fit_leave_two_channels_each(channels, groups):
    assert fitting_groups(channels) == groups == make("GN", channels).num_groups


def test_groups_that_do_not_divide_the_channels():
    with pytest.raises(ValueError, match=r"3 groups.*8 channels"):
        make("GN:3", 8)


def without(*norms):
    return [norm for norm in NORMALIZATIONS if norm not in norms]


def placed(channels, shape, last=False):
    """The place of a layer whose inputs have this shape."""
    return Place(channels, last, len(shape), tuple(shape[1:-1] if last else shape[2:]))


def randomized(layer):
    with torch.no_grad():
        for values in layer.state_dict().values():
            if values.is_floating_point():
                values.uniform_(0.5, 1.5)
    return layer


def by_numpy(kind, layer, x):
    """What the literature says of x (N, C, …), in NumPy, with the weights of a layer; statistics of the batch."""
    inner = getattr(layer, "norm", layer)
    get = lambda name: getattr(inner, name).detach().double().numpy().reshape(1, -1, *[1] * (x.ndim - 2))  # noqa: E731
    x, positions = x.double().numpy(), tuple(range(2, x.ndim))
    if kind == "DyT":
        y = np.tanh(inner.alpha.item() * x)
    elif kind == "Derf":
        y = np.vectorize(math.erf)(inner.alpha.item() * x + inner.shift.item())
    elif kind == "RMS":
        y = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + inner.eps)
    elif kind == "FrozenBN":
        y = (x - get("running_mean")) / np.sqrt(get("running_var") + inner.eps)
    elif kind.startswith("GN"):
        sets = x.reshape(len(x), inner.num_groups, -1)
        y = (sets - sets.mean(axis=2, keepdims=True)) / np.sqrt(sets.var(axis=2, keepdims=True) + inner.eps)
        y = y.reshape(x.shape)
    else:
        axes = {"BN": (0, *positions), "BRN": (0, *positions), "LN": (1, *positions), "IN": positions, "LN_C": (1,)}[
            kind
        ]
        y = (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + inner.eps)
    return torch.from_numpy(y * get("weight") + get("bias"))


SHAPES = ((6, 8), (6, 8, 5), (6, 8, 3, 4), (3, 8, 2, 3, 4))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("norm", [*without("none", "LN_CHW"), "GN:4"])
def test_each_layer_computes_its_formula_in_training(norm, last, shape):
    if norm == "IN" and len(shape) == 2:
        pytest.skip("instance norm of single numbers is refused")
    x = torch.randn(shape) * 3 + 1
    given = x.movedim(1, -1).contiguous() if last else x
    layer = randomized(make(norm, placed(8, given.shape, last)).train())
    kind = "LN_C" if norm == "LN" and last and len(shape) <= 3 else norm  # layer norm of tokens
    expected = by_numpy(kind, layer, x).float()
    torch.testing.assert_close(layer(given), expected.movedim(1, -1) if last else expected, rtol=1e-4, atol=1e-5)
    assert layer(given).is_contiguous(), "so that .view works on it"


REFERENCES = {  # by norm: a layer of PyTorch's or torchvision's, and whether it takes the channels last
    "LN_C": (LayerNorm2d, False),
    "RMS": (nn.RMSNorm, True),
    "FrozenBN": (FrozenBatchNorm2d, False),
}


@pytest.mark.parametrize("norm", REFERENCES)
def test_layers_compute_what_their_reference_implementations_do(norm):
    kind, last = REFERENCES[norm]
    x = torch.randn((6, 5, 4, 8) if last else (6, 8, 5, 4)) * 3 + 1
    layer, reference = randomized(make(norm, placed(8, x.shape, last))), kind(8, eps=1e-5)
    if norm == "RMS":
        nn.init.zeros_(layer.bias)  # the method has none
    missing = reference.load_state_dict(layer.state_dict(), strict=False).missing_keys
    assert not missing
    torch.testing.assert_close(layer(x), reference(x))


@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("norm", [*without("LN_CHW"), "GN:4", "BN:2"])
@pytest.mark.parametrize("is_seen", (False, True))
def test_each_layer_is_scripted_traced_copied_and_saved(norm, last, is_seen):
    x = torch.randn((2, 7, 3, 8) if last else (2, 8, 7, 3))
    layer = make(norm, placed(8, x.shape, last) if is_seen else Place(8, last))
    if norm == "none":
        layer = Affine(nn.Parameter(torch.rand(1)), nn.Parameter(torch.rand(8)), last)
    expected = randomized(layer).eval()(x)
    other = make(norm, placed(8, x.shape, last) if is_seen else Place(8, last)).eval() if norm != "none" else layer
    other.load_state_dict(layer.state_dict())
    traced = torch.fx.symbolic_trace(nn.Sequential(layer))
    for same in (torch.jit.script(layer), traced, copy.deepcopy(layer), other):
        torch.testing.assert_close(same(x), expected)
    assert torch.fx.symbolic_trace(nn.Sequential(layer.train()))(x).isfinite().all()


@pytest.mark.parametrize("norm", without("LN_CHW", "none", "IN"))
def test_memory_format_and_dtype_stay(norm):
    x = torch.randn(2, 8, 5, 4).to(memory_format=torch.channels_last)
    y = make(norm, placed(8, x.shape))(x)
    assert y.is_contiguous(memory_format=torch.channels_last) and y.dtype == x.dtype
    assert make(norm, placed(8, x.shape)).double()(x.double()).dtype == torch.float64


def test_layer_norm_of_tokens_or_maps_is_told_apart_by_the_axes():
    layer = randomized(make("LN", Place(8, last=True)))
    tokens, maps = torch.randn(2, 5, 8), torch.randn(2, 5, 3, 8)
    torch.testing.assert_close(layer(tokens), by_numpy("LN_C", layer, tokens.mT).float().mT, rtol=1e-4, atol=1e-5)
    expected = by_numpy("LN", layer, maps.movedim(-1, 1)).float().movedim(1, -1)
    torch.testing.assert_close(layer(maps), expected, rtol=1e-4, atol=1e-5)


def test_layer_norm_by_element_has_a_weight_for_each():
    place = placed(8, (2, 8, 5, 6))
    layer, x = randomized(make("LN_CHW", place)), torch.randn(2, 8, 5, 6)
    assert layer.weight.shape == layer.bias.shape == (8, 5, 6)
    torch.testing.assert_close(layer(x), make("LN", place)(x) * layer.weight + layer.bias)
    with pytest.raises(ValueError, match="size"):
        make("LN_CHW", 8)


def test_half_precision_keeps_large_activations():
    x = torch.full((2, 8, 3, 3), 300.0, dtype=torch.float16)  # whose squares are none any more
    for norm in ("RMS", "BRN"):
        assert make(norm, 8).half().train()(x).isfinite().all()


# Sets of few numbers


@pytest.mark.parametrize(
    "channels, size, groups",
    (
        (64, (1,), 4),  # vectors: 16 channels a group
        (64, (1, 1), 4),  # 1 × 1 maps
        (64, (2, 2), 16),
        (64, (4, 4), 32),  # as on large maps
        (64, (224, 224), 32),
        (64, None, 32),
        (24, (1,), 1),
        (48, (1,), 3),
        (8, (1,), 1),
        (4, (1,), 1),
        (20, (1,), 1),
        (256, (1,), 16),
        (768, (1,), 32),
        (7, (9, 9), 1),
    ),
)
def test_groups_leave_enough_numbers_in_a_set(channels, size, groups):
    layer = make("GN", Place(channels, size=size))
    assert layer.num_groups == groups
    positions = math.prod(size or (10, 10))
    assert channels // groups * positions >= min(16, channels * positions)


# Batch renorm


def renormed(x, mean, variance, r_max, d_max, eps=1e-5):
    """Ioffe (2017), algorithm 1, for x (N, C)."""
    deviation, running = np.sqrt(x.var(axis=0) + eps), np.sqrt(variance + eps)
    r = np.clip(deviation / running, 1 / r_max, r_max)
    d = np.clip((x.mean(axis=0) - mean) / running, -d_max, d_max)
    return (x - x.mean(axis=0)) / deviation * r + d


@pytest.mark.parametrize(
    "tracked, r_max, d_max", ((0, 1, 0), (4, 1, 0), (14, 1.5, 1.25), (24, 2, 2.5), (44, 3, 5), (99, 3, 5))
)
def test_batch_renorm_opens_its_limits(tracked, r_max, d_max):
    layer = make("BRN", 8).train()
    layer.opening = (4, 44)
    layer.num_batches_tracked.fill_(tracked)
    layer.running_mean.uniform_(-9, 9), layer.running_var.uniform_(0.01, 9)
    x, mean, variance = torch.randn(32, 8) * 3, layer.running_mean.clone(), layer.running_var.clone()
    expected = renormed(*(values.double().numpy() for values in (x, mean, variance)), r_max, d_max)
    torch.testing.assert_close(layer(x), torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.running_mean, 0.9 * mean + 0.1 * x.mean(dim=0))
    torch.testing.assert_close(layer.running_var, 0.9 * variance + 0.1 * x.var(dim=0))
    assert layer.num_batches_tracked == tracked + 1


def test_batch_renorm_starts_as_batch_norm_and_tests_like_it():
    layer, plain, x = make("BRN", 8), nn.BatchNorm2d(8), torch.randn(4, 8, 5, 5)
    torch.testing.assert_close(layer(x), plain(x))
    torch.testing.assert_close(layer.eval()(x), plain.eval()(x))


def test_no_gradient_goes_through_the_corrections_of_batch_renorm():
    layer = make("BRN", 3).double().train()
    layer.opening = (0, 1)
    layer.num_batches_tracked.fill_(9)
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad(layer(x).square().sum(), x)[0]
    deviation = (x.var(dim=0, correction=0) + 1e-5).sqrt()
    r, d = deviation.detach().clamp(1 / 3, 3), x.mean(dim=0).detach().clamp(-5, 5)  # the averages were 0 and 1
    expected = (x - x.mean(dim=0)) / deviation * r + d
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.square().sum(), x)[0], rtol=1e-4, atol=1e-4)


def test_the_limits_of_batch_renorm_open_with_the_length_of_the_training():
    layer = make("BRN", 3)
    layer.plan(1000)
    assert layer.opening == (40, 300)
    layer.plan(1)
    layer.train()(torch.randn(4, 3))


def test_frozen_batch_norm_never_moves():
    layer = randomized(make("FrozenBN", 8)).train()
    before = copy.deepcopy(layer.state_dict())
    y = layer(torch.randn(4, 8, 3, 3))
    y.sum().backward()
    assert all(torch.equal(before[name], values) for name, values in layer.state_dict().items())
    assert layer.weight.grad is not None and layer.bias.grad is not None


def test_ghost_batch_norm_normalizes_each_part_by_itself():
    layer, plain, x = make("BN:4", 8), nn.BatchNorm2d(8), torch.randn(10, 8, 5, 5)
    normalized = layer(x)
    for part in (slice(0, 8, 2), slice(1, 8, 2), slice(8, 10)):
        torch.testing.assert_close(normalized[part], plain(x[part]))


def test_a_step_of_ghost_batch_norm_moves_the_averages_as_one_of_batch_norm():
    layer, plain = make("BN:4", 8), nn.BatchNorm2d(8)
    x = torch.randn(4, 8, 5, 5).repeat(3, 1, 1, 1)  # three equal parts: their averages are those of the whole
    for _ in range(20):
        layer(x), plain(x)
    torch.testing.assert_close(layer.running_mean, plain.running_mean, rtol=0.02, atol=0.005)
    x = x - x.mean(dim=(0, 2, 3), keepdim=True) + 1
    layer.eval(), plain.eval()
    assert not torch.allclose(layer(x), x)
    expected = (x - layer.running_mean.view(-1, 1, 1)) / (layer.running_var.view(-1, 1, 1) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("images", (6, 8, None))
def test_ghost_batch_norm_of_the_whole_batch_is_batch_norm(images):
    x = torch.randn(6, 8, 5, 5)
    torch.testing.assert_close(GhostBatchNorm2d(8, images)(x), nn.BatchNorm2d(8)(x))
    assert type(make("BN", 8)) is nn.BatchNorm2d


def test_standardized_filters_have_mean_0_and_he_et_al_s_variance():
    layer = StandardizedConv2d(3, 5, 3, padding=1, bias=False)
    nn.init.normal_(layer.weight, mean=2.0, std=7.0)
    x = torch.randn(2, 3, 6, 8)
    mean = layer.weight.mean(dim=(1, 2, 3), keepdim=True)
    filters = (layer.weight - mean) / ((layer.weight - mean) ** 2).mean(dim=(1, 2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(layer(x), F.conv2d(x, filters * (2 / 27) ** 0.5, padding=1), rtol=1e-3, atol=1e-4)
    assert layer(x.to(memory_format=torch.channels_last)).is_contiguous(memory_format=torch.channels_last)
    offset = layer(x + 100)[..., 1:-1, 1:-1] - layer(x)[..., 1:-1, 1:-1]
    assert offset.abs().max() < 1e-2, "a constant added to all activations changes nothing"


@pytest.mark.parametrize(
    "layer, shape",
    ((StandardizedConv1d(3, 5, 3), (2, 3, 9)), (StandardizedConv3d(3, 5, 3), (2, 3, 4, 5, 6))),
)
def test_standardized_convolutions_of_other_inputs(layer, shape):
    nn.init.normal_(layer.weight, mean=2.0, std=7.0)
    x = torch.randn(shape)
    torch.testing.assert_close(layer(x + 100), layer(x), rtol=1e-2, atol=1e-2)
    assert torch.jit.script(layer)(x).shape == layer(x).shape
