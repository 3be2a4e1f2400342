"""Trainings on a Ray cluster: the runs are those that this process would make."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from importlib.util import find_spec

import made_up
import pytest
import torch
from made_up import TRAINER, build, without_seconds

from normbench.networks import Swapped
from normbench.runs import cluster, on_ray, read, run_all
from normbench.training import Recipe, Trainer, train

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install ray")
RECIPES = [Recipe("BN", l1=1e-4, epochs=2, seed=seed) for seed in range(3)]


def facts(run):
    """All that is the same whoever trains."""
    return without_seconds(run), run.correct.tolist(), run.mistakes, run.device, run.fingerprint, run.commit


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
def address():
    """The address of a Ray cluster that is told that it has a GPU."""
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-c", A_CLUSTER]
    with subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


def wait_to_be_killed(told, path, net, data, recipe, **options):
    """As `train`, but the first try of seed 1 is killed once another is stored."""
    again = told.exists() and "seed 1 " in told.read_text()
    with open(told, "a") as file:
        print("seed", recipe.seed, os.getpid(), file=file)
    if recipe.seed == 1 and not again:
        while not path.exists() or path.read_bytes().count(b"\n") < 1:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return train(net, data, recipe, **options)


@needs_ray
def test_the_runs_are_the_same_though_a_worker_is_killed(few_digits, tmp_path, shipped, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the code is not found there, but sent
    told, path = tmp_path / "told", tmp_path / "runs.jsonl"
    trainer = Trainer("train", build, partial(wait_to_be_killed, told, path))
    capfd.readouterr()
    runs = run_all(RECIPES, few_digits, path, trainer, engine=on_ray(2, modules=[made_up]))
    shown, said = capfd.readouterr()
    assert [facts(run) for run in runs] == [facts(TRAINER(recipe, few_digits, False)) for recipe in RECIPES]
    tries = [line.split() for line in told.read_text().splitlines()]
    assert sorted(int(seed) for _, seed, _ in tries) == [0, 1, 1, 2]
    assert len({pid for _, seed, pid in tries if seed == "1"}) == 2
    assert said == "" and all(shown.count(f"seed {seed}:") == 1 for seed in range(3))
    assert shown.count("the task will be retried") == 1


@needs_ray
@pytest.mark.skipif(torch.cuda.is_available(), reason="the cluster's GPU is made up")
def test_a_share_of_a_gpu_and_an_error_which_is_the_training_s_own(few_digits, tmp_path, address, shipped, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    train_on_a_node, told = cluster._train_on_a_node, tmp_path / "told"

    def tell_and_train(*arguments):
        import ray

        told.write_text(json.dumps(ray.get_runtime_context().get_assigned_resources()))
        return train_on_a_node(*arguments)

    monkeypatch.setattr(cluster, "_train_on_a_node", tell_and_train)
    engine = on_ray(2, "auto", gpus=0.25, modules=[made_up])
    with pytest.raises(ValueError, match=r"^DEVICE 'cuda' cannot be used here .*; try auto or cpu$") as caught:
        run_all(RECIPES, few_digits, tmp_path / "runs.jsonl", TRAINER, engine=engine)
    assert type(caught.value) is ValueError
    assert json.loads(told.read_text()) == {"CPU": 1.0, "GPU": 0.25}


A_NETWORK = """
from torch import nn

def build(num_classes):
    return nn.Sequential(nn.Conv2d(1, 4, 28), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, num_classes))
"""


@needs_ray
def test_a_network_whose_file_only_this_machine_has(few_digits, tmp_path, address, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "net.py"
    file.write_text(A_NETWORK)
    trainer = pickle.loads(pickle.dumps(Trainer("train", Swapped("net.py:build"))))
    file.unlink()  # Ray's workers share this machine's disk
    (run,) = on_ray(1, address)(trainer, [Recipe("GN", epochs=1)], few_digits, False)
    assert run.parameters == 4 * 28 * 28 + 4 + 8 + 50


@needs_ray
def test_more_gpus_than_there_are(few_digits, tmp_path, address):
    with pytest.raises(ValueError, match="2 GPU, but the Ray cluster has 1"):
        run_all(RECIPES, few_digits, tmp_path / "runs.jsonl", TRAINER, engine=on_ray(2, address, gpus=2))


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


@needs_ray
def test_workers_that_die_again_and_again(few_digits, tmp_path, address, shipped):
    engine = on_ray(1, address, retries=0, modules=[made_up])
    with pytest.raises(BrokenProcessPool, match=r"^Ray gave up a run: .*died.*") as caught:
        run_all(RECIPES, few_digits, tmp_path / "runs.jsonl", Trainer("dying", build, die), engine=engine)
    assert "\n" not in str(caught.value) and read(tmp_path / "runs.jsonl") == []


@needs_ray
@pytest.mark.parametrize("address, in_environment", (("127.0.0.1:1", ""), ("auto", "127.0.0.1:1"), ("nonsense", "")))
def test_no_such_cluster_is_told_in_one_line_and_at_once(few_digits, address, in_environment, tmp_path, monkeypatch):
    """Ray itself tries an address that nobody answers at for a quarter of an hour: it is not asked."""
    import ray

    if address != "nonsense":
        monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray is asked"))
    monkeypatch.setenv("RAY_ADDRESS", in_environment)
    with pytest.raises(ValueError, match=f"'{address}' cannot be joined: ") as caught:
        run_all(RECIPES, few_digits, tmp_path / "runs.jsonl", TRAINER, engine=on_ray(address=address))
    assert "\n" not in str(caught.value)


def test_without_ray(few_digits, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"needs Ray: pip install"):
        run_all(RECIPES, few_digits, tmp_path / "runs.jsonl", TRAINER, engine=on_ray())


@pytest.mark.parametrize("out_of_range", ({"workers": 0}, {"gpus": -0.5}, {"gpus": float("nan")}))
def test_numbers_out_of_range(out_of_range):
    with pytest.raises(ValueError, match="workers must be at least 1 and gpus at least 0, got"):
        on_ray(**out_of_range)
