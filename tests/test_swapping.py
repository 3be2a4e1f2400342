import copy
import threading
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.fx
import torch.nn.functional as F
from made_up import PreNorm
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
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

# With how many normalization layers each.
NETWORKS = {
    "resnet18": 20,
    "resnext50_32x4d": 53,
    "vgg11_bn": 8,
    "densenet121": 121,
    "googlenet": 57,
    "mobilenet_v2": 52,
    "mobilenet_v3_small": 34,
    "efficientnet_b0": 49,
    "shufflenet_v2_x0_5": 56,
    "mnasnet0_5": 52,
    "regnet_y_400mf": 53,
    "convnext_tiny": 23,
}


def of_torchvision(name):
    special = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    return models.get_model(name, weights=None, num_classes=3, **special)


def small(norm=nn.BatchNorm2d, channels=8, **arguments):
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


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_torchvision(name):
    net, x = of_torchvision(name), torch.randn(2, 3, 32, 32)
    before = copy.deepcopy(net.state_dict())
    assert len(normalizations(net)) == NETWORKS[name]
    for nm in ("GN", "none"):
        new = swap(net, nm).train()
        outputs = new(x)
        outputs.sum().backward()
        assert outputs.shape == (2, 3) and outputs.isfinite().all()
        assert all(p.grad is not None for p in new.parameters())
        kinds = {type(layer) for layer in normalizations(new).values()}
        assert kinds == ({nn.GroupNorm} if nm == "GN" else set())
    assert all(torch.equal(before[key], values) for key, values in net.state_dict().items())
    if name != "convnext_tiny":
        torch.testing.assert_close(swap(net, "BN").eval()(x), net.eval()(x))


@pytest.mark.parametrize("norm", [*NORMALIZATIONS, "GN:2", "BN:2"])
def test_what_a_swap_computes_is_what_the_layer_computes(norm):
    net, x = randomized(small(eps=1e-3)).train(), torch.randn(4, 3, 7, 7)
    new, maps = swap(net, norm, example=x), net[0](x)
    weight, bias = net[1].weight, net[1].bias
    net = copy.deepcopy(net)  # the steps below move its averages
    if norm == "none":
        result = maps + bias.view(-1, 1, 1)
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
    net = randomized(small()).eval()
    x = torch.randn(2, 3, 7, 7)
    torch.testing.assert_close(swap(net, "BN")(x), net(x), rtol=0, atol=0)


def test_device_dtype_mode_and_frozen_weights_are_kept():
    net = small().double().eval()
    net[1].weight.requires_grad_(False)
    new = swap(net, "GN")[1]
    assert new.weight.dtype == torch.float64 and not new.training
    assert not new.weight.requires_grad and new.bias.requires_grad
    assert swap(small().to("meta"), "BN")[1].weight.device.type == "meta"
    assert swap(small().to("meta"), "IN")[1].weight.device.type == "meta"


def test_a_layer_without_weights_gets_none():
    new = swap(small(affine=False), "GN")[1]
    assert new.weight is None and new.bias is None
    assert isinstance(swap(small(affine=False), "none")[1], nn.Identity)


def test_groups_that_do_not_fit_name_the_layer():
    with pytest.raises(ValueError, match=r"'1'.*5 groups cannot split 8 channels"):
        swap(small(), "GN:5")


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

    net = small(BatchNormAct)
    assert [type(layer) for layer in swap(net, "GN")[1]] == [nn.GroupNorm, nn.Dropout, nn.Tanh]
    assert [type(layer) for layer in swap(net, "none")[1]] == [Affine, nn.Dropout, nn.Tanh]
    assert type(swap(net, "BN")[1]) is BatchNormAct


