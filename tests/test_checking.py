"""A look at networks before training: facts against hand counts, each hazard provoked and absent, the price."""

import copy
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models
from torchvision.ops.misc import FrozenBatchNorm2d

from normbench.checking import check, inputs, size
from normbench.layers import BatchRenorm, GhostBatchNorm2d, LayerNormOfPixels, RMSNormOfChannels


def maps(*layers, channels=16, bias=False):
    """A network for images (N, 3, H, W): a convolution, the layers, an activation, pooling, a linear layer."""
    head = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2))
    return nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=bias), *layers, *head)


def facts_of(net, *shape):
    return check(net, torch.randn(*shape), price=False)


def names(found):
    return [hazard.name for hazard in found.hazards]


def hazard(found, name):
    return next(hazard for hazard in found.hazards if hazard.name == name)


# Facts

AXES = {1: (nn.Conv1d, (50,)), 2: (nn.Conv2d, (6, 7)), 3: (nn.Conv3d, (3, 4, 5))}


@pytest.mark.parametrize("axes", AXES)
def test_numbers_per_statistic(axes):
    """Counted by hand, for 8 inputs with 12 channels at so many positions."""
    conv, lengths = AXES[axes]
    batch_norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1](12)
    instance_norm = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[axes - 1](12)
    positions = {1: 50, 2: 42, 3: 60}[axes]
    layers = {
        "BN": (batch_norm, 8 * positions),
        "BN:4": (GhostBatchNorm2d(12, 4), 4 * positions),
        "BN:3": (GhostBatchNorm2d(12, 3), 2 * positions),
        "BRN": (BatchRenorm(12), 8 * positions),
        "GN": (nn.GroupNorm(3, 12), 4 * positions),
        "LN": (nn.GroupNorm(1, 12), 12 * positions),
        "IN": (instance_norm, positions),
        "LN_CHW": (nn.LayerNorm([12, *lengths]), 12 * positions),
        "LN_C": (LayerNormOfPixels(12), 12),
        "RMS": (RMSNormOfChannels(12), 12),
    }
    net = nn.Sequential(conv(2, 12, 1), *(layer for layer, _ in layers.values()))
    rows = facts_of(net, 8, 2, *lengths).rows
    assert {row.kind: row.numbers for row in rows} == {kind: n for kind, (_, n) in layers.items()}
    assert {row.kind: row.groups for row in rows if row.groups} == {"GN": 3}
    assert {row.channels for row in rows if row.kind != "LN_CHW"} == {12}


def test_vectors_have_one_position():
    net = nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12), nn.GroupNorm(3, 12), nn.LayerNorm(12))
    assert [row.numbers for row in facts_of(net, 8, 5).rows] == [8, 4, 12]


def test_a_vision_transformer():
    vit = models.VisionTransformer(32, 8, 2, 2, 24, 48, num_classes=3)
    found = facts_of(vit, 2, 3, 32, 32)
    assert len(found.rows) == 5 and {(row.kind, row.numbers) for row in found.rows} == {("LN_C", 24)}
    assert "noisy batch norm" not in names(found) and "called as functions" not in names(found)


def test_shares_and_the_frame():
    net = maps(nn.BatchNorm2d(16), nn.Conv2d(16, 16, 1), nn.GroupNorm(4, 16, affine=False))
    found = facts_of(net, 4, 3, 32, 32)
    frame = found.frame()
    assert list(frame.path) == ["1", "3"] and list(frame.kind) == ["BN", "GN"]
    assert frame.share_of_parameters[0] == 32 / found.parameters and frame.share_of_parameters[1] == 0
    assert (frame.share_of_time > 0).all() and frame.share_of_time.sum() < 1


def test_the_network_is_left_as_it_is():
    net = maps(nn.BatchNorm2d(16), nn.Dropout(), nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16))
    net[4].eval()
    before, modes = copy.deepcopy(net.state_dict()), [layer.training for layer in net.modules()]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    check(net, torch.ones(2, 3, 8, 8))
    assert torch.equal(state, torch.get_rng_state())
    assert [layer.training for layer in net.modules()] == modes
    assert all(torch.equal(values, net.state_dict()[name]) for name, values in before.items())
    assert all(p.grad is None for p in net.parameters())
    assert all(not layer._forward_hooks and not layer._forward_pre_hooks for layer in net.modules())


