import dataclasses

import pytest
import torch

from normbench.runs import append, read, run_all
from normbench.train import Config, train


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
    path.write_text(path.read_text() * 2 + '{"config": {')
    with pytest.raises(ValueError, match=r"runs\.jsonl, line 3 is not a finished run"):
        read(path)


def test_a_full_disk(run):
    with pytest.raises(OSError, match=r"could not be saved to /dev/full: No space left"):
        append(run, "/dev/full")


def test_a_folder_that_is_a_file(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="could not be saved to"):
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
