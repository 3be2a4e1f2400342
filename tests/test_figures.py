import dataclasses
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest
import torch
from matplotlib.text import Text

from normbench import figures, pictures
from normbench.train import Config, train


@pytest.fixture(scope="module", params=(1, 3), ids=("one epoch", "three epochs"))
def runs(request, few_digits):
    configs = (Config(nm, l1=l1, epochs=request.param) for nm, l1 in (("BN", 1e-4), ("GN", 0.0), ("LN", 0.0)))
    return [train(config, few_digits, progress=False) for config in configs]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def assert_nothing_overlaps(axes):
    axes.get_figure().draw_without_rendering()
    boxes = sorted((Text.get_window_extent(text) for text in axes.texts), key=lambda box: box.y0)
    for below, above in pairwise(boxes):
        assert below.y1 <= above.y0 + 2 or below.x1 < above.x0 or above.x1 < below.x0


@pytest.mark.parametrize("metric", figures.METRICS)
def test_metric_shows_every_run_and_labels_its_end(runs, metric):
    (axes,) = figures.plot_metric(runs, metric, "Graph").axes
    assert "digits" in axes.get_title("left") and axes.get_xlabel() and axes.get_ylabel()
    solid = [line for line in axes.lines if line.get_linestyle() == "-"]
    for run, line in zip(runs, solid, strict=True):
        assert list(line.get_ydata()) == [row[metric] for row in run.history]
        assert line.get_color() == figures.COLORS[run.config.nm]
        end = f"{run.history[-1][metric]:.{4 if 'loss' in metric else 2}f}"
        assert f"{run.config.label} {end}" in texts(axes)
    assert_nothing_overlaps(axes)


def test_the_penalty_has_a_line_of_its_own(runs):
    (axes,) = figures.plot_metric(runs, "train_loss", "Graph").axes
    (dotted,) = (line for line in axes.lines if line.get_linestyle() == ":")
    assert list(dotted.get_ydata()) == [row["penalty"] for row in runs[0].history]
    assert f"L1 penalty {runs[0].history[-1]['penalty']:.4f}" in texts(axes)


def test_labels_of_equal_values_do_not_overlap(runs):
    (axes,) = figures.plot_metric([runs[1]] * 4, "test_loss", "Graph").axes
    assert_nothing_overlaps(axes)


def test_overview_has_loss_and_accuracy_of_test_and_training(runs):
    titles = [axes.get_title("left") for axes in figures.plot_overview(runs).axes]
    assert titles == ["Test loss", "Training loss, data term", "Test accuracy", "Training accuracy"]


def test_the_most_confident_mistakes_come_first(runs, few_digits):
    run = runs[0]
    figure = pictures.plot_misclassified(run, few_digits)
    assert f"BN + L1: {run.errors} of 50 digits" in figure.get_suptitle()
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == min(10, run.errors)
    confidences = [float(texts(axes)[0].split("(")[1].split("%")[0]) for axes in shown]
    assert confidences == sorted(confidences, reverse=True)
    said = [tuple(text.replace("\n", " ").split()[1] for text in texts(axes)) for axes in shown]
    wrong = [(str(p), str(y)) for p, y in zip(run.predictions.tolist(), few_digits.y_test.tolist()) if p != y]
    assert set(said) <= set(wrong)


def test_other_test_images_than_the_run_s_are_refused(runs, few_digits):
    other = dataclasses.replace(few_digits, y_test=few_digits.y_test.flip(0), x_test=few_digits.x_test.flip(0))
    with pytest.raises(ValueError, match="tested on other images, or in another order, than digits has here"):
        pictures.plot_misclassified(runs[0], other)


def test_a_run_without_mistakes(runs, few_digits):
    perfect = dataclasses.replace(runs[0], correct=torch.ones(50, dtype=bool), mistakes=())
    figure = pictures.plot_misclassified(perfect, few_digits)
    assert "0 of 50" in figure.get_suptitle() and "no mistakes" in figure.get_suptitle()


def test_samples_show_labels_and_two_augmentations(few_digits):
    axes = pictures.plot_samples(few_digits, n=6).axes
    assert len(axes) == 18 and all(a.get_title() in few_digits.classes for a in axes[:6])
    assert (axes[0].images[0].get_array() != axes[6].images[0].get_array()).any()


def test_colour_images(few_digits):
    colour = dataclasses.replace(
        few_digits, x_train=few_digits.x_train.expand(-1, 3, -1, -1), x_test=few_digits.x_test.expand(-1, 3, -1, -1)
    )
    assert pictures.plot_samples(colour).axes[0].images[0].get_array().shape == (28, 28, 3)


def test_normalization_picture_frames_every_set():
    """3 images of 4 channels: sets a frame each, and the framed areas cover the plane."""
    for axes, sets in zip(pictures.plot_normalizations().axes, (4, 6, 3, 12), strict=True):
        frames = [patch for patch in axes.patches if not patch.get_fill()]
        assert len(frames) == sets and f"{sets} means" in axes.get_xlabel()
        areas = [(patch.get_width() + 0.12) * (patch.get_height() + 0.12) for patch in frames]
        assert sum(areas) == pytest.approx(12)


def test_figures_are_not_shown_twice(runs):
    figures.plot_metric(runs, "test_loss", "Graph")
    assert not plt.get_fignums()


def test_a_saved_figure_is_small_and_looks_the_same(runs, tmp_path):
    figure = figures.plot_overview(runs)
    shown = figures.save(figure, tmp_path / "small.png")
    figure.savefig(tmp_path / "large.png")
    small, large = (PIL.Image.open(tmp_path / f"{name}.png").convert("RGB") for name in ("small", "large"))
    assert small.size == large.size
    assert np.abs(np.asarray(small, float) - np.asarray(large, float)).mean() < 1
    assert shown.data == (tmp_path / "small.png").read_bytes()
    assert len(shown.data) < 0.6 * (tmp_path / "large.png").stat().st_size
