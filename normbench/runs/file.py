"""The file of finished runs, one JSON object per line. You need not read this to use it: `append` and `read` do.

Several processes may append to one file. Each adds a whole line or nothing, under a lock (PATH.lock), so that a kill
at any moment or a full disk loses no finished run.
"""

import base64
import errno
import json
import os
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from normbench.runs.measure import ACCURACY
from normbench.training import Recipe, Run

# Fields of a run that a line has as they are. The rest: `recipe`, `history`, `correct` and `mistakes`, and, where they
# are not the usual, `failure`, `measure` and `scores`; a run's `probabilities` are not kept.
PLAIN = (
    "dataset",
    "test_set",
    "parameters",
    "seconds",
    "device",
    "statistics",
    "versions",
    "commit",
    "fingerprint",
)

# What the lines that do not name an option of a recipe were trained with: the option is younger than they are.
BEFORE = {"decay_on": "all"}

KINDS: dict[str, type | tuple[type, ...]] = {
    "dataset": str,
    "test_set": str,
    "parameters": int,
    "seconds": (int, float),
    "device": str,
    "statistics": dict,
    "versions": dict,
    "commit": str,
    "fingerprint": dict,
    "failure": str,
    "measure": str,
    "unit": str,
}


def append(run: Run, path: str | os.PathLike) -> None:
    """Add `run` to the file, as one line in one write; make folders as needed.

    The line holds all but the probabilities; which test images were right is packed to bits, in base64.

    Raises OSError, with the file's name and the reason, where it cannot be written; the file is then as it was.
    """
    _add(json.dumps(_as_line(run)).encode() + b"\n", path)


def check_writable(path: str | os.PathLike) -> None:
    """Raise OSError where runs cannot be appended to the file; make it, and its folders, where there is none."""
    _add(b"", path)


def read(path: str | os.PathLike) -> list[Run]:
    """Return the runs in the file, in the order they were finished; a half-written last line is not one.

    Raises FileNotFoundError where there is no such file, ValueError for a line that is not a run.
    """
    return RunFile(path).read()


