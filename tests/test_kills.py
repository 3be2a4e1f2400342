"""Processes that are killed, and processes that share a file."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from made_up import ROOT, build, run_of

from normbench.runs import file, local, read, run_all
from normbench.training import Recipe, Trainer, train

CEILING = 600  # seconds; nothing here takes long, but the machine may be busy
PATHS = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))


def wait_until(condition, what):
    deadline = time.monotonic() + CEILING
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def told(path):
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def tell(path, number):
    with open(path, "a") as lines:
        lines.write(f"{number}\n")


TRAINS_FOR_EVER = """
import os, threading
from pathlib import Path

def train(net, data, recipe, **_):
    Path(f"{os.getpid()}.begun").touch()
    threading.Event().wait()
"""
SCRIPT = """
from dataclasses import replace
import trainer
from made_up import TRAINER
from normbench.data import load
from normbench.runs import run_all
from normbench.training import Recipe

run_all([Recipe()], load("digits"), "runs.jsonl", replace(TRAINER, train=trainer.train), workers=2)
"""


def running(pid):
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "(zombie)" not in status.read_text()


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_a_worker_ends_when_its_parent_is_killed(tmp_path):
    (tmp_path / "trainer.py").write_text(TRAINS_FOR_EVER)
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "tmp").mkdir()
    environment = os.environ | {"PYTHONPATH": PATHS, "TMPDIR": str(tmp_path / "tmp")}
    process = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env=environment)
    wait_until(lambda: list(tmp_path.glob("*.begun")), "no training is begun")
    (worker,) = (int(begun.stem) for begun in tmp_path.glob("*.begun"))
    assert worker != process.pid and running(worker)
    process.kill()
    process.wait()
    wait_until(lambda: not running(worker), "the worker goes on")
    assert not list((tmp_path / "tmp").glob("normbench-*")), "the data that it was handed are left behind"


@pytest.fixture
def start(monkeypatch):
    """Call a function of this file in a process of its own, a copy of one that has imported torch already."""
    monkeypatch.setenv("PYTHONPATH", PATHS)
    context, started = get_context("forkserver"), []
    context.set_forkserver_preload([__name__])

    def call(function, *arguments):
        started.append(context.Process(target=function, args=arguments))
        started[-1].start()
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.join()


def tell_and_train(begun, last, net, data, recipe, **options):
    """Every twentieth training is real, and the process's training number `last` has no end."""
    tell(begun, recipe.seed)
    if len(told(begun)) == last:
        threading.Event().wait()
    return (
        train(net, data, recipe, **options)
        if recipe.seed % 20 == 0
        else run_of(recipe, 90.0, data.name, images=len(data.y_test))
    )


class Torn(io.FileIO):
    """A file whose third line is torn off where `cut` says: the process is killed while it is written."""

    lines, cut = 0, slice(None)

    def write(self, text):
        Torn.lines += len(text) > 1  # the end of a line is written by itself where it is missing
        if Torn.lines < 3:
            return super().write(text)
        super().write(text[Torn.cut])
        os.kill(os.getpid(), signal.SIGKILL)


def open_torn(path, mode, buffering=-1):
    return open(path, mode) if buffering else Torn(path, mode)


def work(path, begun, recipes, data, last=None, cut=None):
    torch.set_num_threads(1)
    if cut:
        Torn.cut, file.open = cut, open_torn
    run_all(recipes, data, path, Trainer("train", build, partial(tell_and_train, begun, last)), progress=False)


# Where a process is killed, as the last two arguments of `work`: in its third line, in its third training, and
# anywhere from there to its eighth.
IN_A_LINE = [(None, cut) for cut in (slice(1), slice(500), slice(-1), slice(None))]
IN_A_TRAINING, ANYWHERE = (3, None), (8, None)


