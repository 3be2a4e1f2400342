import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from normbench.runs import append, read, run_all
from normbench.train import Config, train

A_TRAINING_WITHOUT_END = """
import threading, time
from multiprocessing import active_children
from normbench.data import load
from normbench.runs import run_all
from normbench.train import Config

def tell():
    while len(active_children()) < 2:
        time.sleep(0.1)
    time.sleep(5)  # the workers import torch
    print(*(child.pid for child in active_children()), flush=True)

if __name__ == "__main__":
    threading.Thread(target=tell).start()
    run_all([Config(epochs=5000, seed=seed) for seed in (1, 2)], load("digits"), "runs.jsonl", workers=2)
"""


def running(pid):
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "(zombie)" not in status.read_text()


@pytest.fixture(scope="module")
def run(few_digits):
    return train(Config("BN", l1=1e-4, epochs=2), few_digits, progress=False)


def test_what_is_written_is_read(run, tmp_path):
    path = tmp_path / "new" / "folder" / "runs.jsonl"
    append(run, path)
    append(dataclasses.replace(run, seconds=1.5), path)
    first, second = read(path)
    assert torch.equal(first.correct, run.correct) and first.errors == run.errors
    assert second.seconds == 1.5 and first.predictions is None
    for field in ("config", "dataset", "history", "parameters", "seconds", "device"):
        assert getattr(first, field) == getattr(run, field)


def test_a_broken_line_is_named(run, tmp_path):
    path = tmp_path / "runs.jsonl"
    append(run, path)
    path.write_text(path.read_text() + '{"config": {\n' + path.read_text())
    with pytest.raises(ValueError, match=r"runs\.jsonl, line 2 is not a finished run"):
        read(path)


def test_a_full_disk(run):
    with pytest.raises(OSError, match=r"cannot be saved to /dev/full: No space left"):
        append(run, "/dev/full")


def test_a_folder_that_is_a_file(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be saved to"):
        append(run, tmp_path / "file" / "runs.jsonl")


@pytest.mark.parametrize("workers", (1, 2))
def test_run_all_trains_what_is_missing_and_keeps_it(few_digits, tmp_path, monkeypatch, workers):
    path = tmp_path / "runs.jsonl"
    configs = [Config("GN", epochs=1, seed=seed) for seed in (2, 0, 1)]
    first = train(configs[1], few_digits, progress=False)
    append(first, path)
    found = run_all(configs, few_digits, path, workers, progress=False)
    assert [run.config for run in found] == configs
    assert found[1].seconds == first.seconds, "a kept run is not repeated"
    assert sorted(run.config.seed for run in read(path)) == [0, 1, 2]
    monkeypatch.setattr("normbench.runs.train", None)
    assert [run.errors for run in run_all(configs, few_digits, path)] == [run.errors for run in found]


def test_run_all_does_not_mix_data_sets(run, few_digits, tmp_path):
    path = tmp_path / "runs.jsonl"
    append(dataclasses.replace(run, dataset="other"), path)
    (new,) = run_all([run.config], few_digits, path, progress=False)
    assert new.dataset == "digits" and len(read(path)) == 2


def test_run_all_keeps_what_was_finished_before_an_error(few_digits, tmp_path):
    path = tmp_path / "runs.jsonl"
    with pytest.raises(FloatingPointError):
        run_all([Config("GN", epochs=1), Config("none", lr=1e20, epochs=1)], few_digits, path, progress=False)
    assert [run.config.nm for run in read(path)] == ["GN"]


def test_run_all_knows_before_it_trains_that_it_cannot_save(few_digits, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("normbench.runs.train", None)
    with pytest.raises(OSError, match="cannot be saved to"):
        run_all([Config()], few_digits, tmp_path / "file" / "runs.jsonl")
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        run_all([Config()], few_digits, tmp_path / "runs.jsonl", workers=0)


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(A_TRAINING_WITHOUT_END)
    process = subprocess.Popen(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(map(running, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(running, workers))
