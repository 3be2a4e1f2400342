"""Which normalization should a network use? Swap it, train it with several seeds, and compare.

>>> import normbench as nb
>>> found = nb.compare("my_net.py:build", nb.load("cifar10"), arms=("BN", "GN:8", "none"))
>>> print(found.answer)

What is named in `__all__` is loaded when it is first asked for: `import normbench` alone takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from normbench.checking import Check, check
    from normbench.comparison import Comparison, compare
    from normbench.data import Dataset, Samples, load
    from normbench.runs import Arm, read
    from normbench.swapping import normalizations, swap
    from normbench.training import Recipe, Run, labels, predict, train

    __version__: str

__all__ = [
    "Arm",
    "Check",
    "Comparison",
    "Dataset",
    "Recipe",
    "Run",
    "Samples",
    "__version__",
    "check",
    "compare",
    "labels",
    "load",
    "normalizations",
    "predict",
    "read",
    "swap",
    "train",
]

_HOMES = {
    "Arm": "runs",
    "Check": "checking",
    "Comparison": "comparison",
    "Dataset": "data",
    "Recipe": "training",
    "Run": "training",
    "Samples": "data",
    "check": "checking",
    "compare": "comparison",
    "labels": "training",
    "load": "data",
    "normalizations": "swapping",
    "predict": "training",
    "read": "runs",
    "swap": "swapping",
    "train": "training",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        value: object = _version()
    elif name in _HOMES:
        value = getattr(import_module(f"normbench.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'normbench' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """Return the version of this code: in a checkout that of its pyproject.toml, else that of the installed package."""
    import tomllib
    from importlib import metadata
    from pathlib import Path

    described = Path(__file__).resolve().parent.parent / "pyproject.toml"
    if described.is_file():
        project = tomllib.loads(described.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == "normbench":
            return str(project["version"])
    try:
        return metadata.version("normbench")
    except metadata.PackageNotFoundError:
        return "0+unknown"
