from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from made_up import failed_run_of, run_of
from matplotlib.colors import to_rgb
from scipy.stats import t
from tidy import assert_tidy, drawn_without_warnings, labelled, texts

from normbench import figures
from normbench.data import HELD_OUT
from normbench.figures.style import DARK
from normbench.layers import NORMALIZATIONS, colour
from normbench.layers.table import OTHER_COLOURS
from normbench.runs import arms, conditions
from normbench.training import Recipe, labels

SPREAD = np.array([0.0, 0.05, -0.05, 0.08])
MAIN = (Recipe("BN", l1=1e-4), Recipe("GN:2"), Recipe("LN"))
SEVEN = tuple(Recipe(norm) for norm in ("none", "BN", "GN:2", "GN:4", "GN:8", "LN", "IN"))
RATES = tuple(Recipe(norm, lr=lr) for norm in ("none", "GN:2", "GN:8") for lr in (0.1, 0.2, 0.4))
SMALL = {"epochs": 2, "images": 1000}
BY_SIZE = tuple(  # each size with a rate of its own
    Recipe(norm, batch_size=size, lr=0.01 * size, **SMALL) for norm in ("BN", "GN", "GN:2") for size in (2, 8, 32, 128)
)


def arms_of(recipes, accuracy=lambda recipe: 99.0, failed=lambda recipe: 0, dataset="mnist", **row):
    """Arms of synthetic runs: `accuracy(recipe)` and a known spread over four seeds, of which the first ones failed."""
    return arms(
        failed_run_of(recipe, dataset=dataset)
        if recipe.seed < failed(recipe)
        else run_of(recipe, accuracy(recipe) + SPREAD[recipe.seed], dataset, **row)
        for recipe in (replace(recipe, seed=seed) for recipe in recipes for seed in range(4))
    )


def main_runs(epochs=20):
    """One run of each of the three, with losses that fall and an accuracy that climbs."""
    runs = []
    for i, recipe in enumerate(MAIN):
        run = run_of(replace(recipe, epochs=epochs, seed=1), 99 + i / 10)
        rows = (
            row | dict(test_loss=(1 + i / 50) / row["epoch"], train_loss=2 / row["epoch"], penalty=0.5 * (i == 0))
            for row in run.history
        )
        runs.append(replace(run, history=tuple(rows)))
    return runs


def study_c():
    """Two epochs; of the first arm one seed lies far below the others in the first."""
    recipes = (Recipe("BN", l1=1e-4, l2=1e-4, epochs=2), Recipe("GN:2", l1=1e-4, epochs=2), Recipe("IN", epochs=2))
    found = arms_of(recipes, lambda recipe: {"BN": 99.0, "GN": 98.99, "IN": 98.98}[recipe.family])
    first = found[recipes[0]]
    low = replace(first.runs[0], history=(first.runs[0].history[0] | {"test_accuracy": 60.0}, first.runs[0].history[1]))
    return found | {recipes[0]: replace(first, runs=(low, *first.runs[1:]))}


def rate_arms():
    """At the highest rate "none" fails with all seeds, at the middle one with one; the others learn."""
    failed = {("none", 0.2): 1, ("none", 0.4): 4}
    return arms_of(
        RATES,
        lambda recipe: 99 + recipe.lr + 0.02 * (recipe.norm == "GN:2") + 0.08 * (recipe.norm == "GN:8"),
        lambda recipe: failed.get((recipe.norm, recipe.lr), 0),
        dataset="mnist" + HELD_OUT,
    )


def some_failed():
    """Of the first arm all runs failed, of the second one, of the third none."""
    return arms_of(MAIN, failed=lambda recipe: {"BN": 4, "GN": 1, "LN": 0}[recipe.family])


DRAWN = {
    "arms": lambda: figures.plot_arms(arms_of(SEVEN, lambda recipe: 99 + SEVEN.index(replace(recipe, seed=0)) / 100)),
    "one run": lambda: figures.plot_arms(arms([run_of(MAIN[0], 99.0)])),
    "an arm that did not learn": lambda: figures.plot_arms(
        arms_of(MAIN, lambda recipe: 11.35 if recipe.family == "GN" else 99.0)
    ),
    "failed runs": lambda: figures.plot_arms(some_failed()),
    "rates": lambda: figures.plot_rates(rate_arms()),
    "seeds": lambda: figures.plot_seeds(study_c()),
    "seeds of failed runs": lambda: figures.plot_seeds(some_failed()),
    "by batch size": lambda: figures.plot_by_batch_size(
        arms_of(BY_SIZE, lambda recipe: 100 - recipe.batch_size**0.1, lambda recipe: recipe.batch_size == 2)
    ),
    **{metric: lambda metric=metric: figures.plot_metric(main_runs(), metric, "Graph") for metric in figures.METRICS},
    "equal runs": lambda: figures.plot_metric([main_runs()[1]] * 4, "test_loss", "Graph"),
    "a failed run": lambda: figures.plot_metric([*main_runs()[:2], failed_run_of(MAIN[2])], "test_loss", "Graph"),
    "nothing": lambda: figures.plot_overview([failed_run_of(MAIN[2])]),
    "one epoch": lambda: figures.plot_overview(main_runs(epochs=1)),
    "one class": lambda: figures.plot_overview([run_of(Recipe(), 100.0, train_loss=0.0, test_loss=0.0)]),
    "overview": lambda: figures.plot_overview(main_runs()),
}


