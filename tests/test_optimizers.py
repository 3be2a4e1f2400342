import copy

import pytest
import torch
from torch import nn

from model import COLOUR, Net, StandardizedConv2d
from normbench.config import Config
from normbench.optimizers import FilterMuon, Optimizers
from normbench.train import placed


def orthogonality(step):
    """The smallest and the largest singular value of a step, as a matrix (out, in·h·w)."""
    values = torch.linalg.svdvals(step.flatten(1))
    return values.min().item(), values.max().item()


@pytest.mark.parametrize("channels_last", (False, True))
def test_a_step_is_an_orthogonal_matrix_of_the_rates_length(channels_last):
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    weights = nn.Parameter(torch.randn(8, 6, 3, 3).contiguous(memory_format=layout))
    weights.grad = torch.randn(8, 6, 3, 3) * torch.logspace(-2, 0, 8).view(-1, 1, 1, 1)  # rows of unlike lengths
    before = weights.detach().clone()
    FilterMuon([weights], lr=0.1, weight_decay=0.0, momentum=0.6).step()
    smallest, largest = orthogonality((before - weights.detach()) / 0.1)
    assert smallest > 0.5 and largest < 1.5
    assert torch.cosine_similarity((before - weights.detach()).flatten(), weights.grad.flatten(), 0) > 0.3


def test_memory_format_does_not_change_the_step():
    torch.manual_seed(0)
    start, gradient, results = torch.randn(8, 6, 3, 3), torch.randn(8, 6, 3, 3), []
    for layout in (torch.channels_last, torch.contiguous_format):
        weights = nn.Parameter(start.clone().contiguous(memory_format=layout))
        weights.grad = gradient.contiguous(memory_format=layout)
        FilterMuon([weights], lr=0.1, weight_decay=0.05, momentum=0.6).step()
        results.append(weights.detach())
    torch.testing.assert_close(*results, rtol=0, atol=2e-3)  # it computes with bfloat16


def test_what_muon_moves():
    def moved(config, **arguments):
        net = placed(Net(**arguments), torch.device("cpu"))
        optimizers = Optimizers(config, net, 1000).optimizers
        by_muon = optimizers[1].filters if len(optimizers) > 1 else []
        by_sgd = [p for group in optimizers[0].param_groups for p in group["params"]]
        assert len(by_muon) + len(by_sgd) == len(list(net.parameters()))
        return [name for name, p in net.named_parameters() if any(p is weights for weights in by_muon)]

    filters = [
        f"features.{i}.weight" for i, layer in enumerate(Net(**COLOUR).features) if type(layer) is StandardizedConv2d
    ]
    assert len(filters) == 6 and moved(Config(), **COLOUR) == filters
    assert moved(Config()) == moved(Config(optimizer="sgd"), **COLOUR) == []
    assert len(moved(Config(optimizer="muon"))) == 5


def test_a_rate_in_a_tensor_gives_the_same_step():
    results = []
    for kind in (float, torch.tensor):
        torch.manual_seed(0)
        net = Net(**COLOUR)
        net(torch.randn(4, 3, 32, 32)).square().mean().backward()
        Optimizers(Config(), net, 1000).step(kind(0.02))
        results.append(dict(net.named_parameters()))
    for name, values in results[0].items():
        torch.testing.assert_close(values, results[1][name])


def test_a_state_goes_on():
    torch.manual_seed(0)
    nets = [placed(Net(**COLOUR), torch.device("cpu"))]
    config = Config(epochs=1)

    def step(net, optimizers):
        torch.manual_seed(1)
        net.zero_grad()
        net(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimizers.step(rate := optimizers.next_rate())
        return rate

    first = Optimizers(config, nets[0], 1000)
    step(nets[0], first)
    nets.append(copy.deepcopy(nets[0]))
    second = Optimizers(config, nets[1], 1000)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    rates = [step(net, optimizers) for net, optimizers in zip(nets, (first, second))]
    assert rates[0] == rates[1]
    assert all(torch.equal(a, b) for a, b in zip(*(net.parameters() for net in nets)))


def test_rates_rise_and_fall_together():
    net = Net(**COLOUR)
    optimizers, rates = Optimizers(Config(epochs=1, lr=0.3), net, 5000), []
    for weights in net.parameters():
        weights.grad = torch.zeros_like(weights)
    for _ in range(40):  # batches of 128
        optimizers.step(optimizers.next_rate())
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in optimizers.optimizers])
    sgd, muon = zip(*rates)
    assert max(sgd) == pytest.approx(0.3, rel=0.05) and muon == tuple(rate / 2 for rate in sgd)
    assert sgd[0] < sgd[1] < max(sgd) > sgd[-1]
