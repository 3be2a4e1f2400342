import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normbench.layers import NORMALIZATIONS, GhostBatchNorm2d, StandardizedConv2d, colour, fitting_groups, label, make
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
    "norm", ("batch", "", "GN:", "GN:0", "GN:-1", "GN:²", "GN:2.5", "LN:4", "none:2", "WS+", "GN:8:2")
)
def test_what_is_no_norm_is_named_in_one_line(norm):
    with pytest.raises(ValueError) as raised:
        parsed(norm)
    assert repr(norm) in str(raised.value) and "\n" not in str(raised.value)


def test_colours_differ():
    assert len({row.colour for row in NORMALIZATIONS.values()}) == len(NORMALIZATIONS)


@pytest.mark.parametrize("channels, groups", ((64, 32), (48, 24), (72, 24), (8, 4), (7, 1), (1, 1), (2, 1)))
def test_groups_that_fit_leave_two_channels_each(channels, groups):
    assert fitting_groups(channels) == groups == make("GN", channels).num_groups


def test_groups_that_do_not_divide_the_channels():
    with pytest.raises(ValueError, match=r"3 groups.*8 channels"):
        make("GN:3", 8)


def test_layer_norm_by_element_has_a_weight_for_each():
    layer, x = make("LN_CHW", 8, size=(5, 6)), torch.randn(2, 8, 5, 6)
    for p in layer.parameters():
        nn.init.normal_(p)
    assert layer.weight.shape == layer.bias.shape == (8, 5, 6)
    torch.testing.assert_close(layer(x), make("LN", 8)(x) * layer.weight + layer.bias)
    with pytest.raises(ValueError, match="size"):
        make("LN_CHW", 8)


def test_layer_norm_at_each_pixel():
    layer, x = make("LN_C", 8), torch.randn(2, 8, 5, 6)
    nn.init.normal_(layer.weight), nn.init.normal_(layer.bias)
    centred = x - x.mean(dim=1, keepdim=True)
    expected = centred / (x.var(dim=1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x), expected * layer.weight.view(-1, 1, 1) + layer.bias.view(-1, 1, 1))


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
