import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from normbench.data import DATASETS, HELD_OUT, Dataset, is_held_out, load, title
from normbench.data.dataset import ARRAYS
from normbench.data.known import KnownDataset

RNG = np.random.default_rng(0)
MINE = {
    "x_train": RNG.integers(0, 256, (20, 9, 7, 3), dtype=np.uint8),
    "y_train": np.arange(20, dtype=np.uint8)[:, None] % 4,
    "x_test": RNG.integers(0, 256, (8, 9, 7, 3), dtype=np.uint8),
    "y_test": np.arange(8)[:, None] % 4,
}


def write_npz(folder, name="mine", **changes):
    np.savez(folder / f"{name}.npz", **(MINE | changes))
    return folder


@pytest.fixture
def mine(tmp_path):
    return load("mine", write_npz(tmp_path))


def write_idx_mnist(folder, name="MNIST", n_train=60, n_test=20):
    """The four files of MNIST or its like with made-up images, where torchvision looks for them."""
    raw = folder / name / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", n_train), ("t10k", n_test)):
        images = np.full((n, 28, 28), 7, dtype=np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, n, 28, 28) + images.tobytes())
        labels = np.arange(n, dtype=np.uint8) % 10
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, n) + labels.tobytes())
    return raw


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nTried a mirror, got:\n<no network>\n")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", refuse)


# What is loaded


def test_digits(digits):
    assert digits.name == "digits" and digits.image_shape == (1, 28, 28)
    assert len(digits.y_train) + len(digits.y_test) == 1797
    assert digits.x_train.dtype == torch.uint8 and digits.x_train.max() == 255
    assert digits.x_train[:, :, :3].sum() == 0, "the margin is empty, as MNIST's is"
    assert digits.y_test.bincount().min() >= 28, "every digit is tested on"


def test_keras_layout(mine):
    assert mine.image_shape == (3, 9, 7) and mine.classes == ("0", "1", "2", "3")
    assert torch.equal(mine.x_train, torch.from_numpy(MINE["x_train"]).permute(0, 3, 1, 2))
    assert mine.x_train.is_contiguous()
    assert mine.y_test.tolist() == [0, 1, 2, 3] * 2 and mine.y_test.dtype == torch.int64


@pytest.mark.parametrize(
    "shape, axes",
    (
        ((5, 6, 1), (2, 0, 1)),
        ((1, 5, 6), (0, 1, 2)),
        ((3, 5, 4), (0, 1, 2)),
        ((3, 5, 3), (2, 0, 1)),  # from here on, both could be channels
        ((3, 5, 1), (2, 0, 1)),
        ((1, 5, 3), (2, 0, 1)),
    ),
)
def test_channels_are_the_last_axis_unless_only_the_first_can_be(tmp_path, shape, axes):
    images = RNG.integers(0, 256, (20, *shape), dtype=np.uint8)
    loaded = load("mine", write_npz(tmp_path, x_train=images, x_test=images[:8]))
    assert np.array_equal(loaded.x_train, [image.transpose(axes) for image in images])


def test_images_without_an_axis_of_channels_are_grey(tmp_path):
    images = RNG.integers(0, 256, (20, 5, 3), dtype=np.uint8)
    loaded = load("mine", write_npz(tmp_path, x_train=np.asfortranarray(images), x_test=images[:8]))
    assert np.array_equal(loaded.x_train, images[:, None])


@pytest.mark.parametrize("kind", (np.float32, np.float64, ">i4", ">f8", np.uint64, np.int8))
def test_whole_numbers_of_any_type_are_labels(tmp_path, kind):
    loaded = load("mine", write_npz(tmp_path, y_train=MINE["y_train"].astype(kind)))
    assert loaded.y_train.tolist() == [0, 1, 2, 3] * 5 and loaded.y_train.dtype == torch.int64


def test_booleans_are_labels_of_two_classes(tmp_path):
    loaded = load("mine", write_npz(tmp_path, y_train=np.arange(20) % 2 == 1, y_test=np.arange(8) % 2))
    assert loaded.classes == ("0", "1") and loaded.y_train[:3].tolist() == [0, 1, 0]


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


def refusal(folder, name="mine"):
    """The one line with which a file is refused, after the file's path, with which it must begin."""
    with pytest.raises(ValueError) as error:
        load(name, folder)
    line = str(error.value)
    assert line.startswith(str(folder / f"{name}.npz")) and "\n" not in line
    return line.removeprefix(str(folder / f"{name}.npz"))


