import dataclasses
import warnings
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import run_of
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text
from scipy.stats import t

from model import NORMALIZATIONS
from normbench import figures
from normbench.config import Config
from normbench.experiments import BY_GHOST, BY_LENGTH
from normbench.runs import arms
from normbench.stats import best_of

SPREAD = np.array([0.0, 0.05, -0.05, 0.08])
MAIN = (Config("BN", l1=1e-4), Config("GN"), Config("LN"))
SEVEN = (
    *(Config(nm) for nm in ("none", "BN", "GN")),
    Config("GN", gp=4),
    Config("GN", gp=8),
    Config("LN"),
    Config("IN"),
)
GRID = tuple(
    Config(nm, l1=l1, l2=l2, epochs=2) for nm, l1, l2 in product(("BN", "GN", "none"), (0.0, 1e-4), (0.0, 2.5e-4))
)
STRENGTHS = (
    Config(epochs=2),
    *(Config(l1=l1, proximal=proximal, epochs=2) for proximal, l1 in product((False, True), (1e-4, 1e-3, 1e-2))),
)
SIZES = (2, 8, 32, 128)
BY_SIZE = tuple(Config(nm, epochs=2, images=1000, batch_size=size) for nm in ("BN", "GN", "LN") for size in SIZES)
RATES = tuple(Config(nm, gp=gp, lr=lr) for nm, gp in (("none", 2), ("GN", 2), ("GN", 8)) for lr in (0.1, 0.2, 0.4))


def arms_of(configs, accuracy=lambda config: 99.0, seeds=4, **row):
    """Arms of made-up runs: `accuracy(config)` and a known spread over the seeds."""
    configs = [dataclasses.replace(config, seed=seed) for config in configs for seed in range(seeds)]
    return arms(run_of(config, accuracy(config) + SPREAD[config.seed], **row) for config in configs)


def with_last(run, **row):
    return dataclasses.replace(run, history=(*run.history[:-1], run.history[-1] | row))


def color(config):
    return NORMALIZATIONS[config.nm].colour


def texts(axes):
    return [text.get_text() for text in axes.texts]


def main_runs(epochs=20):
    """One run of each of the three, with losses that fall and an accuracy that climbs."""
    runs = []
    for i, config in enumerate(MAIN):
        run = run_of(dataclasses.replace(config, epochs=epochs, seed=1), 99 + i / 10)
        rows = (
            row | dict(test_loss=(1 + i / 50) / row["epoch"], train_loss=2 / row["epoch"], penalty=0.5 * (i == 0))
            for row in run.history
        )
        runs.append(dataclasses.replace(run, history=tuple(rows)))
    return runs


def study_c():
    """Two epochs; of the first arm one seed lies far below the others in the first."""
    configs = (Config("BN", l1=1e-4, l2=1e-4, epochs=2), Config("GN", l1=1e-4, epochs=2), Config("IN", epochs=2))
    found = arms_of(configs, lambda config: {"BN": 99.0, "GN": 98.99, "IN": 98.98}[config.nm])
    first = next(iter(found.values()))
    low = dataclasses.replace(
        first.runs[0], history=(first.runs[0].history[0] | {"test_accuracy": 60.0}, first.runs[0].last)
    )
    return found | {first.config: dataclasses.replace(first, runs=(low, *first.runs[1:]))}


def batch_arms():
    return arms_of(BY_SIZE, lambda config: 100 - config.batch_size**0.1)


def length_arms():
    """The longer, the better; the more groups, too."""
    return arms_of(BY_LENGTH, lambda config: 100 - 3 / config.epochs - {"BN": 0.5}.get(config.nm, 0.9))


def ghost_arms():
    """The more images a statistic, the higher the loss (of what is made up)."""
    found = arms_of(BY_GHOST, lambda config: 99 - config.ghost / 100)
    for config, arm in found.items():
        runs = tuple(with_last(run, test_loss=0.03 + config.ghost / 1000) for run in arm.runs)
        for run in runs if config.nm == "BN" else ():
            run.statistics.update({kind: {"test_loss": 0.01 * i} for i, kind in enumerate(figures.STATISTICS, 1)})
        found[config] = dataclasses.replace(arm, runs=runs)
    return found


