"""Every rule, on synthetic trainings that confirm, refute and leave undecided."""

import math
import re
from dataclasses import replace

import pytest
from made_up import failed_run_of, made_up_arms, noise

from normbench.training import labels
from study import claims
from study.experiments import BY_GHOST, GHOSTS_ON_CIFAR10, MAIN, ON_CIFAR10, PLAIN, STRENGTHS, WITH_L1

MNIST = (*PLAIN.values(), *WITH_L1.values())


def by_norm(**points):
    """An accuracy of 98 %, and so many points more for these normalizations; GN means those with two groups."""
    wanted = {("GN:2" if norm == "GN" else norm): lead for norm, lead in points.items()}
    return lambda recipe: 98.0 + wanted.get(recipe.norm.removeprefix("WS+"), 0.0)


def l1_adds(points, norm=None):
    return lambda recipe: 98.0 + (points if recipe.l1 and norm in (None, recipe.norm) else 0.0)


@pytest.mark.parametrize(
    "rule, accuracy, verdict",
    (
        (claims.best, by_norm(BN=0.3), "confirmed"),
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
        (claims.l1_gain, l1_adds(0.3, "LN"), "refuted"),  # one that gains is enough
        (claims.l1_cost, l1_adds(0.3), "confirmed"),
        (claims.l1_cost, l1_adds(0.0), "confirmed"),
        (claims.l1_cost, l1_adds(-0.3), "refuted"),
    ),
)
def test_rules_on_accuracy(rule, accuracy, verdict):
    claim = rule(made_up_arms(MNIST, accuracy, deviation=0.02, seeds=24))
    assert claim.verdict == verdict and claim.needs is None, claim
    assert claim.trained == "MNIST, 20 epochs, 24 seeds per arm, CPU"


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
    assert sure.hint == "" and re.match(r"about \d+ seeds per arm", unsure.hint)
    assert "3,200 seeds" in replace(unsure, needs=3170).hint
    assert "test images" in replace(unsure, needs=math.inf).hint
    assert "more than 10,000 seeds" in replace(unsure, needs=math.inf, unit="ratio").hint
    assert replace(unsure, needs=None).hint == "", "it was not worked out"


def test_the_interval_beside_a_verdict_decides_it():
    confirmed = claims.best(made_up_arms(MNIST, by_norm(BN=0.3)))
    assert confirmed.measured in ("BN + L1 − GN (2 groups)", "BN + L1 − LN")
    assert 0 < confirmed.interval.low < 0.3 < confirmed.interval.high < 0.6
    refuted = claims.best(made_up_arms(MNIST, by_norm(LN=0.3)))
    assert refuted.measured == "BN + L1 − LN" and refuted.interval.high < 0
    same = claims.best(made_up_arms(MNIST, by_norm(), deviation=0.01))
    assert -0.05 < same.interval.low < same.interval.high < 0.05
    matters = claims.normalization_matters(made_up_arms(MNIST, by_norm(GN=0.5)))
    assert matters.measured.startswith("GN (2 groups) − ") and matters.interval.low > 0
    gain = claims.l1_gain(made_up_arms(MNIST, l1_adds(0.3, "LN")))
    assert gain.measured == "LN + L1 − LN" and gain.interval.low > 0


def scaled(**factors):
    """Arms whose seeds scatter by other factors."""
    return made_up_arms(
        MNIST, lambda recipe: 98.0 + noise(recipe, 0.1) * factors.get(recipe.family, 1.0), deviation=0.0, seeds=24
    )


