import struct

import numpy as np
import pytest
import torch

from normbench import data
from normbench.data import load


def write_npz(folder, name="mine", **changes):
    rng = np.random.default_rng(0)
    arrays = dict(
        x_train=rng.integers(0, 256, (20, 9, 7, 3), dtype=np.uint8),
        y_train=np.arange(20, dtype=np.uint8)[:, None] % 4,
        x_test=rng.integers(0, 256, (8, 9, 7, 3), dtype=np.uint8),
        y_test=np.arange(8)[:, None] % 4,
    )
    np.savez(folder / f"{name}.npz", **(arrays | changes))
    return arrays


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

    monkeypatch.setattr(data.TORCHVISION["mnist"], "download", refuse)


def test_digits(digits):
    assert digits.name == "digits" and digits.image_shape == (1, 28, 28)
    assert len(digits.y_train) + len(digits.y_test) == 1797
    assert digits.x_train.dtype == torch.uint8 and digits.x_train.max() == 255
    assert digits.x_train[:, :, :3].sum() == 0, "the margin is empty, as MNIST's is"
    assert digits.y_test.bincount().min() >= 28, "every digit is tested on"


def test_keras_layout(tmp_path):
    arrays = write_npz(tmp_path)
    loaded = load("mine", tmp_path)
    assert loaded.image_shape == (3, 9, 7) and loaded.classes == ("0", "1", "2", "3")
    assert torch.equal(loaded.x_train, torch.from_numpy(arrays["x_train"]).permute(0, 3, 1, 2))
    assert loaded.y_test.tolist() == [0, 1, 2, 3] * 2 and loaded.y_test.dtype == torch.int64


def test_torchvision_files(tmp_path):
    write_idx_mnist(tmp_path)
    loaded = load("mnist", tmp_path)
    assert loaded.x_train.shape == (60, 1, 28, 28) and loaded.x_test.unique().tolist() == [7]


@pytest.mark.parametrize(
    "name, folder, classes",
    (
        ("fashion_mnist", "FashionMNIST", {0: "T-shirt/top", 1: "trouser", 9: "ankle boot"}),
        ("kmnist", "KMNIST", {0: "o", 1: "ki", 9: "wo"}),
    ),
)
def test_data_sets_in_the_format_of_mnist(tmp_path, name, folder, classes):
    write_idx_mnist(tmp_path, folder)
    loaded = load(name, tmp_path)
    assert (loaded.name, loaded.image_shape, len(loaded.classes)) == (name, (1, 28, 28), 10)
    assert loaded.y_train[:12].tolist() == [*range(10), 0, 1]
    assert {i: loaded.classes[i] for i in classes} == classes


def test_class_names_are_those_of_torchvision():
    for name in ("fashion_mnist", "kmnist"):
        names = [c.lower() for c in data.TORCHVISION[name].classes]
        assert [c.lower() for c in data.CLASSES[name]] == names


def test_class_names_of_an_npz_come_by_its_name(tmp_path):
    write_npz(tmp_path, "cifar10")
    loaded = load("cifar10", tmp_path)
    assert loaded.image_shape == (3, 9, 7) and len(loaded.classes) == 10
    assert (loaded.classes[0], loaded.classes[9]) == ("airplane", "truck")


def test_npz_goes_before_torchvision(tmp_path):
    write_idx_mnist(tmp_path)
    write_npz(tmp_path, "mnist")
    assert load("mnist", tmp_path).image_shape == (3, 9, 7)


