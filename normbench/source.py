"""The source of a user's own code, as far as it can be known: what tells an edited function from the one before.

Followed are the functions, classes and plain values that the code names, as far as they are the user's: not those of
the standard library or of installed packages. Comments and layout do not count.
"""

import ast
import hashlib
import inspect
import site
import sys
import sysconfig
import textwrap
import uuid
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

UNKNOWN = "unknown"
PLAIN = (bool, int, float, complex, str, bytes, type(None))
MOST = 10_000  # characters of a plain value: longer ones are data
KEPT_IN = ("stdlib", "platstdlib", "purelib", "platlib")
PLACES = (*map(sysconfig.get_path, KEPT_IN), *site.getsitepackages())
INSTALLED = tuple({Path(place).resolve() for place in (*PLACES, site.getusersitepackages())})
OURS = Path(__file__).resolve().parent


def source_checksum(things: Iterable[object]) -> str:
    """Return a checksum of the source of functions, classes or objects and of all of the user's own that they name.

    It is "" where some source cannot be had, as that of a function that was typed into a plain Python prompt.
    """
    found = _Sources()
    for thing in things:
        found.visit(thing)
    if found.unknown:
        return ""
    return hashlib.sha256("\n".join(sorted(found.texts)).encode()).hexdigest()[:16]


def known_or_unique(checksum: str) -> str:
    """Return a checksum; where it is "", as what it is of is not known, one that nothing else has."""
    return checksum or f"{UNKNOWN} {uuid.uuid4().hex[:16]}"


def is_known(checksum: str) -> bool:
    """Tell whether a checksum of `known_or_unique` is that of something known."""
    return not checksum.startswith(UNKNOWN)


class _Sources:
    """Collects the sources of things and of what they name."""

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self.unknown = False
        self._seen: set[int] = set()
        self._kept: list[object] = []  # so that no number of `_seen` is given anew

    def visit(self, thing: object, name: str = "") -> None:
        """Take in a function, a class, a plain value under its name, or the class and the attributes of an object."""
        if isinstance(thing, PLAIN) or _is_plain(thing):
            ordered = sorted(map(repr, thing)) if isinstance(thing, (set, frozenset)) else thing
            self.texts.add(f"{name} = {ordered!r}"[:MOST])
            return
        if id(thing) in self._seen or isinstance(thing, ModuleType):
            return
        self._seen.add(id(thing))
        self._kept.append(thing)
        if isinstance(thing, partial):
            for i, part in enumerate((thing.func, *thing.args, *thing.keywords.items())):
                self.visit(part, f"{name}[{i}]")
        elif isinstance(thing, MethodType):
            self.visit(thing.__func__, name)
            self.visit(thing.__self__, name)
        elif isinstance(thing, (tuple, list)):
            for i, part in enumerate(thing):
                self.visit(part, f"{name}[{i}]")
        elif isinstance(thing, FunctionType):
            self._function(thing)
        elif isinstance(thing, type):
            self._class(thing)
        elif _is_of_the_user(type(thing)):
            self._class(type(thing))
            for key, value in _attributes(thing).items():
                if isinstance(value, (*PLAIN, FunctionType, type, partial)) or _is_plain(value):
                    self.visit(value, f"{name}.{key}")

    def _function(self, function: FunctionType) -> None:
        if not _is_of_the_user(function):
            return
        self._text(function)
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()):
            self.visit(default, f"{function.__qualname__} default")
        variables = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
        for name, cell in variables.items():
            try:
                self.visit(cell.cell_contents, name)
            except ValueError:  # it is not filled yet
                continue
        for name, value in _named(function.__code__, function.__globals__):
            self.visit(value, name)

    def _class(self, kind: type) -> None:
        if not _is_of_the_user(kind):
            return
        self._text(kind)
        for base in kind.__bases__:
            self.visit(base)
        for name, value in vars(kind).items():
            inner = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            inner = inner.fget if isinstance(inner, property) else inner
            if isinstance(inner, (FunctionType, type)):
                self.visit(inner, name)

    def _text(self, thing: Any) -> None:
        try:
            text = textwrap.dedent(inspect.getsource(thing))
        except (OSError, TypeError, IndentationError):
            self.unknown = True
            return
        try:
            self.texts.add(ast.unparse(ast.parse(text)))
        except SyntaxError:  # a lambda in the middle of a call
            self.texts.add(" ".join(text.split()))


def _named(code: CodeType, variables: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the global variables that code names, and what it takes from modules of the user's own."""
    names = set(_names(code))
    for name in sorted(names):
        value = variables.get(name)
        if isinstance(value, ModuleType):
            if _is_of_the_user(value):
                yield from ((f"{name}.{part}", vars(value)[part]) for part in sorted(names & vars(value).keys()))
        elif name in variables:
            yield name, value


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_plain(value: object) -> bool:
    """Tell whether a value is a list, tuple, dict or set of plain values alone."""
    if isinstance(value, dict):
        return all(isinstance(part, PLAIN) for item in value.items() for part in item)
    return isinstance(value, (tuple, list, set, frozenset)) and all(isinstance(part, PLAIN) for part in value)


def _attributes(thing: object) -> dict[str, Any]:
    return {name: value for name, value in getattr(thing, "__dict__", {}).items() if not name.startswith("_")}


def _is_of_the_user(thing: Any) -> bool:
    """Tell whether something was written by the user: its file is none of Python's, of a package's or ours.

    What has no file, as in a notebook, is the user's, but for what is built into Python.
    """
    module = thing if isinstance(thing, ModuleType) else sys.modules.get(getattr(thing, "__module__", "") or "")
    file = getattr(module, "__file__", None)
    if file is None:
        return module is None or module.__name__ == "__main__"
    path = Path(file).resolve()
    return not any(path.is_relative_to(folder) for folder in (*INSTALLED, OURS))
