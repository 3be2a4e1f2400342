"""Networks that draw random numbers, whoever draws them: a training's numbers are its own."""

import random
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up import TRAINER as OF_THE_TESTS
from made_up import without_seconds
from torch import nn

from normbench.device import seeded
from normbench.networks import Swapped
from normbench.runs import local, run_all
from normbench.training import Recipe, Trainer, loop, train

RECIPES = [Recipe("BN", epochs=2, batch_size=64, seed=seed) for seed in (1, 2, 3)]


class Drawing(nn.Module):
    """Draws in every step, and in testing too, from every generator that there is."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 6, 5, stride=3), nn.BatchNorm2d(6)
        self.linear = nn.Linear(384, num_classes)
        with torch.no_grad():
            self.conv.weight[0] = torch.from_numpy(np.random.normal(size=(1, 5, 5)))
            self.conv.weight[1] *= random.random()

    def forward(self, x):
        x = F.dropout(self.norm(self.conv(x)).relu(), 0.3)
        x = x * (1 + 0.2 * random.random() + 0.2 * np.random.rand())
        return self.linear(x.flatten(1) + 0.1 * torch.randn(384))


TRAINER = Trainer("train", Swapped(Drawing))


def disturbed(*_):
    """Draw from every generator, as another training in this process would."""
    torch.rand(7), np.random.rand(7), random.random()


def facts(run):
    return without_seconds(run), run.correct.tolist()


@pytest.fixture(scope="module")
def alone(few_digits):
    """Each training by itself, in a process that has drawn something else."""
    return [facts(TRAINER(recipe, few_digits, False)) for recipe in RECIPES if disturbed() is None]


def test_the_seed_decides_whatever_was_drawn_before(few_digits, alone):
    again = [facts(TRAINER(recipe, few_digits, False)) for recipe in reversed(RECIPES)]
    assert again[::-1] == alone and len({str(run) for run in alone}) == 3


@pytest.mark.parametrize("workers", (1, 2))
def test_one_and_two_workers_give_the_same(few_digits, tmp_path, alone, workers):
    runs = run_all(RECIPES, few_digits, tmp_path / "runs.jsonl", TRAINER, engine=local(workers), progress=False)
    assert [facts(run) for run in runs] == alone


def test_however_many_threads_are_free_the_numbers_are_the_same(few_digits, tmp_path, alone):
    """Sums that two threads share are rounded in another way, which training magnifies."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for workers in (1, 2):
            path = tmp_path / f"{workers}.jsonl"
            runs = run_all(RECIPES, few_digits, path, TRAINER, engine=local(workers), progress=False)
            assert [facts(run) for run in runs] == alone and all("1 thread," in run.device for run in runs)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_a_training_goes_on_to_the_same_run_after_a_stop(few_digits, tmp_path, alone, monkeypatch):
    recipe, path = RECIPES[0], tmp_path / "checkpoint.pt"
    train_epoch, done = loop.train_epoch, []

    def stop_in_the_second(*arguments):
        if done:
            raise KeyboardInterrupt
        done.append(1)
        return train_epoch(*arguments)

    def trained():
        return train(TRAINER.build(recipe, few_digits), few_digits, recipe, progress=False, checkpoint=path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "train_epoch", stop_in_the_second)
        trained()
    disturbed()
    assert facts(trained()) == alone[0]


def test_the_caller_s_own_draws_go_on_as_if_nothing_had_been_trained(few_digits):
    def draws():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()

    with seeded(5):
        wanted = draws()
    with seeded(5):
        TRAINER(RECIPES[0], few_digits, False)
        assert draws() == wanted


def test_arms_share_first_weights_that_numpy_has_drawn(few_digits):
    build = TRAINER.build
    first = [build(Recipe(norm, seed=1), few_digits).conv.weight for norm in ("BN", "GN", "GN")]
    assert torch.equal(first[0], first[1]) and torch.equal(first[1], first[2])
    assert not torch.equal(first[0], build(Recipe("BN", seed=2), few_digits).conv.weight)


def test_a_network_that_draws_nothing_is_trained_as_without_generators(few_digits, monkeypatch):
    """So runs that were made before are made again."""
    run = OF_THE_TESTS(RECIPES[0], few_digits, False)
    monkeypatch.setattr(loop, "seeded", lambda *_: nullcontext())
    assert facts(OF_THE_TESTS(RECIPES[0], few_digits, False)) == facts(run)


# Inputs


class ChangesItsInput(nn.Sequential):
    def __init__(self, how):
        super().__init__(nn.Conv2d(1, 6, 5, stride=3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(384, 10))
        self.how = how

    def forward(self, x):
        self.how(x)
        return super().forward(x)


def by_numpy(x):
    x.numpy()[...] = x.numpy() * 2 + 1


CHANGES = {
    "in place": lambda x: x.mul_(2).add_(1),
    "by NumPy": by_numpy,
    "of a part": lambda x: x[:, :, ::2].fill_(9.0),
    "of its data": lambda x: x.data.neg_(),
}


@pytest.mark.parametrize("how", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("mirrored", (False, True))
def test_a_network_that_changes_its_input_changes_no_data(few_digits, how, mirrored):
    """What it computes is that of the same network that works on a copy."""
    recipe = Recipe(epochs=3, batch_size=64, mirrored=mirrored)
    before = few_digits.x_train.clone(), few_digits.x_test.clone()

    def trained(change):
        with seeded(0):
            net = ChangesItsInput(change)
        return train(net, few_digits, recipe, progress=False)

    def on_a_copy(net, x):
        copy = x.clone()
        how(copy)
        x.data = copy

    assert facts(trained(how)) == facts(trained(partial(on_a_copy, None)))
    assert torch.equal(before[0], few_digits.x_train) and torch.equal(before[1], few_digits.x_test)