def test_files_that_are_no_whole_npz(tmp_path):
    file = write_npz(tmp_path) / "mine.npz"
    content = file.read_bytes()
    flipped = bytes(byte ^ (1000 <= i < 1010) * 255 for i, byte in enumerate(content))
    for broken in (content[:-100], b"", b"not an archive", flipped):
        file.write_bytes(broken)
        assert all(key in refusal(tmp_path) for key in ARRAYS)
    with file.open("wb") as npy:
        np.save(npy, MINE["x_train"])
    assert "np.savez" in refusal(tmp_path)
    np.savez_compressed(file, **MINE)
    content = bytearray(file.read_bytes())
    content[41:75] = b"\xff" * 34  # from the end of the first array's name into its compressed stream
    file.write_bytes(content)
    assert all(key in refusal(tmp_path) for key in ARRAYS)


def test_pickles_are_not_opened(tmp_path):
    assert "allow_pickle" in refusal(write_npz(tmp_path, x_train=np.array([{}], dtype=object)))


def test_a_missing_array(tmp_path):
    np.savez(tmp_path / "mine.npz", x_train=np.zeros((2, 4, 4), np.uint8))
    assert "y_train" in refusal(tmp_path)


def test_labels_of_a_known_data_set_are_those_of_its_classes(tmp_path):
    write_npz(tmp_path, "cifar10", y_train=np.arange(20))
    line = refusal(tmp_path, "cifar10")
    assert all(fact in line for fact in ("y_train", "label 10", "from 0 to 9"))


@pytest.mark.parametrize(
    "images, words",
    (
        (np.zeros((20, 63), np.uint8), "(20, 63)"),
        (np.zeros((20, 64), np.uint8), "x.reshape(-1, 8, 8)"),
        (np.zeros((20, 9, 9, 9), np.uint8), "torch Datasets"),
        (np.zeros((20, 1, 9, 7, 3), np.uint8), "torch Datasets"),
        (np.uint8(7), "()"),
        (np.zeros((20, 9, 7, 3)), "float64"),
        (np.zeros((20, 9, 7, 3), ">i8"), "int64"),
        (np.zeros((20, 9, 7, 3), complex), "real numbers, got complex128"),
        (np.full((20, 9, 7, 3), "a"), "real numbers"),
        (np.zeros((0, 9, 7, 3), np.uint8), "(0, 9, 7, 3)"),
        (np.zeros((20, 0, 7, 3), np.uint8), "(20, 0, 7, 3)"),
    ),
)
@pytest.mark.parametrize("key", ("x_train", "x_test"))
def test_images_that_are_refused(tmp_path, key, images, words):
    line = refusal(write_npz(tmp_path, **{key: images}))
    assert line.startswith(": x_t") and key in line and words in line


def with_images(folder, x):
    return write_npz(folder, x_train=x, x_test=x[:8])


@pytest.mark.parametrize("bad", (np.nan, np.inf))
def test_pixels_that_are_not_finite_are_refused(tmp_path, bad):
    x = np.zeros((20, 9, 7), np.float32)
    x[3, 2, 1] = bad
    assert "not finite" in refusal(with_images(tmp_path, x))


RAMP = np.linspace(0, 1, 20 * 63).reshape(20, 9, 7)


@pytest.mark.parametrize(
    "x",
    (
        RAMP,
        RAMP.astype(np.float32),
        255 * RAMP,
        (65535 * RAMP).round().astype(np.uint16),
        (300 * RAMP).round().astype(np.uint16),
        (6000 * RAMP - 2000).astype(np.float32),
        (6000 * RAMP - 2000).round().astype(">i4"),
        (4 * RAMP - 2).astype(np.float16),
        (255 * RAMP).round().astype(np.int64),
    ),
)
def test_pixels_of_any_type_are_scaled_once_and_that_is_said(tmp_path, x, capsys):
    """Nothing wraps around: 300 of 300 is the brightest there is."""
    loaded = load("mine", with_images(tmp_path, x))
    assert np.abs(loaded.x_train[:, 0].numpy() - 255 * RAMP).max() <= 1.5
    said = capsys.readouterr().err
    assert x.dtype.name in said and f"{x.max():g}" in said and said.count("\n") == 1


