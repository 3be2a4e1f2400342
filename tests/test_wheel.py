"""What is installed, and with what: the lists in pyproject.toml, requirements.txt and constraints.txt; the Makefile."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from made_up import ROOT

from normbench import __version__

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
INSTRUMENT, STUDY = ROOT / "normbench", ROOT / "study"
PACKAGE_OF = {"PIL": "pillow", "jinja2": "jinja2", "sklearn": "scikit-learn"}  # where an import has another name


def canonical(requirement):
    return re.split(r"[<>=\[ ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def requirements(name):
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return {canonical(line): line for line in lines if line and not line.startswith("-")}


def imports(folder):
    """The top-level modules that a folder's files import, wherever in a file."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found


def libraries(folder):
    """The packages that a folder's files import, without Python's own."""
    own = {*sys.stdlib_module_names, "model", "normbench", "study"}
    return {PACKAGE_OF.get(name, name) for name in imports(folder) - own}


def test_the_instrument_imports_neither_the_study_nor_its_network():
    assert not imports(INSTRUMENT) & {"model", "study"}


def test_dependencies_are_what_the_instrument_imports():
    declared = set(map(canonical, PROJECT["project"]["dependencies"]))
    extra = set(map(canonical, PROJECT["project"]["optional-dependencies"]["ray"]))
    # IPython is asked only in a notebook, which has it.
    assert libraries(INSTRUMENT) - extra - {"IPython"} == declared


def test_the_notebook_s_list_has_the_instrument_s_with_the_same_bounds():
    listed = requirements("requirements.txt")
    for requirement in PROJECT["project"]["dependencies"]:
        assert listed[canonical(requirement)] == requirement
    # nbconvert brings nbformat, nbclient and traitlets; ipykernel brings IPython. Only README's picture
    # takes playwright.
    brought = {"IPython", "nbformat", "nbclient", "traitlets", "google"}
    assert libraries(STUDY) - brought - {"playwright"} <= listed.keys()


def test_every_requirement_has_its_exact_version():
    exact = requirements("constraints.txt")
    for name, requirement in {**requirements("requirements.txt"), **requirements("requirements-dev.txt")}.items():
        version = exact[name].partition("==")[2]
        lowest = requirement.partition(">=")[2]
        assert tuple(map(int, version.split(".")[:2])) >= tuple(map(int, (lowest + ".0").split(".")[:2]))


def test_every_folder_of_the_instrument_is_packed():
    assert PROJECT["tool"]["setuptools"]["packages"]["find"]["include"] == ["normbench", "normbench.*"]
    for file in INSTRUMENT.rglob("*.py"):
        assert (file.parent / "__init__.py").exists()
    for file in INSTRUMENT.rglob("*"):
        is_data = file.is_file() and file.suffix not in (".py", ".pyc")
        assert not is_data or file.name == "py.typed" or file.parent.name == "templates"
    assert (INSTRUMENT / "py.typed").exists()


def test_the_version_is_the_same_everywhere():
    version = PROJECT["project"]["version"]
    assert version == __version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    dates = re.search(r"^date-released: (\S+)$", citation, re.M), re.search(rf"^## {version} – (\S+)$", changes, re.M)
    assert f"\nversion: {version}\n" in citation and all(dates) and len({date[1] for date in dates}) == 1


def make(folder, python, *arguments):
    """Call make with the project's Makefile in an empty folder."""
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "constraints.txt"):
        shutil.copy2(ROOT / name, folder)  # with its time
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "VENV"))}
    command = ["make", f"PYTHON={python}", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def python_of(folder, version):
    """A program that answers as a Python of that version does."""
    program = folder / f"python{version}"
    status = int(int(version.partition(".")[2]) < 11)
    program.write_text(f'#!/bin/sh\ncase "$2" in *exit*) exit {status};; *) echo {version};; esac\n')
    program.chmod(0o755)
    return program


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


@needs_make
@pytest.mark.parametrize("target", ("study", "test", "publish"))
def test_an_old_python_is_refused_in_one_line_before_anything_is_installed(tmp_path, target):
    done = make(tmp_path, python_of(tmp_path, "3.10"), target)
    assert done.returncode == 2 and not (tmp_path / ".venv").exists()
    (line,) = done.stderr.splitlines()
    assert "3.11" in line and "is 3.10" in line


@needs_make
def test_another_python_makes_the_environment_anew(tmp_path):
    (tmp_path / ".venv/bin").mkdir(parents=True)
    python_of(tmp_path, "3.11").rename(tmp_path / ".venv/bin/python")
    for stamp in ("study-3.11", "dev-3.11"):
        (tmp_path / ".venv" / stamp).touch()
    same, other = (make(tmp_path, python_of(tmp_path, version), "-n").stdout for version in ("3.11", "3.12"))
    assert "pip install" not in same and "notebook" in same
    assert "venv --clear" in other and "pip install" in other and "notebook" in other
