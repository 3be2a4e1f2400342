from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from made_up import failed_run_of, run_of
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from tidy import assert_tidy, drawn_without_warnings, labelled, texts

from normbench.layers import colour
from normbench.runs import arms
from normbench.stats import best_of
from normbench.training import Recipe
from study import figures

SPREAD = np.array([0.0, 0.05, -0.05, 0.08])
SEVEN = tuple(Recipe(norm) for norm in ("none", "BN", "GN:2", "GN:4", "GN:8", "LN", "IN"))
CIFAR = tuple(Recipe(norm, optimizer="muon", mirrored=True) for norm in ("WS+BN", "WS+GN:2", "WS+LN", "WS+IN"))
GRID = tuple(
    Recipe(norm, l1=l1, l2=l2, epochs=2) for norm, l1, l2 in product(("BN", "GN:2", "none"), (0.0, 1e-4), (0.0, 2.5e-4))
)
STRENGTHS = (
    Recipe(epochs=2),
    *(Recipe(l1=l1, proximal=proximal, epochs=2) for proximal, l1 in product((False, True), (1e-4, 1e-3, 1e-2))),
)
BY_LENGTH = tuple(
    Recipe(norm, epochs=epochs) for epochs, norm in product((1, 2, 4, 8), ("none", "BN", "GN:8", "LN", "IN"))
)
BY_GHOST = tuple(Recipe(norm, epochs=2) for norm in ("BN:2", "BN:4", "BN:16", "BN", "GN:2", "LN"))


def arms_of(recipes, accuracy=lambda recipe: 99.0, failed=(), seeds=4, dataset="mnist", **row):
    """Arms of synthetic runs: `accuracy(recipe)` and a known spread; of those `failed`, the first seed fails."""
    return arms(
        failed_run_of(recipe, dataset=dataset)
        if not recipe.seed and recipe in failed
        else run_of(recipe, accuracy(recipe) + SPREAD[recipe.seed], dataset, **row)
        for recipe in (replace(recipe, seed=seed) for recipe in recipes for seed in range(seeds))
    )


def with_last(run, **row):
    return run if run.failure else replace(run, history=(*run.history[:-1], run.last | row))


def panels():
    return {
        "Easy": arms_of(SEVEN, lambda recipe: 99 + [r.norm for r in SEVEN].index(recipe.norm) / 100),
        "Photos": arms_of(
            CIFAR, lambda recipe: 86.0 if recipe.family == "BN" else 84.0, dataset="cifar10", failed=CIFAR[:1]
        ),
    }


def ghost_arms(recipes=BY_GHOST, failed=()):
    """The more images per statistic, the higher the loss (of what is synthetic)."""
    found = arms_of(recipes, failed=failed)
    for recipe, arm in found.items():
        number = {"BN:2": 2, "BN:4": 4, "BN:16": 16}.get(recipe.norm.removeprefix("WS+"), 0)
        statistics = {kind: {"test_loss": 0.01 * i} for i, kind in enumerate(figures.STATISTICS, 1)}
        runs = (with_last(run, test_loss=0.03 + number / 1000) for run in arm.runs)
        found[recipe] = replace(
            arm,
            runs=tuple(
                replace(run, statistics=statistics if recipe.family == "BN" and not run.failure else {}) for run in runs
            ),
        )
    return found


def strength_arms():
    """Accuracy falls with λ, Σ|p| and zeros say which arm and seed it is."""
    found = arms_of(STRENGTHS, lambda recipe: 99 - 100 * recipe.l1, seeds=3)
    for i, (recipe, arm) in enumerate(found.items()):
        runs = (with_last(run, l1_norm=900.0 / (i + 1) + j, zeros=2.0 * i + j) for j, run in enumerate(arm.runs))
        found[recipe] = replace(arm, runs=tuple(runs))
    return found


def luck_arms(seeds=60, failed=0):
    accuracies = np.round(97.9 + 0.2 * np.sin(np.arange(seeds)), 2)
    runs = [run_of(Recipe(epochs=2, seed=seed), accuracy, images=10_000) for seed, accuracy in enumerate(accuracies)]
    runs[0].history[0]["test_accuracy"] = 98.4
    return arms(runs + [failed_run_of(Recipe(epochs=2, seed=seeds + i), images=10_000) for i in range(failed)])


DRAWN = {
    "answer": lambda: figures.plot_answer(panels()),
    "answer, wide": lambda: figures.plot_answer(panels(), wide=True),
    "statistics": lambda: figures.plot_statistics(ghost_arms()),
    "groups": lambda: figures.plot_groups(arms_of(SEVEN[2:])),
    "length": lambda: figures.plot_length(
        arms_of(BY_LENGTH, lambda recipe: 100 - 3 / recipe.epochs - 0.5 - 0.4 * (recipe.norm != "BN"), BY_LENGTH[:1])
    ),
    "ghosts": lambda: figures.plot_ghosts(ghost_arms()),
    "ghosts of which some failed": lambda: figures.plot_ghosts(ghost_arms(failed=(BY_GHOST[0], BY_GHOST[4]))),
    "penalties": lambda: figures.plot_penalties(arms_of(GRID), GRID[:2]),
    "strengths": lambda: figures.plot_strengths(strength_arms()),
    "luck": lambda: figures.plot_luck(luck_arms(failed=2)),
    "luck of one": lambda: figures.plot_luck(luck_arms(1)),
}


