"""Progress of one training: a bar that replaces itself, in a terminal and in a saved notebook alike."""

import sys

from tqdm import tqdm


def epochs_bar(epochs: int, label: str, enabled: bool = True, done: int = 0) -> tqdm:
    """A tqdm bar over range(done + 1, epochs + 1), refreshed once an epoch."""
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
