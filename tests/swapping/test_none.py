import pytest
import torch
import torch.fx
from made_up import PreNorm
from torch import nn
from torchvision import models

from normbench.layers import Affine
from normbench.swapping import swap


def test_gamma_of_0_stays():
    net, x = models.resnet18(zero_init_residual=True), torch.randn(2, 3, 64, 64)
    for example in (None, x):
        new = swap(net, "none", example)
        assert all(not block.bn2.scale.any() and len(block.bn2.scale) > 1 for block in new.layer1)
        assert all(block.bn2.scale.requires_grad for block in new.layer1)


def outputs_of(net, path, x):
    outputs = []
    with torch.no_grad(), net.get_submodule(path).register_forward_hook(lambda *a: outputs.append(a[2].clone())):
        net(x)
    return outputs[0]


@pytest.mark.parametrize("name", ("resnet18", "resnet50", "mobilenet_v2"))
@pytest.mark.parametrize("training", (True, False))
def test_with_an_example_none_starts_as_the_normalization_would(name, training):
    net, x = models.get_model(name, num_classes=10).train(training), torch.randn(8, 3, 64, 64)
    new = swap(net, "none", x)
    assert all(layer.training is training for layer in new.modules())
    ends = 0
    for path, layer in new.named_modules():
        if isinstance(layer, Affine):
            assert layer.scale.shape == (1,) and layer.scale.requires_grad
            if layer.scale == 0:
                ends += 1
            else:
                assert outputs_of(new.eval(), path, x).std() == pytest.approx(1, abs=1e-3)
    assert ends == {"resnet18": 8, "resnet50": 16, "mobilenet_v2": 10}[name], "a branch starts as nothing"
    with torch.no_grad():
        own, without = net.train()(x).std(), new.train()(x).std()
    assert 0.1 < without / own < 3


def test_without_an_example_none_leaves_no_scale():
    new = swap(models.resnet18(num_classes=10), "none")
    assert new.bn1.scale is None and new.layer1[0].bn2.scale is None


def test_branches_that_start_with_a_normalization_start_as_usual():
    net, x = nn.Sequential(*(PreNorm() for _ in range(4))), 5 * torch.randn(2, 5, 8)
    new = swap(net, "none", x)
    for index in range(4):
        assert outputs_of(new, f"{index}.norm", x).std() == pytest.approx(1, abs=1e-3)


def test_a_gamma_other_than_1_is_where_the_scale_starts():
    net, x = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), torch.randn(2, 3, 5, 5)
    nn.init.constant_(net[1].weight, 0.25)
    assert outputs_of(swap(net, "none", x), "1", x).std() == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize("values", (0.0, float("inf")))
def test_inputs_without_a_deviation_leave_the_scale(values):
    net, x = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)), torch.full((2, 3, 5, 5), values)
    assert swap(net, "none", x)[0].scale.item() == 1


def test_a_layer_that_is_called_twice_is_scaled_by_its_first_inputs():
    norm = nn.BatchNorm1d(6)
    net, x = nn.Sequential(norm, nn.Linear(6, 6), norm), 4 * torch.randn(64, 6)
    assert swap(net, "none", x)[0].scale.item() == pytest.approx(1 / x.std().item())


@pytest.mark.parametrize("norm, pretrained", (("none", False), ("none", True), ("GN", True)))
def test_what_a_network_misses_after_a_swap_is_told_in_one_line(norm, pretrained):
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(x) + self.norm.running_var.mean()

    with pytest.raises(ValueError, match=r"after the swap the network cannot be run on the example: .*running_var"):
        swap(Reads(), norm, torch.randn(2, 3, 5, 5), pretrained=pretrained)


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
    scale = new.norm.scale if has_example else 1
    torch.testing.assert_close(new(x), (y * scale).relu() - y)
    new(x).sum().backward()


def test_no_copy_is_made_where_no_activation_works_in_place():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    assert isinstance(swap(net, "none")[1], nn.Identity)
