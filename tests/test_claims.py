"""Every rule, on made-up trainings that confirm, refute and leave undecided."""

import math
import re
from dataclasses import replace

import pytest
from conftest import made_up_arms, noise

from normbench import claims
from normbench.config import Config
from normbench.experiments import BY_GHOST, GHOSTS_ON_CIFAR10, MAIN, PLAIN, STRENGTHS, WITH_L1
from normbench.runs import Arm

MNIST = (*PLAIN.values(), *WITH_L1.values())
CIFAR10 = tuple(map(Config, ("BN", "GN", "LN")))


def better(points, **wanted):
    """An accuracy of 98 %, and so many points more for configs with these values."""
    return lambda config: 98.0 + points * all(getattr(config, key) == value for key, value in wanted.items())


def by_norm(**points):
    return lambda config: 98.0 + points.get(config.nm, 0.0)


def l1_adds(points):
    return lambda config: 98.0 + (points if config.l1 else 0.0)


@pytest.mark.parametrize(
    "rule, accuracy, verdict",
    (
        (claims.best, better(0.3, nm="BN"), "confirmed"),
        (claims.best, by_norm(LN=0.3), "refuted"),  # another is better
        (claims.best, by_norm(), "refuted"),  # the others are as good
        (claims.best, by_norm(BN=0.3, GN=0.3), "refuted"),  # one of them is as good
        (claims.order, by_norm(GN=0.6, BN=0.3), "confirmed"),
        (claims.order, by_norm(GN=0.3, BN=0.6), "refuted"),
        (claims.order, by_norm(GN=0.6), "refuted"),  # BN and LN are the same
        (claims.instance_norm, by_norm(IN=-0.3), "confirmed"),
        (claims.instance_norm, by_norm(IN=0.3), "refuted"),
        (claims.instance_norm, by_norm(IN=-0.3, LN=-0.3), "refuted"),  # LN does as badly
        (claims.normalization_matters, by_norm(IN=-0.3), "confirmed"),
        (claims.normalization_matters, by_norm(), "refuted"),
        (claims.l1_gain, l1_adds(-0.3), "confirmed"),
        (claims.l1_gain, l1_adds(0.0), "confirmed"),
        (claims.l1_gain, l1_adds(0.3), "refuted"),
        (claims.l1_gain, better(0.3, l1=1e-4, nm="LN"), "refuted"),  # one that gains is enough
        (claims.l1_cost, l1_adds(0.3), "confirmed"),
        (claims.l1_cost, l1_adds(0.0), "confirmed"),
        (claims.l1_cost, l1_adds(-0.3), "refuted"),
    ),
)
def test_rules_on_accuracy(rule, accuracy, verdict):
    claim = rule(made_up_arms(MNIST, accuracy, deviation=0.02, seeds=24))
    assert claim.verdict == verdict and claim.needs is None, claim
    assert claim.trained == "MNIST, 20 epochs, 24 seeds an arm"


@pytest.mark.parametrize(
    "rule, accuracy",
    (
        (claims.best, by_norm(BN=0.05)),  # neither surely better nor surely as good
        (claims.best, by_norm(BN=0.6, GN=0.58)),  # ahead of LN alone
        (claims.order, by_norm(GN=0.6, BN=0.05)),
        (claims.instance_norm, by_norm(IN=-0.05)),
        (claims.normalization_matters, by_norm()),
        (claims.l1_gain, l1_adds(0.03)),
        (claims.l1_cost, l1_adds(-0.01)),
    ),
)
def test_noise_leaves_claims_undecided(rule, accuracy):
    claim = rule(made_up_arms(MNIST, accuracy, deviation=0.15, seeds=10))
    assert claim.verdict == "undecided" and claim.needs > 10, claim
    assert claim.interval.low < 0 < claim.interval.high


def test_an_undecided_claim_says_what_would_decide_it():
    sure, unsure = (claims.best(made_up_arms(MNIST, by_norm(BN=lead), deviation=0.5, seeds=10)) for lead in (9.0, 0.3))
    assert sure.hint == "" and re.fullmatch(r"about \d+ seeds an arm would tell", unsure.hint)
    assert replace(unsure, needs=3170).hint == "about 3,200 seeds an arm would tell"
    assert replace(unsure, needs=math.inf).hint == "only more test images would tell"
    assert replace(unsure, needs=math.inf, unit="ratio").hint == "more than 10,000 seeds an arm would be needed"
    assert replace(unsure, needs=None).hint == "", "it was not worked out"


def test_the_interval_beside_a_verdict_decides_it():
    confirmed = claims.best(made_up_arms(MNIST, better(0.3, nm="BN")))
    assert confirmed.measured == "BN + L1 − GN" or confirmed.measured == "BN + L1 − LN"
    assert 0 < confirmed.interval.low < 0.3 < confirmed.interval.high < 0.6
    refuted = claims.best(made_up_arms(MNIST, by_norm(LN=0.3)))
    assert refuted.measured == "BN + L1 − LN" and refuted.interval.high < 0
    same = claims.best(made_up_arms(MNIST, by_norm(), deviation=0.01))
    assert -0.05 < same.interval.low < same.interval.high < 0.05
    matters = claims.normalization_matters(made_up_arms(MNIST, by_norm(GN=0.5)))
    assert matters.measured.startswith("GN − ") and matters.interval.low > 0
    gain = claims.l1_gain(made_up_arms(MNIST, better(0.3, l1=1e-4, nm="LN")))
    assert gain.measured == "LN + L1 − LN" and gain.interval.low > 0