def test_layers_that_are_not_called_or_stand_twice():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.never = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.GroupNorm(2, 8)
            self.again = self.norm

        def forward(self, x):
            return self.again(self.norm(self.conv(x)))

    found = check(Net(), torch.randn(2, 3, 4, 4))
    assert [(row.path, row.numbers) for row in found.rows] == [("norm", 32), ("never", None)]
    assert "not called" in str(found)


# Hazards


class Functional(nn.Module):
    """Calls a normalization in its forward."""

    def forward(self, x):
        """x → the same shape."""
        return F.layer_norm(x, x.shape[1:])


class ByHand(nn.Module):
    """Normalizes each image by arithmetic."""

    def forward(self, x):
        """x → the same shape."""
        return x * torch.rsqrt(x.square().mean((1, 2, 3), keepdim=True) + 1e-5)


class MyNorm(nn.Module):
    """A normalization that is none of the known ones."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        """x → the same shape."""
        return x / x.abs().amax(dim=(1, 2, 3), keepdim=True) * self.weight.view(1, -1, 1, 1)


def zero(layer):
    nn.init.zeros_(layer.weight)
    return layer


def pretrained(layer):
    layer.running_mean.fill_(0.5)
    return layer


WIDE, SMALL = (8, 3, 16, 16), (2, 3, 4, 4)
PLAIN = maps(nn.BatchNorm2d(16))
PROVOKED = {  # by hazard: a network with its input's shape, the paths, and the level
    "one number": (maps(nn.AdaptiveAvgPool2d(1), nn.GroupNorm(16, 16)), WIDE, ("2",), "danger"),
    "instance norm before pooling": (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8), nn.AdaptiveAvgPool2d(1)),
        WIDE,
        ("1",),
        "danger",
    ),
    "frozen from scratch": (maps(FrozenBatchNorm2d(16)), WIDE, ("1",), "danger"),
    "two numbers": (
        nn.Sequential(nn.Flatten(), nn.Linear(48, 64), nn.GroupNorm(32, 64)),
        SMALL,
        ("2",),
        "danger",
    ),
    "noisy batch norm": (maps(nn.BatchNorm2d(16)), SMALL, ("1",), "warning"),
    "called as functions": (maps(Functional()), WIDE, ("1",), "warning"),
    "written by hand": (maps(ByHand()), WIDE, ("1",), "warning"),
    "cannot be replaced": (maps(MyNorm(16)), WIDE, ("1",), "warning"),
    "dropout before batch norm": (
        maps(nn.Dropout(0.1), nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16)),
        WIDE,
        ("3",),
        "warning",
    ),
    "frozen batch norm": (maps(pretrained(FrozenBatchNorm2d(16))), WIDE, ("1",), "note"),
    "bias before normalization": (maps(nn.BatchNorm2d(16), bias=True), WIDE, ("0",), "note"),
    "gamma starts at 0": (maps(zero(nn.BatchNorm2d(16))), WIDE, ("1",), "note"),
    "weight decay": (PLAIN, WIDE, ("1",), "note"),
    "small eps": (maps(nn.GroupNorm(4, 16, eps=1e-12)), WIDE, ("1",), "note"),
}
ABSENT = {  # near misses
    "one number": (maps(nn.AdaptiveAvgPool2d(2), nn.GroupNorm(16, 16)), WIDE),
    "instance norm before pooling": (maps(nn.InstanceNorm2d(16)), WIDE),
    "frozen from scratch": (maps(pretrained(FrozenBatchNorm2d(16))), WIDE),
    "two numbers": (nn.Sequential(nn.Flatten(), nn.Linear(48, 64), nn.GroupNorm(16, 64)), SMALL),
    "noisy batch norm": (PLAIN, WIDE),
    "called as functions": (PLAIN, WIDE),
    "written by hand": (maps(Functional()), WIDE),
    "cannot be replaced": (PLAIN, WIDE),
    "dropout before batch norm": (maps(nn.Dropout(0.0), nn.BatchNorm2d(16), nn.Dropout(0.5)), WIDE),
    "frozen batch norm": (PLAIN, WIDE),
    "bias before normalization": (maps(nn.GroupNorm(4, 16), bias=True), WIDE),
    "gamma starts at 0": (PLAIN, WIDE),
    "weight decay": (maps(nn.BatchNorm2d(16, affine=False)), WIDE),
    "small eps": (maps(nn.GroupNorm(4, 16, eps=1e-6)), WIDE),
}


@pytest.mark.parametrize("name", PROVOKED)
def test_hazards(name):
    net, shape, paths, level = PROVOKED[name]
    found = facts_of(net, *shape)
    assert hazard(found, name).paths == paths and hazard(found, name).level == level
    assert hazard(found, name).remedy in " ".join(str(found).split())
    assert name not in names(facts_of(*ABSENT[name][:1], *ABSENT[name][1])), "but it is absent where it does not belong"


def test_the_worst_hazard_comes_first():
    net = maps(nn.BatchNorm2d(16), nn.AdaptiveAvgPool2d(1), nn.GroupNorm(16, 16), bias=True)
    found = facts_of(net, 2, 3, 4, 4)
    levels = [hazard.level for hazard in found.hazards]
    assert names(found)[0] == "one number" and levels == sorted(levels, key=["danger", "warning", "note"].index)


@pytest.mark.parametrize(("images", "warned"), [(15, True), (16, False)])
def test_the_noise_of_batch_norm(images, warned):
    """16 images with 5 × 5 positions are 400 numbers: a standard error of 5 %."""
    found = facts_of(maps(nn.BatchNorm2d(16)), images, 3, 5, 5)
    assert ("noisy batch norm" in names(found)) is warned
    if warned:  # 100 / √375
        assert "5.2 %" in hazard(found, "noisy batch norm").reason
        assert "16 or more" in hazard(found, "noisy batch norm").remedy


def test_batch_norm_that_is_switched_off():
    net = maps(pretrained(nn.BatchNorm2d(16)))
    net[1].eval()
    assert hazard(facts_of(net, *WIDE), "frozen batch norm").paths == ("1",)
    assert "frozen batch norm" not in names(facts_of(net.eval(), *WIDE)), "a network for inference is not frozen"


def test_dropout_is_followed_to_the_next_batch_norm():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = (nn.BatchNorm2d(4) for _ in range(3))
            self.conv = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            x = self.first(self.conv(x))
            x = x + F.dropout(F.relu(x), 0.5, self.training)
            return self.third(self.second(self.conv(x)))

    assert hazard(facts_of(Net(), 8, 4, 8, 8), "dropout before batch norm").paths == ("second",)


def test_a_bias_that_is_changed_before_the_normalization_has_an_effect():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.norm(F.relu_(self.conv(x)))

    assert "bias before normalization" not in names(facts_of(Net(), *WIDE))


# Price


def by_arm(found):
    return {cost.arm: cost for cost in found.price.costs}


def test_the_price_of_each_arm():
    torch.manual_seed(0)
    net = maps(nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
    costs = by_arm(check(net, torch.randn(8, 3, 32, 32), arms=("BN", "GN:4", "RMS", "none", "GN:5")))
    assert list(costs) == ["own", "BN", "GN (4 groups)", "RMS", "none", "GN (5 groups)"]
    assert costs["BN"].step == costs["own"].step and costs["BN"].kept == costs["own"].kept
    assert "5 groups cannot split 16 channels" in costs["GN (5 groups)"].failure and costs["GN (5 groups)"].step is None
    maps_of = 8 * 16 * 32 * 32 * 4  # bytes of the feature maps of a layer
    # Two convolutions keep their inputs, two batch norms theirs, three ReLUs their outputs (one of which is kept
    # already), the linear layer and the means a few numbers.
    assert costs["own"].kept == pytest.approx(8 * 3 * 32 * 32 * 4 + 4 * maps_of, rel=0.05)
    assert costs["none"].kept == pytest.approx(costs["own"].kept, rel=0.05), "a scale keeps its input"
    assert costs["RMS"].kept > costs["own"].kept
    assert costs["none"].inference == costs["own"].inference, "batch norm is folded"
    assert costs["GN (4 groups)"].inference > costs["own"].inference
    assert all(cost.peak is None for cost in costs.values()), "on a CPU"


def test_the_price_of_a_layer_of_ones_own():
    class Slow(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(channels))

        def forward(self, x):
            time.sleep(0.05)
            return x * self.weight.view(1, -1, 1, 1)

    found = check(maps(nn.GroupNorm(4, 16)), torch.randn(2, 3, 8, 8), arms={"own": "own", "slow": Slow, "LN": "LN"})
    costs = by_arm(found)
    assert list(costs) == ["own", "slow", "LN"]
    assert costs["slow"].step > costs["own"].step + 0.04 and costs["slow"].inference > costs["own"].inference + 0.04


def test_an_example_that_cannot_be_trained_on():
    """PyTorch refuses to train batch norm on one number; the page still says what is wrong."""
    found = check(maps(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(16)), torch.randn(1, 3, 8, 8), arms=("GN",))
    assert names(found)[0] == "one number"
    own, other = found.price.costs
    assert own.step is None and other.step is None and own.inference > 0 and not other.failure
    assert "more than 1 value" in found.price.note


def test_other_arms_and_outputs():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)

        def forward(self, x):
            y = self.norm(self.conv(x))
            return {"maps": [y], "mean": y.mean(), "shape": y.shape}

    costs = by_arm(check(Net(), torch.randn(4, 3, 8, 8), arms=("WS+GN", "BN:2", "LN_CHW", "DyT")))
    assert not any(cost.failure for cost in costs.values()) and all(cost.step > 0 for cost in costs.values())
    assert costs["WS + GN"].kept > costs["own"].kept


def test_networks_without_a_normalization():
    found = check(maps(), torch.randn(2, 3, 8, 8))
    assert found.rows == () and found.hazards == () and found.frame().empty
    assert by_arm(found)["own"].step > 0 and all(cost.failure for cost in found.price.costs[1:])
    assert "no normalization layer" in str(found) and "No hazards" in str(found)


@pytest.mark.parametrize(("name", "layers"), [("resnet50", 53), ("mobilenet_v3_small", 34)])
def test_networks_of_torchvision(name, layers):
    """Processor time, because other processes on the machine do not count; it is what all threads take together."""
    net, example = models.get_model(name, weights=None), torch.randn(4, 3, 224, 224)
    started = time.process_time()
    found = check(net, example)
    assert time.process_time() - started < 40, "seconds"
    assert len(found.rows) == layers and found.price.costs[0].step > 0
    assert not any(cost.failure for cost in found.price.costs)
    assert 0 < sum(row.share_of_time for row in found.rows) < 0.9
    noisy = hazard(found, "noisy batch norm")
    last = [row.path for row in found.rows if row.is_batch_norm and row.numbers == 196]
    assert last and set(last) <= set(noisy.paths), "4 images with 7 × 7 positions"


def test_the_page():
    net = maps(*(nn.BatchNorm2d(16) for _ in range(30)))
    found = check(net, torch.randn(2, 3, 8, 8), arms=("GN",))
    shown, whole, markdown = str(found), found.to_text(every_row=True), found.to_markdown()
    assert "1 and 29 more" in shown and "\n30 " not in shown and "\n30 " in whole
    assert max(map(len, shown.splitlines())) <= 100
    assert shown.index("numbers per") < shown.index("Hazards") < shown.index("Price")
    assert markdown.startswith("# Sequential") and "| GN |" in markdown and "## Hazards" in markdown
    assert list(found.prices().index) == ["own", "GN"]


def test_what_is_wrong_in_python():
    with pytest.raises(ValueError, match="tensor"):
        check(PLAIN, [1, 2])
    with pytest.raises(ValueError, match="at least one"):
        check(PLAIN, torch.zeros(0, 3, 8, 8))
    with pytest.raises(ValueError, match="several arms"):
        check(PLAIN, torch.zeros(1, 3, 8, 8), arms="GN")


def test_sizes():
    assert size("3x224x224") == (3, 224, 224) and size("1×16000") == (1, 16000)
    assert torch.equal(inputs((3, 4), 2, torch.device("cpu")), inputs((3, 4), 2, torch.device("cpu")))
