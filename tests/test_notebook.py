"""The notebook as its readers run it: headless, on Colab, and as it lies in the repository."""

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import interrupted
from nbclient import NotebookClient

from normbench import report, runs
from normbench.experiments import EXPERIMENTS
from normbench.notebook import _results, main, output_folder, setting

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "S5_Normalization.ipynb"
PARTS = ("model.py", "normbench", "results", "images", NOTEBOOK.name)
FIGURES = {"samples", "normalizations", "test_loss", "test_accuracy", "overview"}
FIGURES |= {f"misclassified_{name}" for name in ("bn_l1", "gn", "ln")}
FIGURES |= {"by_hand", "by_hand_gn"}
SHOWN = {"rates", "head_to_head", "groups", "cifar10", "penalties", "l1_strength", "batch_size", "luck"}
CIFAR10 = 4  # pictures of photographs, which are part of the project


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
    settings = dict(EPOCHS="1", DATASET="digits", OUTPUT_DIR="runs") | environment
    command = [sys.executable, "-m", "normbench.notebook", NOTEBOOK.name]
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
    trained = runs.read(clone / "runs" / "results" / "notebook.jsonl")
    assert [run.config.label for run in trained] == ["BN + L1", "GN", "LN"]
    assert {(run.config.seed, run.config.epochs, run.dataset) for run in trained} == {(7, 1, "digits")}
    assert {path.stem for path in (clone / "runs" / "images").glob("*.png")} == FIGURES | SHOWN
    assert {path.name for path in (clone / "runs").iterdir()} == {"images", "results", NOTEBOOK.name}
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    assert status.stdout == ""


@pytest.mark.parametrize(
    "environment, message",
    (
        (dict(DATASET="imagenet"), "FileNotFoundError: unknown data set 'imagenet'"),
        (dict(EPOCHS="0"), "ValueError: epochs must be at least 1, got 0"),
    ),
)
def test_headless_says_what_is_wrong_in_one_line_and_replaces_nothing(tmp_path, environment, message):
    copy_project(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / NOTEBOOK.name).write_text("of the last run")
    code, _, said = run_headless(tmp_path, **environment)
    assert code == 2 and "Traceback" not in said
    error, where = said.splitlines()[-2:]
    assert error.startswith(message) and where.endswith(f"runs/unfinished/{NOTEBOOK.name}")
    assert (tmp_path / "runs" / NOTEBOOK.name).read_text() == "of the last run"
    stopped = nbformat.read(tmp_path / "runs" / "unfinished" / NOTEBOOK.name, as_version=4)
    assert _results(stopped) == "", "no output is that of another run"


SMALL = """
import os
from pathlib import Path
output = Path(os.environ["OUTPUT_DIR"])
assert (output / "go").exists(), "stopped"
(output / "images" / "new.png").parent.mkdir(exist_ok=True)
(output / "images" / "new.png").write_text(os.environ["EPOCHS"])
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A notebook of one cell that fails until a file `go` lies in its unfinished run."""
    cell = nbformat.v4.new_code_cell(SMALL, outputs=[nbformat.v4.new_output("stream", text="of an earlier run")])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "small.ipynb")
    monkeypatch.setenv("OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setenv("EPOCHS", "3")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rerun(folder, monkeypatch):
    monkeypatch.setenv("OUTPUT_DIR", str(folder / "out"))  # main hands the unfinished folder on to the kernel
    return main(["small.ipynb"])


def test_a_run_that_was_stopped_is_gone_on_with(small, monkeypatch, capsys):
    (small / "out" / "images").mkdir(parents=True)
    (small / "out" / "images" / "old.png").touch()
    assert main(["small.ipynb"]) == 2
    unfinished = small / "out" / "unfinished"
    (cell,) = nbformat.read(unfinished / "small.ipynb", as_version=4).cells
    assert [output.output_type for output in cell.outputs] == ["error"]
    (unfinished / "go").touch()
    assert rerun(small, monkeypatch) == 0 and "Going on" in capsys.readouterr().err
    assert not unfinished.exists() and (small / "out" / "small.ipynb").exists()
    assert (small / "out" / "images" / "new.png").read_text() == "3", "moved when it is whole"
    assert (small / "out" / "images" / "old.png").exists(), "what is not replaced stays"


def test_with_other_settings_a_stopped_run_begins_anew(small, monkeypatch, capsys):
    assert main(["small.ipynb"]) == 2
    (small / "out" / "unfinished" / "go").touch()
    monkeypatch.setenv("EPOCHS", "4")
    assert rerun(small, monkeypatch) == 2, "what the stopped run left is gone"
    assert "another EPOCHS: beginning anew" in capsys.readouterr().err


WAITS = """
import os, threading
open(os.environ["OUTPUT_DIR"] + "/begun", "w").write("x")
threading.Event().wait()
"""


def test_ctrl_c(small):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(WAITS)]), small / "small.ipynb")
    status, said = interrupted(["-m", "normbench.notebook", "small.ipynb"], small, "begun")
    assert status == 130 and said.startswith("Stopped. Finished epochs are kept in ")


