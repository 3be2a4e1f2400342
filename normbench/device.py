"""What computes: a device by name, and what readers can compare with."""

import platform
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import torch


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`, or a GPU where there is one for "auto".

    Raises ValueError for a device that torch does not know or that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"DEVICE {name!r} cannot be used here ({reason}); try auto or cpu") from None


def device_name(device: torch.device) -> str:
    """The GPU's name, or the CPU's threads and its widest instructions."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    kind = f", {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else ""
    return f"{device.type.upper()} ({threads} thread{'s' * (threads > 1)}{kind})"


def describe(device: torch.device) -> str:
    """One line on the device in use; without a GPU, another on how to get one."""
    text = f"Training on {device_name(device)}."
    if device.type == "cpu":
        text += "\nNo GPU in use. In Colab: Runtime → Change runtime type → GPU, then run all cells again."
    return text


def versions() -> dict[str, str]:
    """The versions that a training's numbers depend on."""
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}


@cache  # the code in memory is that of the first call, whatever is committed later
def commit() -> str:
    """The commit of this project's code, with "-dirty" where that differs from it; empty outside a git checkout."""
    folder = Path(__file__).parent
    try:
        told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
        code = ["git", "diff", "--quiet", "HEAD", "--", ".", "../model.py"]
        return told.stdout.strip() + "-dirty" * (subprocess.run(code, cwd=folder).returncode == 1)
    except (OSError, subprocess.CalledProcessError):
        return ""
