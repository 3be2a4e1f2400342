"""How many runs of a comparison are left, and how long they take."""

import itertools
import json
import math
import re

import pytest
import torch
from made_up import run_of, small

from normbench.comparison import candidates as module
from normbench.comparison import compare
from normbench.comparison.remaining import WORKERS_START, Missing, estimate
from normbench.training import Recipe

FEW = {
    "arms": ("BN", "GN"),
    "seeds": 2,
    "epochs": 1,
    "batch_size": 64,
    "rates": (0.1,),
    "price": False,
    "progress": False,
}


class Timed:
    """A candidate whose runs take ten seconds per thread."""

    def __init__(self, recipe):
        self.recipe = recipe

    def seconds(self, data):
        return 10.0 * torch.get_num_threads()


def test_workers_share_the_time_and_threads_and_take_time_to_start(few_digits):
    recipes, threads = (Recipe("BN"), Recipe("GN")), torch.get_num_threads()
    left = dict(zip(recipes, (Missing(least=3, most=5), Missing(least=0, most=0))))
    torch.set_num_threads(4)
    try:
        line = estimate(left, map(Timed, recipes), few_digits, workers=2)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)
    times = [f"{runs * 10 / 2 + WORKERS_START:.0f} s" for runs in (3, 5)]
    assert "3 to 5" in line and " to ".join(times) in line and "2 at a time" in line


def test_it_is_said_where_nothing_is_left(few_digits):
    line = estimate({Recipe("BN"): Missing(0, 0)}, [], few_digits, workers=1)
    assert "nothing" in line and not any(letter.isdigit() for letter in line)


def left_of(few_digits, folder, capsys, **changes):
    compare(small, few_digits, folder=folder, **FEW | changes | {"progress": True})
    line = next((line for line in capsys.readouterr().out.splitlines() if "at a time" in line), "0 are left")
    return next(int(word.strip(",.")) for word in line.split() if word.strip(",.").isdigit())


@pytest.mark.parametrize(
    "first, then, left",
    (((0.1,), (0.1,), 0), ((0.1,), (0.2,), 4), ((0.05, 0.1, 0.2), (0.05, 0.1, 0.2), 0)),
)
def test_what_is_stored_is_not_left(first, then, left, few_digits, tmp_path, capsys):
    """With several rates, seeds count whatever their rate was; with one, only those trained with it."""
    compare(small, few_digits, folder=tmp_path, **FEW | {"rates": first})
    assert left_of(few_digits, tmp_path, capsys, rates=then) == left


def test_only_the_arms_that_are_left_are_timed(few_digits, tmp_path, capsys, monkeypatch):
    timed = []
    monkeypatch.setattr(module.Candidate, "seconds", lambda made, _: timed.append(made.recipe.norm) or 1.0)
    compare(small, few_digits, folder=tmp_path, **FEW)
    assert not timed
    stored = (tmp_path / "runs.jsonl").read_text().splitlines(keepends=True)
    gone = next(i for i, line in enumerate(stored) if '"norm": "GN"' in line and '"seed": 2' in line)
    (tmp_path / "runs.jsonl").write_text("".join(stored[:gone] + stored[gone + 1 :]))
    assert left_of(few_digits, tmp_path, capsys) == 1 and timed == ["GN"]


def test_the_time_of_a_run_grows_with_images_and_epochs(digits, monkeypatch):
    def made_up(net, data, recipe, **_):
        """0.1 s for the first epoch, then 1 ms per image."""
        run = run_of(recipe, 90.0)
        run.history[0]["seconds"], run.history[1]["seconds"] = 0.1, (len(data.y_train) + len(data.y_test)) / 1000
        return run

    clock = itertools.count(step=3)
    monkeypatch.setattr(module, "train", made_up)
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    seconds = module.Candidate(Recipe("BN", epochs=20, batch_size=32), small()).seconds(digits)
    assert seconds == pytest.approx(20 * 1.797 + 3, rel=0.02)


POINTS = {"BN": 90.0, "GN": 70.0, "LN": 88.0}


def scored(net, lr, seed, norm, split):
    """Score LN a little below BN, GN far below both, and all best at a rate of 0.1."""
    luck = (seed * 7919 % 13 - 6) / 3 * (1 if norm == "BN" else -1)
    return {"points": POINTS[norm] - 40 * abs(math.log10(10 * lr)) + luck}


def raced(folder, capsys, **changes):
    """Hold a race; return what was found, and what was said of the runs that are left."""
    options = {"seeds": 8, "rates": (0.03, 0.1, 0.3), "price": False, "version": "1"} | changes
    found = compare(small, arms=tuple(POINTS), train=scored, folder=folder, **options)
    return found, next(line for line in capsys.readouterr().out.splitlines() if "left to train" in line or "go" in line)


def numbers(line):
    return [int(number) for number in re.findall(r"\d+", line.split(",")[0])]


def test_a_race_that_ended_early_has_nothing_left(tmp_path, capsys):
    found, line = raced(tmp_path, capsys)
    runs = (tmp_path / "runs.jsonl").read_text().splitlines()
    taken = {recipe.norm: len(arm.runs) for recipe, arm in found.results[0].arms.items()}
    assert taken["GN"] < 8 and numbers(line) == [9 + 3 * 3, 9 + 3 * 8], "three rates and three seeds or more per arm"
    for workers in (1, 8):
        assert numbers(raced(tmp_path, capsys, workers=workers)[1]) == []
    assert (tmp_path / "runs.jsonl").read_text().splitlines() == runs


def test_only_arms_in_the_race_have_runs_left(tmp_path, capsys):
    raced(tmp_path, capsys)
    path = tmp_path / "runs.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["recipe"]["seed"] not in range(4, 9)]
    path.write_text("".join(kept))
    assert numbers(raced(tmp_path, capsys)[1]) == [2, 2 * 5], "GN is out after three seeds"
    assert path.read_text().splitlines(keepends=True)[len(kept) :], "the others went on"