class RunFile:
    """A file of finished runs that is read once, and from then on only where it has grown."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._forget()

    def _forget(self) -> None:
        self._runs: list[Run] = []
        self._end = 0  # of the lines that these runs are
        self._last_line = b""  # by which a file that was cut or replaced is noticed

    def read(self) -> list[Run]:
        """Return the runs that the file holds by now; raises as `normbench.runs.read`."""
        _check_is_file(self.path)
        with open(self.path, "rb") as file:
            file.seek(self._end - len(self._last_line))
            content = file.read()
            if not content.startswith(self._last_line):
                self._forget()
                file.seek(0)
                content = file.read()
        *lines, rest = content[len(self._last_line) :].split(b"\n")
        new = [self._run(line, i) for i, line in enumerate(lines)]
        # An editor may have left out the end of the last line. It can still be cut off, so that it is read anew.
        last = [self._run(rest, len(lines))] if _is_whole(rest) else []
        if lines:
            self._runs += new
            self._end += sum(len(line) + 1 for line in lines)
            self._last_line = lines[-1] + b"\n"
        return self._runs + last

    def _run(self, line: bytes, i: int) -> Run:
        return _from_line(line, f"{self.path}, line {len(self._runs) + i + 1}")


def _as_line(run: Run) -> dict[str, Any]:
    line = {
        "recipe": asdict(run.recipe),
        "history": run.history,
        "correct": base64.b64encode(np.packbits(run.correct.numpy()).tobytes()).decode(),
        "test_images": len(run.correct),
        "mistakes": run.mistakes,
        **{name: getattr(run, name) for name in PLAIN},
    }
    if run.failure:
        line["failure"] = run.failure
    if (run.measure, run.unit) != (ACCURACY, "%"):
        line |= {"measure": run.measure, "unit": run.unit}
    if len(run.scores):
        line["scores"] = base64.b64encode(run.scores.numpy().astype("<f4").tobytes()).decode()
    return line


def _from_line(text: bytes, where: str) -> Run:
    try:
        line = json.loads(text)
        run = Run(
            recipe=Recipe(**(BEFORE | line["recipe"])),
            history=tuple(line["history"]),
            correct=_unpacked(line["correct"], line["test_images"]),
            mistakes=tuple(map(tuple, line.get("mistakes", ()))),
            failure=line.get("failure", ""),
            measure=line.get("measure", ACCURACY),
            unit=line.get("unit", "%"),
            scores=_floats(line.get("scores", "")),
            **{name: line[name] for name in PLAIN if name in line},
        )
        _check_types(run)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise ValueError(f"{where} is not a finished run ({type(error).__name__}: {error}); delete that line") from None
    return run


def _check_types(run: Run) -> None:
    """Raise TypeError or ValueError where a field is not what `Run` says."""
    for name, kinds in KINDS.items():
        value = getattr(run, name)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}")
    for name in ("fingerprint", "versions"):
        for key, value in getattr(run, name).items():
            if not isinstance(value, str):
                raise TypeError(f"{name} has {key} {value!r}")
    for row in run.history:
        for key, value in row.items():
            if not isinstance(value, (int, float)):
                raise TypeError(f"its history has {key} {value!r}")
    for image, label, share in run.mistakes:
        if not (isinstance(image, int) and isinstance(label, int) and isinstance(share, (int, float))):
            raise TypeError(f"its mistakes have {(image, label, share)}")
    if run.failure:
        return
    of_accuracy: tuple[str, ...] = ()
    if run.is_built_in and run.measure == ACCURACY:
        of_accuracy = "train_loss", "train_accuracy", "test_loss"
        if len(run.history) != run.recipe.epochs:
            raise ValueError(f"its history has {len(run.history)} epochs of {run.recipe.epochs}")
    for key in (f"test_{run.measure}", *of_accuracy):
        if not run.history or any(key not in row for row in run.history):
            raise ValueError(f"its history has no {key}")


def _unpacked(bits: str, n: int) -> Tensor:
    packed = base64.b64decode(bits, validate=True)
    if len(packed) != -(-n // 8):
        raise ValueError(f"correct has {8 * len(packed)} bits for {n} test images")
    return torch.from_numpy(np.unpackbits(np.frombuffer(packed, np.uint8))[:n].astype(bool))


def _floats(packed: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(packed, validate=True), "<f4").astype(np.float32))


def _add(line: bytes, path: str | os.PathLike) -> None:
    """Add a whole line or nothing; first cut off a half-written one, which a kill may have left."""
    if not Path(path).is_char_device():  # which fails by itself
        _check_is_file(path)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{os.fspath(path)}.lock"), open(path, "ab+", buffering=0) as file:
            end = _end_of_whole_lines(file)
            if line and file.write(line) < len(line):  # the disk is full
                file.truncate(end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
    except OSError as error:
        raise cannot_save(path, error) from error


def _check_is_file(path: str | os.PathLike) -> None:
    """Raise OSError for a folder, and for a pipe or a device, which would be waited for."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"{os.fspath(path)} is no file, so that runs can be neither read from it nor saved to it")


def cannot_save(path: str | os.PathLike, error: OSError) -> OSError:
    """Return the error that says in one line which file cannot be written, and why."""
    return OSError(f"runs cannot be saved to {os.fspath(path)}: {error.strerror or error}")


def _end_of_whole_lines(file: FileIO) -> int:
    """Return where the next line begins, after completing or cutting off a last line that has no end."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return 0
    file.seek(-1, os.SEEK_END)
    if file.read(1) == b"\n":
        return size
    file.seek(0)
    content = file.read()
    end = content.rfind(b"\n") + 1
    if _is_whole(content[end:]):  # an editor has left out the end of the line
        file.write(b"\n")
        return size + 1
    file.truncate(end)
    return end


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
