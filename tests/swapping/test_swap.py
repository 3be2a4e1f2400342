import copy

import pytest
import torch
import torch.fx
import torch.nn.functional as F
from made_up_layers import conv_norm_relu, randomized
from torch import nn
from torchvision import models

from normbench.layers import (
    NORMALIZATIONS,
    Affine,
    BatchNorm,
    ChannelsLast,
    Place,
    StandardizedConv1d,
    StandardizedConv2d,
    make,
)
from normbench.swapping import normalizations, swap, swapped, unknown


@pytest.mark.parametrize("norm", [*NORMALIZATIONS, "GN:2", "BN:2"])
def test_what_a_swap_computes_is_what_the_layer_computes(norm):
    net, x = randomized(conv_norm_relu(eps=1e-3)).train(), torch.randn(4, 3, 7, 7)
    new, maps = swap(net, norm, example=x), net[0](x)
    weight, bias = net[1].weight, net[1].bias
    net = copy.deepcopy(net)  # the steps below move its averages
    if norm == "none":
        result = maps * weight.mean() / maps.std() + bias.view(-1, 1, 1)
    else:
        expected = make(norm, Place(8, axes=4, size=(5, 5)))
        expected.eps = 1e-3
        spread = (lambda p: nn.Parameter(p[:, None, None].repeat(1, 5, 5))) if norm == "LN_CHW" else lambda p: p
        expected.weight, expected.bias = spread(weight), spread(bias)
        if hasattr(expected, "running_mean") and norm != "IN":
            expected.running_mean, expected.running_var = net[1].running_mean.clone(), net[1].running_var.clone()
            expected.num_batches_tracked = net[1].num_batches_tracked.clone()
        result = expected.train()(maps)
    torch.testing.assert_close(new[1](maps), result)


def test_batch_norm_for_batch_norm_keeps_outputs_and_averages():
    net = randomized(conv_norm_relu()).eval()
    x = torch.randn(2, 3, 7, 7)
    torch.testing.assert_close(swap(net, "BN")(x), net(x), rtol=0, atol=0)


def test_device_dtype_mode_and_frozen_weights_are_kept():
    net = conv_norm_relu().double().eval()
    net[1].weight.requires_grad_(False)
    new = swap(net, "GN")[1]
    assert new.weight.dtype == torch.float64 and not new.training
    assert not new.weight.requires_grad and new.bias.requires_grad
    assert swap(conv_norm_relu().to("meta"), "BN")[1].weight.device.type == "meta"
    assert swap(conv_norm_relu().to("meta"), "IN")[1].weight.device.type == "meta"


def test_a_layer_without_weights_gets_none():
    new = swap(conv_norm_relu(affine=False), "GN")[1]
    assert new.weight is None and new.bias is None
    assert isinstance(swap(conv_norm_relu(affine=False), "none")[1], nn.Identity)


def test_groups_that_do_not_fit_name_the_layer():
    with pytest.raises(ValueError, match=r"'1'.*5 groups cannot split 8 channels"):
        swap(conv_norm_relu(), "GN:5")


def test_a_shared_layer_stays_one():
    norm = nn.BatchNorm2d(4)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Sequential(norm, nn.ReLU(), norm))
    new = swap(net, "GN")
    assert new[1] is new[2][0] is new[2][2] and len(normalizations(new)) == 1


def test_the_network_may_be_one_layer():
    assert isinstance(swap(nn.BatchNorm2d(4), "GN"), nn.GroupNorm)


@pytest.mark.parametrize("nm", ("GN", "LN", "BN", "LN_C", "RMS", "DyT", "BRN", "BN:2", "none"))
@pytest.mark.parametrize("shape", ((6, 32), (6, 32, 5), (6, 32, 3, 4, 5)))
@pytest.mark.parametrize("is_seen", (False, True))
def test_other_shapes_than_maps(nm, shape, is_seen):
    norm = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 5: nn.BatchNorm3d}[len(shape)](32)
    x = torch.randn(shape)
    new = swap(nn.Sequential(norm), nm, x if is_seen else None)
    outputs = new(x)
    assert outputs.shape == shape and outputs.view(6, -1).isfinite().all()
    if nm in ("GN", "LN"):
        sets = outputs.reshape(6, new[0].num_groups, -1)
        assert sets.shape[2] >= 16
        torch.testing.assert_close(sets.mean(dim=2), torch.zeros(sets.shape[:2]), atol=1e-5, rtol=0)
        assert sets.shape[2] > 1 and sets.std() > 0.9


