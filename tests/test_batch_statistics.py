import dataclasses

import pytest
import torch
from torch import nn

from normbench.batch_statistics import split, train_and_split, with_precise_statistics
from normbench.config import Config
from normbench.train import build, train, train_or_diverge

TINY = Config("BN", epochs=2, batch_size=4, lr=0.02)


def layers(net):
    return [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]


def test_precise_statistics_are_those_of_all_training_images(few_digits):
    """Of the first layer, whose input does not depend on other statistics: worked out in one batch."""
    config = dataclasses.replace(TINY, augment="none")
    net = build(config, few_digits)
    train(config, few_digits, progress=False, net=net)
    before = [layer.running_mean.clone() for layer in layers(net)]
    precise = with_precise_statistics(net, config, few_digits, batch_size=150)
    first = next(i for i, layer in enumerate(net.features) if isinstance(layer, nn.BatchNorm2d))
    with torch.inference_mode():
        x = net.features[:first](few_digits.standardize(few_digits.x_train))
    torch.testing.assert_close(layers(precise)[0].running_mean, x.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(layers(net)[0].running_mean, x.mean(dim=(0, 2, 3)), rtol=1e-2)
    for layer, mean in zip(layers(net), before):
        assert torch.equal(layer.running_mean, mean), "the network is left as it is"


def test_split_tells_the_three_statistics_apart(few_digits):
    net = build(TINY, few_digits)
    run = train(TINY, few_digits, progress=False, net=net)
    statistics = split(net, TINY, few_digits)
    assert statistics["running"]["test_loss"] == pytest.approx(run.history[-1]["test_loss"], rel=1e-5)
    assert len({scores["test_loss"] for scores in statistics.values()}) == 3
    whole = split(net, dataclasses.replace(TINY, batch_size=50), few_digits)
    x = few_digits.standardize(few_digits.x_test)
    with torch.inference_mode():
        in_one_batch = nn.functional.nll_loss(net.train()(x), few_digits.y_test)
    assert whole["batch"]["test_loss"] == pytest.approx(in_one_batch.item(), rel=1e-5)


def test_a_network_is_shown_mirror_images_with_each_of_the_statistics(few_digits):
    """So that it scores the same on images that are mirrored themselves."""
    net = build(TINY, few_digits)
    turned = dataclasses.replace(few_digits, x_test=few_digits.x_test.flip(3))

    def differences():
        pairs = zip(split(net, TINY, few_digits).values(), split(net, TINY, turned).values())
        return [abs(here["test_loss"] - there["test_loss"]) for here, there in pairs]

    assert min(differences()) > 1e-3
    net.mirrored = True
    assert max(differences()) < 1e-5


def test_split_of_a_network_that_returns_logits(few_digits):
    net = build(TINY, few_digits)
    logits = nn.Sequential(net.features, net.average, net.classifier)
    for statistics, scores in split(net, TINY, few_digits).items():
        assert split(logits, TINY, few_digits)[statistics] == pytest.approx(scores, rel=1e-5)


def test_only_batch_norm_is_split(few_digits):
    group_norm = train_and_split(dataclasses.replace(TINY, nm="GN"), few_digits, progress=False)
    assert group_norm.statistics == {}
    run = train_and_split(dataclasses.replace(TINY, images=200), few_digits, progress=False)
    assert run.statistics["running"]["test_accuracy"] == pytest.approx(run.history[-1]["test_accuracy"])
    for finished in (run, group_norm):
        assert finished.fingerprint["trainer"] == "normbench.batch_statistics.train_and_split"


def test_a_rate_that_is_too_high_is_a_run_without_a_right_image(few_digits):
    config = Config("none", lr=1e20, epochs=2, batch_size=32)
    run = train_or_diverge(config, few_digits, progress=False)
    assert run.errors == 50 and run.history[-1]["test_accuracy"] == 0 and run.config == config
    assert train_or_diverge(TINY, few_digits, progress=False).errors < 50