@pytest.fixture(scope="module")
def drawn():
    return drawn_without_warnings(DRAWN)


def luminance(colour_of):
    """The relative luminance of WCAG 2.1."""
    channels = np.array(to_rgb(colour_of))
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("ground", ["white", DARK["figure.facecolor"]])
@pytest.mark.parametrize("drawn", [*(row.colour for row in NORMALIZATIONS.values()), *OTHER_COLOURS])
def test_a_colour_shows_on_white_and_on_dark(drawn, ground):
    low, high = sorted((luminance(drawn), luminance(ground)))
    assert (high + 0.05) / (low + 0.05) >= 3  # what WCAG asks of lines and marks


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_tidy(drawn, name):
    assert_tidy(drawn[name])


@pytest.mark.parametrize(("name", "found"), (("seeds", study_c), ("rates", rate_arms), ("failed runs", some_failed)))
def test_the_caption_says_what_the_runs_were_made_with(drawn, name, found):
    assert conditions(found().values()) in drawn[name].get_supxlabel()


# Curves


@pytest.mark.parametrize("metric", figures.METRICS)
def test_metric_shows_every_run_and_labels_its_end(drawn, metric):
    (axes,) = drawn[metric].axes
    solid = [line for line in axes.lines if line.get_linestyle() != ":"]
    for run, line in zip(main_runs(), solid, strict=True):
        assert list(line.get_ydata()) == [row[metric] for row in run.history]
        assert line.get_color() == colour(run.recipe.norm)
        assert f"{run.recipe.label} {run.last[metric]:.{4 if 'loss' in metric else 2}f}" in texts(axes)
    dotted = [list(line.get_ydata()) for line in axes.lines if line.get_linestyle() == ":"]
    assert dotted == ([[0.5] * 20] if metric == "train_loss" else [])
    assert any("L1" in text and "0.5000" in text for text in texts(axes)) == (metric == "train_loss")


def test_arms_of_one_normalization_differ_in_their_lines_and_labels():
    runs = [run_of(Recipe(norm), 99.0) for norm in ("GN", "GN:2", "LN")]
    (axes,) = figures.plot_metric(runs, "test_loss", "Graph").axes
    any_number, two, layer = axes.lines
    assert any_number.get_color() == two.get_color() != layer.get_color()
    assert any_number.get_marker() == two.get_marker() != layer.get_marker()
    assert any_number.get_markerfacecolor() != two.get_markerfacecolor(), "filled, and empty"
    assert len(set(texts(axes))) == 3


def test_runs_of_one_label_get_labels_that_differ():
    runs = [run_of(Recipe("BN", lr=lr), 99.0) for lr in (0.1, 0.2)]
    assert len(set(texts(figures.plot_metric(runs, "test_loss", "Graph").axes[0]))) == 2


@pytest.mark.parametrize(("name", "run_arms"), (("overview", lambda: arms(main_runs())), ("seeds", study_c)))
def test_four_panels_show_means_bands_and_the_arms_names(drawn, name, run_arms):
    figure, found = drawn[name], run_arms()
    panels = {axes.get_title("left"): axes for axes in figure.axes}
    assert list(panels) == [
        figures.METRICS[key] for key in ("test_loss", "test_accuracy", "train_loss", "train_accuracy")
    ]
    for metric, title in figures.METRICS.items():
        lines = [line for line in panels[title].lines if line.get_linestyle() != ":"]
        for arm, line, band in zip(found.values(), lines, panels[title].collections):
            assert line.get_ydata() == pytest.approx(arm.curve(metric).mean(axis=0))
            end = f"{arm.label} {line.get_ydata()[-1]:.2f}"
            assert any(text.startswith(end) for text in texts(panels[title]))
            if metric == "test_accuracy":
                heights = band.get_paths()[0].vertices[:, 1]
                curve = arm.curve(metric)
                assert (heights.min(), heights.max()) == pytest.approx((curve.min(), curve.max()))


