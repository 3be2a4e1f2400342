import dataclasses
import re
from itertools import combinations

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from model import NORMALIZATIONS, normalization
from normbench import by_hand, pictures
from normbench.by_hand import EXAMPLE
from normbench.config import Config
from normbench.data import DATASETS
from normbench.train import train

NAMES = ("BN", "GN", "LN", "IN")


@pytest.fixture(scope="module")
def run(few_digits):
    return train(Config("BN", l1=1e-4, epochs=1), few_digits, progress=False)


def in_colour(data):
    images = {name: getattr(data, name).expand(-1, 3, -1, -1) for name in ("x_train", "x_test")}
    return dataclasses.replace(data, **images)


def assert_tidy(figure, legible=8.0):
    """No text outside the figure, on other text, or smaller than 8 pixels where the figure is 420 pixels wide."""
    figure.draw_without_rendering()
    outer, inner = figure.bbox.padded(2), figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert outer.contains(*inner.min) and outer.contains(*inner.max)
    labels = [label for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    titles = [
        text for axes in figure.axes for text in (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label)
    ]
    shown = [*figure.texts, *(text for axes in figure.axes for text in axes.texts), *titles, *labels]
    boxes = {text: Text.get_window_extent(text).padded(-2) for text in shown if text.get_text()}
    for first, second in combinations(boxes, 2):
        assert not boxes[first].overlaps(boxes[second]), (first.get_text(), second.get_text())
    assert min(text.get_size() for text in boxes) / 72 / figure.get_figwidth() * 420 >= legible
    assert not plt.get_fignums()


def test_the_most_confident_mistakes_come_first_five_a_row(run, few_digits):
    figure = pictures.plot_misclassified(run, few_digits)
    assert f"BN + L1: {run.errors} of 50 " in figure.get_suptitle()
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == min(10, run.errors) == 10
    assert [axes.get_subplotspec().colspan.start for axes in shown] == [0, 1, 2, 3, 4] * 2
    confidences = [float(re.search(r"([\d.]+)%", axes.get_title())[1]) for axes in shown]
    assert confidences == sorted(confidences, reverse=True)
    said = {(axes.get_title().split("\n")[0], axes.get_xlabel().split("\n")[1]) for axes in shown}
    wrong = {(str(p), str(y)) for p, y in zip(run.predictions.tolist(), few_digits.y_test.tolist()) if p != y}
    assert said <= wrong
    assert_tidy(figure)


@pytest.mark.parametrize("name", ("fashion_mnist", "cifar10"))
def test_long_names_of_classes_find_room(run, few_digits, name):
    longest = max(range(10), key=lambda i: len(DATASETS[name].classes[i]))
    labels = torch.full_like(few_digits.y_test, longest)
    data = dataclasses.replace(in_colour(few_digits), classes=DATASETS[name].classes, y_test=labels)
    mistakes = tuple((i, longest, 0.99) for i in range(10))
    wrong = dataclasses.replace(run, mistakes=mistakes, test_set=data.test_set)
    figure = pictures.plot_misclassified(wrong, data)
    assert_tidy(figure)
    assert figure.axes[0].images[0].get_array().shape == (28, 28, 3)


@pytest.mark.parametrize("n", (0, 1, 3, 6))
def test_a_run_with_few_mistakes(run, few_digits, n):
    few = dataclasses.replace(run, correct=torch.arange(50) >= n, mistakes=run.mistakes[:n])
    figure = pictures.plot_misclassified(few, few_digits)
    assert f"{n} of 50" in figure.get_suptitle() and len(figure.axes) == n
    assert ("no mistakes" in figure.get_suptitle()) == (n == 0)
    assert_tidy(figure)


def test_other_test_images_than_the_run_s_are_refused(run, few_digits):
    other = dataclasses.replace(few_digits, y_test=few_digits.y_test.flip(0), x_test=few_digits.x_test.flip(0))
    with pytest.raises(ValueError, match="tested on other images, or in another order, than digits has here"):
        pictures.plot_misclassified(run, other)


def test_samples_show_labels_and_two_augmentations(few_digits):
    figure = pictures.plot_samples(few_digits, n=6)
    axes = figure.axes
    assert len(axes) == 18 and all(a.get_title() in few_digits.classes for a in axes[:6])
    assert (axes[0].images[0].get_array() != axes[6].images[0].get_array()).any()
    assert_tidy(figure)


def test_samples_in_colour(few_digits):
    data = dataclasses.replace(in_colour(few_digits), classes=DATASETS["cifar10"].classes)
    figure = pictures.plot_samples(data)
    assert figure.axes[0].images[0].get_array().shape == (28, 28, 3)
    assert_tidy(figure)


def test_normalization_picture_frames_every_set():
    """3 images of 4 channels: sets a frame each, and the framed areas cover the plane."""
    figure = pictures.plot_normalizations()
    for axes, nm, sets in zip(figure.axes, NAMES, (4, 6, 3, 12), strict=True):
        frames = [patch for patch in axes.patches if not patch.get_fill()]
        assert len(frames) == sets and f"{sets} means" in axes.get_xlabel()
        assert sum((patch.get_width() + 0.12) * (patch.get_height() + 0.12) for patch in frames) == pytest.approx(12)
        assert NORMALIZATIONS[nm].name in axes.get_title().lower()
    assert_tidy(figure)


def shown(axes):
    """The numbers in the cells of a picture, row by row, and those of its labels."""

    def numbers(text):
        return [float(x) for x in re.findall(r"-?\d+\.?\d*", text.get_text().replace("−", "-"))]

    texts = [text for text in axes.texts if "numbers" not in text.get_text()]
    cells = [text for text in texts if "μ" not in text.get_text()]
    places = sorted(cells, key=lambda text: (round(text.get_position()[1], 3), text.get_position()[0]))
    return [numbers(text)[0] for text in places], [numbers(text) for text in texts if "μ =" in text.get_text()]


def rows_of(batch):
    return batch.transpose(1, 2).flatten().tolist()  # image, row, channel, column


@pytest.mark.parametrize("nm", NAMES)
def test_pictures_show_the_computed_numbers(nm):
    figure = pictures.plot_before_and_after(nm)
    before, after = figure.axes
    worked = by_hand.work_all(EXAMPLE, nm)
    expected = [[round(w.mean, 3), round(w.deviation, 3)] for w in worked]
    for axes in (pictures.plot_by_hand(nm).axes[0], before):
        cells, labels = shown(axes)
        assert cells == rows_of(EXAMPLE) and labels == expected
        assert f"{len(worked)} means" in axes.get_title("left")
    cells, labels = shown(after)
    assert cells == pytest.approx(rows_of(normalization(nm, 4).double()(EXAMPLE).detach()), abs=0.005001)
    assert labels == [[0, 1]] * len(worked)
    assert_tidy(figure)


@pytest.mark.parametrize(("nm", "groups"), (*((nm, 2) for nm in NAMES), ("GN", 1), ("GN", 4)))
def test_every_frame_holds_its_set_and_one_colour(nm, groups):
    """A cell is 1 wide; a frame is wider, and filled paler than its cells."""
    figure = pictures.plot_by_hand(nm, groups)
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    frames = [patch for patch in patches if patch.get_width() > 1]
    cells = [patch for patch in patches if patch.get_width() == 1]
    member = by_hand.sets(nm, EXAMPLE.shape, groups).flatten().tolist()
    assert len(cells) == len(member) and len(frames) == len(set(member))
    held = [[cell for cell in cells if frame.get_bbox().contains(*cell.get_center())] for frame in frames]
    assert sorted(map(len, held)) == sorted(member.count(i) for i in set(member))
    colors = [{cell.get_facecolor() for cell in inside} for inside in held]
    assert all(len(color) == 1 for color in colors) and len(set.union(*colors)) == len(frames)
    frame_boxes = [frame.get_window_extent() for frame in frames]
    labels = [text for text in figure.axes[0].texts if "μ =" in text.get_text()]
    assert not any(box.overlaps(label.get_window_extent().padded(-3)) for box in frame_boxes for label in labels)
    assert_tidy(figure)


def test_the_four_in_one_picture():
    figure = pictures.plot_all_by_hand()
    for axes, nm in zip(figure.axes, ("BN", "LN", "GN", "IN"), strict=True):
        cells, labels = shown(axes)
        assert f"({nm})" in axes.get_title("left") and cells == rows_of(EXAMPLE)
        assert len(labels) == len(by_hand.work_all(EXAMPLE, nm))
    assert_tidy(figure, legible=7.2)
    scales = [axes.transData.transform([(1, 1)])[0] - axes.transData.transform([(0, 0)])[0] for axes in figure.axes]
    assert all(scale == pytest.approx(scales[0], rel=0.02) for scale in scales)


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="3 groups"):
        pictures.plot_by_hand("GN", groups=3)
    assert not plt.get_fignums()
