import re
from dataclasses import replace

import pytest
import torch
from made_up import failed_run_of, linear
from tidy import assert_tidy

from normbench import figures
from normbench.data import DATASETS
from normbench.training import Recipe, train


@pytest.fixture(scope="module")
def run(few_digits):
    torch.manual_seed(0)
    return train(linear(), few_digits, Recipe("BN", l1=1e-4, epochs=1), progress=False)


def in_colour(data):
    return replace(data, **{name: getattr(data, name).expand(-1, 3, -1, -1) for name in ("x_train", "x_test")})


def test_the_most_confident_mistakes_come_first_five_per_row(run, few_digits):
    figure = figures.plot_misclassified(run, few_digits)
    assert f"BN + L1: {run.errors} of 50 " in figure.get_suptitle()
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == min(10, run.errors) == 10
    assert [axes.get_subplotspec().colspan.start for axes in shown] == [0, 1, 2, 3, 4] * 2
    confidences = [float(re.search(r"([\d.]+)%", axes.get_title())[1]) for axes in shown]
    assert confidences == sorted(confidences, reverse=True)
    said = {
        tuple(re.findall(r"(?:predicted|actual)\s+(\d)", axes.get_title() + " " + axes.get_xlabel())) for axes in shown
    }
    predicted = run.probabilities.argmax(dim=1).tolist()
    assert said <= {(str(p), str(y)) for p, y in zip(predicted, few_digits.y_test.tolist()) if p != y}
    assert_tidy(figure)


@pytest.mark.parametrize("name", ("fashion_mnist", "cifar10"))
def test_long_names_of_classes_find_room(run, few_digits, name):
    longest = max(range(10), key=lambda i: len(DATASETS[name].classes[i]))
    labels = torch.full_like(few_digits.y_test, longest)
    data = replace(in_colour(few_digits), classes=DATASETS[name].classes, y_test=labels)
    mistakes = tuple((i, longest, 0.99) for i in range(10))
    figure = figures.plot_misclassified(replace(run, mistakes=mistakes, test_set=data.test_set), data)
    assert_tidy(figure)
    assert figure.axes[0].images[0].get_array().shape == (28, 28, 3)


@pytest.mark.parametrize("n", (0, 1, 3, 6))
def test_a_run_with_few_mistakes(run, few_digits, n):
    few = replace(run, correct=torch.arange(50) >= n, mistakes=run.mistakes[:n])
    figure = figures.plot_misclassified(few, few_digits)
    assert f"{n} of 50" in figure.get_suptitle() and len(figure.axes) == n
    assert ("No mistakes" in figure.get_suptitle()) == (n == 0)
    assert_tidy(figure)


def test_a_failed_run_has_no_mistakes_to_show(few_digits):
    failed = replace(failed_run_of(Recipe("GN:2")), test_set=few_digits.test_set)
    figure = figures.plot_misclassified(failed, few_digits)
    assert "GN (2 groups)" in figure.get_suptitle() and "diverged" in figure.get_suptitle() and not figure.axes
    assert_tidy(figure)


def test_other_test_images_than_the_run_s_are_refused(run, few_digits):
    other = replace(few_digits, y_test=few_digits.y_test.flip(0), x_test=few_digits.x_test.flip(0))
    with pytest.raises(ValueError, match="digits") as refusal:
        figures.plot_misclassified(run, other)
    assert "\n" not in str(refusal.value)


def test_samples_show_labels_and_two_augmentations(few_digits):
    figure = figures.plot_samples(few_digits)
    assert len(figure.axes) == 15 and all(axes.get_title() in few_digits.classes for axes in figure.axes[:5])
    for first, second in ((0, 5), (0, 10), (5, 10)):
        pixels = [figure.axes[i].images[0].get_array() for i in (first, second)]
        assert (pixels[0] != pixels[1]).any()
    assert_tidy(figure)


def test_samples_of_few_images_in_colour(few_digits):
    data = in_colour(few_digits)
    few = replace(data, classes=DATASETS["cifar10"].classes, x_train=data.x_train[:3], y_train=data.y_train[:3])
    figure = figures.plot_samples(few)
    assert len(figure.axes) == 9 and figure.axes[0].images[0].get_array().shape == (28, 28, 3)
    assert_tidy(figure)
