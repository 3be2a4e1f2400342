"""The lines are the same, whatever carries the trainings out."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from importlib.util import find_spec

import pytest
import torch
from conftest import ROOT

from normbench import __main__ as cli
from normbench import engines, experiments
from normbench.config import Config
from normbench.device import commit
from normbench.engines import local, on_ray
from normbench.experiments import Experiment
from normbench.networks import Swapped
from normbench.runs import read, run_all
from normbench.train import train, train_or_diverge

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="pip install -r requirements-ray.txt")
SEEDS = range(4)
CONFIGS = [Config("BN", l1=1e-4, epochs=2, seed=seed) for seed in SEEDS]


def lines(path):
    """The lines by their seed, but for the trainer's name and how long it took."""
    stored = [json.loads(line) for line in path.read_text().splitlines()]
    for line in stored:
        del line["fingerprint"]["trainer"]
        for timed in (line, *line["history"]):
            del timed["seconds"]
    assert sorted(line["config"]["seed"] for line in stored) == list(SEEDS)
    return {line["config"]["seed"]: line for line in stored}


@pytest.fixture(scope="module")
def data(digits):
    return digits.first(300)


@pytest.fixture(scope="module")
def lines_in_turn(data, tmp_path_factory):
    """Trained with one thread, as side by side on two cores, and on a core of Ray: it decides the last digits."""
    path, threads = tmp_path_factory.mktemp("in turn") / "runs.jsonl", torch.get_num_threads()
    torch.set_num_threads(1)
    run_all(CONFIGS, data, path, engine=local(), progress=False)
    torch.set_num_threads(threads)
    return lines(path)


# Side by side

SCRIPT = """
import torch
from normbench.config import Config
from normbench.data import load
from normbench.runs import run_all
from normbench.train import train

print("this script is run")
torch.set_num_threads(1)
configs = [Config("BN", l1=1e-4, epochs=2, seed=seed) for seed in range(4)]
run_all(configs, load("digits").first(300), "runs.jsonl", workers=2)

def mine(config, data, progress):
    return train(config, data, progress)

run_all(configs, load("digits"), "others.jsonl", workers=2, trainer=mine)
"""


def test_a_script_trains_side_by_side_without_being_run_again(lines_in_turn, tmp_path):
    """It has no `if __name__ == "__main__":`; and its own functions, which are not in a module, are refused."""
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert lines(tmp_path / "runs.jsonl") == lines_in_turn
    first, *shown = ended.stdout.splitlines()
    assert first == "this script is run" and sum(line.startswith("BN + L1, seed ") for line in shown) == 4
    *traceback, said = ended.stderr.splitlines()
    assert said.startswith(
        "ValueError: other processes cannot import the trainer __main__.mine: put it into a .py file"
    )
    assert sum("Traceback" in line for line in traceback) == 1 and "BN + L1" not in ended.stderr
    assert read(tmp_path / "others.jsonl") == []


@pytest.mark.parametrize("trainer", (lambda *_: None, partial(lambda *_: None)))
def test_a_trainer_without_a_name_stays_in_this_process(data, tmp_path, trainer):
    with pytest.raises(ValueError, match=r"other processes cannot import the trainer test_engines\.<lambda>: put it"):
        run_all(CONFIGS, data, tmp_path / "runs.jsonl", workers=2, trainer=trainer)


def die(config, data, progress):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_told_in_one_line(data, tmp_path):
    with pytest.raises(BrokenProcessPool, match=r"^a worker was killed, .*try fewer workers$"):
        run_all(CONFIGS[:1], data, tmp_path / "runs.jsonl", workers=2, trainer=die, progress=False)


# Ray


@pytest.fixture
def shipped():
    """Ray's workers have the functions of this file sent to them; they cannot import it."""
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


A_CLUSTER = """
import sys
import ray

ray.init("local", num_cpus=2, num_gpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster():
    """The address of a Ray cluster that is told that it has a GPU."""
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-c", A_CLUSTER]
    with subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


def wait_to_be_killed(told, path, config, data, progress):
    """As `train`, but the first try of seed 1 is killed once two others are stored."""
    again = told.exists() and "seed 1 " in told.read_text()
    with open(told, "a") as file:
        print("seed", config.seed, os.getpid(), file=file)
    if config.seed == 1 and not again:
        while not path.exists() or path.read_bytes().count(b"\n") < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return train(config, data, progress)


@needs_ray
def test_ray_gives_the_same_lines_though_a_worker_is_killed(data, tmp_path, lines_in_turn, shipped, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the project's code is not found there, but sent
    told, path = tmp_path / "told", tmp_path / "runs.jsonl"
    capfd.readouterr()
    run_all(CONFIGS, data, path, engine=on_ray(2), trainer=partial(wait_to_be_killed, told, path))
    assert lines(path) == lines_in_turn
    assert {line["commit"] for line in lines(path).values()} == {commit()}
    tries = [line.split() for line in told.read_text().splitlines()]
    assert sorted(int(seed) for _, seed, _ in tries) == [0, 1, 1, 2, 3]
    assert len({pid for _, seed, pid in tries if seed == "1"}) == 2
    shown, said = capfd.readouterr()
    assert said == "" and shown.count("BN + L1, seed ") == 4 and shown.count("the task will be retried") == 1


A_NETWORK = """
from torch import nn

