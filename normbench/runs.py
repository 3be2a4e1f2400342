"""Many trainings; finished runs as lines of a file, one JSON object a run."""

import base64
import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from normbench.config import Config
from normbench.data import Dataset
from normbench.train import Run, train


def run_all(
    configs: Sequence[Config], data: Dataset, path: str | os.PathLike, workers: int = 1, progress: bool = True
) -> list[Run]:
    """The run of each config on `data`, in their order: the one kept in the file, or else a new one.

    A new run is kept as soon as it is finished, so that the same call goes on after a stop. With several
    `workers`, as many processes train side by side and share the processor's threads.

    Raises as `train`, `append` and `read` do; that the file can be written is known before anything is trained.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    kept = {run.config: run for run in read(path) if run.dataset == data.name} if Path(path).exists() else {}
    missing = [config for config in dict.fromkeys(configs) if config not in kept]
    if missing:
        _add("", path)
    with closing(_trained(missing, data, workers, progress)) as finished:
        for run in finished:
            append(run, path)
            kept[run.config] = run
    return [kept[config] for config in configs]


def _trained(configs: Sequence[Config], data: Dataset, workers: int, progress: bool) -> Iterator[Run]:
    """New runs, in the order they are finished."""
    if workers == 1:
        yield from (train(config, data, progress) for config in configs)
        return
    threads = max(1, torch.get_num_threads() // workers)
    # A forked process could not use the threads, or the GPU, that this one has started.
    context, others = get_context("spawn"), set(active_children())
    with ProcessPoolExecutor(workers, context, _start_worker, (threads,)) as pool:
        try:
            for future in as_completed([pool.submit(train, config, data, False) for config in configs]):
                run = future.result()
                if progress:
                    print(
                        f"{run.config.label}, seed {run.config.seed}: {run.history[-1]['test_accuracy']:.2f} %",
                        flush=True,
                    )
                yield run
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
        "mistakes": run.mistakes,
        "test_set": run.test_set,
        "parameters": run.parameters,
        "seconds": run.seconds,
        "device": run.device,
        "versions": run.versions,
        "commit": run.commit,
    }
    _add(json.dumps(line) + "\n", path)


def _add(text: str, path: str | os.PathLike) -> None:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as file:
            file.write(text)
    except OSError as error:
        raise OSError(f"runs cannot be saved to {path}: {error.strerror}") from error


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
            mistakes=tuple(map(tuple, line.get("mistakes", ()))),
            test_set=line.get("test_set", ""),
            versions=line.get("versions") or {"torch": line["torch"]},
            commit=line.get("commit", ""),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where} is not a finished run ({error!r}); delete that line") from error
