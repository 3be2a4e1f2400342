"""The file of finished runs: a whole line per run, or nothing."""

import base64
import json
import math
import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import TRAINER, failed_run_of, run_of

from normbench.runs import append, read
from normbench.runs.file import RunFile
from normbench.training import Recipe


@pytest.fixture(scope="module")
def run(few_digits):
    return TRAINER(Recipe("BN", l1=1e-4, epochs=2), few_digits, progress=False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.jsonl"


def test_what_is_written_is_read(run, tmp_path):
    path = tmp_path / "new" / "folder" / "runs.jsonl"
    whole = replace(run, statistics={"batch": {"test_loss": 0.5}}, commit="a commit")
    append(whole, path)
    append(replace(run, seconds=1.5), path)
    first, second = read(path)
    assert torch.equal(first.correct, run.correct) and first.errors == run.errors and second.seconds == 1.5
    for field in fields(run):
        if field.name not in ("correct", "probabilities", "scores"):
            assert getattr(first, field.name) == getattr(whole, field.name), field.name
    assert run.probabilities is not None and first.probabilities is None


def test_a_failed_run_is_kept_without_a_score(path):
    append(failed_run_of(Recipe("GN"), "out of memory"), path)
    (read_run,) = read(path)
    assert read_run.failure == "out of memory" and read_run.last == {} and read_run.errors == 1000


def test_bits_of_right_images_are_in_their_order(run, path):
    """So that a line can be read without this project."""
    append(run, path)
    line = json.loads(path.read_text())
    bits = np.unpackbits(np.frombuffer(base64.b64decode(line["correct"]), np.uint8))[: line["test_images"]]
    assert bits.astype(bool).tolist() == run.correct.tolist() and 0 < bits.sum() < len(bits)
    assert line["recipe"]["norm"] == "BN"


@pytest.mark.parametrize(
    "change",
    (
        lambda line: b'{"recipe": {',
        lambda line: b"",
        lambda line: b"3",
        lambda line: line.replace(b'"BN"', b'"B\xff"'),
        lambda line: json.dumps(json.loads(line) | {"history": []}).encode(),
        lambda line: json.dumps(json.loads(line) | {"history": [{"epoch": 1}]}).encode(),
        lambda line: json.dumps(json.loads(line) | {"recipe": {"norm": "XX"}}).encode(),
        lambda line: b"[" * 100_000,
    ),
    ids=("half", "empty", "number", "not UTF-8", "no epoch", "no accuracy", "no such normalization", "deep"),
)
def test_a_broken_line_is_named(run, path, change):
    append(run, path)
    line = path.read_bytes().rstrip(b"\n")
    path.write_bytes(b"\n".join((line, change(line), line, b"")))
    with pytest.raises(ValueError, match=r"^\S*runs\.jsonl, line 2 .*delete"):
        read(path)


WRONG = {
    "device": ["CPU"],
    "dataset": 3,
    "fingerprint": "abc",
    "versions": {"torch": 2},
    "seconds": "3.5",
    "parameters": True,
    "commit": None,
    "failure": 0,
    "history": "abc",
    "test_images": 10**30,
    "correct": "not base64",
    "mistakes": [[1, 2, "sure"]],
    "recipe": ["BN"],
}


@pytest.mark.parametrize("name, value", WRONG.items(), ids=WRONG)
def test_a_field_of_the_wrong_type_is_named(run, path, name, value):
    append(run, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}) + "\n")
    with pytest.raises(ValueError, match=r"^\S*runs\.jsonl, line 1 .*delete") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def without(*keys):
    return lambda line: [{key: value for key, value in row.items() if key not in keys} for row in line["history"]]


@pytest.mark.parametrize(
    "changed",
    (
        {"history": without("test_loss")},
        {"history": lambda line: line["history"][:1]},
        {"history": lambda line: [line["history"][0] | {"test_loss": "low"}, line["history"][1]]},
        {"correct": lambda line: base64.b64encode(bytes(6)).decode()},
        {"test_images": lambda line: 40},
    ),
    ids=("no loss", "an epoch less", "a text", "other bits", "other images"),
)
def test_a_line_that_does_not_agree_with_itself_is_named(run, path, changed):
    append(run, path)
    line = json.loads(path.read_text())
    path.write_text(json.dumps(line | {name: change(line) for name, change in changed.items()}) + "\n")
    with pytest.raises(ValueError, match=r"line 1 .*delete"):
        read(path)


