"""Ways to carry out many runs on this machine: one after another, or side by side in processes.

An engine takes recipes one by one, as it has room for them, and yields runs in the order they are finished. One that
starts something, such as worker processes, keeps it for several calls within `opened`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Any, Self, TypeVar

import torch

from normbench.data import Dataset, Task
from normbench.training import Recipe, Run, Trainer

Engine = Callable[[Trainer, Iterable[Recipe], Task, bool], Iterator[Run]]
T = TypeVar("T")
SMALL = 64 * 64  # pixels


class KeepingEngine(ABC):
    """An engine that starts something and keeps it for as long as it is open; contexts may lie within each other.

    A call opens it by itself.
    """

    _depth = 0

    @abstractmethod
    def __call__(self, trainer: Trainer, recipes: Iterable[Recipe], data: Task, progress: bool) -> Iterator[Run]: ...

    @abstractmethod
    def close(self) -> None:
        """End what was started, if anything was."""

    def __enter__(self) -> Self:
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self.close()


def opened(engine: Engine) -> AbstractContextManager[Any]:
    """Return a context in which an engine keeps what it starts; one that keeps nothing is used as it is."""
    return engine if isinstance(engine, KeepingEngine) else nullcontext(engine)


def local(workers: int = 1) -> Engine:
    """Return the engine for this machine: one worker trains in turn, several train side by side and share its threads.

    Raises ValueError for less than one worker.
    """
    from normbench.runs.workers import SideBySide

    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    return _in_turn if workers == 1 else SideBySide(workers)


def usual_workers(data: Task) -> int:
    """Return how many runs side by side were measured to be fastest.

    Networks for small grey images leave a second thread little to do, so that as many runs as there are threads
    finish sooner; those for colour images use the threads well in turn. On a GPU, and by a function of the user's own,
    in turn.
    """
    return torch.get_num_threads() if _has_little_work(data) else 1


def threads_each(workers: int, data: Task | None = None) -> int:
    """Return how many of this process's threads a run gets beside others, so many at once.

    One of small grey images gets one thread, however many are free: the number changes how sums are rounded, and so
    each run's numbers are the same whoever trains, also on Ray. Others share the threads, for which they have use.
    """
    return 1 if data is not None and _has_little_work(data) else max(1, torch.get_num_threads() // workers)


def _has_little_work(data: Task) -> bool:
    if not isinstance(data, Dataset) or data.device.type != "cpu":
        return False
    _, height, width = data.image_shape
    return data.is_grey and height * width <= SMALL


@contextmanager
def threads_of_a_worker(workers: int, data: Task | None = None) -> Iterator[None]:
    """Give this process as many threads as a training of `data` has if there are so many workers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(threads_each(workers, data))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def as_finished(submit: Callable[[Recipe], "Future[T]"], recipes: Iterable[Recipe], at_once: int) -> Iterator[T]:
    """Yield the results as they are finished, with `at_once` runs under way at any time."""
    left, running = iter(recipes), set[Future[T]]()
    while running := running | {submit(recipe) for recipe in islice(left, at_once - len(running))}:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda future: future.exception() is not None):  # errors last: nothing is lost
            yield future.result()


def _in_turn(trainer: Trainer, recipes: Iterable[Recipe], data: Task, progress: bool) -> Iterator[Run]:
    for recipe in recipes:
        with threads_of_a_worker(1, data):
            run = trainer(recipe, data, progress)
        yield run