@pytest.mark.parametrize("arguments", ([], ["missing.ipynb"], ["a", "b"]))
def test_called_without_a_notebook(arguments, capsys):
    assert main(arguments) == 2 and capsys.readouterr().err.startswith("usage: ")


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
    copy_project(drive / "MyDrive" / "S5_Normalization", PARTS[:4])
    environment.setenv("PYTHONPATH", str(tmp_path / "site"))
    client.execute()
    assert (tmp_path / "out" / "images" / "overview.png").exists()


@pytest.mark.parametrize("copied", (0, 1, 3))
def test_on_colab_with_the_project_or_a_part_of_it_missing(environment, tmp_path, copied):
    drive = tmp_path / "drive"
    client = colab_notebook(tmp_path, drive)
    copy_project(drive / "MyDrive" / "S5_Normalization", PARTS[:copied])
    environment.setenv("PYTHONPATH", str(tmp_path / "site"))
    with pytest.raises(Exception, match=r"copy model\.py, normbench, results, images to MyDrive/S5_Norm"):
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


def published():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    return notebook, [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_published_notebook_shows_its_results():
    notebook, code = published()
    outputs = [output for cell in code for output in cell.outputs]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == len(FIGURES | SHOWN) + CIFAR10
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    assert NOTEBOOK.stat().st_size < 2 * 2**20
    assert len(notebook.cells) <= 66 and max(len(cell.source.splitlines()) for cell in code) <= 25
    assert max(len(line) for cell in code for line in cell.source.splitlines()) <= 100, "cut at the edge"


def test_the_published_notebook_shows_the_project_s_pictures():
    """Not those of networks that were there before."""
    (cell,) = (cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if "cifar10_{name}" in cell.source)
    names = "samples", "misclassified_bn", "misclassified_gn", "misclassified_ln"
    assert all(f'"{name}"' in cell.source for name in names)
    for name, output in zip(names, cell.outputs, strict=True):
        assert base64.b64decode(output.data["image/png"]) == (report.IMAGES / f"cifar10_{name}.png").read_bytes()


def test_the_published_notebook_says_what_the_published_runs_say():
    """All its generated text, word by word: no number differs from those in results/."""
    finished = runs.read(ROOT / "results" / "notebook.jsonl")
    notebook, code = published()
    shown = [
        output.data["text/markdown"]
        for cell in code
        for output in cell.outputs
        if "text/markdown" in output.get("data", {})
    ]
    expected = [report.results_table(finished), report.findings(finished), report.parameters_table()]
    expected += [report.page(name) for name in ("trainable.md", "slips.md", "claims.md", "answer.md")]
    expected += [report.reading(name) for name in SHOWN]
    asked = ("rates", "head_to_head", "cifar10", "penalties", "batch_size", "luck")
    expected += [f"*{EXPERIMENTS[name].question}*" for name in asked]
    assert [text for text in expected if text not in shown] == []
    assert [text for text in shown if text not in expected] == []
    assert _results(notebook) == expected[0]


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
