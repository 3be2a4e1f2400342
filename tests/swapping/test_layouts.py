import pytest
import torch
import torch.fx
from torch import nn

from normbench.swapping import recognize, swap


class ByAxes(nn.LayerNorm):
    def forward(self, x):
        if x.ndim == 3:
            return super().forward(x)
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class OfSequences(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.transpose(-2, -1)).transpose(-2, -1)


class OfTokens(nn.BatchNorm1d):
    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class LastOfMaps(nn.GroupNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Derived(nn.LayerNorm):
    pass


LAYOUTS = (
    (ByAxes(8), (2, 10, 8), True),
    (ByAxes(8), (2, 8, 8), True),
    (ByAxes(8), (2, 8, 4, 5), False),
    (OfSequences(8), (2, 8, 10), False),
    (OfSequences(8), (2, 8, 8), False),
    (OfTokens(8), (2, 10, 8), True),
    (LastOfMaps(2, 8), (2, 4, 5, 8), True),
    (Derived(8), (2, 8), True),
    (Derived(8), (2, 8, 8), True),
    (Derived(8), (2, 8, 8, 8), True),
    (Derived(8), (2, 3, 4, 5, 8), True),
)


@pytest.mark.parametrize("layer, shape, last", LAYOUTS)
@pytest.mark.parametrize("is_seen", (False, True))
def test_where_the_channels_are_is_found_for_each_number_of_axes(layer, shape, last, is_seen):
    for values in layer.parameters():
        nn.init.uniform_(values, 0.5, 1.5)
    net, x = nn.Sequential(layer), torch.randn(shape)
    example = x if is_seen else None
    kind = recognize(layer).kind
    torch.testing.assert_close(swap(net, kind, example)(x), layer(x))
    y = swap(net, "BN", example).train()(x)
    channels = (y.movedim(-1, 1) if last else y).transpose(0, 1).flatten(1)
    torch.testing.assert_close(channels.mean(dim=1), layer.bias, atol=1e-4, rtol=1e-4)
    for norm in ("GN", "LN", "LN_C", "RMS", "DyT", "none"):
        new = swap(net, norm, example)
        assert new(x).shape == x.shape
        if type(new[0]) is not type(layer):
            assert torch.jit.script(new)(x).equal(new(x)) and torch.fx.symbolic_trace(new)(x).equal(new(x))
