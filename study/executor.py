"""How a notebook is executed: by a kernel, with what it says echoed on the terminal."""

import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import nbformat
from nbclient.exceptions import CellExecutionError
from nbconvert.preprocessors import ExecutePreprocessor
from traitlets.config import Config

LONGEST_ADDRESS = 90  # characters of a socket's path: systems allow about 100


class _EchoingPreprocessor(ExecutePreprocessor):
    """nbconvert's executor, which also shows on the terminal how far it is.

    That is progress bars, warnings, and what cells tagged `terminal` print.
    """

    kernel_log: IO | None = None  # what the kernel itself says, such as when it is stopped
    environment: Mapping[str, str] = {}
    _in_line = False

    def setup_kernel(self, **options: Any) -> Any:
        return super().setup_kernel(stderr=self.kernel_log, env={**os.environ, **self.environment}, **options)

    def process_message(self, msg: dict, cell: nbformat.NotebookNode, cell_index: int) -> Any:
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


def execute(source: Path, target: Path, environment: Mapping[str, str]) -> nbformat.NotebookNode:
    """Run the notebook `source` in its folder and write it, with its outputs, to `target`.

    The kernel gets the variables of `environment` besides those of this process. If a cell fails, what was run so far
    is written too, without the outputs of any earlier run.

    Raises ChildProcessError if a cell fails, or if the kernel does not start or dies.
    """
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as sockets, tempfile.TemporaryFile("w+") as kernel_log:
        executor = _EchoingPreprocessor(
            config=_connection(Path(sockets)), timeout=None, record_timing=False, coalesce_streams=True
        )
        executor.kernel_log, executor.environment = kernel_log, environment
        try:
            executor.preprocess(notebook, {"metadata": {"path": str(source.resolve().parent)}})
        except CellExecutionError as error:
            raise ChildProcessError(f"{error.ename}: {error.evalue}") from error
        except RuntimeError as error:  # the kernel did not start, or died
            kernel_log.seek(0)
            raise ChildProcessError(f"{kernel_log.read()}{error}: is there enough memory?") from error
        except KeyboardInterrupt:
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it would tell of what was not waited for
            raise
        finally:
            nbformat.write(notebook, target)
    return notebook


def _connection(folder: Path) -> Config:
    """How this process talks to the kernel: by sockets in `folder`, if the system has them and takes their path.

    Otherwise it is TCP, of which the kernel warns, because others on the machine could listen.
    """
    config, file = Config(), folder / "kernel.json"
    if os.name == "posix" and len(str(file)) <= LONGEST_ADDRESS:
        config.KernelManager.transport = "ipc"
        config.KernelManager.connection_file = str(file)
    return config
