"""A progress bar over the epochs of a training: in a terminal, in a log, in a notebook."""

import sys
from typing import Any

from tqdm import tqdm


def epochs_bar(epochs: int, label: str, enabled: bool = True, done: int = 0) -> "tqdm[int]":
    """Make a progress bar over the epochs from done + 1 to `epochs`, refreshed once per epoch.

    `label` stands in front of it. In a notebook it is an output of its own, else it goes to stderr. If it is not
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

    tqdm's carriage returns would be saved with the notebook, one line per refresh; its widget needs JavaScript, which
    GitHub's notebook view does not run.
    """

    encoding = "utf-8"  # tqdm draws its bar with blocks where the file can show them

    def __init__(self) -> None:
        self._display: Any = None

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
