"""A run of a notebook that is stopped, fails, or meets another."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock
from made_up import ROOT, interrupted
from nbformat.v4 import new_code_cell, new_notebook, new_output

from study.notebook import run

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
