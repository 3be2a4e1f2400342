import pytest
import torch
import torch.fx
from made_up import PreNorm
from torch import nn
from torchvision import models

from normbench.layers import (
    Affine,
)
from normbench.swapping import swap


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


def test_no_second_bias_after_a_convolution_with_one():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4))
    new = swap(net, "none")
    assert isinstance(new[1], nn.Identity) and isinstance(new[3], Affine)


# Inputs that others need


class Shortcut(nn.Module):
    """A biased convolution whose output goes through a normalization and an activation in place, and around both."""

    def __init__(self, first="norm"):
        super().__init__()
        self.conv, self.norm, self.relu, self.first = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(True), first

    def forward(self, x):
        y = self.conv(x)
        if self.first == "norm":
            return self.relu(self.norm(y)) - y
        if self.first == "functional":
            return torch.relu_(self.norm(y)) - y
        around = y * 2
        return self.relu(self.norm(y)) - around.mul(0.5) + 0 * y


@pytest.mark.parametrize("first", ("norm", "functional", "around"))
@pytest.mark.parametrize("has_example", (True, False))
def test_an_activation_in_place_overwrites_nothing_that_a_shortcut_needs(first, has_example):
    if first == "functional" and not has_example:
        pytest.skip("only a forward pass shows it")
    net, x = Shortcut(first), torch.randn(2, 3, 5, 5)
    new = swap(net, "none", x if has_example else None)
    y = net.conv(x)
    torch.testing.assert_close(new(x), y.relu() - y)
    new(x).sum().backward()


def test_no_copy_is_made_where_nobody_else_needs_the_input():
    net, x = models.vgg11_bn(num_classes=3), torch.randn(1, 3, 32, 32)
    assert all(
        isinstance(layer, nn.Identity)
        for layer, old in zip(swap(net, "none", x).features, net.features)
        if isinstance(old, nn.BatchNorm2d)
    )
