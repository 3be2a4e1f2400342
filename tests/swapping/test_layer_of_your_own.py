import pytest
import torch
from made_up_layers import NETS, MyNorm, conv_norm_relu, randomized
from torch import nn

from normbench.layers import ChannelsLast
from normbench.swapping import swap, swapped


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
        swap(conv_norm_relu(), "my_norms.py:MyNorm")


class Flattening(MyNorm):
    def forward(self, x):
        return x.flatten(1)


class OfMapsOfNine(MyNorm):
    def forward(self, x):
        assert x.shape[-1] == 9, "I take maps of 9 pixels"
        return x


class InFloat64(MyNorm):
    def forward(self, x):
        return x.double()


class Twice(MyNorm):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    "own, match",
    (
        (Flattening, r"layer '1'.*keep the shape.*\(2, 8, .*returns \(2, "),
        (InFloat64, "float32; it returns .*float64"),
        (Twice, "returns a tuple"),
        (nn.BatchNorm1d, r"fails on an input \(2, "),
        (OfMapsOfNine, "I take maps of 9 pixels"),
    ),
)
@pytest.mark.parametrize("is_seen", (False, True))
def test_a_layer_of_your_own_that_changes_its_input_is_refused_in_one_line(own, match, is_seen):
    net, x = conv_norm_relu(), torch.randn(2, 3, 9, 9)
    with pytest.raises(ValueError, match=match) as raised:
        swap(net, own, x if is_seen else None)
    assert "\n" not in str(raised.value)


def test_a_layer_of_your_own_is_tried_on_what_it_gets():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8))
    with pytest.raises(ValueError, match=r"layer '1'.*\(2, 8, 5, 7\)"):
        swap(net, lambda channels: nn.LayerNorm([channels, 5, 5]), torch.randn(2, 3, 5, 7))
    before = torch.random.get_rng_state()
    new = swap(net, nn.BatchNorm2d, torch.randn(1, 3, 5, 7, generator=torch.Generator()))
    assert new[1].num_batches_tracked == 0 and new[1].running_mean.eq(0).all() and new.training
    assert torch.random.get_rng_state().equal(before)
    assert isinstance(
        swap(nn.Sequential(nn.BatchNorm1d(8)), lambda channels: nn.InstanceNorm1d(channels))[0], nn.InstanceNorm1d
    )
