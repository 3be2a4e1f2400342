"""Finished runs as lines of a file: one JSON object a run."""

import base64
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from normbench.train import Config, Run


def append(run: Run, path: str | os.PathLike) -> None:
    """Add `run` to the file, as one line in one write; folders are made as needed.

    Raises OSError, with the file's name and the reason, where it cannot be written.

    The line holds all but the probabilities; which test images were right is packed to bits, in base64.
    """
    line = {
        "config": asdict(run.config),
        "dataset": run.dataset,
        "history": run.history,
        "correct": base64.b64encode(np.packbits(run.correct.numpy())).decode(),
        "test_images": len(run.correct),
        "parameters": run.parameters,
        "seconds": run.seconds,
        "device": run.device,
        "torch": torch.__version__,
    }
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise OSError(f"the run could not be saved to {path}: {error.strerror}") from error


def read(path: str | os.PathLike) -> list[Run]:
    """The runs in the file, in the order they were finished.

    Raises FileNotFoundError where there is no such file, ValueError for a line that is not a run.
    """
    return [_run(line, f"{path}, line {i}") for i, line in enumerate(Path(path).read_text().splitlines(), 1)]


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
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where} is not a finished run: {error!r}") from error
