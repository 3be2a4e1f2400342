"""What is trained for which question, and which of it is finished."""

import math
from dataclasses import replace

import pytest
import torch
from made_up import failed_run_of, made_up_arms, made_up_run, run_of
from made_up_results import write_results, write_runs

from model import COLOUR, WIDTHS
from normbench.layers import parse
from normbench.runs import append
from normbench.training import Recipe, labels
from study import experiments
from study.batch_statistics import SPLITTING
from study.experiments import (
    BY_GHOST,
    EXPERIMENTS,
    FILTERS,
    GHOSTS_ON_CIFAR10,
    GRID,
    GROUPS,
    MAIN,
    ON_CIFAR10,
    STUDY_C,
    Experiment,
    complete,
    finished,
)
from study.networks import TRAINER, build
from study.rates import shortfall, unlearned

# All of its trainings are in study/results.
FINISHED = (
    "rates",
    "head_to_head",
    "cifar10_rates",
    "cifar10",
    "filters",
    "cifar10_ghosts",
    "small_batches_rates",
    "small_batches",
    "length",
    "ghosts",
    "penalties",
    "l1_strength",
    "study_c",
    "luck",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, lambda recipe: 95.0)
    return folder


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_have_distinct_runs_and_several_seeds(name, results):
    recipes = EXPERIMENTS[name].plan(results)
    assert len(set(recipes)) == len(recipes)
    arms = finished(name, results)
    seeds = {len(arm.runs) for arm in arms.values()}
    assert len(seeds) == 1
    assert seeds.pop() >= (1 if EXPERIMENTS[name].validation else 3)
    assert len(set(labels(arms).values())) == len(arms)
    assert [run.recipe for run in complete(name, results)] == recipes


@pytest.mark.parametrize("name", FINISHED)
def test_stored_runs_are_still_those_that_are_asked_for(name):
    """Whatever becomes of recipes: no finished training is to be done again."""
    finished_runs = complete(name)
    assert len(finished_runs) == len(EXPERIMENTS[name].plan())
    assert {run.recipe.decay_on for run in finished_runs} == {"all"}, "they are older than this option"


def test_the_studies_models():
    assert [recipe.label for recipe in MAIN] == ["BN + L1", "GN (2 groups)", "LN"]
    assert [recipe.label for recipe in STUDY_C] == ["BN + L1 + L2", "GN (2 groups) + L1", "LN + L2", "IN + L1 + L2"]
    assert set(STUDY_C) <= set(GRID)


def test_every_number_of_groups_divides_every_width():
    assert [parse(recipe.norm).number for recipe in GROUPS if recipe.family == "GN"] == [
        groups for groups in range(2, max(WIDTHS)) if not any(width % groups for width in WIDTHS)
    ]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_network_of_an_experiment_can_be_built(name, results, few_digits):
    colour = EXPERIMENTS[name].dataset == "cifar10"
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    data = replace(few_digits, x_train=images, x_test=images, y_train=torch.arange(2), y_test=torch.arange(2))
    for norm in {recipe.norm for recipe in EXPERIMENTS[name].plan(results)}:
        build(Recipe(norm), data if colour else few_digits)
    assert len(COLOUR["widths"]) > len(WIDTHS)


def test_colour_images_have_their_own_recipe_and_grey_ones_the_usual(results):
    for name, experiment in EXPERIMENTS.items():
        colour = experiment.dataset == "cifar10"
        for recipe in experiment.plan(results):
            assert (recipe.optimizer, recipe.mirrored) == (("muon", True) if colour else ("sgd", False)), name


def test_which_arms_vary_what():
    """Weights are standardized on CIFAR-10, but where rates are tried without, and where the two are compared."""
    assert {parse(norm).standardized for norm in (*ON_CIFAR10, *GHOSTS_ON_CIFAR10)} == {True}
    assert set(FILTERS) == {"BN", "WS+BN", "GN:2", "WS+GN:2"} and not any(map(standardized, EXPERIMENTS["rates"].arms))
    tried = EXPERIMENTS["cifar10_rates"].arms
    assert not any(map(standardized, tried)) and len(tried) == 5 * 3 == len({(r.norm, r.lr) for r in tried})
    for norms in (BY_GHOST, GHOSTS_ON_CIFAR10):
        assert {2, 8, 32, 128} <= {recipe.images_per_statistic for recipe in norms.values() if recipe.family == "BN"}
    assert {name for name, experiment in EXPERIMENTS.items() if experiment.trainer is SPLITTING} == {
        "ghosts",
        "cifar10_ghosts",
    }


