"""Finished trainings: kept as lines of a file, one JSON object a run; read, grouped into arms, as a table."""

import base64
import errno
import fcntl
import json
import os
import sys
import time
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import torch

from normbench.config import Config
from normbench.data import Dataset
from normbench.engines import Engine, Trainer, full_name, local
from normbench.fingerprint import network_fingerprint
from normbench.stats import Summary, summary
from normbench.train import Run, build, train
from normbench.words import duration


def run_all(
    configs: Sequence[Config],
    data: Dataset,
    path: str | os.PathLike,
    workers: int = 1,
    progress: bool = True,
    engine: Engine | None = None,
    trainer: Trainer = train,
) -> list[Run]:
    """The run of each config on `data`, in their order: the one stored in the file, or else a new one.

    A new run is stored as soon as it is finished, so that the same call goes on after a stop. Several processes may be
    at work on one file: each training is done by one of them, and all return the same runs. A stored run that was made
    with other data, another network or another trainer, as its fingerprint says, is not taken; a line says so.
    With several `workers`, as many trainings run side by side on this machine; or give another `engine`.
    `trainer` is what trains: a function of a module, so that other processes can have it.

    Raises as `train`, `append`, `read` and the engine do, and ValueError where the trainer returns another run than
    was asked for. That the file can be written is known before anything is trained.
    """
    engine, wanted = engine or local(workers), _Wanted(configs, data, path, trainer)
    wanted.tell_of_others()
    if to_do := len(wanted.missing()):
        if progress:
            print(f"{to_do} of {len(wanted.configs)} trainings are to be done", flush=True)
        started = time.monotonic()
        bars = progress and sys.stderr.isatty()  # in a log they would be a line a refresh
        with closing(_train_missing(wanted, engine, trainer, bars)) as finished:
            for run in finished:
                if progress:
                    left = len(wanted.missing())
                    name = _name(run.config, wanted.configs)
                    pace = (time.monotonic() - started) / (to_do - left)
                    _print_finished(name, run, len(wanted.configs), left, pace)
    stored = wanted.stored()
    return [stored[config] for config in configs]


def stored(configs: Iterable[Config], data: Dataset, path: str | os.PathLike, trainer: Trainer = train) -> list[Run]:
    """The runs of the configs that `run_all` would take from the file."""
    return list(_Wanted(configs, data, path, trainer).stored().values())


def _train_missing(wanted: "_Wanted", engine: Engine, trainer: Trainer, progress: bool) -> Iterator[Run]:
    """Each run as it is finished and stored, until none is missing."""
    with closing(_Claims(wanted.path)) as claims:
        while missing := wanted.missing():
            claimed = _claimed(missing, wanted, claims)
            if (first := next(claimed, None)) is None:
                time.sleep(1)  # other processes are training them
                continue
            with closing(engine(trainer, chain([first], claimed), wanted.data, progress)) as finished:
                for run in finished:
                    append(wanted.stamped(run, claims.held), wanted.path)
                    claims.give_back(run.config)
                    yield run


def _name(config: Config, among: Collection[Config]) -> str:
    """The config's label and seed, and what else tells it from the others: its learning rate, batch size or length."""
    words = {"lr": "rate {:g}", "batch_size": "batch {}", "epochs": "{} epochs"}
    varied = [key for key in words if len({getattr(other, key) for other in among}) > 1]
    return ", ".join(
        [config.label, *(words[key].format(getattr(config, key)) for key in varied), f"seed {config.seed}"]
    )


def _print_finished(name: str, run: Run, total: int, left: int, pace: float) -> None:
    """A line for a finished training; `pace` is in seconds a training."""
    rest = f", about {duration(pace * left)} left" if left else ""
    score = run.failure or f"{run.last['test_accuracy']:.2f} %"
    print(f"{name}: {score}  ({total - left} of {total}{rest})", flush=True)


# All of a config that the network depends on, but for the seed, which decides its weights.
OF_THE_NETWORK = ("nm", "gp", "ghost", "filters", "width")


