"""Processes that are killed, and processes that share a file."""

import dataclasses
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from conftest import ROOT, made_up_run

from normbench import runs
from normbench.engines import local
from normbench.runs import read, run_all
from normbench.train import Config, train

A_TRAINING_WITHOUT_END = """
import threading, time
from multiprocessing import active_children
from normbench.data import load
from normbench.runs import run_all
from normbench.train import Config

def tell():
    while len(active_children()) < 2:
        time.sleep(0.1)
    time.sleep(5)  # the workers import torch
    print(*(child.pid for child in active_children()), flush=True)

if __name__ == "__main__":
    threading.Thread(target=tell).start()
    run_all([Config(epochs=5000, seed=seed) for seed in (1, 2)], load("digits"), "runs.jsonl", workers=2)
"""


def running(pid):
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "(zombie)" not in status.read_text()


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(A_TRAINING_WITHOUT_END)
    process = subprocess.Popen(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(map(running, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(running, workers))


@pytest.fixture
def start(monkeypatch):
    """Calls a function of this file in a process of its own, a copy of one that has imported torch already."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, ROOT / "tests"))))
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


def wait_until(condition, what):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.001)


def wait_for_lines(path, n):
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") >= n, f"there are fewer than {n} lines")


def told(file):
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def tell(file, number):
    with open(file, "a") as lines:
        print(number, file=lines)


def tell_and_train(begun, config, data, progress):
    """Every tenth training is real; the others take 5 ms."""
    tell(begun, config.seed)
    if config.seed % 10 == 0:
        return train(config, data, progress)
    time.sleep(0.005)
    return dataclasses.replace(made_up_run(config.nm, errors=3), config=config, dataset=data.name)


class Torn(io.FileIO):
    """A file of which some line is half written when the process is killed."""

    def write(self, line):
        if random.random() < 0.3:
            super().write(line[: random.randrange(1, len(line) + 1)])
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(line)


def open_torn(path, mode, buffering=-1):
    return open(path, mode) if buffering else Torn(path, mode)


def work(path, begun, configs, data, torn):
    torch.set_num_threads(1)
    random.seed(str(begun))
    if torn:
        runs.open = open_torn
    run_all(configs, data, path, progress=False, trainer=partial(tell_and_train, begun))


def test_twenty_kills_lose_nothing_and_repeat_nothing(few_digits, tmp_path, start):
    path, chance = tmp_path / "runs.jsonl", random.Random(0)
    configs = [Config("GN", epochs=1, seed=seed) for seed in range(200)]
    whole_lines, finished, half_written, in_a_training = b"", set(), 0, 0
    path.touch()
    for kill in range(21):  # the last one to start is left alone
        torn, begun = kill % 4 == 3, tmp_path / f"begun {kill}"
        process = start(work, path, begun, configs, few_digits, torn)
        if kill < 20 and not torn:
            # It is at work once it has kept a run; the rest is chance, within the time of about five trainings.
            wait_for_lines(path, whole_lines.count(b"\n") + 1)
            time.sleep(chance.uniform(0, 0.05))
            process.kill()
        process.join(120)
        assert process.exitcode == (-signal.SIGKILL if kill < 20 else 0)
        content = path.read_bytes()
        assert content.startswith(whole_lines)
        assert not finished & set(told(begun)), "a finished training was repeated"
        whole_lines, finished = content[: content.rfind(b"\n") + 1], {run.config.seed for run in read(path)}
        half_written += len(whole_lines) < len(content)
        in_a_training += not finished >= set(told(begun))
    assert half_written >= 3 and in_a_training >= 10, "the kills did not come in the middle"
    assert sorted(run.config.seed for run in read(path)) == list(range(200))
    assert content == whole_lines


def wait_and_train(begun, config, data, progress):
    """The first training waits for the other process."""
    wait_until(lambda: len(list(begun.parent.glob("begun *"))) >= 2, "there is one process alone")
    return tell_and_train(begun, config, data, progress)


def work_with_another(path, begun, configs, data):
    torch.set_num_threads(1)
    begun.touch()
    for run in run_all(configs, data, path, progress=False, trainer=partial(wait_and_train, begun)):
        tell(f"{begun} and returned", run.config.seed)


def test_two_processes_share_the_trainings(few_digits, tmp_path, start):
    configs = [Config("GN", epochs=1, seed=seed) for seed in range(20)]
    both = [tmp_path / "begun a", tmp_path / "begun b"]
    processes = [start(work_with_another, tmp_path / "runs.jsonl", begun, configs, few_digits) for begun in both]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert all(map(told, both)), "one process did it all"
    assert Counter(told(both[0]) + told(both[1])) == Counter(range(20))
    for begun in both:
        assert told(Path(f"{begun} and returned")) == list(range(20))
    assert sorted(run.config.seed for run in read(tmp_path / "runs.jsonl")) == list(range(20))


def hang(begun, config, data, progress):
    tell(begun, config.seed)
    time.sleep(600)


def tell_of_engine(file, *arguments):
    tell(file, 1)
    return local()(*arguments)


def work_or_hang(path, begun, configs, data, trainer):
    engine = partial(tell_of_engine, f"{begun}, engines")
    run_all(configs, data, path, progress=False, trainer=partial(trainer, begun), engine=engine)


def test_what_a_killed_process_was_training_another_does(few_digits, tmp_path, start):
    path, first, second = tmp_path / "runs.jsonl", tmp_path / "begun first", tmp_path / "begun second"
    configs = [Config("GN", epochs=1, seed=seed) for seed in range(1, 6)]
    hung = start(work_or_hang, path, first, configs, few_digits, hang)
    wait_until(lambda: told(first), "nothing is begun")
    other = start(work_or_hang, path, second, configs, few_digits, tell_and_train)
    wait_for_lines(path, 4)
    time.sleep(2.5)
    assert other.is_alive() and told(first) == [1] and told(second) == [2, 3, 4, 5]
    assert told(Path(f"{second}, engines")) == [1], "waiting needs no engine"
    hung.kill()
    other.join(120)
    assert other.exitcode == 0 and told(second) == [2, 3, 4, 5, 1]
    assert [run.config.seed for run in read(path)] == [2, 3, 4, 5, 1]
