"""How many runs of a comparison are left, and how long they take."""

import itertools

import pytest
import torch
from made_up import run_of, small

from normbench.comparison import candidates as module
from normbench.comparison import compare
from normbench.comparison.trainings import WORKERS_START, Missing, estimate
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


def test_nothing_is_said_where_nothing_is_left(few_digits):
    assert estimate({Recipe("BN"): Missing(0, 0)}, [], few_digits, workers=1) == ""


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