class _Wanted:
    """What `run_all` is asked for, and which of the file's runs are that.

    A run with the config and data set name asked for is another one where its fingerprint differs in what both know.
    Older lines have none, and count as the same.
    """

    def __init__(self, configs: Iterable[Config], data: Dataset, path: str | os.PathLike, trainer: Trainer):
        self.configs, self.data, self.path = dict.fromkeys(configs), data, Path(path)
        self.trainer, self.build = full_name(trainer), getattr(trainer, "keywords", {}).get("build_network", build)
        self._network = cache(self._network)

    def _network(self, **of_a_config) -> str:
        return network_fingerprint(self.build(Config(**of_a_config), self.data), self.data.image_shape)

    def differences(self, run: Run) -> list[str]:
        """Which of data, network and trainer are known to be others than those asked for."""
        asked = {"data": self.data.fingerprint, "trainer": self.trainer}
        if "network" in run.fingerprint and self.trainer.startswith("normbench."):  # another may build another network
            asked["network"] = self._network(**{name: getattr(run.config, name) for name in OF_THE_NETWORK})
        return [key for key in sorted(asked) if run.fingerprint.get(key, asked[key]) != asked[key]]

    def _namesakes(self) -> list[Run]:
        """The runs of the file that have a config and the data set name asked for."""
        runs = read(self.path) if self.path.exists() else []
        return [run for run in runs if run.config in self.configs and run.dataset == self.data.name]

    def stored(self) -> dict[Config, Run]:
        return {run.config: run for run in self._namesakes() if not self.differences(run)}

    def missing(self) -> list[Config]:
        stored = self.stored()
        return [config for config in self.configs if config not in stored]

    def tell_of_others(self) -> None:
        others = [differences for run in self._namesakes() if (differences := self.differences(run))]
        if others:
            lines = ", ".join(f"{key} of {n}" for key, n in sorted(Counter(chain(*others)).items()))
            print(f"{self.path}: {len(others)} stored runs are not taken, for they differ ({lines})", file=sys.stderr)

    def stamped(self, run: Run, claimed: Collection[Config]) -> Run:
        """The finished run with the fingerprint that it is asked for by.

        Raises ValueError for a run that is not asked for: stored, it would never be found, and be trained for ever.
        """
        known = {"data": self.data.fingerprint, "trainer": self.trainer}
        run = replace(run, fingerprint=run.fingerprint | known)
        if run.config not in claimed or run.dataset != self.data.name or self.differences(run):
            raise ValueError(f"{self.trainer} was not asked for the run that it returned: {run.config}, {run.dataset}")
        return run


def _claimed(missing: Iterable[Config], wanted: _Wanted, claims: "_Claims") -> Iterator[Config]:
    """Those of the `missing` that no other process trains, or has finished by now."""
    for config in missing:
        if not claims.take(config):
            continue
        if config in wanted.stored():
            claims.give_back(config)
        else:
            yield config


class _Claims:
    """Who trains what: a lock for each config, in a file beside that of the runs.

    The locks are those of POSIX (fcntl), on one byte each, which need not exist in the file. They belong to the
    process: when it ends, however it ends, they are free. `held` has the configs that this process has locked.
    """

    def __init__(self, path: str | os.PathLike):
        _add(b"", path)
        self.file = open(f"{os.fspath(path)}.lock", "wb")  # noqa: SIM115 (as long as the trainings last)
        self.held: set[Config] = set()

    def take(self, config: Config) -> bool:
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._byte(config))
        except (BlockingIOError, PermissionError):  # which of the two depends on the system
            return False
        self.held.add(config)
        return True

    def give_back(self, config: Config) -> None:
        fcntl.lockf(self.file, fcntl.LOCK_UN, 1, self._byte(config))
        self.held.discard(config)

    def close(self) -> None:
        self.file.close()

    @staticmethod
    def _byte(config: Config) -> int:
        return zlib.crc32(repr(config).encode())


def append(run: Run, path: str | os.PathLike) -> None:
    """Add `run` to the file, as one line in one write; folders are made as needed.

    The line holds all but the probabilities; which test images were right is packed to bits, in base64.

    Raises OSError, with the file's name and the reason, where it cannot be written; the file is then as it was.
    """
    line = {
        "config": asdict(run.config),
        "dataset": run.dataset,
        "history": run.history,
        "correct": base64.b64encode(np.packbits(run.correct.numpy())).decode(),
        "test_images": len(run.correct),
        "mistakes": run.mistakes,
        "test_set": run.test_set,
        "parameters": run.parameters,
        "seconds": run.seconds,
        "device": run.device,
        "statistics": run.statistics,
        "versions": run.versions,
        "commit": run.commit,
        "fingerprint": run.fingerprint,
    }
    if run.failure:
        line["failure"] = run.failure
    _add(json.dumps(line).encode() + b"\n", path)