@pytest.fixture(scope="module")
def drawn():
    return drawn_without_warnings(DRAWN)


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_tidy(drawn, name):
    assert_tidy(drawn[name], legible=5 if "wide" in name else 10.9)  # it is shown 900 pixels wide or more


def names_of_rows(axes):
    return [tick.get_text() for tick in axes.get_yticklabels()]


def means_of_rows(axes):
    return [line.get_xdata()[0] for line in axes.lines if line.get_gid() == "mean"]


@pytest.mark.parametrize("name", ("answer", "answer, wide"))
def test_the_answer_s_panels_have_one_scale_and_say_what_they_were_made_with(drawn, name):
    easy, photos = drawn[name].axes
    assert np.ptp(easy.get_xlim()) == pytest.approx(np.ptp(photos.get_xlim())) and easy.get_xlim()[1] <= 100
    assert (easy.get_title("left"), photos.get_title("left")) == ("Easy", "Photos")
    assert "MNIST" in easy.get_xlabel() and "CIFAR-10" in photos.get_xlabel() and "128" in photos.get_xlabel()
    assert names_of_rows(easy) == ["none", "BN", "GN", "GN", "GN", "LN", "IN"]
    for axes, recipes in ((easy, SEVEN), (photos, CIFAR)):
        means = means_of_rows(axes)
        assert len(means) == len(recipes) and min(means) > axes.get_xlim()[0] and max(means) < axes.get_xlim()[1]
        assert drawn[name].bbox.contains(*axes._left_title.get_window_extent().max)
    assert means_of_rows(photos)[0] == pytest.approx(86 + SPREAD[1:].mean()), "the failed run is in no mean"


def test_groups_stand_from_layer_norm_to_instance_norm():
    groups = {"LN": 1, "GN:2": 2, "GN:4": 4, "GN:8": 8, "IN": 16}
    recipes = [Recipe(norm) for norm in ("GN:8", "IN", "GN:2", "LN", "GN:4")]
    (axes,) = figures.plot_groups(arms_of(recipes, lambda recipe: 99 + groups[recipe.norm] / 50)).axes
    assert names_of_rows(axes) == ["1 (LN)", "2", "4", "8", "C (IN)"]
    assert means_of_rows(axes) == pytest.approx([99 + n / 50 + SPREAD.mean() for n in groups.values()])


def test_what_has_no_number_of_groups_is_refused():
    with pytest.raises(ValueError, match="BN"):
        figures.plot_groups(arms_of([Recipe("BN"), Recipe("LN")]))


def test_lengths_are_a_line_each(drawn):
    (axes,) = drawn["length"].axes
    lines = labelled(axes)
    assert list(lines) == ["none", "BN", "GN (8 groups)", "LN", "IN"]
    assert list(lines["BN"].get_xdata()) == [1, 2, 4, 8]
    assert lines["BN"].get_ydata() == pytest.approx([3 / n + 0.5 - SPREAD.mean() for n in (1, 2, 4, 8)]), "errors"
    assert lines["none"].get_ydata()[0] == pytest.approx(3.9 - SPREAD[1:].mean()) and "×1/4" in texts(axes)
    assert axes.get_yscale() == "log"


def test_ghosts_stand_at_their_images_and_the_whole_batch_at_its_size(drawn):
    accuracy, loss = drawn["ghosts"].axes
    (by_statistics,) = drawn["statistics"].axes
    batch_norm = labelled(loss)["BN"]
    assert list(batch_norm.get_xdata()) == [2, 4, 16, 128]
    np.testing.assert_allclose(batch_norm.get_ydata(), [0.03 + n / 1000 for n in (2, 4, 16, 0)])
    assert {"GN (2 groups)", "LN"} <= set(labelled(accuracy))
    for line, name, loss in zip(by_statistics.lines, figures.STATISTICS.values(), (0.01, 0.02, 0.03), strict=True):
        assert line.get_label() == name and list(line.get_ydata()) == pytest.approx([loss] * 4)


def test_ghosts_that_failed_are_in_no_mean(drawn):
    figure = drawn["ghosts of which some failed"]
    accuracy = labelled(figure.axes[0])
    assert accuracy["BN"].get_ydata() == pytest.approx(99 + np.array([SPREAD[1:].mean(), *[SPREAD.mean()] * 3]))
    assert accuracy["GN (2 groups)"].get_ydata() == pytest.approx([99 + SPREAD[1:].mean()] * 2)
    assert accuracy["LN"].get_ydata() == pytest.approx([99 + SPREAD.mean()] * 2)
    assert "BN (2 images) (1 of 4), GN (2 groups) (1 of 4)" in figure.get_supxlabel().replace("\n", " ")


