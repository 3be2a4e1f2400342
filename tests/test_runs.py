import base64
import json
import resource
import sys
from dataclasses import fields, replace
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch
from conftest import run_of

from model import Net
from normbench import runs
from normbench.config import Config
from normbench.runs import OF_THE_NETWORK, append, read, run_all
from normbench.train import build, network_fingerprint, train

CONFIG = Config("GN", epochs=1)
SEEDS = [replace(CONFIG, seed=seed) for seed in (2, 0, 1)]


@pytest.fixture(scope="module")
def run(few_digits):
    return train(Config("BN", l1=1e-4, epochs=2), few_digits, progress=False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.jsonl"


def make(config, data, progress):
    """A trainer that trains nothing."""
    return run_of(config, 90.0 + config.seed, data.name, images=len(data.y_test))


def refuse(*_):
    raise AssertionError("something is trained")


# The file


def test_what_is_written_is_read(run, tmp_path):
    path = tmp_path / "new" / "folder" / "runs.jsonl"
    append(run, path)
    append(replace(run, seconds=1.5), path)
    first, second = read(path)
    assert torch.equal(first.correct, run.correct) and first.errors == run.errors
    assert second.seconds == 1.5 and first.predictions is None
    for field in ("config", "dataset", "history", "parameters", "seconds", "device", "fingerprint"):
        assert getattr(first, field) == getattr(run, field)


@pytest.mark.parametrize(
    "change",
    (
        lambda line: b'{"config": {',
        lambda line: b"",
        lambda line: b"3",
        lambda line: line.replace(b'"BN"', b'"B\xff"'),
        lambda line: json.dumps(json.loads(line) | {"history": []}).encode(),
        lambda line: json.dumps(json.loads(line) | {"history": [{"epoch": 1}]}).encode(),
        lambda line: json.dumps(json.loads(line) | {"config": {"nm": "XX"}}).encode(),
    ),
    ids=("half", "empty", "number", "not UTF-8", "no epoch", "no accuracy", "no such normalization"),
)
def test_a_broken_line_is_named(run, path, change):
    append(run, path)
    line = path.read_bytes().rstrip(b"\n")
    path.write_bytes(b"\n".join((line, change(line), line, b"")))
    with pytest.raises(ValueError, match=r"^\S*runs\.jsonl, line 2 is not a finished run \(.*\); delete that line$"):
        read(path)


def test_a_half_written_line_is_ignored_and_cut_off(run, path):
    append(run, path)
    line = path.read_bytes()
    for length in (*range(1, len(line) - 1, 101), len(line) - 2):
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


def test_a_disk_that_has_room_for_half_a_line(run, path):
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


# What is trained


def test_run_all_trains_what_is_missing_and_keeps_it(few_digits, path):
    first = train(SEEDS[1], few_digits, progress=False)
    append(first, path)
    trained = run_all(SEEDS, few_digits, path, progress=False)
    assert [run.config for run in trained] == SEEDS
    assert trained[1].seconds == first.seconds, "a stored run is not repeated"
    assert [run.config.seed for run in read(path)] == [0, 2, 1]
    again = run_all(SEEDS, few_digits, path, engine=refuse)
    assert [run.seconds for run in again] == [run.seconds for run in trained]


def test_run_all_keeps_what_was_finished_before_an_error(few_digits, path):
    with pytest.raises(FloatingPointError):
        run_all([CONFIG, Config("none", lr=1e20, epochs=1)], few_digits, path, progress=False)
    assert [run.config for run in read(path)] == [CONFIG]


def test_run_all_knows_before_it_trains_that_it_cannot_save(few_digits, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be saved to"):
        run_all([CONFIG], few_digits, tmp_path / "file" / "runs.jsonl", engine=refuse)
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        run_all([CONFIG], few_digits, tmp_path / "runs.jsonl", workers=0)


def test_a_complete_file_needs_not_be_writable(few_digits, path, monkeypatch):
    run_all(SEEDS, few_digits, path, progress=False, trainer=make)
    monkeypatch.setattr(runs, "_add", refuse)  # root may write to any file, whatever its mode
    (path.parent / "runs.jsonl.lock").unlink()
    assert len(run_all(SEEDS, few_digits, path, trainer=make)) == 3
    assert list(path.parent.iterdir()) == [path]


# Which stored runs are taken


def noise(data):
    """Other images under the same name and with the same labels."""
    return replace(data, x_train=data.x_train.flip(3), x_test=data.x_test.flip(3))


def other_make(config, data, progress):
    return make(config, data, progress)


def told(capsys):
    return capsys.readouterr().err.splitlines()


def test_a_run_on_other_data_of_the_same_name_is_not_taken(few_digits, path, capsys):
    for data in (few_digits, noise(few_digits)):
        run_all(SEEDS, data, path, progress=False, trainer=make)
    (line,) = told(capsys)
    assert "runs.jsonl: 3 " in line and "data of 3" in line
    assert [run.fingerprint["data"] for run in read(path)] == [few_digits.fingerprint] * 3 + [
        noise(few_digits).fingerprint
    ] * 3
    for data in (few_digits, noise(few_digits)):  # whose runs stay in the file
        of_these = run_all(SEEDS, data, path, engine=refuse, trainer=make)
        assert {run.fingerprint["data"] for run in of_these} == {data.fingerprint}


def test_a_run_on_another_data_set_is_not_taken_and_needs_no_word(few_digits, path, capsys):
    run_all([CONFIG], replace(few_digits, name="other"), path, progress=False, trainer=make)
    (new,) = run_all([CONFIG], few_digits, path, progress=False, trainer=make)
    assert new.dataset == "digits" and len(read(path)) == 2 and told(capsys) == []


def test_a_run_of_another_trainer_is_not_taken(few_digits, path, capsys):
    run_all(SEEDS[:2], few_digits, path, progress=False, trainer=make)
    run_all(SEEDS, few_digits, path, progress=False, trainer=other_make)
    (line,) = told(capsys)
    assert "runs.jsonl: 2 " in line and "trainer of 2" in line
    assert [run.fingerprint["trainer"] for run in read(path)] == ["test_runs.make"] * 2 + ["test_runs.other_make"] * 3
    run_all(SEEDS, few_digits, path, engine=refuse, trainer=partial(other_make))


def test_a_run_of_another_network_is_not_taken(few_digits, path, capsys, monkeypatch):
    config = replace(CONFIG, images=100, batch_size=50)
    run_all([config], few_digits, path, progress=False)
    monkeypatch.setattr("normbench.train.Net", partial(Net, standardized=True))
    (changed,) = run_all([config], few_digits, path, progress=False)
    (line,) = told(capsys)
    assert "runs.jsonl: 1 " in line and "network of 1" in line
    assert run_all([config], few_digits, path, engine=refuse)[0].seconds == changed.seconds
    monkeypatch.undo()
    assert run_all([config], few_digits, path, engine=refuse)[0].seconds != changed.seconds


@pytest.mark.parametrize("field", [field.name for field in fields(Config) if field.name not in OF_THE_NETWORK])
def test_the_network_depends_on_nothing_else_of_a_config(few_digits, field):
    """`run_all` builds one network for all configs that agree in these."""
    others = dict(penalized="conv", proximal=True, augment="none", optimizer="muon")
    config = replace(Config("GN", l1=1e-4), **{field: others.get(field, 1)})
    assert config != Config("GN", l1=1e-4)
    assert str(build(config, few_digits)) == str(build(Config("GN"), few_digits))


def test_what_a_line_does_not_say_counts_as_the_same(few_digits, path, capsys):
    """As the lines of older versions, which have no fingerprint."""
    net = network_fingerprint(build(CONFIG, few_digits), few_digits.image_shape)
    known = [{}, {"network": net}, {"data": few_digits.fingerprint}]
    for config, fingerprint in zip(SEEDS, known):
        append(replace(make(config, few_digits, False), fingerprint=fingerprint), path)
    line = json.loads(path.read_text().splitlines()[0])
    del line["fingerprint"]
    path.write_text("\n".join([json.dumps(line), *path.read_text().splitlines()[1:], ""]))
    assert [run.fingerprint for run in run_all(SEEDS, few_digits, path, engine=refuse)] == known
    assert told(capsys) == []


def test_the_data_are_known_whole_where_fewer_images_are_used(few_digits, path):
    config = replace(CONFIG, images=200)
    (run,) = run_all([config], few_digits, path, progress=False)
    assert run.fingerprint["data"] == few_digits.fingerprint
    run_all([config], few_digits, path, engine=refuse)


def other_seed(config, data, progress):
    return make(replace(config, seed=7), data, progress)


def test_a_trainer_that_returns_another_run_does_not_train_for_ever(few_digits, path):
    with pytest.raises(ValueError, match=r"test_runs\.other_seed was not asked for the run .*seed=7.*digits"):
        run_all(SEEDS, few_digits, path, progress=False, trainer=other_seed)
    assert read(path) == []


# Progress


def test_a_line_a_finished_training_says_how_far_it_is(few_digits, path, capsys, monkeypatch):
    append(make(SEEDS[1], few_digits, False), path)
    seconds = count(step=600.0)
    monkeypatch.setattr(runs.time, "monotonic", lambda: next(seconds))
    configs = [*SEEDS, replace(CONFIG, seed=3)]
    run_all(configs, few_digits, path, trainer=make)
    assert capsys.readouterr().out.splitlines() == [
        "3 of 4 trainings are to be done",
        "GN, seed 2: 92.00 %  (2 of 4, about 20 minutes left)",
        "GN, seed 1: 91.00 %  (3 of 4, about 10 minutes left)",
        "GN, seed 3: 93.00 %  (4 of 4)",
    ]
    run_all(configs, few_digits, path, trainer=make)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("terminal", (True, False))
def test_epochs_are_shown_in_a_terminal_alone(few_digits, path, monkeypatch, terminal):
    shown = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)

    def engine(trainer, configs, data, progress):
        shown.append(progress)
        yield from (trainer(config, data, progress) for config in configs)

    run_all(SEEDS, few_digits, path, engine=engine, trainer=make)
    assert shown == [terminal]


# Arms


def test_arms_have_their_seeds_in_order():
    made = [run_of(Config("GN", epochs=2, seed=seed), 90.0 + seed) for seed in (3, 1)] + [run_of(Config("BN"), 80.0)]
    grouped = runs.arms(made)
    assert {arm.label: arm.seeds for arm in grouped.values()} == {"BN": (0,), "GN": (1, 3)}
    gn = grouped[Config("GN", epochs=2)]
    assert gn.last().tolist() == [91.0, 93.0] and gn.curve("test_accuracy").tolist() == [[90.5, 91.0], [92.5, 93.0]]
    assert gn.correct.mean(axis=1) == pytest.approx([0.91, 0.93]) and gn.accuracy.mean == pytest.approx(92.0)
    assert list(runs.arms(made, [Config("LN"), Config("BN")])) == [Config("BN")]


def test_best_is_the_best_epoch_s():
    run = run_of(Config(epochs=3), 90.0)
    worse_at_last = replace(run, history=run.history[::-1])
    (arm,) = runs.arms([worse_at_last]).values()
    assert arm.best().tolist() == [90.0] and arm.last().tolist() == [89.0]


def test_a_frame_has_a_row_a_run():
    table = runs.frame([run_of(Config("GN", gp=4, l1=1e-4, seed=5), 91.0), run_of(Config(), 80.0)])
    assert table["label"].tolist() == ["GN (4 groups) + L1", "BN"] and table["gp"].tolist() == [4, 2]
    assert table["test_accuracy"].tolist() == [91.0, 80.0] and table["seed"].tolist() == [5, 0]


def test_bits_of_right_images_are_in_their_order(run, path):
    """So that a line can be read without this project."""
    append(run, path)
    line = json.loads(path.read_text())
    bits = np.unpackbits(np.frombuffer(base64.b64decode(line["correct"]), np.uint8))[: line["test_images"]]
    assert bits.astype(bool).tolist() == run.correct.tolist() and 0 < bits.sum() < len(bits)
