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
from normbench.colab import address, badge, give_address, renew
from normbench.experiments import EXPERIMENTS
from normbench.notebook import _results, main, output_folder, setting

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "S5_Normalization.ipynb"
PARTS = ("model.py", "normbench", "results", "images", NOTEBOOK.name)
FIGURES = {"samples", "normalizations", "test_loss", "test_accuracy", "overview"}
FIGURES |= {f"misclassified_{name}" for name in ("bn_l1", "gn", "ln")}
FIGURES |= {"by_hand", "by_hand_gn"}
SHOWN = {"rates", "head_to_head", "groups", "length", "cifar10", "penalties", "l1_strength", "luck"}
SHOWN |= {"small_batches", "ghosts", "cifar10_ghosts"}
CIFAR10 = 4  # pictures of photographs, which are part of the project


def copy_project(folder, parts=PARTS):
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)


def repository_of_the_project(folder, parts=PARTS):
    copy_project(folder, parts)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(folder)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run(git + command, check=True)
    return folder


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
    repository_of_the_project(clone, [*PARTS, ".gitignore"])

    code, shown, progress = run_headless(clone, SEED="7")
    assert code == 0, progress
    for label in ("BN + L1", "GN", "LN"):
        assert f"| {label} |" in shown.replace("\N{NO-BREAK SPACE}", " ") and f"\r{label} " in progress
    assert shown.rstrip().endswith("open runs/S5_Normalization.html in a browser.")
    assert "seed: 7" in progress and "scikit-learn's digits: 1,500 training" in progress
    assert "Conv2d" not in progress and "variance" not in progress, "what belongs into the notebook alone"
    trained = runs.read(clone / "runs" / "results" / "notebook.jsonl")
    assert [run.config.label for run in trained] == ["BN + L1", "GN", "LN"]
    assert {(run.config.seed, run.config.epochs, run.dataset) for run in trained} == {(7, 1, "digits")}
    assert {path.stem for path in (clone / "runs" / "images").glob("*.png")} == FIGURES | SHOWN
    made = {"images", "results", NOTEBOOK.name, "S5_Normalization.html"}
    assert {path.name for path in (clone / "runs").iterdir()} == made
    git = ["git", "-C", str(clone)]
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


@pytest.fixture
def colab(environment, tmp_path):
    """Makes a client of the notebook alone in a folder, with a google.colab that mounts tmp_path/drive."""
    environment.delenv("OUTPUT_DIR")
    environment.setenv("PYTHONPATH", str(tmp_path / "site"))

    def client(consent=True, repository="", form=()):
        refusal = "" if consent else "    raise ValueError('mount failed')\n"
        package = tmp_path / "site" / "google" / "colab"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        (package / "drive.py").write_text(
            f"def mount(path):\n    assert path == {str(tmp_path / 'drive')!r}\n{refusal}"
        )
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        give_address(notebook, str(repository))
        for cell in notebook.cells:
            for old, new in (("/content", str(tmp_path)), *form):
                cell.source = cell.source.replace(old, new)
        (tmp_path / "runtime").mkdir(exist_ok=True)
        return NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path / "runtime")}})

    return client


def test_the_notebook_imports_nothing_that_colab_lacks():
    notebook, _ = published()
    (imports,) = (cell.source for cell in notebook.cells if "from normbench" in cell.source)
    lacking = ("latex2mathml", "tyro", "ray")
    code = f"import sys; sys.modules |= dict.fromkeys({lacking})\n{imports}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def said(client):
    return "".join(out.get("text", "") for cell in client.nb.cells for out in cell.get("outputs", ()))


def test_on_colab_with_the_project_in_drive(colab, tmp_path):
    in_drive = tmp_path / "drive" / "MyDrive" / "S5_Normalization"
    copy_project(in_drive, PARTS[:4])
    colab(repository="/nothing/is/cloned").execute()
    assert (in_drive / "runs" / "images" / "overview.png").exists(), "results outlive the runtime"
    assert not (tmp_path / "S5_Normalization").exists()


def test_on_colab_with_nothing_in_drive(colab, tmp_path):
    """The project is cloned, once; results are kept in Drive all the same."""
    address = repository_of_the_project(tmp_path / "elsewhere")
    colab(repository=address).execute()
    assert (tmp_path / "drive" / "MyDrive" / "S5_Normalization" / "runs" / "results" / "notebook.jsonl").exists()
    shutil.rmtree(address)
    short = colab(repository=address)
    short.nb.cells = short.nb.cells[:5]  # up to the imports
    short.execute()
    assert said(short) == ""


@pytest.mark.parametrize("form", ((), [("USE_DRIVE = True", "USE_DRIVE = False")]))
def test_on_colab_without_drive(colab, tmp_path, form):
    """A refusal is a line, and without asking there is none."""
    client = colab(consent=False, repository=repository_of_the_project(tmp_path / "elsewhere"), form=form)
    client.nb.cells = client.nb.cells[:7]  # up to the folder of results
    client.execute()
    assert ("Drive is not mounted (mount failed): results stay in" in said(client)) == (not form)
    assert (tmp_path / "runtime" / "runs" / "images").is_dir()


@pytest.mark.parametrize("copied, missing", ((0, "model.py, normbench, results, images"), (3, "images")))
@pytest.mark.parametrize("repository", ("", "/no/such/repository"))
def test_on_colab_with_the_project_or_a_part_of_it_missing(colab, tmp_path, copied, missing, repository):
    copy_project(tmp_path / "drive" / "MyDrive" / "S5_Normalization", PARTS[:copied])
    client = colab(repository=repository)
    with pytest.raises(Exception, match=f"copy {missing} of the project to MyDrive/S5_Norm.*\n.*or clone"):
        client.execute()
    assert ("'/no/such/repository' does not exist" in said(client)) == bool(repository)


def test_elsewhere_without_the_project(environment, tmp_path):
    client = NotebookClient(nbformat.read(NOTEBOOK, as_version=4), resources={"metadata": {"path": str(tmp_path)}})
    with pytest.raises(Exception, match=r"no model\.py, normbench, results, images here: start Jupyter"):
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
    asked = ("rates", "head_to_head", "length", "cifar10", "penalties", "l1_strength")
    asked += ("small_batches", "ghosts", "cifar10_ghosts", "luck")
    expected += [f"*{EXPERIMENTS[name].question}*" for name in asked]
    assert [text for text in expected if text not in shown] == []
    assert [text for text in shown if text not in expected] == []
    assert _results(notebook) == expected[0]
    frames = [
        output.data["text/html"] for cell in code for output in cell.outputs if "text/html" in output.get("data", {})
    ]
    assert frames == [report.explorer()]


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
    assert not renew(Path(copied), address()), "normbench report puts the address of pyproject.toml into the notebook"


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
        cells = nbformat.read(path, as_version=4).cells
        assert cells[0].source.startswith(badge(repository)) and f'REPOSITORY = "{repository}"' in cells[3].source
    assert renew(path, address()) and nbformat.read(path, as_version=4) == before