def test_data_dir_from_the_environment(tmp_path, monkeypatch):
    write_npz(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert len(load("mine").y_train) == 20


def test_auto_is_mnist_where_it_is_there(tmp_path):
    write_idx_mnist(tmp_path)
    assert load("auto", tmp_path).name == "mnist"


def test_auto_falls_back_to_digits_and_says_so(tmp_path, no_network, capsys):
    assert load("auto", tmp_path).name == "digits"
    assert "1,797 digits" in capsys.readouterr().err


@pytest.mark.parametrize("name", ("mnist", "fashion_mnist", "kmnist"))
def test_a_data_set_asked_for_by_name_is_never_replaced(tmp_path, no_network, name):
    with pytest.raises(FileNotFoundError, match=rf"^{name} .*could not be downloaded.*no network.*DATA_DIR") as error:
        load(name, tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="could not be downloaded"):
        load("mnist", tmp_path / "file")


def test_unknown_name(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"'imagenet'.*auto, digits, mnist, fashion_mnist, kmnist, cifar10.*imagenet\.npz"
    ):
        load("imagenet", tmp_path)


@pytest.mark.parametrize("part", ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"))
def test_a_truncated_file_is_not_replaced_by_digits(tmp_path, part):
    file = write_idx_mnist(tmp_path) / part
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"MNIST/ is broken.*delete"):
        load("auto", tmp_path)


def test_a_truncated_npz(tmp_path):
    write_npz(tmp_path)
    file = tmp_path / "mine.npz"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"mine\.npz is broken"):
        load("mine", tmp_path)


def test_pickles_are_not_opened(tmp_path):
    write_npz(tmp_path, x_train=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"mine\.npz.*allow_pickle"):
        load("mine", tmp_path)


@pytest.mark.parametrize(
    "changes, message",
    (
        (dict(x_train=np.zeros((20, 63), np.uint8)), r"x_train must be uint8 images.*got uint8 \(20, 63\)"),
        (dict(x_test=np.zeros((8, 9, 7, 3))), r"x_test must be uint8 images.*got float64"),
        (dict(y_test=np.zeros(7, int)), "x_test has 8 images and y_test 7 labels"),
        (dict(x_test=np.zeros((0, 9, 7, 3), np.uint8), y_test=np.zeros(0, int)), "x_test has 0 images"),
        (dict(x_test=np.zeros((8, 9, 9, 3), np.uint8)), r"x_train .*\(3, 9, 7\).*x_test.*\(3, 9, 9\)"),
        (dict(y_train=np.array(["cat"] * 20)), r"mine\.npz has arrays that are not numbers"),
        (dict(y_train=np.full(20, -1)), "y_train has labels from -1 to -1"),
        (dict(y_test=np.full(8, 4)), "y_test has labels from 4 to 4, allowed are 0 to 3"),
    ),
)
def test_wrong_contents(tmp_path, changes, message):
    write_npz(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load("mine", tmp_path)


def test_a_missing_array(tmp_path):
    np.savez(tmp_path / "mine.npz", x_train=np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="y_train"):
        load("mine", tmp_path)


def test_standardized_pixels_have_mean_0_and_deviation_1(tmp_path):
    write_npz(tmp_path)
    mine = load("mine", tmp_path)
    x = mine.standardize(mine.x_train)
    torch.testing.assert_close(x.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_hold_out_keeps_the_test_set_away(digits):
    held = digits.hold_out(500)
    assert len(held.y_train) == 1000 and held.name == "digits (validation)"
    assert torch.equal(held.x_test, digits.x_train[-500:])
    for n in (0, 1500):
        with pytest.raises(ValueError, match=f"cannot hold out {n} of 1500"):
            digits.hold_out(n)


@pytest.mark.mnist
def test_the_canonical_mnist(mnist):
    assert (len(mnist.y_train), len(mnist.y_test), mnist.image_shape) == (60_000, 10_000, (1, 28, 28))
    mean, std = mnist.mean_std
    assert (round(mean.item(), 4), round(std.item(), 4)) == (0.1307, 0.3081)
    assert mnist.y_train[:6].tolist() == [5, 0, 4, 1, 9, 2]


@pytest.mark.cifar10
def test_the_canonical_cifar10():
    cifar10 = load("cifar10")
    assert (len(cifar10.y_train), len(cifar10.y_test), cifar10.image_shape) == (50_000, 10_000, (3, 32, 32))
    mean, std = cifar10.mean_std
    assert [round(m, 4) for m in mean.flatten().tolist()] == [0.4914, 0.4822, 0.4465]
    assert [round(s, 4) for s in std.flatten().tolist()] == [0.2470, 0.2435, 0.2616]
    assert cifar10.y_train.bincount().tolist() == [5000] * 10 and cifar10.y_test.bincount().tolist() == [1000] * 10