def build(num_classes):
    return nn.Sequential(nn.Conv2d(1, 4, 28), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, num_classes))
"""


@needs_ray
def test_ray_trains_a_network_whose_file_only_this_machine_has(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "net.py"
    file.write_text(A_NETWORK)
    trainer = pickle.loads(pickle.dumps(partial(train_or_diverge, build_network=Swapped("net.py:build"))))
    file.unlink()  # Ray's workers share this machine's disk
    (run,) = on_ray(1)(trainer, [Config("GN", gp=0, epochs=1)], data, False)
    assert run.parameters == 4 * 28 * 28 + 4 + 8 + 50


@needs_ray
@pytest.mark.skipif(torch.cuda.is_available(), reason="the cluster's GPU is made up")
def test_a_share_of_a_gpu_and_an_error_on_ray_which_is_the_training_s_own(
    data, tmp_path, cluster, shipped, monkeypatch
):
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    train_on_a_node, told = engines._train_on_a_node, tmp_path / "told"

    def tell_and_train(*arguments):
        import ray

        told.write_text(json.dumps(ray.get_runtime_context().get_assigned_resources()))
        return train_on_a_node(*arguments)

    monkeypatch.setattr(engines, "_train_on_a_node", tell_and_train)
    with pytest.raises(ValueError, match=r"^DEVICE 'cuda' cannot be used here .*; try auto or cpu$") as caught:
        run_all(CONFIGS, data, tmp_path / "runs.jsonl", engine=on_ray(2, "auto", gpus=0.25))
    assert type(caught.value) is ValueError
    assert json.loads(told.read_text()) == {"CPU": 1.0, "GPU": 0.25}


@needs_ray
def test_more_gpus_than_there_are(data, tmp_path, cluster):
    with pytest.raises(ValueError, match="each training is to have 2 GPU, but the Ray cluster has 1"):
        run_all(CONFIGS, data, tmp_path / "runs.jsonl", engine=on_ray(2, cluster, gpus=2))


@needs_ray
def test_workers_of_ray_that_die_again_and_again(data, tmp_path, cluster, shipped):
    with pytest.raises(BrokenProcessPool, match=r"^Ray gave a training up: .*died.*") as caught:
        run_all(CONFIGS, data, tmp_path / "runs.jsonl", engine=on_ray(1, cluster, retries=0), trainer=die)
    assert "\n" not in str(caught.value)


@needs_ray
@pytest.mark.parametrize("address, in_environment", (("127.0.0.1:1", ""), ("auto", "127.0.0.1:1"), ("nonsense", "")))
def test_no_such_cluster_is_told_in_one_line_and_at_once(address, in_environment, tmp_path, monkeypatch, capfd):
    """Ray itself tries an address that nobody answers at for a quarter of an hour: it is not asked."""
    import ray

    if address != "nonsense":
        monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray is asked"))
    monkeypatch.setenv("RAY_ADDRESS", in_environment)
    monkeypatch.setitem(experiments.EXPERIMENTS, "luck", Experiment("?", "digits", lambda _: CONFIGS[:1], SEEDS))
    arguments = ["study", "luck", "--engine", "ray", "--address", address, "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["normbench", *arguments])
    assert cli.main() == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith(f"the Ray cluster at '{address}' cannot be joined: ")


def test_without_ray(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"the engine ray needs Ray: pip install -r requirements-ray\.txt"):
        run_all(CONFIGS, data, tmp_path / "runs.jsonl", engine=on_ray())


@pytest.mark.parametrize("out_of_range", (dict(workers=0), dict(gpus=-0.5), dict(gpus=float("nan"))))
def test_numbers_out_of_range(out_of_range):
    with pytest.raises(ValueError, match="workers must be at least 1 and gpus at least 0, got"):
        on_ray(**out_of_range)


# Several at once


def test_what_is_finished_beside_an_error_is_not_lost():
    futures = {config: Future() for config in CONFIGS[:2]}
    futures[CONFIGS[0]].set_exception(FloatingPointError())
    futures[CONFIGS[1]].set_result("a run")
    results = engines._as_finished(futures.__getitem__, futures, 2)
    assert next(results) == "a run"
    with pytest.raises(FloatingPointError):
        next(results)


def test_no_more_configs_are_taken_than_there_is_room_for():
    """Other processes may take the rest."""
    taken = []

    def finish_at_once(config):
        taken.append(config)
        future = Future()
        future.set_result(config)
        return future

    results = engines._as_finished(finish_at_once, iter(CONFIGS), 2)
    first = next(results)
    assert taken == CONFIGS[:2] and {first, *results} == set(CONFIGS)


def test_workers_keep_the_memory_that_they_free(monkeypatch):
    first, second = engines.KEPT_MEMORY
    monkeypatch.delenv(first, raising=False)
    monkeypatch.setenv(second, "7")  # the user's own
    with engines._spawning():
        assert os.environ[first] == str(2**30) and os.environ[second] == "7"
    assert first not in os.environ and os.environ[second] == "7"