def rate_arms():
    """At the highest rate "none" fails with all seeds, at the middle one with one; the others learn."""
    found = arms_of(RATES, lambda config: 99 + config.lr + config.gp / 100, dataset="mnist (validation)")
    for config, arm in found.items():
        failed = {0.2: 1, 0.4: 4}.get(config.lr, 0) if config.nm == "none" else 0
        diverged = tuple(dataclasses.replace(run, history=({"epoch": 20, "test_accuracy": 0.0},)) for run in arm.runs)
        found[config] = dataclasses.replace(arm, runs=diverged[:failed] + arm.runs[failed:])
    return found


def strength_arms():
    """Accuracy falls with λ, Σ|p| and zeros say which arm and seed it is."""
    found = arms_of(STRENGTHS, lambda config: 99 - 100 * config.l1, seeds=3)
    for i, (config, arm) in enumerate(found.items()):
        runs = (with_last(run, l1_norm=900.0 / (i + 1) + j, zeros=2.0 * i + j) for j, run in enumerate(arm.runs))
        found[config] = dataclasses.replace(arm, runs=tuple(runs))
    return found


def luck_arms(seeds=60):
    accuracies = np.round(97.9 + 0.2 * np.sin(np.arange(seeds)), 2)
    runs = [run_of(Config(epochs=2, seed=seed), accuracy, images=10_000) for seed, accuracy in enumerate(accuracies)]
    runs[0].history[0]["test_accuracy"] = 98.4
    return arms(runs)


CIFAR = tuple(Config(nm) for nm in ("BN", "GN", "LN"))


def two_panels():
    return {
        "MNIST, 20 epochs": arms_of(SEVEN, lambda config: 99 + config.gp / 100),
        "CIFAR-10, 20 epochs": arms_of(CIFAR, lambda config: {"BN": 86.0}.get(config.nm, 84.0), dataset="cifar10"),
    }


DRAWN = {
    "arms": lambda: figures.plot_arms(arms_of(SEVEN, lambda config: 99 + config.gp / 100)),
    "one run": lambda: figures.plot_arms(arms_of(MAIN[:1], seeds=1)),
    "an arm failed": lambda: figures.plot_arms(arms_of(MAIN, lambda config: 11.35 if config.nm == "GN" else 99.0)),
    "answer": lambda: figures.plot_answer(two_panels()),
    "groups": lambda: figures.plot_groups(arms_of(SEVEN[2:])),
    "rates": lambda: figures.plot_rates(rate_arms()),
    "seeds": lambda: figures.plot_seeds(study_c()),
    "by batch size": lambda: figures.plot_by_batch_size(batch_arms()),
    "length": lambda: figures.plot_length(length_arms()),
    "ghosts": lambda: figures.plot_ghosts(ghost_arms()),
    "penalties": lambda: figures.plot_penalties(arms_of(GRID), GRID[:2]),
    "strengths": lambda: figures.plot_strengths(strength_arms()),
    "luck": lambda: figures.plot_luck(luck_arms()),
    "luck of one": lambda: figures.plot_luck(luck_arms(1)),
    **{metric: lambda metric=metric: figures.plot_metric(main_runs(), metric, "Graph") for metric in figures.METRICS},
    "equal runs": lambda: figures.plot_metric([main_runs()[1]] * 4, "test_loss", "Graph"),
    "one epoch": lambda: figures.plot_overview(main_runs(epochs=1)),
    "one class": lambda: figures.plot_overview([run_of(Config(), 100.0, train_loss=0.0, test_loss=0.0)]),
    "overview": lambda: figures.plot_overview(main_runs()),
}


@pytest.fixture(scope="module")
def drawn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {name: draw() for name, draw in DRAWN.items()}


def inside(outer, inner, tolerance=2):
    return (
        inner.x0 >= outer.x0 - tolerance
        and inner.y0 >= outer.y0 - tolerance
        and inner.x1 <= outer.x1 + tolerance
        and inner.y1 <= outer.y1 + tolerance
    )


