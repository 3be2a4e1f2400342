import subprocess

import pytest
import torch

from normbench import device
from normbench.device import choose_device, describe


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert "Change runtime type" in describe(torch.device("cpu"))
    with pytest.raises(ValueError, match="DEVICE 'tpu' cannot be used here"):
        choose_device("tpu")


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
