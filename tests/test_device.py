import subprocess
import sys

import pytest
import torch

from normbench import device
from normbench.device import choose_device, describe, device_name, epochs_bar


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ("tpu", "", "meta", "hpu", "cuda:99"))
def test_devices_that_cannot_be_used(name):
    with pytest.raises(ValueError, match=f"^DEVICE '{name}' cannot be used here .*; try auto or cpu$"):
        choose_device(name)


@pytest.mark.parametrize("threads, words", ((1, "1 thread,"), (2, "2 threads,")))
def test_name_of_a_cpu(threads, words, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert words in device_name(torch.device("cpu"))


def test_the_way_to_a_gpu_is_told_in_colab_alone(monkeypatch):
    assert "Runtime" not in describe(torch.device("cpu"))
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    assert "Change runtime type" in describe(torch.device("cpu"))


@pytest.mark.parametrize("done", (0, 2))
def test_the_progress_bar_counts_the_epochs_that_are_left(done, capsys):
    assert list(epochs_bar(3, "BN", done=done)) == [1, 2, 3][done:]
    assert "3/3 epochs" in capsys.readouterr().err
    assert list(epochs_bar(3, "BN", enabled=False, done=done)) == [1, 2, 3][done:]
    assert not capsys.readouterr().err


def test_commit_tells_changed_code_from_changed_results(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "__file__", str(tmp_path / "normbench" / "device.py"))
    for part in ("normbench/device.py", "model.py", "results/runs.jsonl"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).write_text("first")
    commit = device.commit.__wrapped__
    assert commit() == "", "a copy without its history"
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(tmp_path)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run(git + command, check=True)
    clean = commit()
    assert len(clean) == 40
    (tmp_path / "results" / "runs.jsonl").write_text("second")
    assert commit() == clean
    (tmp_path / "model.py").write_text("second")
    assert commit() == clean + "-dirty"