@pytest.mark.parametrize("name", DRAWN)
def test_text_is_within_the_figure_and_never_on_other_text(drawn, name):
    figure = drawn[name]
    figure.draw_without_rendering()
    everything = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert inside(figure.bbox, everything)
    shown = [text for axes in figure.axes for text in (*axes.texts, axes._left_title)]
    shown += [*figure.texts, *(axis.label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis))]
    boxes = {text: Text.get_window_extent(text).padded(-2) for text in shown if text.get_text()}
    for first, second in product(boxes, boxes):
        assert first is second or not boxes[first].overlaps(boxes[second]), (first.get_text(), second.get_text())


@pytest.mark.parametrize("name", DRAWN)
def test_text_is_legible_at_420_pixels(drawn, name):
    figure = drawn[name]
    smallest = min(text.get_size() for text in figure.findobj(Text) if text.get_text())
    assert smallest / 72 / figure.get_figwidth() * 420 >= 8


@pytest.mark.parametrize("name", DRAWN)
def test_no_leader_line_runs_through_a_label(drawn, name):
    for axes in drawn[name].axes:
        labels = [text for text in axes.texts if isinstance(text, Annotation) and text.arrow_patch]
        for line, label in product(labels, labels):
            path = line.arrow_patch.get_transform().transform_path(line.arrow_patch.get_path())
            assert not path.intersects_bbox(Text.get_window_extent(label).padded(-3), filled=False)


def test_figures_are_not_shown_twice(drawn):
    assert not plt.get_fignums()


def test_conditions_say_what_the_runs_have_in_common():
    found = arms_of([Config(epochs=1, images=3000), Config("LN", epochs=1, images=3000)], seeds=3)
    assert figures.conditions(found.values()) == "MNIST, first 3,000 training images, 1 epoch, 3 seeds an arm, CPU"
    (first, second) = found.values()
    fewer = dataclasses.replace(second, runs=second.runs[:2])
    assert "2 to 3 seeds an arm" in figures.conditions([first, fewer])
    assert "3 seeds, CPU" in figures.conditions([first])
    assert "seed 0, CPU" in figures.conditions([dataclasses.replace(first, runs=first.runs[:1])])


def test_conditions_of_several_lengths():
    assert "MNIST, 1 to 32 epochs, 4 seeds an arm" in figures.conditions(length_arms().values())


def test_ghosts_stand_at_their_images_and_the_whole_batch_at_its_size(drawn):
    loss, accuracy, by_statistics = drawn["ghosts"].axes
    (batch_norm,) = (line for line in loss.lines if line.get_label() == "BN")
    assert list(batch_norm.get_xdata()) == [2, 4, 8, 16, 32, 128]
    np.testing.assert_allclose(batch_norm.get_ydata(), [0.03 + n / 1000 for n in (2, 4, 8, 16, 32, 0)])
    assert {"GN", "LN"} <= {line.get_label() for line in accuracy.lines}
    for line, name, loss in zip(by_statistics.lines, figures.STATISTICS.values(), (0.01, 0.02, 0.03), strict=True):
        assert line.get_label() == name and list(line.get_ydata()) == pytest.approx([loss] * 6)


def test_lengths_are_a_line_each(drawn):
    (axes,) = drawn["length"].axes
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert list(lines) == ["none", "BN", "GN (8 groups)", "LN", "IN"]
    assert list(lines["BN"].get_xdata()) == [1, 2, 4, 8, 16, 32]
    assert lines["BN"].get_ydata()[0] > lines["BN"].get_ydata()[-1] and axes.get_yscale() == "log", "errors"


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
    (arm,) = arms_of([Config()], seeds=2).values()
    runs = tuple(dataclasses.replace(run, device=device) for run, device in zip(arm.runs, devices))
    assert figures.conditions([dataclasses.replace(arm, runs=runs)]).endswith(words)


