"""How many trainings are carried out: in turn, side by side on this machine, or on a Ray cluster.

Each engine takes configs one by one, as it has room for them, and yields runs in the order they are finished.
"""

import math
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing import active_children, get_context, parent_process
from textwrap import shorten
from types import ModuleType

import torch
from tqdm import tqdm

import model
import normbench
from normbench.config import Config
from normbench.data import Dataset
from normbench.device import choose_device, commit
from normbench.train import Run

Trainer = Callable[[Config, Dataset, bool], Run]
Engine = Callable[[Trainer, Iterable[Config], Dataset, bool], Iterator[Run]]


def local(workers: int = 1) -> Engine:
    """Trainings on this machine: with one worker in turn, with several side by side, sharing its threads.

    Raises ValueError for less than one worker.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    return _in_turn if workers == 1 else partial(_side_by_side, workers)


def usual_workers(data: Dataset) -> int:
    """How many trainings side by side were measured to be fastest.

    Networks for small grey images leave a second thread little to do, so that as many trainings as there are threads
    finish sooner; those for colour images use the threads well in turn. On a GPU, in turn.
    """
    return torch.get_num_threads() if data.device.type == "cpu" and data.image_shape[0] == 1 else 1


def _in_turn(train: Trainer, configs: Iterable[Config], data: Dataset, progress: bool) -> Iterator[Run]:
    for config in configs:
        yield train(config, data, progress)


def _side_by_side(
    workers: int, train: Trainer, configs: Iterable[Config], data: Dataset, progress: bool
) -> Iterator[Run]:
    threads = _threads_each(workers)
    # A forked process could not use the threads, or the GPU, that this one has started.
    context, others = get_context("spawn"), set(active_children())
    # As bytes, for torch would hand tensors over through sockets that complain when a process is stopped.
    task = _pickled(train), pickle.dumps(data)

    def submit(config: Config) -> Future:
        with _spawning():
            return pool.submit(_train_in_a_worker, config)

    with ProcessPoolExecutor(workers, context, _start_worker, (threads, *task)) as pool:
        try:
            yield from map(pickle.loads, _as_finished(submit, configs, workers))
        except BrokenProcessPool:
            raise BrokenProcessPool("a worker was killed, perhaps for want of memory: try fewer workers") from None
        except BaseException:  # Ctrl-C too: what has begun would otherwise be waited for
            for process in set(active_children()) - others:
                process.kill()
            raise


def _threads_each(workers: int) -> int:
    return max(1, torch.get_num_threads() // workers)


@contextmanager
def threads_of_a_worker(workers: int) -> Iterator[None]:
    """Meanwhile this process has as many threads as each of the workers would."""
    threads = torch.get_num_threads()
    torch.set_num_threads(_threads_each(workers))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _pickled(train: Trainer) -> bytes:
    """Raises ValueError for a trainer that other processes cannot import."""
    try:
        pickled = pickle.dumps(train)
    except (pickle.PicklingError, AttributeError, TypeError):
        pickled = b""
    if not pickled or b"__main__" in pickled:
        raise ValueError(
            f"other processes cannot import the trainer {full_name(train)}: put it into a .py file of its own and "
            "import it from there, or train with one worker"
        )
    return pickled


def full_name(train: Trainer) -> str:
    """The trainer's module and name; of a functools.partial, those of its function."""
    function = getattr(train, "func", train)
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"


# To glibc: keep freed memory. A step's tensors are asked for anew in the next step, and pages that had been given back
# cost a fault each, which takes 4 % of a training on CIFAR-10.
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


