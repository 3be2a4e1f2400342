"""What is trained, which stored runs are taken, and what is said meanwhile."""

import json
import re
import sys
from collections import Counter
from dataclasses import replace
from itertools import count

import pytest
from made_up import TRAINER, build, run_of
from torch import nn

from normbench.runs import append, read, run_all, schedule, stored
from normbench.training import Recipe, Trainer, network_fingerprint

RECIPE = Recipe("GN", epochs=1)
SEEDS = [replace(RECIPE, seed=seed) for seed in (2, 0, 1)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.jsonl"


def make(net, data, recipe, **_):
    """Train nothing."""
    return run_of(recipe, 90.0 + recipe.seed, data.name, images=len(data.y_test))


MAKE = Trainer("make", build, make)


def refuse(*_):
    raise AssertionError("something is trained")


def refuse_to_build(recipe, data):
    raise AssertionError(f"a network is built for {recipe}")


# What is trained


def test_what_is_missing_is_trained_and_kept(few_digits, path):
    first = TRAINER(SEEDS[1], few_digits, progress=False)
    append(first, path)
    trained = run_all(SEEDS, few_digits, path, TRAINER, progress=False)
    assert [run.recipe for run in trained] == SEEDS
    assert trained[1].seconds == first.seconds, "a stored run is not repeated"
    assert [run.recipe.seed for run in read(path)] == [0, 2, 1]
    again = run_all(SEEDS, few_digits, path, TRAINER, engine=refuse)
    assert [run.seconds for run in again] == [run.seconds for run in trained]


def test_what_was_finished_before_an_error_is_kept(few_digits, path):
    def fail_later(recipe, data):
        if recipe.seed:
            raise ValueError("no network")
        return build(recipe, data)

    with pytest.raises(ValueError, match="no network"):
        run_all([SEEDS[1], SEEDS[0]], few_digits, path, Trainer("train", fail_later), progress=False)
    assert [run.recipe.seed for run in read(path)] == [0]


def test_a_failed_training_fails_alone_and_is_not_repeated(few_digits, path):
    recipes = [replace(RECIPE, norm="none", lr=1e20), RECIPE]
    for engine in (None, refuse):
        failed, other = run_all(recipes, few_digits, path, TRAINER, engine=engine, progress=False)
        assert failed.failure == "diverged" and failed.last == {} and not other.failure


def test_that_a_file_cannot_be_written_is_known_before_anything_is_trained(few_digits, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot be saved to .*runs\.jsonl"):
        run_all([RECIPE], few_digits, tmp_path / "file" / "runs.jsonl", TRAINER, engine=refuse)
    (tmp_path / "runs.jsonl.claims").touch()
    with pytest.raises(OSError, match=r"cannot be saved to .*runs\.jsonl"):
        run_all([RECIPE], few_digits, tmp_path / "runs.jsonl", TRAINER, progress=False)
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        run_all([RECIPE], few_digits, tmp_path / "runs.jsonl", TRAINER, workers=0)


def test_a_complete_file_needs_not_be_writable(few_digits, path, monkeypatch):
    run_all(SEEDS, few_digits, path, MAKE, progress=False)
    for name in ("append", "check_writable", "Claims"):  # root may write to any file, whatever its mode
        monkeypatch.setattr(schedule, name, refuse)
    assert len(run_all(SEEDS, few_digits, path, MAKE)) == 3


def test_no_locks_are_left_behind(few_digits, path):
    leftover = path.parent / "runs.jsonl.claims" / "0123456789abcdef.lock"
    leftover.parent.mkdir()
    leftover.touch()
    run_all(SEEDS, few_digits, path, MAKE, progress=False)
    assert {file.name for file in path.parent.iterdir()} <= {"runs.jsonl", "runs.jsonl.lock"}


def test_an_engine_of_one_s_own_may_be_any_iterator(few_digits, path):
    def engine(trainer, recipes, data, progress):
        return map(lambda recipe: trainer(recipe, data, progress), recipes)

    assert len(run_all(SEEDS, few_digits, path, MAKE, engine=engine, progress=False)) == 3


# Which stored runs are taken


def flipped(data):
    """Other images under the same name and with the same labels."""
    return replace(data, x_train=data.x_train.flip(3), x_test=data.x_test.flip(3))


def told(capsys):
    """What is said on stderr of runs that are not taken: how many, and how many differ in what."""
    return [
        (int(re.search(r": (\d+) ", line)[1]), {key: int(n) for key, n in re.findall(r"(\w+) of (\d+)", line)})
        for line in capsys.readouterr().err.splitlines()
    ]


def test_a_run_on_other_data_of_the_same_name_is_not_taken(few_digits, path, capsys):
    both = few_digits, flipped(few_digits)
    for data in both:
        run_all(SEEDS, data, path, MAKE, progress=False)
    assert told(capsys) == [(3, {"data": 3})]
    assert [run.fingerprint["data"] for run in read(path)] == [data.fingerprint for data in both for _ in SEEDS]
    for data in both:  # the runs of either stay in the file
        runs = run_all(SEEDS, data, path, MAKE, engine=refuse)
        assert {run.fingerprint["data"] for run in runs} == {data.fingerprint}


def test_a_run_on_another_data_set_is_not_taken_and_needs_no_word(few_digits, path, capsys):
    run_all([RECIPE], replace(few_digits, name="other"), path, MAKE, progress=False)
    (new,) = run_all([RECIPE], few_digits, path, MAKE, progress=False)
    assert new.dataset == "digits" and len(read(path)) == 2 and told(capsys) == []


def test_a_run_of_another_trainer_is_not_taken(few_digits, path, capsys):
    run_all(SEEDS[:2], few_digits, path, MAKE, progress=False)
    run_all(SEEDS, few_digits, path, replace(MAKE, name="other"), progress=False)
    assert told(capsys) == [(2, {"trainer": 2})]
    assert [run.fingerprint["trainer"] for run in read(path)] == ["make"] * 2 + ["other"] * 3


def test_a_trainer_is_known_by_its_name_wherever_its_code_lies(few_digits, path):
    run_all(SEEDS, few_digits, path, MAKE, progress=False)
    moved = Trainer("make", lambda recipe, data: build(recipe, data), lambda *_, **__: refuse())
    assert len(run_all(SEEDS, few_digits, path, moved, engine=refuse)) == 3


def build_leaky(recipe, data):
    """The same layers and weights with another activation, which the network's state does not tell."""
    net = build(recipe, data)
    for i, layer in enumerate(net):
        if isinstance(layer, nn.ReLU):
            net[i] = nn.LeakyReLU()
    return net


def test_a_run_of_another_network_is_not_taken(few_digits, path, capsys):
    leaky = replace(TRAINER, build=build_leaky)
    recipe = replace(RECIPE, images=100, batch_size=50)
    (first,) = run_all([recipe], few_digits, path, TRAINER, progress=False)
    (changed,) = run_all([recipe], few_digits, path, leaky, progress=False)
    assert told(capsys) == [(1, {"network": 1})]
    assert run_all([recipe], few_digits, path, leaky, engine=refuse)[0].seconds == changed.seconds
    assert run_all([recipe], few_digits, path, TRAINER, engine=refuse)[0].seconds == first.seconds


def test_each_norm_s_network_is_built_once_to_be_known(few_digits, path):
    built = Counter()

    def count_and_build(recipe, data):
        built[recipe.norm] += 1
        return build(recipe, data)

    recipes = [replace(recipe, norm=norm, lr=lr) for recipe in SEEDS for norm in ("BN", "GN") for lr in (0.1, 0.2)]
    run_all(recipes, few_digits, path, MAKE, progress=False)
    run_all(recipes, few_digits, path, replace(MAKE, build=count_and_build), engine=refuse)
    assert built == {"BN": 1, "GN": 1}


def test_no_network_is_built_where_its_fingerprint_is_given(few_digits, path):
    networks = {"GN": {"network": network_fingerprint(build(RECIPE, few_digits), few_digits.image_shape)}}
    run_all(SEEDS, few_digits, path, MAKE, progress=False)
    unable = replace(MAKE, build=refuse_to_build)
    assert len(run_all(SEEDS, few_digits, path, unable, engine=refuse, networks=networks)) == 3
    assert len(stored(SEEDS, few_digits, path, unable, networks)) == 3
    assert stored(SEEDS, few_digits, path, unable, {"GN": {"network": "another"}}) == []


def test_what_a_line_does_not_say_counts_as_the_same(few_digits, path, capsys):
    network = network_fingerprint(build(RECIPE, few_digits), few_digits.image_shape)
    known = [{}, {"network": network}, {"data": few_digits.fingerprint}]
    for recipe, fingerprint in zip(SEEDS, known):
        append(replace(MAKE(recipe, few_digits, False), fingerprint=fingerprint), path)
    first, *others = path.read_text().splitlines()
    line = json.loads(first)
    del line["fingerprint"]
    path.write_text("\n".join([json.dumps(line), *others, ""]))
    assert [run.fingerprint for run in run_all(SEEDS, few_digits, path, TRAINER, engine=refuse)] == known
    assert told(capsys) == []


def test_the_data_are_known_whole_where_fewer_images_are_used(few_digits, path):
    recipe = replace(RECIPE, images=200)
    (run,) = run_all([recipe], few_digits, path, TRAINER, progress=False)
    assert run.fingerprint["data"] == few_digits.fingerprint
    run_all([recipe], few_digits, path, TRAINER, engine=refuse)


def test_stored_runs_are_those_that_would_be_taken(few_digits, path):
    assert stored(SEEDS, few_digits, path, MAKE) == []
    run_all(SEEDS[:2], few_digits, path, MAKE, progress=False)
    assert [run.recipe for run in stored(SEEDS, few_digits, path, MAKE)] == SEEDS[:2]
    assert stored(SEEDS, flipped(few_digits), path, MAKE) == []


@pytest.mark.parametrize(
    "change",
    (
        lambda run: replace(run, recipe=replace(run.recipe, seed=7)),
        lambda run: replace(run, dataset="other"),
        lambda run: replace(run, fingerprint={"network": "other"}),
    ),
    ids=("recipe", "data set", "network"),
)
def test_a_trainer_that_returns_another_run_does_not_train_for_ever(few_digits, path, change):
    trainer = Trainer("mine", build, lambda *arguments, **options: change(make(*arguments, **options)))
    with pytest.raises(ValueError, match=r"mine .*seed=.*"):
        run_all(SEEDS, few_digits, path, trainer, progress=False)
    assert read(path) == []


# Progress


def test_a_line_per_finished_training_says_how_far_it_is(few_digits, path, capsys, monkeypatch):
    append(MAKE(SEEDS[1], few_digits, False), path)
    seconds = count(step=600.0)
    monkeypatch.setattr(schedule.time, "monotonic", lambda: next(seconds))
    recipes = [*SEEDS, replace(RECIPE, lr=1.0, seed=3)]
    run_all(recipes, few_digits, path, MAKE)
    start, *lines = capsys.readouterr().out.splitlines()
    assert start == "1 of 4 runs finished before"
    facts = [
        ("GN, rate 0.1, seed 2", "92.00 %", "2 of 4", "20 minutes left"),
        ("GN, rate 0.1, seed 1", "91.00 %", "3 of 4", "10 minutes left"),
        ("GN, rate 1, seed 3", "93.00 %", "4 of 4"),
    ]
    for line, wanted in zip(lines, facts, strict=True):
        assert all(fact in line for fact in wanted), line
    assert "left" not in lines[-1]
    run_all(recipes, few_digits, path, MAKE)
    assert capsys.readouterr().out == ""


def test_a_failed_training_is_told_as_such(few_digits, path, capsys):
    run_all([replace(RECIPE, norm="none", lr=1e20)], few_digits, path, TRAINER)
    assert "diverged" in capsys.readouterr().out.splitlines()[-1]


def test_nothing_is_said_without_progress(few_digits, path, capsys):
    run_all(SEEDS, few_digits, path, TRAINER, progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("terminal", (True, False))
def test_epochs_are_shown_in_a_terminal_alone(few_digits, path, monkeypatch, terminal):
    shown = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)

    def engine(trainer, recipes, data, progress):
        shown.append(progress)
        yield from (trainer(recipe, data, False) for recipe in recipes)

    run_all(SEEDS, few_digits, path, MAKE, engine=engine)
    assert shown == [terminal]
