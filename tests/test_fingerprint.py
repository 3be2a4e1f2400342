"""A network is known by what it computes."""

import copy

import pytest
import torch
from made_up import TRAINER, build, small
from torch import nn

from normbench.layers import NORMALIZATIONS
from normbench.training import Recipe, network_fingerprint


class Mirrored(nn.Sequential):
    def forward(self, x):
        return super().forward(x.flip(-1))


def leaky(net):
    """The network with another activation, which its state does not tell."""
    net[2] = nn.LeakyReLU()
    return net


def test_it_is_that_of_the_computation(few_digits):
    nets = [build(Recipe(norm), few_digits) for norm in (*NORMALIZATIONS, "GN:2", "BN:2", "WS+BN")]
    nets += [leaky(small()), Mirrored(*small())]
    fingerprints = [network_fingerprint(net, (1, 28, 28)) for net in nets]
    assert len(set(fingerprints)) == len(nets)
    assert fingerprints[0] != network_fingerprint(nets[0], (1, 32, 32))


@pytest.mark.parametrize("nm", NORMALIZATIONS)
def test_it_does_not_depend_on_weights(nm, few_digits):
    first, second = (build(Recipe(nm, seed=seed), few_digits) for seed in (0, 1))
    before, state = copy.deepcopy(first.state_dict()), torch.random.get_rng_state()
    fingerprint = network_fingerprint(first.train(), (1, 28, 28))
    assert torch.equal(state, torch.random.get_rng_state()) and first.training
    assert all(torch.equal(before[name], values) for name, values in first.state_dict().items())
    run = TRAINER(Recipe(nm, epochs=1, seed=1), few_digits, progress=False)
    assert fingerprint == network_fingerprint(second, (1, 28, 28)) == run.fingerprint["network"]


def test_it_sees_how_a_network_is_trained():
    nets = [small(), small()]
    for layer in nets[1].modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.01
    nets += [nn.Sequential(nn.Flatten(), nn.Dropout(rate), nn.Linear(28 * 28, 10)) for rate in (0.1, 0.5)]
    assert len({network_fingerprint(net, (1, 28, 28)) for net in nets}) == 4


@pytest.mark.parametrize("nm", NORMALIZATIONS)
def test_it_does_not_depend_on_what_pytorch_prints(nm, monkeypatch, few_digits):
    before = network_fingerprint(build(Recipe(nm), few_digits), (1, 28, 28))
    for layer in (nn.Conv2d, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.ReLU, nn.Linear):
        monkeypatch.setattr(layer, "extra_repr", lambda self: "as of another version")
    assert network_fingerprint(build(Recipe(nm), few_digits), (1, 28, 28)) == before


def test_a_network_of_single_precision_alone_is_known_by_its_layers():
    class Single(nn.Linear):
        def forward(self, x):
            return super().forward(x.float().flatten(1))

    first, second, third = (network_fingerprint(Single(4, n), (1, 2, 2)) for n in (3, 3, 5))
    assert first == second != third


def test_random_parts_of_a_network_do_not_move_the_generator():
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    state = torch.random.get_rng_state()
    assert network_fingerprint(Noisy(), (1, 2, 2)) == network_fingerprint(Noisy(), (1, 2, 2))
    assert torch.equal(state, torch.random.get_rng_state())
