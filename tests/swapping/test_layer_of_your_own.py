import pytest
import torch
import torch.fx
from made_up_layers import NETS, MyNorm, conv_norm_relu, randomized
from torch import nn

from normbench.layers import (
    ChannelsLast,
)
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