@pytest.mark.parametrize("name", ("efficientnet_lite0", "mobilenetv3_small_050"))
def test_networks_of_timm(name):
    """Their batch norms have an activation, and dropout of maps, inside."""
    timm = pytest.importorskip("timm", reason="pip install timm")
    net, x = randomized(timm.create_model(name, num_classes=3)), torch.randn(2, 3, 64, 64)
    parts = [[type(part) for part in layer.children()] for layer in normalizations(net).values()]
    assert len(parts) > 30
    inside = [kinds for part in parts if (kinds := [kind for kind in part if kind is not nn.Identity])]
    assert [nn.ReLU6 if "lite" in name else nn.Hardswish] in inside
    torch.testing.assert_close(swap(net, "BN").eval()(x), net.eval()(x), rtol=0, atol=0)
    for nm, kind in (("GN", nn.GroupNorm), ("none", Affine)):
        new = swap(net, nm).train()
        replaced = [layer for layer in new.modules() if isinstance(layer, nn.Sequential) and isinstance(layer[0], kind)]
        assert [[type(part) for part in layer[1:]] for layer in replaced] == inside
        outputs = new(x)
        outputs.sum().backward()
        assert outputs.shape == (2, 3) and all(p.grad is not None for p in new.parameters())


def test_a_transformer_of_timm():
    timm = pytest.importorskip("timm", reason="pip install timm")
    net = randomized(timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=3)).eval()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(swap(net, "LN_C")(x), net(x))
    for nm in ("GN", "BN", "none"):
        assert swap(net, nm).train()(x).isfinite().all()


def test_no_second_bias_after_a_convolution_with_one():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4))
    new = swap(net, "none")
    assert isinstance(new[1], nn.Identity) and isinstance(new[3], Affine)


def test_a_weight_per_element_becomes_one_per_channel():
    net = nn.Sequential(nn.Conv2d(3, 16, 1), nn.LayerNorm([16, 4, 5]))
    with torch.no_grad():
        net[1].weight.copy_(torch.arange(16.0)[:, None, None] + torch.linspace(-1, 1, 20).view(4, 5))
    torch.testing.assert_close(swap(net, "GN")[1].weight, torch.arange(16.0))


def test_sizes_of_layer_norm_by_element_come_from_an_example():
    net, x = nn.Sequential(small(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)), torch.randn(2, 3, 9, 12)
    shapes = [layer.normalized_shape for layer in normalizations(swap(net, "LN_CHW", example=x)).values()]
    assert shapes == [(8, 7, 10), (4, 3, 5)]
    with pytest.raises(ValueError, match="example"):
        swap(net, "LN_CHW")
    with pytest.raises(ValueError, match="LN_CHW"):
        swap(nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8)), "LN_CHW", example=torch.randn(3, 4))