def _add(line: bytes, path: str | os.PathLike) -> None:
    """Add a whole line or nothing: a half-written one, which a kill may have left, is cut off first."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = _end_of_whole_lines(file)
            if line and file.write(line) < len(line):  # the disk is full
                file.truncate(end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
    except OSError as error:
        raise OSError(f"runs cannot be saved to {path}: {error.strerror}") from error


def _end_of_whole_lines(file: BinaryIO) -> int:
    """Where the next line begins, once a half-written last line is cut off."""
    if not os.fstat(file.fileno()).st_size:
        return 0
    file.seek(0)
    content = file.read()
    end = content.rfind(b"\n") + 1
    if _is_whole(content[end:]):  # an editor has left out the end of the line
        file.write(b"\n")
        return len(content) + 1
    if end < len(content):
        file.truncate(end)
    return end


def _is_whole(line: str | bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def read(path: str | os.PathLike) -> list[Run]:
    """The runs in the file, in the order they were finished; a half-written last line is not one.

    Raises FileNotFoundError where there is no such file, ValueError for a line that is not a run.
    """
    *lines, last = Path(path).read_bytes().split(b"\n")
    if _is_whole(last):
        lines.append(last)
    return [_run(line, f"{path}, line {i}") for i, line in enumerate(lines, 1)]


def _run(text: bytes, where: str) -> Run:
    try:
        line = json.loads(text)
        bits = np.unpackbits(np.frombuffer(base64.b64decode(line["correct"]), np.uint8))
        run = Run(
            config=Config(**line["config"]),
            dataset=line["dataset"],
            history=tuple(line["history"]),
            correct=torch.from_numpy(bits[: line["test_images"]].astype(bool)),
            parameters=line["parameters"],
            seconds=line["seconds"],
            device=line["device"],
            mistakes=tuple(map(tuple, line.get("mistakes", ()))),
            test_set=line.get("test_set", ""),
            statistics=line.get("statistics", {}),
            versions=line.get("versions") or {"torch": line["torch"]},
            commit=line.get("commit", ""),
            fingerprint=line.get("fingerprint", {}),
            failure=line.get("failure", ""),
        )
        if not run.history or "test_accuracy" not in run.last:
            raise ValueError("its history has no test accuracy")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where} is not a finished run ({type(error).__name__}: {error}); delete that line") from None
    return run


@dataclass(frozen=True, eq=False)
class Arm:
    """Runs that differ in nothing but the seed, in the order of their seeds; `config` is theirs with seed 0."""

    config: Config
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        return self.config.label

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.config.seed for run in self.runs)

    def last(self, metric: str = "test_accuracy") -> np.ndarray:
        """(seeds,) what the last epoch of each run gave."""
        return np.array([run.last[metric] for run in self.runs])

    def best(self) -> np.ndarray:
        """(seeds,) the highest test accuracy of each run's epochs: selected on the test set."""
        return np.array([run.best["test_accuracy"] for run in self.runs])

    def curve(self, metric: str) -> np.ndarray:
        """(seeds, epochs) a metric over the epochs."""
        return np.array([[row[metric] for row in run.history] for run in self.runs])

    @cached_property
    def correct(self) -> np.ndarray:
        """(seeds, images) bool: which test images each run got right."""
        return np.stack([run.correct.numpy() for run in self.runs])

    @cached_property
    def accuracy(self) -> Summary:
        """Mean, deviation and interval of the last epoch's test accuracy over the seeds."""
        return summary(self.last())


Arms = dict[Config, Arm]


def arms(runs: Iterable[Run], wanted: Iterable[Config] | None = None) -> Arms:
    """The runs by arm, under the arm's config; where `wanted` configs are given, those alone and in their order."""
    groups: dict[Config, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.config.seed):
        groups.setdefault(replace(run.config, seed=0), []).append(run)
    order = groups if wanted is None else [config for config in wanted if config in groups]
    return {config: Arm(config, tuple(groups[config])) for config in order}


def frame(runs: Iterable[Run]) -> pd.DataFrame:
    """A row a run: label, its config's fields, data set, the last epoch's scores, best epoch, parameters, seconds."""
    return pd.DataFrame(
        {
            "label": run.config.label,
            **asdict(run.config),
            "dataset": run.dataset,
            **{key: value for key, value in run.last.items() if key not in ("epoch", "seconds")},
            "best_accuracy": run.best["test_accuracy"],
            "parameters": run.parameters,
            "seconds": run.seconds,
            "device": run.device,
        }
        for run in runs
    )