def test_kills_lose_nothing_and_repeat_nothing(few_digits, tmp_path, start):
    path, recipes = tmp_path / "runs.jsonl", [Recipe("GN", epochs=1, seed=seed) for seed in range(1, 61)]
    whole_lines, finished, in_a_training, in_a_line = b"", set(), 0, 0
    for kill, (last, cut) in enumerate((*IN_A_LINE, IN_A_TRAINING, ANYWHERE, ANYWHERE)):
        begun = tmp_path / f"begun {kill}"
        process = start(work, path, begun, recipes, few_digits, last, cut)
        if not cut:
            wait_until(lambda: len(told(begun)) >= 3, "three trainings are not begun")  # noqa: B023 (in this round)
            process.kill()
        process.join(CEILING)
        assert process.exitcode == -signal.SIGKILL
        content = path.read_bytes()
        assert content.startswith(whole_lines)
        assert not finished & set(told(begun)), "a finished training was repeated"
        whole_lines, finished = content[: content.rfind(b"\n") + 1], {run.recipe.seed for run in read(path)}
        in_a_training += told(begun)[-1] not in finished
        in_a_line += whole_lines != content
    assert in_a_training >= 1 and in_a_line >= 3 and len(finished) >= 2 * 7
    process = start(work, path, tmp_path / "begun last", recipes, few_digits)
    process.join(CEILING)
    assert process.exitcode == 0 and not finished & set(told(tmp_path / "begun last"))
    assert sorted(run.recipe.seed for run in read(path)) == list(range(1, 61))
    assert path.read_bytes().startswith(whole_lines)
    assert not path.with_name("runs.jsonl.claims").exists(), "locks of killed processes are left behind"


# Sharing


def train_and_wait(begun, net, data, recipe, **options):
    """The first training is not finished before the other process has begun one."""
    run = tell_and_train(begun, None, net, data, recipe, **options)
    wait_until(lambda: len([path for path in begun.parent.glob("begun ?") if told(path)]) == 2, "it is alone")
    return run


def work_with_another(path, begun, recipes, data):
    torch.set_num_threads(1)
    for run in run_all(recipes, data, path, Trainer("train", build, partial(train_and_wait, begun)), progress=False):
        tell(f"{begun} and returned", run.recipe.seed)


def test_two_processes_share_the_trainings(few_digits, tmp_path, start):
    recipes = [Recipe("GN", epochs=1, seed=seed) for seed in range(40)]
    both = [tmp_path / "begun a", tmp_path / "begun b"]
    processes = [start(work_with_another, tmp_path / "runs.jsonl", begun, recipes, few_digits) for begun in both]
    for process in processes:
        process.join(CEILING)
        assert process.exitcode == 0
    assert Counter(told(both[0]) + told(both[1])) == Counter(range(40))
    for begun in both:
        assert told(Path(f"{begun} and returned")) == list(range(40))
    assert sorted(run.recipe.seed for run in read(tmp_path / "runs.jsonl")) == list(range(40))


def tell_of_engine(path, *arguments):
    tell(path, 1)
    return local()(*arguments)


def tell_and_sleep(path, sleep, seconds):
    tell(path, 1)
    sleep(0.01)


def work_and_wait(path, begun, recipes, data, last=None):
    """`work` that tells of each engine that it starts, and of each time that it waits for others."""
    time.sleep = partial(tell_and_sleep, f"{begun}, waits", time.sleep)
    engine = partial(tell_of_engine, f"{begun}, engines")
    trainer = Trainer("train", build, partial(tell_and_train, begun, last))
    run_all(recipes, data, path, trainer, progress=False, engine=engine)


def test_what_a_killed_process_was_training_another_does(few_digits, tmp_path, start):
    path, first, second = tmp_path / "runs.jsonl", tmp_path / "begun first", tmp_path / "begun second"
    recipes = [Recipe("GN", epochs=1, seed=seed) for seed in range(1, 6)]
    hung = start(work_and_wait, path, first, recipes, few_digits, 1)
    wait_until(lambda: told(first), "nothing is begun")
    other = start(work_and_wait, path, second, recipes, few_digits)
    wait_until(lambda: len(told(Path(f"{second}, waits"))) >= 3, "it does not wait for the first")
    assert other.is_alive() and told(first) == [1] and told(second) == [2, 3, 4, 5]
    assert told(Path(f"{second}, engines")) == [1], "waiting needs no engine"
    hung.kill()
    other.join(CEILING)
    assert other.exitcode == 0 and told(second) == [2, 3, 4, 5, 1]
    assert [run.recipe.seed for run in read(path)] == [2, 3, 4, 5, 1]