def test_weight_standardization_of_the_convolutions_before_a_normalization():
    net = nn.Sequential(small(), nn.Conv2d(8, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    new = swap(net, "WS+GN:2")
    assert [type(new[0][0]), type(new[1]), type(new[3])] == [StandardizedConv2d, StandardizedConv2d, nn.Conv2d]
    assert type(net[1]) is nn.Conv2d, "the given network stays as it is"
    assert new[2].num_groups == 2 and torch.equal(new[1].weight, net[1].weight)


def test_what_is_left_is_warned_of():
    class RMSNorm2d(nn.Module):
        pass

    net = nn.Sequential(small(), RMSNorm2d())
    with pytest.warns(UserWarning, match="1: "):
        new = swap(net, "GN")
    assert list(unknown(net)) == ["1"] and type(new[1]) is RMSNorm2d


@pytest.mark.parametrize("norm", ("GN", "none", "own"))
def test_a_swap_without_remainder_is_silent(norm, recwarn, capsys):
    swap(small(), norm, torch.randn(2, 3, 8, 8))
    assert not recwarn.list and not capsys.readouterr().out


def test_what_was_done_is_printed(capsys):
    class GRN(nn.Module):
        pass

    net = nn.Sequential(small(), nn.GroupNorm(2, 8), GRN())
    with pytest.warns(UserWarning):
        swap(net, "GN", verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("0.1: BatchNorm2d (8 channels) → GroupNorm")
    assert lines[1].startswith("1: GroupNorm stays") and lines[2].startswith("2: left, ")


def test_an_unknown_name():
    with pytest.raises(ValueError, match=r"'batch'.*BN, GN"):
        swap(small(), "batch")


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


# A network's own normalization


OWN = (
    (nn.BatchNorm2d(8, momentum=0.3), "BN", (4, 8, 5, 5)),
    (nn.BatchNorm1d(8), "BN", (4, 8)),
    (nn.BatchNorm3d(8, affine=False, track_running_stats=False), "BN", (4, 8, 2, 3, 4)),
    (nn.GroupNorm(2, 8), "GN", (4, 8, 5, 5)),
    (nn.GroupNorm(1, 8), "LN", (4, 8, 5, 5)),
    (nn.GroupNorm(1, 8), "GN:1", (4, 8, 5, 5)),
    (nn.InstanceNorm2d(8), "IN", (4, 8, 5, 5)),
    (nn.InstanceNorm2d(8, affine=True, track_running_stats=True), "IN", (4, 8, 5, 5)),
    (nn.InstanceNorm1d(8), "IN", (4, 8, 5)),
    (nn.LayerNorm(8), "LN_C", (4, 5, 6, 8)),
    (nn.LayerNorm(8), "LN", (4, 5, 8)),
    (nn.LayerNorm(8, bias=False), "LN_C", (4, 5, 8)),
    (nn.LayerNorm([8, 5, 6]), "LN_CHW", (4, 8, 5, 6)),
    (nn.RMSNorm(8), "RMS", (4, 5, 8)),
    (make("DyT", 8), "DyT", (4, 8, 5, 5)),
    (make("BN:2", 8), "BN:2", (4, 8, 5, 5)),
    (make("BRN", 8), "BRN", (4, 8, 5, 5)),
)


@pytest.mark.parametrize("layer, norm, shape", OWN)
def test_a_networks_own_normalization_stays(layer, norm, shape):
    net, x = randomized(nn.Sequential(layer)).train(), torch.randn(shape)
    new, report = swapped(net, norm, x)
    assert list(report.kept) == ["0"] and not report.replaced and not report.left
    torch.testing.assert_close(new(x), copy.deepcopy(net)(x), rtol=0, atol=0)
    net(x)
    assert all(values.equal(net.state_dict()[name]) for name, values in new.state_dict().items()), "averages, too"
    torch.testing.assert_close(new.eval()(x), net.eval()(x), rtol=0, atol=0)


def test_group_norm_of_one_group_is_layer_norm_which_group_norm_replaces():
    assert swap(nn.Sequential(nn.GroupNorm(1, 64)), "GN")[0].num_groups == 32
    assert swap(nn.Sequential(nn.GroupNorm(4, 64)), "GN")[0].num_groups == 4
    assert swap(nn.Sequential(nn.GroupNorm(4, 64)), "GN:8")[0].num_groups == 8


def test_own_is_the_network_itself(recwarn):
    net, x = randomized(nn.Sequential(small(), nn.LocalResponseNorm(3))).eval(), torch.randn(2, 3, 7, 7)
    new = swap(net, "own")
    assert new is not net and new(x).equal(net(x)) and not recwarn.list


def test_convnext_and_a_transformer_keep_their_layer_norm():
    net, x = randomized(models.convnext_tiny(num_classes=3)).eval(), torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(swap(net, "LN_C")(x), net(x), rtol=0, atol=0)
    net = randomized(models.vit_b_16(image_size=32, num_classes=3)).eval()
    x = torch.randn(2, 3, 32, 32)
    for norm, example in (("LN", x), ("LN", None), ("LN_C", None)):
        torch.testing.assert_close(swap(net, norm, example)(x), net(x), rtol=1e-5, atol=1e-5)


def test_synchronized_batch_norm_becomes_one_that_works_on_a_cpu():
    net = nn.SyncBatchNorm.convert_sync_batchnorm(small())
    net[1].momentum = 0.3
    randomized(net)
    for example in (None, torch.randn(2, 3, 7, 7)):
        new = swap(net, "BN", example)
        assert isinstance(new[1], BatchNorm if example is None else nn.BatchNorm2d) and new[1].momentum == 0.3
        assert new[1].running_mean.equal(net[1].running_mean) and new[1].running_var.equal(net[1].running_var)
        assert new.train()(torch.randn(2, 3, 7, 7)).isfinite().all()


@pytest.mark.parametrize("norm", ("BN:2", "BRN", "FrozenBN"))
def test_averages_go_from_one_batch_norm_to_another(norm):
    net, x = randomized(small(momentum=0.02)).eval(), torch.randn(2, 3, 7, 7)
    new = swap(net, norm)
    torch.testing.assert_close(new(x), net(x), rtol=1e-4, atol=1e-5)
    assert new[1].momentum == 0.02
    torch.testing.assert_close(swap(new, "BN")(x), net(x), rtol=1e-4, atol=1e-5)


# Sets of few numbers


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


# References elsewhere


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


KEPT = {
    "list": lambda net, layers: layers,
    "dict": lambda net, layers: dict(zip("abc", layers)),
    "tuple": lambda net, layers: tuple(layers),
    "list of tuples": lambda net, layers: [(layer, 1) for layer in layers],
    "methods": lambda net, layers: [layer.forward for layer in layers],
    "partial": lambda net, layers: [partial(layer.__call__) for layer in layers],
    "partial of a layer": lambda net, layers: [partial(layer) for layer in layers],
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

    for example in (None, torch.randn(4, 8)):
        with pytest.warns(UserWarning, match="others"):
            swap(Unregistered(), "GN", example)


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


# Neighbours and parents


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
    net = nn.Sequential(nn.Conv2d(3, 8, 1), small(channels=8))
    net[1][2].guard = threading.Lock()
    with pytest.raises(ValueError, match=r"'guard' of layer '1\.2'") as raised:
        swap(net, "GN")
    assert "\n" not in str(raised.value)


def test_hooks_stay():
    net, seen = small(), []
    net[1].register_forward_hook(lambda layer, inputs, output: seen.append(type(layer)))
    swap(net, "GN")(torch.randn(2, 3, 5, 5))
    assert seen == [nn.GroupNorm]


NETS = {
    "1-D": (nn.Sequential(nn.Conv1d(3, 32, 3, bias=False), nn.BatchNorm1d(32), nn.ReLU()), (2, 3, 9)),
    "2-D": (nn.Sequential(nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU()), (2, 3, 9, 8)),
    "3-D": (nn.Sequential(nn.Conv3d(3, 32, 3, bias=False), nn.BatchNorm3d(32), nn.ReLU()), (2, 3, 6, 5, 4)),
    "vectors": (nn.Sequential(nn.Linear(9, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU()), (6, 9)),
    "tokens": (nn.Sequential(nn.Linear(9, 32), nn.LayerNorm(32), nn.ReLU()), (2, 7, 9)),
    "maps, channels last": (nn.Sequential(nn.Linear(9, 32), nn.LayerNorm(32), nn.ReLU()), (2, 7, 5, 9)),
    "RMSNorm": (nn.Sequential(nn.Linear(9, 32), nn.RMSNorm(32), nn.ReLU()), (2, 7, 9)),
}


@pytest.mark.parametrize("is_seen", (False, True))
@pytest.mark.parametrize("norm", [*(norm for norm in NORMALIZATIONS if norm != "LN_CHW"), "BN:2", "GN:4"])
@pytest.mark.parametrize("what", NETS)
def test_script_trace_copies_and_view_after_a_swap(what, norm, is_seen):
    net, shape = NETS[what]
    x = torch.randn(shape)
    new = swap(randomized(net), norm, x if is_seen else None).eval()
    if norm == "IN" and what == "vectors":
        return
    expected = new(x)
    expected.view(len(x), -1)
    assert expected.stride() == net(x).stride()
    other = swap(net, norm, x if is_seen else None).eval()
    other.load_state_dict(new.state_dict())
    traced = torch.jit.trace(new, x)
    for same in (torch.jit.script(new), torch.fx.symbolic_trace(new), traced, copy.deepcopy(new), other):
        torch.testing.assert_close(same(x), expected)


# No normalization


def test_gamma_of_0_stays():
    net, x = models.resnet18(zero_init_residual=True), torch.randn(2, 3, 64, 64)
    for example in (None, x):
        new = swap(net, "none", example)
        assert all(not block.bn2.scale.any() and len(block.bn2.scale) > 1 for block in new.layer1)
        assert all(block.bn2.scale.requires_grad for block in new.layer1)


@pytest.mark.parametrize("name, branches", (("resnet18", [2, 2, 2, 2]), ("resnet50", [3, 4, 6, 3])))
def test_none_scales_the_residual_branches(name, branches):
    net, x = models.get_model(name, num_classes=10), torch.randn(8, 3, 64, 64)
    new = swap(net, "none", x)
    for layer, number in zip((new.layer1, new.layer2, new.layer3, new.layer4), branches):
        for block in layer:
            last = block.bn3 if name == "resnet50" else block.bn2
            assert last.scale.item() == pytest.approx(number**-0.5) and last.scale.requires_grad
            assert block.bn1.scale is None
    with torch.no_grad():
        own, without = net.train()(x).std(), new.train()(x).std()
    assert 0.2 < without / own < 2


def test_none_scales_branches_that_start_with_a_normalization():
    new = swap(nn.Sequential(*(PreNorm() for _ in range(4))), "none", torch.randn(2, 5, 8))
    assert all(block.norm.scale.item() == 0.5 for block in new)


def test_beta_that_is_not_0_stays_also_after_a_bias():
    net, x = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), torch.randn(2, 3, 5, 5)
    with torch.no_grad():
        net[1].bias.fill_(2)
    torch.testing.assert_close(swap(net, "none")(x), net[0](x) + 2)


# Layers of your own


class MyNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.weight_of_another = nn.Parameter(torch.ones(1))

    def forward(self, x):
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return x * self.weight.view(shape) + self.bias.view(shape)


@pytest.mark.parametrize("what", NETS)
def test_a_layer_of_your_own(what):
    net, x = randomized(NETS[what][0]).double().eval(), torch.randn(NETS[what][1], dtype=torch.float64)
    net[1].weight.requires_grad_(False)
    new, report = swapped(net, lambda channels: MyNorm(channels), x)
    inner = new[1].norm if isinstance(new[1], ChannelsLast) else new[1]
    assert isinstance(inner, MyNorm) and "MyNorm" in report.replaced["1"]
    assert inner.weight.equal(net[1].weight) and not inner.weight.requires_grad and not inner.training
    assert {p.dtype for p in new.parameters()} == {torch.float64} and new(x).shape == net(x).shape


def test_a_layer_of_your_own_that_cannot_be_made():
    for make_it, match in ((nn.GroupNorm, "32 channels"), (lambda channels: channels, "returned int")):
        with pytest.raises(ValueError, match=rf"layer '1'.*{match}"):
            swap(NETS["2-D"][0], make_it)
    with pytest.raises(ValueError, match=r"my_norms\.py:MyNorm"):
        swap(small(), "my_norms.py:MyNorm")


# Other cases


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
    net, x = nn.DataParallel(small()), torch.randn(2, 3, 6, 6)
    assert isinstance(swap(net, "GN").module[1], nn.GroupNorm)
    graph = swap(torch.fx.symbolic_trace(small().eval()), "GN")
    assert isinstance(graph.get_submodule("1"), nn.GroupNorm) and graph(x).isfinite().all()
    compiled = swap(torch.compile(small(), backend="eager"), "GN")
    assert [type(layer) for layer in compiled.modules() if isinstance(layer, nn.GroupNorm)] == [nn.GroupNorm]


def test_a_swap_after_a_swap():
    net, x = randomized(small()).eval(), torch.randn(2, 3, 6, 6)
    for norm in ("DyT", "RMS", "LN_C", "IN", "LN", "FrozenBN", "BRN", "GN:2", "Derf"):
        net = swap(net, norm)
        assert net(x).isfinite().all()
    assert isinstance(swap(net, "BN")[1], BatchNorm | nn.BatchNorm2d)
