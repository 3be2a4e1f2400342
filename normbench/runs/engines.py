"""Ways to carry out many trainings on this machine: one after another, or side by side in processes.

An engine takes recipes one by one, as it has room for them, and yields runs in the order they are finished.

This file touches process-wide state while it starts a worker: the environment, `__main__` and the signal mask.
"""

import os
import pickle
import pickletools
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import active_children, get_context, parent_process
from types import ModuleType
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from normbench.data import Dataset
from normbench.training import Recipe, Run, Trainer

Engine = Callable[[Trainer, Iterable[Recipe], Dataset, bool], Iterator[Run]]
T = TypeVar("T")


def local(workers: int = 1) -> Engine:
    """Return the engine for this machine: one worker trains in turn, several train side by side and share its threads.

    Raises ValueError for less than one worker.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    return _in_turn if workers == 1 else partial(_side_by_side, workers)


def usual_workers(data: Dataset) -> int:
    """Return how many trainings side by side were measured to be fastest.

    Networks for small grey images leave a second thread little to do, so that as many trainings as there are threads
    finish sooner; those for colour images use the threads well in turn. On a GPU, in turn.
    """
    return torch.get_num_threads() if data.device.type == "cpu" and data.is_grey else 1


@contextmanager
def threads_of_a_worker(workers: int) -> Iterator[None]:
    """Give this process as many threads as each of the workers would have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(_threads_each(workers))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def as_finished(submit: Callable[[Recipe], "Future[T]"], recipes: Iterable[Recipe], at_once: int) -> Iterator[T]:
    """Yield the results as they are finished, with `at_once` trainings under way at any time."""
    left, running = iter(recipes), set[Future[T]]()
    while running := running | {submit(recipe) for recipe in islice(left, at_once - len(running))}:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda future: future.exception() is not None):  # errors last: nothing is lost
            yield future.result()


def _in_turn(trainer: Trainer, recipes: Iterable[Recipe], data: Dataset, progress: bool) -> Iterator[Run]:
    for recipe in recipes:
        yield trainer(recipe, data, progress)


def _side_by_side(
    workers: int, trainer: Trainer, recipes: Iterable[Recipe], data: Dataset, progress: bool
) -> Iterator[Run]:
    # As bytes, because torch would hand tensors over through sockets that complain when a process is stopped.
    setup = _threads_each(workers), _pickled(trainer), pickle.dumps(data)
    # A forked process could not use the threads, or the GPU, that this one has started.
    context, others = get_context("spawn"), set(active_children())

    def submit(recipe: Recipe) -> "Future[bytes]":
        with _spawning():
            return pool.submit(_train_in_a_worker, recipe)

    with ProcessPoolExecutor(workers, context, _start_worker, setup) as pool:
        try:
            yield from map(pickle.loads, as_finished(submit, recipes, workers))
        except BrokenProcessPool:
            raise BrokenProcessPool("a worker was killed, perhaps for want of memory: try fewer workers") from None
        except BaseException:  # Ctrl-C too: what has begun would otherwise be waited for
            for process in set(active_children()) - others:
                process.kill()
            raise


def _threads_each(workers: int) -> int:
    return max(1, torch.get_num_threads() // workers)


def _pickled(trainer: Trainer) -> bytes:
    """Raises ValueError for a trainer that other processes cannot import."""
    try:
        pickled = pickle.dumps(trainer)
    except (pickle.PicklingError, AttributeError, TypeError):
        pickled = b""
    if not pickled or any(argument == "__main__" for _, argument, _ in pickletools.genops(pickled)):
        raise ValueError(
            f"other processes cannot import the functions of the trainer {trainer.name}: put them into a .py file of "
            "their own and import them from there, or train with one worker"
        )
    return pickled


# To glibc: keep freed memory. A step's tensors are asked for anew in the next step, and pages that had been given back
# cost a fault each, which takes 4 % of a training on CIFAR-10.
KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}


@contextmanager
def _spawning() -> Iterator[None]:
    """Prepare what a spawned worker inherits.

    Ctrl-C is blocked until the worker is ready, and glibc keeps freed memory. The user's script is hidden:
    multiprocessing has each worker run it again, for the sake of its functions, and without
    `if __name__ == "__main__":` that would start the trainings there too.
    """
    script, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    added = [name for name in KEPT_MEMORY if name not in os.environ]
    os.environ.update({name: KEPT_MEMORY[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
        sys.modules["__main__"] = script
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


_task: tuple[Trainer, Dataset]  # of a worker, which gets it once and not for each training


def _start_worker(threads: int, *pickled: bytes) -> None:
    global _task
    trainer, data = map(pickle.loads, pickled)
    _task = trainer, data
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the workers too; they end without a word
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    tqdm.set_lock(threading.RLock())  # its own, shared by processes, would be left behind with a warning
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _train_in_a_worker(recipe: Recipe) -> bytes:
    trainer, data = _task
    return pickle.dumps(trainer(recipe, data, False))


def _end_with_the_parent() -> None:
    """End this worker when its parent is killed; it would train on for nobody."""
    parent: Any = parent_process()
    parent.join()
    os._exit(1)
