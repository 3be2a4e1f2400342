"""The lines are the same, whatever carries the trainings out."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import pytest
import torch

from normbench import __main__ as cli
from normbench import engines, experiments
from normbench.device import commit
from normbench.engines import local, on_ray
from normbench.experiments import Experiment
from normbench.runs import read, run_all
from normbench.train import Config, train

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="pip install -r requirements-ray.txt")
SEEDS = range(4)
CONFIGS = [Config("BN", l1=1e-4, epochs=2, seed=seed) for seed in SEEDS]


@pytest.fixture
def one_thread():
    """What side by side on two cores, and on a core of Ray, is used too: it decides the last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


def lines(path):
    """The lines by their seed, but for how long it took."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for line in found:
        for timed in (line, *line["history"]):
            del timed["seconds"]
    assert sorted(line["config"]["seed"] for line in found) == list(SEEDS)
    return {line["config"]["seed"]: line for line in found}


def long_at_first(told, config, data, progress):
    """As `train`, but the first try of seed 1 takes minutes."""
    again = told.exists() and "seed 1 " in told.read_text()
    with open(told, "a") as file:
        print("seed", config.seed, os.getpid(), file=file)
    return train(config if config.seed != 1 or again else replace(config, epochs=3000), data, progress)


def kill_seed_1_after_two_others(told, path):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.01)
        begun = told.read_text() if told.exists() else ""
        pids = [int(line.split()[2]) for line in begun.splitlines() if line.startswith("seed 1 ")]
        if pids and path.exists() and path.read_bytes().count(b"\n") >= 2:
            os.kill(pids[0], signal.SIGKILL)
            return


@needs_ray
def test_engines_give_the_same_lines_though_a_worker_of_ray_is_killed(
    few_digits, tmp_path, one_thread, shipped, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # the project's code is not found there, but sent
    for name, engine in (("in turn", local()), ("side by side", local(2))):
        run_all(CONFIGS, few_digits, tmp_path / name, engine=engine, progress=False)
    assert lines(tmp_path / "side by side") == lines(tmp_path / "in turn")
    capfd.readouterr()
    told, path = tmp_path / "told", tmp_path / "on ray"
    killer = threading.Thread(target=kill_seed_1_after_two_others, args=(told, path), daemon=True)
    killer.start()
    run_all(CONFIGS, few_digits, path, engine=on_ray(2), trainer=partial(long_at_first, told))
    killer.join()
    assert lines(path) == lines(tmp_path / "in turn")
    assert {line["commit"] for line in lines(path).values()} == {commit()}
    tries = [line.split() for line in told.read_text().splitlines()]
    assert sorted(int(seed) for _, seed, _ in tries) == [0, 1, 1, 2, 3]
    assert read(path)[-1].config.seed == 1 and len({pid for _, _, pid in tries}) >= 2
    shown, said = capfd.readouterr()
    assert said == "" and shown.count("BN + L1, seed ") == 4 and shown.count("the task will be retried") == 1
    assert len(shown.splitlines()) == 6  # Ray's word on the worker that died has two


@needs_ray
def test_an_error_on_ray_is_the_training_s_own(few_digits, tmp_path, cluster, monkeypatch):
    path = tmp_path / "runs.jsonl"
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    configs = [Config("GN", epochs=1), Config("none", lr=1e20, epochs=1), Config("GN", epochs=1, seed=1)]
    with pytest.raises(FloatingPointError) as caught:
        run_all(configs, few_digits, path, engine=on_ray(1, "auto"))
    assert type(caught.value) is FloatingPointError
    assert str(caught.value) == "none: the loss is not finite in epoch 1; try a lower learning rate than 1e+20"
    assert [run.config for run in read(path)] == configs[:1]


@needs_ray
@pytest.mark.skipif(torch.cuda.is_available(), reason="the cluster's GPU is made up")
def test_a_share_of_a_gpu(few_digits, tmp_path, cluster, shipped, monkeypatch):
    train_on_a_node, told = engines._train_on_a_node, tmp_path / "told"

    def tell_and_train(*arguments):
        import ray

        told.write_text(json.dumps(ray.get_runtime_context().get_assigned_resources()))
        return train_on_a_node(*arguments)

    monkeypatch.setattr(engines, "_train_on_a_node", tell_and_train)
    with pytest.raises(ValueError, match=r"^DEVICE 'cuda' cannot be used here .*; try auto or cpu$"):
        run_all(CONFIGS, few_digits, tmp_path / "runs.jsonl", engine=on_ray(2, cluster, gpus=0.25))
    assert json.loads(told.read_text()) == {"CPU": 1.0, "GPU": 0.25}


@needs_ray
def test_more_gpus_than_there_are(few_digits, tmp_path, cluster):
    with pytest.raises(ValueError, match="each training is to have 2 GPU, but the Ray cluster has 1"):
        run_all(CONFIGS, few_digits, tmp_path / "runs.jsonl", engine=on_ray(2, cluster, gpus=2))


def die(config, data, progress):
    os.kill(os.getpid(), signal.SIGKILL)


@needs_ray
def test_workers_of_ray_that_die_again_and_again(few_digits, tmp_path, cluster, shipped):
    with pytest.raises(BrokenProcessPool, match=r"^Ray gave a training up: .*died.*") as caught:
        run_all(CONFIGS, few_digits, tmp_path / "runs.jsonl", engine=on_ray(1, cluster, retries=0), trainer=die)
    assert "\n" not in str(caught.value)


@needs_ray
@pytest.mark.parametrize("address", ("127.0.0.1:1", "nonsense"))
def test_no_such_cluster_is_told_in_one_line_and_at_once(address, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(experiments.EXPERIMENTS, "accuracy", Experiment("Is it there?", "digits", lambda _: CONFIGS))
    arguments = ["study", "accuracy", "--engine", "ray", "--address", address, "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["normbench", *arguments])
    began = time.monotonic()
    assert cli.main() == 2
    assert time.monotonic() - began < 15
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith(f"the Ray cluster at '{address}' cannot be joined: ")


def test_without_ray(few_digits, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"the engine ray needs Ray: pip install -r requirements-ray\.txt"):
        run_all(CONFIGS, few_digits, tmp_path / "runs.jsonl", engine=on_ray())


@pytest.mark.parametrize("out_of_range", (dict(workers=0), dict(gpus=-0.5)))
def test_numbers_out_of_range(out_of_range):
    with pytest.raises(ValueError, match="workers must be at least 1 and gpus at least 0, got"):
        on_ray(**out_of_range)
