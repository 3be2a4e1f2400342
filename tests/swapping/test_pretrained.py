"""What a network that is trained already computes after a swap."""

import copy

import pytest
import torch
from made_up import PreNorm, small, trained_for_a_while
from torch import nn

from normbench.layers import NORMALIZATIONS
from normbench.swapping import swap, swapped


def as_if_trained(net):
    """Give a network running averages, γ and β as they are after a training: all over the place."""
    torch.manual_seed(1)
    for layer in net.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_(0, 2)
            layer.running_var.uniform_(0.1, 9)
            if layer.affine:
                nn.init.normal_(layer.weight, 1, 0.3)
                nn.init.normal_(layer.bias)
    return net.eval()


@pytest.fixture
def images():
    return torch.randn(16, 1, 28, 28)


@pytest.fixture(scope="module")
def trained(digits):
    """A network that knows the digits, with training images, test images and labels."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    trained_for_a_while(net, digits)
    return net.eval(), digits.standardize(digits.x_train)[:64], digits.standardize(digits.x_test), digits.y_test


@torch.no_grad()
def accuracy(net, x, y):
    return 100 * float((net(x).argmax(dim=1) == y).float().mean())


def test_none_computes_what_batch_norm_computed(images):
    net = as_if_trained(small()).double()
    torch.testing.assert_close(swap(net, "none", images, pretrained=True)(images.double()), net(images.double()))
    assert not torch.allclose(swap(net, "none", images)(images.double()), net(images.double()), rtol=0.1)


def test_scale_and_shift_are_those_of_the_averages(images):
    net = as_if_trained(small()).double()
    old, new = net[1], swap(net, "none", images, pretrained=True)[1]
    scale = old.weight / (old.running_var + old.eps).sqrt()
    torch.testing.assert_close(new.scale, scale)
    torch.testing.assert_close(new.bias, old.bias - old.running_mean * scale)


@pytest.mark.parametrize(
    "norm, least, most_without",
    (("none", 100, 60), ("LN", 90, 60), ("GN", 60, 60), ("DyT", 85, 60)),
)
def test_a_trained_network_stays_nearly_as_accurate(norm, least, most_without, trained):
    """`least` is the share of the accuracy that stays, in %; without a fit little is left of it."""
    net, some, x, y = trained
    was = accuracy(net, x, y)
    stays, without = (accuracy(swap(net, norm, some, pretrained=way), x, y) for way in (True, False))
    assert was > 90 and stays >= was * least / 100 and without < was * most_without / 100


@pytest.mark.parametrize("norm", ("BRN", "FrozenBN", "BN:4", "BN"))
def test_what_keeps_the_averages_is_not_fitted(norm, images):
    net = as_if_trained(small())
    new, report = swapped(net, norm, images, pretrained=True)
    torch.testing.assert_close(new.eval()(images), net(images))
    assert not report.explained


@pytest.mark.parametrize("norm", [norm for norm in NORMALIZATIONS if norm not in ("BN", "BRN", "FrozenBN")])
def test_the_fit_is_the_best_scale_and_shift_of_every_channel(norm, images):
    """No other scale or shift of the first layer is nearer to what batch norm computed there."""
    net = as_if_trained(small())
    new = swap(net, norm, images, pretrained=True)
    with torch.no_grad():
        x = net[0](images)
        wanted, made = net[1](x).double(), new[1](x).double()
        error = (wanted - made).movedim(1, -1).flatten(0, -2)
        centred = (made - made.mean(dim=(0, 2, 3), keepdim=True)).movedim(1, -1).flatten(0, -2)
        assert error.mean(dim=0).abs().max() < 0.05 * wanted.std(), "no shift is left"
        slope_left = (error * centred).mean(dim=0) / centred.square().mean(dim=0).clamp(min=1e-9)
    assert slope_left.abs().max() < 0.05, "no scale is left"


def test_layers_without_a_scale_get_one(images):
    net = as_if_trained(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, affine=False)))
    new = swap(net, "none", images, pretrained=True)
    torch.testing.assert_close(new(images), net(images), rtol=1e-4, atol=1e-4)
    assert swap(net, "GN", images, pretrained=True)[1].weight.requires_grad


def test_a_branch_that_is_off_stays_off(images):
    net = as_if_trained(small())
    nn.init.zeros_(net[4].weight)
    new = swap(net, "GN", images, pretrained=True)
    assert not new[4].weight.any()
    torch.testing.assert_close(new[4].bias, net[4].bias)


def test_layer_norms_of_tokens_are_followed_too():
    torch.manual_seed(0)
    net = nn.Sequential(PreNorm(), PreNorm()).eval()
    for block in net:
        nn.init.normal_(block.norm.weight, 1, 0.3)
        nn.init.normal_(block.norm.bias)
    tokens = torch.randn(4, 6, 8) * 3 + 1
    with torch.no_grad():
        errors = [(swap(net, "RMS", tokens, pretrained=way)(tokens) - net(tokens)).norm() for way in (True, False)]
    assert errors[0] < 0.8 * errors[1]


def test_the_network_itself_and_its_mode_stay(images):
    net = as_if_trained(small())
    net[0].weight.requires_grad_(False)
    net[1].weight.requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    new = swap(net.train(), "GN", images, pretrained=True)
    assert all(torch.equal(values, before[name]) for name, values in net.state_dict().items())
    assert net.training and all(layer.training for layer in new.modules())
    assert not new[1].weight.requires_grad and new[4].weight.requires_grad
    assert not new[1]._forward_hooks and not net[1]._forward_hooks


def test_an_activation_inside_of_the_old_layer_is_no_part_of_the_fit(images):
    class NormAct(nn.BatchNorm2d):
        def forward(self, x):
            return torch.relu(super().forward(x))

    net = as_if_trained(nn.Sequential(nn.Conv2d(1, 4, 3), NormAct(4)))
    torch.testing.assert_close(swap(net, "none", images, pretrained=True)(images), net(images), rtol=1e-4, atol=1e-4)


def test_a_layer_of_one_s_own_without_a_scale_is_left_as_it_is(images):
    class Halved(nn.Module):
        def forward(self, x):
            return x / 2

    new, report = swapped(as_if_trained(small()), lambda channels: Halved(), images, pretrained=True)
    assert isinstance(new[1], Halved) and not report.explained


def test_what_was_fitted_is_said(images, capsys):
    swap(as_if_trained(small()), "none", images, pretrained=True, verbose=True)
    assert capsys.readouterr().out.count("follows it to 100.0 %") == 2


def test_without_an_example_there_is_nothing_to_follow():
    with pytest.raises(ValueError, match="pretrained needs an example"):
        swap(small(), "GN", pretrained=True)
