import nbformat
import numpy as np
import PIL.Image
from conftest import run_of
from nbconvert import HTMLExporter

from normbench import figures, style
from normbench.config import Config
from normbench.runs import arms


def test_a_saved_figure_is_small_and_looks_the_same(tmp_path):
    figure = figures.plot_overview([run_of(Config(nm), 99.0) for nm in ("BN", "GN", "LN")])
    shown = style.save(figure, tmp_path / "small.png")
    figure.savefig(tmp_path / "large.png")
    small, large = (PIL.Image.open(tmp_path / f"{name}.png").convert("RGB") for name in ("small", "large"))
    assert small.size == large.size
    assert np.abs(np.asarray(small, float) - np.asarray(large, float)).mean() < 1
    assert shown.data == (tmp_path / "small.png").read_bytes()
    assert len(shown.data) < 0.6 * (tmp_path / "large.png").stat().st_size


def test_a_saved_figure_has_alternative_text(tmp_path):
    """In the notebook, and in nbconvert's page from it; of its templates, lab's leaves it out."""
    figure = figures.plot_arms(arms([run_of(Config(), 99.0)]))
    image = style.save(figure, tmp_path / "one.png", alt="One arm & its <mean>")
    data, metadata = image._repr_png_()
    cell = nbformat.v4.new_code_cell(
        outputs=[nbformat.v4.new_output("display_data", {"image/png": data}, metadata={"image/png": metadata})]
    )
    page, _ = HTMLExporter(template_name="classic").from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert 'alt="One arm &amp; its &lt;mean&gt;"' in page