def test_pictures_of_two_values_are_black_and_white(tmp_path):
    loaded = load("mine", with_images(tmp_path, RAMP > 0.5))
    assert loaded.x_train.unique().tolist() == [0, 255]


def test_what_lies_beyond_the_training_images_is_cut_off(tmp_path):
    x = (1000 * RAMP).astype(np.int32)
    loaded = load("mine", write_npz(tmp_path, x_train=x, x_test=x[:8] + 2000))
    assert loaded.x_test.unique().tolist() == [255]


@pytest.mark.parametrize(
    "shape, axes",
    (
        ((13, 8, 8), (0, 1, 2)),
        ((8, 8, 13), (2, 0, 1)),
        ((4, 9, 7), (0, 1, 2)),
        ((9, 7, 4), (2, 0, 1)),
        ((2, 8, 8), (0, 1, 2)),
    ),
)
def test_any_number_of_channels(tmp_path, shape, axes, capsys):
    images = RNG.integers(0, 256, (20, *shape), dtype=np.uint8)
    loaded = load("mine", with_images(tmp_path, images))
    assert np.array_equal(loaded.x_train, [image.transpose(axes) for image in images]) and not loaded.is_grey
    channels = loaded.image_shape[0]
    assert (f"{channels} channels; if the last of them is alpha" in capsys.readouterr().err) == (channels in (2, 4))


def test_one_hot_labels_are_labels(tmp_path):
    one_hot = np.eye(4)
    loaded = load(
        "mine", write_npz(tmp_path, y_train=one_hot[MINE["y_train"].ravel()], y_test=one_hot[MINE["y_test"].ravel()])
    )
    assert loaded.y_train.tolist() == [0, 1, 2, 3] * 5 and loaded.classes == ("0", "1", "2", "3")


def test_labels_from_1_are_those_of_as_many_classes(tmp_path):
    loaded = load("mine", write_npz(tmp_path, y_train=MINE["y_train"] + 1, y_test=MINE["y_test"] + 1))
    assert loaded.y_train.tolist() == [0, 1, 2, 3] * 5 and loaded.classes == ("1", "2", "3", "4")
    assert loaded.y_test.tolist() == [0, 1, 2, 3] * 2


@pytest.mark.parametrize("label", (0, 3))
def test_one_class_is_refused(tmp_path, label):
    line = refusal(write_npz(tmp_path, y_train=np.full(20, label), y_test=np.full(8, label)))
    assert "one class" in line and f"{label};" in line


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


@pytest.mark.parametrize(
    "label, words",
    (
        (0.7, "label 0.7"),
        (np.nan, "label nan"),
        (np.inf, "label inf"),
        (1 + 0j, "label (1+0j)"),
        ("1", "label 1"),
        (np.datetime64("2020-01-01"), "label 2020-01-01"),
        (-1, "label -1"),
        (10**9, "label 1000000000"),
        (np.uint64(2**64 - 1), "label 18446744073709551615"),
    ),
)
@pytest.mark.parametrize("key", ("y_train", "y_test"))
def test_labels_that_are_refused(tmp_path, key, label, words):
    line = refusal(write_npz(tmp_path, **{key: np.full(len(MINE[key]), label)}))
    assert key in line and words in line and "whole numbers from 0 to 9999" in line


@pytest.mark.parametrize(
    "changes, facts",
    (
        ({"y_test": np.zeros(7, int)}, ("x_test", "8 images", "y_test", "7 labels")),
        ({"y_train": np.zeros((20, 10), int)}, ("y_train", "(20, 10)", "(N,)", "argmax")),
        ({"y_train": np.zeros(0, int)}, ("y_train", "empty")),
        ({"x_test": np.zeros((8, 9, 9, 3), np.uint8)}, ("x_train", "(3, 9, 7)", "x_test", "(3, 9, 9)")),
        ({"y_test": np.full(8, 4)}, ("y_test", "label 4")),
        ({"y_train": np.arange(20) % 2 * 3}, ("y_test", "label 1")),
    ),
)
def test_arrays_that_do_not_go_together(tmp_path, changes, facts):
    line = refusal(write_npz(tmp_path, **changes))
    assert all(fact in line for fact in facts), line


def test_images_without_an_axis_of_channels_are_no_dataset():
    x, y = torch.zeros(4, 9, 9, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"x_train.*\(N, C, H, W\).*\(4, 9, 9\)"):
        Dataset("mine", ("0",), x, y, x, y)


