"""Trainings in turn and side by side: the runs are the same."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from multiprocessing import active_children

import pytest
import torch
from made_up import ROOT, TRAINER, build, interrupted, run_of, without_seconds

from normbench.runs import append, engines, local, opened, read, run_all, usual_workers, workers
from normbench.training import Recipe, Trainer

RECIPES = [Recipe("BN", l1=1e-4, epochs=2, seed=seed) for seed in range(3)]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests"))), "OMP_NUM_THREADS": "1"}


def facts(run):
    """All that is the same whoever trains."""
    return without_seconds(run), run.correct.tolist(), run.mistakes, run.device, run.fingerprint, run.commit


SCRIPT = """
from dataclasses import replace
from made_up import TRAINER
from normbench.data import load
from normbench.runs import run_all
from normbench.training import Recipe

print("this script is run")
recipes = [Recipe("BN", l1=1e-4, epochs=2, seed=seed) for seed in range(3)]
run_all(recipes, load("digits").first(300), "runs.jsonl", TRAINER, workers=2)

def build_mine(recipe, data):
    return TRAINER.build(recipe, data)

mine = replace(TRAINER, name="mine", build=build_mine)
run_all(recipes, load("digits"), "others.jsonl", mine, workers=2)
"""


def test_a_script_trains_side_by_side_without_being_run_again(digits, tmp_path):
    """It has no `if __name__ == "__main__":`; and its own functions, which are not in a module, are refused."""
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    runs = {run.recipe: run for run in read(tmp_path / "runs.jsonl")}
    data = digits.first(300)
    assert [facts(runs[recipe]) for recipe in RECIPES] == [facts(TRAINER(recipe, data, False)) for recipe in RECIPES]
    first, *shown = ended.stdout.splitlines()
    assert first == "this script is run" and all(
        sum(f"seed {seed}:" in line for line in shown) == 1 for seed in range(3)
    )
    *traceback, said = ended.stderr.splitlines()
    assert said.startswith("ValueError: ") and "trainer mine" in said and ".py file" in said and "one worker" in said
    assert sum("Traceback" in line for line in traceback) == 1, "nothing else is said"
    assert read(tmp_path / "others.jsonl") == []


@pytest.mark.parametrize("build_here", (lambda *_: None, partial(lambda *_: None)))
def test_a_trainer_that_cannot_be_pickled_stays_in_this_process(few_digits, tmp_path, build_here):
    trainer = Trainer("mine", build_here)
    with pytest.raises(ValueError, match=r"trainer mine.*\.py file.*one worker"):
        run_all(RECIPES, few_digits, tmp_path / "runs.jsonl", trainer, workers=2, progress=False)


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_told_in_one_line(few_digits, tmp_path):
    with pytest.raises(BrokenProcessPool, match=r"^a worker was killed, .*fewer workers$"):
        dying = Trainer("dying", build, die)
        run_all(RECIPES[:1], few_digits, tmp_path / "runs.jsonl", dying, workers=2, progress=False)


@pytest.fixture
def in_time():
    """Raise TimeoutError in what takes longer than two minutes, also where it waits for the system."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def kill_the_first(others):
    while not (started := set(active_children()) - others):
        time.sleep(0.001)
    for process in started:
        process.kill()


def test_a_worker_that_is_killed_while_it_starts_is_told_in_one_line(few_digits, tmp_path, in_time):
    """Data larger than a pipe holds would be waited for by nobody."""
    killer = threading.Thread(target=kill_the_first, args=[set(active_children())])
    killer.start()
    with pytest.raises(BrokenProcessPool, match="a worker was killed"):
        run_all(RECIPES, few_digits, tmp_path / "runs.jsonl", TRAINER, workers=2, progress=False)
    killer.join()


def tell_who_trains(told, net, data, recipe, **_):
    with open(told, "a") as file:
        print(os.getpid(), len(data.y_train), file=file)
    data.x_train.zero_()  # stays in this process
    return run_of(recipe, 90.0, data.name, images=len(data.y_test))


