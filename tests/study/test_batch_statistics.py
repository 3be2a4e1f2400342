"""What test scores owe to the statistics of batch norm."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from normbench.data import Dataset
from normbench.training import Recipe, train
from study.batch_statistics import SPLITTING, split, with_precise_statistics
from study.networks import build

TINY = Recipe("BN", epochs=2, batch_size=4, lr=0.02)


def layers(net):
    return [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]


@pytest.fixture(scope="module")
def trained(few_digits):
    """A trained network and its run."""
    net = build(TINY, few_digits)
    return net, train(net, few_digits, TINY, progress=False)


@pytest.mark.parametrize("norm", ("BN", "BN:2"))
def test_precise_statistics_are_those_of_all_training_images(few_digits, norm):
    """Of the first layer, whose input does not depend on other statistics: worked out in one batch."""
    recipe = replace(TINY, norm=norm, augment="none", epochs=1)
    net = build(recipe, few_digits)
    train(net, few_digits, recipe, progress=False)
    before = [layer.running_mean.clone() for layer in layers(net)]
    precise = with_precise_statistics(net, recipe, few_digits, batch_size=150)
    first = next(i for i, layer in enumerate(net.features) if isinstance(layer, nn.BatchNorm2d))
    with torch.inference_mode():
        x = net.features[:first](few_digits.standardize(few_digits.x_train))
    torch.testing.assert_close(layers(precise)[0].running_mean, x.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    halves = torch.stack([part.var(dim=(0, 2, 3)) for part in x.split(150)])
    torch.testing.assert_close(layers(precise)[0].running_var, halves.mean(dim=0), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(layers(net)[0].running_mean, x.mean(dim=(0, 2, 3)), rtol=1e-2)
    for layer, mean in zip(layers(net), before):
        assert torch.equal(layer.running_mean, mean), "the network is left as it is"


def test_split_tells_the_three_statistics_apart(few_digits, trained):
    net, run = trained
    statistics = split(net, TINY, few_digits)
    assert statistics["running"]["test_loss"] == pytest.approx(run.last["test_loss"], rel=1e-5)
    assert len({scores["test_loss"] for scores in statistics.values()}) == 3
    whole = split(net, replace(TINY, batch_size=50), few_digits)
    x = few_digits.standardize(few_digits.x_test)
    with torch.inference_mode():
        in_one_batch = nn.functional.nll_loss(net.train()(x), few_digits.y_test)
    assert whole["batch"]["test_loss"] == pytest.approx(in_one_batch.item(), rel=1e-5)


def test_mirrored_testing_is_so_with_each_of_the_statistics(few_digits, trained):
    """So that the scores are the same on images that are mirrored themselves."""
    net, _ = trained
    turned = replace(few_digits, x_test=few_digits.x_test.flip(3))

    def differences(recipe):
        pairs = zip(split(net, recipe, few_digits).values(), split(net, recipe, turned).values())
        return [abs(here["test_loss"] - there["test_loss"]) for here, there in pairs]

    assert min(differences(TINY)) > 1e-3
    assert max(differences(replace(TINY, mirrored=True))) < 1e-5


def test_split_of_a_network_that_returns_logits(few_digits, trained):
    net, _ = trained
    logits = nn.Sequential(net.features, net.average, net.classifier)
    for statistics, scores in split(net, TINY, few_digits).items():
        assert split(logits, TINY, few_digits)[statistics] == pytest.approx(scores, rel=1e-5)


def test_only_batch_norm_is_split(few_digits):
    tiny = replace(TINY, batch_size=32, epochs=1, images=200)
    for norm, is_split in (("GN:2", False), ("BN:2", True), ("WS+BN", True)):
        run = SPLITTING(replace(tiny, norm=norm), few_digits, progress=False)
        assert bool(run.statistics) == is_split and run.fingerprint["trainer"] == "train and split"
        if is_split:
            assert run.statistics["running"]["test_accuracy"] == pytest.approx(run.last["test_accuracy"])


def test_the_statistics_of_fewer_images_are_theirs(few_digits):
    """Precise statistics come from the images that were trained on, and from no others."""
    recipe = replace(TINY, batch_size=32, epochs=1, images=200)
    x = few_digits.x_train.clone()
    x[200:] = 255
    other = Dataset("digits", few_digits.classes, x, few_digits.y_train, few_digits.x_test, few_digits.y_test)
    net = build(recipe, few_digits)
    train(net, few_digits, recipe, progress=False)
    same = split(net, recipe, few_digits.first(200))
    assert same == split(net, recipe, other.first(200))
    run = SPLITTING(recipe, few_digits, progress=False)
    for statistics in ("running", "precise", "batch"):
        assert run.statistics[statistics] == pytest.approx(same[statistics], rel=1e-4)


def test_a_failed_training_is_a_failed_run(few_digits):
    run = SPLITTING(Recipe("BN", lr=1e20, epochs=1, batch_size=32), few_digits, progress=False)
    assert run.failure == "diverged" and run.statistics == {} and run.history == ()
