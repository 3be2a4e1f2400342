import dataclasses
import resource

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
    path.write_text(path.read_text() + '{"config": {\n' + path.read_text())
    with pytest.raises(ValueError, match=r"runs\.jsonl, line 2 is not a finished run"):
        read(path)


def test_a_half_written_line_is_ignored_and_cut_off(run, tmp_path):
    path = tmp_path / "runs.jsonl"
    append(run, path)
    line = path.read_bytes()
    for length in (*range(1, len(line) - 1, 101), len(line) - 2):
        path.write_bytes(line + line[:length])
        assert len(read(path)) == 1
        append(run, path)
        assert path.read_bytes() == line + line


def test_a_last_line_without_its_end_is_kept(run, tmp_path):
    path = tmp_path / "runs.jsonl"
    append(run, path)
    line = path.read_bytes()
    path.write_bytes(line + line[:-1])
    assert len(read(path)) == 2
    append(run, path)
    assert path.read_bytes() == line * 3


def test_a_disk_that_has_room_for_half_a_line(run, tmp_path):
    path = tmp_path / "runs.jsonl"
    append(run, path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be saved to .*: No space left"):
            append(run, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before


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
