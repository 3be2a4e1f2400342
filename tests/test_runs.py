import dataclasses

import pytest
import torch

from normbench.runs import append, read
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
