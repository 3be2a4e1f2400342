import re
from dataclasses import replace

import matplotlib.pyplot as plt
import nbformat
import pytest
from matplotlib.patches import Rectangle
from nbconvert import HTMLExporter
from tidy import assert_tidy

from normbench.figures import save
from normbench.layers import NORMALIZATIONS
from study import by_hand, pictures
from study.by_hand import EXAMPLE

NAMES = ("BN", "GN", "LN", "IN")


def test_normalization_picture_frames_every_set():
    """3 images of 4 channels: sets a frame each, and the framed areas cover the plane."""
    figure = pictures.plot_normalizations()
    for axes, nm, sets in zip(figure.axes, NAMES, (4, 6, 3, 12), strict=True):
        frames = [patch for patch in axes.patches if not patch.get_fill()]
        assert len(frames) == sets and axes.get_xlabel().endswith(f"{sets} means")
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
    figure = pictures.plot_by_hand(nm)
    (axes,) = figure.axes
    worked = by_hand.work_all(EXAMPLE, nm)
    cells, labels = shown(axes)
    assert cells == rows_of(EXAMPLE) and labels == [[round(w.mean, 3), round(w.deviation, 3)] for w in worked]
    assert f"{len(worked)} means" in axes.get_title("left")
    assert any(NORMALIZATIONS[nm].shares in text.get_text() for text in axes.texts)
    assert_tidy(figure)


@pytest.mark.parametrize(("nm", "groups"), (*((nm, 2) for nm in NAMES), ("GN", 1), ("GN", 4)))
def test_every_frame_holds_its_set_and_no_colour_is_needed(nm, groups):
    """A cell is 1 wide; a frame is wider."""
    figure = pictures.plot_by_hand(nm, groups)
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    frames = [patch for patch in patches if patch.get_width() > 1]
    cells = [patch for patch in patches if patch.get_width() == 1]
    member = by_hand.sets(nm, EXAMPLE.shape, groups).flatten().tolist()
    assert len(cells) == len(member) and len(frames) == len(set(member))
    held = [[cell for cell in cells if frame.get_bbox().contains(*cell.get_center())] for frame in frames]
    assert sorted(map(len, held)) == sorted(member.count(i) for i in set(member))
    assert len({cell.get_facecolor() for inside in held for cell in inside}) == 1
    frame_boxes = [frame.get_window_extent() for frame in frames]
    labels = [text for text in figure.axes[0].texts if "μ =" in text.get_text()]
    assert not any(box.overlaps(label.get_window_extent().padded(-3)) for box in frame_boxes for label in labels)
    assert_tidy(figure)


@pytest.mark.parametrize("wide", (False, True))
def test_the_four_in_one_picture(wide):
    figure = pictures.plot_all_by_hand(wide)
    for axes, nm in zip(figure.axes, NAMES, strict=True):
        cells, labels = shown(axes)
        assert f"({nm})" in axes.get_title("left") and cells == rows_of(EXAMPLE)
        assert len(labels) == len(by_hand.work_all(EXAMPLE, nm))
    assert_tidy(figure, **{"legible": 6.3} if wide else {})  # a phone shows the other
    scales = [axes.transData.transform([(1, 1)])[0] - axes.transData.transform([(0, 0)])[0] for axes in figure.axes]
    assert all(scale == pytest.approx(scales[0], rel=0.02 if wide else 0.15) for scale in scales)


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="3 groups"):
        pictures.plot_by_hand("GN", groups=3)
    assert not plt.get_fignums()


def test_a_picture_s_alternative_text_is_in_nbconvert_s_page(tmp_path):
    """In the page of the classic template; lab's leaves it out."""
    data, metadata = save(pictures.plot_normalizations(), tmp_path / "one.png", alt="One & its <mean>")._repr_png_()
    cell = nbformat.v4.new_code_cell(
        outputs=[nbformat.v4.new_output("display_data", {"image/png": data}, metadata={"image/png": metadata})]
    )
    page, _ = HTMLExporter(template_name="classic").from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert 'alt="One &amp; its &lt;mean&gt;"' in page


def test_mistakes_are_those_that_most_runs_make(few_digits, three):
    """Of 50 test images the first 4, 1 and 3 are wrong; each run names those that it is surest of."""
    three = [
        replace(
            run,
            test_set=few_digits.test_set,
            correct=run.correct[:50],
            mistakes=tuple((image, 1, 0.9) for image in range(run.errors)),
        )
        for run in three
    ]
    figure = pictures.plot_mistakes(three, few_digits)
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert len(said) == 4 and all(text.startswith("actual: ") and "✗" in text for text in said)
    assert said[0].count("✗") == max(text.count("✗") for text in said)
    assert_tidy(figure)
    perfect = [replace(run, correct=run.correct | True, mistakes=()) for run in three]
    assert_tidy(pictures.plot_mistakes(perfect, few_digits))
    with pytest.raises(ValueError, match="other images"):
        pictures.plot_mistakes([replace(three[0], test_set="another")], few_digits)
