"""A network is known by what it computes."""

import copy

import pytest
import torch
from conftest import leaky
from torch import nn

import model
from model import NORMALIZATIONS, Net
from normbench.config import Config
from normbench.fingerprint import network_fingerprint
from normbench.train import build, train


def test_it_is_that_of_the_computation(few_digits):
    class Net(model.Net):
        def forward(self, x):
            return super().forward(x.flip(-1))

    nets = [build(Config(nm), few_digits) for nm in NORMALIZATIONS]
    nets += [build(Config("GN", gp=4), few_digits), build(Config(width=2), few_digits), leaky(model.Net()), Net()]
    assert str(nets[-1]) == str(nets[0]), "only its forward is another"
    fingerprints = [network_fingerprint(net, (1, 28, 28)) for net in nets]
    assert len(set(fingerprints)) == len(nets)
    assert fingerprints[0] != network_fingerprint(nets[0], (1, 32, 32))


@pytest.mark.parametrize("nm", NORMALIZATIONS)
def test_it_does_not_depend_on_weights(nm, few_digits):
    first, second = (build(Config(nm, seed=seed), few_digits) for seed in (0, 1))
    before, state = copy.deepcopy(first.state_dict()), torch.random.get_rng_state()
    fingerprint = network_fingerprint(first.train(), (1, 28, 28))
    assert torch.equal(state, torch.random.get_rng_state()) and first.training
    assert all(torch.equal(before[name], values) for name, values in first.state_dict().items())
    train(Config(nm, epochs=1), few_digits, progress=False, net=second)
    assert fingerprint == network_fingerprint(second, (1, 28, 28))


def test_it_sees_how_a_network_is_trained():
    nets = [Net(), Net()]
    for layer in nets[1].modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.01
    nets += [nn.Sequential(nn.Flatten(), nn.Dropout(rate), nn.Linear(28 * 28, 10)) for rate in (0.1, 0.5)]
    assert len({network_fingerprint(net, (1, 28, 28)) for net in nets}) == 4


@pytest.mark.parametrize("nm", NORMALIZATIONS)
def test_it_does_not_depend_on_what_pytorch_prints(nm, monkeypatch):
    before = network_fingerprint(Net(nm), (1, 28, 28))
    for layer in (nn.Conv2d, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.ReLU, nn.Linear):
        monkeypatch.setattr(layer, "extra_repr", lambda self: "as of another version")
    assert network_fingerprint(Net(nm), (1, 28, 28)) == before


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
