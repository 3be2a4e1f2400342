"""The layout of a folder of images: which of its folders are classes, and which are for training and testing."""

import os
import stat
import sys
from pathlib import Path

import numpy as np

Files = dict[str, list[str]]  # image files by class

SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation", "dev"),
}
IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # as torchvision has them
LAYOUT = "a folder for each class of images, or train/ and test/ (or val/) with such folders"
MOST_OTHERS = 100_000  # files that are no images, after which a folder is not taken for one of images
ENOUGH = 100  # test images; one of them is then at most a point of accuracy


def train_and_test(path: Path) -> tuple[Files, Files]:
    """List the training and the test files by class; without a split of the user's own, a fifth is for testing.

    Folders for validation serve as the test set if there are none for testing. Passed over are hidden folders and files
    (".ipynb_checkpoints", "__MACOSX", "._1.png"), what is no file, and classes without images.

    Raises FileNotFoundError if there is no such folder; ValueError if it has another layout, a single class, or a class
    that is tested and not trained.
    """
    if not path.is_dir():
        if path.exists():
            raise FileNotFoundError(f"{path} is no folder; give a folder of images, or a file NAME.npz")
        raise FileNotFoundError(f"there is no folder {path}/")
    if path == Path(path.anchor):
        raise ValueError(f"{path} is the root of all folders; give the one of the images")
    splits = _splits(path)
    if "train" in splits and len(splits) > 1:
        return _own_split(path, splits)
    if splits:
        if "train" not in splits or set(_folders(path)) != {splits["train"].name}:
            raise ValueError(f"{path}/ must have {LAYOUT}; it has {_named(_folders(path))}")
        path = splits["train"]
    files = _listed(path)
    _check_classes(path, files)
    print(f"{path}/ has no train/ and test/: a fifth of each class, drawn at random, is for testing", file=sys.stderr)
    return _split(path, files)


def _splits(path: Path) -> dict[str, Path]:
    """Find the folders that are splits and no classes, by what they are for.

    A split has folders of classes in it. A folder of that name with images in it is a class, as "train" may be beside
    "bus"; but not if all folders are named like splits.

    Raises ValueError if two are for the same.
    """
    splits: dict[str, Path] = {}
    roles = {name: role for role, names in SPLITS.items() for name in names}
    folders = _folders(path)
    all_are = bool(folders) and all(name.lower() in roles for name in folders)
    for name in folders:
        role = roles.get(name.lower())
        if role is None or not (all_are or _folders(path / name)):
            continue
        if role in splits:
            raise ValueError(f"{path}/ has {splits[role].name}/ and {name}/, both for {role}; keep one of them")
        splits[role] = path / name
    return splits


def _own_split(path: Path, splits: dict[str, Path]) -> tuple[Files, Files]:
    for folder in _folders(path):
        if folder not in {split.name for split in splits.values()}:
            print(f"{path}/{folder}/ is neither for training nor for testing, and is not used", file=sys.stderr)
    train, test = splits["train"], splits.get("test") or splits["validation"]
    if "test" not in splits:
        print(f"{path}/ has no test/: {test.name}/ is for testing", file=sys.stderr)
    elif "validation" in splits:
        print(f"{splits['validation']}/ is not used: rates are chosen on training images", file=sys.stderr)
    files, tests = _listed(train), _listed(test)
    if foreign := sorted(set(tests) - set(files)):
        raise ValueError(f"{test}/ has a class {foreign[0]!r}, of which {train}/ has no images")
    _check_classes(train, files)
    if not tests:
        raise ValueError(f"{test}/ has no images in folders of classes")
    if lacking := [name for name in files if name not in tests]:
        print(f"{test}/ has no images of {_named(lacking)}", file=sys.stderr)
    return files, tests


def _check_classes(path: Path, files: Files) -> None:
    if not files:
        raise ValueError(f"{path}/ must have {LAYOUT}, with images in them ({', '.join(IMAGES)})")
    if len(files) == 1:
        (name,) = files
        hint = f"; give the folder inside it, {path / name}/" if len(_folders(path / name)) > 1 else ""
        raise ValueError(f"{path}/ has images of one class only, {name!r}{hint or '; a comparison needs two or more'}")


def _listed(path: Path) -> Files:
    """List the image files in each of the folder's folders; those without images are named and left out."""
    others = 0
    files: Files = {}
    empty = []
    for name in _folders(path):
        found, others = _images(path / name, others)
        if found:
            files[name] = found
        else:
            empty.append(name)
    if empty and files:
        print(f"{path}/ has no images in {_named(empty)}", file=sys.stderr)
    return files


def _images(path: Path, others: int) -> tuple[list[str], int]:
    """List the image files anywhere in a folder, each real folder once; and count the others, from `others` on."""
    found: list[str] = []
    seen = set(path.resolve().parents)  # a link may lead back to one of them, and to other classes
    for folder, inner, names in os.walk(path, followlinks=True):
        if (real := Path(folder).resolve()) in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not _is_hidden(name))
        for name in sorted(names):
            if name.lower().endswith(IMAGES) and not _is_hidden(name) and not _is_special(os.path.join(folder, name)):
                found.append(os.path.join(folder, name))
            else:
                others += 1
        if others > MOST_OTHERS:
            raise ValueError(f"{path.parent}/ has {others:,} files that are no images; give the folder of the images")
    return found, others


def _folders(path: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not _is_hidden(entry.name))
    except PermissionError:
        return []


def _is_hidden(name: str) -> bool:
    """Tell what Jupyter, macOS and file servers put beside images."""
    return name.startswith(".") or name in ("__MACOSX", "__pycache__", "@eaDir")


def _is_special(file: str) -> bool:
    """Tell a pipe or a device, which would be waited for."""
    try:
        return not stat.S_ISREG(os.stat(file).st_mode)
    except OSError:  # a broken link: it is named when it is read
        return False


def _split(path: Path, files: Files) -> tuple[Files, Files]:
    """Return four fifths of each class's files, and the rest, one at least; the same each time."""
    train, test = {}, {}
    for name, names in files.items():
        tests = max(1, len(names) // 5) if len(names) > 1 else 0
        shuffled = [str(name) for name in np.random.default_rng(0).permutation(names)]
        cut = len(names) - tests
        train[name], test[name] = shuffled[:cut], shuffled[cut:]
    if alone := [name for name, names in test.items() if not names]:
        print(f"{path}/ has one image of {_named(alone)}, with which nothing can be tested", file=sys.stderr)
    if all(not names for names in test.values()):
        raise ValueError(f"{path}/ has one image of each class, and none is left for testing; two are the least")
    return train, {name: names for name, names in test.items() if names}


def warn_of_few(path: Path, tests: int) -> None:
    """Say on stderr how little a few test images tell."""
    if tests < ENOUGH:
        print(
            f"{path}/ has {tests} test images: one more or less is {100 / tests:.1f} points of accuracy. To tell arms "
            f"apart, some hundred are needed.",
            file=sys.stderr,
        )


def _named(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"{name}/" for name in names[:most]) + more
