"""The package: what it exports, what it imports and when, which version it is."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from importlib import import_module

import pytest
from made_up import ROOT

import normbench

PACKAGE = ROOT / "normbench"
FILES = sorted(PACKAGE.rglob("*.py"))
FACES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
FLOORS = (
    {"defaults", "stats", "words", "device", "source", "files", "layers", "data"},
    {"swapping", "training"},
    {"checking", "networks", "runs"},
    {"figures"},
    {"comparison"},
    {"commands", "program", "__main__", "__init__"},
)


def imported_by(path):
    """Whole names of the modules that a file imports, in functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            rooms = [alias.name for alias in node.names] if node.module == "normbench" else []
            yield from (f"normbench.{room}" for room in rooms)
            yield node.module


def floor_of(room):
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_stands_on_the_study_or_on_what_is_above_it(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imported_by(path):
        package, _, rest = name.partition(".")
        assert package not in ("model", "study"), "the study is a user of normbench like any other"
        if package == "normbench" and rest and rest != "__version__":
            assert floor_of(rest.split(".")[0]) <= floor_of(room), f"{room} imports {name}"


QUESTIONS = """
import contextlib, io, json, pkgutil, sys

def loaded():
    heavy = {"torch", "torchvision", "numpy", "pandas", "scipy", "matplotlib", "sklearn", "jinja2", "ray", "IPython"}
    return sorted(heavy & sys.modules.keys())

answers = {}
import normbench
from normbench import __version__
answers["normbench"] = loaded()
import normbench.commands
answers["commands"] = loaded()
sys.argv = ["normbench", "check", "--help"]
with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
    normbench.commands.main()
answers["help"] = loaded() if "--batch-size" in shown.getvalue() else "no help"
import normbench.checking, normbench.networks
answers["check"] = loaded()
import normbench.comparison
answers["comparison"] = loaded()
for module in pkgutil.walk_packages(normbench.__path__, "normbench."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
answers["all"] = loaded()
answers["foreign"] = sorted({"model", "study"} & sys.modules.keys())
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What a process in a stranger's folder, beside a model.py of theirs, has loaded after which import."""
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "model.py").write_text("raise SystemExit('this is mine')")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
    ended = subprocess.run([sys.executable, "-c", QUESTIONS], **options)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_nothing_heavy_is_imported_before_it_is_needed(answers):
    assert answers["normbench"] == answers["commands"] == answers["help"] == []
    assert "torch" in answers["check"] and "scipy" not in answers["check"]
    assert not {"matplotlib", "pandas", "sklearn", "jinja2", "ray", "IPython"} & {*answers["comparison"]}


def test_all_of_it_can_be_imported_beside_a_strangers_model(answers):
    assert answers["foreign"] == [] and "matplotlib" in answers["all"] and "ray" not in answers["all"]


def test_the_package_has_what_it_promises():
    assert normbench.__all__ == sorted(normbench.__all__) and 9 <= len(normbench.__all__) <= 18
    assert {*normbench.__all__} <= {*dir(normbench)}
    for name in normbench.__all__:
        assert getattr(normbench, name).__doc__
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = normbench.no_such_name


@pytest.mark.parametrize("face", FACES)
def test_each_folder_has_a_face(face):
    module = import_module(f"normbench.{face}")
    assert module.__doc__ and sorted(module.__all__) == sorted(set(module.__all__))
    assert all(hasattr(module, name) for name in module.__all__)


def test_no_module_has_the_name_of_what_users_call():
    assert not {*normbench.__all__} & {path.stem for path in FILES}


def test_types_are_promised():
    assert (PACKAGE / "py.typed").exists()


def test_the_version_is_that_of_the_code():
    """Not that of another normbench, which may be installed beside this checkout."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert normbench.__version__ == described["project"]["version"]


def test_templates_are_there_where_they_are_looked_for():
    from normbench.comparison.page import _environment

    assert {"comparison.html", "page.html"} == {*_environment().list_templates()}