def scaled(**factors):
    """Arms whose seeds scatter by other factors."""
    return made_up_arms(
        MNIST, lambda config: 98.0 + noise(config, 0.1) * factors.get(config.nm, 1.0), deviation=0.0, seeds=24
    )


@pytest.mark.parametrize(
    "factors, verdict, rival",
    (
        (dict(BN=0.1), "confirmed", None),
        (dict(BN=0.1, GN=0.1), "undecided", "GN"),  # more consistent than LN alone
        (dict(GN=0.1), "refuted", "GN"),
        (dict(), "undecided", None),
    ),
)
def test_most_consistent(factors, verdict, rival):
    claim = claims.consistent(scaled(**factors))
    assert claim.verdict == verdict
    assert rival is None or claim.measured.endswith(f"/ {rival}")
    if verdict == "confirmed":
        assert claim.interval.high < 1
    if verdict == "refuted":
        assert claim.interval.low > 1


def test_seeds_that_would_tell_a_ratio_of_deviations():
    assert claims._seeds_for_ratio(2.0) == claims._seeds_for_ratio(0.5) == 18  # 1 + (2.80 / ln 2)²
    assert claims._seeds_for_ratio(1.0) == math.inf


@pytest.mark.parametrize("excess, verdict", ((0.05, "confirmed"), (0.01, "refuted"), (0.03, "undecided")))
def test_training_loss(excess, verdict):
    """The penalty of the made-up runs is 0.03."""

    def loss(config):
        return 0.02 + excess * (config.l1 > 0) + noise(config, 0.002)

    claim = claims.training_loss(made_up_arms(MNIST, by_norm(), train_loss=loss))
    assert claim.verdict == verdict
    assert claim.interval.estimate == pytest.approx(excess, abs=0.002)


@pytest.mark.parametrize("points, verdict", ((1.0, "confirmed"), (0.0, "refuted")))
def test_one_seed(points, verdict):
    claim = claims.one_seed(made_up_arms(MNIST, by_norm(LN=points)))
    assert claim.verdict == verdict
    if points:
        assert claim.interval.estimate == 100 and "LN" in claim.measured


def test_one_seed_stays_undecided_near_certainty():
    claim = claims.one_seed(made_up_arms(MNIST, by_norm(LN=0.1), deviation=0.04, seeds=6))
    assert claim.verdict == "undecided" and claim.interval.low < 95 < claim.interval.high


@pytest.mark.parametrize("gain, verdict", ((0.0, "confirmed"), (0.2, "refuted"), (0.05, "undecided")))
def test_best_epoch(gain, verdict):
    arms = made_up_arms(MNIST, by_norm())
    for arm in arms.values():
        for run in arm.runs:
            run.history[0]["test_accuracy"] = run.last["test_accuracy"] + gain + noise(run.config, gain / 2)
    claim = claims.best_epoch(arms)
    assert claim.verdict == verdict and claim.interval.estimate == pytest.approx(gain, abs=0.02)


@pytest.mark.parametrize(
    "points, deviation, verdict",
    ((1.2, 0.1, "confirmed"), (0.5, 0.1, "refuted"), (0.0, 0.1, "refuted"), (0.5, 1.0, "undecided")),
)
def test_the_spread_of_study_d(points, deviation, verdict):
    arms = made_up_arms(CIFAR10, by_norm(GN=points), deviation=deviation, dataset="cifar10", seeds=8)
    assert claims.spread(arms).verdict == verdict


@pytest.mark.parametrize("loss, verdict", ((-1.0, "confirmed"), (1.0, "refuted"), (0.0, "undecided")))
def test_strong_l1(loss, verdict):
    def training_accuracy(config):
        return 98.0 + loss * (config.l1 == 1e-3) + noise(config, 0.1)

    claim = claims.strong_l1(made_up_arms(STRENGTHS, by_norm(), seeds=5, train_accuracy=training_accuracy))
    assert claim.verdict == verdict and claim.interval.estimate == pytest.approx(loss, abs=0.2)


@pytest.mark.parametrize("lost, verdict", ((1.0, "confirmed"), (-1.0, "refuted"), (0.0, "undecided")))
def test_small_batches(lost, verdict):
    def accuracy(config):
        return 98.0 - lost * (config.ghost == 2)

    claim = claims.small_batches(made_up_arms(BY_GHOST, accuracy, seeds=6))
    assert claim.verdict == verdict and claim.interval.estimate == pytest.approx(lost, abs=0.2)
    assert (claim.needs is None) == (verdict != "undecided")


@pytest.mark.parametrize(
    "lead, deviation, verdict",
    ((1.0, 0.1, "confirmed"), (-1.0, 0.1, "refuted"), (0.0, 0.01, "refuted"), (0.1, 0.3, "undecided")),
)
def test_overtaken(lead, deviation, verdict):
    claim = claims.overtaken(made_up_arms(GHOSTS_ON_CIFAR10, by_norm(GN=lead), deviation=deviation, seeds=8))
    assert claim.verdict == verdict and claim.measured == "GN − BN (2 images)"
    assert claim.trained.startswith("10,000 images")


def test_which_trainings_a_claim_rests_on():
    arms = made_up_arms([replace(config, images=10_000, epochs=2) for config in MAIN], by_norm(), seeds=4)
    assert claims.trained(arms) == "10,000 images of MNIST, 2 epochs, 4 seeds an arm"
    assert isinstance(next(iter(arms.values())), Arm)