def test_instance_norm_of_single_numbers_is_refused():
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        swap(nn.Sequential(nn.BatchNorm1d(8)), "IN").train()(torch.randn(6, 8))
    with pytest.raises(ValueError, match=r"after the swap the network cannot be run.*more than 1 spatial element"):
        swap(nn.Sequential(nn.BatchNorm1d(8)), "IN", torch.randn(6, 8))


def test_layer_norm_over_the_last_axis():
    net, x = nn.Sequential(nn.LayerNorm(8)), torch.randn(4, 5, 6, 8)
    new = swap(net, "BN").train()
    assert isinstance(new[0], ChannelsLast)
    channel = new(x).movedim(-1, 0).flatten(1)
    torch.testing.assert_close(channel.mean(dim=1), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(swap(net, "LN_C")(x), net(x))


@pytest.mark.parametrize("last", (True, False))
def test_a_derived_layer_norm_may_take_the_last_axis_or_the_second(last):
    class Derived(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x) if last else super().forward(x.movedim(1, -1)).movedim(-1, 1)

    net, x = randomized(nn.Sequential(Derived(8))), torch.randn((4, 5, 8) if last else (4, 8, 5))
    torch.testing.assert_close(swap(net, "LN_C")(x), net(x))
    assert swap(net, "BN").train()(x).shape == x.shape


def test_what_a_derived_layer_has_inside_survives():
    class BatchNormAct(nn.BatchNorm2d):
        def __init__(self, channels):
            super().__init__(channels)
            self.drop, self.act = nn.Dropout(0.5), nn.Tanh()

        def forward(self, x):
            return self.act(self.drop(super().forward(x)))

    net = conv_norm_relu(BatchNormAct)
    assert [type(layer) for layer in swap(net, "GN")[1]] == [nn.GroupNorm, nn.Dropout, nn.Tanh]
    assert [type(layer) for layer in swap(net, "none")[1]] == [Affine, nn.Dropout, nn.Tanh]
    assert type(swap(net, "BN")[1]) is BatchNormAct


def test_a_weight_per_element_becomes_one_per_channel():
    net = nn.Sequential(nn.Conv2d(3, 16, 1), nn.LayerNorm([16, 4, 5]))
    with torch.no_grad():
        net[1].weight.copy_(torch.arange(16.0)[:, None, None] + torch.linspace(-1, 1, 20).view(4, 5))
    torch.testing.assert_close(swap(net, "GN")[1].weight, torch.arange(16.0))


def test_sizes_of_layer_norm_by_element_come_from_an_example():
    net, x = (
        nn.Sequential(conv_norm_relu(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)),
        torch.randn(2, 3, 9, 12),
    )
    shapes = [layer.normalized_shape for layer in normalizations(swap(net, "LN_CHW", example=x)).values()]
    assert shapes == [(8, 7, 10), (4, 3, 5)]
    with pytest.raises(ValueError, match="example"):
        swap(net, "LN_CHW")
    with pytest.raises(ValueError, match="LN_CHW"):
        swap(nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8)), "LN_CHW", example=torch.randn(3, 4))


