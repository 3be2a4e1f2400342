import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from model import COLOUR, Net, normalization
from normbench.swapping import swap

NAMES = ("BN", "GN", "LN", "IN", "none")

PER_IMAGE = ("GN", "LN", "IN")


def layer_and_input(nm, channels=8, group=2):
    layer = normalization(nm, channels, group)
    for p in layer.parameters():
        nn.init.normal_(p)
    return layer, torch.randn(4, channels, 5, 5) * 3 + 1


def count(net):
    return sum(p.numel() for p in net.parameters())


def by_the_papers(nm, x, gamma, beta, group):
    """Each normalization in NumPy: reshape so that the last axis runs over the set, then normalize along it."""
    n, c, h, w = x.shape
    sets = {
        "BN": lambda a: a.transpose(1, 0, 2, 3).reshape(c, -1),
        "GN": lambda a: a.reshape(n * group, -1),
        "LN": lambda a: a.reshape(n, -1),
        "IN": lambda a: a.reshape(n * c, -1),
    }[nm](x)
    mean = sets.mean(axis=1, keepdims=True)
    variance = ((sets - mean) ** 2).mean(axis=1, keepdims=True)
    y = (sets - mean) / np.sqrt(variance + 1e-5)
    y = y.reshape(c, n, h, w).transpose(1, 0, 2, 3) if nm == "BN" else y.reshape(n, c, h, w)
    return y * gamma[:, None, None] + beta[:, None, None]


