from dataclasses import replace

import pytest
import torch
from made_up import TRAINER, small
from torch import nn

from normbench.training import Recipe
from normbench.training.penalty import Penalty, l1_norm, soft_threshold_, squares


def numbers(*values):
    return [nn.Parameter(torch.tensor(values))]


def test_gradient_of_the_l1_term():
    net = small()
    bias = net[-1].bias
    with torch.no_grad():
        bias[:3] = torch.tensor([0.0, -2.0, 3.0])
    l1_norm(list(net.parameters())).backward()
    for p in net.parameters():
        assert torch.equal(p.grad, p.sign())
    assert bias.grad[:3].tolist() == [0, -1, 1]
    assert l1_norm(list(net.parameters())).item() == pytest.approx(sum(p.abs().sum().item() for p in net.parameters()))


def test_gradient_of_the_l2_term():
    p = numbers(0.0, -2.0, 3.0)
    squares(p).backward()
    assert squares(p).item() == 13 and p[0].grad.tolist() == [0, -4, 6]


def test_both_terms_add_up():
    penalty = Penalty(net := nn.Linear(1, 2, bias=False), l1=0.1, l2=0.01)
    net.weight.data = torch.tensor([[-2.0], [3.0]])
    in_the_loss, whole = penalty()
    assert in_the_loss is whole and whole.item() == pytest.approx(0.1 * 5 + 0.01 * 13)


def test_the_proximal_way_keeps_l1_out_of_the_loss():
    penalty = Penalty(net := nn.Linear(1, 2, bias=False), l1=0.1, l2=0.01, proximal=True)
    net.weight.data = torch.tensor([[-2.0], [3.0]])
    in_the_loss, whole = penalty()
    assert in_the_loss.item() == pytest.approx(0.13) and whole.item() == pytest.approx(0.63)


def test_soft_threshold_minimizes_what_it_should():
    """The proximal operator's definition: argmin over q of ½(q - p)² + t·|q|, by trying many q."""
    p, t = numbers(-1.0, -0.2, 0.0, 0.3, 2.0), 0.3
    tried = torch.linspace(-3, 3, 60_001, dtype=torch.float64)
    best = [tried[(0.5 * (tried - value) ** 2 + t * tried.abs()).argmin()].item() for value in p[0]]
    soft_threshold_(p, t)
    assert p[0].tolist() == pytest.approx(best, abs=1e-4)


def test_the_state_of_the_penalized_parameters():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Linear(3, 1))
    net[0].weight.data = torch.tensor([-2.0, 0.0]).view(2, 1, 1, 1)
    zeros = sum(int((p == 0).sum()) for p in net.parameters())
    expected = {"l1_norm": sum(p.abs().sum().item() for p in net.parameters()), "zeros": 100 * zeros / 8}
    assert Penalty(net, 0.0, 0.0).state() == pytest.approx(expected)


def test_one_zero_among_many_numbers_is_counted():
    """In single precision, 2**24 + 1 numbers could not be told from 2**24."""
    net = nn.ParameterList([torch.ones(2**24 + 1)])
    assert Penalty(net, 0.0, 0.0).state()["zeros"] == 0
    net[0].data[7] = 0
    assert Penalty(net, 0.0, 0.0).state()["zeros"] == pytest.approx(100 / (2**24 + 1))


def test_frozen_parameters_are_left_alone():
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.GroupNorm(1, 2))
    net[:2].requires_grad_(False)
    before = [p.clone() for p in net.parameters()]
    Penalty(net, l1=1e3, l2=0.0, proximal=True).step(lr=1.0, momentum=0.9)
    changed = {name for (name, p), old in zip(net.named_parameters(), before) if not torch.equal(p, old)}
    assert changed == {"2.weight", "2.bias", "3.weight"}, "3.bias was 0 already"


@pytest.mark.parametrize("proximal", (False, True))
def test_both_ways_minimize_the_same_loss(proximal):
    """½(w - 1)² + λ·|w| is least at 1 - λ, with momentum too."""
    net = nn.Linear(1, 1, bias=False)
    penalty = Penalty(net, l1=0.25, l2=0.0, proximal=proximal)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    for _ in range(2000):
        loss = 0.5 * (net.weight - 1).square().sum() + penalty()[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        penalty.step(0.01, 0.9)
    assert net.weight.item() == pytest.approx(0.75, abs=0.01)


def test_the_proximal_step_makes_zeros_and_the_subgradient_none(digits):
    recipe = Recipe("GN", l1=5e-3, epochs=4)
    subgradient, proximal = (
        TRAINER(replace(recipe, proximal=way), digits, progress=False).history[-1] for way in (False, True)
    )
    assert subgradient["zeros"] == 0 and proximal["zeros"] > 5
    assert proximal["penalty"] == pytest.approx(5e-3 * proximal["l1_norm"], rel=0.3)


def test_l2_is_weight_decay_of_twice_its_size(few_digits):
    recipe = Recipe("LN", epochs=2, batch_size=100, weight_decay=0.0, decay_on="all")
    penalized, decayed = (
        TRAINER(replace(recipe, **change), few_digits, progress=False)
        for change in (dict(l2=5e-3), dict(weight_decay=1e-2))
    )
    torch.testing.assert_close(penalized.probabilities, decayed.probabilities, rtol=1e-3, atol=1e-4)
    assert penalized.history[0]["penalty"] > 0 == decayed.history[0]["penalty"]
