"""What a run was made with: versions of the libraries, and the commit of the code."""

import platform
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import torch

import normbench

PACKAGE = Path(__file__).resolve().parent.parent


def versions() -> dict[str, str]:
    """Return the versions of Python, PyTorch, NumPy and normbench, on which a training's numbers depend."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "normbench": normbench.__version__,
    }


@cache  # the code in memory is that of the first call, whatever is committed later
def commit() -> str:
    """Return the commit of this code, 40 hexadecimal digits; "" where the code is not tracked by git.

    An installed package is not, even where a repository surrounds the virtual environment. "-dirty" is added where
    a Python file of the repository differs from the commit.
    """
    try:
        if _git("ls-files", "--error-unmatch", __file__).returncode:
            return ""
        head = _git("rev-parse", "HEAD")
    except OSError:  # git is not installed
        return ""
    if head.returncode:
        return ""
    changed = _git("diff", "--quiet", "HEAD", "--", ":(top)*.py").returncode == 1
    return head.stdout.strip() + ("-dirty" if changed else "")


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=PACKAGE, capture_output=True, text=True)
