"""The notebook as its readers run it: headless, on Colab, and as it lies in the repository."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
import torch
import torch.nn.functional as F
from filelock import FileLock
from made_up import ROOT, interrupted
from nbformat.v4 import new_code_cell, new_notebook, new_output

from normbench.runs import read
from normbench.training import train
from study import explorer, readings, report
from study.colab import address, badge, give_address, pack, renew
from study.experiments import RESULTS
from study.lesson import Lesson
from study.networks import build, study_recipe
from study.notebook import output_folder, results, run, setting
from study.numbers import Numbers

NOTEBOOK = ROOT / "S5_Normalization.ipynb"
PARTS = ("model.py", "normbench", "study", "docs", "images", NOTEBOOK.name, ".gitignore")
FIGURES = {"samples", "normalizations", "test_loss", "test_accuracy", "overview"}
FIGURES |= {f"misclassified_{name}" for name in ("bn_l1", "gn", "ln")}
FIGURES |= {"mistakes"}
SHOWN = {"head_to_head", "cifar10", "small_batches", "rates", "penalties", "luck"}


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
    def fail(*_, **__):
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


def test_sigterm_ends_it_like_ctrl_c_and_leaves_nothing_behind(small, monkeypatch):
    (small / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(small / "temporary"))
    monkeypatch.delenv("TMP", raising=False)
    nbformat.write(new_notebook(cells=[new_code_cell(WAITS)]), small / "small.ipynb")
    before = {path.name for path in small.iterdir()}
    status, said = interrupted(["-m", "study", "notebook", "small.ipynb"], small, "begun", signal.SIGTERM, kill=os.kill)
    assert status == 130 and said.startswith("Stopped; finished epochs are kept in ")
    assert {path.name for path in small.iterdir()} == before, "no sockets"
    assert list((small / "temporary").rglob("*kernel*")) == []


def test_two_at_once_from_another_folder_leave_the_checkout_alone(small, tmp_path_factory):
    elsewhere, source = tmp_path_factory.mktemp("elsewhere"), small / "source"
    source.mkdir()
    cell = new_code_cell("import os, time; time.sleep(1); print(os.environ['OUTPUT_DIR'])")
    nbformat.write(new_notebook(cells=[cell]), source / "small.ipynb")
    command = [sys.executable, "-m", "study", "notebook", str(source / "small.ipynb")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(command, cwd=elsewhere, env=environment | {"OUTPUT_DIR": name}, stderr=subprocess.PIPE)
        for name in ("one", "two")
    ]
    assert [(process.communicate()[1], process.returncode)[1] for process in running] == [0, 0]
    assert {path.name for path in elsewhere.iterdir()} == {"one", "two"}
    assert all((elsewhere / name / "small.html").exists() for name in ("one", "two"))
    assert [path.name for path in source.iterdir()] == ["small.ipynb"]


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
        for cell in [cell for cell in notebook.cells if cell.cell_type == "code"][:3]:
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


WITH_DRIVE = [("USE_DRIVE = False", "USE_DRIVE = True")]


def test_on_colab_with_the_folder_in_drive(colab, tmp_path):
    in_drive = put_project(tmp_path / "drive" / "MyDrive" / "S5_Normalization")
    ran = colab(repository="/nothing/is/cloned", form=WITH_DRIVE)
    assert ran.project == in_drive and sys.path[0] == str(in_drive)
    assert ran.results == in_drive / "runs" / "results" / "notebook.jsonl", "results outlive the runtime"
    assert ran.images.is_dir() and not (tmp_path / "S5_Normalization").exists()


def test_on_colab_with_the_zip_uploaded(colab, tmp_path):
    packed = pack(tmp_path / "S5_Normalization.zip", put_project(tmp_path / "elsewhere"))
    ran = colab(repository="/nothing/is/cloned")
    assert ran.project == tmp_path / "S5_Normalization" and (ran.project / "study" / "file").exists()
    assert ran.output == Path("runs") and (tmp_path / "runtime" / "runs" / "images").is_dir(), "Drive is not asked for"
    packed.unlink()
    assert colab().project == ran.project, "it is unpacked once"


def test_the_zip_holds_what_the_notebook_needs_and_is_small(tmp_path):
    packed = pack(tmp_path / "new" / "S5_Normalization.zip")
    assert packed.stat().st_size < 16 * 2**20
    with zipfile.ZipFile(packed) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "S5_Normalization")
    assert {"model.py", "study/results/notebook.jsonl", "docs/explorer.html", NOTEBOOK.name} <= names
    assert not any("__pycache__" in name for name in names)
    code = "from study import report, explorer; report.page('answer.md'); report.draw('luck'); explorer.frame()"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "S5_Normalization", check=True)


def test_on_colab_with_an_address(colab, tmp_path):
    """The project is cloned, once; results are kept in Drive if that is wanted."""
    repository = committed(put_project(tmp_path / "elsewhere"))
    ran = colab(repository=repository, form=WITH_DRIVE)
    assert ran.project == tmp_path / "S5_Normalization"
    assert ran.output == tmp_path / "drive" / "MyDrive" / "S5_Normalization" / "runs"
    shutil.rmtree(repository)
    assert colab(repository=repository).project == ran.project


def test_on_colab_drive_may_be_refused(colab, tmp_path, capsys):
    ran = colab(consent=False, repository=committed(put_project(tmp_path / "elsewhere")), form=WITH_DRIVE)
    assert "Drive is not mounted (mount failed): results stay in" in capsys.readouterr().out
    assert ran.output == Path("runs") and (tmp_path / "runtime" / "runs" / "images").is_dir()


@pytest.mark.parametrize("present", ((), ("study", "docs", "images")))
@pytest.mark.parametrize("repository", ("", "/no/such/repository"))
def test_on_colab_with_nothing_or_a_part_of_it_there(colab, tmp_path, present, repository, capsys):
    put_project(tmp_path / "drive" / "MyDrive" / "S5_Normalization", present)
    with pytest.raises(FileNotFoundError, match=r"upload S5_Normalization\.zip .*or copy .*MyDrive/S5_Norm.*USE_DRIVE"):
        colab(repository=repository, form=WITH_DRIVE)
    assert ("'/no/such/repository' does not exist" in capsys.readouterr().out) == bool(repository)


def test_elsewhere_without_the_project(colab):
    with pytest.raises(
        FileNotFoundError, match=r"\(model\.py, normbench, study, docs, images\) is not here: start Jupyter"
    ):
        colab(is_colab=False)


def test_the_notebook_imports_nothing_that_colab_lacks():
    imports = "\n".join(
        re.findall(r"^(?:from|import) .*", "\n".join(cell.source for cell in code_cells()), re.MULTILINE)
    )
    imports = imports.replace("from google.colab import drive", "")
    lacking = ("latex2mathml", "tyro", "ray", "nbclient", "nbconvert")
    code = f"import sys; sys.modules |= dict.fromkeys({lacking})\n{imports}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


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


# Its training loop


@pytest.fixture
def train_one(few_digits, tmp_path):
    """The function of the notebook's cell, on a few digits: two epochs."""
    (loop,) = (cell.source for cell in code_cells() if "def train_one" in cell.source)
    variables = {"output": tmp_path, "data": few_digits, "EPOCHS": 2, "SEED": 3, "torch": torch, "F": F}
    variables |= {"study_recipe": study_recipe, "build": build, "Lesson": Lesson}
    exec(loop, variables)
    return variables["train_one"]