@pytest.mark.parametrize("other", (Recipe("BN:2", epochs=2, l1=1e-4), Recipe("BN:128", epochs=2)))
def test_ghosts_are_one_line_that_no_other_arm_is_joined_to(other):
    with pytest.raises(ValueError, match="batch norm"):
        figures.plot_ghosts(ghost_arms((*BY_GHOST[:4], other)))


def test_ghosts_with_standardized_weights_are_said_to_be():
    figure = figures.plot_ghosts(ghost_arms([Recipe(f"WS+{norm}") for norm in ("BN:2", "BN", "GN:2")]))
    assert set(labelled(figure.axes[0])) == {"WS + BN", "WS + GN (2 groups)"}


def cell(axes, row, column):
    """The texts of a table's cell."""
    return [
        text.get_text() for text in axes.texts if np.abs(np.subtract(text.get_position(), (column, row))).max() < 0.5
    ]


def test_table_of_penalties_shows_every_mean_and_frames_what_is_asked():
    found = arms_of(GRID, lambda recipe: 90 + GRID.index(replace(recipe, seed=0)))
    del found[GRID[5]]
    (axes,) = figures.plot_penalties(found, (GRID[2], GRID[7])).axes
    for recipe, arm in found.items():
        row, column = divmod(GRID.index(recipe), 4)
        half = arm.accuracy.high - arm.accuracy.mean
        assert half > 0 and cell(axes, row, column) == [f"{arm.last().mean():.2f} %", f"± {half:.2f}"]
    assert cell(axes, *divmod(GRID.index(GRID[5]), 4)) == [], "an unfinished cell is empty"
    frames = [tuple(np.round(patch.get_center(), 2)) for patch in axes.patches if isinstance(patch, Rectangle)]
    assert frames == [(2, 0), (3, 1)]
    assert names_of_rows(axes) == ["BN", "GN (2 groups)", "none"]
    names = ["no penalty", "L2 0.00025", "L1 $10^{-4}$", "L1 $10^{-4}$ +\nL2 0.00025"]
    assert [label.get_text() for label in axes.get_xticklabels()] == names


def test_table_of_penalties_counts_failed_runs_and_averages_none():
    found = arms_of(GRID[:2], failed=GRID[:1])
    every = arms(failed_run_of(replace(GRID[2], seed=seed)) for seed in range(2))
    (axes,) = figures.plot_penalties(found | every).axes
    assert cell(axes, 0, 0) == [f"{99 + SPREAD[1:].mean():.2f} %", "1 run failed"]
    assert cell(axes, 0, 2) == ["2 runs failed"]


def test_table_of_penalties_keeps_a_proximal_penalty_apart():
    recipes = [Recipe(), Recipe(l1=1e-4), Recipe(l1=1e-4, proximal=True)]
    (axes,) = figures.plot_penalties(arms_of(recipes)).axes
    assert len({label.get_text() for label in axes.get_xticklabels()}) == 3 and len(axes.get_yticklabels()) == 1


def test_strengths_have_a_line_per_way(drawn):
    found = strength_arms()
    for axes, metric in zip(drawn["strengths"].axes, ("test_accuracy", "l1_norm", "zeros"), strict=True):
        error = metric == "test_accuracy"
        lines = labelled(axes)
        for line, proximal in zip(lines.values(), (False, True), strict=True):
            assert list(line.get_xdata()) == [0, 1, 2, 3]
            for place, mean in line.get_xydata():
                l1 = (0.0, 1e-4, 1e-3, 1e-2)[int(place)]
                expected = found[Recipe(l1=l1, proximal=proximal and l1 > 0, epochs=2)].last(metric).mean()
                assert mean == pytest.approx(100 - expected if error else expected)
        assert sorted(texts(axes)) == sorted(lines)
        assert axes.get_yscale() == ("linear" if metric == "zeros" else "log")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "$10^{-4}$", "$10^{-3}$", "$10^{-2}$"]
    assert to_hex(lines["subgradient"].get_color()) == colour("BN").lower()


def test_luck_counts_every_run_that_did_not_fail_and_expects_more_of_more_seeds(drawn):
    (arm,) = luck_arms().values()
    histogram, expected = drawn["luck"].axes
    last = arm.last()
    heights = [bar.get_height() for bar in histogram.patches]
    edges = [histogram.patches[0].get_x(), *(bar.get_x() + bar.get_width() for bar in histogram.patches)]
    assert sum(heights) == 60 and heights == pytest.approx(np.histogram(last, edges)[0])
    title = histogram.get_title("left")
    assert f"{np.mean(last):.2f}" in title and f"{np.std(last, ddof=1):.2f}" in title
    curve, mark = expected.lines
    assert list(curve.get_xdata()) == list(range(1, 51))
    assert curve.get_ydata() == pytest.approx([best_of(last, k) for k in range(1, 51)])
    assert mark.get_xydata() == pytest.approx(np.array([[10, best_of(last, 10)]]))
    assert f"{best_of(last, 10) - np.mean(last):+.2f}" in texts(expected)[0]
    below = drawn["luck"].get_supxlabel()
    assert "2 diverged" in below and f"{np.mean(arm.best() - last):.3f}" in below.replace("\n", " ")
