"""Many trainings; finished runs as lines of a file, one JSON object a run."""

import base64
import errno
import fcntl
import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from normbench.config import Config
from normbench.data import Dataset
from normbench.engines import Engine, Trainer, local
from normbench.train import Run, train


def run_all(
    configs: Sequence[Config],
    data: Dataset,
    path: str | os.PathLike,
    workers: int = 1,
    progress: bool = True,
    engine: Engine | None = None,
    trainer: Trainer = train,
) -> list[Run]:
    """The run of each config on `data`, in their order: the one kept in the file, or else a new one.

    A new run is kept as soon as it is finished, so that the same call goes on after a stop. Several processes may
    be at work on one file: each training is done by one of them, and all return the same runs.
    With several `workers`, as many trainings run side by side on this machine; or give another `engine`.
    `trainer` is what trains: a function of a module, so that other processes can have it.

    Raises as `train`, `append` and `read` do; that the file can be written is known before anything is trained.
    """
    engine = engine or local(workers)
    with closing(_Claims(path)) as claims:
        while missing := _missing(configs, data, path):
            ours = _claimed(missing, data, path, claims)
            if (first := next(ours, None)) is None:
                time.sleep(1)  # other processes are training them
                continue
            with closing(engine(trainer, chain([first], ours), data, progress)) as finished:
                for run in finished:
                    append(run, path)
                    claims.give_back(run.config)
    kept = _kept(data, path)
    return [kept[config] for config in configs]


def _kept(data: Dataset, path: str | os.PathLike) -> dict[Config, Run]:
    return {run.config: run for run in read(path) if run.dataset == data.name}


def _missing(configs: Iterable[Config], data: Dataset, path: str | os.PathLike) -> list[Config]:
    kept = _kept(data, path)
    return [config for config in dict.fromkeys(configs) if config not in kept]


def _claimed(missing: Iterable[Config], data: Dataset, path: str | os.PathLike, claims: "_Claims") -> Iterator[Config]:
    """Those of the `missing` that no other process trains, or has finished by now."""
    for config in missing:
        if not claims.take(config):
            continue
        if _missing([config], data, path):
            yield config
        else:
            claims.give_back(config)


class _Claims:
    """Who trains what: a lock for each config, in a file beside that of the runs.

    The locks are those of POSIX (fcntl), on one byte each, which need not exist in the file. They belong to the
    process: when it ends, however it ends, they are free.
    """

    def __init__(self, path: str | os.PathLike):
        _add(b"", path)
        self.file = open(f"{os.fspath(path)}.lock", "wb")  # noqa: SIM115 (as long as the trainings last)

    def take(self, config: Config) -> bool:
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._byte(config))
        except (BlockingIOError, PermissionError):  # which of the two depends on the system
            return False
        return True

    def give_back(self, config: Config) -> None:
        fcntl.lockf(self.file, fcntl.LOCK_UN, 1, self._byte(config))

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
    }
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
    *lines, last = Path(path).read_text().split("\n")
    lines += [last] * _is_whole(last)
    return [_run(line, f"{path}, line {i}") for i, line in enumerate(lines, 1)]


def _run(text: str, where: str) -> Run:
    try:
        line = json.loads(text)
        bits = np.unpackbits(np.frombuffer(base64.b64decode(line["correct"]), np.uint8))
        return Run(
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
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where} is not a finished run ({error!r}); delete that line") from error
