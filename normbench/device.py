"""The machine: which device to use, its name, when its memory is full, and random numbers on it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw PyTorch's random numbers on the CPU from `seed`; afterwards they go on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs too, for good
        yield
