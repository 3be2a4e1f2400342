import copy

import pytest
import torch
import torch.fx
from made_up_layers import conv_norm_relu, randomized
from torch import nn

from normbench.layers import (
    BatchNorm,
    make,
)
from normbench.swapping import swap, swapped

OWN = (
    (nn.BatchNorm2d(8, momentum=0.3), "BN", (4, 8, 5, 5)),
    (nn.BatchNorm1d(8), "BN", (4, 8)),
    (nn.BatchNorm3d(8, affine=False, track_running_stats=False), "BN", (4, 8, 2, 3, 4)),
    (nn.GroupNorm(2, 8), "GN", (4, 8, 5, 5)),
    (nn.GroupNorm(1, 8), "LN", (4, 8, 5, 5)),
    (nn.GroupNorm(1, 8), "GN:1", (4, 8, 5, 5)),
    (nn.InstanceNorm2d(8), "IN", (4, 8, 5, 5)),
    (nn.InstanceNorm2d(8, affine=True, track_running_stats=True), "IN", (4, 8, 5, 5)),
    (nn.InstanceNorm1d(8), "IN", (4, 8, 5)),
    (nn.LayerNorm(8), "LN_C", (4, 5, 6, 8)),
    (nn.LayerNorm(8), "LN", (4, 5, 8)),
    (nn.LayerNorm(8, bias=False), "LN_C", (4, 5, 8)),
    (nn.LayerNorm([8, 5, 6]), "LN_CHW", (4, 8, 5, 6)),
    (nn.RMSNorm(8), "RMS", (4, 5, 8)),
    (make("DyT", 8), "DyT", (4, 8, 5, 5)),
    (make("BN:2", 8), "BN:2", (4, 8, 5, 5)),
    (make("BRN", 8), "BRN", (4, 8, 5, 5)),
)


@pytest.mark.parametrize("layer, norm, shape", OWN)
def test_a_networks_own_normalization_stays(layer, norm, shape):
    net, x = randomized(nn.Sequential(layer)).train(), torch.randn(shape)
    new, report = swapped(net, norm, x)
    assert list(report.kept) == ["0"] and not report.replaced and not report.left
    torch.testing.assert_close(new(x), copy.deepcopy(net)(x), rtol=0, atol=0)
    net(x)
    assert all(values.equal(net.state_dict()[name]) for name, values in new.state_dict().items()), "averages, too"
    torch.testing.assert_close(new.eval()(x), net.eval()(x), rtol=0, atol=0)


def test_group_norm_of_one_group_is_layer_norm_which_group_norm_replaces():
    assert swap(nn.Sequential(nn.GroupNorm(1, 64)), "GN")[0].num_groups == 32
    assert swap(nn.Sequential(nn.GroupNorm(4, 64)), "GN")[0].num_groups == 4
    assert swap(nn.Sequential(nn.GroupNorm(4, 64)), "GN:8")[0].num_groups == 8


def test_own_is_the_network_itself(recwarn):
    net, x = randomized(nn.Sequential(conv_norm_relu(), nn.LocalResponseNorm(3))).eval(), torch.randn(2, 3, 7, 7)
    new = swap(net, "own")
    assert new is not net and new(x).equal(net(x)) and not recwarn.list


def test_synchronized_batch_norm_becomes_one_that_works_on_a_cpu():
    net = nn.SyncBatchNorm.convert_sync_batchnorm(conv_norm_relu())
    net[1].momentum = 0.3
    randomized(net)
    for example in (None, torch.randn(2, 3, 7, 7)):
        new = swap(net, "BN", example)
        assert isinstance(new[1], BatchNorm if example is None else nn.BatchNorm2d) and new[1].momentum == 0.3
        assert new[1].running_mean.equal(net[1].running_mean) and new[1].running_var.equal(net[1].running_var)
        assert new.train()(torch.randn(2, 3, 7, 7)).isfinite().all()


@pytest.mark.parametrize("norm", ("BN:2", "BRN", "FrozenBN"))
def test_averages_go_from_one_batch_norm_to_another(norm):
    net, x = randomized(conv_norm_relu(momentum=0.02)).eval(), torch.randn(2, 3, 7, 7)
    new = swap(net, norm)
    torch.testing.assert_close(new(x), net(x), rtol=1e-4, atol=1e-5)
    assert new[1].momentum == 0.02
    torch.testing.assert_close(swap(new, "BN")(x), net(x), rtol=1e-4, atol=1e-5)
