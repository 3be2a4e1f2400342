"""Every rule, on synthetic trainings that confirm, refute and leave undecided."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import failed_run_of, made_up_arms, noise

from normbench.training import labels
from study import claims, families
from study.experiments import (
    BY_GHOST,
    EXPERIMENTS,
    GHOSTS_ON_CIFAR10,
    MAIN,
    ON_CIFAR10,
    PLAIN,
    STRENGTHS,
    STUDY_C,
    WITH_L1,
)

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
        (claims.order, by_norm(GN=0.6, BN=0.3), "confirmed"),
        (claims.order, by_norm(GN=0.3, BN=0.6), "refuted"),
        (claims.instance_norm, by_norm(IN=-0.3), "confirmed"),
        (claims.instance_norm, by_norm(IN=0.3), "refuted"),
        (claims.normalization_matters, by_norm(IN=-0.3), "confirmed"),
        (claims.normalization_matters, by_norm(), "refuted"),
        (claims.l1, l1_adds(0.0), "confirmed"),
        (claims.l1, l1_adds(-0.3), "refuted"),
        (claims.l1, l1_adds(0.3), "refuted"),
        (claims.l1, l1_adds(0.3, "LN"), "refuted"),  # one that it moves is enough
    ),
)
def test_rules_on_accuracy(rule, accuracy, verdict):
    claim = rule(made_up_arms(MNIST, accuracy, deviation=0.02, seeds=24))
    assert claim.verdict == verdict and claim.hint == "", claim
    assert claim.trained == "MNIST, 20 epochs, 24 seeds per variant, CPU"


@pytest.mark.parametrize(
    "rule, accuracy",
    (
        (claims.best, by_norm(BN=0.05)),  # neither surely better nor surely as good
        (claims.best, by_norm(BN=0.6, GN=0.58)),  # ahead of LN alone
        (claims.best, by_norm()),  # no margin makes a tie a refutation
        (claims.order, by_norm(GN=0.6, BN=0.05)),
        (claims.instance_norm, by_norm(IN=-0.05)),
        (claims.normalization_matters, by_norm()),
        (claims.l1, l1_adds(0.03)),
    ),
)
def test_noise_leaves_claims_undecided(rule, accuracy):
    claim = rule(made_up_arms(MNIST, accuracy, deviation=0.15, seeds=10))
    assert claim.verdict == "undecided", claim
    assert claim.interval.low < 0 < claim.interval.high


def test_an_undecided_claim_says_which_lead_is_excluded_and_what_would_show_one_that_matters():
    sure, unsure = (claims.best(made_up_arms(MNIST, by_norm(BN=lead), deviation=0.1, seeds=10)) for lead in (9.0, 0.05))
    most, seeds, stated = re.match(
        r"no lead above ([\d.]+) points; about ([\d,]+) seeds per variant would show one of ([\d.]+)", unsure.hint
    ).groups()
    assert sure.hint == "" and float(most) == round(unsure.interval.high, 2) and float(stated) == 0.05
    assert int(seeds.replace(",", "")) > 50, "a deviation of 0.1 points takes many seeds for 0.05"


def test_a_pair_has_the_interval_of_its_experiment_in_whichever_claim():
    arms = made_up_arms(MNIST, by_norm(IN=-0.05), deviation=0.1, seeds=24)
    claim = claims.instance_norm(arms)
    a, b = (recipe for name in claim.measured.split(" − ") for recipe in MNIST if labels(MNIST)[recipe] == name)
    assert claim.interval == families.gap("head_to_head", arms, a, b)


def test_every_claim_names_an_experiment():
    assert {name for name, _ in claims.RULES.values()} <= set(EXPERIMENTS)


@pytest.mark.parametrize("lead, verdict", ((0.3, "confirmed"), (-0.3, "refuted"), (0.0, "undecided")))
def test_study_c_is_judged_by_its_own_models(lead, verdict):
    def accuracy(recipe):
        return 98.0 + lead * {"GN": 2, "BN": 1}.get(recipe.family, 0)

    claim = claims.order_as_published(made_up_arms(STUDY_C, accuracy, deviation=0.03, seeds=8))
    assert claim.verdict == verdict and " + L" in claim.measured


def test_the_interval_beside_a_verdict_decides_it():
    confirmed = claims.best(made_up_arms(MNIST, by_norm(BN=0.3)))
    assert confirmed.measured in ("BN + L1 − GN (2 groups)", "BN + L1 − LN")
    assert 0 < confirmed.interval.low < 0.3 < confirmed.interval.high < 0.6
    refuted = claims.best(made_up_arms(MNIST, by_norm(LN=0.3)))
    assert refuted.measured == "BN + L1 − LN" and refuted.interval.high < 0
    matters = claims.normalization_matters(made_up_arms(MNIST, by_norm(GN=0.5)))
    assert matters.measured.startswith("GN (2 groups) − ") and matters.interval.low > 0
    gain = claims.l1(made_up_arms(MNIST, l1_adds(0.3, "LN")))
    assert gain.measured == "LN + L1 − LN" and gain.interval.low > 0


def scattered(**deviations):
    """Arms of 24 networks of which each image is right by a chance of its own; seeds add so many points."""
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.8, 1, 2000)
    arms = made_up_arms(MNIST, by_norm(), deviation=0.0, seeds=24, images=2000)
    for arm in arms.values():
        added = rng.normal(0, deviations.get(arm.recipe.family, 0.0) / 100, (24, 1))
        runs = tuple(
            replace(run, correct=torch.from_numpy(right))
            for run, right in zip(arm.runs, rng.random((24, 2000)) < chance + added)
        )
        arms[arm.recipe] = replace(arm, runs=runs)
    return arms


@pytest.mark.parametrize(
    "deviations, verdict",
    (
        (dict(GN=6, LN=6), "confirmed"),
        (dict(BN=6), "refuted"),
        (dict(BN=6, GN=6), "refuted"),  # LN is more consistent
        (dict(), "undecided"),  # there is nothing to compare
    ),
)
def test_most_consistent_by_what_seeds_add_to_chance(deviations, verdict):
    claim = claims.consistent(scattered(**deviations))
    assert claim.verdict == verdict
    assert claim.interval.low <= deviations.get("BN", 0) <= claim.interval.high


@pytest.mark.parametrize("excess", (0.05, -0.01))
def test_training_loss_is_measured_without_its_penalty(excess):
    """The penalty of the synthetic runs is 0.03."""

    def loss(recipe):
        return 0.02 + excess * (recipe.l1 > 0) + noise(recipe, 0.002)

    claim = claims.training_loss(made_up_arms(MNIST, by_norm(), train_loss=loss))
    assert claim.verdict == "measured" and "0.0300" in claim.measured
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


@pytest.mark.parametrize("gain", (0.0, 0.2))
def test_best_epoch_is_measured(gain):
    arms = made_up_arms(MNIST, by_norm())
    for arm in arms.values():
        for run in arm.runs:
            run.history[0]["test_accuracy"] = run.last["test_accuracy"] + gain + noise(run.recipe, gain / 2)
    claim = claims.best_epoch(arms)
    assert claim.verdict == "measured" and claim.interval.estimate == pytest.approx(gain, abs=0.02)


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
    assert (claim.hint == "") == (verdict != "undecided")


@pytest.mark.parametrize(
    "lead, deviation, verdict",
    ((1.0, 0.1, "confirmed"), (-1.0, 0.1, "refuted"), (0.0, 0.01, "undecided"), (0.1, 0.3, "undecided")),
)
def test_overtaken(lead, deviation, verdict):
    recipes = GHOSTS_ON_CIFAR10.values()
    claim = claims.overtaken(made_up_arms(recipes, by_norm(GN=lead), deviation=deviation, seeds=8))
    assert claim.verdict == verdict and claim.measured == "WS + GN (2 groups) − WS + BN (2 images)"
    assert "10,000" in claim.trained


def test_a_failed_run_is_left_out_of_every_claim():
    arms = made_up_arms(MNIST, by_norm(BN=0.3), seeds=8)
    bn = arms[MAIN[0]]
    failed = failed_run_of(replace(bn.recipe, seed=3), images=10_000)
    arms[bn.recipe] = replace(bn, runs=(*bn.runs[:3], failed, *bn.runs[4:]))
    for name, rule in claims.RULES.values():
        if name == "head_to_head":
            claim = rule(arms)
            assert math.isfinite(claim.interval.estimate) and math.isfinite(claim.interval.high), claim
    assert "1 diverged" in claims.best(arms).trained


def test_the_published_winners_are_models_of_the_study():
    names = labels(MNIST)
    assert {study: names[recipe] for study, recipe in claims.WINNERS.items()} == {
        "A": "BN + L1",
        "E": "BN + L1",
        "B": "GN (2 groups)",
    }