@pytest.mark.parametrize(
    "factors, verdict, rival",
    (
        (dict(BN=0.1), "confirmed", None),
        (dict(BN=0.1, GN=0.1), "undecided", "GN (2 groups)"),  # more consistent than LN alone
        (dict(GN=0.1), "refuted", "GN (2 groups)"),
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
    assert claims.seeds_for_ratio(2.0) == claims.seeds_for_ratio(0.5) == 18  # 1 + (2.80 / ln 2)²
    assert claims.seeds_for_ratio(1.0) == math.inf


@pytest.mark.parametrize("excess, verdict", ((0.05, "confirmed"), (0.01, "refuted"), (0.03, "undecided")))
def test_training_loss(excess, verdict):
    """The penalty of the synthetic runs is 0.03."""

    def loss(recipe):
        return 0.02 + excess * (recipe.l1 > 0) + noise(recipe, 0.002)

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
    claim = claims.one_seed(made_up_arms(MNIST, by_norm(LN=0.08), deviation=0.05, seeds=6))
    assert claim.verdict == "undecided" and claim.interval.low < 95 < claim.interval.high


@pytest.mark.parametrize("gain, verdict", ((0.0, "confirmed"), (0.2, "refuted"), (0.05, "undecided")))
def test_best_epoch(gain, verdict):
    arms = made_up_arms(MNIST, by_norm())
    for arm in arms.values():
        for run in arm.runs:
            run.history[0]["test_accuracy"] = run.last["test_accuracy"] + gain + noise(run.recipe, gain / 2)
    claim = claims.best_epoch(arms)
    assert claim.verdict == verdict and claim.interval.estimate == pytest.approx(gain, abs=0.02)


@pytest.mark.parametrize(
    "points, deviation, verdict",
    ((1.2, 0.1, "confirmed"), (0.5, 0.1, "refuted"), (0.0, 0.1, "refuted"), (0.5, 1.0, "undecided")),
)
def test_the_spread_of_study_d(points, deviation, verdict):
    arms = made_up_arms(ON_CIFAR10.values(), by_norm(GN=points), deviation=deviation, dataset="cifar10", seeds=8)
    claim = claims.spread(arms)
    assert claim.verdict == verdict and claim.measured == "WS + GN (2 groups) − WS + LN"


@pytest.mark.parametrize("loss, verdict", ((-1.0, "confirmed"), (1.0, "refuted"), (0.0, "undecided")))
def test_strong_l1(loss, verdict):
    def training_accuracy(recipe):
        return 98.0 + loss * (recipe.l1 == 1e-3) + noise(recipe, 0.1)

    claim = claims.strong_l1(made_up_arms(STRENGTHS, by_norm(), seeds=5, train_accuracy=training_accuracy))
    assert claim.verdict == verdict and claim.interval.estimate == pytest.approx(loss, abs=0.2)


@pytest.mark.parametrize("lost, verdict", ((1.0, "confirmed"), (-1.0, "refuted"), (0.0, "undecided")))
def test_small_batches(lost, verdict):
    def accuracy(recipe):
        return 98.0 - lost * (recipe.norm == "BN:2")

    claim = claims.small_batches(made_up_arms(BY_GHOST.values(), accuracy, seeds=6))
    assert claim.verdict == verdict and claim.interval.estimate == pytest.approx(lost, abs=0.2)
    assert (claim.needs is None) == (verdict != "undecided")


@pytest.mark.parametrize(
    "lead, deviation, verdict",
    ((1.0, 0.1, "confirmed"), (-1.0, 0.1, "refuted"), (0.0, 0.01, "refuted"), (0.1, 0.3, "undecided")),
)
def test_overtaken(lead, deviation, verdict):
    recipes = GHOSTS_ON_CIFAR10.values()
    claim = claims.overtaken(made_up_arms(recipes, by_norm(GN=lead), deviation=deviation, seeds=8))
    assert claim.verdict == verdict and claim.measured == "WS + GN (2 groups) − WS + BN (2 images)"
    assert "10,000" in claim.trained


def test_seeds_with_a_failed_training_are_left_out_of_every_arm():
    arms = made_up_arms(MNIST, by_norm(BN=0.3), seeds=8)
    bn = arms[MAIN[0]]
    failed = failed_run_of(replace(bn.recipe, seed=3), images=10_000)
    arms[bn.recipe] = replace(bn, runs=(*bn.runs[:3], failed, *bn.runs[4:]))
    whole = claims.without_failures(arms)
    assert {arm.seeds for arm in whole.values()} == {(0, 1, 2, 4, 5, 6, 7)}
    claim = claims.training_loss(whole)
    assert math.isfinite(claim.interval.estimate) and "7 seeds" in claim.trained


def test_the_published_winners_are_models_of_the_study():
    names = labels(MNIST)
    assert {study: names[recipe] for study, recipe in claims.WINNERS.items()} == {
        "A": "BN + L1",
        "E": "BN + L1",
        "B": "GN (2 groups)",
    }
