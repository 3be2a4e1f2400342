"""What a program of commands does around them: one line for what is wrong, SIGTERM as Ctrl-C, its own command line."""

import io
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tyro


def output_folder(given: str | None, usual: str) -> Path:
    """Return the folder that --output names, or the `usual` one; ValueError for an empty name."""
    if given == "":
        raise ValueError("--output is empty; use . for the current folder")
    return Path(usual if given is None else given)


def stopped(kept_in: Path, command: str) -> KeyboardInterrupt:
    """Return what Ctrl-C during runs ends in: it says where the finished ones are and which command resumes."""
    return KeyboardInterrupt(f"finished runs are in {kept_in}; go on with: {command}")


def program(package: str) -> str:
    """Return how this program was started: by the command of the package's name, or as a module."""
    return package if Path(sys.argv[0]).stem == package else f"python -m {package}"


def same_command(package: str) -> str:
    """Return the command line that started this program, to copy into a shell."""
    return shlex.join([*program(package).split(), *sys.argv[1:]])


def run(commands: dict[str, Callable[..., Any]], package: str, description: str) -> int:
    """Run the command that `sys.argv` names; return the exit status, and say what is wrong in one line.

    SIGTERM, which schedulers and containers send, ends it as Ctrl-C does. What a terminal cannot show becomes "?".
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        with _sigterm_as_ctrl_c():
            tyro.extras.subcommand_cli_from_dict(commands, prog=program(package), description=description)
    except Exception as error:
        if not (line := _in_one_line(error)):
            raise
        print(line, file=sys.stderr)
        return 2
    return 0


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Raise KeyboardInterrupt where SIGTERM would end the process at once, and its workers with a traceback each."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    here = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if here:
        signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        if here:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _in_one_line(error: Exception) -> str:
    """Say what is wrong with the input or the machine; "" for an error of the program's own."""
    from concurrent.futures.process import BrokenProcessPool

    if isinstance(error, (ValueError, OSError, FloatingPointError, BrokenProcessPool)):
        return str(error) or type(error).__name__
    if isinstance(error, (MemoryError, RuntimeError)):
        from normbench.device import is_out_of_memory

        if is_out_of_memory(error):
            reason = (str(error).strip() or "Python has none left").splitlines()[0]
            return f"there is not enough memory for this run: {reason}"
    return ""
