"""The notebook run without a browser: settings from the environment, progress on the terminal.

    python -m normbench.notebook S5_Normalization.ipynb

executes the notebook in its own folder and shows how far it is: progress bars, warnings, and what cells tagged
`terminal` print. It ends with the output of the cell tagged `results`. What it makes, the notebook with its outputs and
a page for browsers among it, is put into OUTPUT_DIR once all of it is there.
"""

import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO

import nbformat
from nbclient.exceptions import CellExecutionError
from nbconvert.preprocessors import ExecutePreprocessor
from traitlets.config import Config

SETTINGS = ("EPOCHS", "DATASET", "DATA_DIR", "SEED", "DEVICE")
UNFINISHED = "unfinished"  # the folder in OUTPUT_DIR where a run stays until it is whole


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
    """nbconvert's executor, which also shows on the terminal how far it is."""

    kernel_log: IO | None = None  # what the kernel itself says, such as when it is stopped
    _in_line = False

    def setup_kernel(self, **kwargs):
        return super().setup_kernel(stderr=self.kernel_log, **kwargs)

    def process_message(self, msg, cell, cell_index):
        kind, content = msg["msg_type"], msg["content"]
        if kind == "stream" and (content["name"] == "stderr" or "terminal" in cell.metadata.get("tags", [])):
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

    Where a cell fails, what was run so far is written too, without the outputs of any earlier run, and the error is
    raised again.
    """
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    config = Config()
    if os.name == "posix":  # the kernel warns of TCP, which nobody else on the machine should listen to
        config.KernelManager.transport = "ipc"
    executor = _EchoingPreprocessor(config=config, timeout=None, record_timing=False, coalesce_streams=True)
    with tempfile.TemporaryFile("w+") as executor.kernel_log:
        try:
            executor.preprocess(notebook, {"metadata": {"path": str(source.resolve().parent)}})
        except RuntimeError as error:  # the kernel did not start, or died
            executor.kernel_log.seek(0)
            raise RuntimeError(f"{executor.kernel_log.read()}{error}: is there enough memory?") from None
        except KeyboardInterrupt:
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it would tell of what was not waited for
            raise
        finally:
            target.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, target)
    return notebook


def _unfinished_run(output: Path) -> Path:
    """The folder of an unfinished run with the present settings, to go on with; or an empty one to begin anew."""
    folder, settings = output / UNFINISHED, {name: os.environ.get(name, "") for name in SETTINGS}
    record = folder / "settings.json"
    if record.exists():
        stopped = json.loads(record.read_text())
        changed = [name for name in SETTINGS if stopped[name] != settings[name]]
        if not changed:
            print("Going on with the run that was stopped.", file=sys.stderr)
            return folder
        print(f"The run that was stopped had another {' and '.join(changed)}: beginning anew.", file=sys.stderr)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(settings))
    return folder


def _finish(folder: Path, output: Path) -> None:
    """Move the files of a whole run to where they are looked for; others there stay."""
    (folder / "settings.json").unlink()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            place = output / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
    shutil.rmtree(folder)


def _results(notebook: nbformat.NotebookNode) -> str:
    outputs = [
        output.get("data", {}).get("text/markdown", "")
        for cell in notebook.cells
        if "results" in cell.metadata.get("tags", [])
        for output in cell.get("outputs", [])
    ]
    return "\n".join(filter(None, outputs))


def main(arguments: list[str]) -> int:
    """Run the notebook that `arguments` name; returns the exit status, and says what is wrong in one line."""
    if len(arguments) != 1 or not Path(arguments[0]).is_file():
        print(
            "usage: python -m normbench.notebook NOTEBOOK.ipynb, with its settings in the environment", file=sys.stderr
        )
        return 2
    source, output = Path(arguments[0]), Path(setting("OUTPUT_DIR", "runs"))
    try:
        output_folder(str(output))
        folder = _unfinished_run(output.resolve())
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    from normbench.html import write_page  # here, for the notebook on Colab lacks what it needs, and needs no page

    os.environ["OUTPUT_DIR"] = str(folder)
    page = source.with_suffix(".html").name
    print(f"Running {source.name}.", file=sys.stderr)
    try:
        notebook = execute(source, folder / source.name)
        write_page(notebook, folder / page)
    except (CellExecutionError, RuntimeError) as error:
        what = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else error
        print(f"\n{what}\nThe notebook up to there: {folder / source.name}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nStopped. Finished epochs are kept in {folder}; the same call goes on from there.", file=sys.stderr)
        return 130
    _finish(folder, output)
    print(f"\n{_results(notebook)}\n")
    print(f"Figures: {output / 'images'}/; the executed notebook: {output / source.name}")
    print(f"To read it, open {output / page} in a browser.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