@pytest.mark.parametrize("nm", ("BN", *PER_IMAGE))
def test_formula_of_the_papers(nm):
    layer, x = layer_and_input(nm, group=4)
    gamma, beta = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
    expected = by_the_papers(nm, x.double().numpy(), gamma, beta, group=4)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_batch_norm_keeps_running_averages_of_the_unbiased_variance():
    layer, x = layer_and_input("BN")
    layer(x)
    np.testing.assert_allclose(layer.running_mean, 0.1 * x.mean(dim=(0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(layer.running_var, 0.9 + 0.1 * x.var(dim=(0, 2, 3), correction=1), rtol=1e-4)


def test_group_norm_with_one_channel_a_group_is_instance_norm():
    x = torch.randn(4, 8, 5, 5)
    torch.testing.assert_close(normalization("GN", 8, group=8)(x), normalization("IN", 8)(x))


def test_group_norm_with_one_group_is_layer_norm():
    x = torch.randn(4, 8, 5, 5)
    torch.testing.assert_close(normalization("GN", 8, group=1)(x), normalization("LN", 8)(x))
    torch.testing.assert_close(normalization("LN", 8)(x), F.layer_norm(x, (8, 5, 5)))


@pytest.mark.parametrize("nm", PER_IMAGE)
def test_an_image_does_not_see_its_neighbours(nm):
    layer, x = layer_and_input(nm)
    torch.testing.assert_close(layer(x)[:1], layer(torch.cat([x[:1], torch.randn(3, 8, 5, 5)]))[:1])


def test_batch_norm_sees_the_batch_in_training_alone():
    layer, x = layer_and_input("BN")
    other = torch.cat([x[:1], torch.randn(3, 8, 5, 5)])
    assert not torch.allclose(layer(x)[0], layer(other)[0], atol=1e-2)
    layer.eval()
    torch.testing.assert_close(layer(x)[0], layer(other)[0])


@pytest.mark.parametrize("nm", ("BN", *PER_IMAGE))
def test_scale_and_shift_of_the_input_are_removed(nm):
    layer, x = layer_and_input(nm)
    torch.testing.assert_close(layer(7 * x - 3), layer(x), rtol=1e-3, atol=1e-3)


def test_none_changes_nothing():
    x = torch.randn(2, 8, 5, 5)
    assert normalization("none", 8)(x) is x


def test_images_that_vanish():
    with pytest.raises(ValueError, match=r"30x7 pixels are too small.*convolution 3"):
        Net(size=(30, 7))


def test_unknown_normalization_lists_the_known():
    with pytest.raises(ValueError, match=r"'batch'.*BN, GN, LN, IN, none"):
        normalization("batch", 8)


@pytest.mark.parametrize("group", (0, -2, 3, 16))
def test_groups_that_do_not_divide_the_channels(group):
    with pytest.raises(ValueError, match=f"{group} groups.*8 channels"):
        normalization("GN", 8, group)


def test_groups_matter_for_group_norm_alone():
    assert isinstance(normalization("BN", 8, group=3), nn.BatchNorm2d)


@pytest.mark.parametrize("nm", NAMES)
def test_log_probabilities(nm):
    y = Net(nm)(torch.randn(3, 1, 28, 28))
    assert y.shape == (3, 10)
    torch.testing.assert_close(y.exp().sum(dim=1), torch.ones(3))


def test_the_network_in_other_words():
    """Net against the same arithmetic written out with functions, in double precision."""
    net = Net("GN", gp=4).double()
    weights = nn.init.normal_(net.average[1].weight)[:, 0]
    x = y = torch.randn(3, 1, 28, 28).double()
    for layer in net.features:
        if isinstance(layer, nn.Conv2d):
            patches = F.unfold(y, layer.kernel_size, padding=layer.padding)
            size = y.shape[-1] + 2 * layer.padding[0] - layer.kernel_size[0] + 1
            y = (layer.weight.flatten(1) @ patches).view(3, -1, size, size)
        elif isinstance(layer, nn.MaxPool2d):
            y = y.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
        elif isinstance(layer, nn.GroupNorm):
            groups = y.view(3, 4, -1)
            std, mean = torch.std_mean(groups, dim=2, correction=0, keepdim=True)
            y = ((groups - mean) / (std**2 + 1e-5).sqrt()).view_as(y)
        elif isinstance(layer, nn.ReLU):
            y = y.clamp(min=0)
    scores = (weights * y).sum(dim=(2, 3)) @ net.classifier.weight.T + net.classifier.bias
    torch.testing.assert_close(net(x), scores - scores.logsumexp(dim=1, keepdim=True))


def test_the_average_starts_as_the_plain_one():
    net, maps = Net(), torch.randn(2, 16, 12, 6)
    torch.testing.assert_close(net.average(maps), maps.mean(dim=(2, 3)))


def test_first_weights_are_he_et_al_s():
    for layer in Net(widths=(64, 64, 64)).features:
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx((2 / layer.weight[0].numel()) ** 0.5, rel=0.1)


def test_same_seed_same_weights_whatever_the_normalization():
    def weights(nm):
        torch.manual_seed(5)
        return [m.weight for m in Net(nm).modules() if isinstance(m, (nn.Conv2d, nn.Linear))]

    for nm in NAMES:
        for a, b in zip(weights("BN"), weights(nm), strict=True):
            assert torch.equal(a, b)


def test_group_norm_of_a_group_a_channel_is_instance_norm_in_the_whole_network():
    nets, x = [Net(nm, gp=8, widths=(8,) * 5) for nm in ("GN", "IN")], torch.randn(3, 1, 28, 28)
    nets[1].load_state_dict(nets[0].state_dict())
    torch.testing.assert_close(nets[0](x), nets[1](x))


def test_other_images_and_classes():
    net = Net("LN", in_channels=3, classes=7, widths=(16, 32, 8, 12), pools=(2,))
    assert net(torch.randn(2, 3, 32, 24)).shape == (2, 7)


@pytest.mark.parametrize("nm", NAMES)
def test_every_convolution_is_normalized_or_has_a_bias(nm):
    layers = [layer for layer in Net(nm).features if not isinstance(layer, nn.MaxPool2d)]
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) >= 5
    for i in convolutions:
        width = layers[i].out_channels
        assert width % 4 == 0 and (layers[i].bias is None) == (nm != "none")
        assert type(layers[i + 1]) is type(normalization(nm, width))
        assert isinstance(layers[i + 2], nn.ReLU)
        if nm == "none":
            assert not layers[i].bias.any(), "it starts where β does"


@pytest.mark.parametrize("arguments, most", (({}, 8_000), (COLOUR, 50_000)))
def test_parameters(arguments, most):
    counts = {nm: count(Net(nm, **arguments)) for nm in NAMES}
    gammas = sum(arguments.get("widths", (8, 8, 16, 16, 16)))
    assert counts["BN"] <= most and counts["none"] == counts["BN"] - gammas
    assert counts["BN"] == counts["GN"] == counts["LN"] == counts["IN"]


@pytest.mark.parametrize("arguments", ({}, COLOUR), ids=("grey", "colour"))
@pytest.mark.parametrize("nm, gp, norm", (("GN", 2, "GN:2"), ("GN", 4, "GN:4"), ("LN", 2, "LN"), ("none", 2, "none")))
def test_a_swap_in_the_network_computes_what_the_network_of_that_normalization_computes(nm, gp, norm, arguments):
    nets = []
    for make in (lambda: swap(Net("BN", **arguments), norm), lambda: Net(nm, gp, **arguments)):
        torch.manual_seed(3)
        nets.append(make())
    x = torch.randn(3, arguments.get("in_channels", 1), *arguments.get("size", (28, 28)))
    torch.testing.assert_close(nets[0](x), nets[1](x))
    assert count(nets[0]) == count(nets[1])


def test_without_a_normalization_the_network_can_use_its_biases():
    net = Net("none")
    net(torch.randn(4, 1, 28, 28))[:, 0].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