def test_a_band_that_is_cut_off_is_said_to_be(drawn):
    accuracies = {axes.get_title("left"): axes for axes in drawn["seeds"].axes}
    cut, whole = (accuracies[figures.METRICS[metric]] for metric in ("test_accuracy", "train_accuracy"))
    assert cut.get_ylim()[0] > 60 and f"{cut.get_ylim()[0]:.1f} %" in cut.get_ylabel() and not whole.get_ylabel()


def test_one_epoch_has_one_tick(drawn):
    for axes in drawn["one epoch"].axes:
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]


def test_curves_of_failed_runs_are_left_out_and_counted(drawn):
    _, group, layer = some_failed().values()
    by_loss = drawn["seeds of failed runs"].axes[0]
    for line, arm in zip(by_loss.lines, (group, layer), strict=True):
        assert line.get_ydata() == pytest.approx(np.nanmean(arm.curve("test_loss"), axis=0))
    said = drawn["seeds of failed runs"].get_supxlabel().replace("\n", " ")
    assert "BN + L1 (4 of 4)" in said and "GN (2 groups) (1 of 4)" in said and "LN (" not in said
    assert len(drawn["a failed run"].axes[0].lines) == 2 and "LN (1 of 1)" in drawn["a failed run"].get_supxlabel()
    assert not any(axes.lines for axes in drawn["nothing"].axes)


# Rows


def interval(values):
    """The 95 % interval for the mean, by SciPy."""
    return t.interval(0.95, len(values) - 1, np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values)))


def test_rows_show_each_seed_and_the_mean_with_its_interval(drawn):
    (axes,) = drawn["arms"].axes
    for row, recipe in enumerate(SEVEN):
        dots, bar, mean = axes.lines[3 * row : 3 * row + 3]
        values = 99 + row / 100 + SPREAD
        assert dots.get_xdata() == pytest.approx(values) and np.all(np.abs(dots.get_ydata() - row) < 0.5)
        assert bar.get_xdata() == pytest.approx(interval(values))
        assert (mean.get_xdata()[0], mean.get_ydata()[0]) == (pytest.approx(values.mean()), row)
        assert {line.get_color() for line in (dots, bar, mean)} == {colour(recipe.norm)}
        assert axes.texts[row].get_text() == f"{values.mean():.2f} ± {interval(values)[1] - values.mean():.2f}"
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(labels(SEVEN).values())
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first arm stands at the top"


def test_rows_of_one_label_get_names_that_differ():
    recipes = (Recipe("GN"), Recipe("GN:2"), Recipe("BN", lr=0.1), Recipe("BN", lr=0.2))
    (axes,) = figures.plot_arms(arms_of(recipes)).axes
    assert len({tick.get_text() for tick in axes.get_yticklabels()}) == 4


def test_an_arm_that_has_not_learned_is_an_arrow_with_its_numbers(drawn):
    (axes,) = drawn["an arm that did not learn"].axes
    assert axes.get_xlim()[0] > 98
    (arrow,) = [line for line in axes.lines if line.get_marker() == "<"]
    assert arrow.get_ydata() == [1] and arrow.get_color() == colour("GN")
    assert any("11.30 to 11.43" in text for text in texts(axes)) and any("11.37 ±" in text for text in texts(axes))


