"""The notebook headless, and as it lies in the repository."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from made_up import ROOT
from published import NOTEBOOK, cells, code_cells, committed, git

from normbench.runs import read
from study import explorer, readings, report
from study.experiments import RESULTS
from study.notebook import output_folder, results, setting
from study.numbers import Numbers

PARTS = ("model.py", "normbench", "study", "docs", "images", NOTEBOOK.name, ".gitignore")
FIGURES = {"samples", "normalizations", "test_loss", "test_accuracy", "overview"}
FIGURES |= {f"misclassified_{name}" for name in ("bn_l1", "gn", "ln")}
FIGURES |= {"mistakes"}
SHOWN = {"head_to_head", "cifar10", "small_batches", "rates", "penalties", "luck"}


# Headless


@pytest.fixture(scope="module")
def headless(tmp_path_factory):
    """A clone of the project where the notebook was run for an epoch on digits: folder, exit status, what it said."""
    clone = tmp_path_factory.mktemp("clone")
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, clone / part)
    committed(clone)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"EPOCHS": "1", "DATASET": "digits", "SEED": "7", "OUTPUT_DIR": "runs"}
    command = [sys.executable, "-m", "study", "notebook"]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True)
    return clone, done.returncode, done.stdout.decode(), done.stderr.decode()


def test_headless_shows_how_far_it_is_and_the_results(headless):
    _, status, shown, progress = headless
    assert status == 0, progress
    for label in ("BN + L1", "GN", "LN"):
        assert label in shown.replace("\N{NO-BREAK SPACE}", " ") and f"\r{label}" in progress
    assert "S5_Normalization.html" in shown.splitlines()[-1]
    assert "seed: 7" in progress and "scikit-learn's digits: 1,500 training" in progress
    assert "Conv2d" not in progress and "variance" not in progress, "what belongs into the notebook alone"


def test_headless_makes_results_figures_and_a_page_and_leaves_the_checkout_clean(headless):
    clone, *_ = headless
    trained = read(clone / "runs" / "results" / "notebook.jsonl")
    assert [run.recipe.norm for run in trained] == ["BN", "GN:2", "LN"] and trained[0].recipe.l1 == 1e-4
    assert {(run.recipe.seed, run.recipe.epochs, run.dataset) for run in trained} == {(7, 1, "digits")}
    assert {path.stem for path in (clone / "runs" / "images").glob("*.png")} == FIGURES | SHOWN
    made = {"images", "results", NOTEBOOK.name, "S5_Normalization.html"}
    assert {path.name for path in (clone / "runs").iterdir()} == made
    assert git(clone, "status", "--porcelain") == ""


# As it is published


def test_the_published_notebook_shows_its_results():
    code = code_cells()
    outputs = [output for cell in code for output in cell.outputs]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == len(FIGURES | SHOWN)
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    assert NOTEBOOK.stat().st_size < 2 * 2**20
    assert len(cells()) <= 60
    assert max(len(cell.source.splitlines()) for cell in code if "display-mode" not in cell.source) <= 30
    lines = [line for cell in code for line in cell.source.splitlines() if "#@param" not in line]  # Colab makes a form
    assert max(map(len, lines)) <= 100, "cut at the edge"


def test_the_published_notebook_says_what_the_published_runs_say():
    """All its generated text, word by word: no number differs from those in study/results/."""
    finished = read(RESULTS / "notebook.jsonl")
    outputs = [output for cell in code_cells() for output in cell.outputs]
    shown = [output.data["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {})]
    expected = [report.results_table(finished), report.findings(finished), report.parameters_table()]
    expected += [report.page(name) for name in ("trainable.md", "slips.md", "claims.md", "answer.md")]
    expected += [report.reading(name) for name in SHOWN]
    assert [text for text in expected if text not in shown] == []
    assert [text for text in shown if text not in expected] == []
    assert results(nbformat.read(NOTEBOOK, as_version=4)) == expected[0]
    frames = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert frames == [explorer.frame()]


def test_the_headings_say_what_the_results_bear_out():
    """A heading of section 8 is a finding: each with the numbers that make it true."""
    n = Numbers()
    answer, rates = readings.Answer(n), readings.Rates(n)
    bears_out = {
        "8.1 · On MNIST the choice makes no measurable difference": answer.mnist.differing == [],
        "8.2 · On photos, batch, group and layer norm cannot be told apart": answer.cifar10.differing == [],
        "8.3 · With 2 images per batch, batch norm falls behind": min(lead.low for lead in answer.leads_at_2) > 0,
        "8.4 · Without normalization, high learning rates fail more often": rates.p_fails_more_without < 0.05,
        "8.5 · A weak L1 penalty neither helps nor harms batch norm": "BN" not in readings.HeadToHead(n).moved_by_l1,
        "8.6 · A record comes from trying many seeds": n.claims["best epoch"].interval.estimate < 0.05,
    }
    headings = [cell.source.removeprefix("### ") for cell in cells() if cell.source.startswith("### ")]
    assert headings == list(bears_out)
    assert [heading for heading, is_true in bears_out.items() if not is_true] == []


def test_the_checklist_leads_to_the_sections():
    headings = [line for cell in cells() for line in cell.source.splitlines() if line.startswith("## ")]
    anchors = {"#" + heading.removeprefix("## ").replace(" ", "-") for heading in headings}
    asked = re.findall(r"\]\((#.*?)\)", cells()[0].source)
    assert len(asked) >= 5 and set(asked) <= anchors


# Settings


def test_settings(monkeypatch):
    monkeypatch.setenv("SOME", " 3 ")
    assert setting("SOME", 5) == 3 and setting("SOME", "x") == "3" and setting("OTHER", 5) == 5
    monkeypatch.setenv("SOME", "")
    assert setting("SOME", 5) == 5
    monkeypatch.setenv("SOME", "ten")
    with pytest.raises(ValueError, match="SOME must be a whole number, got 'ten'"):
        setting("SOME", 5)


def test_output_folder_is_tried_before_anything_is_computed(tmp_path):
    assert (output_folder(str(tmp_path / "new")) / "images").is_dir()
    with pytest.raises(OSError, match=r"cannot write to OUTPUT_DIR '/proc/1/x'.*name another folder"):
        output_folder("/proc/1/x")
