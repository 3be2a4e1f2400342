import torch
import torch.nn.functional as F
from made_up import PreNorm
from torch import nn
from torchvision import models

from normbench.swapping import watch


class Block(nn.Module):
    """A residual block with a projection, as in ResNet; its order of the sum's terms is given."""

    def __init__(self, is_first=False, is_projected=True):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.projection = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)) if is_projected else nn.Identity()
        self.drop, self.relu, self.is_first = nn.Dropout(0.5), nn.ReLU(inplace=True), is_first

    def forward(self, x):
        branch = self.drop(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        shortcut = self.projection(x)
        return self.relu(shortcut + branch if self.is_first else branch.add_(shortcut))


def test_ends_of_residual_branches_and_their_projections():
    net = nn.Sequential(Block(is_projected=False), Block(), Block(is_first=True), Block(True, False))
    seen = watch(net, torch.randn(2, 8, 5, 5))
    assert seen.ends == {"0.bn2", "1.bn2", "2.bn2", "3.bn2"}


def test_a_normalization_at_the_start_of_a_branch_is_not_its_end():
    assert watch(nn.Sequential(PreNorm(), PreNorm()), torch.randn(2, 3, 8)).ends == {"0.linear", "1.linear"}


def test_branches_of_known_networks():
    ends = {path.rpartition(".")[2] for path in watch(models.resnet50(), torch.randn(1, 3, 32, 32)).ends}
    assert ends == {"bn3"}
    assert len(watch(models.mobilenet_v2(), torch.randn(1, 3, 32, 32)).ends) == 10
    assert not watch(models.vgg11_bn(), torch.randn(1, 3, 32, 32)).ends


def test_functions_and_who_calls_them():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return F.group_norm(F.instance_norm(self.conv(x)), 2)

    net = nn.Sequential(Functional(), nn.BatchNorm2d(4))
    called = watch(net, torch.randn(2, 3, 4, 4)).called
    assert set(called) == {"0", "1"} and set(called["0"]) == {"F.instance_norm", "F.group_norm"}


def test_standardized_weights_are_no_normalization():
    class Standardizing(nn.Conv2d):
        def forward(self, x):
            flat = self.weight.reshape(1, self.out_channels, -1)
            weight = F.batch_norm(flat, None, None, training=True).reshape_as(self.weight)
            return self._conv_forward(x, weight, self.bias)

    assert not watch(nn.Sequential(Standardizing(3, 4, 1)), torch.randn(2, 3, 4, 4)).called


def test_a_layer_of_several_calls_has_its_smallest_input():
    class Pyramid(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            return [self.norm(level) for level in (F.avg_pool2d(x, 2), F.avg_pool2d(x, 8), x)]

    assert watch(Pyramid(), torch.randn(2, 3, 16, 16)).shapes["norm"] == (2, 3, 2, 2)


def test_the_source_is_the_last_layer_that_changed_the_input():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.5), nn.Identity(), nn.BatchNorm2d(4))
    assert watch(net, torch.randn(2, 3, 4, 4)).sources["3"] == "0"
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(4))
    assert watch(net, torch.randn(2, 3, 4, 4)).sources["2"] == "1"


def test_state_and_modes_stay():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    net[1].eval()
    before, state = torch.random.get_rng_state(), {name: v.clone() for name, v in net.state_dict().items()}
    watch(net, torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)))
    assert net.training and net[0].training and not net[1].training
    assert all(values.equal(state[name]) for name, values in net.state_dict().items())
    assert torch.random.get_rng_state().equal(before) and not net[0]._forward_hooks and not net[0]._forward_pre_hooks
