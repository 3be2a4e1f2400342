"""The notebook as its readers run it: headless, on Colab, and as it lies in the repository."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
from filelock import FileLock
from made_up import ROOT, interrupted
from nbformat.v4 import new_code_cell, new_notebook, new_output

from normbench.runs import read
from study import explorer, report
from study.colab import address, badge, give_address, renew
from study.experiments import EXPERIMENTS, RESULTS
from study.notebook import output_folder, results, run, setting

NOTEBOOK = ROOT / "S5_Normalization.ipynb"
PARTS = ("model.py", "normbench", "study", "docs", "images", NOTEBOOK.name, ".gitignore")
FIGURES = {"samples", "normalizations", "test_loss", "test_accuracy", "overview"}
FIGURES |= {f"misclassified_{name}" for name in ("bn_l1", "gn", "ln")}
FIGURES |= {"by_hand", "by_hand_gn"}
SHOWN = {"rates", "head_to_head", "groups", "length", "cifar10", "penalties", "l1_strength", "luck"}
SHOWN |= {"small_batches", "ghosts", "cifar10_ghosts"}
CIFAR10 = 4  # pictures of photographs, which are part of the project


def cells():
    return nbformat.read(NOTEBOOK, as_version=4).cells


def code_cells():
    return [cell for cell in cells() if cell.cell_type == "code"]


def git(folder, *arguments):
    command = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", folder, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def committed(folder):
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        git(folder, *arguments)
    return folder


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


# A run that is stopped, fails, or meets another


SMALL = """
import os
from pathlib import Path
assert not [name for name in os.listdir() if "kernel" in name], "its sockets lie elsewhere"
output = Path(os.environ["OUTPUT_DIR"])
assert (output / "go").exists(), "stopped"
(output / "images").mkdir(exist_ok=True)
(output / "images" / "new.png").write_text(os.environ["EPOCHS"])
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A notebook of one cell that fails until a file `go` lies in its unfinished run, and its folder."""
    cell = new_code_cell(SMALL, outputs=[new_output("stream", text="of an earlier run")])
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "small.ipynb")
    for name, value in {"OUTPUT_DIR": str(tmp_path / "out"), "EPOCHS": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "images").mkdir(parents=True)
    (tmp_path / "out" / "images" / "old.png").touch()
    (tmp_path / "out" / "small.ipynb").write_text("of the last run")
    return tmp_path


def test_a_failed_cell_is_said_in_a_line_and_replaces_nothing_and_the_next_call_goes_on(small, monkeypatch, capsys):
    with pytest.raises(ChildProcessError, match=r"AssertionError: stopped\nThe .*unfinished/small\.ipynb"):
        run(Path("small.ipynb"))
    assert (small / "out" / "small.ipynb").read_text() == "of the last run"
    unfinished = small / "out" / "unfinished"
    stopped = nbformat.read(unfinished / "small.ipynb", as_version=4)
    assert [output.output_type for output in stopped.cells[0].outputs] == ["error"], "none is of an earlier run"

    (unfinished / "go").touch()
    far_away = small / ("a folder whose name is too long for a socket" * 3)
    far_away.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(far_away))
    run(Path("small.ipynb"))
    assert "Going on" in capsys.readouterr().err
    assert not unfinished.exists() and nbformat.read(small / "out" / "small.ipynb", as_version=4).cells
    assert (small / "out" / "images" / "new.png").read_text() == "3", "moved when it is whole"
    assert (small / "out" / "images" / "old.png").exists(), "what is not replaced stays"


@pytest.fixture
def executed(small, monkeypatch):
    """The notebook is not executed: what is put into its unfinished run instead, and what lay there before."""
    seen = []

    def execute(source, target, environment):
        seen.append({path.name for path in target.parent.iterdir()} - {".lock"})
        shutil.copy(source, target)
        (target.parent / "images").mkdir(exist_ok=True)
        (target.parent / "images" / "new.png").touch()
        return nbformat.read(source, as_version=4)

    monkeypatch.setattr("study.executor.execute", execute)
    return seen


def leave_behind(folder, settings):
    (folder / "out" / "unfinished" / "checkpoints").mkdir(parents=True)
    (folder / "out" / "unfinished" / "settings.json").write_text(settings)


SETTINGS = {"EPOCHS": "3", "DATASET": "", "DATA_DIR": "", "SEED": "", "DEVICE": ""}


@pytest.mark.parametrize(
    "settings, goes_on",
    (
        (json.dumps(SETTINGS), True),
        (json.dumps(SETTINGS | {"EPOCHS": "4"}), False),
        (json.dumps({"EPOCHS": "3"}), False),
        ("", False),
        ('{"EPOCHS": ', False),
        ("[3]", False),
    ),
)
def test_a_stopped_run_is_gone_on_with_only_if_its_settings_are_known_and_the_same(
    small, executed, monkeypatch, settings, goes_on
):
    for name in ("DATASET", "DATA_DIR", "SEED", "DEVICE"):
        monkeypatch.delenv(name, raising=False)
    leave_behind(small, settings)
    run(Path("small.ipynb"))
    assert executed == [{"settings.json", "checkpoints"} if goes_on else {"settings.json"}]
    assert {path.name for path in (small / "out").iterdir()} == {"images", "results", "small.ipynb", "small.html"}


def test_a_page_that_cannot_be_written_costs_nothing_else(small, executed, monkeypatch):
    def fail(notebook, path):
        raise RuntimeError("no such template")

    monkeypatch.setattr("study.html.write_page", fail)
    with pytest.raises(OSError, match=r"small\.html.*no such template"):
        run(Path("small.ipynb"))
    assert nbformat.read(small / "out" / "small.ipynb", as_version=4).cells
    assert (small / "out" / "images" / "new.png").exists() and not (small / "out" / "unfinished").exists()


def test_two_runs_do_not_share_an_unfinished_one(small, executed):
    leave_behind(small, json.dumps(SETTINGS))
    lock = FileLock(small / "out" / "unfinished" / ".lock")
    with lock, pytest.raises(OSError, match=r"another run is at work in .*OUTPUT_DIR"):
        run(Path("small.ipynb"))
    assert executed == [] and (small / "out" / "unfinished" / "checkpoints").is_dir()
    run(Path("small.ipynb"))
    assert len(executed) == 1


WAITS = """
import os, threading
open(os.environ["OUTPUT_DIR"] + "/begun", "w").write("x")
threading.Event().wait()
"""


def test_ctrl_c(small):
    nbformat.write(new_notebook(cells=[new_code_cell(WAITS)]), small / "small.ipynb")
    status, said = interrupted(["-m", "study", "notebook", "small.ipynb"], small, "begun")
    assert status == 130 and said.startswith("Stopped; finished epochs are kept in ")
    assert (small / "out" / "unfinished" / "settings.json").exists()


# Colab: the cells up to the folder of results, run here


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """Run the first code cells with a google.colab that mounts tmp_path/drive; return their variables."""
    monkeypatch.setenv("OUTPUT_DIR", "")
    monkeypatch.delenv("OUTPUT_DIR")  # so that it is gone again afterwards
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "runtime").mkdir()
    monkeypatch.chdir(tmp_path / "runtime")

    def mount(path, consent):
        assert path == str(tmp_path / "drive")
        if not consent:
            raise ValueError("mount failed")

    def ran(consent=True, repository="", is_colab=True, form=()):
        google = ModuleType("google")
        google.colab = SimpleNamespace(drive=SimpleNamespace(mount=lambda path: mount(path, consent)))
        monkeypatch.setitem(sys.modules, "google", google)
        monkeypatch.setitem(sys.modules, "google.colab", google.colab if is_colab else None)
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        give_address(notebook, str(repository))
        variables = {}
        for cell in [cell for cell in notebook.cells if cell.cell_type == "code"][:5]:
            for old, new in (("/content", str(tmp_path)), *form):
                cell.source = cell.source.replace(old, new)
            exec(cell.source, variables)
        return SimpleNamespace(**variables)

    return ran


def put_project(folder, parts=("model.py", "normbench", "study", "docs", "images")):
    """What the notebook takes for the project."""
    for part in parts:
        (folder / part).mkdir(parents=True)
        (folder / part / "file").touch()
    return folder


def test_on_colab_with_the_project_in_drive(colab, tmp_path):
    in_drive = put_project(tmp_path / "drive" / "MyDrive" / "S5_Normalization")
    ran = colab(repository="/nothing/is/cloned")
    assert ran.project == in_drive and sys.path[0] == str(in_drive)
    assert ran.results == in_drive / "runs" / "results" / "notebook.jsonl", "results outlive the runtime"
    assert ran.images.is_dir() and not (tmp_path / "S5_Normalization").exists()


def test_on_colab_with_nothing_in_drive(colab, tmp_path):
    """The project is cloned, once; results are kept in Drive all the same."""
    repository = committed(put_project(tmp_path / "elsewhere"))
    ran = colab(repository=repository)
    assert ran.project == tmp_path / "S5_Normalization"
    assert ran.output == tmp_path / "drive" / "MyDrive" / "S5_Normalization" / "runs"
    shutil.rmtree(repository)
    assert colab(repository=repository).project == ran.project


@pytest.mark.parametrize("form", ((), [("USE_DRIVE = True", "USE_DRIVE = False")]))
def test_on_colab_without_drive(colab, tmp_path, form, capsys):
    """A refusal is a line, and without asking there is none."""
    ran = colab(consent=False, repository=committed(put_project(tmp_path / "elsewhere")), form=form)
    assert ("Drive is not mounted (mount failed): results stay in" in capsys.readouterr().out) == (not form)
    assert ran.output == Path("runs") and (tmp_path / "runtime" / "runs" / "images").is_dir()


@pytest.mark.parametrize(
    "present, missing", (((), "model.py, normbench, study, docs, images"), (("study", "docs", "images"), None))
)
@pytest.mark.parametrize("repository", ("", "/no/such/repository"))
def test_on_colab_with_the_project_or_a_part_of_it_missing(colab, tmp_path, present, missing, repository, capsys):
    put_project(tmp_path / "drive" / "MyDrive" / "S5_Normalization", present)
    missing = missing or "model.py, normbench"
    with pytest.raises(FileNotFoundError, match=f"copy {missing} of the project to MyDrive/S5_Norm.*\n.*or clone"):
        colab(repository=repository)
    assert ("'/no/such/repository' does not exist" in capsys.readouterr().out) == bool(repository)


def test_elsewhere_without_the_project(colab):
    with pytest.raises(FileNotFoundError, match=r"no model\.py, normbench, study, docs, images here: start Jupyter"):
        colab(is_colab=False)


def test_the_notebook_imports_nothing_that_colab_lacks():
    (imports,) = (cell.source for cell in code_cells() if "from study" in cell.source)
    lacking = ("latex2mathml", "tyro", "ray", "nbclient", "nbconvert")
    code = f"import sys; sys.modules |= dict.fromkeys({lacking})\n{imports}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# As it is published


def test_the_published_notebook_shows_its_results():
    code = code_cells()
    outputs = [output for cell in code for output in cell.outputs]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == len(FIGURES | SHOWN) + CIFAR10
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    assert NOTEBOOK.stat().st_size < 2 * 2**20
    assert len(cells()) <= 66 and max(len(cell.source.splitlines()) for cell in code) <= 25
    assert max(len(line) for cell in code for line in cell.source.splitlines()) <= 100, "cut at the edge"


def test_the_published_notebook_shows_the_project_s_pictures():
    """Not those of networks that were there before."""
    (cell,) = (cell for cell in cells() if "cifar10_{name}" in cell.source)
    names = "samples", "misclassified_bn", "misclassified_gn", "misclassified_ln"
    assert all(f'"{name}"' in cell.source for name in names)
    for name, output in zip(names, cell.outputs, strict=True):
        assert base64.b64decode(output.data["image/png"]) == (report.IMAGES / f"cifar10_{name}.png").read_bytes()


def test_the_published_notebook_says_what_the_published_runs_say():
    """All its generated text, word by word: no number differs from those in study/results/."""
    finished = read(RESULTS / "notebook.jsonl")
    outputs = [output for cell in code_cells() for output in cell.outputs]
    shown = [output.data["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {})]
    expected = [report.results_table(finished), report.findings(finished), report.parameters_table()]
    expected += [report.page(name) for name in ("trainable.md", "slips.md", "claims.md", "answer.md")]
    expected += [report.reading(name) for name in SHOWN]
    asked = ("rates", "head_to_head", "length", "cifar10", "penalties", "l1_strength")
    asked += ("small_batches", "ghosts", "cifar10_ghosts", "luck")
    expected += [f"*{EXPERIMENTS[name].question}*" for name in asked]
    assert [text for text in expected if text not in shown] == []
    assert [text for text in shown if text not in expected] == []
    assert results(nbformat.read(NOTEBOOK, as_version=4)) == expected[0]
    frames = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert frames == [explorer.frame()]


# Settings and addresses


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


def test_the_published_notebook_has_the_project_s_address(tmp_path):
    copied = shutil.copy(NOTEBOOK, tmp_path)
    assert not renew(Path(copied), address()), "`python -m study report` puts it there"


def test_an_address_and_its_badge(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nurls.Repository = "https://github.com/someone/norms.git"\n')
    assert address(tmp_path) == "https://github.com/someone/norms"
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    assert address(tmp_path) == ""
    assert "colab.research.google.com/github/someone/norms/blob/main/" in badge("https://github.com/someone/norms")
    assert badge("") == badge("https://example.org/someone/norms") == ""


def test_an_address_is_given_to_a_notebook_and_taken_back(tmp_path):
    path = Path(shutil.copy(NOTEBOOK, tmp_path))
    before = nbformat.read(path, as_version=4)
    for repository in ("https://github.com/someone/norms", "https://github.com/other/norms"):
        assert renew(path, repository) and not renew(path, repository)
        renewed = nbformat.read(path, as_version=4).cells
        assert renewed[0].source.startswith(badge(repository)) and f'REPOSITORY = "{repository}"' in renewed[3].source
    assert renew(path, address()) and nbformat.read(path, as_version=4) == before