# What a data set can do


def test_standardized_pixels_have_mean_0_and_deviation_1(mine):
    x = mine.standardize(mine.x_train)
    torch.testing.assert_close(x.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_the_test_set_is_scaled_as_the_training_set(mine):
    pixels = MINE["x_train"].astype(float)
    expected = (MINE["x_test"] - pixels.mean(axis=(0, 1, 2))) / pixels.std(axis=(0, 1, 2), ddof=1)
    assert mine.standardize(mine.x_test).permute(0, 2, 3, 1).numpy() == pytest.approx(expected, abs=1e-5)
    part = mine.first(5)
    assert not torch.equal(part.standardize(part.x_test), mine.standardize(mine.x_test)), "of its own images"


def test_a_constant_channel_stays_finite(mine):
    dark = replace(mine, x_train=mine.x_train * torch.tensor([1, 0, 1], dtype=torch.uint8)[:, None, None])
    assert dark.standardize(dark.x_train)[:, 1].unique().tolist() == [0]


def test_fingerprint_tells_every_difference_and_only_differences(mine):
    elsewhere = {key: getattr(mine, key).clone() for key in ARRAYS}
    elsewhere["x_train"] = elsewhere["x_train"].contiguous(memory_format=torch.channels_last)
    assert replace(mine, name="other", **elsewhere).fingerprint == mine.fingerprint
    prints = {mine.fingerprint, mine.first(19).fingerprint}
    for key in ARRAYS:
        changed = getattr(mine, key).clone()
        changed.view(-1)[-1] ^= 1
        prints.add(replace(mine, **{key: changed}).fingerprint)
    same_bytes = {key: getattr(mine, key).reshape(-1, 3, 7, 9) for key in ("x_train", "x_test")}
    prints.add(replace(mine, **same_bytes).fingerprint)
    assert len(prints) == 2 + len(ARRAYS) + 1


def test_test_set_is_the_checksum_that_results_carry(digits, mine):
    assert digits.test_set == "286bdd93"
    other = replace(mine, y_test=mine.y_test.flip(0))
    assert other.test_set != mine.test_set == mine.first(5).test_set


def test_hold_out_keeps_the_test_set_away(digits):
    held = digits.hold_out(500)
    assert len(held.y_train) == 1000 and held.name == "digits" + HELD_OUT
    assert is_held_out(held.name) and not is_held_out(digits.name)
    assert torch.equal(held.x_test, digits.x_train[-500:]) and torch.equal(held.y_test, digits.y_train[-500:])
    for n in (0, 1500):
        with pytest.raises(ValueError, match=rf"\b{n} of 1500"):
            digits.hold_out(n)


def test_first(digits):
    assert digits.first(None) is digits
    assert torch.equal(digits.first(7).x_train, digits.x_train[:7]) and len(digits.first(7).y_test) == 297
    assert len(digits.first(1500).y_train) == 1500
    for n in (0, -1, 1501):
        with pytest.raises(ValueError, match=rf"images.*1500.*digits.*{n}"):
            digits.first(n)


def test_grey_is_told_from_colour(digits, mine):
    assert digits.is_grey and not mine.is_grey


# The data sets themselves


@pytest.mark.mnist
def test_the_canonical_mnist(mnist):
    assert (len(mnist.y_train), len(mnist.y_test), mnist.image_shape) == (60_000, 10_000, (1, 28, 28))
    mean, std = mnist.mean_std
    assert (round(mean.item(), 4), round(std.item(), 4)) == (0.1307, 0.3081)
    assert mnist.y_train[:6].tolist() == [5, 0, 4, 1, 9, 2] and mnist.test_set == "091bdade"


@pytest.mark.cifar10
def test_the_canonical_cifar10():
    cifar10 = load("cifar10")
    assert (len(cifar10.y_train), len(cifar10.y_test), cifar10.image_shape) == (50_000, 10_000, (3, 32, 32))
    mean, std = cifar10.mean_std
    assert [round(m, 4) for m in mean.flatten().tolist()] == [0.4914, 0.4822, 0.4465]
    assert [round(s, 4) for s in std.flatten().tolist()] == [0.2470, 0.2435, 0.2616]
    assert cifar10.y_train.bincount().tolist() == [5000] * 10 and cifar10.y_test.bincount().tolist() == [1000] * 10
    assert cifar10.test_set == "76fb646b"
