"""Runs as arms, as a table, and as a line of text."""

from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from made_up import failed_run_of, made_up_arms, run_of

from normbench.runs import arms, conditions, details, frame, lengths
from normbench.training import Recipe

GN = Recipe("GN:4", epochs=2)


def seeds_of(recipe, scores):
    """Runs with the seeds 1, 2, …; a score of None is a failed run."""
    recipes = [replace(recipe, seed=seed) for seed in range(1, len(scores) + 1)]
    return [failed_run_of(one) if score is None else run_of(one, score) for one, score in zip(recipes, scores)]


def test_arms_have_their_seeds_in_order():
    made = [run_of(replace(GN, seed=seed), 90.0 + seed) for seed in (3, 1)] + [run_of(Recipe(), 80.0)]
    grouped = arms(made)
    assert {recipe: arm.seeds for recipe, arm in grouped.items()} == {GN: (1, 3), Recipe(): (0,)}
    gn = grouped[GN]
    assert gn.recipe == GN and gn.label == GN.label
    assert gn.last().tolist() == [91.0, 93.0] and gn.curve("test_accuracy").tolist() == [[90.5, 91.0], [92.5, 93.0]]
    assert gn.correct.mean(axis=1) == pytest.approx([0.91, 0.93]) and gn.accuracy.mean == pytest.approx(92.0)
    assert gn.failures == {}


def test_wanted_arms_alone_in_their_order():
    made = [run_of(GN, 90.0), run_of(Recipe(), 80.0)]
    assert list(arms(made, [Recipe("LN"), Recipe(), GN])) == [Recipe(), GN]


def test_best_is_the_best_epoch_s():
    run = run_of(Recipe(epochs=3), 90.0)
    (arm,) = arms([replace(run, history=run.history[::-1])]).values()
    assert arm.best().tolist() == [90.0] and arm.last().tolist() == [89.0]


def test_failed_runs_are_counted_and_never_averaged():
    failed = failed_run_of(replace(GN, seed=4), "out of memory")
    (arm,) = arms([*seeds_of(GN, (90.0, None, 94.0)), failed]).values()
    assert arm.seeds == (1, 2, 3, 4) and arm.failures == {"diverged": 1, "out of memory": 1}
    for scores in (arm.last(), arm.last("test_loss"), arm.best(), arm.curve("test_loss")[:, 0]):
        assert np.isnan(scores).tolist() == [False, True, False, True]
    assert arm.curve("test_accuracy").shape == (4, 2)
    assert arm.accuracy.mean == pytest.approx(92.0) and arm.accuracy.n == 2
    assert arm.correct.shape == (2, 1000) and arm.correct.mean() == pytest.approx(0.92)
    assert [run.recipe.seed for run in arm.succeeded] == [1, 3]


def test_an_arm_whose_runs_all_failed_has_no_accuracy():
    (arm,) = arms(seeds_of(GN, (None, None))).values()
    assert arm.accuracy.n == 0 and isnan(arm.accuracy.mean) and isnan(arm.accuracy.low)
    assert arm.correct.shape == (0, 1000) and np.isnan(arm.last()).all()


# As a table


def test_a_frame_has_a_row_per_run():
    table = frame([run_of(Recipe("GN:4", l1=1e-4, seed=5), 91.0), run_of(Recipe(), 80.0)])
    assert table["norm"].tolist() == ["GN:4", "BN"] and table["seed"].tolist() == [5, 0]
    assert table["test_accuracy"].tolist() == [91.0, 80.0] and table["test_loss"].tolist() == [0.03, 0.03]
    assert "L1" in table["label"][0] and "4" in table["label"][0] and table["label"][1] == "BN"


def test_different_arms_of_a_frame_have_different_labels():
    recipes = [Recipe("GN"), Recipe("GN:2"), Recipe("BN"), Recipe("BN", lr=0.3), Recipe("BN", lr=0.3, seed=1)]
    assert frame(run_of(recipe, 90.0) for recipe in recipes)["label"].nunique() == 4


def test_failed_runs_have_no_score_in_a_frame():
    table = frame(seeds_of(GN, (None, 94.0)))
    assert table[["test_accuracy", "best_accuracy", "test_loss"]].isna().all(axis=1).tolist() == [True, False]
    assert table["failure"].tolist() == ["diverged", ""]
    assert table["test_accuracy"].mean() == 94.0
    assert frame(seeds_of(GN, (None,)))["test_accuracy"].isna().all()


# As a line of text


def test_conditions_say_what_the_runs_have_in_common():
    recipes = [Recipe(epochs=1, images=3000), Recipe("LN", epochs=1, images=3000)]
    first, second = made_up_arms(recipes, lambda recipe: 90.0, seeds=3).values()
    both, fewer = conditions([first, second]), replace(second, runs=second.runs[:2])
    assert "\n" not in both
    for fact in ("MNIST", "first 3,000 training images", "1 epoch,", "3 seeds per variant", "CPU"):
        assert fact in both
    assert "2 to 3 seeds per variant" in conditions([first, fewer])
    assert "3 seeds, " in conditions([first])
    assert "seed 0, " in conditions([replace(first, runs=first.runs[:1])])


def test_lengths():
    runs = [run_of(Recipe(epochs=epochs), 90.0) for epochs in (32, 1, 8)]
    assert lengths(runs) == "1 to 32 epochs" and lengths(runs[1:2]) == "1 epoch" and lengths(runs[:1]) == "32 epochs"
    assert lengths(runs) in conditions(arms(runs).values()) and lengths(runs) in details(arms(runs).values())


@pytest.mark.parametrize(
    ("devices", "words"),
    (
        (("CPU (1 thread, AVX2)",) * 2, ", CPU (1 thread, AVX2)"),
        (("CPU (1 thread, AVX2)", "CPU (1 thread, AVX512)"), ", 2 kinds of CPU"),
        (("NVIDIA A", "NVIDIA B"), ", 2 kinds of GPU"),
        (("NVIDIA A", "CPU (1 thread, AVX2)"), ", CPU and GPU"),
    ),
)
def test_several_devices_are_named_in_short(devices, words):
    runs = [replace(run, device=device) for run, device in zip(seeds_of(Recipe(), (90.0, 91.0)), devices)]
    assert conditions(arms(runs).values()).endswith(words)


def test_details_say_more():
    first, second, third = seeds_of(Recipe(epochs=2), (90.0, 91.0, 92.0))
    text = details(arms([first, second, third]).values())
    for fact in ("MNIST", "2 epochs", "batch 128", "last epoch", "seeds 1 to 3", "CPU", "2.0 s per epoch"):
        assert fact in text
    text = details(arms([replace(first, device="GPU"), second, third]).values())
    assert "1 on GPU" in text and "2 on CPU" in text
    assert "seed 2" in details(arms([second]).values())
    sizes = [run_of(Recipe(batch_size=size), 90.0) for size in (2, 16)]
    assert "batches of 2 to 16" in details(arms(sizes).values())


def test_conditions_count_failed_runs():
    (arm,) = arms(seeds_of(Recipe(epochs=2), (90.0, None, None))).values()
    for text in (conditions([arm]), details([arm])):
        assert "2 diverged" in text
    assert "2.0 s per epoch" in details([arm]), "of the run that did not fail"
