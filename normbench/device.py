"""The machine: which device to use, its name, when its memory is full, and random numbers on it."""

import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def choose_device(name: str = "auto") -> torch.device:
    """Return the device that PyTorch calls `name`; for "auto" a GPU if there is one, else the CPU.

    Raises ValueError for a device that PyTorch does not know, that this machine does not have, or that holds no data.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, ImportError) as error:
        raise _unusable(name, str(error).splitlines()[0]) from error
    if device.type == "meta":
        raise _unusable(name, "its tensors hold no data")
    return device


def _unusable(name: str, reason: str) -> ValueError:
    return ValueError(f"DEVICE {name!r} cannot be used here ({reason}); try auto or cpu")


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the CPU's threads and its widest instructions: "CPU (2 threads, AVX2)"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type.upper()
    threads = torch.get_num_threads()
    return f"CPU ({threads} {'thread' if threads == 1 else 'threads'}, {torch.backends.cpu.get_cpu_capability()})"


def describe(device: torch.device) -> str:
    """Say in one line which device is in use; on a CPU in Google Colab, say in another how to get a GPU."""
    line = f"Training on {device_name(device)}."
    if device.type == "cpu" and "google.colab" in sys.modules:
        line += "\nNo GPU in use: choose Runtime → Change runtime type → GPU, then run all cells again."
    return line


def is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Tell whether memory was lacking, for which PyTorch has no type of its own on a CPU."""
    return isinstance(error, MemoryError) or "memory" in str(error) or "size calculation overflowed" in str(error)


class Generators:
    """The generators that code of others draws random numbers from: PyTorch's, on the CPU and a GPU; NumPy's; Python's.

    Args:
        device: a device whose generator is meant, too; by default the GPU in use, if one is.
    """

    def __init__(self, device: torch.device | None = None):
        if device is None and torch.cuda.is_initialized():
            device = torch.device("cuda")
        self.gpu = device if device is not None and device.type == "cuda" else None

    def seed(self, seed: int) -> None:
        """Start all of them from `seed`, 0 to 2⁶⁴ - 1."""
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed other GPUs too
        if self.gpu is not None:
            with torch.cuda.device(self.gpu):
                torch.cuda.manual_seed(seed)
        np.random.seed(np.random.SeedSequence(seed).generate_state(4))
        random.seed(seed)

    def state_dict(self) -> dict[str, Any]:
        """Return where they stand, in types that `torch.load` takes for safe."""
        numpy = np.random.get_state(legacy=False)
        state = {"torch": torch.get_rng_state(), "python": random.getstate()}
        state["numpy"] = numpy | {"state": numpy["state"] | {"key": torch.from_numpy(numpy["state"]["key"].copy())}}
        if self.gpu is not None:
            state["gpu"] = torch.cuda.get_rng_state(self.gpu)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Bring them to where they stood."""
        torch.set_rng_state(state["torch"])
        random.setstate(state["python"])
        numpy = state["numpy"]
        np.random.set_state(numpy | {"state": numpy["state"] | {"key": numpy["state"]["key"].numpy()}})
        if self.gpu is not None:
            torch.cuda.set_rng_state(state["gpu"], self.gpu)


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[Generators]:
    """Draw random numbers from `seed`, whoever draws them; afterwards they go on as if nothing had been drawn.

    See `Generators` for which they are, and for `device`. An own generator that code makes from the time stays its own.
    """
    generators = Generators(device)
    before = generators.state_dict()
    generators.seed(seed)
    try:
        yield generators
    finally:
        generators.load_state_dict(before)
