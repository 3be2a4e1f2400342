"""The machine: device, versions, commit, and the progress of a training on it."""

import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm


def choose_device(name: str = "auto") -> torch.device:
    """The device that PyTorch calls `name`; for "auto" a GPU where there is one, else the CPU.

    Raises ValueError for a device that PyTorch does not know, that this machine does not have, or that holds no data.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.empty(0, device=name).device
        reason = "its tensors hold no data" if device.type == "meta" else None
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0]
    if reason:
        raise ValueError(f"DEVICE {name!r} cannot be used here ({reason}); try auto or cpu")
    return device


def device_name(device: torch.device) -> str:
    """The GPU's name, or the CPU's threads and its widest instructions: "CPU (2 threads, AVX2)"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type.upper()
    threads = torch.get_num_threads()
    return f"CPU ({threads} {'thread' if threads == 1 else 'threads'}, {torch.backends.cpu.get_cpu_capability()})"


def describe(device: torch.device) -> str:
    """One line on the device in use; on a CPU in Google Colab, another on how to get a GPU."""
    line = f"Training on {device_name(device)}."
    if device.type == "cpu" and "google.colab" in sys.modules:
        line += "\nNo GPU in use: choose Runtime → Change runtime type → GPU, then run all cells again."
    return line


def is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether memory was lacking, for which PyTorch has no type of its own on a CPU."""
    return isinstance(error, MemoryError) or "memory" in str(error) or "size calculation overflowed" in str(error)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """PyTorch's random numbers on the CPU from `seed`; afterwards they go on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs too, for good
        yield


def versions() -> dict[str, str]:
    """The versions of Python, PyTorch and NumPy, on which a training's numbers depend."""
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}


@cache  # the code in memory is that of the first call, whatever is committed later
def commit() -> str:
    """The commit of this project's code, 40 hexadecimal digits; empty outside a git checkout.

    "-dirty" is added where `model.py` or this package differ from the commit.
    """

    def git(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True)

    try:
        head = git("rev-parse", "HEAD")
    except OSError:  # git is not installed
        return ""
    if head.returncode:
        return ""
    changed = git("diff", "--quiet", "HEAD", "--", ".", "../model.py").returncode == 1
    return head.stdout.strip() + ("-dirty" if changed else "")


def epochs_bar(epochs: int, label: str, enabled: bool = True, done: int = 0) -> tqdm:
    """A progress bar over the epochs from done + 1 to `epochs`, refreshed once an epoch.

    `label` stands in front of it. In a notebook it is an output of its own, else it goes to stderr. Where it is not
    `enabled`, it counts and shows nothing.
    """
    return tqdm(
        range(done + 1, epochs + 1),
        initial=done,
        total=epochs,
        desc=label,
        unit="epoch",
        file=_NotebookLine() if _in_notebook() else sys.stderr,
        ncols=100,
        mininterval=0,
        bar_format="{desc:<8} {bar:20} {n_fmt:>2}/{total_fmt} epochs {elapsed}{postfix}",
        disable=not enabled,
    )


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class _NotebookLine:
    """A file that shows what was last written to it, as one output that is updated in place.

    tqdm's carriage returns would be saved with the notebook, one line a refresh; its widget needs
    JavaScript, which GitHub's notebook view does not run.
    """

    encoding = "utf-8"  # tqdm draws its bar with blocks where the file can show them

    def __init__(self):
        self._display = None

    def write(self, text: str) -> None:
        from IPython.display import display

        text = text.strip("\r\n")
        if not text:
            return
        if self._display is None:
            self._display = display({"text/plain": text}, raw=True, display_id=True)
        else:
            self._display.update({"text/plain": text}, raw=True)

    def flush(self) -> None:
        pass
