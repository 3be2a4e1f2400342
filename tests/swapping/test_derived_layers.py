import pytest
import torch
import torch.fx
import torch.nn.functional as F
from made_up_layers import BNReLU, Conditional, vector
from torch import nn

from normbench.swapping import recognize, swap, unknown


class BNLeaky(nn.BatchNorm2d):
    def forward(self, x):
        return F.leaky_relu(super().forward(x), 0.2, inplace=True)


class GNSilu(nn.GroupNorm):
    def forward(self, x):
        return F.silu(super().forward(x))


class LNGelu(nn.LayerNorm):
    def forward(self, x):
        return F.gelu(super().forward(x), approximate="tanh")


class BNAct(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.drop, self.act = nn.Dropout(0.5), nn.PReLU(channels)

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


class Plain(nn.BatchNorm2d):
    pass


class Unused(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.head = nn.Linear(channels, 3)


DERIVED = {
    BNReLU(8): nn.ReLU,
    BNLeaky(8): nn.LeakyReLU,
    GNSilu(4, 8): nn.SiLU,
    LNGelu(8): nn.GELU,
    Plain(8): None,
    Unused(8): None,
}


@pytest.mark.parametrize("layer", DERIVED, ids=lambda layer: type(layer).__name__)
def test_an_activation_inside_forward_survives(layer):
    known, kind = recognize(layer), DERIVED[layer]
    assert [type(part) for part in known.after] == ([kind] if kind else [])
    x = torch.randn(2, 4, 5, 8) if isinstance(layer, nn.LayerNorm) else torch.randn(2, 8, 4, 5)
    new = swap(nn.Sequential(layer), "IN").train()
    normalized = F.instance_norm(x.movedim(-1, 1)).movedim(1, -1) if known.last else F.instance_norm(x)
    special = {nn.LeakyReLU: {"negative_slope": 0.2}, nn.GELU: {"approximate": "tanh"}}
    expected = kind(**special.get(kind, {}))(normalized) if kind else normalized
    torch.testing.assert_close(new(x), expected, rtol=1e-4, atol=1e-5)


def test_what_follows_is_the_layers_own():
    net = nn.Sequential(BNAct(8))
    with torch.no_grad():
        net[0].act.weight.copy_(torch.arange(8.0))
    new = swap(net, "GN").train()
    assert [type(part) for part in new[0]] == [nn.GroupNorm, nn.Dropout, nn.PReLU]
    assert new[0][2].weight.equal(net[0].act.weight) and new[0][1].training
    assert new[0][2].weight is not net[0].act.weight


class ScaledBN(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.gain = nn.Parameter(torch.full((channels,), 3.0))

    def forward(self, x):
        return super().forward(x) * self.gain.view(1, -1, 1, 1)


class Doubled(nn.GroupNorm):
    def forward(self, x):
        return 2 * super().forward(x)


class Residual(nn.LayerNorm):
    def forward(self, x):
        return x + super().forward(x)


class Dropping(nn.LayerNorm):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.3, self.training)


class Turning(nn.BatchNorm1d):
    def forward(self, x):
        return super().forward(x.transpose(1, 2))


class Clamped(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).clamp(-0.5, 0.5)


class OnlyInTraining(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) * (2 if self.training else 1)


class AlwaysOfTheBatch(nn.BatchNorm2d):
    def forward(self, x):
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True)


class DropsBefore(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return super().forward(self.drop(x))


class Optional(nn.LayerNorm):
    def __init__(self, channels):
        super().__init__(channels, elementwise_affine=False)
        self.linear = nn.Linear(4, channels)

    def forward(self, x, e=None):
        return super().forward(x) if e is None else super().forward(x) * (1 + self.linear(e))


class SelfConditioned(nn.InstanceNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.linear = nn.Linear(channels, channels)

    def forward(self, x):
        return super().forward(x) * self.linear(x.mean((2, 3)))[..., None, None]


class GRN(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gamma, self.beta = vector(1, 1, 1, channels), vector(1, 1, 1, channels)

    def forward(self, x):
        norms = x.norm(p=2, dim=(1, 2), keepdim=True)
        return x + self.gamma * (x * norms / (norms.mean(-1, keepdim=True) + 1e-6)) + self.beta


class PixelNorm(nn.Module):
    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class Failing(nn.BatchNorm2d):
    def forward(self, x):
        assert len(x) % 16 == 0
        return super().forward(x)


REFUSED = [
    *(ScaledBN(8), Doubled(4, 8), Residual(8), Dropping(8), Turning(8), Clamped(8), OnlyInTraining(8)),
    *(AlwaysOfTheBatch(8), DropsBefore(8), Conditional(8), Optional(8), SelfConditioned(8), GRN(8), PixelNorm()),
    *(Failing(8), nn.LocalResponseNorm(3), nn.RMSNorm((4, 5)), nn.LazyBatchNorm2d(), nn.LazyInstanceNorm1d()),
    torch.jit.script(nn.BatchNorm2d(8)),
]


@pytest.mark.parametrize("layer", REFUSED, ids=lambda layer: getattr(layer, "original_name", type(layer).__name__))
def test_what_is_more_than_a_normalization_is_refused_with_the_reason(layer):
    why = recognize(layer)
    assert isinstance(why, str) and why and "\n" not in why
    net = nn.Sequential(nn.BatchNorm2d(8), layer)
    with pytest.warns(UserWarning, match="1: ") as warned:
        new = swap(net, "GN")
    assert len(warned) == 1 and list(unknown(net)) == ["1"]
    assert type(new[1]) is type(layer) and isinstance(new[0], nn.GroupNorm)
    with pytest.raises(ValueError, match="no normalization layer") as raised:
        swap(nn.Sequential(layer), "GN")
    assert why in str(raised.value)