def test_weight_standardization_of_the_convolutions_before_a_normalization():
    net = nn.Sequential(conv_norm_relu(), nn.Conv2d(8, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    new = swap(net, "WS+GN:2")
    assert [type(new[0][0]), type(new[1]), type(new[3])] == [StandardizedConv2d, StandardizedConv2d, nn.Conv2d]
    assert type(net[1]) is nn.Conv2d, "the given network stays as it is"
    assert new[2].num_groups == 2 and torch.equal(new[1].weight, net[1].weight)


def test_what_is_left_is_warned_of():
    class RMSNorm2d(nn.Module):
        pass

    net = nn.Sequential(conv_norm_relu(), RMSNorm2d())
    with pytest.warns(UserWarning, match="1: "):
        new = swap(net, "GN")
    assert list(unknown(net)) == ["1"] and type(new[1]) is RMSNorm2d


@pytest.mark.parametrize("norm", ("GN", "none", "own"))
def test_a_swap_without_remainder_is_silent(norm, recwarn, capsys):
    swap(conv_norm_relu(), norm, torch.randn(2, 3, 8, 8))
    assert not recwarn.list and not capsys.readouterr().out


def test_what_was_done_is_printed(capsys):
    class GRN(nn.Module):
        pass

    net = nn.Sequential(conv_norm_relu(), nn.GroupNorm(2, 8), GRN())
    with pytest.warns(UserWarning):
        swap(net, "GN", verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("0.1: BatchNorm2d (8 channels) → GroupNorm")
    assert lines[1].startswith("1: GroupNorm stays") and lines[2].startswith("2: left, ")


def test_an_unknown_name():
    with pytest.raises(ValueError, match=r"'batch'.*BN, GN"):
        swap(conv_norm_relu(), "batch")


def test_nothing_to_swap():
    with pytest.raises(ValueError, match="AlexNet has no normalization layer"):
        swap(models.alexnet(), "GN")


def test_a_lazy_layer():
    net = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d())
    with pytest.raises(ValueError, match=r"1 is left: LazyBatchNorm2d, for it is lazy.*call the network once"):
        swap(net, "GN")
    x = torch.randn(2, 3, 8, 8)
    assert isinstance(swap(net, "GN", example=x)[1], nn.GroupNorm)
    assert isinstance(net[1], nn.LazyBatchNorm2d), "the given network stays as it is"


class Pooled(nn.Module):
    """A network with a normalization of vectors and one of 1 × 1 maps."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64)
        self.small, self.norm_of_small = nn.Conv2d(64, 64, 1), nn.BatchNorm2d(64)
        self.linear, self.norm_of_vectors = nn.Linear(64, 64), nn.BatchNorm1d(64)

    def forward(self, x):
        x = self.norm_of_small(self.small(F.relu(self.norm(self.conv(x))).mean((2, 3), keepdim=True)))
        return self.norm_of_vectors(self.linear(x.flatten(1)))


def test_no_group_of_few_numbers():
    x = torch.randn(4, 3, 16, 16)
    groups = [layer.num_groups for layer in normalizations(swap(Pooled(), "GN", x)).values()]
    assert groups == [32, 4, 4]
    assert swap(Pooled(), "GN").norm_of_vectors.num_groups == 4, "without an example, too"
    assert swap(nn.Sequential(nn.BatchNorm1d(64)), "GN", torch.randn(2, 64, 100))[0].num_groups == 32

    class Derived(nn.BatchNorm1d):
        pass

    assert swap(Derived(64), "GN").num_groups == 4
    y = swap(nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64)), "GN")(torch.randn(256, 20))
    assert y.abs().std() > 0.4, "not ±1"


def test_a_layer_norm_over_positions_is_refused_where_an_example_shows_it():
    net = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.LayerNorm([5, 5]))
    with pytest.warns(UserWarning, match="2: LayerNorm, for it normalizes over the last 2 axes"):
        swap(net, "GN", torch.randn(2, 3, 5, 5))


def test_weight_standardization_needs_a_convolution():
    with pytest.raises(ValueError, match="no convolution"):
        swap(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), "WS+GN")
    new, report = swapped(nn.Sequential(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8)), "WS+GN")
    assert type(new[0]) is StandardizedConv1d and "StandardizedConv1d" in report.replaced["0"]
    depthwise = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1, groups=8), nn.BatchNorm2d(8))
    assert type(swap(depthwise, "WS+LN")[2]) is nn.Conv2d, "of a single weight nothing would be left"


def test_a_network_of_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.embedding = nn.BatchNorm1d(64), nn.Embedding(5, 64)

        def forward(self, x, y):
            return self.norm(x + self.embedding(y))

    net = Two().double()
    new = swap(net, "GN", (torch.randn(3, 64), torch.tensor([0, 1, 4])))
    assert new.norm.num_groups == 4
    with pytest.raises(ValueError, match=r"cannot be run on the example \(3, 64\)"):
        swap(net, "GN", torch.randn(3, 64))


def test_an_example_changes_nothing():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return self.norm(x)

    net = Counting()
    new = swap(net, "GN", torch.randn(2, 3, 4, 4))
    assert new.calls == 0 and net.calls == 0


def test_networks_within_others():
    net, x = nn.DataParallel(conv_norm_relu()), torch.randn(2, 3, 6, 6)
    assert isinstance(swap(net, "GN").module[1], nn.GroupNorm)
    graph = swap(torch.fx.symbolic_trace(conv_norm_relu().eval()), "GN")
    assert isinstance(graph.get_submodule("1"), nn.GroupNorm) and graph(x).isfinite().all()
    compiled = swap(torch.compile(conv_norm_relu(), backend="eager"), "GN")
    assert [type(layer) for layer in compiled.modules() if isinstance(layer, nn.GroupNorm)] == [nn.GroupNorm]


def test_a_swap_after_a_swap():
    net, x = randomized(conv_norm_relu()).eval(), torch.randn(2, 3, 6, 6)
    for norm in ("DyT", "RMS", "LN_C", "IN", "LN", "FrozenBN", "BRN", "GN:2", "Derf"):
        net = swap(net, norm)
        assert net(x).isfinite().all()
    assert isinstance(swap(net, "BN")[1], BatchNorm | nn.BatchNorm2d)
