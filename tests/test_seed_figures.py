import numpy as np
import pytest
from conftest import run_of
from matplotlib.colors import to_hex
from scipy.stats import t

from normbench.batch_figures import plot_batch_size
from normbench.chance import best_of
from normbench.config import Config
from normbench.experiments import BY_SIZE, GROUPS, MAIN, RECORD, SIZES, seeded
from normbench.figures import COLORS
from normbench.seed_figures import far_below, plot_arms, plot_groups, plot_luck

ARMS = (Config("none", epochs=4), *(Config(nm, l1=l1, epochs=4) for nm in ("GN", "BN") for l1 in (0.0, 1e-4)))
SPREAD = np.array([0.0, 0.05, -0.05, 0.08])


def arm_runs(accuracies, configs=ARMS):
    """Four seeds of each of the configs, about their accuracies."""
    return [
        run_of(config, accuracies[i % len(configs)] + SPREAD[config.seed])
        for i, config in enumerate(seeded(configs, range(4)))
    ]


def interval(values):
    """The 95 % interval for the mean, by SciPy."""
    return t.interval(0.95, len(values) - 1, np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values)))


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_an_arm_is_far_below_where_the_gap_is_more_than_three_times_the_span_above_it():
    others = [99.0, 99.2], [98.8, 99.0], [99.1, 99.1]
    assert far_below([[97.4, 97.6], *others]) == {0}  # 1.3 below 98.8, over a span of 0.4
    assert far_below([*others, [97.6, 97.8]]) == set()
    assert far_below([[11.35], *others, [60.0]]) == {0, 4}
    assert far_below([[11.35], [60.0], [99.0], [99.1]]) == {0, 1}
    assert far_below([[11.35], [12.0], [60.0], [99.1]]) == set(), "half of the arms always stays"
    assert far_below([[99.0, 99.1], [50.0]]) == far_below([[99.0]]) == set()