@pytest.mark.parametrize("metric", figures.METRICS)
def test_metric_shows_every_run_and_labels_its_end(drawn, metric):
    (axes,) = drawn[metric].axes
    solid = [line for line in axes.lines if line.get_linestyle() == "-"]
    for run, line in zip(main_runs(), solid, strict=True):
        assert list(line.get_ydata()) == [row[metric] for row in run.history]
        assert line.get_color() == color(run.config)
        assert f"{run.config.label} {run.last[metric]:.{4 if 'loss' in metric else 2}f}" in texts(axes)
    dotted = [list(line.get_ydata()) for line in axes.lines if line.get_linestyle() == ":"]
    assert dotted == ([[0.5] * 20] if metric == "train_loss" else [])
    assert ("L1 penalty 0.5000" in texts(axes)) == (metric == "train_loss")


def test_arms_of_one_normalization_differ_in_their_lines():
    runs = [run_of(Config("GN", gp=gp), 99.0) for gp in (2, 4)] + [run_of(Config("LN"), 99.0)]
    lines = figures.plot_metric(runs, "test_loss", "Graph").axes[0].lines
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    assert lines[0].get_linestyle() == lines[2].get_linestyle() != lines[1].get_linestyle()


@pytest.mark.parametrize(("name", "run_arms"), (("overview", lambda: arms(main_runs())), ("seeds", study_c)))
def test_four_panels_show_means_bands_and_the_arms_names(drawn, name, run_arms):
    figure, found = drawn[name], run_arms()
    panels = {axes.get_title("left"): axes for axes in figure.axes}
    assert list(panels) == [
        figures.METRICS[key] for key in ("test_loss", "train_loss", "test_accuracy", "train_accuracy")
    ]
    for metric, title in figures.METRICS.items():
        lines = [line for line in panels[title].lines if line.get_linestyle() != ":"]
        for arm, line, band in zip(found.values(), lines, panels[title].collections):
            assert line.get_ydata() == pytest.approx(arm.curve(metric).mean(axis=0))
            assert any(text.startswith(f"{arm.config.nm} {line.get_ydata()[-1]:.2f}") for text in texts(panels[title]))
            if line.get_linestyle() == "-" and metric == "test_accuracy":
                heights = band.get_paths()[0].vertices[:, 1]
                assert (heights.min(), heights.max()) == pytest.approx(
                    (arm.curve(metric).min(), arm.curve(metric).max())
                )
    assert all(arm.label in figure.get_supxlabel() for arm in found.values())


def test_a_band_that_is_cut_off_is_said_to_be(drawn):
    accuracies = {axes.get_title("left"): axes for axes in drawn["seeds"].axes}
    cut, whole = accuracies["Test accuracy (%)"], accuracies["Training accuracy (%)"]
    assert cut.get_ylim()[0] > 60 and "cut" in cut.get_xlabel() and "cut" not in whole.get_xlabel()


def test_one_epoch_has_one_tick(drawn):
    for axes in drawn["one epoch"].axes:
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
    assert "1 epoch," in drawn["one epoch"].get_supxlabel()


def interval(values):
    """The 95 % interval for the mean, by SciPy."""
    return t.interval(0.95, len(values) - 1, np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values)))


def test_rows_show_each_seed_and_the_mean_with_its_interval(drawn):
    (axes,) = drawn["arms"].axes
    for row, config in enumerate(SEVEN):
        dots, bar, mean = axes.lines[3 * row : 3 * row + 3]
        values = 99 + config.gp / 100 + SPREAD
        assert dots.get_xdata() == pytest.approx(values) and np.all(np.abs(dots.get_ydata() - row) < 0.5)
        assert bar.get_xdata() == pytest.approx(interval(values))
        assert (mean.get_xdata()[0], mean.get_ydata()[0]) == (pytest.approx(values.mean()), row)
        assert {line.get_color() for line in (dots, bar, mean)} == {color(config)}
        assert axes.texts[row].get_text() == f"{values.mean():.2f} ± {interval(values)[1] - values.mean():.2f}"
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [config.label for config in SEVEN]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first arm stands at the top"


def test_an_arm_that_failed_is_an_arrow_with_its_numbers(drawn):
    (axes,) = drawn["an arm failed"].axes
    assert axes.get_xlim()[0] > 98
    (arrow,) = [line for line in axes.lines if line.get_marker() == "<"]
    assert arrow.get_ydata() == [1] and arrow.get_color() == color(Config("GN"))
    assert any("11.30 to 11.43" in text for text in texts(axes)) and any("11.37 ±" in text for text in texts(axes))


