import copy

import pytest
import torch
from made_up import small
from torch import nn

from normbench.layers import NORMALIZATIONS
from normbench.swapping import swap
from normbench.training import placed
from normbench.training.decay import parameter_groups, spared
from normbench.training.optimizers import OPTIMIZERS, FilterMuon, Optimizers, one_cycle


def colour():
    return placed(small(3, 3), torch.device("cpu"))


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
    net = nn.Sequential(small(), nn.Conv2d(4, 4, 3, groups=4), nn.Linear(3, 3))
    sgd, muon = (part.optimizer for part in Optimizers("muon", net, 0.1, 5e-4, 10).parts)
    by_sgd = [p for group in sgd.param_groups for p in group["params"]]
    assert len(muon.filters) + len(by_sgd) == len(list(net.parameters()))
    moved = [name for name, p in net.named_parameters() if any(p is weights for weights in muon.filters)]
    assert moved == ["0.0.weight", "0.3.weight"], "the filters of convolutions, but of no depthwise one"
    assert len(Optimizers("sgd", net, 0.1, 5e-4, 10).parts) == 1
    assert len(Optimizers("muon", nn.Linear(3, 3), 0.1, 5e-4, 10).parts) == 1, "nothing is left for Muon"


def test_a_filter_that_is_not_used_stays():
    weights = nn.Parameter(torch.randn(4, 3, 3, 3))
    before = weights.detach().clone()
    FilterMuon([weights], lr=0.1, weight_decay=0.05, momentum=0.6).step()
    assert torch.equal(weights, before)


def test_a_rate_in_a_tensor_gives_the_same_step():
    results = []
    for kind in (float, torch.tensor):
        torch.manual_seed(0)
        net = colour()
        net(torch.randn(4, 3, 32, 32)).square().mean().backward()
        Optimizers("muon", net, 0.1, 5e-4, 10).step(kind(0.02))
        results.append(dict(net.named_parameters()))
    for name, values in results[0].items():
        torch.testing.assert_close(values, results[1][name])


def test_a_state_goes_on():
    torch.manual_seed(0)
    nets = [colour()]

    def step(net, optimizers):
        torch.manual_seed(1)
        net.zero_grad()
        net(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimizers.step(rate := optimizers.next_rate())
        return rate

    first = Optimizers("muon", nets[0], 0.1, 5e-4, 8)
    step(nets[0], first)
    nets.append(copy.deepcopy(nets[0]))
    second = Optimizers("muon", nets[1], 0.1, 5e-4, 8)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    rates = [step(net, optimizers) for net, optimizers in zip(nets, (first, second))]
    assert rates[0] == rates[1]
    assert all(torch.equal(a, b) for a, b in zip(*(net.parameters() for net in nets)))


def test_rates_rise_and_fall_together():
    net = colour()
    optimizers, rates = Optimizers("muon", net, 0.3, 5e-4, 40), []
    for weights in net.parameters():
        weights.grad = torch.zeros_like(weights)
    for _ in range(40):
        optimizers.step(optimizers.next_rate())
        rates.append([part.optimizer.param_groups[0]["lr"] for part in optimizers.parts])
    sgd, muon = zip(*rates)
    assert max(sgd) == pytest.approx(0.3, rel=0.05) and muon == tuple(rate / 2 for rate in sgd)
    assert sgd[0] < sgd[1] < max(sgd) > sgd[-1]


@pytest.mark.parametrize("rising", (0.15, 0.3))
@pytest.mark.parametrize("steps", (1, 2, 3, 7, 100))
def test_rates_are_those_of_pytorch_s_schedule(steps, rising):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=steps, pct_start=rising, cycle_momentum=False
    )
    expected = []
    for _ in range(steps):
        expected += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    assert one_cycle(0.1, steps, rising) == expected


@pytest.mark.parametrize("decay_on", ("weights", "all"))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_of_the_table_makes_a_loss_smaller(name, decay_on):
    torch.manual_seed(0)
    net, x, y = colour(), torch.randn(32, 3, 16, 16), torch.arange(32) % 3
    row = OPTIMIZERS[name]
    optimizers, losses = Optimizers(name, net, row.rates[-1], row.weight_decay, 60, decay_on), []
    for _ in range(60):
        loss = nn.functional.cross_entropy(net(x), y)
        net.zero_grad()
        loss.backward()
        optimizers.step(optimizers.next_rate())
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_usual_rates_rise_and_have_the_usual_one_inside(name):
    row = OPTIMIZERS[name]
    assert list(row.rates) == sorted(set(row.rates)) and row.rates[0] < row.rate < row.rates[-1]


@pytest.mark.parametrize("norm", [*NORMALIZATIONS, "WS+GN"])
def test_decay_spares_what_every_normalization_trains_and_nothing_else(norm):
    """The weights of convolutions and linear layers are what is left."""
    net = swap(small(), norm, example=torch.zeros(1, 1, 28, 28))
    weights = {f"{path}.weight" for path, layer in net.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}
    assert {name for name, _ in net.named_parameters()} - set(spared(net)) == weights and len(weights) == 3


class Scaled(nn.Module):
    """Parameters of many shapes, of which only `mixing` and `table` are weights."""

    def __init__(self):
        super().__init__()
        self.gamma, self.alpha = nn.Parameter(torch.ones(1, 8, 1, 1)), nn.Parameter(torch.ones(1))
        self.position_bias = nn.Parameter(torch.ones(4, 4))
        self.mixing = nn.Parameter(torch.ones(8, 8))
        self.table = nn.Embedding(1, 8)
        self.last = nn.Linear(8, 1)


class EvenNorm(nn.Module):
    """A normalization of somebody's own, with a scale of several axes."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8, 4, 4))

    def forward(self, x):
        return x / x.square().mean().sqrt() * self.scale


def test_decay_spares_scales_and_biases_of_one_s_own():
    net = nn.Sequential(Scaled(), EvenNorm(), nn.LayerNorm((8, 4, 4)), nn.MultiheadAttention(8, 2))
    left = {name for name, _ in net.named_parameters()} - set(spared(net))
    assert left == {"0.mixing", "0.table.weight", "0.last.weight", "3.in_proj_weight", "3.out_proj.weight"}


def test_groups_have_every_parameter_once_also_one_that_is_shared():
    net = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    decayed, others = parameter_groups(net, 0.1, "weights")
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert [p is net[0].weight for p in decayed["params"]] == [True] and len(others["params"]) == 4
    (group,) = parameter_groups(net, 0.1, "all")
    assert [*map(id, group["params"])] == [*map(id, net.parameters())] and group["weight_decay"] == 0.1


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_pulls_at_gamma_only_if_it_is_on_all(name):
    """Where the gradient is 0, an optimizer moves a parameter by its weight decay alone."""
    moved = {}
    for decay_on in ("weights", "all"):
        torch.manual_seed(0)
        net = colour()
        for p in net.parameters():
            p.grad = torch.zeros_like(p)
        optimizers = Optimizers(name, net, 0.1, 0.5, 10, decay_on)
        before = {key: p.detach().clone() for key, p in net.named_parameters()}
        optimizers.step(0.1)
        moved[decay_on] = {key for key, p in net.named_parameters() if not torch.equal(p, before[key])}
    assert moved["all"] > moved["weights"] == {"0.weight", "3.weight", "8.weight"}
    assert "1.weight" in moved["all"]
