import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from made_up import run_of

from normbench import figures
from normbench.training import Recipe


@pytest.fixture(scope="module")
def figure():
    return figures.plot_overview([run_of(Recipe(norm), 99.0) for norm in ("BN", "GN", "LN")])


def test_a_saved_figure_is_small_and_looks_the_same(figure, tmp_path):
    shown = figures.save(figure, tmp_path / "small.png")
    figure.savefig(tmp_path / "large.png")
    small, large = (PIL.Image.open(tmp_path / f"{name}.png").convert("RGB") for name in ("small", "large"))
    assert small.size == large.size
    assert np.abs(np.asarray(small, float) - np.asarray(large, float)).mean() < 1
    assert shown.data == (tmp_path / "small.png").read_bytes()
    assert len(shown.data) < 0.6 * (tmp_path / "large.png").stat().st_size


def test_a_saved_figure_has_alternative_text(figure, tmp_path):
    _, metadata = figures.save(figure, tmp_path / "one.png", alt="One arm & its <mean>")._repr_png_()
    assert metadata["alt"] == "One arm & its <mean>"


def test_a_figure_is_saved_without_ipython_too(figure, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    assert figures.save(figure, tmp_path / "one.png") == tmp_path / "one.png"
    assert (tmp_path / "one.png").read_bytes() == figures.png(figure)


def test_drawing_needs_no_ipython():
    """Only a notebook does; it is slow to import, and need not be there."""
    code = "import sys, normbench.figures; sys.exit('IPython' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