def test_one_seed_has_no_interval(drawn):
    (axes,) = drawn["one run"].axes
    assert texts(axes) == ["99.00"] and np.isnan(axes.lines[1].get_xdata()).all()


def test_the_answer_s_panels_have_one_scale(drawn):
    above, below = drawn["answer"].axes
    assert np.ptp(above.get_xlim()) == pytest.approx(np.ptp(below.get_xlim())) and above.get_xlim()[1] <= 100
    assert "MNIST, 20 epochs" in above.get_title("left") and "0.06 points" in above.get_title("left")
    assert "2.00 points" in below.get_title("left")
    names = [[tick.get_text() for tick in axes.get_yticklabels()] for axes in (above, below)]
    assert names[0][:4] == ["no normalization", "batch norm", "group norm", "group norm (4 groups)"]
    assert names[1] == ["batch norm", "group norm", "layer norm"]
    for axes, configs in ((above, SEVEN), (below, CIFAR)):
        means = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
        assert len(means) == len(configs) and min(means) > axes.get_xlim()[0] and max(means) < axes.get_xlim()[1]


def test_groups_stand_from_layer_norm_to_instance_norm():
    configs = [Config("GN", gp=8), Config("IN"), Config("GN"), Config("LN"), Config("GN", gp=4)]
    (axes,) = figures.plot_groups(
        arms_of(configs, lambda config: 99 + {"LN": 1, "IN": 16}.get(config.nm, config.gp) / 50)
    ).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["1 (LN)", "2", "4", "8", "C (IN)"]
    means = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
    assert means == pytest.approx([99 + groups / 50 + SPREAD.mean() for groups in (1, 2, 4, 8, 16)])


def test_rates_have_a_line_a_normalization_through_the_means_of_what_learned(drawn):
    (axes,) = drawn["rates"].axes
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in lines] == ["none", "GN", "GN (8 groups)"] == texts(axes)[-3:]
    none, gn, gn_8 = lines
    assert none.get_xydata() == pytest.approx(
        np.array([[0.1, 99.12 + SPREAD.mean()], [0.2, 99.22 + SPREAD[1:].mean()]])
    )
    assert list(gn.get_xdata()) == [0.1, 0.2, 0.4] == axes.get_xticks().tolist()
    assert gn.get_ydata() == pytest.approx(99.02 + SPREAD.mean() + gn.get_xdata())
    assert gn.get_color() == gn_8.get_color() and gn.get_linestyle() != gn_8.get_linestyle()
    assert "held-out" in drawn["rates"].get_suptitle()


def test_diverged_trainings_are_counted_at_the_foot(drawn):
    (axes,) = drawn["rates"].axes
    assert axes.get_ylim()[0] > 98
    marks = {text.get_position()[0]: text for text in axes.texts if "/" in text.get_text()}
    assert {rate: text.get_text() for rate, text in marks.items()} == {0.2: "×1/4", 0.4: "×4/4"}
    assert {text.get_color() for text in marks.values()} == {color(Config("none"))}
    lowest = np.concatenate([line.get_ydata() for line in axes.lines]).min()
    for text in marks.values():
        assert text.get_window_extent().y1 < axes.transData.transform((0.1, lowest))[1]


def test_every_family_is_held_against_half_of_the_best():
    """Chance level in the second family, after the first one has failed too."""
    found = rate_arms()
    stuck = next(config for config in found if config.nm != "none" and config.lr == 0.4)
    arm = found[stuck]
    runs = tuple(dataclasses.replace(run, history=({"epoch": 20, "test_accuracy": 11.35},)) for run in arm.runs)
    found[stuck] = dataclasses.replace(arm, runs=runs)
    (axes,) = figures.plot_rates(found).axes
    assert texts(axes).count("×4/4") == 2 and axes.get_ylim()[0] > 98


def test_rates_at_which_nothing_learns():
    failed = ({"epoch": 20, "test_accuracy": 0.0},)
    found = arms_of(RATES[:3])
    for config, arm in found.items():
        runs = tuple(dataclasses.replace(run, history=failed) for run in arm.runs)
        found[config] = dataclasses.replace(arm, runs=runs)
    (axes,) = figures.plot_rates(found).axes
    assert texts(axes) == ["×4/4"] * 3


