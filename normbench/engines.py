"""How many trainings are carried out: in turn, side by side on this machine, or on a Ray cluster.

Each engine takes configs one by one, as it has room for them, and yields runs in the order they are finished.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path

import torch
from tqdm import tqdm

from normbench.config import Config
from normbench.data import Dataset
from normbench.device import choose_device, commit
from normbench.train import Run

Trainer = Callable[[Config, Dataset, bool], Run]
Engine = Callable[[Trainer, Iterable[Config], Dataset, bool], Iterator[Run]]

PROJECT = Path(__file__).parent.parent


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
    threads = max(1, torch.get_num_threads() // workers)
    # A forked process could not use the threads, or the GPU, that this one has started.
    context, others = get_context("spawn"), set(active_children())
    with ProcessPoolExecutor(workers, context, _start_worker, (threads,)) as pool:
        try:
            yield from _as_finished(lambda config: pool.submit(train, config, data, False), configs, workers, progress)
        except BaseException:  # Ctrl-C too: what has begun would otherwise be waited for
            for process in set(active_children()) - others:
                process.kill()
            raise


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the workers too; they end without a word
    tqdm.set_lock(threading.RLock())  # its own, shared by processes, would be left behind with a warning
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """A killed process cannot end its workers, which would train on for nobody."""
    parent_process().join()
    os._exit(1)


def on_ray(workers: int = 2, address: str | None = None, gpus: float = 0.0, retries: int = 3) -> Engine:
    """Trainings on a Ray cluster: `workers` at once, each on one core and the fraction `gpus` of a GPU.

    `address` is that of a cluster to join ("auto" for the one this machine is part of); without one, a cluster of
    this machine alone is started and ended. A training whose worker dies is tried again, up to `retries` times.

    Raises ValueError where Ray is not installed or there is no such cluster.
    """
    if workers < 1 or gpus < 0:
        raise ValueError(f"workers must be at least 1 and gpus at least 0, got {workers} and {gpus:g}")
    return partial(_on_ray, workers, address, gpus, retries)


def _on_ray(
    workers: int,
    address: str | None,
    gpus: float,
    retries: int,
    train: Trainer,
    configs: Iterable[Config],
    data: Dataset,
    progress: bool,
) -> Iterator[Run]:
    ray = _started_ray(address, workers)
    try:
        remote = ray.remote(_train_on_a_node).options(num_cpus=1, num_gpus=gpus, max_retries=retries)
        kept, kind = ray.put(data.to("cpu")), "cuda" if gpus else "cpu"
        found = _as_finished(lambda c: remote.remote(train, c, kept, kind).future(), configs, workers, progress)
        # A node has the project's files without its history.
        yield from (replace(run, commit=commit()) for run in found)
    finally:
        ray.shutdown()


def _started_ray(address: str | None, workers: int):
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise ValueError("the engine ray needs Ray: pip install -r requirements-ray.txt") from None
    excluded = [f"/{name}" for name in (".git", ".venv", "data", "runs", "results", "images", "tests", "*.ipynb")]
    arguments = dict(runtime_env={"working_dir": str(PROJECT), "excludes": excluded}, log_to_driver=False)
    if not address:
        arguments |= dict(num_cpus=workers, include_dashboard=False)
    try:
        ray.init(address=address or "local", logging_level="ERROR", **arguments)
    except ConnectionError as error:
        raise ValueError(f"there is no Ray cluster at {address!r} ({error}); ray start --head starts one") from None
    return ray


def _train_on_a_node(train: Trainer, config: Config, data: Dataset, device: str) -> Run:
    torch.set_num_threads(1)  # the core that was asked for
    return train(config, data.to(choose_device(device)), False)


def _as_finished(
    submit: Callable[[Config], Future], configs: Iterable[Config], at_once: int, progress: bool
) -> Iterator[Run]:
    """The runs as they are finished, where `at_once` are under way at any time."""
    configs, running = iter(configs), set()
    while running := running | {submit(config) for config in islice(configs, at_once - len(running))}:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda future: future.exception() is not None):  # errors last: nothing is lost
            run = future.result()
            yield run
            if progress:
                last, seconds = run.history[-1], f"{run.seconds:.0f} s"
                print(
                    f"{run.config.label}, seed {run.config.seed}: {last['test_accuracy']:.2f} %, {seconds}", flush=True
                )
