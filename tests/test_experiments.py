import dataclasses
import math

import pytest
import torch
from conftest import made_up_arms, made_up_run, run_of, write_results

from model import WIDTHS
from normbench import experiments
from normbench.config import Config
from normbench.experiments import EXPERIMENTS, GRID, GROUPS, MAIN, STUDY_C, Experiment, finished, unlearned
from normbench.runs import append


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, lambda config: 95.0)
    return folder


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_have_distinct_trainings_and_several_seeds(name, results):
    configs = EXPERIMENTS[name].plan(results)
    assert len(set(configs)) == len(configs)
    seeds = {len(arm.runs) for arm in finished(name, results).values()}
    assert len(seeds) == 1
    assert seeds.pop() >= (1 if EXPERIMENTS[name].validation else 3)


def test_the_studies_models():
    assert [config.label for config in MAIN] == ["BN + L1", "GN", "LN"]
    assert [config.label for config in STUDY_C] == ["BN + L1 + L2", "GN + L1", "LN + L2", "IN + L1 + L2"]
    assert set(STUDY_C) <= set(GRID)


def test_every_number_of_groups_divides_every_width():
    assert [config.gp for config in GROUPS if config.nm == "GN"] == [
        gp for gp in range(2, max(WIDTHS)) if not any(width % gp for width in WIDTHS)
    ]


def test_an_unfinished_experiment_says_how_it_goes_on(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has 0 of 200 trainings: .* study ghosts --output .* goes on"):
        finished("ghosts", tmp_path)


def test_shortfall_is_against_the_best_rate_with_which_all_learn():
    accuracies = {0.05: 98.0, 0.1: 98.5, 0.4: 98.6}
    configs = [Config(lr=lr) for lr in accuracies]
    tried = made_up_arms(configs, lambda config: accuracies[config.lr], seeds=3, deviation=0.0)
    assert experiments.shortfall(tried.values(), 0.1) == pytest.approx(0.1) and unlearned(tried.values()) == 0
    highest = tried[configs[-1]]
    stuck = dataclasses.replace(highest.runs[0], history=({"epoch": 1, "test_accuracy": 10.6},))
    tried[highest.config] = dataclasses.replace(highest, runs=(stuck, *highest.runs[1:]))
    assert experiments.shortfall(tried.values(), 0.1) == 0 and unlearned(tried.values()) == 1
    assert experiments.shortfall(tried.values(), 0.05) == pytest.approx(0.5)


def test_small_batches_have_the_rates_that_were_best_on_held_out_images(tmp_path):
    best = {("BN", 2): 0.025, ("GN", 2): 0.00625, ("LN", 2): 0.0125}
    best |= {("BN", 8): 0.00625, ("GN", 8): 0.025, ("LN", 8): 0.1}
    best |= {("BN", 32): 0.05, ("GN", 32): 0.2, ("LN", 32): 0.05}
    plan = EXPERIMENTS["small_batches_rates"].plan(tmp_path)
    for config in plan:
        distance = abs(math.log(config.lr / best[config.nm, config.batch_size]))
        append(run_of(config, 70 - distance, "cifar10 (validation)"), tmp_path / "small_batches_rates.jsonl")
    chosen = EXPERIMENTS["small_batches"].plan(tmp_path)
    assert {(config.nm, config.batch_size): config.lr for config in chosen} == best
    assert {config.lr for config in plan if config.batch_size == 32} == {0.0125, 0.025, 0.05, 0.1, 0.2}
    assert len(chosen) == 9 * len(EXPERIMENTS["small_batches"].seeds)


def test_experiments_that_choose_do_not_see_the_test_images(few_digits, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(experiments, "HELD_OUT", 20)
    monkeypatch.setattr(experiments.runs, "run_all", lambda configs, data, *args, **kwargs: seen.append(data))
    experiments.run("rates", few_digits, tmp_path)
    experiments.run("luck", few_digits, tmp_path)
    held_out, plain = seen
    assert torch.equal(held_out.x_test, few_digits.x_train[-20:]) and len(held_out.y_train) == 280
    assert plain is few_digits


def test_the_grid_varies_normalization_and_penalty_alone():
    assert {(c.nm, c.l1 > 0, c.l2 > 0) for c in GRID} == {
        (nm, l1, l2) for nm in ("BN", "GN", "LN", "IN", "none") for l1 in (False, True) for l2 in (False, True)
    }
    assert all(c.weight_decay == 0 for c in GRID)
    assert len({dataclasses.replace(c, nm="BN", l1=0.0, l2=0.0) for c in GRID}) == 1


@pytest.fixture
def small(monkeypatch):
    arms = made_up_run("GN", 0).config, made_up_run("LN", 0).config
    experiment = Experiment("?", "made-up", lambda _: arms, range(3))
    monkeypatch.setitem(EXPERIMENTS, "small", experiment)
    return experiment


def test_experiments_that_share_trainings_share_a_file(tmp_path, small, monkeypatch):
    part = Experiment("?", "made-up", lambda _: small.arms(tmp_path)[:1], range(2), kept_in="small")
    monkeypatch.setitem(EXPERIMENTS, "part", part)
    for seed in (0, 1):
        append(with_seed(made_up_run("GN", 1), seed), tmp_path / "small.jsonl")
    assert [arm.config.nm for arm in finished("part", tmp_path).values()] == ["GN"]


def with_seed(run, seed):
    return dataclasses.replace(run, config=dataclasses.replace(run.config, seed=seed))


def test_finished_arms_are_those_of_the_experiment(tmp_path, small):
    """In its order, each once, whatever else the file holds."""
    gn, ln, path = made_up_run("GN", 1), made_up_run("LN", 2), tmp_path / "small.jsonl"
    for run in (
        made_up_run("BN", 1),
        ln,
        ln,
        with_seed(ln, 1),
        dataclasses.replace(gn, dataset="made-up (validation)"),
    ):
        append(run, path)
    append(gn, path)
    with pytest.raises(
        FileNotFoundError, match=r"small\.jsonl has 3 of 6 trainings: .* study small --output .* goes on"
    ):
        finished("small", tmp_path)
    append(with_seed(gn, 1), path)
    arms = finished("small", tmp_path)
    assert [(arm.config.nm, arm.seeds, arm.runs[0].errors) for arm in arms.values()] == [
        ("GN", (0, 1), 1),
        ("LN", (0, 1), 2),
    ]


def test_seeds_that_one_arm_lacks_are_left_out(tmp_path, small):
    for seed in (0, 1, 2):
        for run in (made_up_run("GN", 1), made_up_run("LN", 2)):
            if (run.config.nm, seed) != ("GN", 1):
                append(with_seed(run, seed), tmp_path / "small.jsonl")
    assert {arm.seeds for arm in finished("small", tmp_path).values()} == {(0, 2)}