def test_one_arm_may_have_more_rates_than_the_others():
    extra = (*RATES, Config("none", lr=0.15))
    (axes,) = figures.plot_rates(arms_of(extra)).axes
    assert axes.get_xticks().tolist() == [0.1, 0.2, 0.4]
    assert 0.15 in next(line.get_xdata() for line in axes.lines if line.get_label() == "none")


def test_heat_map_shows_every_mean_and_frames_what_is_asked():
    found = arms_of(GRID, lambda config: 90 + GRID.index(dataclasses.replace(config, seed=0)))
    del found[GRID[5]]
    (axes,) = figures.plot_penalties(found, (GRID[2], GRID[7])).axes
    for config, arm in found.items():
        row, column = divmod(GRID.index(config), 4)
        values = [
            text.get_text()
            for text in axes.texts
            if np.abs(np.subtract(text.get_position(), (column, row))).max() < 0.5
        ]
        accuracies = arm.last()
        assert values == [f"{accuracies.mean():.2f} %", f"{accuracies.min():.2f} to {accuracies.max():.2f}"]
        assert axes.images[0].get_array()[row, column] == pytest.approx(accuracies.mean())
    assert np.ma.getmaskarray(axes.images[0].get_array()).sum() == 1, "an unfinished cell is empty"
    frames = [tuple(np.round(patch.get_center(), 2)) for patch in axes.patches if isinstance(patch, Rectangle)]
    assert frames == [(2, 0), (3, 1)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["BN", "GN", "none"]
    names = ["no penalty", "L2 0.00025", "L1 0.0001", "L1 0.0001\n+ L2 0.00025"]
    assert [label.get_text() for label in axes.get_xticklabels()] == names


def test_strengths_have_a_line_a_way(drawn):
    found = strength_arms()
    for axes, metric in zip(drawn["strengths"].axes, ("test_accuracy", "l1_norm", "zeros"), strict=True):
        lines = [line for line in axes.lines if not line.get_label().startswith("_")]
        error = metric == "test_accuracy"
        for line, proximal in zip(lines, (False, True), strict=True):
            assert list(line.get_xdata()) == [0, 1, 2, 3]
            for place, mean in line.get_xydata():
                l1 = (0.0, 1e-4, 1e-3, 1e-2)[int(place)]
                config = Config(l1=l1, proximal=proximal and l1 > 0, epochs=2)
                expected = found[config].last(metric).mean()
                assert mean == pytest.approx(100 - expected if error else expected)
        assert sorted(texts(axes)) == ["proximal step", "subgradient"]
        assert axes.get_yscale() == ("linear" if metric == "zeros" else "log")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.0001", "0.001", "0.01"]


def test_luck_counts_every_run_and_expects_more_of_more_seeds(drawn):
    (arm,) = luck_arms().values()
    histogram, expected = drawn["luck"].axes
    filled, outline = histogram.patches
    assert (filled.get_fill(), outline.get_fill()) == (True, False)
    assert to_hex(outline.get_edgecolor()) != to_hex(filled.get_facecolor())
    labels = [text.get_text() for text in histogram.get_legend().get_texts()]
    for patch, values, label in zip((filled, outline), (arm.last(), arm.best()), labels, strict=True):
        # Down the steps and back along the ground: each bin's height is that of its two upper corners
        x, y = patch.get_xy()[:, 0], patch.get_xy()[:, 1]
        edges, heights = np.unique(x), y[1 : 2 * len(np.unique(x)) - 2 : 2]
        assert heights.sum() == 60 and heights == pytest.approx(np.histogram(values, edges)[0])
        assert label.endswith(f"mean {np.mean(values):.2f}, deviation {np.std(values, ddof=1):.2f}")
    for line, values in zip(expected.lines, (arm.last(), arm.best()), strict=True):
        assert list(line.get_xdata()) == list(range(1, 51))
        assert line.get_ydata() == pytest.approx([best_of(values, k) for k in range(1, 51)])
