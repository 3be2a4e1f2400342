"""The notebook as its readers run it: headless, on Colab, and as it lies in the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from normbench import experiments, parts, report, runs
from normbench.notebook import _results, output_folder, setting

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "S5_Normalization.ipynb"
PARTS = ("model.py", "normbench", "results", NOTEBOOK.name)
FIGURES = {"samples", "normalizations", "test_loss", "test_accuracy", "overview"}
FIGURES |= {f"misclassified_{name}" for name in ("bn_l1", "gn", "ln")}
FIGURES |= {"by_hand", "by_hand_gn", *parts.FIGURES}


def copy_project(folder, parts=PARTS):
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """What a headless run sets; and kernels do not see this test's own folder."""
    for name, value in dict(EPOCHS="1", DATASET="digits", OUTPUT_DIR=str(tmp_path / "out")).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return monkeypatch


def run_headless(folder, **environment):
    command = [sys.executable, "-m", "normbench.notebook", NOTEBOOK.name, f"runs/{NOTEBOOK.name}"]
    settings = dict(EPOCHS="1", DATASET="digits", OUTPUT_DIR="runs") | environment
    done = subprocess.run(command, cwd=folder, env=os.environ | settings, capture_output=True)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_headless(tmp_path):
    """Terminal output, results, figures; and a clean checkout afterwards."""
    clone = tmp_path / "clone"
    copy_project(clone, [*PARTS, ".gitignore"])
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(clone)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run(git + command, check=True)

    code, shown, progress = run_headless(clone, SEED="7")
    assert code == 0, progress
    for label in ("BN + L1", "GN", "LN"):
        assert f"| {label} |" in shown.replace("\N{NO-BREAK SPACE}", " ") and f"\r{label} " in progress
    assert shown.rstrip().endswith(f"The executed notebook: runs/{NOTEBOOK.name}")
    finished = runs.read(clone / "runs" / "results" / "notebook.jsonl")
    assert [run.config.label for run in finished] == ["BN + L1", "GN", "LN"]
    assert {(run.config.seed, run.config.epochs, run.dataset) for run in finished} == {(7, 1, "digits")}
    assert {path.stem for path in (clone / "runs" / "images").glob("*.png")} == FIGURES
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    assert status.stdout == ""


@pytest.mark.parametrize(
    "environment, message",
    (
        (dict(DATASET="imagenet"), "FileNotFoundError: unknown data set 'imagenet'"),
        (dict(EPOCHS="0"), "ValueError: epochs must be at least 1, got 0"),
    ),
)
def test_headless_says_what_is_wrong_in_one_line(tmp_path, environment, message):
    copy_project(tmp_path)
    code, _, said = run_headless(tmp_path, **environment)
    assert code == 2 and "Traceback" not in said
    error, where = said.splitlines()[-2:]
    assert error.startswith(message) and where == f"The notebook up to there: runs/{NOTEBOOK.name}"


def colab_notebook(tmp_path, drive, consent=True):
    """The notebook alone in a folder, with a google.colab whose Drive is `drive`."""
    refusal = "" if consent else "    raise ValueError('mount failed')\n"
    package = tmp_path / "site" / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "drive.py").write_text(f"def mount(path):\n    assert path == {str(drive)!r}\n{refusal}")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("/content/drive", str(drive))
    folder = tmp_path / "content"
    folder.mkdir()
    return NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})


def test_on_colab_with_the_project_in_drive(environment, tmp_path):
    drive = tmp_path / "drive"
    client = colab_notebook(tmp_path, drive)
    copy_project(drive / "MyDrive" / "S5_Normalization", PARTS[:3])
    environment.setenv("PYTHONPATH", str(tmp_path / "site"))
    client.execute()
    assert (tmp_path / "out" / "images" / "overview.png").exists()


@pytest.mark.parametrize("copied", (0, 1, 2))
def test_on_colab_with_the_project_or_a_part_of_it_missing(environment, tmp_path, copied):
    drive = tmp_path / "drive"
    client = colab_notebook(tmp_path, drive)
    copy_project(drive / "MyDrive" / "S5_Normalization", PARTS[:copied])
    environment.setenv("PYTHONPATH", str(tmp_path / "site"))
    with pytest.raises(Exception, match=r"copy model\.py and the folders normbench and results to MyDrive/S5_Norm"):
        client.execute()


def test_on_colab_without_consent(environment, tmp_path):
    client = colab_notebook(tmp_path, tmp_path / "drive", consent=False)
    environment.setenv("PYTHONPATH", str(tmp_path / "site"))
    with pytest.raises(Exception, match=r"Drive is not mounted \(mount failed\): run this cell again"):
        client.execute()


def test_elsewhere_without_the_project(environment, tmp_path):
    client = NotebookClient(nbformat.read(NOTEBOOK, as_version=4), resources={"metadata": {"path": str(tmp_path)}})
    with pytest.raises(Exception, match=r"no model\.py here"):
        client.execute()


def test_the_published_notebook_shows_its_results():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    elsewhere = 4 + 4  # study C's mistakes, which are MNIST's alone, and pictures of CIFAR-10
    assert sum("image/png" in output.get("data", {}) for output in outputs) == len(FIGURES) + elsewhere
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    assert NOTEBOOK.stat().st_size < 2 * 2**20
    assert max(len(cell.source.splitlines()) for cell in code) <= 25


def test_the_published_notebook_says_what_the_published_runs_say():
    """All its generated text, word by word: no number differs from those in results/."""
    published = runs.read(ROOT / "results" / "notebook.jsonl")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    shown = {
        cell.source: output.data["text/markdown"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "text/markdown" in output.get("data", {})
    }
    expected = {f'claim("{name}")': f"**Claim.** {each.claim}." for name, each in experiments.EXPERIMENTS.items()}
    expected |= {f'Markdown(part("{name}", folder))': parts.part(name) for name in parts.PARTS}
    expected |= {f'Markdown(part("{name}"))': parts.part(name) for name in ("parameters", "slips")}
    expected['Markdown(report.table(runs) + "\\n\\n" + report.conditions(runs))'] = (
        f"{report.table(published)}\n\n{report.conditions(published)}"
    )
    expected["Markdown(report.findings(runs))"] = report.findings(published)
    expected["Markdown(report.parameters_table())"] = report.parameters_table()
    assert shown == {source: expected[source] for source in shown}
    named = {name for name in parts.PARTS for source in shown if f'part("{name}"' in source}
    assert named == set(parts.PARTS) - {"results", "speed"}
    assert _results(notebook) == expected['Markdown(report.table(runs) + "\\n\\n" + report.conditions(runs))']


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
