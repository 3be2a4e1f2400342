"""The notebook on Colab: the cells up to the folder of results, run here, and the project's address."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
from made_up import ROOT
from published import NOTEBOOK, code_cells, committed

from study.colab import address, badge, give_address, pack, renew


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
    assert sys.path[0] == str(in_drive)
    assert ran.results == in_drive / "runs" / "results" / "notebook.jsonl", "results outlive the runtime"
    assert ran.images.is_dir() and not (tmp_path / "S5_Normalization").exists()


def test_on_colab_with_the_zip_uploaded(colab, tmp_path):
    pack(tmp_path / "S5_Normalization.zip", put_project(tmp_path / "elsewhere"))
    ran = colab(repository="/nothing/is/cloned")
    unpacked = tmp_path / "S5_Normalization"
    assert sys.path[0] == str(unpacked) and (unpacked / "study" / "file").exists()
    assert ran.output == Path("runs") and (tmp_path / "runtime" / "runs" / "images").is_dir(), "Drive is not asked for"
    (unpacked / "model.py" / "changed").touch()
    sys.path.pop(0)
    colab()
    assert sys.path[0] == str(unpacked) and (unpacked / "model.py" / "changed").exists(), "it is unpacked once"


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
    assert sys.path[0] == str(tmp_path / "S5_Normalization")
    assert ran.output == tmp_path / "drive" / "MyDrive" / "S5_Normalization" / "runs"
    shutil.rmtree(repository)
    sys.path.pop(0)
    colab(repository=repository)
    assert sys.path[0] == str(tmp_path / "S5_Normalization"), "it is cloned once"


def test_on_colab_drive_may_be_refused(colab, tmp_path, capsys):
    ran = colab(consent=False, repository=committed(put_project(tmp_path / "elsewhere")), form=WITH_DRIVE)
    assert "Drive is not mounted (mount failed): results stay on" in capsys.readouterr().out
    assert ran.output == Path("runs") and (tmp_path / "runtime" / "runs" / "images").is_dir()


@pytest.mark.parametrize("present", ((), ("study", "docs", "images")))
@pytest.mark.parametrize("repository", ("", "/no/such/repository"))
def test_on_colab_with_nothing_or_a_part_of_it_there(colab, tmp_path, present, repository, capsys):
    put_project(tmp_path / "drive" / "MyDrive" / "S5_Normalization", present)
    with pytest.raises(FileNotFoundError, match=r"upload S5_Normalization\.zip .*or copy .*MyDrive/S5_Norm.*USE_DRIVE"):
        colab(repository=repository, form=WITH_DRIVE)
    assert ("'/no/such/repository' does not exist" in capsys.readouterr().out) == bool(repository)


def test_elsewhere_without_the_project(colab):
    with pytest.raises(FileNotFoundError, match=r"is not here: .*or start Jupyter in its folder"):
        colab(is_colab=False)


def test_the_notebook_imports_nothing_that_colab_lacks():
    imports = "\n".join(
        re.findall(r"^(?:from|import) .*", "\n".join(cell.source for cell in code_cells()), re.MULTILINE)
    )
    imports = imports.replace("from google.colab import drive", "")
    lacking = ("latex2mathml", "tyro", "ray", "nbclient", "nbconvert")
    code = f"import sys; sys.modules |= dict.fromkeys({lacking})\n{imports}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# The project's address


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
