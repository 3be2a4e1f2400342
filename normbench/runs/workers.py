"""Trainings side by side in processes of this machine. You need not read this to use it: `local` does.

Processes are spawned once and kept. A trainer and its data are handed to them in a file that each maps into its memory:
so a process starts at once however large the data are, and shares their memory with the others.

This file touches process-wide state while it starts a worker: the environment, `__main__` and the signal mask.
"""

import os
import pickle
import pickletools
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any
from zipfile import ZipFile

import torch
from tqdm import tqdm

from normbench.data import Task
from normbench.runs.engines import KeepingEngine, as_finished, threads_each
from normbench.training import Recipe, Run, Trainer

DATA_SETS = 4  # that a worker keeps at hand: a comparison goes back and forth between a few


class SideBySide(KeepingEngine):
    """Trains in several processes of this machine, which share its threads.

    Args:
        workers: how many processes.
    """

    def __init__(self, workers: int):
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._processes: set[BaseProcess] = set()
        self._folder: TemporaryDirectory[str] | None = None
        self._tasks: list[tuple[Trainer, Task, str]] = []  # with the file of each

    def __call__(self, trainer: Trainer, recipes: Iterable[Recipe], data: Task, progress: bool) -> Iterator[Run]:
        with self:
            file, threads = self._file_of(trainer, data), threads_each(self.workers, data)

            def submit(recipe: Recipe) -> "Future[bytes]":
                return self._submit(file, recipe, threads)

            try:
                yield from map(pickle.loads, as_finished(submit, recipes, self.workers))
            except BrokenProcessPool:
                self._kill()
                raise BrokenProcessPool("a worker was killed, perhaps for want of memory: try fewer workers") from None
            except BaseException:  # Ctrl-C too: what has begun would otherwise be waited for
                self._kill()
                raise

    def close(self) -> None:
        """End the processes, and remove the files."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool, self._processes = None, set()
        if self._folder is not None:
            self._folder.cleanup()
        self._folder, self._tasks = None, []

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
        if self._pool is not None:
            self._pool.shutdown()
        self._pool, self._processes = None, set()

    def _submit(self, file: str, recipe: Recipe, threads: int) -> "Future[bytes]":
        if self._pool is None:
            # A forked process could not use the threads, or the GPU, that this one has started.
            folder = os.path.dirname(file)
            self._pool = ProcessPoolExecutor(self.workers, get_context("spawn"), _start_worker, (folder,))
        others = set(active_children())
        try:
            with _spawning():
                return self._pool.submit(_train_in_a_worker, file, recipe, threads)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the machine refuses another process
                raise
            # A worker that was killed while another starts has had the pool's pipes closed
            raise BrokenProcessPool("a pool's pipes are closed") from error
        finally:
            self._processes |= set(active_children()) - others

    def _file_of(self, trainer: Trainer, data: Task) -> str:
        """Return the file by which the workers get a trainer and its data; written once, while the engine is open."""
        for known_trainer, known_data, file in self._tasks:
            if known_trainer is trainer and known_data is data:
                return file
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="normbench-", ignore_cleanup_errors=True)
        file = os.path.join(self._folder.name, f"{len(self._tasks)}.pt")
        _hand_over(trainer, data, file)
        self._tasks.append((trainer, data, file))
        return file


def _hand_over(trainer: Trainer, data: Task, file: str) -> None:
    """Write what workers need to a file.

    Raises ValueError for functions that other processes cannot import, OSError where the file cannot be written.
    """
    try:
        torch.save((trainer, data), file, pickle_protocol=pickle.HIGHEST_PROTOCOL)
        with ZipFile(file) as written:
            pickled = written.read(next(name for name in written.namelist() if name.endswith("/data.pkl")))
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        reason = str(error).splitlines()[0]
        raise OSError(f"the data cannot be handed to workers in {Path(file).parent} ({reason}); set TMPDIR") from error
    except (pickle.PicklingError, AttributeError, TypeError):
        pickled = b""
    if not pickled or any(argument == "__main__" for _, argument, _ in pickletools.genops(pickled)):
        raise ValueError(
            f"other processes cannot import the functions of the trainer {trainer.name}: put them into a .py file of "
            "their own and import them from there, or train with one worker"
        )


# To glibc: keep freed memory. A step's tensors are asked for anew in the next step, and pages that had been given back
# cost a fault each, which takes 4 % of a run on CIFAR-10.
KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}


@contextmanager
def _spawning() -> Iterator[None]:
    """Prepare what a spawned worker inherits.

    Ctrl-C is blocked until the worker is ready, and glibc keeps freed memory. The user's script is hidden:
    multiprocessing has each worker run it again, for the sake of its functions, and without
    `if __name__ == "__main__":` that would start the runs there too.
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


# In a worker


def _start_worker(folder: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the workers too; they end without a word
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    tqdm.set_lock(threading.RLock())  # its own, shared by processes, would be left behind with a warning
    threading.Thread(target=_end_with_the_parent, args=(folder,), daemon=True).start()


@lru_cache(maxsize=DATA_SETS)
def _task(file: str) -> tuple[Trainer, Task]:
    """Map the file that `_hand_over` wrote; what is written to its tensors stays in this process."""
    task: tuple[Trainer, Task] = torch.load(file, mmap=True, weights_only=False)
    return task


def _train_in_a_worker(file: str, recipe: Recipe, threads: int) -> bytes:
    torch.set_num_threads(threads)
    trainer, data = _task(file)
    # As bytes, because torch would hand tensors over through sockets that complain when a process is stopped.
    return pickle.dumps(trainer(recipe, data, False))


def _end_with_the_parent(folder: str) -> None:
    """End this worker when its parent is killed, for which it would train on for nobody; remove what that has left."""
    parent: Any = parent_process()
    parent.join()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
