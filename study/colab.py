"""The study in Google Colab: where the project can be cloned from, its badge, and the zip file that one uploads."""

import re
import tomllib
import zipfile
from pathlib import Path

import nbformat

from study import CHECKOUT

NOTEBOOK = "S5_Normalization.ipynb"
GITHUB = "https://github.com/"
ZIP = "S5_Normalization.zip"
# What the notebook needs, and nothing else: the set-up cell asks for the first five.
PARTS = ("model.py", "normbench", "study", "docs", "images", "pyproject.toml", "LICENSE", NOTEBOOK)


def address(folder: Path = CHECKOUT) -> str:
    """Return where anybody can clone the project: the Repository of [project.urls] in pyproject.toml, or ""."""
    file = folder / "pyproject.toml"
    if not file.exists():  # somebody copied the parts that the notebook needs
        return ""
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository", "").removesuffix("/").removesuffix(".git")


def badge(repository: str) -> str:
    """Make the Markdown of the badge that opens the notebook of a GitHub `repository` in Colab; "" for others."""
    if not repository.startswith(GITHUB):
        return ""
    image = "https://colab.research.google.com/assets/colab-badge.svg"
    page = f"https://colab.research.google.com/github/{repository.removeprefix(GITHUB)}/blob/main/{NOTEBOOK}"
    return f"[![Open in Colab]({image})]({page})"


def give_address(notebook: nbformat.NotebookNode, repository: str) -> None:
    """Put the address into the set-up of `notebook`, and its badge on top, in place of those that are there."""
    first = notebook.cells[0]
    text = re.sub(r"^\[!\[Open in Colab\].*\n\n", "", first.source)
    first.source = "\n\n".join(filter(None, (badge(repository), text)))
    for cell in notebook.cells:
        cell.source = re.sub(r'^REPOSITORY = ".*?"', f'REPOSITORY = "{repository}"', cell.source, flags=re.MULTILINE)


def renew(path: Path, repository: str) -> bool:
    """`give_address` to the notebook at `path`, its outputs untouched; return whether that changed anything."""
    before = nbformat.read(path, as_version=4)
    notebook = nbformat.from_dict(before)
    give_address(notebook, repository)
    changed = notebook != before
    if changed:
        nbformat.write(notebook, path)
    return changed


def pack(path: Path, folder: Path = CHECKOUT) -> Path:
    """Write the project as a zip file to `path`, which the notebook unpacks on Colab; return `path`.

    Raises OSError if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in PARTS:
            place = folder / part
            for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
                if file.is_file() and "__pycache__" not in file.parts:
                    archive.write(file, file.relative_to(folder))
    return path