def test_rows_show_each_seed_and_the_mean_with_its_interval():
    accuracies = [98.9, 99.0, 99.1, 99.2, 99.3]
    figure = plot_arms(arm_runs(accuracies), "Five arms")
    (axes,) = figure.axes
    for row, (config, accuracy) in enumerate(zip(ARMS, accuracies)):
        dots, bar, mean = axes.lines[3 * row : 3 * row + 3]
        values = accuracy + SPREAD
        assert dots.get_xdata() == pytest.approx(values) and np.all(np.abs(dots.get_ydata() - row) < 0.5)
        assert bar.get_xdata() == pytest.approx(interval(values))
        assert (mean.get_xdata()[0], mean.get_ydata()[0]) == (pytest.approx(values.mean()), row)
        assert {line.get_color() for line in (dots, bar, mean)} == {COLORS[config.nm]}
        assert "{:.2f} ({:.2f} to {:.2f})".format(values.mean(), *interval(values)) in texts(axes)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["none", "GN", "GN + L1", "BN", "BN + L1"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first arm stands at the top"
    assert figure.get_suptitle() == "Five arms\nmnist, 4 epochs, 4 seeds an arm, CPU"


def test_an_arm_far_below_is_an_arrow_with_its_numbers():
    (axes,) = plot_arms(arm_runs([93.0, 99.0, 99.1, 99.2, 99.3]), "Five arms").axes
    assert axes.get_xlim()[0] > 98.5
    assert "off the scale: seeds from 92.95 to 93.08" in texts(axes)
    assert "{:.2f} ({:.2f} to {:.2f})".format(93.02, *interval(93.0 + SPREAD)) in texts(axes)
    (arrow,) = [line for line in axes.lines if line.get_marker() == "<"]
    assert arrow.get_ydata() == [0] and arrow.get_color() == COLORS["none"]


def test_one_seed_has_no_interval():
    (axes,) = plot_arms([run_of(config, 99.0) for config in MAIN], "One seed").axes
    assert texts(axes).count("99.00") == 3
    assert np.isnan(axes.lines[1].get_xdata()).all()


def test_groups_stand_from_layer_norm_to_instance_norm():
    accuracies = [99.0, 99.1, 99.3, 99.2, 98.9]
    (axes,) = plot_groups([*arm_runs(accuracies, GROUPS), run_of(ARMS[0], 50.0)]).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1\n(LN)", "2", "4", "8", "C\n(IN)"]
    means = [line for line in axes.lines if line.get_marker() == "D"]
    assert [line.get_xdata()[0] for line in means] == [0, 1, 2, 3, 4]
    assert [line.get_ydata()[0] for line in means] == pytest.approx(np.add(accuracies, SPREAD.mean()))
    assert [line.get_color() for line in means] == [COLORS[nm] for nm in ("LN", "GN", "GN", "GN", "IN")]
    assert axes.lines[7].get_ydata() == pytest.approx(interval(99.3 + SPREAD))
    assert texts(axes) == [f"{accuracy + SPREAD.mean():.2f}" for accuracy in accuracies]


def batch_runs():
    """The error grows with the seed and with the batch size; each of BN's losses is a multiple of the error."""
    made = []
    for config in seeded(BY_SIZE, range(3)):
        run = run_of(config, 100 - (config.batch_size**0.1 + {"BN": 1, "GN": 2, "LN": 3}[config.nm] + config.seed / 4))
        kinds = {"running": 0.02, "precise": 0.01, "batch": 0.03} if config.nm == "BN" else {}
        error = 100 - run.history[-1]["test_accuracy"]
        run.statistics.clear()
        run.statistics.update({kind: {"test_loss": factor * error} for kind, factor in kinds.items()})
        made.append(run)
    return made


def test_batch_sizes_beside_the_published_ones():
    ours, published, by_statistics = plot_batch_size(batch_runs()).axes
    errors = np.array(SIZES) ** 0.1 + 1 + np.array([[0.0], [0.25], [0.5]])
    assert list(ours.lines[0].get_xdata()) == list(SIZES)
    for line, nm, more in zip(ours.lines, ("BN", "GN", "LN"), range(3), strict=True):
        assert line.get_ydata() == pytest.approx(errors.mean(axis=0) + more)
        assert (line.get_label(), line.get_color()) == (nm, COLORS[nm])
    band = ours.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((errors.min(), errors.max()))
    for line, factor in zip(by_statistics.lines, (0.02, 0.01, 0.03), strict=True):
        assert line.get_ydata() == pytest.approx(factor * errors.mean(axis=0))
    assert texts(by_statistics) == ["precise statistics", "running averages", "batch statistics"], "from low to high"
    assert len({(line.get_linestyle(), line.get_marker()) for line in by_statistics.lines}) == 3
    shown = {line.get_label(): dict(zip(line.get_xdata(), line.get_ydata())) for line in published.lines}
    assert shown["BN"] == {32: 23.6, 16: 23.7, 8: 24.8, 4: 27.3, 2: 34.7}
    assert shown["GN"] == {32: 24.1, 16: 24.2, 8: 24.0, 4: 24.2, 2: 24.1}
    assert "Not ours: Wu & He" in published.get_title("left")
    assert [axes.get_xscale() for axes in (ours, published, by_statistics)] == ["log"] * 3


def test_luck_counts_every_run_and_expects_more_of_more_seeds():
    accuracies = np.round(97.9 + 0.2 * np.sin(np.arange(60.0)), 2)
    runs = [run_of(config, accuracy) for config, accuracy in zip(seeded([RECORD], range(60)), accuracies)]
    runs[0].history[1]["test_accuracy"] = 98.4
    best = [98.4, *accuracies[1:]]
    histogram, expected = plot_luck(runs).axes
    filled, outline = histogram.patches
    assert (filled.get_fill(), outline.get_fill()) == (True, False)
    assert to_hex(outline.get_edgecolor()) != COLORS["BN"].lower() == to_hex(filled.get_facecolor())
    for patch, values in ((filled, accuracies), (outline, best)):
        # Down the steps and back along the ground: each bin's height is that of its two upper corners
        x, y = patch.get_xy()[:, 0], patch.get_xy()[:, 1]
        edges, heights = np.unique(x), y[1 : 2 * len(np.unique(x)) - 2 : 2]
        assert heights.sum() == 60
        assert heights == pytest.approx(np.histogram(values, edges)[0])
    marks = [line.get_xdata()[0] for line in histogram.lines if line.get_marker() == "D"]
    assert marks == pytest.approx([np.mean(accuracies), np.mean(best)])
    for name, values in (("last", accuracies), ("best", best)):
        deviation = np.std(values, ddof=1)
        assert f"{name} epoch: mean {np.mean(values):.2f}, deviation {deviation:.2f}" in texts(histogram)
    for line, values in zip(expected.lines, (accuracies, best), strict=True):
        assert list(line.get_xdata()) == list(range(1, 51))
        assert line.get_ydata() == pytest.approx([best_of(values, k) for k in range(1, 51)])
    assert texts(expected) == [f"last epoch {best_of(accuracies, 50):.2f}", f"best epoch {best_of(best, 50):.2f}"]
