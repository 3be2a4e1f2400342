"""Imports in a user's code find the modules beside it first, whatever else has the same names.

This file touches process-wide state. While a user's code is imported or called, `sys.path` begins with its folder, and
modules of other folders with the name of one in it (`model` and `utils` are common) are out of `sys.modules`.
Afterwards those are back. What remains: the folder at the end of `sys.path`, and its modules whose names nobody else
has.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import invalidate_caches
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path
from types import ModuleType

# Names that a user's file does not take over. A second copy of these libraries would not work with the first.
KEPT = frozenset({"__main__", "normbench", "numpy", "torch", "torchvision", *sys.stdlib_module_names})

_hidden: dict[Path, dict[str, ModuleType]] = {}  # by folder, its modules whose names others have, too


@contextmanager
def first_on_path(folder: Path) -> Iterator[None]:
    """Let imports look into `folder` before they look anywhere else."""
    folder = folder.resolve()
    in_folder = {name for name in _loaded() if _is_in(folder, name)}
    others = _taken_out(name for name in in_folder if _home_of(sys.modules.get(name)) != folder)
    sys.modules.update(_hidden.get(folder, {}))
    sys.path.insert(0, str(folder))
    invalidate_caches()
    try:
        yield
    finally:
        with suppress(ValueError):  # the code may have changed the path, too
            sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))  # a forward pass may import a neighbour, too
        own = [name for name in _loaded() if _home_of(sys.modules.get(name)) == folder]
        _hidden[folder] = _taken_out(name for name in own if name in others or _home_elsewhere(name) != folder)
        sys.modules.update(others)


def _loaded() -> set[str]:
    """Return the names of all modules and packages that are loaded, without what packages contain."""
    return {name.partition(".")[0] for name in sys.modules} - KEPT


def _is_in(folder: Path, name: str) -> bool:
    """Tell whether a folder has a module or a package of this name, with __init__.py or without."""
    files = (folder / (name + suffix) for suffix in (".py", *EXTENSION_SUFFIXES))
    return any(file.is_file() for file in files) or any((folder / name).glob("*.py"))


def _home_of(module: ModuleType | None) -> Path | None:
    """Return the folder in which a module's file or a package's folder lies."""
    return _home(getattr(module, "__file__", None), getattr(module, "__path__", None))


def _home_elsewhere(name: str) -> Path | None:
    """Return the folder of the module that an import would load, had none of this name been loaded."""
    spec = PathFinder.find_spec(name)
    return _home(spec.origin, spec.submodule_search_locations) if spec else None


def _home(file: str | None, parts: Iterable[str] | None) -> Path | None:
    path = next(iter(parts or ()), None) or file  # of a package, its folder
    return Path(path).resolve().parent if path else None


def _taken_out(names: Iterable[str]) -> dict[str, ModuleType]:
    """Remove these modules, with all that they contain, from `sys.modules`."""
    tops = set(names)
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in tops}
