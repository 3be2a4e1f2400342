"""Whether a figure can be read: what tests of figures ask of each of them."""

import warnings
from itertools import combinations, permutations

import matplotlib.pyplot as plt
from matplotlib.text import Annotation, Text


def drawn_without_warnings(draws):
    """Call each function that draws a figure, by name; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {name: draw() for name, draw in draws.items()}


def assert_tidy(figure, legible=10.9):
    """No text outside the figure, on other text, under a leader line, or small where the figure is 380 pixels wide."""
    assert not plt.get_fignums(), "a notebook would show it twice"
    figure.draw_without_rendering()
    outer, inner = figure.bbox.padded(2), figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert outer.contains(*inner.min) and outer.contains(*inner.max), inner
    boxes = {text: Text.get_window_extent(text).padded(-2) for text in _texts(figure)}
    for first, second in combinations(boxes, 2):
        assert not boxes[first].overlaps(boxes[second]), (first.get_text(), second.get_text())
    assert min(text.get_size() for text in boxes) / 72 / figure.get_figwidth() * 380 >= legible
    for axes in figure.axes:
        labels = [text for text in axes.texts if isinstance(text, Annotation) and text.arrow_patch]
        for line, label in permutations(labels, 2):
            path = line.arrow_patch.get_transform().transform_path(line.arrow_patch.get_path())
            assert not path.intersects_bbox(Text.get_window_extent(label).padded(-3), filled=False), label.get_text()


def _texts(figure):
    shown = list(figure.texts)
    for axes in figure.axes:
        shown += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            ticks = zip(axis.get_ticklocs(), axis.get_ticklabels())
            shown += [label for place, label in ticks if min(limits) <= place <= max(limits) and label.get_visible()]
    return [text for text in shown if text.get_text()]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def labelled(axes):
    """The lines that have a label, by it."""
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
