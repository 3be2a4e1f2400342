"""Trainings on a Ray cluster. You need not read this unless you use one.

This file touches process-wide state: the process joins a cluster, and variables of Ray's are set where they are not.
"""

import logging
import math
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from textwrap import shorten
from types import ModuleType
from typing import Any

import torch

import normbench
from normbench.data import Task
from normbench.device import choose_device
from normbench.runs.engines import Engine, KeepingEngine, as_finished
from normbench.training import Recipe, Run, Trainer
from normbench.training.provenance import commit


def on_ray(
    workers: int | None = None,
    address: str | None = None,
    gpus: float = 0.0,
    retries: int = 3,
    modules: Sequence[ModuleType] = (),
) -> Engine:
    """Return the engine for a Ray cluster.

    The cluster's nodes are sent normbench's code, and need what it depends on.

    Args:
        workers: how many runs are done at once, each on one core; by default as many as the cluster has room for.
        address: that of a cluster to join: host:port, or "auto" for the one that this machine is part of. Without
            one, a cluster of this machine alone is started and ended.
        gpus: the fraction of a GPU that each run gets.
        retries: how often a run whose worker dies is tried again.
        modules: modules of your own that are sent too, such as the one that builds the network.

    Raises ValueError for numbers out of range; the engine raises ValueError where Ray is not installed, the cluster
    cannot be joined or has no such GPU, BrokenProcessPool where a run's workers died once too often, and what
    a run raises.
    """
    if (workers is not None and workers < 1) or not gpus >= 0:
        raise ValueError(f"workers must be at least 1 and gpus at least 0, got {workers} and {gpus:g}")
    return _OnRay(workers, address, gpus, retries, tuple(modules))


class _OnRay(KeepingEngine):
    def __init__(
        self, workers: int | None, address: str | None, gpus: float, retries: int, modules: tuple[ModuleType, ...]
    ):
        self.workers, self.address, self.gpus, self.retries, self.modules = workers, address, gpus, retries, modules
        self._ray: Any = None
        self._there: list[tuple[Task, Any]] = []  # the data sets that the cluster has

    def __call__(self, trainer: Trainer, recipes: Iterable[Recipe], data: Task, progress: bool) -> Iterator[Run]:
        with self:
            ray = self._ray = self._ray or self._joined()
            try:
                room = self._room(ray.cluster_resources())
                options = {"num_cpus": 1, "num_gpus": self.gpus, "max_retries": self.retries}
                remote = ray.remote(_train_on_a_node).options(**options)
                there, kind = self._put(data), "cuda" if self.gpus else "cpu"

                def submit(recipe: Recipe) -> "Future[Run]":
                    return remote.remote(trainer, recipe, there, kind).future()

                for run in as_finished(submit, recipes, self.workers or room):
                    yield replace(run, commit=commit())  # a node has the project's code without its history
            except ray.exceptions.RayError as error:
                self.close()
                cause = getattr(error, "cause", error)
                if not isinstance(cause, ray.exceptions.RayError):
                    raise cause from None  # what the run raised; Ray's own has the worker's traceback for a text
                raise BrokenProcessPool(f"Ray gave up a run: {_in_one_line(cause)}") from None
            except BaseException:  # Ctrl-C too: what has begun would go on
                self.close()
                raise

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._ray is not None:
            self._ray.shutdown()
        self._ray, self._there = None, []

    def _put(self, data: Task) -> Any:
        """Return the reference to a data set on the cluster, which gets it once."""
        for known, there in self._there:
            if known is data:
                return there
        self._there.append((data, self._ray.put(data.to("cpu"))))
        return self._there[-1][1]

    def _room(self, resources: dict[str, float]) -> int:
        """How many runs the cluster has room for. Raises ValueError where it has too few GPUs for a single one."""
        if self.gpus > resources.get("GPU", 0):
            raise ValueError(
                f"each run is to have {self.gpus:g} GPU, but the Ray cluster has {resources.get('GPU', 0):g}"
            )
        by_gpus = resources["GPU"] / self.gpus if self.gpus else math.inf
        return max(1, int(min(resources.get("CPU", 1), by_gpus)))

    def _joined(self) -> Any:
        """Ray's module, once this process is part of the cluster."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to Ray's makers
        if self.address:
            os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # a cluster that turns this process away: ask once
        try:
            import ray
        except ModuleNotFoundError:
            raise ValueError('the engine ray needs Ray: pip install "normbench[ray]"') from None
        if ray.is_initialized():
            raise ValueError("this process is part of a Ray cluster already, which ray.shutdown() leaves")
        options: dict[str, Any] = {
            "runtime_env": {"py_modules": [normbench, *self.modules], "excludes": ["__pycache__"]},
            "log_to_driver": False,
            "logging_level": logging.ERROR,
        }
        if not self.address:
            options |= {"num_cpus": self.workers, "include_dashboard": False}
        try:
            _check_that_it_answers(os.environ.get("RAY_ADDRESS") if self.address == "auto" else self.address)
            ray.init(self.address or "local", **options)
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            ray.shutdown()
            there = f"the Ray cluster at {self.address!r} cannot be joined" if self.address else "Ray cannot be started"
            hint = "; if it asks for a token, set RAY_AUTH_MODE=token" if "Failed to connect" in str(error) else ""
            raise ValueError(f"{there}: {_in_one_line(error)}{hint}") from None
        return ray


def _check_that_it_answers(address: str | None) -> None:
    """Ray itself would try for a quarter of an hour."""
    if address and ":" in address:
        host, port = address.rpartition("://")[2].rsplit(":", 1)
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _in_one_line(error: Exception) -> str:
    return shorten(str(error), 300)


def _train_on_a_node(trainer: Trainer, recipe: Recipe, data: Task, device: str) -> Run:
    torch.set_num_threads(1)  # the core that was asked for
    return trainer(recipe, data.to(choose_device(device)), False)
