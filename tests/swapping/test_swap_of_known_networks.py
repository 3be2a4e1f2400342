import copy

import pytest
import torch
import torch.fx
from made_up_layers import randomized
from torch import nn
from torchvision import models

from normbench.layers import (
    Affine,
)
from normbench.swapping import normalizations, swap

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


def test_convnext_and_a_transformer_keep_their_layer_norm():
    net, x = randomized(models.convnext_tiny(num_classes=3)).eval(), torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(swap(net, "LN_C")(x), net(x), rtol=0, atol=0)
    net = randomized(models.vit_b_16(image_size=32, num_classes=3)).eval()
    x = torch.randn(2, 3, 32, 32)
    for norm, example in (("LN", x), ("LN", None), ("LN_C", None)):
        torch.testing.assert_close(swap(net, norm, example)(x), net(x), rtol=1e-5, atol=1e-5)