@pytest.mark.parametrize("make", (os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/full")))
def test_what_is_no_file_is_told_and_not_waited_for(run, path, make):
    make(path)
    with pytest.raises(OSError, match=r"runs\.jsonl is no file"):
        read(path)
    with pytest.raises(OSError, match=r"runs\.jsonl"):
        append(run, path)


def test_a_half_written_line_is_ignored_and_cut_off(run, path):
    append(run, path)
    line = path.read_bytes()
    for length in (1, 2, len(line) // 2, len(line) - 2):
        path.write_bytes(line + line[:length])
        assert len(read(path)) == 1
        append(run, path)
        assert path.read_bytes() == line + line


def test_a_last_line_without_its_end_is_kept(run, path):
    append(run, path)
    line = path.read_bytes()
    path.write_bytes(line + line[:-1])
    assert len(read(path)) == 2
    append(run, path)
    assert path.read_bytes() == line * 3


def test_there_is_no_such_file(path):
    with pytest.raises(FileNotFoundError):
        read(path)


# A file that cannot be written


def test_a_disk_that_has_room_for_half_a_line(run, path):
    resource = pytest.importorskip("resource", reason="a POSIX system limits the size of files")
    append(run, path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be saved to .*runs\.jsonl: No space left"):
            append(run, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(run, path):
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"cannot be saved to .*runs\.jsonl: No space left"):
        append(run, path)


def test_a_folder_that_is_a_file(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"^runs cannot be saved to .*runs\.jsonl: .+") as caught:
        append(run, tmp_path / "file" / "runs.jsonl")
    assert "\n" not in str(caught.value)


# What is read again


@pytest.fixture
def parsed(monkeypatch):
    """How many lines were parsed."""
    from normbench.runs import file

    lines, from_line = [], file._from_line
    monkeypatch.setattr(file, "_from_line", lambda *arguments: lines.append(1) or from_line(*arguments))
    return lines


def seeds(runs):
    return [run.recipe.seed for run in runs]


def with_seed(seed):
    return run_of(Recipe(epochs=1, seed=seed), 90.0)


def test_only_what_was_appended_is_read_again(path, parsed):
    kept = RunFile(path)
    for seed in range(3):
        append(with_seed(seed), path)
    assert seeds(kept.read()) == [0, 1, 2] and len(parsed) == 3
    append(with_seed(3), path)
    append(with_seed(4), path)
    assert seeds(kept.read()) == [0, 1, 2, 3, 4] and len(parsed) == 5
    assert seeds(kept.read()) == [0, 1, 2, 3, 4] and len(parsed) == 5


def test_a_half_written_line_is_read_once_it_is_whole(path):
    kept = RunFile(path)
    append(with_seed(0), path)
    append(with_seed(1), path)
    content = path.read_bytes()
    half = content.find(b"\n") + 100
    for length, wanted in ((half, [0]), (len(content) - 1, [0, 1]), (half, [0]), (len(content), [0, 1])):
        path.write_bytes(content[:length])
        assert seeds(kept.read()) == wanted


def test_a_file_that_shrank_or_was_replaced_is_read_anew(path):
    kept = RunFile(path)
    for seed in range(3):
        append(with_seed(seed), path)
    assert seeds(kept.read()) == [0, 1, 2]
    first, *_, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + last)
    assert seeds(kept.read()) == [0, 2]
    path.unlink()
    for seed in range(5, 9):
        append(with_seed(seed), path)
    assert seeds(kept.read()) == [5, 6, 7, 8]


def test_a_broken_line_is_named_by_its_number_in_the_whole_file(path):
    kept = RunFile(path)
    append(with_seed(0), path)
    kept.read()
    append(with_seed(1), path)
    with open(path, "ab") as file:
        file.write(b"3\n")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"line 3 is"):
            kept.read()


def test_numbers_that_are_not_finite_are_kept(path):
    append(run_of(Recipe(epochs=1), 90.0, test_loss=math.nan), path)
    (run,) = read(path)
    assert math.isnan(run.last["test_loss"])
