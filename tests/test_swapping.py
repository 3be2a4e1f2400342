import copy

import pytest
import torch
from torch import nn
from torchvision import models

from normbench.layers import NORMALIZATIONS, StandardizedConv2d, make
from normbench.swapping import Bias, OverChannels, normalizations, swap, unknown

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
    net, x = of_torchvision(name), torch.randn(2, 3, 64, 64)
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
    if norm == "none":
        result = maps + bias.view(-1, 1, 1)
    else:
        expected = make(norm, 8, size=(5, 5))
        expected.eps = 1e-3
        spread = (lambda p: nn.Parameter(p[:, None, None].repeat(1, 5, 5))) if norm == "LN_CHW" else lambda p: p
        expected.weight, expected.bias = spread(weight), spread(bias)
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


@pytest.mark.parametrize("nm", ("GN", "LN", "BN", "LN_C", "none"))
@pytest.mark.parametrize("shape", ((6, 8), (6, 8, 5), (6, 8, 3, 4, 5)))
def test_other_shapes_than_maps(nm, shape):
    norm = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 5: nn.BatchNorm3d}[len(shape)](8)
    x = torch.randn(shape)
    outputs = swap(nn.Sequential(norm), nm)(x)
    assert outputs.shape == shape
    if nm in ("GN", "LN"):
        sets = outputs.reshape(6, 4 if nm == "GN" else 1, -1)
        torch.testing.assert_close(sets.mean(dim=2), torch.zeros(sets.shape[:2]), atol=1e-5, rtol=0)
        assert sets.shape[2] > 1 and sets.std() > 0.9


def test_instance_norm_of_single_numbers_is_refused():
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        swap(nn.Sequential(nn.BatchNorm1d(8)), "IN").train()(torch.randn(6, 8))


def test_layer_norm_over_the_last_axis():
    net, x = nn.Sequential(nn.LayerNorm(8)), torch.randn(4, 5, 6, 8)
    new = swap(net, "BN").train()
    assert isinstance(new[0], OverChannels)
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
    assert [type(layer) for layer in swap(net, "none")[1]] == [Bias, nn.Dropout, nn.Tanh]
    assert type(swap(net, "BN")[1]) is BatchNormAct


@pytest.mark.parametrize("name", ("efficientnet_lite0", "mobilenetv3_small_050"))
def test_networks_of_timm(name):
    """Their batch norms have an activation, and dropout of maps, inside."""
    timm = pytest.importorskip("timm", reason="pip install timm")
    net, x = randomized(timm.create_model(name, num_classes=3)), torch.randn(2, 3, 64, 64)
    inside = [[type(part) for part in layer.children()] for layer in normalizations(net).values()]
    assert len(inside) > 30 and [nn.Identity, nn.ReLU6 if "lite" in name else nn.Hardswish] in inside
    torch.testing.assert_close(swap(net, "BN").eval()(x), net.eval()(x), rtol=0, atol=0)
    for nm, kind in (("GN", nn.GroupNorm), ("none", Bias)):
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
    assert isinstance(new[1], nn.Identity) and isinstance(new[3], Bias)


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
    with pytest.raises(ValueError, match="LN_CHW takes feature maps"):
        swap(nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8)), "LN_CHW", example=torch.randn(3, 4))


def test_weight_standardization_of_the_convolutions_before_a_normalization():
    net = nn.Sequential(small(), nn.Conv2d(8, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    new = swap(net, "WS+GN:2")
    assert [type(new[0][0]), type(new[1]), type(new[3])] == [StandardizedConv2d, StandardizedConv2d, nn.Conv2d]
    assert type(net[1]) is nn.Conv2d, "the given network stays as it is"
    assert new[2].num_groups == 2 and torch.equal(new[1].weight, net[1].weight)


def test_unknown_norms_are_named_and_left():
    class RMSNorm2d(nn.Module):
        pass

    net = nn.Sequential(small(), RMSNorm2d())
    assert list(unknown(net)) == ["1"] and type(swap(net, "GN")[1]) is RMSNorm2d


def test_an_unknown_name():
    with pytest.raises(ValueError, match=r"'batch'.*BN, GN"):
        swap(small(), "batch")


def test_nothing_to_swap():
    with pytest.raises(ValueError, match="AlexNet has no normalization layer"):
        swap(models.alexnet(), "GN")


def test_a_lazy_layer():
    with pytest.raises(ValueError, match="lazy layer '0' has no shape yet"):
        swap(nn.Sequential(nn.LazyBatchNorm2d()), "GN")