def test_a_change_of_the_recipe_is_tried_with_the_three_alike():
    tried = EXPERIMENTS["cifar10_recipe"].arms
    by_change = {augment: {r.norm for r in tried if r.augment == augment} for augment in {r.augment for r in tried}}
    assert len(by_change) > 1 and set(map(frozenset, by_change.values())) == {frozenset({"BN", "GN:2", "LN"})}
    assert len({replace(recipe, norm="BN", augment="auto") for recipe in tried}) == 1, "nothing else differs"


def standardized(recipe):
    return parse(recipe.norm).standardized


def test_the_grid_varies_normalization_and_penalty_alone():
    assert {(r.norm, r.l1 > 0, r.l2 > 0) for r in GRID} == {
        (norm, l1, l2) for norm in ("BN", "GN:2", "LN", "IN", "none") for l1 in (False, True) for l2 in (False, True)
    }
    assert all(recipe.weight_decay == 0 for recipe in GRID)
    assert len({replace(recipe, norm="BN", l1=0.0, l2=0.0) for recipe in GRID}) == 1


def test_an_unfinished_experiment_says_how_it_goes_on(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has 0 of 200 runs: .*study run ghosts --output .* goes on"):
        finished("ghosts", tmp_path)


def tried_rates(accuracies, seeds=3):
    recipes = [Recipe(lr=lr) for lr in accuracies]
    return made_up_arms(recipes, lambda recipe: accuracies[recipe.lr], seeds=seeds, deviation=0.0)


def in_place_of_the_first(arm, run):
    return replace(arm, runs=(replace(run, recipe=arm.runs[0].recipe), *arm.runs[1:]))


def test_shortfall_is_against_the_best_rate_with_which_all_learn():
    tried = tried_rates({0.05: 98.0, 0.1: 98.5, 0.4: 98.6})
    assert shortfall(tried.values(), 0.1) == pytest.approx(0.1) and unlearned(tried.values()) == 0
    highest = Recipe(lr=0.4)
    for useless in (run_of(highest, 10.6), failed_run_of(highest)):
        broken = tried | {highest: in_place_of_the_first(tried[highest], useless)}
        assert shortfall(broken.values(), 0.1) == 0 and unlearned(broken.values()) == 1
        assert shortfall(broken.values(), 0.05) == pytest.approx(0.5)
        assert shortfall(broken.values(), 0.4) == math.inf


def test_small_batches_have_the_rates_that_were_best_on_held_out_images(tmp_path):
    best = {("WS+BN", 2): 0.025, ("WS+GN:2", 2): 0.00625, ("WS+LN", 2): 0.0125}
    best |= {("WS+BN", 8): 0.00625, ("WS+GN:2", 8): 0.025, ("WS+LN", 8): 0.1}
    best |= {("WS+BN", 32): 0.05, ("WS+GN:2", 32): 0.2, ("WS+LN", 32): 0.05}
    plan = EXPERIMENTS["small_batches_rates"].plan(tmp_path)
    with pytest.raises(FileNotFoundError, match="small_batches_rates"):
        EXPERIMENTS["small_batches"].plan(tmp_path)

    def made(recipe):
        if (recipe.norm, recipe.batch_size, recipe.lr, recipe.seed) == ("WS+LN", 32, 0.1, 1):
            return failed_run_of(recipe, dataset="cifar10 (validation)")
        favourite = recipe.norm == "WS+LN" and recipe.batch_size == 32 and recipe.lr == 0.1
        distance = abs(math.log(recipe.lr / best[recipe.norm, recipe.batch_size]))
        return run_of(recipe, 90 if favourite else 70 - distance, "cifar10 (validation)")

    write_runs(map(made, plan), tmp_path / "small_batches_rates.jsonl")
    chosen = EXPERIMENTS["small_batches"].plan(tmp_path)
    assert {(recipe.norm, recipe.batch_size): recipe.lr for recipe in chosen} == best, "no rate that failed"
    assert {recipe.lr for recipe in plan if recipe.batch_size == 32} == {0.0125, 0.025, 0.05, 0.1, 0.2}
    assert len(chosen) == 9 * len(EXPERIMENTS["small_batches"].seeds)


def test_experiments_that_choose_do_not_see_the_test_images(few_digits, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(experiments, "VALIDATION_IMAGES", 20)
    monkeypatch.setattr(
        experiments.runs, "run_all", lambda recipes, data, path, trainer, **options: seen.append((data, trainer))
    )
    experiments.run("rates", few_digits, tmp_path)
    experiments.run("luck", few_digits, tmp_path)
    experiments.run("luck", few_digits, tmp_path, validation=True)
    experiments.run("rates", few_digits, tmp_path, validation=True)
    experiments.run("ghosts", few_digits, tmp_path)
    (chosen, _), (plain, _), (asked, _), (twice, _), (_, splitting) = seen
    for held_out in (chosen, asked, twice):
        assert torch.equal(held_out.x_test, few_digits.x_train[-20:]) and len(held_out.y_train) == 280
    assert plain is few_digits and seen[0][1] is TRAINER and splitting is SPLITTING


@pytest.fixture
def small(monkeypatch):
    arms = made_up_run("GN:2", 0).recipe, made_up_run("LN", 0).recipe
    experiment = Experiment("?", "made-up", arms, range(3))
    monkeypatch.setitem(EXPERIMENTS, "small", experiment)
    return experiment


def with_seed(run, seed):
    return replace(run, recipe=replace(run.recipe, seed=seed))


def test_experiments_that_share_runs_share_a_file(tmp_path, small, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "part", Experiment("?", "made-up", small.arms[:1], range(2), kept_in="small"))
    for seed in (0, 1):
        append(with_seed(made_up_run("GN:2", 1), seed), tmp_path / "small.jsonl")
    assert [recipe.norm for recipe in finished("part", tmp_path)] == ["GN:2"]


def test_finished_arms_are_those_of_the_experiment(tmp_path, small):
    """In its order, each once, whatever else the file holds."""
    gn, ln, file = made_up_run("GN:2", 1), made_up_run("LN", 2), tmp_path / "small.jsonl"
    for run in (made_up_run("BN", 1), ln, ln, with_seed(ln, 1), replace(gn, dataset="made-up (validation)")):
        append(run, file)
    append(gn, file)
    with pytest.raises(FileNotFoundError, match=r"small\.jsonl has 3 of 6 runs: .*study run small --output "):
        finished("small", tmp_path)
    append(with_seed(gn, 1), file)
    assert [(arm.recipe.norm, arm.seeds, arm.runs[0].errors) for arm in finished("small", tmp_path).values()] == [
        ("GN:2", (0, 1), 1),
        ("LN", (0, 1), 2),
    ]
    assert complete("small", tmp_path) == [] == complete("small", tmp_path, validation=True)


def test_seeds_that_one_arm_lacks_are_left_out_and_failed_runs_are_not(tmp_path, small):
    for seed in (0, 1, 2):
        for run in (made_up_run("GN:2", 1), made_up_run("LN", 2)):
            if (run.recipe.norm, seed) == ("GN:2", 2):
                append(failed_run_of(replace(run.recipe, seed=seed), dataset="made-up"), tmp_path / "small.jsonl")
            elif (run.recipe.norm, seed) != ("GN:2", 1):
                append(with_seed(run, seed), tmp_path / "small.jsonl")
    arms = finished("small", tmp_path)
    assert {arm.seeds for arm in arms.values()} == {(0, 2)}
    assert [len(arm.failures) for arm in arms.values()] == [1, 0]


def test_published_runs_are_found():
    """Those of an experiment that is finished: by recipe and data set."""
    assert len(complete("luck")) == len(EXPERIMENTS["luck"].seeds)