@pytest.mark.parametrize("norm, l1", (("BN", 1e-4), ("GN:2", 0.0), ("LN", 0.0)))
def test_the_loop_in_the_cell_gives_what_the_fast_one_gives(train_one, few_digits, norm, l1):
    ours = train_one(norm, l1=l1)
    recipe = study_recipe(norm, l1=l1, epochs=2, seed=3)
    fast = train(build(recipe, few_digits), few_digits, recipe, progress=False)
    assert ours.recipe == fast.recipe and ours.test_set == fast.test_set and ours.parameters == fast.parameters
    for row, other in zip(ours.history, fast.history, strict=True):
        assert row.keys() == other.keys()
        for key in row.keys() - {"seconds"}:
            assert row[key] == pytest.approx(other[key], rel=2e-3, abs=2.1 if "accuracy" in key else 1e-6), key
    assert ours.history[0]["train_loss"] == pytest.approx(fast.history[0]["train_loss"], rel=1e-5)


def test_a_stopped_loop_goes_on_and_a_changed_one_begins_anew(train_one, monkeypatch):
    whole = train_one("LN")
    shutil.rmtree(train_one.__globals__["kept"])
    test = Lesson._tested
    monkeypatch.setattr(Lesson, "_tested", lambda lesson: test(lesson) if not lesson.history else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_one("LN")
    monkeypatch.setattr(Lesson, "_tested", test)
    seen = []
    batches = Lesson.batches
    monkeypatch.setattr(Lesson, "batches", lambda lesson: seen.append(lesson) or batches(lesson))
    again = train_one("LN")
    assert len(seen) == 1, "the second epoch alone"
    assert [row["test_loss"] for row in again.history] == [row["test_loss"] for row in whole.history]
    assert train_one("LN").errors == again.errors and len(seen) == 1, "a finished one is not trained again"
    changed = train_one.__code__.replace(co_consts=tuple(0.05 if c == 0.1 else c for c in train_one.__code__.co_consts))
    monkeypatch.setattr(train_one, "__code__", changed)
    assert train_one("LN").history != again.history and len(seen) == 3


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
        assert renewed[0].source.startswith(badge(repository)) and f'REPOSITORY = "{repository}"' in renewed[2].source
    assert renew(path, address()) and nbformat.read(path, as_version=4) == before