def test_workers_are_kept_while_the_engine_is_open(few_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    trainer = Trainer("teller", build, partial(tell_who_trains, tmp_path / "told"))
    files = []
    with opened(local(2)) as engine:
        for round, data in enumerate((few_digits, few_digits.hold_out(50), few_digits)):
            recipes = [Recipe(seed=seed) for seed in range(4 * round, 4 * round + 4)]
            run_all(recipes, data, tmp_path / "runs.jsonl", trainer, engine=engine, progress=False)
            files.append(len(list((tmp_path / "tmp").rglob("*.pt"))))
    told = [line.split() for line in (tmp_path / "told").read_text().splitlines()]
    assert len({pid for pid, _ in told}) <= 2 and Counter(n for _, n in told) == {"300": 8, "250": 4}
    assert files == [1, 2, 2] and not list((tmp_path / "tmp").iterdir())
    assert few_digits.x_train.any()


def test_data_that_cannot_be_handed_over_are_told_in_one_line(few_digits, tmp_path, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("[enforce fail at inline_container.cc:603] . unexpected pos 192 vs 112\nmore")

    monkeypatch.setattr(workers.torch, "save", full)
    with pytest.raises(OSError, match=r"TMPDIR") as caught:
        run_all(RECIPES, few_digits, tmp_path / "runs.jsonl", TRAINER, workers=2, progress=False)
    assert "\n" not in str(caught.value)


TRAINS_FOR_EVER = """
import threading
from pathlib import Path
from torch import nn

def build(recipe, data):
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))

def train(net, data, recipe, **_):
    Path("begun").write_text("!")
    threading.Event().wait()
"""
STOPPED = """
import sys
from normbench.data import load
from normbench.runs import run_all
from normbench.training import Recipe, Trainer
from trainer import build, train

try:
    run_all([Recipe(seed=1), Recipe(seed=2)], load("digits"), "runs.jsonl", Trainer("train", build, train), workers=2)
except KeyboardInterrupt:
    sys.exit("stopped")
"""


def test_ctrl_c_ends_workers_without_a_word_and_keeps_what_is_finished(tmp_path):
    append(run_of(Recipe(seed=1), 90.0, "digits"), tmp_path / "runs.jsonl")
    (tmp_path / "trainer.py").write_text(TRAINS_FOR_EVER)
    (tmp_path / "script.py").write_text(STOPPED)
    status, said = interrupted(["script.py"], tmp_path, "begun")
    assert status == 1 and said == "stopped"
    assert [run.recipe.seed for run in read(tmp_path / "runs.jsonl")] == [1]
    assert not (tmp_path / "runs.jsonl.claims").exists()


def test_usual_workers(few_digits):
    colour = replace(
        few_digits, x_train=few_digits.x_train.repeat(1, 3, 1, 1), x_test=few_digits.x_test.repeat(1, 3, 1, 1)
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert usual_workers(few_digits) == 3 and usual_workers(colour) == 1
        with engines.threads_of_a_worker(2, few_digits):
            assert torch.get_num_threads() == 1
        with engines.threads_of_a_worker(1, few_digits):
            assert torch.get_num_threads() == 1
        with engines.threads_of_a_worker(1, colour):
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_at_least_one_worker():
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        local(0)


# Several at once


def test_what_is_finished_beside_an_error_is_not_lost():
    futures = {recipe: Future() for recipe in RECIPES[:2]}
    futures[RECIPES[0]].set_exception(FloatingPointError())
    futures[RECIPES[1]].set_result("a run")
    results = engines.as_finished(futures.__getitem__, futures, 2)
    assert next(results) == "a run"
    with pytest.raises(FloatingPointError):
        next(results)


def test_no_more_recipes_are_taken_than_there_is_room_for():
    """Other processes may take the rest."""
    taken = []

    def finish_at_once(recipe):
        taken.append(recipe)
        future = Future()
        future.set_result(recipe)
        return future

    results = engines.as_finished(finish_at_once, iter(RECIPES), 2)
    first = next(results)
    assert taken == RECIPES[:2] and {first, *results} == set(RECIPES)


def test_workers_keep_the_memory_that_they_free(monkeypatch):
    first, second = workers.KEPT_MEMORY
    monkeypatch.delenv(first, raising=False)
    monkeypatch.setenv(second, "7")  # the user's own
    with workers._spawning():
        assert os.environ[first] == str(2**30) and os.environ[second] == "7"
    assert first not in os.environ and os.environ[second] == "7"


def test_workers_start_where_signals_cannot_be_blocked(monkeypatch):
    """As on Windows."""
    monkeypatch.delattr(signal, "pthread_sigmask", raising=False)
    script = sys.modules["__main__"]
    with workers._spawning():
        assert sys.modules["__main__"] is not script
    assert sys.modules["__main__"] is script
