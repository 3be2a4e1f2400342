"""Data sets by their names."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from arrays import MINE, write_idx_mnist, write_npz
from PIL import Image

from normbench.data import DATASETS, HELD_OUT, load, title
from normbench.data.dataset import ARRAYS
from normbench.data.known import KnownDataset

# What is loaded


def test_digits(digits):
    assert digits.name == "digits" and digits.image_shape == (1, 28, 28)
    assert len(digits.y_train) + len(digits.y_test) == 1797
    assert digits.x_train.dtype == torch.uint8 and digits.x_train.max() == 255
    assert digits.x_train[:, :, :3].sum() == 0, "the margin is empty, as MNIST's is"
    assert digits.y_test.bincount().min() >= 28, "every digit is tested on"


@pytest.mark.parametrize(
    "name, folder, classes",
    (
        ("mnist", "MNIST", {0: "0", 9: "9"}),
        ("fashion_mnist", "FashionMNIST", {0: "T-shirt/top", 1: "trouser", 9: "ankle boot"}),
        ("kmnist", "KMNIST", {0: "o", 1: "ki", 9: "wo"}),
    ),
)
def test_data_sets_in_the_format_of_mnist(tmp_path, name, folder, classes):
    write_idx_mnist(tmp_path, folder)
    loaded = load(name, tmp_path)
    assert (loaded.name, loaded.x_train.shape, len(loaded.classes)) == (name, (60, 1, 28, 28), 10)
    assert loaded.x_test.unique().tolist() == [7] and loaded.y_train[:12].tolist() == [*range(10), 0, 1]
    assert {i: loaded.classes[i] for i in classes} == classes


def test_class_names_are_those_of_torchvision():
    for name, known in (("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")):
        theirs = getattr(torchvision.datasets, known).classes
        assert [c.lower() for c in DATASETS[name].classes] == [c.lower() for c in theirs]


def test_class_names_of_an_npz_come_by_its_name(tmp_path):
    loaded = load("cifar10", write_npz(tmp_path, "cifar10"))
    assert loaded.image_shape == (3, 9, 7) and len(loaded.classes) == 10
    assert (loaded.classes[0], loaded.classes[9]) == ("airplane", "truck")


def test_npz_goes_before_torchvision(tmp_path):
    write_idx_mnist(tmp_path)
    assert load("mnist", write_npz(tmp_path, "mnist")).image_shape == (3, 9, 7)


def test_data_dir_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(write_npz(tmp_path)))
    assert len(load("mine").y_train) == 20


def test_auto_is_mnist_where_it_is_there(tmp_path):
    write_idx_mnist(tmp_path)
    assert load("auto", tmp_path).name == "mnist"


def test_auto_falls_back_to_digits_and_says_so(tmp_path, no_network, capsys):
    assert load("auto", tmp_path).name == "digits"
    said = capsys.readouterr().err
    assert "mnist" in said and "no network" in said and "digits" in said.splitlines()[-1]


def test_no_file_takes_the_place_of_the_digits(tmp_path, digits):
    assert load("digits", write_npz(tmp_path, "digits")).fingerprint == digits.fingerprint


def test_a_data_set_of_another_form_is_one_row(tmp_path, monkeypatch):
    """Such as torchvision's SVHN, with `split=` and `.labels`: the row's function is asked for four arrays."""
    asked = []

    def house_numbers(root):
        asked.append(root)
        return [MINE[key] for key in ARRAYS]

    monkeypatch.setitem(DATASETS, "svhn", KnownDataset("SVHN", tuple("0123456789"), house_numbers))
    loaded = load("svhn", tmp_path)
    assert (loaded.name, len(loaded.classes), loaded.image_shape) == ("svhn", 10, (3, 9, 7))
    assert asked == [tmp_path] and title("svhn") == "SVHN"


@pytest.mark.parametrize(
    "error, raised, facts",
    (
        (OSError("no route"), FileNotFoundError, "svhn.*no route.*DATA_DIR"),
        (TimeoutError(), FileNotFoundError, "svhn.*TimeoutError.*DATA_DIR"),
        (KeyError("labels"), ValueError, "svhn.*house/.*labels.*delete"),
        (ModuleNotFoundError("No module named 'scipy'"), ModuleNotFoundError, "scipy"),
    ),
)
def test_errors_of_a_known_data_set_say_what_to_do(tmp_path, monkeypatch, error, raised, facts):
    def fail(root):
        raise error

    monkeypatch.setitem(DATASETS, "svhn", KnownDataset("SVHN", ("0",), fail, "house"))
    with pytest.raises(raised, match=facts) as told:
        load("svhn", tmp_path)
    assert "\n" not in str(told.value)


def test_titles():
    assert [title(name) for name in ("mnist", "cifar10", "digits")] == ["MNIST", "CIFAR-10", "scikit-learn's digits"]
    assert title("mine") == "mine"
    for name in ("mnist", "mine"):
        held = title(name + HELD_OUT)
        assert title(name) in held and held != title(name) and HELD_OUT not in held


def test_what_loads_no_data_loads_no_library_for_it():
    """Importing scikit-learn and torchvision takes longer than many a command."""
    heavy = {"sklearn", "torchvision", "PIL", "pandas", "matplotlib"}
    code = f"import sys, normbench.data; print(sorted({heavy} & sys.modules.keys()))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


# What a name may be


def test_paths_of_files_and_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(write_npz(tmp_path))
    wanted = load("mine", ".").fingerprint
    (tmp_path / "elsewhere").mkdir()
    for name in ("./mine.npz", str(tmp_path / "mine.npz"), "mine.npz", Path("mine.npz"), tmp_path / "mine.npz"):
        assert load(name, tmp_path / "elsewhere").fingerprint == wanted and load(name).name == "mine"
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load("mine.npz", tmp_path).fingerprint == wanted
    for missing in ("no/mine.npz", Path("no.npz"), "no.npz"):
        with pytest.raises(FileNotFoundError, match=r"there is no file .*\.npz"):
            load(missing, tmp_path)


def test_a_folder_needs_no_slash_where_its_name_is_nothing_else(tmp_path, monkeypatch):
    for name in ("photos", "digits"):
        for label in ("a", "b"):
            (tmp_path / name / label).mkdir(parents=True)
            for i in range(5):
                Image.new("RGB", (4, 4), (i, 0, 9)).save(tmp_path / name / label / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    assert load("photos").name == load(Path("photos")).name == "photos"
    assert len(load("digits").classes) == 10 and load(Path("digits")).classes == ("a", "b")


@pytest.mark.parametrize(
    "written, name",
    (("MNIST", "mnist"), ("Fashion-MNIST", "fashion_mnist"), ("KMNIST", "kmnist"), ("mnist.npz", "mnist")),
)
def test_known_data_sets_as_they_are_written_elsewhere(tmp_path, written, name):
    for kind in ("MNIST", "FashionMNIST", "KMNIST"):
        write_idx_mnist(tmp_path, kind)
    loaded = load(written, tmp_path)
    assert loaded.name == name and loaded.fingerprint == load(name, tmp_path).fingerprint


def test_a_file_that_is_no_npz_is_told(tmp_path):
    (tmp_path / "images.zip").touch()
    with pytest.raises(FileNotFoundError, match=r"images\.zip is no folder"):
        load(str(tmp_path / "images.zip"))


# What is refused


@pytest.mark.parametrize("name", ("mnist", "fashion_mnist", "kmnist"))
def test_a_data_set_asked_for_by_name_is_never_replaced(tmp_path, no_network, name):
    with pytest.raises(FileNotFoundError) as error:
        load(name, tmp_path)
    line = str(error.value)
    assert all(fact in line for fact in (name, str(tmp_path), "no network", "DATA_DIR")) and "\n" not in line


@pytest.mark.parametrize("name", ("mnist", "cifar10"))
def test_a_folder_that_cannot_be_written(tmp_path, name, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "file")):
        load(name, tmp_path / "file")
    assert capsys.readouterr().err == "", "no host is blamed"


def test_unknown_name(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load("imagenet", tmp_path)
    line = str(error.value)
    assert all(allowed in line for allowed in ("'imagenet'", "auto", *DATASETS, "imagenet.npz", "imagenet/"))
    assert "\n" not in line


@pytest.mark.parametrize("part", ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"))
def test_a_truncated_file_is_not_replaced_by_digits(tmp_path, part):
    file = write_idx_mnist(tmp_path) / part
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"mnist.*MNIST/.*delete"):
        load("auto", tmp_path)
