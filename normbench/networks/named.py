"""Functions of a user's own, found by their names: "file.py:function", "package.module:function", "torchvision:name".

This file touches process-wide state: it adds a user's file to `sys.modules`, and imports its neighbours as
`neighbours` describes.
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from normbench.networks.neighbours import first_on_path
from normbench.source import source_checksum


@dataclass(frozen=True)
class Named:
    """A function of the user's own, or its name.

    A pickled object carries the text of its file, because other machines do not have the file.
    """

    given: str | Callable[..., Any]
    _packed: bytes = field(default=b"", repr=False, compare=False)

    def __getstate__(self) -> dict[str, object]:
        packed = self._packed or (zlib.compress(_read(self.file)) if self.file else b"")
        return {"given": self.given, "_packed": packed}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)

    @property
    def text(self) -> str:
        """The name as it was given, or that of the function."""
        return self.given if isinstance(self.given, str) else _name_of(self.given)

    @property
    def name(self) -> str:
        """The name of the function, with that of the file before it."""
        function = self.text.rpartition(":")[2]
        return f"{self.file.stem}.{function}" if self.file else function

    @property
    def file(self) -> Path | None:
        """The file of a function that is named file.py:function."""
        source = self.given.rpartition(":")[0] if isinstance(self.given, str) else ""
        return Path(source) if source.endswith(".py") else None

    @contextmanager
    def found(self) -> Iterator[Callable[..., Any]]:
        """Find the function, and let its imports look first where it lies: it may import when it is called, too.

        Raises ValueError if there is none.
        """
        with first_on_path(folder) if (folder := self._folder()) else nullcontext():
            yield self._function(self.given) if isinstance(self.given, str) else self.given

    def source(self) -> str:
        """Return a checksum of the function's source and of all of the user's own that it names.

        It is "" where the source cannot be had.
        """
        with self.found() as function:
            return source_checksum([function])

    def _folder(self) -> Path | None:
        """Return where imports look first: the folder of the file, or the working folder for a module's name."""
        if not isinstance(self.given, str) or self.given.startswith("torchvision:"):
            return None
        return self.file.parent if self.file else Path.cwd()

    def _function(self, name: str) -> Callable[..., Any]:
        source, colon, function = name.rpartition(":")
        if not colon or not function:
            raise ValueError(
                f"{name!r} names no function; give file.py:function, package.module:function or torchvision:name"
            )
        if source == "torchvision":
            return _of_torchvision(function)
        if self.file:
            module = _executed(self.file, zlib.decompress(self._packed) if self._packed else _read(self.file))
        else:
            module = _module(source)
        try:
            found = getattr(module, function, None)
        except Exception as error:  # a module may have a __getattr__ of its own
            raise ValueError(f"{source} has no function {function!r}: {type(error).__name__}: {error}") from error
        if not callable(found):
            raise ValueError(f"{source} has no function {function!r}")
        return found


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _of_torchvision(name: str) -> Callable[..., nn.Module]:
    from torchvision import models  # slow to import, and few networks need it

    if name not in models.list_models(module=models):
        raise ValueError(f"torchvision has no classification network {name!r}; it has resnet18, densenet121, …")
    # These two return a tuple in training, for losses of their own in the middle, and start slowly
    special: dict[str, Any] = (
        {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    )

    def build(num_classes: int, size: tuple[int, ...] | None = None) -> nn.Module:
        if size is not None and name.startswith("vit_"):
            special["image_size"] = size[0]
        if size is not None and name.startswith("maxvit_"):
            special["input_size"] = size
        return models.get_model(name, weights=None, num_classes=num_classes, **special)

    return build


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path.read_bytes()


@cache  # each training asks for it
def _executed(path: Path, text: bytes) -> ModuleType:
    """Execute a file of this text as a module; the file itself need not exist."""
    module = ModuleType(f"file {path}")  # a name that no other module has
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look for the names of types
    hint = "" if path.is_file() else "; the file is sent here without its neighbours: put all that it needs into it"
    try:
        with _by_itself(str(path)):
            exec(compile(text, path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise _not_imported(str(path), error, hint) from error
    return module


def _module(name: str) -> ModuleType:
    try:
        with _by_itself(name):
            return import_module(name)
    except (Exception, SystemExit) as error:
        raise _not_imported(name, error) from error


@contextmanager
def _by_itself(name: str) -> Iterator[None]:
    """Let code that reads the command line when it is imported find none; what it says as it ends is not shown."""
    arguments, sys.argv = sys.argv, [name]
    said = StringIO()
    try:
        with redirect_stderr(said):
            yield
    except SystemExit:
        said = StringIO()
        raise
    finally:
        sys.argv = arguments
        sys.stderr.write(said.getvalue())


def _not_imported(name: str, error: BaseException, hint: str = "") -> ValueError:
    if isinstance(error, SystemExit):
        hint = "; it ends the program when it is imported: put that under if __name__ == '__main__'"
    reason = " ".join(str(error).split())
    return ValueError(f"{name} cannot be imported: {type(error).__name__}: {reason}{hint}")
