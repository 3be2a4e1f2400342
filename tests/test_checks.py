"""What a network may not be, known before it is trained; and in which memory format it is trained."""

import sys
import threading

import pytest
import torch
import torch.nn.functional as F
from made_up import without_seconds
from torch import nn

from normbench.device import seeded
from normbench.training import Recipe, check_network, placed, train

RECIPE = Recipe(epochs=1, batch_size=100)


class Lenet(nn.Module):
    """Flattens by `view`, as tutorials do; its maps must be contiguous."""

    def __init__(self, flatten=lambda x: x.view(x.size(0), -1)):
        super().__init__()
        self.conv, self.norm, self.linear = nn.Conv2d(1, 6, 5, stride=2), nn.BatchNorm2d(6), nn.Linear(864, 10)
        self.flatten = flatten

    def forward(self, x):
        return self.linear(self.flatten(F.relu(self.norm(self.conv(x)))))


class Volumes(nn.Module):
    def __init__(self):
        super().__init__()
        self.plane, self.norm = nn.Conv2d(1, 4, 5, stride=2), nn.BatchNorm2d(4)
        self.conv, self.linear = nn.Conv3d(1, 2, 3), nn.Linear(400, 10)

    def forward(self, x):
        return self.linear(self.conv(self.norm(self.plane(x))[:, None]).flatten(1))


class ViewInTraining(Lenet):
    def forward(self, x):
        maps = F.relu(self.norm(self.conv(x)))
        return self.linear(maps.view(len(x), -1) if self.training else maps.flatten(1))


def seeded_net(kind):
    with seeded(0):
        return kind()


@pytest.mark.parametrize("kind", (Lenet, Volumes, ViewInTraining))
def test_networks_that_need_contiguous_maps_are_trained(few_digits, kind):
    check_network(seeded_net(kind), few_digits, 100)
    run = train(seeded_net(kind), few_digits, RECIPE, progress=False, check=False)
    assert run.last["test_accuracy"] > 15


def test_the_format_changes_no_more_than_rounding(few_digits):
    viewed = train(seeded_net(Lenet), few_digits, RECIPE, progress=False)
    flattened = train(seeded_net(lambda: Lenet(lambda x: x.flatten(1))), few_digits, RECIPE, progress=False)
    assert viewed.last["train_loss"] == pytest.approx(flattened.last["train_loss"], rel=1e-3)


def test_other_networks_are_in_channels_last_and_trying_leaves_no_trace(few_digits):
    images, net, untouched = few_digits.standardize(few_digits.x_train[:2]), nn.Sequential(), nn.Sequential()
    for made in (net, untouched):
        with seeded(0):
            made.append(nn.Conv2d(1, 6, 5)).append(nn.BatchNorm2d(6)).append(nn.Flatten()).append(nn.Linear(3456, 10))
    torch.manual_seed(5)
    placed(net, torch.device("cpu"), images)
    drawn, _ = torch.rand(1), torch.manual_seed(5)
    assert drawn == torch.rand(1) and net[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), untouched.state_dict().values()))
    assert all(parameter.grad is None for parameter in net.parameters())


class WithoutState(Lenet):
    def state_dict(self, *_, **__):
        raise RuntimeError("no state")


def test_a_state_that_cannot_be_had_is_not_asked_for(few_digits):
    check_network(WithoutState(), few_digits, 100)


# Refused, in one line


class Outputs(Lenet):
    def __init__(self, change):
        super().__init__(lambda x: x.flatten(1))
        self.change = change

    def forward(self, x):
        return self.change(super().forward(x))


class WithoutGradient(Lenet):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


class InPlaceInBackward(Lenet):
    def forward(self, x):
        maps = self.norm(self.conv(x)).sigmoid()
        outputs = self.linear(maps.flatten(1))
        maps.mul_(2)
        return outputs


class LazyTail(Lenet):
    def __init__(self):
        super().__init__()
        self.tail = nn.LazyLinear(3)


class NeedsKeys(Lenet):
    def forward(self, x):
        return {}["logits"]


REFUSED = {
    "integers": (lambda: Outputs(lambda y: (100 * y).long()), "returned int64"),
    "bool": (lambda: Outputs(lambda y: y > 0), "returned bool"),
    "complex": (lambda: Outputs(lambda y: y.to(torch.complex64)), "returned complex64"),
    "sparse": (lambda: Outputs(lambda y: y.to_sparse()), "sparse"),
    "meta": (lambda: Outputs(lambda y: y.to("meta")), "meta"),
    "nested": (lambda: Outputs(lambda y: torch.nested.nested_tensor(list(y))), "nested"),
    "a tuple": (lambda: Outputs(lambda y: (y, y)), "returned tuple"),
    "a single number": (lambda: Outputs(lambda y: y.sum()), r"returned \(\)"),
    "no gradient": (WithoutGradient, "no gradient"),
    "detached": (lambda: Outputs(lambda y: y.detach()), "no gradient"),
    "through NumPy": (lambda: Outputs(lambda y: torch.from_numpy(y.detach().numpy())), "no gradient"),
    "in place": (InPlaceInBackward, "backward pass.*inplace"),
    "a lazy tail": (LazyTail, "'tail.weight'.*lazy"),
    "KeyError": (NeedsKeys, "testing.*logits"),
    "no data": (lambda: Lenet().to("meta"), "hold no data"),
    "an end of the program": (lambda: Outputs(sys.exit), "testing.*"),
}


@pytest.mark.parametrize("kind, why", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trained_is_told_in_one_line(few_digits, kind, why):
    with pytest.raises(ValueError, match=why) as caught:
        check_network(kind(), few_digits, 100)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("attribute", (threading.Lock, lambda: sys.__stderr__), ids=("a lock", "an open file"))
def test_a_network_that_cannot_be_copied_keeps_its_state_and_is_trained(few_digits, attribute):
    net = seeded_net(lambda: Lenet(lambda x: x.flatten(1)))
    net.kept = attribute()
    before = {name: values.clone() for name, values in net.state_dict().items()}
    check_network(net, few_digits, 100)
    assert all(torch.equal(before[name], values) for name, values in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    plain = train(seeded_net(lambda: Lenet(lambda x: x.view(len(x), -1))), few_digits, RECIPE, progress=False)
    run = train(net, few_digits, RECIPE, progress=False)
    assert without_seconds(run) == without_seconds(plain), "both are trained in contiguous memory"
