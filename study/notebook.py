"""The notebook run without a browser: settings from the environment, progress on the terminal.

    python -m study notebook

executes the notebook in its own folder and shows how far it is. It ends with the output of the cell tagged `results`.
What it makes, the notebook with its outputs and a page for browsers among it, is put into OUTPUT_DIR once all of it is
there. The notebook itself imports `setting` and `output_folder` from here, on Colab too, which lacks some packages:
the rest is imported where it is needed.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from nbformat import NotebookNode

SETTINGS = ("EPOCHS", "DATASET", "DATA_DIR", "SEED", "DEVICE")
UNFINISHED = "unfinished"  # the folder in OUTPUT_DIR where a run stays until it is whole
RECORD = "settings.json"  # in that folder: the settings of the run
LOCK = ".lock"  # in that folder: held by the process that is at work there

Value = TypeVar("Value", str, int)


def setting(name: str, default: Value) -> Value:
    """Return the environment variable `name` as the type of `default`, or `default` if it is unset or empty.

    Raises ValueError if a number is asked for and the variable holds none.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        return type(default)(text)
    except ValueError:
        raise ValueError(f"{name} must be a whole number, got {text!r}") from None


def output_folder(name: str) -> Path:
    """Make the folder `name` if it is missing, and try whether it takes files, before anything is computed.

    Raises OSError if nothing can be written there.
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


def run(source: Path) -> None:
    """Run the notebook `source`, and print its results and where everything is.

    Raises OSError if there is no such notebook or its output cannot be written, if another process is at work in
    OUTPUT_DIR, and ChildProcessError, which is one too, if a cell fails or the kernel dies.
    """
    if not source.is_file():
        raise FileNotFoundError(f"there is no notebook {source}")
    from study import executor, html  # before the trainings, so that a missing package is noticed here

    output = output_folder(setting("OUTPUT_DIR", "runs"))
    page, page_error = source.with_suffix(".html").name, ""
    with _unfinished_run(output.resolve()) as folder:
        print(f"Running {source.name}.", file=sys.stderr)
        try:
            notebook = executor.execute(source, folder / source.name, {"OUTPUT_DIR": str(folder)})
        except ChildProcessError as error:
            raise ChildProcessError(f"\n{error}\nThe notebook up to there: {folder / source.name}") from None
        except KeyboardInterrupt:
            message = f"finished epochs are kept in {folder}, and the same call goes on from there"
            raise KeyboardInterrupt(message) from None
        try:
            html.write_page(notebook, folder / page, _data_set(folder))
        except Exception as error:  # whatever it is, the trainings are worth more than the page
            page_error = f"{type(error).__name__}: {error}"
        _finish(folder, output)
    print(f"\n{results(notebook)}\n")
    print(f"Figures: {output / 'images'}/; the executed notebook: {output / source.name}")
    if page_error:
        raise OSError(f"everything is there but {output / page}, which cannot be written ({page_error})")
    print(f"To read it, open {output / page} in a browser.")


def _data_set(folder: Path) -> str:
    """Return the title of the data set that the runs in `folder` were made with; "" if there are none."""
    from normbench.data import title
    from normbench.runs import read

    kept = folder / "results" / "notebook.jsonl"
    return title(read(kept)[0].dataset) if kept.exists() else ""


def results(notebook: "NotebookNode") -> str:
    """Return the Markdown that the cells tagged `results` show."""
    outputs = [
        output.get("data", {}).get("text/markdown", "")
        for cell in notebook.cells
        if "results" in cell.metadata.get("tags", [])
        for output in cell.get("outputs", [])
    ]
    return "\n".join(filter(None, outputs))


@contextmanager
def _unfinished_run(output: Path) -> Iterator[Path]:
    """Lend the folder of an unfinished run with the present settings, to go on with; or an empty one to begin anew.

    Raises OSError if another process is at work there.
    """
    folder = output / UNFINISHED
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OSError(f"another run is at work in {folder}: wait for it, or set OUTPUT_DIR to another folder") from None
    try:
        _begin(folder)
        yield folder
    finally:
        lock.release()


def _begin(folder: Path) -> None:
    """Empty the folder unless it holds a run with the present settings; record them."""
    settings = {name: os.environ.get(name, "") for name in SETTINGS}
    record = folder / RECORD
    stopped = _recorded(record)
    if stopped == settings:
        print("Going on with the run that was stopped.", file=sys.stderr)
        return
    if stopped is not None:
        changed = " and ".join(name for name in SETTINGS if stopped.get(name) != settings[name])
        print(f"The run that was stopped had another {changed}: beginning anew.", file=sys.stderr)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
    whole = record.with_suffix(".new")
    whole.write_text(json.dumps(settings), encoding="utf-8")
    whole.replace(record)


def _recorded(record: Path) -> dict[str, str] | None:
    """The settings of the stopped run, None if there is none; without a name where the record is broken."""
    try:
        stopped = json.loads(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:  # no JSON, or no text
        return {}
    return stopped if isinstance(stopped, dict) else {}


def _finish(folder: Path, output: Path) -> None:
    """Move the files of a whole run to where they are looked for; others there stay."""
    (folder / RECORD).unlink()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != LOCK:
            place = output / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
    shutil.rmtree(folder, ignore_errors=True)  # Windows keeps the lock, which is open