def test_failed_runs_are_counted_in_their_row_and_in_no_mean(drawn):
    (axes,) = drawn["failed runs"].axes
    assert axes.get_xlim()[0] > 98
    (cross,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert cross.get_ydata() == [0] and cross.get_color() == colour("BN")
    said = {round(text.get_position()[1]): text.get_text() for text in axes.texts if "failed" in text.get_text()}
    assert said == {0: "4 of 4 failed", 1: "1 of 4 failed"}
    means = {line.get_ydata()[0]: line.get_xdata()[0] for line in axes.lines if line.get_gid() == "mean"}
    assert means == {1: pytest.approx(99 + SPREAD[1:].mean()), 2: pytest.approx(99 + SPREAD.mean())}


def test_one_seed_has_no_interval(drawn):
    (axes,) = drawn["one run"].axes
    assert texts(axes) == ["99.00"] and np.isnan(axes.lines[1].get_xdata()).all()


def test_no_interval_leaves_0_to_100_percent():
    (axes,) = figures.plot_arms(arms([run_of(Recipe(seed=seed), 100 - 3.0 * (seed == 0)) for seed in range(3)])).axes
    low, high = axes.lines[1].get_xdata()
    assert low == pytest.approx(interval([97, 100, 100])[0]) and high == 100
    assert texts(axes) == [f"99.00, {low:.2f} to 100.00"]


# Lines


def test_rates_have_a_line_per_normalization_through_the_means_of_what_learned(drawn):
    (axes,) = drawn["rates"].axes
    lines = labelled(axes)
    assert list(lines) == ["none", "GN (2 groups)", "GN (8 groups)"] == texts(axes)[-3:]
    none, gn, gn_8 = lines.values()
    expected = [[0.1, 99.1 + SPREAD.mean()], [0.2, 99.2 + SPREAD[1:].mean()]]
    assert none.get_xydata() == pytest.approx(np.array(expected))
    assert list(gn.get_xdata()) == [0.1, 0.2, 0.4] == axes.get_xticks().tolist()
    assert gn.get_ydata() == pytest.approx(99.02 + SPREAD.mean() + gn.get_xdata())
    assert gn.get_color() == gn_8.get_color() and gn.get_markerfacecolor() != gn_8.get_markerfacecolor()
    assert "held-out" in drawn["rates"].get_suptitle()


def test_failed_runs_are_counted_at_the_foot(drawn):
    (axes,) = drawn["rates"].axes
    assert axes.get_ylim()[0] > 98
    marks = {text.get_position()[0]: text for text in axes.texts if "/" in text.get_text()}
    assert {rate: text.get_text() for rate, text in marks.items()} == {0.2: "×1/4", 0.4: "×4/4"}
    assert {text.get_color() for text in marks.values()} == {colour("none")}
    lowest = np.concatenate([line.get_ydata() for line in axes.lines]).min()
    for text in marks.values():
        assert text.get_window_extent().y1 < axes.transData.transform((0.1, lowest))[1]
    assert "×1/3" in drawn["rates"].get_supxlabel()
    assert "×1/3" not in figures.plot_rates(arms_of(RATES)).get_supxlabel(), "nothing is marked"


def test_every_family_is_held_against_half_of_the_best():
    """Chance level in the second family, after the first one has failed too."""
    stuck = arms_of(
        RATES,
        lambda recipe: 11.35 if (recipe.norm, recipe.lr) == ("GN:2", 0.4) else 99.0,
        lambda recipe: 4 * ((recipe.norm, recipe.lr) == ("none", 0.4)),
    )
    (axes,) = figures.plot_rates(stuck).axes
    assert texts(axes).count("×4/4") == 2 and axes.get_ylim()[0] > 98


def test_rates_at_which_nothing_learns():
    figure = figures.plot_rates(arms_of(RATES[:3], failed=lambda recipe: 4))
    assert texts(figure.axes[0]) == ["×4/4"] * 3
    assert_tidy(figure)


def test_one_arm_may_have_more_rates_than_the_others():
    (axes,) = figures.plot_rates(arms_of((*RATES, Recipe("none", lr=0.15)))).axes
    assert axes.get_xticks().tolist() == [0.1, 0.2, 0.4]
    assert 0.15 in labelled(axes)["none"].get_xdata()


def test_batch_sizes_have_a_line_per_normalization_whatever_their_rates(drawn):
    (axes,) = drawn["by batch size"].axes
    lines = labelled(axes)
    assert list(lines) == ["BN", "GN", "GN (2 groups)"]
    for line in lines.values():
        assert list(line.get_xdata()) == [2, 8, 32, 128] == axes.get_xticks().tolist()
        spread = np.array([SPREAD[1:].mean(), *[SPREAD.mean()] * 3])
        assert line.get_ydata() == pytest.approx(100 - line.get_xdata() ** 0.1 + spread)
    assert texts(axes).count("×1/4") == 3


def test_two_arms_at_one_batch_size_are_two_lines():
    recipes = [Recipe(batch_size=size, lr=lr, **SMALL) for size, lr in product((8, 32), (0.1, 0.2))]
    (axes,) = figures.plot_by_batch_size(arms_of(recipes, lambda recipe: 90 + 10 * recipe.lr)).axes
    one, two = labelled(axes).values()
    assert one.get_ydata() == pytest.approx(91 + SPREAD.mean()) and two.get_ydata() == pytest.approx(92 + SPREAD.mean())
    assert one.get_label() != two.get_label()


def test_the_rates_that_were_chosen_are_ringed():
    made = arms_of(RATES)
    (axes,) = figures.plot_rates(made, list(made)[:2]).axes
    rings = [line for line in axes.lines if line.get_gid() == "chosen"]
    assert [ring.get_xdata()[0] for ring in rings] == [recipe.lr for recipe in list(made)[:2]]
    assert "Ringed" not in figures.plot_rates(made).get_supxlabel()
