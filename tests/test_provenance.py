import platform
import subprocess

import numpy as np
import pytest
import torch

from normbench.training import provenance
from normbench.training.provenance import versions


def test_versions_of_what_a_trainings_numbers_depend_on():
    found = versions()
    assert found["python"] == platform.python_version()
    assert (found["torch"], found["numpy"]) == (torch.__version__, np.__version__)
    assert all(isinstance(version, str) for version in found.values())


def commit_all(folder, *paths):
    for arguments in (["init", "-q"], ["add", *paths], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(folder), *arguments], check=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of the code in a folder of its own, without its history."""
    package = tmp_path / "normbench"
    for part in ("normbench/training/provenance.py", "model.py", "study/results/runs.jsonl"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_text("first")
    monkeypatch.setattr(provenance, "__file__", str(package / "training" / "provenance.py"))
    monkeypatch.setattr(provenance, "PACKAGE", package)
    return tmp_path


commit = provenance.commit.__wrapped__  # which remembers the first answer for the life of the process


def test_commit_tells_changed_code_from_changed_results(checkout):
    assert commit() == "", "a copy without its history"
    commit_all(checkout, ".")
    clean = commit()
    assert len(clean) == 40
    (checkout / "study" / "results" / "runs.jsonl").write_text("second")
    assert commit() == clean
    (checkout / "model.py").write_text("second")
    assert commit() == clean + "-dirty"


def test_the_commit_is_never_that_of_a_users_repository_around_the_package(checkout):
    """As in a virtual environment inside the user's own repository."""
    commit_all(checkout, "model.py")
    assert commit() == ""


def test_no_commit_without_git(checkout, monkeypatch):
    commit_all(checkout, ".")
    monkeypatch.setenv("PATH", str(checkout))
    assert commit() == ""
