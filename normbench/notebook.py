"""Running the notebook without a browser: its settings from the environment, its progress on the terminal.

    python -m normbench.notebook S5_Normalization.ipynb runs/S5_Normalization.ipynb

executes the first file in its own folder, shows what it prints as it prints it, writes the second, and
ends with the output of the cell tagged `results`.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError
from nbconvert.preprocessors import ExecutePreprocessor
from traitlets.config import Config


def setting(name: str, default: str | int) -> str | int:
    """The environment variable `name` as the type of `default`, or `default` where it is unset or empty.

    Raises ValueError where a number is asked for and the variable holds none.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        return type(default)(text)
    except ValueError:
        raise ValueError(f"{name} must be a whole number, got {text!r}") from None


def output_folder(name: str) -> Path:
    """The folder `name`, made where it is missing, and known to take files before anything is computed.

    Raises OSError where nothing can be written there.
    """
    folder = Path(name)
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "results").mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        raise OSError(f"cannot write to OUTPUT_DIR {name!r} ({error.strerror}): name another folder") from error
    return folder


class _EchoingPreprocessor(ExecutePreprocessor):
    """nbconvert's executor, which also writes the cells' streams and progress lines to the terminal."""

    _in_line = False

    def process_message(self, msg, cell, cell_index):
        kind, content = msg["msg_type"], msg["content"]
        if kind == "stream":
            self._echo(content["text"])
        elif kind in ("display_data", "update_display_data") and content["data"].keys() == {"text/plain"}:
            self._echo("\r" + content["data"]["text/plain"])
        elif kind == "status" and self._in_line:
            self._echo("\n")
        return super().process_message(msg, cell, cell_index)

    def _echo(self, text: str) -> None:
        print(text, end="", file=sys.stderr, flush=True)
        self._in_line = not text.endswith("\n")


def execute(source: Path, target: Path) -> nbformat.NotebookNode:
    """Run the notebook `source` in its folder and write it, with its outputs, to `target`.

    Where a cell fails, what was run so far is written too, and the error is raised again.
    """
    notebook = nbformat.read(source, as_version=4)
    config = Config()
    if os.name == "posix":  # the kernel warns of TCP, which nobody else on the machine should listen to
        config.KernelManager.transport = "ipc"
    executor = _EchoingPreprocessor(config=config, timeout=None, record_timing=False, coalesce_streams=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        executor.preprocess(notebook, {"metadata": {"path": str(source.resolve().parent)}})
    finally:
        nbformat.write(notebook, target)
    return notebook


def _results(notebook: nbformat.NotebookNode) -> str:
    outputs = [
        output.get("data", {}).get("text/markdown", "")
        for cell in notebook.cells
        if "results" in cell.metadata.get("tags", [])
        for output in cell.get("outputs", [])
    ]
    return "\n".join(filter(None, outputs))


def main(source: str, target: str) -> int:
    try:
        notebook = execute(Path(source), Path(target))
    except CellExecutionError as error:
        print(f"\n{error.ename}: {error.evalue}\nThe notebook up to there: {target}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nStopped. The notebook up to there: {target}", file=sys.stderr)
        return 130
    print(f"\n{_results(notebook)}\n\nThe executed notebook: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