@contextmanager
def _spawning() -> Iterator[None]:
    """What a process inherits that is spawned meanwhile: Ctrl-C waits until it is ready, and the script is hidden.

    It keeps the memory that it frees, too. multiprocessing has each spawned process run the script again, for the sake
    of its functions. Without `if __name__ == "__main__":` that would start the trainings there too.
    """
    script, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    added = [name for name in KEPT_MEMORY if name not in os.environ]
    os.environ.update({name: KEPT_MEMORY[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
        sys.modules["__main__"] = script
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(threads: int, *task: bytes) -> None:
    global _task
    _task = tuple(map(pickle.loads, task))  # once, not for each training
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the workers too; they end without a word
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    tqdm.set_lock(threading.RLock())  # its own, shared by processes, would be left behind with a warning
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _train_in_a_worker(config: Config) -> bytes:
    train, data = _task
    return pickle.dumps(train(config, data, False))


def _end_with_the_parent() -> None:
    """A killed process cannot end its workers, which would train on for nobody."""
    parent_process().join()
    os._exit(1)


def on_ray(workers: int | None = None, address: str | None = None, gpus: float = 0.0, retries: int = 3) -> Engine:
    """Trainings on a Ray cluster: `workers` at once, each on one core and the fraction `gpus` of a GPU.

    Without a number of workers, as many as the cluster has room for.

    `address` is that of a cluster to join: host:port, or "auto" for the one that this machine is part of. Without
    one, a cluster of this machine alone is started and ended. Its nodes are sent the project's code, and need what
    requirements-ray.txt installs. A training whose worker dies is tried again, up to `retries` times.

    Raises ValueError for numbers out of range; the engine raises ValueError where Ray is not installed, the cluster
    cannot be joined or has no such GPU, BrokenProcessPool where a training's workers died once too often, and what
    a training raises.
    """
    if (workers is not None and workers < 1) or not gpus >= 0:
        raise ValueError(f"workers must be at least 1 and gpus at least 0, got {workers} and {gpus:g}")
    return partial(_on_ray, workers, address, gpus, retries)


def _on_ray(
    workers: int | None,
    address: str | None,
    gpus: float,
    retries: int,
    train: Trainer,
    configs: Iterable[Config],
    data: Dataset,
    progress: bool,
) -> Iterator[Run]:
    ray = _joined_ray(address, workers)
    try:
        resources = ray.cluster_resources()
        if gpus > resources.get("GPU", 0):
            raise ValueError(
                f"each training is to have {gpus:g} GPU, but the Ray cluster has {resources.get('GPU', 0):g}"
            )
        room = min(resources.get("CPU", 1), resources["GPU"] / gpus if gpus else math.inf)
        remote = ray.remote(_train_on_a_node).options(num_cpus=1, num_gpus=gpus, max_retries=retries)
        there, kind = ray.put(data.to("cpu")), "cuda" if gpus else "cpu"

        def submit(config: Config) -> Future:
            return remote.remote(train, config, there, kind).future()

        for run in _as_finished(submit, configs, workers or max(1, int(room))):
            yield replace(run, commit=commit())  # a node has the project's code without its history
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", error)
        if not isinstance(cause, ray.exceptions.RayError):
            raise cause from None  # what the training raised; Ray's own has the worker's traceback for a text
        raise BrokenProcessPool(f"Ray gave a training up: {_in_one_line(cause)}") from None
    finally:
        ray.shutdown()


def _joined_ray(address: str | None, workers: int | None) -> ModuleType:
    """Ray's module, once this process is part of the cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to Ray's makers
    if address:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # a cluster that turns this process away is asked once
    try:
        import ray
    except ModuleNotFoundError:
        raise ValueError("the engine ray needs Ray: pip install -r requirements-ray.txt") from None
    if ray.is_initialized():
        raise ValueError("this process is part of a Ray cluster already, which ray.shutdown() leaves")
    own = {} if address else dict(num_cpus=workers, include_dashboard=False)
    sent = {"py_modules": [model, normbench], "excludes": ["__pycache__"]}
    try:
        _check_that_it_answers(os.environ.get("RAY_ADDRESS") if address == "auto" else address)
        ray.init(address or "local", runtime_env=sent, log_to_driver=False, logging_level="ERROR", **own)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        ray.shutdown()
        where = f"the Ray cluster at {address!r} cannot be joined" if address else "Ray cannot be started"
        hint = "; if it asks for a token, set RAY_AUTH_MODE=token" if "Failed to connect" in str(error) else ""
        raise ValueError(f"{where}: {_in_one_line(error)}{hint}") from None
    return ray


def _check_that_it_answers(address: str | None) -> None:
    """Ray itself would try for a quarter of an hour."""
    if address and ":" in address:
        host, port = address.rpartition("://")[2].rsplit(":", 1)
        socket.create_connection((host.strip("[]"), port), timeout=10).close()


def _in_one_line(error: Exception) -> str:
    return shorten(str(error), 300)


def _train_on_a_node(train: Trainer, config: Config, data: Dataset, device: str) -> Run:
    torch.set_num_threads(1)  # the core that was asked for
    return train(config, data.to(choose_device(device)), False)


def _as_finished(submit: Callable[[Config], Future], configs: Iterable[Config], at_once: int) -> Iterator:
    """The results as they are finished, where `at_once` are under way at any time."""
    configs, running = iter(configs), set()
    while running := running | {submit(config) for config in islice(configs, at_once - len(running))}:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda future: future.exception() is not None):  # errors last: nothing is lost
            yield future.result()
